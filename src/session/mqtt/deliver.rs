//! PUBLISH to the client (3.3): each kind of delivery on its topic, with its sender.

use std::io::Write;

use smallvec::SmallVec;

use super::Session;
use super::control::{FORM_SENDER, REPLY_PREFIX};
use super::label::ReplyTo;
use super::message::remaining_s;
use super::origin::Origin;
use super::transmit::Message;
use crate::codec::mqtt::packet::Version;
use crate::codec::mqtt::publish::PublishParts;
use crate::limits;
use crate::observe::{DropReason, Stage};
use crate::route::{ChannelMessage, Delivery, Outcome, Qos, Sender, SubscriptionOptions, Token, Undelivered};
use crate::session::{Frames, Output};
use crate::time::Now;

/// Names of the user properties that tell the sender.
const APP: &str = "nexus-app";
const UID: &str = "nexus-uid";
const ROLE: &str = "nexus-role";
const RESOURCE: &str = "nexus-resource";
/// Name of the user property that tells the code of a reply.
const CODE: &str = "nexus-code";

/// In the keys of [`Frames`]: frames of this protocol are not those of another.
const PROTOCOL: u32 = 1 << 16;

impl Session {
    /// Writes a message for the block, or keeps it for when the client has room.
    pub(super) fn delivery<O: Output>(
        &mut self,
        now: Now,
        delivery: &Delivery<'_>,
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        if let Some(repeated) = self.repeat(now, delivery, frames, out) {
            return repeated;
        }
        match *delivery {
            Delivery::Room { .. } => Err(Undelivered::Gone),
            Delivery::Channel { message, .. } if message.is_for_occupants() => Err(Undelivered::NotText),
            Delivery::Channel {
                mut message,
                sender,
                options,
                identifiers,
                share,
                is_shown: _,
            } => {
                message.attributes = message.properties();
                let origin = share.map(|share| Origin::new(share, sender, &message));
                self.channel(now, &message, sender, options, (identifiers, origin), frames, out)
            }
            // Nothing in it is for this protocol.
            Delivery::Direct {
                text: "", attributes, ..
            } if !attributes.is_empty() => Err(Undelivered::NotText),
            Delivery::Direct {
                text,
                sender,
                qos,
                options,
                ..
            } => self.direct(now, text, sender, qos.min(options.qos), options, frames, out),
            Delivery::Request {
                token,
                cmd,
                body,
                sender,
                qos,
                options,
            } => {
                let request = Request {
                    token,
                    cmd,
                    body,
                    sender,
                };
                self.request(now, &request, qos.min(options.qos), options, frames, out)
            }
            Delivery::Reply { label, outcome, qos } => self.reply(now, label, outcome, qos, frames, out),
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one delivery, taken apart once"
    )]
    fn channel<O: Output>(
        &mut self,
        now: Now,
        message: &ChannelMessage<'_>,
        sender: Sender<'_>,
        options: SubscriptionOptions,
        (identifiers, origin): (&[u32], Option<Origin<'_>>),
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        if message.expires.is_some_and(|expires| expires < now.instant) {
            return Err(Undelivered::Expired);
        }
        let (plain, by_sender);
        let topic: &[_] = if options.form == FORM_SENDER {
            by_sender = topic_of("$nexus/channel/", sender, message.channel);
            &by_sender
        } else {
            plain = [message.channel];
            &plain
        };
        let v5 = self.version == Version::V5;
        let qos = message.qos.min(options.qos);
        let told = self.told(sender, qos);
        let parts = PublishParts {
            retain: is_retained(message, &options),
            topic,
            expiry_s: message.expires.map(|expires| remaining_s(expires, now)),
            subscription_identifiers: identifiers,
            attributes: message.attributes,
            user_properties: told.as_ref().map_or(&[], <[_; 4]>::as_slice),
            payload: message.payload,
            ..PublishParts::new(self.version)
        };
        let variant = self.variant::<O>(message, &options);
        let mut queued = Message {
            stage: Stage::Channel,
            parts,
            qos,
            expires: message.expires,
            variant: (!v5 || identifiers.is_empty()).then_some(variant),
            origin,
        };
        self.transmit(now, &mut queued, frames, out)?;
        self.count_hidden(message, &options);
        Ok(())
    }

    /// A channel's message at QoS 0 whose frame is there already, since another receiver gets the same bytes: most of a
    /// fan-out. `None`: it goes the long way.
    fn repeat<O: Output>(
        &mut self,
        now: Now,
        delivery: &Delivery<'_>,
        frames: &Frames<O::Shared>,
        out: &mut O,
    ) -> Option<Result<(), Undelivered>> {
        let Delivery::Channel {
            message,
            options,
            identifiers: [],
            ..
        } = delivery
        else {
            return None;
        };
        let is_bare =
            self.messages.is_none() && self.rare.is_none() && self.client_packet_bytes_max == u32::MAX;
        let expired = message.expires.is_some_and(|expires| expires < now.instant);
        if !is_bare || expired || message.qos.min(options.qos) != Qos::AtMostOnce {
            return None;
        }
        let frame = frames.get(self.variant::<O>(message, options))?;
        if self.is_blocked(now, out) {
            return Some(Err(Undelivered::QueueFull));
        }
        out.push(frame);
        self.settings.metrics.published(false, 0);
        self.count_hidden(message, options);
        Some(Ok(()))
    }

    /// The key of a channel message's frame, if its receiver has no identifier for it: the same for all who get the same
    /// bytes.
    fn variant<O: Output>(&self, message: &ChannelMessage<'_>, options: &SubscriptionOptions) -> u32 {
        u32::from(O::FRAMING) << 24
            | PROTOCOL
            | u32::from(self.version == Version::V5)
            | u32::from(options.form == FORM_SENDER) << 1
            | u32::from(is_retained(message, options)) << 2
    }

    /// The sender as user properties, where there may be room for them: 3.1.1 has none, but what waits for a client at QoS 1
    /// and 2 is kept as 5.0.
    fn told<'s>(&self, sender: Sender<'s>, qos: Qos) -> Option<[(&'static str, &'s str); 4]> {
        let has_room = self.version == Version::V5 || qos != Qos::AtMostOnce;
        has_room.then(|| properties_of(sender))
    }

