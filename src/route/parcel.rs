//! What one shard sends another in one go: letters, and the bytes they refer to.
//!
//! Invariant: spans are only made by the parcel they point into; a parcel is emptied and used again, so that
//! routing allocates nothing in the steady state.

use super::identity::{Role, Sender};
use super::letter::Letter;

/// A range of a parcel's bytes or text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    len: u32,
}

/// A sender in a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SenderSpan {
    address: Span,
    app_len: u8,
    role: Role,
}

/// Letters for one shard, in order, with the bytes they refer to.
#[derive(Debug, Default)]
pub struct Parcel {
    letters: Vec<Letter>,
    /// Bodies, payloads, labels.
    bytes: Vec<u8>,
    /// Names and Direct messages: kept apart so that they come out as text without being checked again.
    text: String,
    /// What its letters share with other shards, in bytes.
    shared: usize,
}

/// A parcel that has grown beyond this is not kept for use again.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

impl Parcel {
    /// Bytes it holds, its letters and what they share with other shards included.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len() + self.text.len() + self.shared + self.letters.len() * size_of::<Letter>()
    }

    /// Whether it holds no letter.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Letters it holds.
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// Forgets all letters; keeps the room unless it is unusually large.
    pub(crate) fn clear(&mut self) {
        let letters = self.letters.capacity() * size_of::<Letter>();
        if self.bytes.capacity() + self.text.capacity() + letters > KEPT_BYTES_MAX {
            *self = Self::default();
        }
        self.letters.clear();
        self.bytes.clear();
        self.text.clear();
        self.shared = 0;
    }

    pub(crate) fn put(&mut self, letter: Letter) {
        self.letters.push(letter);
    }

    pub(crate) fn put_bytes(&mut self, bytes: &[u8]) -> Span {
        let span = span(self.bytes.len(), bytes.len());
        self.bytes.extend_from_slice(bytes);
        span
    }

    pub(crate) fn put_text(&mut self, text: &str) -> Span {
        let span = span(self.text.len(), text.len());
        self.text.push_str(text);
        span
    }

    /// Counts bytes that a letter keeps alive without holding them here.
    pub(crate) const fn put_shared(&mut self, bytes: usize) {
        self.shared += bytes;
    }

    pub(crate) fn put_sender(&mut self, sender: &Sender<'_>) -> SenderSpan {
        SenderSpan {
            address: self.put_text(sender.address()),
            app_len: sender.app_len(),
            role: sender.role(),
        }
    }

    /// The letters, taken out so that their spans can be read meanwhile; give them back with `restore`.
    pub(crate) fn take_letters(&mut self) -> Vec<Letter> {
        std::mem::take(&mut self.letters)
    }

    /// Takes the letters' room back and empties the parcel.
    pub(crate) fn restore(&mut self, letters: Vec<Letter>) {
        self.letters = letters;
        self.clear();
    }

    pub(crate) fn bytes(&self, span: Span) -> &[u8] {
        self.bytes.get(range(span)).unwrap_or_default()
    }

    pub(crate) fn text(&self, span: Span) -> &str {
        self.text.get(range(span)).unwrap_or_default()
    }

    pub(crate) fn sender(&self, sender: SenderSpan) -> Sender<'_> {
        Sender::restore(self.text(sender.address), sender.app_len, sender.role)
    }

    /// Appends all of `later`, in order.
    pub(crate) fn append(&mut self, later: &mut Self) {
        let (bytes, text) = (at(self.bytes.len()), at(self.text.len()));
        self.bytes.append(&mut later.bytes);
        self.text.push_str(&later.text);
        self.shared += later.shared;
        self.letters.extend(later.letters.drain(..).map(|mut letter| {
            letter.move_spans(bytes, text);
            letter
        }));
        later.clear();
    }
}

impl Span {
    pub(crate) fn moved(self, by: u32) -> Self {
        Self {
            start: self.start.saturating_add(by),
            ..self
        }
    }
}

impl SenderSpan {
    pub(crate) fn moved(self, by: u32) -> Self {
        Self {
            address: self.address.moved(by),
            ..self
        }
    }
}

/// Parcels are bounded far below 4 GiB (`MESH_RESERVED_BYTES_MAX`); a place beyond would read as empty.
fn at(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

fn span(start: usize, len: usize) -> Span {
    Span {
        start: at(start),
        len: at(len),
    }
}

fn range(span: Span) -> std::ops::Range<usize> {
    let start = span.start as usize;
    start..start + span.len as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::SessionKey;

    fn key(slot: u32) -> SessionKey {
        SessionKey { slot, generation: 0 }
    }

    #[test]
    fn spans_come_back_as_they_were_put() {
        let mut parcel = Parcel::default();
        let address = "etest-0123456789abcdef01234567-owner/w1";
        let sender = Sender::parse(address).unwrap();
        let (text, bytes, from) = (
            parcel.put_text("é"),
            parcel.put_bytes(&[0, 255]),
            parcel.put_sender(&sender),
        );
        assert_eq!(parcel.text(text), "é");
        assert_eq!(parcel.bytes(bytes), [0, 255]);
        assert_eq!(parcel.sender(from), sender);
    }

    #[test]
    fn appending_keeps_order_and_moves_spans() {
        let (mut first, mut second) = (Parcel::default(), Parcel::default());
        for (parcel, slot, cmd) in [(&mut first, 1, "one"), (&mut second, 2, "two")] {
            let cmd = parcel.put_text(cmd);
            parcel.put(Letter::ListenerAdd {
                worker: key(slot),
                cmd,
            });
        }
        first.append(&mut second);
        assert!(second.is_empty());
        let letters = first.take_letters();
        let read: Vec<_> = letters
            .iter()
            .map(|letter| match letter {
                Letter::ListenerAdd { worker, cmd } => (worker.slot, first.text(*cmd)),
                _ => panic!("another letter"),
            })
            .collect();
        assert_eq!(read, [(1, "one"), (2, "two")]);
    }
}
