//! Bytes to borrowed frames and back.
//!
//! Invariants: a codec knows no session, no router and no clock; it does not allocate (but for the small strings
//! of a login, in [`sasl`]); what it hands out borrows from the bytes it was given. "More bytes are needed" and
//! "this can never become valid" are different types.

pub mod mqtt;
pub mod sasl;
pub mod ws;
pub mod xmpp;

/// What a decoder found at the front of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decode<T> {
    /// A complete frame.
    Frame {
        /// The frame, borrowed from the bytes.
        frame: T,
        /// How many bytes it took.
        len: usize,
    },
    /// Not complete: at least this many bytes, counted from the first one given, must be there before another
    /// call can find more.
    Need(usize),
}