    /// Counts a message whose sender the client has no place for. Under `$SYS` the topic says it: the daemon.
    fn count_hidden(&self, message: &ChannelMessage<'_>, options: &SubscriptionOptions) {
        let is_told = self.version == Version::V5 || options.form == FORM_SENDER;
        if !is_told && !message.channel.starts_with('$') {
            let metrics = &self.settings.metrics;
            metrics.dropped(Stage::Channel, DropReason::SenderHidden);
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one delivery, taken apart once"
    )]
    fn direct<O: Output>(
        &mut self,
        now: Now,
        text: &str,
        sender: Sender<'_>,
        qos: Qos,
        options: SubscriptionOptions,
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        let mut by_sender;
        let topic: &[_] = if options.form == FORM_SENDER {
            by_sender = topic_of("$nexus/direct/", sender, "");
            without_tail(&mut by_sender)
        } else {
            &["$nexus/direct"]
        };
        let told = self.told(sender, qos);
        let parts = PublishParts {
            topic,
            subscription_identifiers: identifier(&options),
            user_properties: told.as_ref().map_or(&[], <[_; 4]>::as_slice),
            payload: text.as_bytes(),
            ..PublishParts::new(self.version)
        };
        self.transmit(now, &mut Message::to_one(Stage::Direct, parts, qos), frames, out)
    }

    fn request<O: Output>(
        &mut self,
        now: Now,
        request: &Request<'_>,
        qos: Qos,
        options: SubscriptionOptions,
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        let &Request {
            token,
            cmd,
            body,
            sender,
        } = request;
        let token = token.to_text();
        let token = std::str::from_utf8(&token).unwrap_or_default();
        let (short, long);
        let topic: &[_] = if options.form == FORM_SENDER {
            let role = sender.role().as_str();
            let (app, uid, resource) = (sender.app(), sender.uid_hex(), sender.resource());
            long = [
                "$nexus/listen/",
                cmd,
                "/",
                token,
                "/",
                app,
                "/",
                uid,
                "/",
                role,
                "/",
                resource,
            ];
            &long
        } else {
            short = ["$nexus/listen/", cmd];
            &short
        };
        let told = self.told(sender, qos);
        let parts = PublishParts {
            topic,
            response_topic: &["$nexus/answer/", token],
            subscription_identifiers: identifier(&options),
            user_properties: told.as_ref().map_or(&[], <[_; 4]>::as_slice),
            payload: body,
            ..PublishParts::new(self.version)
        };
        self.transmit(now, &mut Message::to_one(Stage::Request, parts, qos), frames, out)
    }

