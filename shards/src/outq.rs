//! The bytes one connection has waiting: a queue of pieces, private or shared.
//!
//! Under TLS the pieces are records, and what is appended waits in a queue of its own until it is sealed.
//!
//! Invariant: the first `in_flight` pieces belong to the one send the kernel works on; they are neither
//! changed, moved nor dropped before its completion. Everything leaves in the order it was appended. A queue
//! refers to at most [`limits::SHARED_PIECES_MAX`] shared pieces that are not in flight.
#![expect(unsafe_code, reason = "a vector of pieces for the kernel starts as zeroes")]

use std::collections::VecDeque;

use crate::limits;
use crate::pool::Pool;
use crate::share::{Range, Shared};
use crate::tls::Tls;

/// A run of bytes in one place.
#[derive(Debug)]
enum Piece {
    /// Written for this connection alone; the first `sent` bytes are gone.
    Private { bytes: Vec<u8>, sent: usize },
    /// Part of a chunk other connections may refer to as well.
    Shared(Range),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Private { bytes, sent } => bytes.get(*sent..).unwrap_or_default(),
            Self::Shared(range) => range.bytes(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Private { bytes, sent } => bytes.len() - sent,
            Self::Shared(range) => range.len(),
        }
    }

    fn advance(&mut self, n: usize) {
        match self {
            Self::Private { sent, .. } => *sent += n,
            Self::Shared(range) => range.advance(n),
        }
    }
}

/// The header of a vectored send; lives as long as the send.
pub(crate) struct Vector {
    header: libc::msghdr,
    parts: [libc::iovec; limits::SEND_PIECES_MAX],
}

impl Vector {
    fn new() -> Box<Self> {
        // SAFETY: both are plain C structures of numbers and pointers, for which all zeroes is a valid value.
        Box::new(unsafe { std::mem::zeroed() })
    }
}

impl std::fmt::Debug for Vector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vector")
    }
}

/// What the kernel is to be asked for. The pointers stay valid until [`OutQueue::sent`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Send {
    /// One run of bytes.
    Bytes { at: *const u8, len: u32 },
    /// Several, described by a header.
    Vector { header: *const libc::msghdr },
}

/// One connection's output.
#[derive(Debug, Default)]
pub(crate) struct OutQueue {
    pieces: VecDeque<Piece>,
    in_flight: usize,
    in_flight_bytes: usize,
    shared: usize,
    vector: Option<Box<Vector>>,
    /// The connection's TLS: the pieces here are its records.
    tls: Option<Box<Tls>>,
    /// What is not sealed yet.
    plain: Option<Box<Self>>,
}

impl OutQueue {
    /// The private buffer at the queue's end, for appending only.
    pub(crate) fn buffer(&mut self, pool: &mut Pool) -> &mut Vec<u8> {
        if self.tls.is_some() {
            return self.plain.get_or_insert_default().records(pool);
        }
        self.records(pool)
    }

    /// The buffer at the end of what goes out as it is, TLS or not.
    pub(crate) fn records(&mut self, pool: &mut Pool) -> &mut Vec<u8> {
        let appendable = self.pieces.len() > self.in_flight
            && matches!(self.pieces.back(), Some(Piece::Private { bytes, .. }) if bytes.len() < limits::PRIVATE_PIECE_BYTES);
        if !appendable {
            let bytes = pool.take();
            self.pieces.push_back(Piece::Private { bytes, sent: 0 });
        }
        match self.pieces.back_mut() {
            Some(Piece::Private { bytes, .. }) => bytes,
            _ => unreachable!("the piece was made above"),
        }
    }

    /// Appends a shared frame. True: it was copied, because too many are referred to.
    pub(crate) fn push(&mut self, frame: &Shared, pool: &mut Pool) -> bool {
        if frame.is_empty() {
            return false;
        }
        if self.tls.is_some() {
            return self.plain.get_or_insert_default().push(frame, pool);
        }
        if self.pieces.len() > self.in_flight
            && let Some(Piece::Shared(range)) = self.pieces.back_mut()
            && range.merge(frame)
        {
            return false;
        }
        if self.shared >= limits::SHARED_PIECES_MAX {
            self.buffer(pool).extend_from_slice(frame.bytes());
            return true;
        }
        self.shared += 1;
        self.pieces.push_back(Piece::Shared(frame.range()));
        false
    }

