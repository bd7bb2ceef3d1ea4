//! A message that has its packet identifier: what the client has to say next, and how its packet goes out.

use super::Settings;
use super::message::Message;
use crate::codec::mqtt::packet::{Ack, Packet, PacketId, QoS, Version};
use crate::codec::mqtt::property::Properties;
use crate::observe::DropReason;
use crate::session::Output;
use crate::time::Now;

/// A message that has its packet identifier.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) id: PacketId,
    pub(super) phase: Phase,
    pub(super) place: Place,
    /// It may have been sent on an earlier connection.
    pub(super) repeated: bool,
    /// In kept sessions, and of what would be given back.
    pub(super) message: Option<Box<Message>>,
}

/// What the client has to say next (4.3.2, 4.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// PUBACK.
    Acknowledge,
    /// PUBREC.
    Receive,
    /// PUBCOMP.
    Complete,
}

/// Whether the packet of the phase, PUBLISH or PUBREL, has gone out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It waits until the changes of this turn are durable.
    Held(u64),
    /// It goes out as soon as there is room.
    Due,
    /// It has gone out on this connection.
    Sent,
}

/// The connection that packets go to.
pub(super) struct Link<'a> {
    /// Places for messages on their way.
    pub(super) window: u16,
    /// The client's.
    pub(super) version: Version,
    /// Its Maximum Packet Size.
    pub(super) packet_bytes_max: u32,
    /// The bounds, and where drops are counted.
    pub(super) settings: &'a Settings,
}

impl InFlight {
    /// Whether the client can know of it.
    pub(super) const fn may_be_answered(&self) -> bool {
        self.repeated || matches!(self.place, Place::Sent)
    }

    /// Writes the PUBLISH, or says why not.
    pub(super) fn prepare<O: Output>(
        &mut self,
        now: Now,
        link: &Link<'_>,
        out: &mut O,
    ) -> Option<DropReason> {
        let message = self.message.as_mut()?;
        match unfit(message, now, link) {
            // The client may have taken it: forgetting its identifier would make the next message with it a
            // repetition.
            Some(DropReason::Expired) if self.repeated && self.phase == Phase::Receive => {}
            Some(reason) => return Some(reason),
            None => {}
        }
        message.fill_in(now, Some(self.id));
        if self.repeated {
            message.repeat();
        }
        message.write(link.version, now, out);
        None
    }
}

/// What is expected after a PUBLISH.
pub(super) const fn first_phase(qos: QoS) -> Phase {
    match qos {
        QoS::ExactlyOnce => Phase::Receive,
        QoS::AtMostOnce | QoS::AtLeastOnce => Phase::Acknowledge,
    }
}

/// Why a message is not sent, if it is not.
pub(super) fn unfit(message: &Message, now: Now, link: &Link<'_>) -> Option<DropReason> {
    // Most clients set no bound, and those of 3.1.1 cannot.
    if link.packet_bytes_max != u32::MAX {
        let len = message.packet_len(link.version, now);
        if u32::try_from(len).map_or(true, |len| len > link.packet_bytes_max) {
            return Some(DropReason::TooLarge);
        }
    }
    message.has_expired(now).then_some(DropReason::Expired)
}

/// PUBREL (3.6).
pub(super) fn write_release<O: Output>(packet_id: PacketId, version: Version, out: &mut O) {
    let release = Packet::PubRel(Ack {
        packet_id,
        code: 0,
        properties: Properties::EMPTY,
    });
    out.write(release.encoded_len(version), |buffer| {
        release.encode_into(version, buffer);
    });
}
