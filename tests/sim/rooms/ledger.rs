//! What was said in rooms, and who has to have heard it.

use std::collections::{HashMap, HashSet};

/// A message in a room; what it says is its number.
#[derive(Debug)]
struct Message {
    room: &'static str,
    sender: usize,
    /// Which of the sender's streams it was said on.
    stream: usize,
    sent_at: u64,
    /// When it was certain that it was taken: it was acknowledged, or somebody heard it.
    known_at: Option<u64>,
}

/// All messages there were.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    messages: Vec<Message>,
    /// Messages that somebody had to hear, and did.
    pub(super) owed: u64,
}

/// Somebody was in a room.
#[derive(Debug)]
pub(super) struct Stay {
    room: &'static str,
    from: u64,
    pub(super) to: u64,
}

/// What one receiver heard on one stream.
#[derive(Debug, Default)]
pub(super) struct Heard {
    stays: Vec<Stay>,
    messages: HashSet<usize>,
    /// The last number heard of each sender's streams, by room.
    last: HashMap<(&'static str, usize, usize), usize>,
    /// Until when it has been told all.
    pub(super) sound_until: u64,
}

impl Heard {
    pub(super) fn enters(&mut self, room: &'static str, now: u64, is_leaving: bool) {
        let to = if is_leaving { now } else { u64::MAX };
        self.stays.push(Stay { room, from: now, to });
    }

    /// It says that it leaves a room.
    pub(super) fn leaves(&mut self, room: &str, now: u64) {
        for stay in self.stays.iter_mut().filter(|stay| stay.room == room) {
            stay.to = stay.to.min(now);
        }
    }

    pub(super) fn has(&self, message: usize) -> bool {
        self.messages.contains(&message)
    }
}

impl Ledger {
    pub(super) fn say(&mut self, room: &'static str, sender: usize, stream: usize, now: u64) -> usize {
        self.messages.push(Message {
            room,
            sender,
            stream,
            sent_at: now,
            known_at: None,
        });
        self.messages.len() - 1
    }

    /// It is certain that a message was taken.
    pub(super) fn is_known(&mut self, message: usize, now: u64) {
        self.messages[message].known_at.get_or_insert(now);
    }

    /// Somebody hears a message: in its room, once, and behind the earlier ones of its sender's stream. Who sent it.
    pub(super) fn hear(&mut self, heard: &mut Heard, room: &'static str, number: usize, now: u64) -> usize {
        self.is_known(number, now);
        let message = &self.messages[number];
        assert_eq!(message.room, room, "message {number}");
        let last = heard.last.insert((room, message.sender, message.stream), number);
        assert!(
            last.is_none_or(|last| last < number),
            "{number} after {last:?} in {room}"
        );
        heard.messages.insert(number);
        message.sender
    }

    /// Whoever was in a room while something was said there, and was told all, has heard it.
    pub(super) fn check<'a>(&mut self, settle: u64, streams: impl Iterator<Item = (usize, &'a Heard)>) {
        for (receiver, heard) in streams {
            for stay in &heard.stays {
                let until = stay.to.min(heard.sound_until);
                for (number, message) in self.messages.iter().enumerate() {
                    let is_owed = message.room == stay.room
                        && stay.from + settle <= message.sent_at
                        && message.known_at.is_some_and(|known| known + settle <= until);
                    assert!(
                        !is_owed || heard.has(number),
                        "{receiver} has not heard {number}: {message:?}, {stay:?}"
                    );
                    self.owed += u64::from(is_owed);
                }
            }
        }
    }
}
