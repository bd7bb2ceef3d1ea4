//! What new subscriptions are owed of the retained messages: a walk over the replica for each, in bounded steps.
//!
//! Invariants: a walk ends with its subscription; it delivers what is retained at the moment it comes by, so that nothing
//! older follows something newer; a receiver that has no room holds up its own walks alone.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use super::filter::{Step, step};
use super::{Retained, Store};
use crate::limits;
use crate::route::channels::matching::Published;
use crate::route::channels::subscribers::Pattern;
use crate::route::message::{SenderPattern, SessionKey, Undelivered};
use crate::route::port::Port;
use crate::route::router::Router;
use crate::time::Now;

/// What passing over channels costs, in channels looked at.
const SEEK_STEPS: usize = 4;
/// Bytes of a delivered message that cost as much as looking at a channel.
const BYTES_PER_STEP: usize = 4_096;

/// One subscription's walk.
#[derive(Debug)]
struct Scan {
    filter: Box<str>,
    from: Option<Box<Pattern>>,
    form: u8,
    /// Where it goes on: everything before has been seen to.
    cursor: String,
}

/// Where a walk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// At its end.
    Done,
    /// The receiver has no room.
    Full,
    /// The steps are spent.
    Spent,
}

impl Scan {
    fn is_of(&self, filter: &str, from: &SenderPattern<'_>, form: u8) -> bool {
        *self.filter == *filter && self.form == form && self.from() == *from
    }

    fn from(&self) -> SenderPattern<'_> {
        self.from
            .as_deref()
            .map_or_else(Default::default, Pattern::borrowed)
    }

    /// Goes on, as long as there are `steps` and `hand` finds room.
    fn advance(
        &mut self,
        store: &Store,
        steps: &mut usize,
        mut hand: impl FnMut(&Retained) -> Result<(), Undelivered>,
    ) -> Progress {
        let mut seek = std::mem::take(&mut self.cursor);
        let mut entries = store.from(&seek);
        while let Some(message) = entries.next() {
            let channel = message.channel();
            if *steps == 0 {
                self.cursor = channel.into();
                return Progress::Spent;
            }
            let cost = match step(&self.filter, channel, &mut seek) {
                Step::Match => {
                    let cost = 1 + message.len_bytes() / BYTES_PER_STEP;
                    if hand(message) == Err(Undelivered::QueueFull) {
                        // It may have been encoded before there turned out to be no room.
                        *steps = steps.saturating_sub(cost);
                        self.cursor = channel.into();
                        return Progress::Full;
                    }
                    cost
                }
                Step::Next => 1,
                Step::Seek => {
                    entries = store.from(&seek);
                    SEEK_STEPS
                }
                Step::End => return Progress::Done,
            };
            *steps = steps.saturating_sub(cost);
        }
        Progress::Done
    }
}

/// The walks of this shard's sessions.
#[derive(Debug)]
pub(crate) struct Scans {
    of: BTreeMap<SessionKey, VecDeque<Scan>>,
    /// Who was served last, of those that take turns.
    last: Option<SessionKey>,
    /// What is left of the steps of this tick.
    steps: usize,
}

impl Default for Scans {
    fn default() -> Self {
        Self {
            of: BTreeMap::new(),
            last: None,
            steps: limits::RETAINED_STEPS_PER_TICK,
        }
    }
}

impl Scans {
    /// A subscription is owed what is retained; again: all of it once more. A session has as many walks at most as
    /// subscriptions.
    pub(crate) fn begin(&mut self, key: SessionKey, filter: &str, from: &SenderPattern<'_>, form: u8) {
        self.end(key, filter, from, form);
        self.of.entry(key).or_default().push_back(Scan {
            filter: filter.into(),
            from: Pattern::of(from),
            form,
            cursor: String::new(),
        });
    }

    /// The subscription ended.
    pub(crate) fn end(&mut self, key: SessionKey, filter: &str, from: &SenderPattern<'_>, form: u8) {
        if let Some(scans) = self.of.get_mut(&key) {
            scans.retain(|scan| !scan.is_of(filter, from, form));
            if scans.is_empty() {
                self.of.remove(&key);
            }
        }
    }

    /// The session ended.
    pub(crate) fn leave(&mut self, key: SessionKey) {
        self.of.remove(&key);
    }

    /// Whose turn it is.
    fn next(&mut self) -> Option<SessionKey> {
        let behind = (
            self.last.map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Unbounded,
        );
        let next = self.of.range(behind).next().or_else(|| self.of.first_key_value());
        self.last = next.map(|(&key, _)| key);
        self.last
    }
}

impl Router {
    /// Whether somebody is owed retained messages.
    pub fn has_retained_newcomers(&self) -> bool {
        !self.scans.of.is_empty()
    }

    /// Delivers what the new subscriptions of a session are owed of the retained messages, or as much of it as one turn
    /// allows; the rest follows at [`Self::tick`].
    pub fn deliver_retained(&mut self, now: Now, port: &mut impl Port, key: SessionKey) {
        let Some(mut scans) = self.scans.of.remove(&key) else {
            return;
        };
        let granted = self.scans.steps.min(limits::RETAINED_STEPS_PER_TURN);
        let mut left = granted;
        while let Some(scan) = scans.front_mut() {
            // A walk that finds nothing costs a step, too.
            left = left.saturating_sub(1);
            if self.advance_scan(now, port, key, scan, &mut left) != Progress::Done {
                break;
            }
            scans.pop_front();
        }
        self.scans.steps -= granted - left;
        if !scans.is_empty() {
            self.scans.of.insert(key, scans);
        }
    }

