//! Topic aliases towards the client (5.0, 3.3.2.3.4): numbers for topics that it has been sent before.

use std::num::NonZeroU16;

use crate::codec::mqtt::publish::PublishParts;
use crate::limits;

/// A topic that is not longer costs no more than what would stand in for it.
const TOPIC_BYTES_MIN: usize = 9;

/// First come, first served; an alias keeps its meaning as long as the connection.
#[derive(Debug, Default)]
pub(super) struct Replacements {
    most: u16,
    /// At `alias - 1`.
    topics: Vec<Box<str>>,
}

/// What becomes of a message's topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replacement {
    /// It stands as it is.
    None,
    /// The client knows it by this number.
    Known(NonZeroU16),
    /// It may be given this number.
    New(NonZeroU16),
}

impl Replacements {
    /// As many as a client takes that announced Topic Alias Maximum `most`.
    pub(super) fn up_to(most: u16) -> Self {
        Self {
            most: most.min(limits::OUTBOUND_ALIASES_MAX),
            topics: Vec::new(),
        }
    }

    /// Whether the client takes aliases.
    pub(super) const fn are_taken(&self) -> bool {
        self.most != 0
    }

    /// What can stand in for a topic in pieces.
    pub(super) fn find(&self, topic: &[&str]) -> Replacement {
        let len: usize = topic.iter().map(|piece| piece.len()).sum();
        if !self.are_taken() || len < TOPIC_BYTES_MIN {
            return Replacement::None;
        }
        let number = |at: usize| u16::try_from(at + 1).ok().and_then(NonZeroU16::new);
        let known = self.topics.iter().position(|known| is(known, len, topic));
        if let Some(alias) = known.and_then(number) {
            return Replacement::Known(alias);
        }
        match number(self.topics.len()) {
            Some(alias) if alias.get() <= self.most && len <= limits::ALIASED_TOPIC_BYTES_MAX => {
                Replacement::New(alias)
            }
            _ => Replacement::None,
        }
    }

    /// A packet with this topic and [`Replacement::New`] is sent.
    pub(super) fn set(&mut self, topic: &[&str]) {
        self.topics.push(topic.concat().into_boxed_str());
    }
}

/// Puts `replacement` into a message, if it then is not longer than `bytes_max`. Whether an alias was given to its
/// topic.
pub(super) fn replace(parts: &mut PublishParts<'_>, replacement: Replacement, bytes_max: u32) -> bool {
    match replacement {
        Replacement::None => false,
        Replacement::Known(alias) => {
            (parts.topic, parts.topic_alias) = (&[], Some(alias));
            false
        }
        Replacement::New(alias) => {
            parts.topic_alias = Some(alias);
            let fits = u32::try_from(parts.encoded_len()).is_ok_and(|len| len <= bytes_max);
            if !fits {
                parts.topic_alias = None;
            }
            fits
        }
    }
}

fn is(whole: &str, len: usize, pieces: &[&str]) -> bool {
    let mut rest = whole;
    whole.len() == len
        && pieces
            .iter()
            .all(|piece| rest.strip_prefix(piece).map(|tail| rest = tail).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::mqtt::packet::Version;

    #[test]
    fn mqtt5_3_3_2_3_4_topics_are_numbered_first_come_first_served() {
        let mut aliases = Replacements::up_to(2);
        let one = NonZeroU16::MIN;
        assert_eq!(
            aliases.find(&["12345678"]),
            Replacement::None,
            "too short to gain"
        );
        assert_eq!(aliases.find(&["plant/", "one"]), Replacement::New(one));
        aliases.set(&["plant/", "one"]);
        assert_eq!(aliases.find(&["pla", "nt/one"]), Replacement::Known(one));
        assert_eq!(
            aliases.find(&["plant/", "onf"]),
            Replacement::New(one.saturating_add(1))
        );
        aliases.set(&["plant/two"]);
        assert_eq!(aliases.find(&["plant/three"]), Replacement::None);
        assert_eq!(aliases.find(&["plant/", "one"]), Replacement::Known(one));
    }

    #[test]
    fn mqtt5_3_1_2_11_5_no_more_aliases_than_the_client_takes() {
        assert!(!Replacements::up_to(0).are_taken());
        assert_eq!(Replacements::default().find(&["plant/one"]), Replacement::None);
        let mut aliases = Replacements::up_to(u16::MAX);
        for n in 0..limits::OUTBOUND_ALIASES_MAX {
            let topic = format!("a/long/topic/{n}");
            assert!(matches!(aliases.find(&[&topic]), Replacement::New(_)));
            aliases.set(&[&topic]);
        }
        assert_eq!(aliases.find(&["plant/one"]), Replacement::None);
    }

    #[test]
    fn an_alias_is_left_out_where_it_would_make_the_packet_too_large() {
        let plain = PublishParts {
            topic: &["plant/one"],
            ..PublishParts::new(Version::V5)
        };
        let len = u32::try_from(plain.encoded_len()).unwrap();
        for (bytes_max, given) in [(len + 3, true), (len + 2, false)] {
            let mut parts = plain;
            assert_eq!(
                replace(&mut parts, Replacement::New(NonZeroU16::MIN), bytes_max),
                given
            );
            assert_eq!(parts.topic_alias.is_some(), given);
        }
    }
}
