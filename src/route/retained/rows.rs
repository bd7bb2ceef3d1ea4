//! The stored form of a retained message: its value in [`crate::journal::Table::Retained`], by channel.
//!
//! Format (1 byte), QoS (1), when it expires (8 bytes, Unix time in milliseconds; all ones: never), the sender's
//! address with its length (2), the attributes with their length (4), the payload. Numbers are little endian. The
//! version is left out: what comes from before the start is older than all that follows, and a channel has one row.

use std::sync::Arc;
use std::time::Duration;

use super::{Retained, Version};
use crate::route::identity::{Sender, check_channel};
use crate::route::message::{ChannelMessage, Qos};
use crate::time::{Instant, Now};

const FORMAT: u8 = 1;
const NEVER: u64 = u64::MAX;

/// Appends the value of `message` to `row`.
pub(super) fn encode(message: &Retained, now: Now, row: &mut Vec<u8>) {
    let sender = message.sender();
    let ChannelMessage {
        payload,
        attributes,
        qos,
        expires,
        ..
    } = message.message();
    let qos = match qos {
        Qos::AtMostOnce => 0,
        Qos::AtLeastOnce => 1,
        Qos::ExactlyOnce => 2,
    };
    row.extend([FORMAT, qos]);
    let expires = expires.map_or(NEVER, |expires| unix_ms(expires, now));
    row.extend(expires.to_le_bytes());
    // Both are bounded by what a packet takes.
    let (address_len, attributes_len) = (
        u16::try_from(sender.address().len()).unwrap_or(u16::MAX),
        u32::try_from(attributes.len()).unwrap_or(u32::MAX),
    );
    row.extend(address_len.to_le_bytes());
    row.extend(sender.address().as_bytes());
    row.extend(attributes_len.to_le_bytes());
    row.extend(attributes);
    row.extend(payload);
}

fn unix_ms(expires: Instant, now: Now) -> u64 {
    let left = u64::try_from(expires.saturating_since(now.instant).as_millis()).unwrap_or(NEVER);
    now.unix_ms.saturating_add(left)
}

impl Retained {
    /// The message of `channel` with this stored value; `None` if either is damaged. One that has expired meanwhile comes
    /// back, too, so that its row is removed as others are.
    pub fn decode(now: Now, channel: &[u8], value: &[u8]) -> Option<Arc<Self>> {
        let channel = check_channel(std::str::from_utf8(channel).ok()?).ok()?;
        let (&[FORMAT, qos], rest) = value.split_first_chunk()? else {
            return None;
        };
        let qos = match qos {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            2 => Qos::ExactlyOnce,
            _ => return None,
        };
        let (expires, rest) = rest.split_first_chunk()?;
        let expires = match u64::from_le_bytes(*expires) {
            NEVER => None,
            at => Some(now.instant + Duration::from_millis(at.saturating_sub(now.unix_ms))),
        };
        let (len, rest) = rest.split_first_chunk()?;
        let (address, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
        let sender = Sender::parse(std::str::from_utf8(address).ok()?).ok()?;
        let (len, rest) = rest.split_first_chunk()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let (attributes, payload) = rest.split_at_checked(len)?;
        if payload.is_empty() {
            return None;
        }
        let message = ChannelMessage {
            channel,
            payload,
            attributes,
            qos,
            retain: true,
            expires,
        };
        Some(Arc::new(Self::new(&sender, &message, Version::default())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::retained;
    use super::*;

    const MS: u64 = 1_000_000;

    fn now(ms: u64, unix_ms: u64) -> Now {
        Now {
            instant: Instant::from_nanos(ms * MS),
            unix_ms,
        }
    }

    fn row(expires: Option<u64>) -> Vec<u8> {
        let mut row = Vec::new();
        encode(
            &retained("plant/7", "21", 5, expires),
            now(1_000, 70_000),
            &mut row,
        );
        row
    }

    #[test]
    fn a_message_comes_back_as_it_was_stored() {
        let message = Retained::decode(now(1, 90_000), b"plant/7", &row(None)).unwrap();
        let original = retained("plant/7", "21", 5, None);
        let parts = |kept: &Retained| {
            let message = kept.message();
            let (payload, attributes) = (message.payload.to_vec(), message.attributes.to_vec());
            let sender = kept.sender().address().to_owned();
            (payload, attributes, message.qos, message.expires, sender)
        };
        assert_eq!(parts(&message), parts(&original));
        assert_eq!(message.version, Version::default(), "older than all that follows");
    }

    #[test]
    fn mqtt5_3_3_2_3_3_expiry_counts_while_the_daemon_is_away() {
        // Due at 61,000 ms on the first clock, 60 s after it was stored.
        let row = row(Some(61_000 * MS));
        let expires = |now| Retained::decode(now, b"plant/7", &row).unwrap().expires;
        assert_eq!(expires(now(5, 100_000)), Some(now(30_005, 0).instant));
        assert_eq!(
            expires(now(5, 500_000)),
            Some(now(5, 0).instant),
            "expired meanwhile"
        );
    }

    #[test]
    fn a_damaged_row_is_no_message() {
        let whole = row(Some(61_000 * MS));
        for len in 0..=whole.len() - 2 {
            assert!(
                Retained::decode(now(1, 1), b"plant/7", &whole[..len]).is_none(),
                "{len}"
            );
        }
        for channel in [&b""[..], b"a/+", b"$SYS/a", b"\xff"] {
            assert!(Retained::decode(now(1, 1), channel, &whole).is_none());
        }
        for (place, byte) in [(0, 2), (1, 3), (10, 255), (13, b'/')] {
            let mut damaged = whole.clone();
            damaged[place] = byte;
            assert!(
                Retained::decode(now(1, 1), b"plant/7", &damaged).is_none(),
                "{place}"
            );
        }
    }
}
