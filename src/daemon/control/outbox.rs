//! Messages to the shards: nothing is lost to a full inbox, and each shard gets its messages in order.

use std::collections::VecDeque;
use std::sync::Arc;

use super::port::{ControlMessage, ControlPort};
use crate::limits;

/// Wakes a shard that has messages.
pub type Wake = Arc<dyn Fn(usize) + Send + Sync>;

/// The control thread's side of the shards' inboxes.
pub(super) struct Outbox {
    port: Arc<ControlPort>,
    wake: Wake,
    lanes: Vec<Lane>,
}

#[derive(Default)]
struct Lane {
    held: VecDeque<ControlMessage>,
    /// Something was put into the inbox since the shard was woken last.
    fresh: bool,
}

impl Outbox {
    pub(super) fn new(port: Arc<ControlPort>, wake: Wake) -> Self {
        let lanes = (0..port.shards()).map(|_| Lane::default()).collect();
        Self { port, wake, lanes }
    }

    /// Sends to one shard; to none if there is no such shard.
    pub(super) fn send(&mut self, shard: usize, message: ControlMessage) {
        let (Some(lane), Some(inbox)) = (self.lanes.get_mut(shard), self.port.inbox(shard)) else {
            return;
        };
        if lane.held.is_empty() {
            match inbox.push(message) {
                Ok(()) => lane.fresh = true,
                Err(message) => lane.held.push_back(message),
            }
        } else {
            lane.held.push_back(message);
        }
    }

    /// Sends to every shard.
    pub(super) fn broadcast(&mut self, message: &ControlMessage) {
        for shard in 0..self.lanes.len() {
            self.send(shard, message.clone());
        }
    }

    /// Hands over what was held back, as far as there is room, and wakes the shards that got something.
    pub(super) fn flush(&mut self) {
        for (shard, lane) in self.lanes.iter_mut().enumerate() {
            let Some(inbox) = self.port.inbox(shard) else {
                continue;
            };
            while let Some(message) = lane.held.pop_front() {
                if let Err(message) = inbox.push(message) {
                    lane.held.push_front(message);
                    break;
                }
                lane.fresh = true;
            }
            if std::mem::take(&mut lane.fresh) {
                (self.wake)(shard);
            }
        }
    }

    /// Whether anything is held back.
    pub(super) fn is_holding(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.held.is_empty())
    }

    /// Whether more may be decided: what is held back for each shard is within its bound.
    pub(super) fn has_room(&self) -> bool {
        self.lanes
            .iter()
            .all(|lane| lane.held.len() < limits::CONTROL_HELD_MAX)
    }
}
