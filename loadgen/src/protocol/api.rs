//! API requests, answers and outcomes, in every protocol.
//!
//! MQTT: a requester publishes to `$nexus/call/<number>/<app>/<cmd>` and gets `$nexus/reply/<number>`; a worker gets
//! `$nexus/listen/<cmd>/<token>/<app>/<uid>/<role>/<resource>` and publishes to `$nexus/answer/<token>`.
//! NATS: a request is published to the command, and its reply to a subject that ends in the number.
//! Raw: a request is a frame, and so is its answer, the same bytes; the number is in the body alone.
//! XMPP: a request is an iq whose id is the number, at the worker one whose id is the token.

use std::borrow::Cow;

use super::template::Template;
use super::xmpp::IqKind;
use super::{Malformed, Packet, Stanza, Wire, mqtt, nats, text_of, xmpp};
use crate::bytes_at::from_hex16;

/// A request as a worker got it. `body` is as it lies on the wire: what [`answer`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Names the request.
    pub token: &'a [u8],
    /// The body.
    pub body: &'a [u8],
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// The number of the request.
    pub number: Option<u64>,
    /// The reply's body; empty for a failure without one.
    pub body: Cow<'a, [u8]>,
    /// What failed.
    pub failure: Option<String>,
}

/// What a request is made of.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What the requester is called.
    pub name: &'a str,
    /// The app.
    pub app: &'a str,
    /// The command.
    pub cmd: &'a str,
    /// The body.
    pub body: &'a [u8],
}

/// The template of a request, whose key is its number in 16 digits.
///
/// # Errors
/// [`Malformed`] for names that the protocol cannot carry.
pub fn request(wire: Wire, qos: u8, request: &Request<'_>) -> Result<Template, Malformed> {
    let Request { name, app, cmd, body } = *request;
    match wire {
        Wire::Nats => nats::request(cmd, name, body),
        Wire::Mqtt(version) => {
            let head = "$nexus/call/";
            let topic = format!("{head}{:016x}/{app}/{cmd}", 0);
            mqtt::publish(version, &topic, head.len()..head.len() + 16, qos, body)
        }
        Wire::Xmpp | Wire::XmppStream { .. } => Ok(xmpp::request(app, cmd, text(body)?)),
        Wire::Raw { frame_bytes, .. } => raw(frame_bytes, body),
    }
}

/// A frame that ends in `body`.
fn raw(frame_bytes: usize, body: &[u8]) -> Result<Template, Malformed> {
    let head = frame_bytes
        .checked_sub(body.len())
        .ok_or_else(|| Malformed("a raw frame is longer than its body".into()))?;
    let mut frame = vec![0; head];
    frame.extend_from_slice(body);
    Ok(Template {
        frame,
        key: 0..0,
        packet_id_at: None,
        payload: head..frame_bytes,
    })
}

/// The template of a worker's answer, whose key is the token.
///
/// # Errors
/// [`Malformed`] for an answer that the protocol cannot carry.
pub fn answer(wire: Wire, qos: u8, asked: &Asked<'_>) -> Result<Template, Malformed> {
    let token = text(asked.token)?;
    match wire {
        Wire::Mqtt(version) => {
            let head = "$nexus/answer/";
            let topic = format!("{head}{token}");
            mqtt::publish(version, &topic, head.len()..topic.len(), qos, asked.body)
        }
        Wire::Nats => nats::publish(token, asked.body),
        Wire::Xmpp | Wire::XmppStream { .. } => Ok(xmpp::answer(token, text(asked.body)?)),
        Wire::Raw { frame_bytes, .. } => raw(frame_bytes, asked.body),
    }
}

fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|error| Malformed(error.to_string()))
}

/// The request in a packet that a worker received.
pub fn asked<'a>(packet: &Packet<'a>) -> Option<Asked<'a>> {
    match packet {
        Packet::Publish(publish) if publish.topic.first() != Some(&b'$') => Some(Asked {
            token: publish.properties,
            body: publish.payload,
        }),
        Packet::Publish(publish) => Some(Asked {
            token: publish.topic.split(|byte| *byte == b'/').nth(3)?,
            body: publish.payload,
        }),
        Packet::Stanza(Stanza::Iq(iq)) if iq.kind == IqKind::Set => Some(Asked {
            token: iq.id.as_bytes(),
            body: iq.json?.as_bytes(),
        }),
        _ => None,
    }
}

