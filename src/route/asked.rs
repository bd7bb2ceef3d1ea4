//! Requests that the workers of this shard were given and have not answered.
//!
//! Invariant: a token is good while it stands here, for the worker it was given to, once.

use slab::Slab;

use super::message::{SessionKey, Token};
use super::requests::RequestKey;
use super::sessions::{NONE, Worker, id};
use super::tables::Segments;
use crate::limits;

/// A request that a worker was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) token: Token,
    pub(crate) worker: SessionKey,
    /// The requester's shard, and the request there.
    pub(crate) origin: u16,
    pub(crate) request: RequestKey,
    previous: u32,
    next: u32,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Asked {
    questions: Slab<Question>,
    by_token: Segments<u32>,
    /// Halves of tokens that ended a short time ago, each at the place its other half names: tells late
    /// answers from guesses, in the counters only.
    ended: Box<[u64]>,
}

/// Tokens are random, so their bits are as good as a hash of them.
const fn half(token: Token) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = token.0.to_le_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

fn ended_place(token: Token) -> usize {
    usize::try_from((token.0 >> 64) % limits::ENDED_TOKENS as u128).unwrap_or(0)
}

impl Asked {
    pub(crate) fn new() -> Self {
        Self {
            questions: Slab::new(),
            by_token: Segments::new(),
            ended: vec![0; limits::ENDED_TOKENS].into_boxed_slice(),
        }
    }

    /// A worker was given a request.
    pub(crate) fn insert(
        &mut self,
        token: Token,
        worker: (SessionKey, &mut Worker),
        origin: u16,
        request: RequestKey,
    ) {
        let (key, worker) = worker;
        let next = worker.asked_head;
        let index = id(self.questions.insert(Question {
            token,
            worker: key,
            origin,
            request,
            previous: NONE,
            next,
        }));
        if let Some(second) = self.questions.get_mut(next as usize) {
            second.previous = index;
        }
        worker.asked_head = index;
        worker.in_flight += 1;
        let questions = &self.questions;
        let hash_of = |&index: &u32| questions.get(index as usize).map_or(0, |asked| half(asked.token));
        self.by_token.insert_unique(half(token), index, hash_of);
    }

    /// The request that `token` is good for.
    pub(crate) fn find(&self, token: Token) -> Option<&Question> {
        self.questions.get(self.index(token)? as usize)
    }

    /// Takes a request out: its token is good for nothing any more.
    pub(crate) fn remove(&mut self, token: Token, worker: &mut Worker) -> Option<Question> {
        let index = self.index(token)?;
        let asked = self.questions.try_remove(index as usize)?;
        if let Some(entry) = self.by_token.find_entry(half(token), |&other| other == index) {
            entry.remove();
        }
        if let Some(previous) = self.questions.get_mut(asked.previous as usize) {
            previous.next = asked.next;
        }
        if let Some(next) = self.questions.get_mut(asked.next as usize) {
            next.previous = asked.previous;
        }
        if worker.asked_head == index {
            worker.asked_head = asked.next;
        }
        worker.in_flight -= 1;
        if let Some(place) = self.ended.get_mut(ended_place(token)) {
            *place = half(token);
        }
        Some(asked)
    }

    /// Whether `token` was good a short time ago.
    pub(crate) fn has_ended(&self, token: Token) -> bool {
        self.ended.get(ended_place(token)) == Some(&half(token)) && half(token) != 0
    }

    /// The token of the latest request a worker was given.
    pub(crate) fn latest(&self, worker: &Worker) -> Option<Token> {
        self.questions
            .get(worker.asked_head as usize)
            .map(|asked| asked.token)
    }

    fn index(&self, token: Token) -> Option<u32> {
        let same = |&index: &u32| {
            self.questions
                .get(index as usize)
                .is_some_and(|asked| asked.token == token)
        };
        self.by_token.find(half(token), same).copied()
    }

    /// Requests not yet answered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.questions.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::port::RouteTimer;

    #[test]
    fn a_token_is_good_once_and_known_as_ended_afterwards() {
        let (mut asked, mut worker) = (Asked::new(), Worker::default());
        let key = SessionKey {
            slot: 1,
            generation: 0,
        };
        let token = |n: u128| Token(n << 64 | n | 1 << 32);
        for n in 1..6 {
            let request = RequestKey::of_timer(RouteTimer(0));
            asked.insert(token(n), (key, &mut worker), 0, request);
        }
        assert_eq!(worker.in_flight, 5);
        for n in [3, 1, 5] {
            assert!(!asked.has_ended(token(n)));
            assert!(asked.remove(token(n), &mut worker).is_some());
            assert!(asked.remove(token(n), &mut worker).is_none());
            assert!(asked.find(token(n)).is_none() && asked.has_ended(token(n)));
        }
        assert!(!asked.has_ended(token(77)));
        while let Some(token) = asked.latest(&worker) {
            asked.remove(token, &mut worker);
        }
        assert_eq!((worker.in_flight, worker.asked_head, asked.len()), (0, NONE, 0));
    }
}
