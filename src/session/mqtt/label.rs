//! How a session finds its way back from a reply to its request: the label that goes with the request and
//! comes back with the outcome.
//!
//! Layout: a kind byte; `CALL`: the `<id>` of `$nexus/call/<id>/…`; `TOPIC`: the Response Topic;
//! `CORRELATED`: the Response Topic's length (2 bytes, big endian), the Response Topic, the Correlation Data.

use crate::limits;

const CALL: u8 = 0;
const TOPIC: u8 = 1;
const CORRELATED: u8 = 2;

/// Where a reply goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyTo<'a> {
    /// To `$nexus/reply/<id>`.
    Call(&'a str),
    /// To a Response Topic (5.0).
    Topic {
        /// The Response Topic.
        topic: &'a str,
        /// The Correlation Data, if the request had any.
        correlation: Option<&'a [u8]>,
    },
}

impl<'a> ReplyTo<'a> {
    /// Writes the label over what `label` held; false if it would be longer than a label may be.
    pub(super) fn encode(&self, label: &mut Vec<u8>) -> bool {
        label.clear();
        match *self {
            Self::Call(id) => {
                label.push(CALL);
                label.extend_from_slice(id.as_bytes());
            }
            Self::Topic {
                topic,
                correlation: None,
            } => {
                label.push(TOPIC);
                label.extend_from_slice(topic.as_bytes());
            }
            Self::Topic {
                topic,
                correlation: Some(data),
            } => {
                let Ok(len) = u16::try_from(topic.len()) else {
                    return false;
                };
                if topic.len() + data.len() > limits::LABEL_BYTES_MAX {
                    return false;
                }
                label.push(CORRELATED);
                label.extend_from_slice(&len.to_be_bytes());
                label.extend_from_slice(topic.as_bytes());
                label.extend_from_slice(data);
            }
        }
        label.len() <= limits::LABEL_BYTES_MAX
    }

    /// Reads a label that [`ReplyTo::encode`] wrote.
    pub(super) fn decode(label: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = label.split_first()?;
        let text = |bytes| std::str::from_utf8(bytes).ok();
        match kind {
            CALL => Some(Self::Call(text(rest)?)),
            TOPIC => Some(Self::Topic {
                topic: text(rest)?,
                correlation: None,
            }),
            CORRELATED => {
                let (len, rest) = rest.split_first_chunk()?;
                let (topic, data) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
                Some(Self::Topic {
                    topic: text(topic)?,
                    correlation: Some(data),
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_round_trip() {
        let mut label = vec![9; 9];
        for to in [
            ReplyTo::Call("a-1"),
            ReplyTo::Topic {
                topic: "é/r",
                correlation: None,
            },
            ReplyTo::Topic {
                topic: "é/r",
                correlation: Some(&[0, 255]),
            },
            ReplyTo::Topic {
                topic: "r",
                correlation: Some(&[]),
            },
        ] {
            assert!(to.encode(&mut label));
            assert_eq!(ReplyTo::decode(&label), Some(to));
        }
    }

    #[test]
    fn labels_over_their_bound_are_refused() {
        let topic = "x".repeat(limits::LABEL_BYTES_MAX);
        let mut label = Vec::new();
        for correlation in [None, Some(&[][..]), Some(&[1; 70_000])] {
            let to = ReplyTo::Topic {
                topic: &topic,
                correlation,
            };
            assert!(!to.encode(&mut label));
        }
    }

    #[test]
    fn what_is_no_label_is_nothing() {
        for wrong in [
            &[][..],
            &[7],
            &[CORRELATED, 0],
            &[CORRELATED, 0, 9, b'x'],
            &[CALL, 0xFF],
        ] {
            assert_eq!(ReplyTo::decode(wrong), None);
        }
    }
}
