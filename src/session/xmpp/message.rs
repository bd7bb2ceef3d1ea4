//! Messages of the client (RFC 6121 section 5; PROTOCOL section 4): Direct, Channel, and plain messages, which are
//! Direct to whom they name. None is ever bounced: what cannot be sent is dropped and counted.

use super::Session;
use super::attributes::put_head;
use super::iq::spell;
use super::names::{CLIENT, NEXUS};
use super::rooms::addressee;
use crate::codec::xmpp::{Element, Jid, Text};
use crate::observe::{DropReason, Stage};
use crate::route::identity::check_channel;
use crate::route::{Account, ChannelMessage, Command, Direct, Qos};
use crate::session::{Output, Scratch};

impl Session {
    /// A message of a client that has logged in.
    pub(super) fn message<'a, O: Output>(
        &mut self,
        message: &Element<'a>,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Option<Command<'a>> {
        if message.attribute("type").is_some_and(|kind| kind.is("error")) {
            self.drop_direct(DropReason::Invalid);
            return None;
        }
        if let Some(direct) = message.child(NEXUS, "direct") {
            let Scratch { name, text, .. } = scratch;
            let [app, resource] = spell(name, ["app", "resource"].map(|name| direct.attribute(name)));
            let [text] = spell(text, [Some(direct.text())]);
            return Some(Command::Direct {
                direct: Direct {
                    app,
                    resource,
                    account: None,
                    text,
                    attributes: &[],
                    qos: Qos::AtMostOnce,
                },
                ticket: None,
            });
        }
        if let Some(publish) = message.child(NEXUS, "publish") {
            return self.publish(&publish, scratch);
        }
        let mut spelled = Vec::new();
        let to = addressee(message, &mut spelled);
        if let Some(address) = self.room_address(to) {
            return self.to_room(message, (to, address), scratch, out);
        }
        self.plain(message, scratch)
    }

    fn publish<'a>(&self, publish: &Element<'a>, scratch: &'a mut Scratch) -> Option<Command<'a>> {
        let Scratch { name, text, .. } = scratch;
        let [channel] = spell(name, [publish.attribute("channel")]);
        if check_channel(channel).is_err() {
            self.settings.metrics.dropped(Stage::Channel, DropReason::Invalid);
            return None;
        }
        let [payload] = spell(text, [Some(publish.text())]);
        let retain = publish.attribute("retain");
        Some(Command::Publish {
            message: ChannelMessage {
                channel,
                payload: payload.as_bytes(),
                attributes: &[],
                qos: Qos::AtMostOnce,
                retain: retain.is_some_and(|retain| retain.is("true") || retain.is("1")),
                expires: None,
            },
            ticket: None,
        })
    }

    /// A message to whom its `to` names: a block, or all blocks of an account.
    fn plain<'a>(&self, message: &Element<'a>, scratch: &'a mut Scratch) -> Option<Command<'a>> {
        let Scratch {
            name,
            text,
            attributes,
            ..
        } = scratch;
        let to = message.attribute("to");
        let to = if to.is_some() {
            let [to] = spell(name, [to]);
            to
        } else {
            // RFC 6120, 10.3.1: what is sent to nobody is sent to the own account.
            name.clear();
            name.extend_from_slice(self.address.split('/').next().unwrap_or_default().as_bytes());
            std::str::from_utf8(name).unwrap_or_default()
        };
        let Some((account, resource)) = self.receiver(to) else {
            self.drop_direct(DropReason::NoReceiver);
            return None;
        };
        self.direct_to(message, account, resource, (text, attributes))
    }

    /// A message to a block of an account, or to all of them.
    pub(super) fn direct_to<'a>(
        &self,
        message: &Element<'a>,
        account: &'a str,
        resource: Option<&'a str>,
        (text, attributes): (&'a mut Vec<u8>, &'a mut Vec<u8>),
    ) -> Option<Command<'a>> {
        // Names without a prefix would mean something else in the receiver's stanza.
        if message.default_namespace() != CLIENT {
            self.drop_direct(DropReason::Invalid);
            return None;
        }
        let [text] = spell(text, [message.child(CLIENT, "body").map(|body| body.text())]);
        attributes.clear();
        if !keep(message, message.attribute("type"), attributes) {
            self.drop_direct(DropReason::TooLarge);
            return None;
        }
        let attributes: &'a [u8] = attributes;
        let Some(resource) = resource else {
            return Some(Command::DirectToAccount {
                account,
                text,
                attributes,
            });
        };
        Some(Command::Direct {
            direct: Direct {
                app: Account::parse(account)
                    .map(|account| account.app)
                    .unwrap_or_default(),
                resource,
                account: Some(account),
                text,
                attributes,
                qos: Qos::AtMostOnce,
            },
            ticket: None,
        })
    }

    /// The account and, if one is named, the resource of a JID of one of our domains.
    fn receiver<'t>(&self, to: &'t str) -> Option<(&'t str, Option<&'t str>)> {
        let jid = Jid::parse(to).ok()?;
        self.settings.domain_of(jid.domain)?;
        Some((jid.local?, jid.resource))
    }

    pub(super) fn drop_direct(&self, reason: DropReason) {
        self.settings.metrics.dropped(Stage::Direct, reason);
    }
}

/// Appends what a message takes along, with this type; false if it is too much. A child that claims a sender is left
/// out: the daemon alone says who sent what.
pub(super) fn keep(message: &Element<'_>, kind: Option<Text<'_>>, attributes: &mut Vec<u8>) -> bool {
    // Allocates only where an attribute has references in it.
    let mut spelled = Vec::new();
    let id = message.attribute("id");
    let [kind_text, id_text] = spell(&mut spelled, [kind, id]);
    let (kind, id) = (kind.map(|_| kind_text), id.map(|_| id_text));
    if !put_head(kind, id, message.declarations(), attributes) {
        return false;
    }
    if !message.children().any(|child| child.is(NEXUS, "sender")) {
        attributes.extend_from_slice(message.inner().as_bytes());
        return true;
    }
    for child in message.children().filter(|child| !child.is(NEXUS, "sender")) {
        attributes.extend_from_slice(child.outer().as_bytes());
    }
    true
}
