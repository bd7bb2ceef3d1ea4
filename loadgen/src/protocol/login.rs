//! From an established connection to a ready one: what is sent and what must come back, in either protocol.

use super::xmpp::{BIND_ID, IqKind, Offers, WANT_ID};
use super::{Login, Malformed, Packet, Stanza, Wire, mqtt, nats, xmpp};

/// What a connection is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// Messages of a channel; in MQTT any Topic Filter.
    Channel(String),
    /// Requests of this command.
    Listener(String),
    /// Replies to requests, where they have to be asked for: in NATS.
    Replies,
    /// To be an occupant of this room of XMPP.
    Room(String),
    /// Direct messages; over XMPP they come unasked.
    Direct,
}

impl Want {
    /// The Topic Filter that says so.
    fn filter(&self) -> String {
        match self {
            Self::Channel(name) | Self::Room(name) => name.clone(),
            Self::Replies => "replies".into(),
            Self::Direct => "$nexus/direct/#".into(),
            Self::Listener(cmd) => format!("$nexus/listen/{cmd}/#"),
        }
    }
}

/// What a connection asks of its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Continuity {
    /// It begins anew and ends with the connection.
    #[default]
    Clean,
    /// It outlives the connection; over XMPP it may be resumed.
    Kept,
    /// It is there from an earlier connection, with what that subscribed to; anything else is a fault.
    Returning,
}

/// Who a connection is.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// What it speaks.
    pub wire: Wire,
    /// Client Identifier, or resource.
    pub name: &'a str,
    /// `None`: anonymous, where the protocol knows that.
    pub login: Option<&'a Login>,
    /// What it subscribes to before it is ready.
    pub want: Option<&'a Want>,
    /// QoS of its subscription.
    pub qos: u8,
    /// Keep Alive, seconds.
    pub keepalive_s: u16,
    /// The domain it speaks to.
    pub domain: &'a str,
    /// What it asks of its session.
    pub continuity: Continuity,
}

/// How far a login is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// MQTT, NATS: CONNECT is sent.
    Connecting,
    /// XMPP: the stream is opened.
    Opening,
    /// XMPP over TCP: TLS is asked for, then shakes hands.
    Securing,
    /// XMPP over TCP: the stream is opened within TLS.
    OpeningSealed,
    /// XMPP: the proof is sent.
    Proving,
    /// XMPP: the stream is opened again.
    Reopening,
    /// XMPP: the resource is asked for.
    Binding,
    /// What it is for is asked for.
    Wanting,
}

/// Where a login goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// On.
    Step(Step),
    /// TLS begins on the connection; once it is there, [`Caller::greet`] again.
    Secure,
    /// The connection is ready.
    Ready,
    /// The server refused, as it says here.
    Refused(String),
}

/// What is to be done next: frames to send, then where that leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// Frames, each a message of its own.
    pub send: Vec<Vec<u8>>,
    /// Receive Maximum of the server, where it just named one.
    pub receive_max: Option<u16>,
    /// Where it leads.
    pub then: Then,
}

impl Next {
    fn new(send: Vec<Vec<u8>>, then: Then) -> Self {
        Self {
            send,
            receive_max: None,
            then,
        }
    }

    fn step(frame: Vec<u8>, step: Step) -> Self {
        Self::new(vec![frame], Then::Step(step))
    }

    fn refused(why: impl Into<String>) -> Self {
        Self::new(Vec::new(), Then::Refused(why.into()))
    }
}

