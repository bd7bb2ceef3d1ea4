//! SUBSCRIBE and UNSUBSCRIBE (3.8 to 3.11): filters become registrations, results become codes.

use smallvec::SmallVec;

use super::Session;
use super::control::{self, FORM_PLAIN, Wanted};
use super::publish::{guarantee, packet_id};
use super::reason::{self, Carrier, Reason};
use crate::codec::mqtt::packet::{Filter, Packet, QoS, SubAck, Subscribe, Unsubscribe, Version};
use crate::codec::mqtt::property::Properties;
use crate::codec::mqtt::topic;
use crate::limits;
use crate::route::{
    Command, Qos, Refusal, Registration, RetainHandling, SubscriptionOptions, Ticket, Unregistration,
};
use crate::session::Output;

/// A filter under `$nexus/reply/` that the client has subscribed to: it rules the QoS of the replies that match
/// and is named in them.
#[derive(Debug)]
pub(super) struct ReplyFilter {
    pub(super) filter: Box<str>,
    pub(super) qos: Qos,
    /// 0 is none.
    pub(super) identifier: u32,
}

/// How the client takes a reply.
pub(super) struct ReplyOptions {
    pub(super) qos: Qos,
    pub(super) identifiers: SmallVec<[u32; 4]>,
}

impl Session {
    /// SUBSCRIBE.
    pub(super) fn subscribe<'a>(&mut self, subscribe: &Subscribe<'a>) -> Result<Command<'a>, Reason> {
        let identifier = subscribe.properties.subscription_identifier().unwrap_or(0);
        let mut wanted = Vec::new();
        for filter in subscribe.filters {
            // A packet of more filters than a block may hold cannot succeed, and its answer would cost memory.
            if wanted.len() >= self.settings.filters_max {
                return Err(Reason::TooManyFilters);
            }
            let registration = self.registration(&filter, identifier);
            wanted.push(registration.unwrap_or_else(|refusal| Registration::Decided(Err(refusal))));
        }
        let ticket = self.ticket(subscribe.packet_id, QoS::AtMostOnce);
        Ok(Command::Register { wanted, ticket })
    }

    fn registration<'a>(
        &mut self,
        filter: &Filter<'a>,
        identifier: u32,
    ) -> Result<Registration<'a>, Refusal> {
        let options = |form| SubscriptionOptions {
            // What the client gets at most, and so what it is granted.
            qos: guarantee(filter.qos),
            no_local: filter.no_local,
            retain_as_published: filter.retain_as_published,
            retained: RetainHandling::Never,
            identifier,
            form,
        };
        let (form, registration) = match control::wanted(filter.filter)? {
            Wanted::Channel {
                filter: channels,
                from,
                form,
            } => {
                self.check_form(form)?;
                let retained = match filter.retain_handling {
                    0 => RetainHandling::Always,
                    1 => RetainHandling::IfNew,
                    _ => RetainHandling::Never,
                };
                return Ok(Registration::Channel {
                    filter: channels,
                    from,
                    options: SubscriptionOptions {
                        retained,
                        ..options(form)
                    },
                });
            }
            // No retained messages are sent for it (4.8.2), and No Local is a protocol error [MQTT-3.8.3-4].
            Wanted::Shared(share) => {
                self.check_form(share.form)?;
                let options = options(share.form);
                return Ok(Registration::Shared { share, options });
            }
            Wanted::Listen(cmd, form) => {
                let options = options(form);
                (form, Registration::Listen { cmd, options })
            }
            Wanted::Direct(form) => {
                let options = options(form);
                (form, Registration::Direct { options })
            }
            // The topic itself says that the daemon is the sender: 3.1.1 loses nothing.
            Wanted::System(filter) => {
                let options = options(FORM_PLAIN);
                return Ok(Registration::System { filter, options });
            }
            Wanted::Reply => {
                let options = options(FORM_PLAIN);
                self.hold_reply_filter(filter.filter, options)?;
                return Ok(Registration::Decided(Ok(options.qos)));
            }
        };
        // 3.1.1 has neither Response Topic nor user properties: it needs the form that spells them out.
        if form == FORM_PLAIN && self.version == Version::V311 {
            return Err(Refusal::NotSupported);
        }
        Ok(registration)
    }

    /// Whether messages of channels may be delivered in a form: in the plain one 3.1.1 does not see their senders.
    fn check_form(&self, form: u8) -> Result<(), Refusal> {
        let hides = form == FORM_PLAIN && self.version == Version::V311;
        if hides && !self.settings.v3_plain_channels {
            return Err(Refusal::NotAuthorized);
        }
        Ok(())
    }

    /// Keeps a filter under `$nexus/reply/`; again: the last options win \[MQTT-3.8.4-3\].
    fn hold_reply_filter(&mut self, filter: &str, options: SubscriptionOptions) -> Result<(), Refusal> {
        if filter.len() > limits::REPLY_FILTER_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        let replies = &mut self.rare.get_or_insert_default().replies;
        let (qos, identifier) = (options.qos, options.identifier);
        if let Some(held) = replies.iter_mut().find(|held| *held.filter == *filter) {
            (held.qos, held.identifier) = (qos, identifier);
            return Ok(());
        }
        if replies.len() >= limits::REPLY_FILTERS_PER_SESSION_MAX {
            return Err(Refusal::QuotaExceeded);
        }
        replies.push(ReplyFilter {
            filter: filter.into(),
            qos,
            identifier,
        });
        Ok(())
    }

    /// How a reply on `$nexus/reply/<id>` is taken: by the filters that match, else by the implicit QoS 1
    /// subscription every session holds.
    pub(super) fn reply_options(&self, topic: &str) -> ReplyOptions {
        let mut options = ReplyOptions {
            qos: Qos::AtLeastOnce,
            identifiers: SmallVec::new(),
        };
        let held = self.rare.as_deref().map_or(&[][..], |rare| &rare.replies);
        let mut matching = held
            .iter()
            .filter(|held| topic::matches(&held.filter, topic))
            .peekable();
        if matching.peek().is_some() {
            options.qos = Qos::AtMostOnce;
        }
        for held in matching {
            options.qos = options.qos.max(held.qos);
            if held.identifier != 0 {
                options.identifiers.push(held.identifier);
            }
        }
        options
    }

    /// UNSUBSCRIBE.
    pub(super) fn unsubscribe<'a>(&mut self, unsubscribe: &Unsubscribe<'a>) -> Result<Command<'a>, Reason> {
        let mut unwanted = Vec::new();
        for filter in unsubscribe.filters {
            if unwanted.len() >= self.settings.filters_max {
                return Err(Reason::TooManyFilters);
            }
            unwanted.push(match control::wanted(filter) {
                Ok(Wanted::Channel { filter, from, form }) => Unregistration::Channel { filter, from, form },
                Ok(Wanted::Shared(share)) => Unregistration::Shared { share },
                Ok(Wanted::Listen(cmd, _)) => Unregistration::Listen { cmd },
                Ok(Wanted::Direct(_)) => Unregistration::Direct,
                Ok(Wanted::Reply) => Unregistration::Decided(Ok(self.drop_reply_filter(filter))),
                Ok(Wanted::System(filter)) => Unregistration::System {
                    filter,
                    form: FORM_PLAIN,
                },
                // What is always refused was never subscribed.
                Err(_) => Unregistration::Decided(Ok(false)),
            });
        }
        let ticket = self.ticket(unsubscribe.packet_id, QoS::AtMostOnce);
        Ok(Command::Unregister { unwanted, ticket })
    }

    fn drop_reply_filter(&mut self, filter: &str) -> bool {
        let Some(rare) = &mut self.rare else { return false };
        let before = rare.replies.len();
        rare.replies.retain(|held| *held.filter != *filter);
        rare.replies.len() != before
    }

    /// SUBACK: a code for each filter, in order \[MQTT-3.8.4-6\].
    pub(super) fn subscribed<O: Output>(
        &self,
        ticket: Ticket,
        results: &[Result<Qos, Refusal>],
        out: &mut O,
    ) {
        let code = |result: &Result<Qos, Refusal>| match (result, self.version) {
            (Ok(Qos::AtMostOnce), _) => 0,
            (Ok(Qos::AtLeastOnce), _) => 1,
            (Ok(Qos::ExactlyOnce), _) => 2,
            (Err(refusal), Version::V5) => reason::code_v5(Reason::Refused(*refusal), Carrier::SubAck),
            (Err(refusal), Version::V311) => {
                reason::code_v3(Reason::Refused(*refusal), Carrier::SubAck).unwrap_or(0x80)
            }
        };
        let codes: SmallVec<[u8; 16]> = results.iter().map(code).collect();
        self.send_codes(ticket, &codes, Packet::SubAck, out);
    }

    /// UNSUBACK: a code for each filter, in order \[MQTT-3.11.3-2\]; 3.1.1 has none.
    pub(super) fn unsubscribed<O: Output>(
        &self,
        ticket: Ticket,
        results: &[Result<bool, Refusal>],
        out: &mut O,
    ) {
        let code = |result: &Result<bool, Refusal>| match result {
            Ok(true) => 0,
            Ok(false) => reason::code_v5(Reason::NoSubscriptionExisted, Carrier::UnsubAck),
            Err(refusal) => reason::code_v5(Reason::Refused(*refusal), Carrier::UnsubAck),
        };
        let codes: SmallVec<[u8; 16]> = match self.version {
            Version::V5 => results.iter().map(code).collect(),
            Version::V311 => SmallVec::new(),
        };
        self.send_codes(ticket, &codes, Packet::UnsubAck, out);
    }

    fn send_codes<'c, O: Output>(
        &self,
        ticket: Ticket,
        codes: &'c [u8],
        packet: fn(SubAck<'c>) -> Packet<'c>,
        out: &mut O,
    ) {
        if let Some((packet_id, _)) = packet_id(ticket) {
            let ack = SubAck {
                packet_id,
                properties: Properties::EMPTY,
                codes,
            };
            self.send(&packet(ack), out);
        }
    }
}
