//! PUBLISH from the client (3.3), and what becomes of it: a command for the router, or a refusal.

use std::num::NonZeroU32;
use std::time::Duration;

use super::control::{self, Callee, Target};
use super::label::ReplyTo;
use super::reason::Reason;
use super::{Session, number};
use crate::codec::mqtt::forward::forwarded;
use crate::codec::mqtt::packet::{PacketId, Publish, QoS, Version};
use crate::codec::mqtt::property::Properties;
use crate::codec::mqtt::{FixedHeader, PacketType};
use crate::observe::{DropReason, Stage};
use crate::route::identity::check_channel;
use crate::route::{
    Answer, ApiRequest, ChannelMessage, Command, Completion, Direct, DirectOutcome, Ownership, Qos, Reach,
    Refusal, Ticket,
};
use crate::session::{Output, Scratch};
use crate::time::Now;

/// Set in the ticket of a QoS 2 message; the packet identifier is below.
const EXACTLY_ONCE: u32 = 1 << 16;
/// Where the number of the connection begins in a ticket.
const CONNECTION_BITS: u32 = 17;

/// Why a message goes no further: told to the client, counted, or, if it is its sender's fault, both and the
/// end of the session.
enum Stop {
    /// Acknowledged with the reason and counted under the stage.
    Drop(Stage, Reason),
    /// The session ends.
    Quit(Reason),
}

impl Session {
    /// Whether a packet has to wait: a 3.1.1 client, which knows no Receive Maximum, has as many messages
    /// before the router as a 5.0 client may have.
    pub(super) fn is_held(&self, header: &FixedHeader) -> bool {
        self.version == Version::V311
            && self.unanswered >= self.settings.receive_maximum.max(1)
            && header.packet_type == PacketType::Publish
            && header.qos() != Some(QoS::AtMostOnce)
    }

    /// PUBLISH.
    pub(super) fn publish<'a, O: Output>(
        &mut self,
        now: Now,
        publish: &Publish<'a>,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Option<Command<'a>>, Reason> {
        if self.version == Version::V5 {
            self.check_flow(publish)?;
        }
        self.check_rate(now)?;
        self.settings.metrics.published(true, publish.qos as u8);
        let ticket = publish.packet_id.map(|id| self.ticket(id, publish.qos));
        let exchange = publish.packet_id.filter(|_| publish.qos == QoS::ExactlyOnce);
        if let Some(id) = exchange
            && !self.begin_exchange(id, out)?
        {
            // On this connection the alias of what comes again may be new.
            self.topic(publish, &mut scratch.name)?;
            return Ok(None);
        }
        let topic = match self.topic(publish, &mut scratch.name) {
            Ok(topic) => topic,
            Err(reason) => return self.stopped(Stop::Quit(reason), ticket, exchange, out),
        };
        // Most of what comes. It is put together where it is to be: what would be moved is larger than it.
        if control::is_channel(topic) {
            return match check_channel_message(topic, publish) {
                Ok(()) => {
                    self.count_unanswered(ticket, exchange);
                    let message = channel_message(now, topic, publish, &mut scratch.attributes);
                    Ok(Some(Command::Publish { message, ticket }))
                }
                Err(reason) => self.stopped(Stop::Drop(Stage::Channel, reason), ticket, exchange, out),
            };
        }
        match self.addressed(publish, topic, ticket, &mut scratch.label) {
            Ok(command) => {
                self.count_unanswered(ticket, exchange);
                Ok(Some(command))
            }
            Err(stop) => self.stopped(stop, ticket, exchange, out),
        }
    }

    /// A message is on its way to the router.
    fn count_unanswered(&mut self, ticket: Option<Ticket>, exchange: Option<PacketId>) {
        if self.is_counted(exchange.is_some()) && ticket.is_some() {
            self.unanswered = self.unanswered.saturating_add(1);
        }
    }

