//! Which of the announced workers are live, and in which order they are given.
//!
//! Clients take the first (`prioritize_mine`) or the last. So the requester's own come first, those of others after
//! them, and each part begins with another one from call to call.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Failure;
use super::enquiry::{Enquiry, EnquiryPort};
use crate::daemon::control::{Announced, Workers};
use crate::limits;
use crate::route::{Sender, SessionKey};

/// The addresses, `<account>/<resource>`, of those announced that are live.
pub(super) async fn live(port: &EnquiryPort, announced: &[Announced]) -> Result<BTreeSet<Box<str>>, Failure> {
    if announced.is_empty() {
        return Ok(BTreeSet::new());
    }
    let patience = Duration::from_millis(limits::BRIDGE_ANSWER_MS_MAX);
    let found = timeout(patience, seek_and_look(port, announced.into()));
    let found = found.await.map_err(|_| Failure::Undecided)??;
    let whole: HashSet<&str, RandomState> = announced
        .iter()
        .filter(|worker| worker.resource.is_none())
        .map(|worker| &*worker.account)
        .collect();
    let exact: HashSet<String, RandomState> = announced
        .iter()
        .filter_map(|worker| Some(format!("{}/{}", worker.account, worker.resource.as_deref()?)))
        .collect();
    // The indexes go by hashes, and a user has blocks of several apps.
    let is_announced = |address: &str| {
        let account = address.split('/').next().unwrap_or_default();
        exact.contains(address) || whole.contains(account)
    };
    Ok(found
        .into_iter()
        .filter(|address| is_announced(address))
        .collect())
}

async fn seek_and_look(port: &EnquiryPort, sought: Arc<[Announced]>) -> Result<Vec<Box<str>>, Failure> {
    let mut answers = Vec::new();
    for shard in 0..port.shards() {
        let (answer, answered) = oneshot::channel();
        let sought = Arc::clone(&sought);
        if !port.ask(shard, Enquiry::Seek { sought, answer }) {
            return Err(Failure::TooMany);
        }
        answers.push(answered);
    }
    let mut sessions: BTreeMap<u16, BTreeSet<SessionKey>> = BTreeMap::new();
    for answered in answers {
        for session in answered.await.map_err(|_| Failure::Undecided)? {
            sessions.entry(session.shard).or_default().insert(session.key);
        }
    }
    let mut answers = Vec::new();
    for (shard, sessions) in sessions {
        let (answer, answered) = oneshot::channel();
        let sessions = sessions.into_iter().collect();
        if !port.ask(usize::from(shard), Enquiry::Look { sessions, answer }) {
            return Err(Failure::TooMany);
        }
        answers.push(answered);
    }
    let mut addresses = Vec::new();
    for answered in answers {
        addresses.extend(answered.await.map_err(|_| Failure::Undecided)?);
    }
    Ok(addresses)
}

/// Where the lists of each app begin. Only apps that exist have one.
#[derive(Debug, Default)]
pub(super) struct Rotations {
    next: HashMap<Box<str>, usize, RandomState>,
}

impl Rotations {
    /// The full JIDs of live workers, in the order in which they are given to the requester.
    pub(super) fn order(
        &mut self,
        app: &str,
        domain: &str,
        workers: &Workers,
        live: &BTreeSet<Box<str>>,
    ) -> Vec<String> {
        let turn = match self.next.get_mut(app) {
            Some(next) => {
                *next = next.wrapping_add(1);
                *next
            }
            None => *self.next.entry(app.into()).or_default(),
        };
        let (mut own, mut others): (Vec<Sender<'_>>, Vec<Sender<'_>>) = live
            .iter()
            .filter_map(|address| Sender::parse(address).ok())
            .partition(|sender| sender.uid() == workers.uid);
        for part in [&mut own, &mut others] {
            let start = turn.checked_rem(part.len()).unwrap_or(0);
            part.rotate_left(start);
        }
        let jid = |sender: Sender<'_>| format!("{}@{domain}/{}", sender.account(), sender.resource());
        own.into_iter()
            .chain(others)
            .take(limits::BRIDGE_JIDS_MAX)
            .map(jid)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Uid;

    const MINE: &str = "0123456789abcdef01234567";
    const THEIRS: &str = "89abcdef0123456789abcdef";

    fn workers() -> Workers {
        Workers {
            uid: Uid::parse(MINE).unwrap(),
            announced: Vec::new(),
        }
    }

    fn jid(uid: &str, resource: &str) -> String {
        format!("etest-{uid}-owner@nexus.example/{resource}")
    }

    #[test]
    fn own_come_first_and_both_parts_rotate_from_call_to_call() {
        let live: BTreeSet<Box<str>> = [(THEIRS, "c"), (MINE, "a"), (THEIRS, "b"), (THEIRS, "d")]
            .map(|(uid, resource)| format!("etest-{uid}-owner/{resource}").into())
            .into();
        let mut rotations = Rotations::default();
        let mut last = BTreeSet::new();
        for _ in 0..3 {
            let jids = rotations.order("etest", "nexus.example", &workers(), &live);
            assert_eq!((jids.len(), &jids[0]), (4, &jid(MINE, "a")));
            last.insert(jids[3].clone());
            // Another app's calls between them do not take this one's turn.
            rotations.order("other", "nexus.example", &workers(), &BTreeSet::new());
        }
        assert_eq!(last, ["b", "c", "d"].map(|resource| jid(THEIRS, resource)).into());
    }

    #[test]
    fn nobody_live_is_an_empty_list() {
        let jids = Rotations::default().order("etest", "nexus.example", &workers(), &BTreeSet::new());
        assert!(jids.is_empty());
    }
}
