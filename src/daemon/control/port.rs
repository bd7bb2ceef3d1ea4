//! Where shards and the control thread meet: bounded queues without locks.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;

use crossbeam::queue::ArrayQueue;

use super::metrics::ControlMetrics;
use crate::route::Change;
use crate::store::{LoginRequest, LoginVerdict};

/// What the control thread tells a shard.
#[derive(Clone, Debug)]
pub enum ControlMessage {
    /// A login was decided.
    Verdict(LoginVerdict),
    /// Rights changed. Comes after every verdict that was given without knowing of it, and before every
    /// verdict that was given knowing of it.
    Change(Arc<Change>),
}

/// The shards' side of the control thread. Shared by all of them.
#[derive(Debug)]
pub struct ControlPort {
    logins: ArrayQueue<LoginRequest>,
    inboxes: Vec<ArrayQueue<ControlMessage>>,
    thread: OnceLock<Thread>,
    running: AtomicBool,
    stopping: AtomicBool,
    metrics: ControlMetrics,
}

impl ControlPort {
    pub(super) fn new(shards: usize, logins_max: usize, inbox_max: usize) -> Self {
        Self {
            logins: ArrayQueue::new(logins_max.max(1)),
            inboxes: (0..shards).map(|_| ArrayQueue::new(inbox_max.max(1))).collect(),
            thread: OnceLock::new(),
            running: AtomicBool::new(true),
            stopping: AtomicBool::new(false),
            metrics: ControlMetrics::default(),
        }
    }

    /// Asks for a verdict, which comes to the inbox of the session's shard; [`ControlPort::wake`] is to follow. Gives
    /// the request back if the queue is full or the thread has ended: the login cannot be decided just now.
    pub fn login(&self, request: LoginRequest) -> Result<(), LoginRequest> {
        if !self.running.load(Ordering::Acquire) {
            return Err(request);
        }
        self.logins.push(request)
    }

    /// Wakes the thread if logins wait for it. Once for all logins of a turn: each waking may cost two switches of
    /// threads, and what comes together is decided in one snapshot.
    pub fn wake(&self) {
        if !self.logins.is_empty() {
            self.unpark();
        }
    }

    /// The next message for a shard, if there is one. Only that shard calls this.
    pub fn next(&self, shard: usize) -> Option<ControlMessage> {
        self.inbox(shard)?.pop()
    }

    /// What the control thread has done so far.
    pub const fn metrics(&self) -> &ControlMetrics {
        &self.metrics
    }

    /// Logins waiting to be decided.
    pub fn logins_waiting(&self) -> usize {
        self.logins.len()
    }

    /// Whether the thread runs and the database answered when it was read last.
    pub fn is_healthy(&self) -> bool {
        self.running.load(Ordering::Acquire) && self.metrics.is_healthy()
    }

    pub(super) fn shards(&self) -> usize {
        self.inboxes.len()
    }

    pub(super) fn inbox(&self, shard: usize) -> Option<&ArrayQueue<ControlMessage>> {
        self.inboxes.get(shard)
    }

    pub(super) fn next_login(&self) -> Option<LoginRequest> {
        self.logins.pop()
    }

    pub(super) fn adopt(&self, thread: Thread) {
        // Set once, before the handle is given out; a second thread is never started for a port.
        let _ = self.thread.set(thread);
    }

    pub(super) fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    pub(super) fn ask_to_stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.unpark();
    }

    pub(super) fn is_asked_to_stop(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(super) fn ended(&self) {
        self.running.store(false, Ordering::Release);
    }
}