    fn reply<O: Output>(
        &mut self,
        now: Now,
        label: &[u8],
        outcome: Outcome<'_>,
        qos: Qos,
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        // A label that this session did not write cannot come back to it.
        let to = ReplyTo::decode(label).ok_or(Undelivered::Gone)?;
        let (topic, correlation_data) = match to {
            ReplyTo::Call(id) => ([REPLY_PREFIX, id], None),
            ReplyTo::Topic { topic, correlation } => ([topic, ""], correlation),
        };
        // A call's topic is never longer than the prefix and an id.
        let called: SmallVec<[u8; REPLY_PREFIX.len() + limits::CALL_ID_BYTES_MAX]>;
        let whole = match to {
            ReplyTo::Call(id) => {
                called = REPLY_PREFIX.bytes().chain(id.bytes()).collect();
                std::str::from_utf8(&called).unwrap_or_default()
            }
            ReplyTo::Topic { topic, .. } => topic,
        };
        let options = self.reply_options(whole);
        let mut digits = [0; 11];
        let code = (CODE, decimal(outcome.code, &mut digits));
        let (with_sender, alone);
        let user_properties: &[_] = match outcome.sender {
            Some(sender) => {
                let [app, uid, role, resource] = properties_of(sender);
                with_sender = [app, uid, role, resource, code];
                &with_sender
            }
            None => {
                alone = [code];
                &alone
            }
        };
        let parts = PublishParts {
            topic: &topic,
            correlation_data,
            subscription_identifiers: &options.identifiers,
            user_properties,
            payload: outcome.body,
            ..PublishParts::new(self.version)
        };
        let qos = qos.min(options.qos);
        self.transmit(now, &mut Message::to_one(Stage::Reply, parts, qos), frames, out)
    }
}

/// [MQTT-3.3.1-12], [MQTT-3.3.1-13]
const fn is_retained(message: &ChannelMessage<'_>, options: &SubscriptionOptions) -> bool {
    message.retain && options.retain_as_published
}

/// A request on its way to a worker.
struct Request<'a> {
    token: Token,
    cmd: &'a str,
    body: &'a [u8],
    sender: Sender<'a>,
}

/// `<prefix><app>/<uid>/<role>/<resource>/<tail>` in pieces.
fn topic_of<'a>(prefix: &'static str, sender: Sender<'a>, tail: &'a str) -> [&'a str; 10] {
    [
        prefix,
        sender.app(),
        "/",
        sender.uid_hex(),
        "/",
        sender.role().as_str(),
        "/",
        sender.resource(),
        "/",
        tail,
    ]
}

/// The identifier of the one subscription a message was sent for.
const fn identifier(options: &SubscriptionOptions) -> &[u32] {
    match options.identifier {
        0 => &[],
        _ => std::slice::from_ref(&options.identifier),
    }
}

/// The same pieces without the last separator and the tail.
fn without_tail<'s, 'a>(pieces: &'s mut [&'a str; 10]) -> &'s [&'a str] {
    let [.., separator, tail] = pieces;
    (*separator, *tail) = ("", "");
    pieces
}

/// The sender as user properties (PROTOCOL section 3).
fn properties_of(sender: Sender<'_>) -> [(&'static str, &str); 4] {
    [
        (APP, sender.app()),
        (UID, sender.uid_hex()),
        (ROLE, sender.role().as_str()),
        (RESOURCE, sender.resource()),
    ]
}

/// A number in decimal digits.
fn decimal(number: i32, digits: &mut [u8; 11]) -> &str {
    let mut rest = &mut digits[..];
    // Eleven places hold every `i32`.
    let written = write!(rest, "{number}").map_or(0, |()| 11 - rest.len());
    std::str::from_utf8(digits.get(..written).unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_digits() {
        for number in [0, 7, -2_004, i32::MAX, i32::MIN] {
            assert_eq!(decimal(number, &mut [0; 11]), number.to_string());
        }
    }
}