    /// A message goes no further.
    fn stopped<'a, O: Output>(
        &mut self,
        stop: Stop,
        ticket: Option<Ticket>,
        exchange: Option<PacketId>,
        out: &mut O,
    ) -> Result<Option<Command<'a>>, Reason> {
        match stop {
            Stop::Drop(stage, reason) => {
                self.settings.metrics.dropped(stage, drop_reason(reason));
                if let Some(ticket) = ticket {
                    self.acknowledge(ticket, Some(reason), out);
                }
                Ok(None)
            }
            Stop::Quit(reason) => {
                // It has not been routed, and may come again in a session that is kept.
                if let Some(id) = exchange {
                    self.answered(id, true);
                }
                Err(reason)
            }
        }
    }

    /// The ticket of what this packet asks for.
    pub(super) fn ticket(&self, id: PacketId, qos: QoS) -> Ticket {
        let exactly_once = if qos == QoS::ExactlyOnce { EXACTLY_ONCE } else { 0 };
        Ticket(number(id) | exactly_once | self.connection() << CONNECTION_BITS)
    }

    /// Whether a message is among those that are counted until the router has completed: with 5.0 a QoS 2 message
    /// counts until its exchange is over.
    pub(super) fn is_counted(&self, exactly_once: bool) -> bool {
        self.version == Version::V311 || !exactly_once
    }

    /// Bounds the rate of messages, in bursts of what a second allows: each one is to be earned, ahead of time by a second
    /// at most.
    fn check_rate(&mut self, now: Now) -> Result<(), Reason> {
        let Some(rate) = NonZeroU32::new(self.settings.publish_rate_max) else {
            return Ok(());
        };
        let second = Duration::from_secs(1);
        let earned = &mut self.rare.get_or_insert_default().earned;
        let from = earned.map_or(now.instant, |earned| earned.max(now.instant));
        let until = from + second / rate.get();
        if until.saturating_since(now.instant) > second {
            return Err(Reason::MessageRate);
        }
        *earned = Some(until);
        Ok(())
    }

    /// What CONNACK forbade a 5.0 client: more than Receive Maximum from PUBLISH to PUBACK, PUBCOMP or a PUBREC with
    /// a failure \[MQTT-3.3.4-7\].
    fn check_flow(&self, publish: &Publish<'_>) -> Result<(), Reason> {
        let Some(id) = publish.packet_id else {
            return Ok(());
        };
        let mut open = usize::from(self.unanswered);
        if let Some(messages) = &self.messages {
            if publish.qos == QoS::ExactlyOnce && messages.exchanges.contains(id) {
                return Ok(());
            }
            open += messages.exchanges.begun();
        }
        if open >= usize::from(self.settings.receive_maximum.max(1)) {
            return Err(Reason::ReceiveMaximumExceeded);
        }
        Ok(())
    }

    /// What a message asks of the router that is for no channel.
    fn addressed<'a>(
        &self,
        publish: &Publish<'a>,
        topic: &'a str,
        ticket: Option<Ticket>,
        label: &'a mut Vec<u8>,
    ) -> Result<Command<'a>, Stop> {
        let target =
            control::target(topic).map_err(|(stage, refusal)| Stop::Drop(stage, Reason::Refused(refusal)))?;
        let stop = |reason| Stop::Drop(target.stage(), reason);
        check_text(publish).map_err(stop)?;
        let qos = guarantee(publish.qos);
        match target {
            Target::Api(callee) => api_request(publish, callee, ticket, label).map_err(stop),
            Target::Call(id, callee) => {
                request(publish, callee, ReplyTo::Call(id), ticket, label).map_err(stop)
            }
            Target::Answer(token) => {
                let answer = Answer {
                    token,
                    body: publish.payload,
                    failure: None,
                    qos,
                };
                Ok(Command::Answer { answer, ticket })
            }
            Target::Direct {
                app,
                resource,
                account,
            } => {
                if account.is_some_and(|(_, domain)| !self.settings.is_ours(domain)) {
                    return Err(stop(Reason::Refused(Refusal::InvalidName)));
                }
                let text =
                    std::str::from_utf8(publish.payload).map_err(|_| stop(Reason::PayloadFormatInvalid))?;
                let direct = Direct {
                    app,
                    resource,
                    account: account.map(|(account, _)| account),
                    text,
                    attributes: &[],
                    qos,
                };
                Ok(Command::Direct { direct, ticket })
            }
        }
    }

    /// The topic name, spelled out or behind an alias (5.0, 3.3.2.3.4); sets the alias if there are both.
    fn topic<'a>(&mut self, publish: &Publish<'a>, name: &'a mut Vec<u8>) -> Result<&'a str, Reason> {
        let Some(alias) = publish.properties.topic_alias() else {
            return Ok(publish.topic);
        };
        if alias > self.settings.topic_alias_maximum {
            return Err(Reason::TopicAliasInvalid);
        }
        let aliases = &mut self.rare.get_or_insert_default().aliases;
        if !publish.topic.is_empty() {
            aliases.set(alias, publish.topic);
            return Ok(publish.topic);
        }
        let topic = aliases.get(alias).ok_or(Reason::ProtocolError)?;
        name.clear();
        name.extend_from_slice(topic.as_bytes());
        std::str::from_utf8(name).map_err(|_| Reason::ProtocolError)
    }
}

/// Whether a message may go to the channel of this name.
fn check_channel_message(channel: &str, publish: &Publish<'_>) -> Result<(), Reason> {
    check_channel(channel).map_err(|_| Reason::Refused(Refusal::InvalidName))?;
    check_text(publish)
}

/// A message to a channel; its attributes are written to `attributes` if they are not forwarded as they came.
#[inline]
fn channel_message<'a>(
    now: Now,
    channel: &'a str,
    publish: &Publish<'a>,
    attributes: &'a mut Vec<u8>,
) -> ChannelMessage<'a> {
    let expiry_s = publish.properties.message_expiry_interval_s();
    ChannelMessage {
        channel,
        payload: publish.payload,
        attributes: forwarded(publish.properties, attributes),
        qos: guarantee(publish.qos),
        retain: publish.retain,
        expires: expiry_s.map(|s| now.instant + Duration::from_secs(u64::from(s))),
    }
}

