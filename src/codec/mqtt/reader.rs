//! Fields from the front of a packet's body.

use super::malformed::Malformed;
use super::packet::PacketId;
use super::varint::{self, VarInt};

/// What is left of a body. Every read takes from the front or fails with [`Malformed::Truncated`].
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left.
    #[inline]
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Refuses bytes after the last field.
    #[inline]
    pub(super) const fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed::TrailingBytes)
        }
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    /// Two Byte Integer (1.5.2).
    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four Byte Integer (1.5.3).
    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// Variable Byte Integer (1.5.5).
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u32, Malformed> {
        match varint::read(self.rest) {
            VarInt::Whole { value, len } => {
                if len != varint::len(value) {
                    return Err(Malformed::VarIntNotMinimal);
                }
                self.take(len)?;
                Ok(value)
            }
            VarInt::Partial => Err(Malformed::Truncated),
            VarInt::TooLong => Err(Malformed::VarIntTooLong),
        }
    }

    /// Binary Data (1.5.6): its length in two bytes, then itself.
    #[inline]
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// UTF-8 Encoded String (1.5.4).
    #[inline]
    pub(super) fn string(&mut self) -> Result<&'a str, Malformed> {
        string(self.binary()?)
    }

    /// Packet Identifier (2.2.1).
    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<PacketId, Malformed> {
        PacketId::new(self.u16()?).ok_or(Malformed::PacketIdZero)
    }

    /// The bytes of a property block, which follow their length (2.2.2.1).
    #[inline]
    pub(super) fn property_block(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.varint()?;
        self.take(usize::try_from(len).map_err(|_| Malformed::Truncated)?)
    }
}

/// The rules of 1.5.4: well-formed UTF-8 without U+0000. Control characters and noncharacters, which a string
/// should not have, pass.
#[inline]
pub(super) fn string(bytes: &[u8]) -> Result<&str, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed::Utf8)?;
    // Not `contains`: without an early exit the loop is vectorised.
    if bytes.iter().fold(false, |found, &byte| found | (byte == 0)) {
        return Err(Malformed::Nul);
    }
    Ok(text)
}
