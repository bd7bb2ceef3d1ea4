//! What must arrive: a message is owed to every block that had asked for its kind long enough before it was sent
//! and has not ceased to since. Around a change nothing is owed, since nobody can say which came first.

use std::collections::{HashMap, VecDeque};

/// Whether a block hears something, as far as its client can know.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    is_granted: bool,
    /// When it was.
    since: u64,
    /// What was asked and is not confirmed: its mark, and whether it is to be heard.
    asked: VecDeque<(u64, bool)>,
}

impl Wish {
    pub(crate) fn ask(&mut self, mark: u64, wanted: bool) {
        self.asked.push_back((mark, wanted));
    }

    /// Whether `mark` was this wish's.
    pub(crate) fn confirm(&mut self, now: u64, mark: u64, granted: bool) -> bool {
        let Some((_, wanted)) = self.asked.pop_front_if(|(asked, _)| *asked == mark) else {
            return false;
        };
        if granted && wanted != self.is_granted {
            (self.is_granted, self.since) = (wanted, now);
        }
        true
    }

    /// Nothing of this kind comes unless this holds.
    pub(crate) fn may_hear(&self) -> bool {
        self.is_granted || self.asked.iter().any(|(_, wanted)| *wanted)
    }

    /// Whether everybody knows by now that it is wanted.
    pub(crate) fn must_hear(&self, now: u64, settle_ns: u64) -> bool {
        self.is_granted && self.since + settle_ns <= now && self.asked.iter().all(|(_, wanted)| *wanted)
    }
}

/// One message.
#[derive(Debug)]
struct Promise {
    made_at: u64,
    method: char,
    /// Connections that have not heard it.
    owed: Vec<usize>,
}

/// Messages by their connection and number.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    /// After this time a message has arrived, or a change is known everywhere.
    pub settle_ns: u64,
    made: HashMap<(usize, u64), Promise>,
    /// Messages that arrived where they were owed.
    pub kept: u64,
}

impl Promises {
    pub(crate) fn make(&mut self, now: u64, from: usize, number: u64, method: char, owed: Vec<usize>) {
        let promise = Promise {
            made_at: now,
            method,
            owed,
        };
        self.made.insert((from, number), promise);
    }

    /// `to` heard it.
    pub(crate) fn keep(&mut self, from: usize, number: u64, to: usize) {
        if let Some(promise) = self.made.get_mut(&(from, number)) {
            let before = promise.owed.len();
            promise.owed.retain(|owed| *owed != to);
            self.kept += (before - promise.owed.len()) as u64;
        }
    }

    /// `receiver` may not hear any more what is on its way, of one method or at all.
    pub(crate) fn release(&mut self, now: u64, receiver: usize, method: Option<char>) {
        let settle_ns = self.settle_ns;
        for promise in self.made.values_mut() {
            let is_on_its_way = promise.made_at + settle_ns > now;
            if is_on_its_way && method.is_none_or(|method| method == promise.method) {
                promise.owed.retain(|owed| *owed != receiver);
            }
        }
    }

    /// What `sender` sent last may have been lost with its connection.
    pub(crate) fn sender_ended(&mut self, now: u64, sender: usize) {
        let settle_ns = self.settle_ns;
        self.made
            .retain(|(from, _), promise| *from != sender || promise.made_at + settle_ns <= now);
    }

    /// At the end: all of it has arrived.
    pub(crate) fn check(&self) {
        for ((from, number), promise) in &self.made {
            assert!(
                promise.owed.is_empty(),
                "message {number} of connection {from} ({}) never reached connections {:?}",
                promise.method,
                promise.owed
            );
        }
    }
}
