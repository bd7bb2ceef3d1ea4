//! Answers to the bridge: which sessions hold an address, which of them are there.

use super::Shard;
use crate::daemon::bridge::Enquiry;
use crate::limits;

impl Shard {
    /// Answers what was asked since the bell rang last. Who asked may have given up: then nobody reads it.
    pub(super) fn answer_enquiries(&self, shard: usize) {
        let Some(port) = &self.enquiries else { return };
        // More than fit in come only from who rings again.
        for _ in 0..limits::BRIDGE_SHARD_QUEUE_MAX {
            match port.next(shard) {
                None => return,
                Some(Enquiry::Seek { sought, answer }) => {
                    let mut found = Vec::new();
                    for worker in sought.iter() {
                        self.hub
                            .seek_blocks(&worker.account, worker.resource.as_deref(), &mut found);
                        if found.len() >= limits::BRIDGE_JIDS_MAX {
                            break;
                        }
                    }
                    let _ = answer.send(found);
                }
                Some(Enquiry::Look { sessions, answer }) => {
                    let live = sessions.into_iter().filter_map(|key| self.hub.live_address(key));
                    let _ = answer.send(live.map(Box::from).collect());
                }
            }
        }
    }
}