    /// Lets those go on that are owed something, each once and in turn.
    pub(in crate::route) fn continue_scans(&mut self, now: Now, port: &mut impl Port) {
        self.scans.steps = limits::RETAINED_STEPS_PER_TICK;
        for _ in 0..self.scans.of.len() {
            let Some(key) = self.scans.next().filter(|_| self.scans.steps > 0) else {
                return;
            };
            self.deliver_retained(now, port, key);
        }
    }

    fn advance_scan(
        &self,
        now: Now,
        port: &mut impl Port,
        key: SessionKey,
        scan: &mut Scan,
        steps: &mut usize,
    ) -> Progress {
        let (subscriptions, sessions) = (&self.subscriptions, &self.sessions);
        let found = subscriptions.subscriber(sessions, key, &scan.filter, &scan.from(), scan.form);
        let Some(subscriber) = found else {
            return Progress::Done;
        };
        scan.advance(&self.retained, steps, |retained| {
            if retained.has_expired(now.instant) {
                return Ok(());
            }
            let published = Published {
                message: retained.message(),
                hash: 0,
                sender: retained.sender(),
                from: None,
                is_shown: false,
            };
            subscriptions.deliver_retained(sessions, port, &self.metrics, &published, &subscriber)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::retained;
    use super::*;
    use crate::time::Instant;

    fn key(slot: u32) -> SessionKey {
        SessionKey { slot, generation: 0 }
    }

    fn store(channels: usize) -> Store {
        let mut store = Store::default();
        for n in 0..channels {
            let message = retained(&format!("a/{n:03}/x"), "1", 1, None);
            assert!(store.apply(Instant::default(), n as u64, message));
        }
        store
    }

    fn scan(filter: &str) -> Scan {
        Scan {
            filter: filter.into(),
            from: None,
            form: 0,
            cursor: String::new(),
        }
    }

    #[test]
    fn a_walk_goes_on_where_its_steps_ended() {
        let store = store(50);
        for (filter, steps_each) in [("#", 7), ("a/+/x", 1), ("+/+/x", 13)] {
            let (mut scan, mut found, mut rounds) = (scan(filter), Vec::new(), 0);
            loop {
                let mut steps = steps_each;
                let progress = scan.advance(&store, &mut steps, |message| {
                    found.push(message.channel().to_owned());
                    Ok(())
                });
                rounds += 1;
                if progress == Progress::Done {
                    break;
                }
                assert_eq!((progress, steps), (Progress::Spent, 0));
            }
            let all: Vec<_> = store
                .from("")
                .map(|message| message.channel().to_owned())
                .collect();
            assert_eq!(found, all, "each once, in order");
            assert!(rounds >= 50 / steps_each, "{filter}: {rounds}");
        }
    }

    #[test]
    fn a_full_receiver_is_offered_the_same_message_again() {
        let store = store(3);
        let (mut scan, mut offered) = (scan("a/#"), Vec::new());
        for room in [0, 1, 0, 9] {
            let mut room = room;
            let progress = scan.advance(&store, &mut 100, |message| {
                offered.push(message.channel().to_owned());
                if room == 0 {
                    return Err(Undelivered::QueueFull);
                }
                room -= 1;
                Ok(())
            });
            assert_eq!(progress == Progress::Done, room == 7, "{offered:?}");
        }
        assert_eq!(
            offered,
            ["a/000/x", "a/000/x", "a/001/x", "a/001/x", "a/001/x", "a/002/x"]
        );
    }

    #[test]
    fn a_message_of_many_bytes_costs_many_steps() {
        let mut store = Store::default();
        let message = retained("a", &"x".repeat(10 * BYTES_PER_STEP), 1, None);
        store.apply(Instant::default(), 1, message);
        let mut steps = 100;
        scan("a").advance(&store, &mut steps, |_| Ok(()));
        assert!(steps <= 90, "{steps}");
    }

    #[test]
    fn walks_end_with_their_subscription_and_take_turns() {
        let mut scans = Scans::default();
        let any = SenderPattern::default();
        let etest = SenderPattern {
            app: Some("etest"),
            ..any
        };
        for slot in [4, 2, 9] {
            scans.begin(key(slot), "a", &any, 0);
        }
        scans.begin(key(2), "a", &etest, 0);
        scans.begin(key(2), "a", &any, 0);
        assert_eq!(scans.of[&key(2)].len(), 2, "again is no second walk");
        let turns: Vec<_> = (0..4).filter_map(|_| scans.next()).map(|key| key.slot).collect();
        assert_eq!(turns, [2, 4, 9, 2]);
        scans.end(key(2), "a", &etest, 0);
        scans.end(key(2), "a", &any, 1);
        assert_eq!(scans.of[&key(2)].len(), 1);
        scans.end(key(2), "a", &any, 0);
        scans.leave(key(9));
        assert_eq!(scans.of.keys().map(|key| key.slot).collect::<Vec<_>>(), [4]);
    }
}
