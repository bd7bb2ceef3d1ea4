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
    /// A redelivery of a message that has been routed and answered.
    Repeated,
    /// A redelivery of a message whose answer is still to come.
    Pending,
    /// The same, but the answer went with an earlier connection.
    Adrift,
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
                Some((_, Answer::Pending | Answer::Completing)) => Exchange::Pending,
                Some((_, answer @ Answer::Adrift)) => {
                    *answer = Answer::Given;
                    Exchange::Adrift
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

    /// PUBREC is sent.
    pub(super) fn answered(&mut self, id: PacketId) {
        if let Ok(at) = self.find(id)
            && let Some((_, answer @ Answer::Pending)) = self.open.get_mut(at)
        {
            *answer = Answer::Given;
        }
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
            if *answer == Answer::Pending {
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

impl FromIterator<PacketId> for Exchanges {
    /// Exchanges that were begun, and answered, by a session that was stored.
    fn from_iter<I: IntoIterator<Item = PacketId>>(ids: I) -> Self {
        let mut open: Vec<_> = ids.into_iter().map(|id| (id, Answer::Given)).collect();
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
    fn mqtt5_4_4_an_answer_that_went_with_its_connection_is_given_again() {
        let mut exchanges: Exchanges = [id(2), id(1), id(2)].into_iter().collect();
        assert_eq!(exchanges.begin(id(3), 8), Exchange::Begun);
        exchanges.detach();
        for (n, expected) in [
            (1, Exchange::Repeated),
            (2, Exchange::Repeated),
            (3, Exchange::Adrift),
        ] {
            assert_eq!(exchanges.begin(id(n), 8), expected);
            assert_eq!(exchanges.begin(id(n), 8), Exchange::Repeated);
        }
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
