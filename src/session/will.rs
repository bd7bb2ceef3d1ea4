//! What a block leaves with the daemon for the case that it goes without a good-bye.
//!
//! Stored form, numbers big endian: QoS (2 bits), whether it is retained (0x04) and whether it expires (0x08), the delay and
//! the expiry in seconds (4 each), then channel, payload and attributes after their lengths.

use super::rows::{self, Cursor};
use crate::route::Qos;

/// A message left with the daemon at login, published when the block ends without a good-bye.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// The channel, checked like any other.
    pub channel: Box<str>,
    /// The payload.
    pub payload: Box<[u8]>,
    /// See [`crate::route::ChannelMessage::attributes`].
    pub attributes: Box<[u8]>,
    /// The sender's guarantee.
    pub qos: Qos,
    /// Whether it is to be retained.
    pub retain: bool,
    /// Its lifetime from the moment it is published, in seconds.
    pub expiry_s: Option<u32>,
    /// How long it waits for the block to come back, if its session outlives its connection, in seconds.
    pub delay_s: u32,
}

const RETAIN: u8 = 4;
const EXPIRES: u8 = 8;

impl Will {
    /// Bytes that it takes in memory.
    pub const fn len_bytes(&self) -> usize {
        size_of::<Self>() + self.channel.len() + self.payload.len() + self.attributes.len()
    }

    /// Appends its stored form.
    pub(crate) fn append_to(&self, row: &mut Vec<u8>) {
        let retain = if self.retain { RETAIN } else { 0 };
        let expires = if self.expiry_s.is_some() { EXPIRES } else { 0 };
        row.push(rows::number(self.qos) | retain | expires);
        row.extend_from_slice(&self.delay_s.to_be_bytes());
        row.extend_from_slice(&self.expiry_s.unwrap_or(0).to_be_bytes());
        rows::put_bytes(row, self.channel.as_bytes());
        rows::put_bytes(row, &self.payload);
        rows::put_bytes(row, &self.attributes);
    }

    /// Reads one; nothing if it was cut or damaged.
    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        let [flags] = cursor.array()?;
        let delay_s = u32::from_be_bytes(cursor.array()?);
        let expiry_s = u32::from_be_bytes(cursor.array()?);
        Some(Self {
            channel: cursor.text()?.into(),
            payload: cursor.bytes()?.into(),
            attributes: cursor.bytes()?.into(),
            qos: rows::qos(flags & 3)?,
            retain: flags & RETAIN != 0,
            expiry_s: (flags & EXPIRES != 0).then_some(expiry_s),
            delay_s,
        })
    }
}
