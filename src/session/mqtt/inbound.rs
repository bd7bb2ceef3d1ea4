//! What a client has left behind on its way in: topic aliases and open QoS 2 exchanges. Boxed by the session,
//! because few clients need either.

use std::collections::VecDeque;

use crate::codec::mqtt::packet::PacketId;
use crate::limits;

/// Stands for a topic that is longer than any the session takes: refused again each time the alias is used.
const UNUSABLE: &str = "\u{1}";

/// Topic aliases (5.0, 3.3.2.3.4): the client's numbers for topics it has named before.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    /// At `alias - 1`; empty where none is set.
    topics: Vec<Box<str>>,
}

impl Aliases {
    /// Gives `alias` (1-based, checked against the maximum) the meaning `topic`.
    pub(super) fn set(&mut self, alias: u16, topic: &str) {
        let at = usize::from(alias).saturating_sub(1);
        if self.topics.len() <= at {
            self.topics.resize_with(at + 1, Box::default);
        }
        let topic = if topic.len() > limits::ALIASED_TOPIC_BYTES_MAX {
            UNUSABLE
        } else {
            topic
        };
        if let Some(slot) = self.topics.get_mut(at)
            && **slot != *topic
        {
            *slot = topic.into();
        }
    }

    /// Whether none is set.
    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// What `alias` stands for, if it was given a meaning.
    pub(super) fn get(&self, alias: u16) -> Option<&str> {
        let topic = self.topics.get(usize::from(alias).checked_sub(1)?)?;
        (!topic.is_empty()).then_some(topic)
    }
}

/// What became of the identifier of a QoS 2 PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    /// Not seen before: the message is to be routed.
    Begun,
    /// Routed before a restart, but perhaps not to everybody: it is to be routed again.
    Again,
    /// A redelivery of a message that has been routed and answered.
    Repeated,
    /// A redelivery of a message whose answer is still to come.
    Pending,
    /// Too many exchanges are open.
    Refused,
}

/// Whether PUBREC has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// The message is with the router.
    Pending,
    /// It was with the router when the connection ended.
    Adrift,
    /// It was with the router when the daemon ended, or was answered: who was to get it is known, but not here.
    Restored,
    /// The same, with the router again.
    Again,
    Given,
    /// PUBREL has come; PUBCOMP waits for the disk.
    Completing,
}

/// QoS 2 exchanges (4.3.3) between PUBLISH and PUBREL, by packet identifier, ascending.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    // Clients number their messages upwards and release them in that order, so both ends of the deque are
    // where things happen.
    open: VecDeque<(PacketId, Answer)>,
    /// How many of them earlier connections have left: the client does not count them against Receive Maximum.
    left: usize,
}

impl Exchanges {
    /// Gives back room that nothing is in.
    pub(super) fn shrink(&mut self) {
        if self.open.is_empty() {
            self.open = VecDeque::new();
        }
    }

    fn find(&self, id: PacketId) -> Result<usize, usize> {
        self.open.binary_search_by_key(&id, |&(id, _)| id)
    }

    /// A PUBLISH came; at most `most` exchanges are open at once.
    pub(super) fn begin(&mut self, id: PacketId, most: usize) -> Exchange {
        match self.find(id) {
            Ok(at) => match self.open.get_mut(at) {
                Some((_, Answer::Pending | Answer::Again | Answer::Completing)) => Exchange::Pending,
                Some((_, answer @ Answer::Restored)) => {
                    *answer = Answer::Again;
                    Exchange::Again
                }
                // The answer that is to come is this connection's now.
                Some((_, answer @ Answer::Adrift)) => {
                    *answer = Answer::Pending;
                    Exchange::Pending
                }
                _ => Exchange::Repeated,
            },
            Err(_) if self.open.len() >= most => Exchange::Refused,
            Err(at) => {
                self.open.insert(at, (id, Answer::Pending));
                Exchange::Begun
            }
        }
    }

    /// Whether an exchange is open.
    pub(super) fn contains(&self, id: PacketId) -> bool {
        self.find(id).is_ok()
    }

    /// PUBREC is sent, or may be sent when the client asks.
    pub(super) fn answered(&mut self, id: PacketId) {
        if let Ok(at) = self.find(id)
            && let Some((_, answer @ (Answer::Pending | Answer::Again | Answer::Adrift))) =
                self.open.get_mut(at)
        {
            *answer = Answer::Given;
        }
    }

    /// Whether the client of this connection waits for PUBREC.
    pub(super) fn is_pending(&self, id: PacketId) -> bool {
        self.is(id, |answer| matches!(answer, Answer::Pending | Answer::Again))
    }

    /// Whether nothing has been said to any client of what became of the message.
    pub(super) fn is_unanswered(&self, id: PacketId) -> bool {
        self.is(id, |answer| {
            matches!(answer, Answer::Pending | Answer::Again | Answer::Adrift)
        })
    }

    /// Whether the message has been routed before a restart, too.
    pub(super) fn is_again(&self, id: PacketId) -> bool {
        self.is(id, |answer| answer == Answer::Again)
    }

    fn is(&self, id: PacketId, so: impl FnOnce(Answer) -> bool) -> bool {
        let found = self.find(id).ok().and_then(|at| self.open.get(at));
        found.is_some_and(|&(_, answer)| so(answer))
    }

    /// A PUBREL came whose answer waits: whether it is the first one, if the exchange is open.
    pub(super) fn complete(&mut self, id: PacketId) -> Option<bool> {
        let at = self.find(id).ok()?;
        let (_, answer) = self.open.get_mut(at)?;
        let before = std::mem::replace(answer, Answer::Completing);
        Some(before != Answer::Completing)
    }