impl Caller<'_> {
    /// The connection is established, or TLS is `after` a step that began it.
    ///
    /// # Errors
    /// [`Malformed`] for names that the protocol cannot carry.
    pub fn greet(&self, after: Option<Step>) -> Result<Next, Malformed> {
        Ok(match self.wire {
            Wire::Raw { .. } => Next::new(Vec::new(), Then::Ready),
            Wire::Mqtt(version) => {
                let clean = self.continuity == Continuity::Clean;
                let connect = mqtt::connect(version, self.name, self.login, self.keepalive_s, clean)?;
                Next::step(connect, Step::Connecting)
            }
            Wire::Nats => self.greet_nats()?,
            Wire::Xmpp | Wire::XmppStream { .. } => {
                let sealed = after == Some(Step::Securing);
                let step = if sealed {
                    Step::OpeningSealed
                } else {
                    Step::Opening
                };
                Next::step(self.open_stream(), step)
            }
        })
    }

    /// Opens a stream of XMPP, for the first time or anew.
    fn open_stream(&self) -> Vec<u8> {
        match self.wire {
            Wire::XmppStream { .. } => xmpp::stream_begin(self.domain),
            _ => xmpp::open(self.domain),
        }
    }

    /// Proves who it is, by PLAIN or, without a login, as nobody.
    fn prove(&self, offers: Offers) -> Next {
        match self.login {
            Some(login) if offers.plain => Next::step(xmpp::auth(login), Step::Proving),
            None if offers.anonymous => Next::step(xmpp::auth_anonymous(), Step::Proving),
            Some(_) => Next::refused("SASL PLAIN is not offered"),
            None => Next::refused("SASL ANONYMOUS is not offered"),
        }
    }

    /// All at once: the answer to the ping says that everything before it is done.
    fn greet_nats(&self) -> Result<Next, Malformed> {
        let mut lines = nats::connect(self.name);
        lines.extend(match self.want {
            Some(Want::Channel(subject)) => nats::subscribe(subject, None)?,
            Some(Want::Listener(cmd)) => nats::subscribe(cmd, Some(nats::WORKERS))?,
            Some(Want::Replies) => nats::subscribe(&nats::inbox(self.name), None)?,
            Some(Want::Room(_)) => return Err(Malformed("NATS has no rooms".into())),
            Some(Want::Direct) => return Err(Malformed("NATS has no Direct messages".into())),
            None => Vec::new(),
        });
        lines.extend_from_slice(nats::PING);
        Ok(Next::step(lines, Step::Connecting))
    }

    /// A packet came at `at`; `None` if it changes nothing.
    ///
    /// # Errors
    /// [`Malformed`] for a filter that the protocol cannot carry.
    pub fn answer(&self, at: Step, packet: &Packet<'_>) -> Result<Option<Next>, Malformed> {
        if let Some(why) = packet.good_bye() {
            return Ok(Some(Next::refused(why)));
        }
        Ok(Some(match (at, packet) {
            (_, Packet::Stanza(stanza)) => return self.stanza(at, stanza),
            (
                Step::Connecting,
                Packet::ConnAck {
                    code: 0,
                    receive_max,
                    present,
                },
            ) => Next {
                receive_max: Some(*receive_max),
                ..match (self.continuity, *present) {
                    (Continuity::Returning, true) => Next::new(Vec::new(), Then::Ready),
                    (Continuity::Returning, false) => Next::refused("its session is not there"),
                    (Continuity::Clean, true) => Next::refused("a clean session was there before"),
                    (Continuity::Clean | Continuity::Kept, _) => self.wish(Vec::new())?,
                }
            },
            (Step::Connecting, Packet::Pong) => Next::new(Vec::new(), Then::Ready),
            (Step::Connecting, Packet::ConnAck { code, .. }) => {
                Next::refused(format!("CONNACK 0x{code:02x}"))
            }
            (Step::Wanting, Packet::SubAck { granted: true }) => Next::new(Vec::new(), Then::Ready),
            (Step::Wanting, Packet::SubAck { granted: false }) => self.wish_refused("SUBACK"),
            _ => return Ok(None),
        }))
    }

    fn stanza(&self, at: Step, stanza: &Stanza<'_>) -> Result<Option<Next>, Malformed> {
        Ok(Some(match (at, stanza) {
            (Step::Opening, Stanza::Features(offers)) if self.wire.starts_tls() => {
                if offers.starttls {
                    Next::step(xmpp::starttls(), Step::Securing)
                } else {
                    Next::refused("STARTTLS is not offered")
                }
            }
            (Step::Securing, Stanza::Proceed) => Next::new(Vec::new(), Then::Secure),
            (Step::Securing, Stanza::Failure(_)) => Next::refused("STARTTLS failed"),
            (Step::Opening | Step::OpeningSealed, Stanza::Features(offers)) => self.prove(*offers),
            (Step::Proving, Stanza::Success) => Next::step(self.open_stream(), Step::Reopening),
            (Step::Proving, Stanza::Failure(condition)) => Next::refused(format!("SASL {condition}")),
            (Step::Reopening, Stanza::Features(offers)) if offers.bind => {
                Next::step(xmpp::bind(self.name), Step::Binding)
            }
            (Step::Binding, Stanza::Iq(iq)) if iq.id == BIND_ID => match iq.kind {
                IqKind::Result if self.continuity == Continuity::Kept => {
                    self.wish(vec![xmpp::enable(), xmpp::presence()])?
                }
                IqKind::Result => self.wish(vec![xmpp::presence()])?,
                _ => Next::refused(format!("bind {}", iq.condition)),
            },
            (_, Stanza::ManagementFailed(condition)) => {
                Next::refused(format!("stream management {condition}"))
            }
            (Step::Wanting, Stanza::Iq(iq)) if iq.id == WANT_ID => match iq.kind {
                IqKind::Result => Next::new(Vec::new(), Then::Ready),
                _ => self.wish_refused(iq.condition),
            },
            (Step::Wanting, Stanza::Presence(presence)) if matches!(self.want, Some(Want::Room(_))) => {
                match (presence.refused, presence.own) {
                    (Some(condition), _) => self.wish_refused(condition),
                    (None, true) => Next::new(Vec::new(), Then::Ready),
                    (None, false) => return Ok(None),
                }
            }
            _ => return Ok(None),
        }))
    }

    /// Behind `send`, asks for what the connection is for.
    fn wish(&self, mut send: Vec<Vec<u8>>) -> Result<Next, Malformed> {
        let is_asked_for = |want: &&Want| match want {
            Want::Replies => false,
            Want::Direct => !self.wire.is_xmpp(),
            _ => true,
        };
        let Some(want) = self.want.filter(is_asked_for) else {
            return Ok(Next::new(send, Then::Ready));
        };
        send.push(match (self.wire, want) {
            (Wire::Mqtt(version), want) => mqtt::subscribe(version, 1, &want.filter(), self.qos)?,
            (_, Want::Channel(channel)) => xmpp::subscribe(channel),
            (_, Want::Listener(cmd)) => xmpp::listen(cmd),
            (_, Want::Replies | Want::Direct) => Vec::new(),
            (_, Want::Room(room)) => xmpp::join(room, self.name),
        });
        Ok(Next::new(send, Then::Step(Step::Wanting)))
    }

    fn wish_refused(&self, how: &str) -> Next {
        let filter = self.want.map(Want::filter).unwrap_or_default();
        Next::refused(format!("subscription to {filter}: {how}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::next_packet;

    #[test]
    fn rfc7395_a_login_goes_step_by_step_and_takes_plain() {
        let login = Login {
            account: "a".into(),
            secret: "s".into(),
        };
        let want = Want::Channel("c".into());
        let caller = Caller {
            wire: Wire::Xmpp,
            name: "r",
            login: Some(&login),
            want: Some(&want),
            qos: 0,
            keepalive_s: 0,
            domain: "d",
            continuity: Continuity::Clean,
        };
        let answers = [
            "<stream:features xmlns:stream='s'><mechanisms xmlns='m'><mechanism>SCRAM-SHA-256</mechanism>\
             <mechanism>PLAIN</mechanism></mechanisms></stream:features>",
            "<success xmlns='s'/>",
            "<stream:features xmlns:stream='s'><bind xmlns='b'/></stream:features>",
            "<iq xmlns='jabber:client' type='result' id='bind'/>",
            "<iq xmlns='jabber:client' type='result' id='want'/>",
        ];
        let mut next = caller.greet(None).unwrap();
        let mut sent = Vec::new();
        for answer in answers {
            let Then::Step(at) = next.then else {
                panic!("{next:?}")
            };
            sent.append(&mut next.send);
            let (packet, _) = next_packet(Wire::Xmpp, answer.as_bytes()).unwrap().unwrap();
            next = caller.answer(at, &packet).unwrap().unwrap();
        }
        assert_eq!(next, Next::new(Vec::new(), Then::Ready));
        let sent: Vec<_> = sent.iter().map(|frame| String::from_utf8_lossy(frame)).collect();
        for (frame, start) in sent
            .iter()
            .zip(["<open ", "<auth ", "<open ", "<iq ", "<presence ", "<iq "])
        {
            assert!(frame.starts_with(start), "{sent:?}");
        }
        assert_eq!(sent.len(), 6);
    }

    #[test]
    fn mqtt5_3_2_2_1_1_a_session_that_is_not_there_is_a_fault() {
        let caller = |continuity| Caller {
            wire: Wire::Mqtt(crate::protocol::Version::V3),
            name: "r",
            login: None,
            want: None,
            qos: 0,
            keepalive_s: 0,
            domain: "",
            continuity,
        };
        let then = |continuity, present| {
            let connack = Packet::ConnAck {
                code: 0,
                receive_max: 1,
                present,
            };
            let next = caller(continuity).answer(Step::Connecting, &connack);
            next.unwrap().unwrap().then
        };
        for (continuity, present) in [
            (Continuity::Clean, false),
            (Continuity::Kept, false),
            (Continuity::Kept, true),
            (Continuity::Returning, true),
        ] {
            assert_eq!(then(continuity, present), Then::Ready);
        }
        for (continuity, present) in [(Continuity::Clean, true), (Continuity::Returning, false)] {
            assert!(matches!(then(continuity, present), Then::Refused(_)));
        }
        // The connect flags: clean session in one, not in the other (MQTT 3.1.1, 3.1.2.4).
        let flags = |continuity| caller(continuity).greet(None).unwrap().send[0][9];
        assert_eq!(
            (flags(Continuity::Clean) & 2, flags(Continuity::Returning) & 2),
            (2, 0)
        );
    }

    #[test]
    fn refusals_say_what_was_refused() {
        let login = Login {
            account: "a".into(),
            secret: "s".into(),
        };
        let caller = Caller {
            wire: Wire::Xmpp,
            name: "r",
            login: Some(&login),
            want: None,
            qos: 0,
            keepalive_s: 0,
            domain: "d",
            continuity: Continuity::Clean,
        };
        for (at, answer, why) in [
            (
                Step::Proving,
                "<failure xmlns='s'><not-authorized/></failure>",
                "SASL not-authorized",
            ),
            (
                Step::Opening,
                "<stream:features xmlns:stream='s'/>",
                "SASL PLAIN is not offered",
            ),
            (
                Step::Binding,
                "<iq xmlns='jabber:client' type='error' id='bind'><error><conflict xmlns='e'/></error></iq>",
                "bind conflict",
            ),
            (
                Step::Proving,
                "<stream:error xmlns:stream='s'><reset xmlns='e'/></stream:error>",
                "stream error reset",
            ),
        ] {
            let (packet, _) = next_packet(Wire::Xmpp, answer.as_bytes()).unwrap().unwrap();
            assert_eq!(caller.answer(at, &packet).unwrap(), Some(Next::refused(why)));
        }
    }
}
