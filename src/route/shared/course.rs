//! What a message of a group carries on its way among the members: whom it was offered to, who waits for it, and how it
//! is known again.
//!
//! The bytes of a parcel: which of the two follow that few messages have (1 byte: 1 a mark, 2 what a session left, 4 the
//! mark came before the restart, too), they themselves (10 and 16), then whom it was offered to (10 each). Little endian.

use std::num::NonZeroU64;

use crate::limits;
use crate::route::awaited::PublishId;
use crate::route::message::{LeftId, Mark, SessionId, SessionKey};

/// See the top of this file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Course {
    /// Whom it was offered to.
    pub(super) tried: Tried,
    /// The home's name for what waits until it is in good hands; in a parcel it stands beside the rest.
    pub(super) awaited: Option<PublishId>,
    /// By what it is known again, if its sender may send it once more.
    pub(super) mark: Option<Mark>,
    /// What holds it until another place does.
    pub(super) left: Option<LeftId>,
}

const MARK: u8 = 1;
const LEFT: u8 = 2;
const AGAIN: u8 = 4;

impl Course {
    /// As bytes of a parcel, without who waits.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let again = self.mark.is_some_and(|mark| mark.again);
        let flags = [
            (self.mark.is_some(), MARK),
            (self.left.is_some(), LEFT),
            (again, AGAIN),
        ];
        let flags = flags.into_iter().filter(|(is_set, _)| *is_set);
        let mut bytes = vec![flags.map(|(_, flag)| flag).sum()];
        if let Some(mark) = self.mark {
            bytes.extend_from_slice(&mark.session.get().to_le_bytes());
            bytes.extend_from_slice(&mark.exchange.to_le_bytes());
        }
        if let Some(left) = self.left {
            bytes.extend_from_slice(&left.number.to_le_bytes());
            bytes.extend_from_slice(&left.seq.to_le_bytes());
        }
        self.tried.append_to(&mut bytes);
        bytes
    }

    /// Reads them; what is not there is nothing.
    pub(super) fn read(bytes: &[u8], awaited: Option<PublishId>) -> Self {
        let (&flags, mut rest) = bytes.split_first().unwrap_or((&0, &[]));
        let mut mark = None;
        if flags & MARK != 0
            && let Some((session, behind)) = rest.split_first_chunk()
            && let Some((exchange, behind)) = behind.split_first_chunk()
        {
            rest = behind;
            mark = NonZeroU64::new(u64::from_le_bytes(*session)).map(|session| Mark {
                session,
                exchange: u16::from_le_bytes(*exchange),
                again: flags & AGAIN != 0,
            });
        }
        let mut left = None;
        if flags & LEFT != 0
            && let Some((number, behind)) = rest.split_first_chunk()
            && let Some((seq, behind)) = behind.split_first_chunk()
        {
            rest = behind;
            left = Some(LeftId {
                number: u64::from_le_bytes(*number),
                seq: u64::from_le_bytes(*seq),
            });
        }
        Self {
            tried: Tried::read(rest),
            awaited,
            mark,
            left,
        }
    }
}

/// Members that a message was offered to: in vain, but for the last one of a message on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tried {
    members: [Option<SessionId>; limits::SHARE_TRIES_MAX],
}

impl Tried {
    /// It is offered to one more.
    pub(super) fn add(&mut self, member: SessionId) {
        if !self.contains(member)
            && let Some(free) = self.members.iter_mut().find(|place| place.is_none())
        {
            *free = Some(member);
        }
    }

    pub(super) fn last(&self) -> Option<SessionId> {
        self.members.iter().flatten().last().copied()
    }

    pub(super) fn contains(&self, member: SessionId) -> bool {
        self.members.contains(&Some(member))
    }

    /// No other member is offered it.
    pub(super) fn is_full(&self) -> bool {
        self.members.iter().all(Option::is_some)
    }

    fn append_to(self, bytes: &mut Vec<u8>) {
        for member in self.members.into_iter().flatten() {
            bytes.extend_from_slice(&member.shard.to_le_bytes());
            bytes.extend_from_slice(&member.key.slot.to_le_bytes());
            bytes.extend_from_slice(&member.key.generation.to_le_bytes());
        }
    }

    fn read(mut bytes: &[u8]) -> Self {
        let mut tried = Self::default();
        while let Some((shard, rest)) = bytes.split_first_chunk()
            && let Some((slot, rest)) = rest.split_first_chunk()
            && let Some((generation, rest)) = rest.split_first_chunk()
        {
            tried.add(SessionId {
                shard: u16::from_le_bytes(*shard),
                key: SessionKey {
                    slot: u32::from_le_bytes(*slot),
                    generation: u32::from_le_bytes(*generation),
                },
            });
            bytes = rest;
        }
        tried
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_crosses_the_mesh() {
        let member = |n: u16| SessionId {
            shard: n,
            key: SessionKey {
                slot: 70_000 + u32::from(n),
                generation: 9,
            },
        };
        let mark = Mark {
            session: NonZeroU64::MAX,
            exchange: 7,
            again: true,
        };
        let left = LeftId {
            number: 1 << 40,
            seq: 3,
        };
        let once = Mark { again: false, ..mark };
        for mark in [None, Some(mark), Some(once)] {
            for left in [None, Some(left)] {
                let mut course = Course {
                    mark,
                    left,
                    ..Course::default()
                };
                for n in 0..3 {
                    assert!(!course.tried.is_full() && !course.tried.contains(member(n)));
                    assert_eq!(Course::read(&course.to_bytes(), None), course);
                    course.tried.add(member(n));
                    course.tried.add(member(n));
                    assert_eq!(course.tried.last(), Some(member(n)));
                }
                assert_eq!(Course::read(&course.to_bytes(), None), course);
                assert!(course.tried.is_full() && !course.tried.contains(member(3)));
            }
        }
        assert_eq!(Course::read(&[], None), Course::default());
    }
}