    /// Bytes appended and not yet taken by the kernel.
    pub(crate) fn len(&self) -> usize {
        let plain = self.plain.as_deref().map_or(0, Self::len);
        plain + self.pieces.iter().map(Piece::len).sum::<usize>()
    }

    /// Whether a send is with the kernel.
    pub(crate) fn is_flying(&self) -> bool {
        self.in_flight > 0
    }

    /// Whether nothing is left, in flight or waiting.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight == 0
            && self.pieces.iter().all(|piece| piece.len() == 0)
            && self.plain.as_deref().is_none_or(Self::is_empty)
    }

    /// The connection's TLS.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_deref()
    }

    /// The same, to be changed or taken.
    pub(crate) fn tls_mut(&mut self) -> &mut Option<Box<Tls>> {
        &mut self.tls
    }

    /// Seals what waits, as much as one send takes.
    fn seal(&mut self, pool: &mut Pool) {
        let Some(mut tls) = self.tls.take() else { return };
        if tls.is_open()
            && let Some(plain) = self.plain.as_deref_mut().filter(|plain| !plain.is_empty())
        {
            let bytes = plain.take_front(limits::SEND_BYTES_MAX, pool);
            tls.seal(&bytes, self.records(pool));
            pool.give(bytes);
        }
        self.tls = Some(tls);
    }

    /// Has TLS say that nothing more will come, once. True: that is to be sent.
    pub(crate) fn close_tls(&mut self, pool: &mut Pool) -> bool {
        let Some(mut tls) = self.tls.take() else {
            return false;
        };
        let says = tls.is_open() && tls.close(self.records(pool));
        self.tls = Some(tls);
        says
    }

    /// Drops what can never be sealed.
    pub(crate) fn discard_unsealable(&mut self, pool: &mut Pool) {
        if self.tls.as_deref().is_some_and(|tls| !tls.is_open())
            && let Some(mut plain) = self.plain.take()
        {
            plain.discard(pool);
        }
    }

    /// Takes up to `most` bytes off the front of what waits, none of it in flight: in the buffer they are in, if
    /// they are alone there.
    pub(crate) fn take_front(&mut self, most: usize, pool: &mut Pool) -> Vec<u8> {
        if self.pieces.len() == 1
            && let Some(Piece::Private { bytes, sent: 0 }) = self.pieces.front_mut()
            && bytes.len() <= most
        {
            let bytes = std::mem::take(bytes);
            self.pieces.clear();
            return bytes;
        }
        let mut front = pool.take();
        while let Some(piece) = self.pieces.front_mut() {
            let taken = piece.len().min(most - front.len());
            front.extend_from_slice(piece.bytes().get(..taken).unwrap_or_default());
            piece.advance(taken);
            if piece.len() > 0 {
                break;
            }
            self.drop_front(pool);
        }
        self.shared = self
            .pieces
            .iter()
            .filter(|piece| matches!(piece, Piece::Shared(_)))
            .count();
        front
    }

    /// Gives back the memory of what is empty: the queue stays with an idle connection.
    pub(crate) fn rest(&mut self) {
        if self.pieces.is_empty() {
            self.pieces = VecDeque::new();
        }
        self.vector = None;
        if self.plain.as_deref().is_some_and(Self::is_empty) {
            self.plain = None;
        }
        if let Some(tls) = &mut self.tls {
            tls.rest();
        }
    }

    /// Puts the next send together; none if nothing waits or one is in flight.
    pub(crate) fn next_send(&mut self, pool: &mut Pool) -> Option<Send> {
        if self.is_flying() {
            return None;
        }
        if self.tls.is_some() {
            self.seal(pool);
        }
        self.drop_empty(pool);
        let count = self.pieces.len();
        if count == 0 {
            return None;
        }
        if count > 1 && self.pieces.iter().map(Piece::len).sum::<usize>() <= limits::GATHER_BYTES_MAX {
            self.gather(pool);
        }
        if self.pieces.len() == 1 {
            return self.single();
        }
        Some(self.vectored())
    }

    fn single(&mut self) -> Option<Send> {
        let bytes = self.pieces.front()?.bytes();
        let len = bytes.len().min(limits::SEND_BYTES_MAX);
        let at = bytes.as_ptr();
        self.take_off(1, len);
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        Some(Send::Bytes { at, len })
    }

    fn vectored(&mut self) -> Send {
        let mut vector = self.vector.take().unwrap_or_else(Vector::new);
        let mut count = 0;
        let mut bytes = 0;
        for (piece, part) in self.pieces.iter().zip(&mut vector.parts) {
            let len = piece.len().min(limits::SEND_BYTES_MAX - bytes);
            if len == 0 {
                break;
            }
            part.iov_base = piece.bytes().as_ptr().cast_mut().cast();
            part.iov_len = len;
            bytes += len;
            count += 1;
        }
        vector.header.msg_iov = vector.parts.as_mut_ptr();
        vector.header.msg_iovlen = count;
        let header = &raw const vector.header;
        self.vector = Some(vector);
        self.take_off(count, bytes);
        Send::Vector { header }
    }

    fn take_off(&mut self, pieces: usize, bytes: usize) {
        self.in_flight = pieces;
        self.in_flight_bytes = bytes;
        let flying = self.pieces.iter().take(pieces);
        self.shared -= flying.filter(|piece| matches!(piece, Piece::Shared(_))).count();
    }

    /// The kernel is done and took `n` bytes. True: not all it was given.
    pub(crate) fn sent(&mut self, n: usize, pool: &mut Pool) -> bool {
        let short = n < self.in_flight_bytes;
        let mut left = n;
        for _ in 0..self.in_flight {
            let Some(piece) = self.pieces.front_mut() else {
                break;
            };
            let taken = left.min(piece.len());
            piece.advance(taken);
            left -= taken;
            if piece.len() > 0 {
                break;
            }
            self.drop_front(pool);
            self.in_flight -= 1;
        }
        let landed = self.pieces.iter().take(self.in_flight);
        self.shared += landed.filter(|piece| matches!(piece, Piece::Shared(_))).count();
        self.in_flight = 0;
        self.in_flight_bytes = 0;
        short
    }

    /// Drops everything that is not in flight.
    pub(crate) fn discard(&mut self, pool: &mut Pool) {
        while self.pieces.len() > self.in_flight {
            match self.pieces.pop_back() {
                Some(Piece::Private { bytes, .. }) => pool.give(bytes),
                Some(Piece::Shared(_)) | None => {}
            }
        }
        self.shared = 0;
        if let Some(plain) = &mut self.plain {
            plain.discard(pool);
        }
    }

    fn drop_front(&mut self, pool: &mut Pool) {
        if let Some(Piece::Private { bytes, .. }) = self.pieces.pop_front() {
            pool.give(bytes);
        }
    }

    /// Removes buffers that were asked for and not written to.
    fn drop_empty(&mut self, pool: &mut Pool) {
        if self.pieces.iter().all(|piece| piece.len() > 0) {
            return;
        }
        for _ in 0..self.pieces.len() {
            match self.pieces.pop_front() {
                Some(piece) if piece.len() > 0 => self.pieces.push_back(piece),
                Some(Piece::Private { bytes, .. }) => pool.give(bytes),
                Some(Piece::Shared(_)) | None => {}
            }
        }
    }

    /// Copies all pieces into one.
    fn gather(&mut self, pool: &mut Pool) {
        let (mut whole, sent) = match self.pieces.pop_front() {
            Some(Piece::Private { bytes, sent }) => (bytes, sent),
            Some(Piece::Shared(range)) => {
                let mut bytes = pool.take();
                bytes.extend_from_slice(range.bytes());
                (bytes, 0)
            }
            None => return,
        };
        while let Some(piece) = self.pieces.pop_front() {
            whole.extend_from_slice(piece.bytes());
            if let Piece::Private { bytes, .. } = piece {
                pool.give(bytes);
            }
        }
        self.shared = 0;
        self.pieces.push_back(Piece::Private { bytes: whole, sent });
    }
}

#[cfg(test)]
mod tests;