/// The outcome in a packet that a requester received.
pub fn outcome<'a>(packet: &Packet<'a>) -> Option<Outcome<'a>> {
    match packet {
        Packet::Publish(publish) => Some(Outcome {
            number: match publish.topic {
                [] => number_in(publish.payload),
                topic => reply_number(topic),
            },
            body: Cow::Borrowed(publish.payload),
            failure: failure_code(publish.payload).map(|code| format!("code {code}")),
        }),
        Packet::Stanza(Stanza::Iq(iq)) if matches!(iq.kind, IqKind::Result | IqKind::Error) => {
            let failure = || match iq.code {
                Some(code) => format!("code {code}"),
                None => format!("error {}", iq.condition),
            };
            Some(Outcome {
                number: from_hex16(iq.id.as_bytes()),
                body: text_of(iq.json.unwrap_or_default()),
                failure: (iq.kind == IqKind::Error).then(failure),
            })
        }
        _ => None,
    }
}

/// The number in the body of a raw answer.
fn number_in(body: &[u8]) -> Option<u64> {
    body.strip_prefix(br#"{"seq":""#)?.get(..16).and_then(from_hex16)
}

/// The number at the end of a reply's topic or subject.
fn reply_number(topic: &[u8]) -> Option<u64> {
    let number = topic.strip_prefix(b"$nexus/reply/").or_else(|| {
        let inbox = topic.strip_prefix(b"_INBOX.")?;
        inbox.rsplit(|byte| *byte == b'.').next()
    });
    number.and_then(from_hex16)
}

/// The `code` of a failure body. Echoes, which have none, are not parsed: they start with their number.
fn failure_code(body: &[u8]) -> Option<i64> {
    if body.starts_with(br#"{"seq":"#) {
        return None;
    }
    serde_json::from_slice::<serde_json::Value>(body)
        .ok()?
        .get("code")?
        .as_i64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Version, next_packet};

    #[test]
    fn requests_and_answers_carry_their_keys_in_every_protocol() {
        let asks = Request {
            name: "n",
            app: "app",
            cmd: "cmd",
            body: b"{}",
        };
        for wire in [
            Wire::Mqtt(Version::V3),
            Wire::Mqtt(Version::V5),
            Wire::Xmpp,
            Wire::XmppStream { starttls: false },
            Wire::Nats,
        ] {
            let mut request = request(wire, 0, &asks).unwrap();
            request.set_key(b"00000000000000ab");
            let frame = String::from_utf8_lossy(request.frame()).into_owned();
            assert!(frame.contains("00000000000000ab"), "{frame}");
            let asked = Asked {
                token: b"t0",
                body: b"{}",
            };
            let mut answer = answer(wire, 0, &asked).unwrap();
            answer.set_key(b"t1");
            if wire == Wire::Nats {
                assert!(answer.frame().starts_with(b"PUB t1 2\r\n"));
                continue;
            }
            let (packet, _) = next_packet(wire, answer.frame()).unwrap().unwrap();
            match packet {
                Packet::Publish(publish) => assert_eq!(publish.topic, b"$nexus/answer/t1"),
                Packet::Stanza(Stanza::Iq(iq)) => assert_eq!((iq.id, iq.json), ("t1", Some("{}"))),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_request_of_nats_is_answered_where_it_says() {
        let next = |bytes: &'static [u8]| next_packet(Wire::Nats, bytes).unwrap().unwrap().0;
        let asked = asked(&next(b"MSG cmd 1 _INBOX.n.00000000000000ab 2\r\n{}\r\n")).unwrap();
        assert_eq!(asked.token, b"_INBOX.n.00000000000000ab");
        let outcome = outcome(&next(b"MSG _INBOX.n.00000000000000ab 1 2\r\n{}\r\n")).unwrap();
        assert_eq!((outcome.number, outcome.failure), (Some(0xab), None));
    }

    #[test]
    fn failures_are_told_from_replies() {
        assert_eq!(
            failure_code(br#"{"code":-2000,"error":"no free worker found."}"#),
            Some(-2000)
        );
        assert_eq!(failure_code(b"[]"), None);
        let text = "<iq xmlns='jabber:client' type='error' id='00000000000000ab'><error type='auth'><forbidden xmlns='e'/></error></iq>";
        let (packet, _) = next_packet(Wire::Xmpp, text.as_bytes()).unwrap().unwrap();
        let outcome = outcome(&packet).unwrap();
        assert_eq!(
            (outcome.number, outcome.failure.as_deref()),
            (Some(0xab), Some("error forbidden"))
        );
    }
}
