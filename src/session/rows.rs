//! What the stored forms of sessions are made of: numbers, and texts and bytes after their length (4 bytes, big endian).

use crate::route::Qos;

/// The guarantee as one byte.
pub(crate) const fn number(qos: Qos) -> u8 {
    match qos {
        Qos::AtMostOnce => 0,
        Qos::AtLeastOnce => 1,
        Qos::ExactlyOnce => 2,
    }
}

/// The guarantee that a byte stands for.
pub(crate) const fn qos(number: u8) -> Option<Qos> {
    match number {
        0 => Some(Qos::AtMostOnce),
        1 => Some(Qos::AtLeastOnce),
        2 => Some(Qos::ExactlyOnce),
        _ => None,
    }
}

/// Appends bytes after their length.
pub(crate) fn put_bytes(row: &mut Vec<u8>, bytes: &[u8]) {
    // A CONNECT is far shorter.
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    row.extend_from_slice(&len.to_be_bytes());
    row.extend_from_slice(bytes);
}

/// What is left to read.
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    /// So many bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    /// Bytes after their length.
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(u32::from_be_bytes(self.array()?)).ok()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    /// The same, as text.
    pub(crate) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}