    /// A PUBREL came: whether the exchange was open.
    pub(super) fn release(&mut self, id: PacketId) -> bool {
        let found = self.find(id);
        if let Ok(at) = found {
            self.open.remove(at);
            self.left = self.left.saturating_sub(1);
        }
        found.is_ok()
    }

    /// The connection is gone, and with it the answers that were to come.
    pub(super) fn detach(&mut self) {
        // Their ends are written down; who asks again is told that there is no such exchange.
        self.open.retain(|&(_, answer)| answer != Answer::Completing);
        self.left = self.open.len();
        for (_, answer) in &mut self.open {
            if matches!(answer, Answer::Pending | Answer::Again) {
                *answer = Answer::Adrift;
            }
        }
    }

    /// Exchanges that were begun on this connection and are open.
    pub(super) fn begun(&self) -> usize {
        self.open.len().saturating_sub(self.left)
    }

    /// Whether none is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

impl FromIterator<(PacketId, bool)> for Exchanges {
    /// Exchanges that were begun by a session that was stored, and whether their messages went to several shards.
    /// Those of the others came to last as a whole.
    fn from_iter<I: IntoIterator<Item = (PacketId, bool)>>(ids: I) -> Self {
        let answer = |spread| if spread { Answer::Restored } else { Answer::Given };
        let mut open: Vec<_> = ids.into_iter().map(|(id, spread)| (id, answer(spread))).collect();
        open.sort_unstable_by_key(|&(id, _)| id);
        open.dedup_by_key(|&mut (id, _)| id);
        Self {
            left: open.len(),
            open: open.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mqtt5_3_3_2_3_4_an_alias_means_what_it_was_last_given() {
        let mut aliases = Aliases::default();
        assert_eq!(aliases.get(3), None);
        aliases.set(3, "a/b");
        assert_eq!(
            (aliases.get(3), aliases.get(1), aliases.get(4)),
            (Some("a/b"), None, None)
        );
        aliases.set(3, "c");
        assert_eq!(aliases.get(3), Some("c"));
        assert_eq!(aliases.get(0), None);
    }

    #[test]
    fn an_alias_of_a_topic_that_is_never_taken_costs_no_memory() {
        let mut aliases = Aliases::default();
        aliases.set(1, &"x".repeat(limits::ALIASED_TOPIC_BYTES_MAX + 1));
        assert_eq!(aliases.get(1), Some(UNUSABLE));
        assert!(super::super::control::target(UNUSABLE).is_err());
    }

    fn id(id: u16) -> PacketId {
        PacketId::new(id).unwrap()
    }

    #[test]
    fn mqtt5_4_3_3_an_exchange_is_begun_once_until_it_is_released() {
        let mut exchanges = Exchanges::default();
        for n in [7, 3, 9] {
            assert_eq!(exchanges.begin(id(n), 8), Exchange::Begun);
            assert_eq!(exchanges.begin(id(n), 8), Exchange::Pending);
            exchanges.answered(id(n));
            assert_eq!(exchanges.begin(id(n), 8), Exchange::Repeated);
        }
        assert!(exchanges.contains(id(3)) && exchanges.release(id(3)));
        assert!(!exchanges.contains(id(3)) && !exchanges.release(id(3)));
        assert_eq!(exchanges.begin(id(3), 8), Exchange::Begun);
        assert_eq!(exchanges.begun(), 3);
    }

    #[test]
    fn mqtt5_4_4_an_answer_that_was_to_come_is_the_next_connections() {
        let mut exchanges: Exchanges = [2, 1, 2].map(|n| (id(n), false)).into_iter().collect();
        assert_eq!(exchanges.begin(id(3), 8), Exchange::Begun);
        assert!(exchanges.is_pending(id(3)));
        exchanges.detach();
        assert!(exchanges.is_unanswered(id(3)) && !exchanges.is_pending(id(3)));
        for (n, expected) in [
            (1, Exchange::Repeated),
            (2, Exchange::Repeated),
            (3, Exchange::Pending),
        ] {
            assert_eq!(exchanges.begin(id(n), 8), expected);
            assert_eq!(exchanges.begin(id(n), 8), expected);
        }
        assert!(exchanges.is_pending(id(3)) && !exchanges.is_unanswered(id(1)));
        exchanges.answered(id(3));
        assert_eq!(exchanges.begin(id(3), 8), Exchange::Repeated);
        assert_eq!(exchanges.begun(), 0, "Receive Maximum begins anew (4.9)");
        assert_eq!(exchanges.begin(id(4), 8), Exchange::Begun);
        assert!(exchanges.release(id(1)));
        assert_eq!(exchanges.begun(), 1);
    }

    #[test]
    fn mqtt5_4_3_3_an_exchange_whose_end_waits_is_open_as_long_as_its_connection() {
        let mut exchanges = Exchanges::default();
        assert_eq!(exchanges.complete(id(1)), None);
        assert_eq!(exchanges.begin(id(1), 8), Exchange::Begun);
        assert_eq!(exchanges.complete(id(1)), Some(true));
        exchanges.answered(id(1));
        assert_eq!(exchanges.complete(id(1)), Some(false));
        assert_eq!(
            (exchanges.begin(id(1), 8), exchanges.begun()),
            (Exchange::Pending, 1)
        );
        exchanges.detach();
        assert!(exchanges.is_empty());
    }

    #[test]
    fn open_exchanges_are_bounded() {
        let mut exchanges = Exchanges::default();
        for n in 1..=5 {
            assert_eq!(exchanges.begin(id(n), 5), Exchange::Begun);
        }
        assert_eq!(exchanges.begin(id(6), 5), Exchange::Refused);
        assert_eq!(exchanges.begin(id(1), 5), Exchange::Pending);
        assert!(!exchanges.is_empty());
    }
}
