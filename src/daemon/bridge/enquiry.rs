//! What the bridge asks shards: a bounded queue to each, answered when its bell has rung.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use tokio::sync::oneshot;

use crate::daemon::control::{Announced, Wake};
use crate::limits;
use crate::route::{SessionId, SessionKey};

/// A question to a shard. Sending the answer never waits.
#[derive(Debug)]
pub enum Enquiry {
    /// Which sessions hold these addresses, as far as its indexes know?
    Seek {
        /// The blocks.
        sought: Arc<[Announced]>,
        /// The sessions, of this shard and of others.
        answer: oneshot::Sender<Vec<SessionId>>,
    },
    /// Which of these sessions of its own are there, and under which address?
    Look {
        /// The sessions.
        sessions: Vec<SessionKey>,
        /// `<account>/<resource>` of each that is there.
        answer: oneshot::Sender<Vec<Box<str>>>,
    },
}

/// The way from the bridge to the shards.
pub struct EnquiryPort {
    queues: Vec<ArrayQueue<Enquiry>>,
    wake: Wake,
}

impl EnquiryPort {
    /// To so many shards; `wake` rings the bell of one.
    pub fn new(shards: usize, wake: Wake) -> Self {
        let queue = || ArrayQueue::new(limits::BRIDGE_SHARD_QUEUE_MAX);
        Self {
            queues: std::iter::repeat_with(queue).take(shards).collect(),
            wake,
        }
    }

    /// The next question to a shard, if there is one. Only that shard calls this.
    pub fn next(&self, shard: usize) -> Option<Enquiry> {
        self.queues.get(shard)?.pop()
    }

    /// How many shards there are.
    pub(super) const fn shards(&self) -> usize {
        self.queues.len()
    }

    /// Asks a shard; `false`: too many questions wait for it.
    pub(super) fn ask(&self, shard: usize, enquiry: Enquiry) -> bool {
        let taken = self
            .queues
            .get(shard)
            .is_some_and(|queue| queue.push(enquiry).is_ok());
        if taken {
            (self.wake)(shard);
        }
        taken
    }
}