/// A request whose reply goes to the Response Topic. Without one, as always in 3.1.1, nobody could be told the
/// outcome, so it is not executed.
fn api_request<'a>(
    publish: &Publish<'a>,
    callee: Callee<'a>,
    ticket: Option<Ticket>,
    label: &'a mut Vec<u8>,
) -> Result<Command<'a>, Reason> {
    let topic = publish
        .properties
        .response_topic()
        .ok_or(Reason::Refused(Refusal::NotSupported))?;
    if !control::takes_replies(topic) {
        return Err(Reason::Refused(Refusal::InvalidName));
    }
    let to = ReplyTo::Topic {
        topic,
        correlation: publish.properties.correlation_data(),
    };
    request(publish, callee, to, ticket, label)
}

/// A request and the label that brings its reply back.
fn request<'a>(
    publish: &Publish<'a>,
    callee: Callee<'a>,
    to: ReplyTo<'_>,
    ticket: Option<Ticket>,
    label: &'a mut Vec<u8>,
) -> Result<Command<'a>, Reason> {
    let (ownership, prioritize_mine) = selection(publish.properties);
    if !to.encode(label) {
        return Err(Reason::Refused(Refusal::TooLarge));
    }
    let request = ApiRequest {
        app: callee.app,
        cmd: callee.cmd,
        resource: callee.resource,
        ownership,
        prioritize_mine,
        body: publish.payload,
        label,
        label_is_unique: matches!(to, ReplyTo::Call(_)),
        qos: guarantee(publish.qos),
    };
    Ok(Command::Request { request, ticket })
}

/// The user properties `ownership` and `prioritize_mine`; of several, the last one counts.
fn selection(properties: Properties<'_>) -> (Ownership, bool) {
    let (mut ownership, mut prioritize_mine) = (Ownership::Any, false);
    for (name, value) in properties.user_properties() {
        match (name, value) {
            ("ownership", "" | "any") => ownership = Ownership::Any,
            ("ownership", "mine") => ownership = Ownership::Mine,
            ("ownership", "owner") => ownership = Ownership::Owner,
            ("prioritize_mine", "true" | "1") => prioritize_mine = true,
            ("prioritize_mine", "" | "false" | "0") => prioritize_mine = false,
            ("ownership" | "prioritize_mine", _) => return (Ownership::Unknown, false),
            _ => {}
        }
    }
    (ownership, prioritize_mine)
}

/// 3.3.2.3.2: who marks a payload as text has to send text.
fn check_text(publish: &Publish<'_>) -> Result<(), Reason> {
    let claimed = publish.properties.payload_format_indicator() == Some(true);
    if claimed && std::str::from_utf8(publish.payload).is_err() {
        return Err(Reason::PayloadFormatInvalid);
    }
    Ok(())
}

/// The connection that a ticket was made on.
pub(super) const fn connection(ticket: Ticket) -> u32 {
    ticket.0 >> CONNECTION_BITS
}

/// The packet identifier of a ticket, and whether the message was QoS 2.
pub(super) fn packet_id(ticket: Ticket) -> Option<(PacketId, bool)> {
    let id = u16::try_from(ticket.0 & u32::from(u16::MAX)).ok()?;
    Some((PacketId::new(id)?, ticket.0 & EXACTLY_ONCE != 0))
}

/// What a completion says to a 5.0 client (3.4.2.1); `None` is success. The outcome of a request or answer is
/// never in its PUBACK.
pub(super) fn outcome(completion: &Completion) -> Option<Reason> {
    match completion {
        Completion::Published(Ok(Reach::Nobody)) | Completion::Direct(DirectOutcome::NoReceiver) => {
            Some(Reason::NoMatchingSubscribers)
        }
        Completion::Published(Err(refusal)) => Some(Reason::Refused(*refusal)),
        Completion::Direct(DirectOutcome::NotEntitled) => Some(Reason::Refused(Refusal::NotAuthorized)),
        Completion::Direct(DirectOutcome::Dropped) => Some(Reason::Refused(Refusal::QuotaExceeded)),
        Completion::Published(Ok(Reach::Subscribers))
        | Completion::Direct(DirectOutcome::Delivered)
        | Completion::Requested
        | Completion::Answered
        | Completion::Resumable(_)
        | Completion::Registered(_)
        | Completion::Unregistered(_) => None,
    }
}

const fn drop_reason(reason: Reason) -> DropReason {
    match reason {
        Reason::Refused(Refusal::NotAuthorized) => DropReason::NotAuthorized,
        Reason::Refused(Refusal::TooLarge) => DropReason::TooLarge,
        _ => DropReason::Invalid,
    }
}

/// The wire's QoS in the router's words.
pub(super) const fn guarantee(qos: QoS) -> Qos {
    match qos {
        QoS::AtMostOnce => Qos::AtMostOnce,
        QoS::AtLeastOnce => Qos::AtLeastOnce,
        QoS::ExactlyOnce => Qos::ExactlyOnce,
    }
}

/// The router's QoS on the wire.
pub(super) const fn wire(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
        Qos::ExactlyOnce => QoS::ExactlyOnce,
    }
}
