//! What every message carries: who sent it, its number, and when it was planned to be sent.
//!
//! Layout, big-endian: run (4 bytes), publisher (4), sequence (8), planned nanoseconds (8), then filler. Where a
//! payload has to be text, the same bytes in hexadecimal digits.

use crate::bytes_at::{from_hex16, hex16, patch, u64_at};

/// How a stamp is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As bytes.
    Binary,
    /// As hexadecimal digits.
    Text,
}

impl Form {
    /// The form that suits both.
    pub const fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Binary, Self::Binary) => Self::Binary,
            _ => Self::Text,
        }
    }

    /// Bytes of a stamp: the smallest payload.
    pub const fn bytes(self) -> usize {
        self.number_bytes() * 3
    }

    /// Bytes of one of its three numbers.
    const fn number_bytes(self) -> usize {
        match self {
            Self::Binary => 8,
            Self::Text => 16,
        }
    }
}

/// The stamp of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Random number of the run, so that another run's messages are recognised as foreign.
    pub run: u32,
    /// Index of the publisher on its thread.
    pub publisher: u32,
    /// 0, 1, 2, … per publisher.
    pub sequence: u64,
    /// The time the message was planned to be sent, on the process's monotonic clock.
    pub planned_ns: u64,
}

impl Stamp {
    /// Writes the stamp to the start of `payload`, which must hold it.
    pub fn write(&self, form: Form, payload: &mut [u8]) {
        let who = u64::from(self.run) << 32 | u64::from(self.publisher);
        for (turn, number) in [who, self.sequence, self.planned_ns].into_iter().enumerate() {
            let at = turn * form.number_bytes();
            match form {
                Form::Binary => patch(payload, at, &number.to_be_bytes()),
                Form::Text => patch(payload, at, &hex16(number)),
            };
        }
    }

    /// Reads the stamp at the start of `payload`.
    pub fn read(form: Form, payload: &[u8]) -> Option<Self> {
        let number = |turn: usize| {
            let at = turn * form.number_bytes();
            match form {
                Form::Binary => u64_at(payload, at),
                Form::Text => from_hex16(payload.get(at..at + 16)?),
            }
        };
        let who = number(0)?;
        Some(Self {
            run: u32::try_from(who >> 32).ok()?,
            publisher: u32::try_from(who & u64::from(u32::MAX)).ok()?,
            sequence: number(1)?,
            planned_ns: number(2)?,
        })
    }
}

/// A payload of `payload_bytes` (at least a stamp's) with printable filler after the room for the stamp.
pub fn blank_payload(form: Form, payload_bytes: usize) -> Vec<u8> {
    let room = match form {
        Form::Binary => 0,
        Form::Text => b'0',
    };
    (0..payload_bytes.max(form.bytes()))
        .map(|at| {
            if at < form.bytes() {
                room
            } else {
                b'a' + u8::try_from(at % 26).unwrap_or(0)
            }
        })
        .collect()
}

/// True if everything after the stamp is the filler of [`blank_payload`], by comparison with a `blank` one.
pub fn filler_intact(form: Form, blank: &[u8], payload: &[u8]) -> bool {
    blank.get(form.bytes()..) == payload.get(form.bytes()..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_the_payload() {
        let stamp = Stamp {
            run: 7,
            publisher: 9,
            sequence: u64::MAX - 1,
            planned_ns: 42,
        };
        for form in [Form::Binary, Form::Text] {
            let blank = blank_payload(form, 100);
            let mut payload = blank.clone();
            stamp.write(form, &mut payload);
            assert_eq!(payload.len(), 100);
            assert_eq!(Stamp::read(form, &payload), Some(stamp));
            assert!(filler_intact(form, &blank, &payload));
            payload[50] ^= 1;
            assert!(!filler_intact(form, &blank, &payload));
            assert_eq!(Stamp::read(form, &payload[..form.bytes() - 1]), None);
            assert_eq!(std::str::from_utf8(&payload).is_ok(), form == Form::Text);
        }
    }
}
