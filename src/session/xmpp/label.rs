//! How a session finds its way back from a reply to its request: the label that goes with the request and comes
//! back with the outcome. Layout: the length of `to` (2 bytes, big endian), `to`, `id`; both as text.

use crate::limits;

/// What the reply needs of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReplyTo<'a> {
    /// Whom the request named; empty: nobody. The reply comes from there.
    pub(super) to: &'a str,
    /// The request's id.
    pub(super) id: &'a str,
}

impl<'a> ReplyTo<'a> {
    /// Writes the label over what `label` held; false if it would be longer than a label may be.
    pub(super) fn encode(&self, label: &mut Vec<u8>) -> bool {
        label.clear();
        let Ok(len) = u16::try_from(self.to.len()) else {
            return false;
        };
        if 2 + self.to.len() + self.id.len() > limits::LABEL_BYTES_MAX {
            return false;
        }
        label.extend_from_slice(&len.to_be_bytes());
        label.extend_from_slice(self.to.as_bytes());
        label.extend_from_slice(self.id.as_bytes());
        true
    }

    /// Reads a label that [`ReplyTo::encode`] wrote.
    pub(super) fn decode(label: &'a [u8]) -> Option<Self> {
        let (len, rest) = label.split_first_chunk()?;
        let (to, id) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        Some(Self {
            to: std::str::from_utf8(to).ok()?,
            id: std::str::from_utf8(id).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_back_as_they_went() {
        let mut label = vec![1, 2, 3];
        for (to, id) in [("", ""), ("", "é1"), ("nexus.example", "c1")] {
            let reply = ReplyTo { to, id };
            assert!(reply.encode(&mut label));
            assert_eq!(ReplyTo::decode(&label), Some(reply));
        }
        let id = "i".repeat(limits::LABEL_BYTES_MAX - 2);
        assert!(ReplyTo { to: "", id: &id }.encode(&mut label));
        assert!(!ReplyTo { to: "x", id: &id }.encode(&mut label));
    }

    #[test]
    fn what_is_no_label_is_none() {
        for wrong in [&[][..], &[0], &[0, 2, b'a'], &[0, 0, 0xFF]] {
            assert_eq!(ReplyTo::decode(wrong), None);
        }
    }
}
