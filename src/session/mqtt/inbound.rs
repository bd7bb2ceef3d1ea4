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
    /// A redelivery of a message that has been routed.
    Repeated,
    /// Too many exchanges are open.
    Refused,
}

/// QoS 2 exchanges (3.1.1, 4.3.3) between PUBLISH and PUBREL, by packet identifier, ascending.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    // Clients number their messages upwards and release them in that order, so both ends of the deque are
    // where things happen.
    open: VecDeque<PacketId>,
}

impl Exchanges {
    /// A PUBLISH came.
    pub(super) fn begin(&mut self, id: PacketId) -> Exchange {
        match self.open.binary_search(&id) {
            Ok(_) => Exchange::Repeated,
            Err(_) if self.open.len() >= limits::QOS2_EXCHANGES_PER_SESSION_MAX => Exchange::Refused,
            Err(at) => {
                self.open.insert(at, id);
                Exchange::Begun
            }
        }
    }

    /// A PUBREL came: whether the exchange was open.
    pub(super) fn release(&mut self, id: PacketId) -> bool {
        let found = self.open.binary_search(&id);
        if let Ok(at) = found {
            self.open.remove(at);
        }
        found.is_ok()
    }

    /// Whether none is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
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

    #[test]
    fn mqtt311_4_3_3_an_exchange_is_begun_once_until_it_is_released() {
        let id = |id| PacketId::new(id).unwrap();
        let mut exchanges = Exchanges::default();
        for n in [7, 3, 9] {
            assert_eq!(exchanges.begin(id(n)), Exchange::Begun);
            assert_eq!(exchanges.begin(id(n)), Exchange::Repeated);
        }
        assert!(exchanges.release(id(3)));
        assert!(!exchanges.release(id(3)));
        assert_eq!(exchanges.begin(id(3)), Exchange::Begun);
    }

    #[test]
    fn open_exchanges_are_bounded() {
        let mut exchanges = Exchanges::default();
        let mut ids = (1..=u16::MAX).filter_map(PacketId::new);
        for id in ids.by_ref().take(limits::QOS2_EXCHANGES_PER_SESSION_MAX) {
            assert_eq!(exchanges.begin(id), Exchange::Begun);
        }
        assert_eq!(exchanges.begin(ids.next().unwrap()), Exchange::Refused);
        assert_eq!(exchanges.begin(PacketId::MIN), Exchange::Repeated);
        assert!(!exchanges.is_empty());
    }
}
