//! What a message of a group was before it became the PUBLISH of one member: kept beside the packet while the member has
//! it, so that another one can have it if the session ends.
//!
//! The bytes: the sender's QoS and RETAIN (1 byte), the form (1), then with their lengths (2 bytes each, big endian) the
//! group's name, its filter, the four parts of whom it hears (empty is anybody), and the sender's address; what is left are
//! the attributes.

use super::Session;
use super::control::FORM_SENDER;
use super::message::{self, Message, UNNUMBERED};
use crate::route::{ChannelMessage, OwnedShare, Qos, Returned, Role, Sender, SenderPattern, Share, Uid};
use crate::time::Now;

/// Where a message of a group came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin<'a> {
    share: Share<'a>,
    /// The sender's address.
    sender: &'a str,
    attributes: &'a [u8],
    qos: Qos,
    retain: bool,
}

impl<'a> Origin<'a> {
    pub(super) const fn new(share: Share<'a>, sender: Sender<'a>, message: &ChannelMessage<'a>) -> Self {
        Self {
            share,
            sender: sender.address(),
            attributes: message.attributes,
            qos: message.qos,
            retain: message.retain,
        }
    }

    pub(super) fn encode(&self) -> Box<[u8]> {
        let from = self.share.from;
        let uid = from.uid.map(|uid| uid.to_string()).unwrap_or_default();
        let qos = match self.qos {
            Qos::AtMostOnce => 0,
            Qos::AtLeastOnce => 1,
            Qos::ExactlyOnce => 2,
        };
        let mut bytes = vec![qos | u8::from(self.retain) << 2, self.share.form];
        for text in [
            self.share.name,
            self.share.filter,
            from.app.unwrap_or_default(),
            &uid,
            from.role.map_or("", Role::as_str),
            from.resource.unwrap_or_default(),
            self.sender,
        ] {
            // All of them are names, which are far shorter.
            let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(self.attributes);
        bytes.into()
    }

    /// Reads them; `None` if they are damaged.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (&[flags, form], mut rest) = bytes.split_first_chunk()?;
        let mut text = || {
            let (len, behind) = rest.split_first_chunk()?;
            let (text, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
            rest = behind;
            std::str::from_utf8(text).ok()
        };
        let (name, filter) = (text()?, text()?);
        let some = |text: &'a str| (!text.is_empty()).then_some(text);
        let (app, uid, role, resource) = (some(text()?), some(text()?), some(text()?), some(text()?));
        let sender = text()?;
        Sender::parse(sender).ok()?;
        Some(Self {
            share: Share {
                name,
                filter,
                from: SenderPattern {
                    app,
                    uid: uid.map(Uid::parse).transpose().ok()?,
                    role: role.map(Role::parse).transpose().ok()?,
                    resource,
                },
                form,
            },
            sender,
            attributes: rest,
            qos: match flags & 3 {
                0 => Qos::AtMostOnce,
                1 => Qos::AtLeastOnce,
                2 => Qos::ExactlyOnce,
                _ => return None,
            },
            retain: flags & 4 != 0,
        })
    }
}

impl Message {
    /// As another member may have it.
    fn returned(&self) -> Option<Returned> {
        let origin = Origin::decode(self.origin.as_deref()?)?;
        let publish = message::read(&self.packet, self.version)?;
        let channel = match origin.share.form {
            // `$nexus/channel/<app>/<uid>/<role>/<resource>/<channel>`
            FORM_SENDER => publish.topic.splitn(7, '/').nth(6)?,
            _ => publish.topic,
        };
        Some(Returned {
            share: OwnedShare::from(origin.share),
            sender: origin.sender.into(),
            channel: channel.into(),
            payload: publish.payload.into(),
            attributes: origin.attributes.into(),
            qos: origin.qos,
            retain: origin.retain,
            expires: self.expires,
            seq: (self.seq != UNNUMBERED).then_some(self.seq),
        })
    }
}

impl Session {
    /// The session ends: what it had as a member of a group and another one may have.
    pub(super) fn returned(&mut self, now: Now) -> Vec<Returned> {
        let Some(messages) = &mut self.messages else {
            return Vec::new();
        };
        let given = messages.outbound.give_back(now, messages.kept.as_deref_mut());
        given.filter_map(|message| message.returned()).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::session::mqtt) const fn origin() -> Origin<'static> {
        Origin {
            share: Share {
                name: "g",
                filter: "a/+",
                from: SenderPattern {
                    app: Some("etest"),
                    uid: None,
                    role: Some(Role::User),
                    resource: None,
                },
                form: FORM_SENDER,
            },
            sender: "etest-0123456789abcdef01234567-user/r",
            attributes: b"at",
            qos: Qos::ExactlyOnce,
            retain: true,
        }
    }

    #[test]
    fn an_origin_comes_back_as_it_was_and_damage_is_none() {
        let bytes = origin().encode();
        assert_eq!(Origin::decode(&bytes), Some(origin()));
        let whole = bytes.len() - origin().attributes.len();
        for len in 0..whole {
            assert_eq!(Origin::decode(&bytes[..len]), None, "cut to {len}");
        }
        let mut damaged = bytes;
        damaged[0] = 3;
        assert_eq!(Origin::decode(&damaged), None);
    }
}
