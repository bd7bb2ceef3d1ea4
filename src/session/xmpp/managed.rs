//! What stream management (XEP-0198) keeps of one session: what was handled on either side, and what may have to be sent
//! again.
//!
//! Invariants: the stanzas in `unacked` are the last ones that were sent, none missing between them; they are kept only
//! for a session that may be resumed, and an idle session holds no heap for them. What they take is counted in the
//! shard's `xmpp_unacked_bytes`, and for its account, until they are acknowledged, forgotten or dropped with the session.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Settings;
use super::unacked::Place;
use crate::limits;
use crate::route::{Previd, Undelivered};
use crate::session::ResumeFailure;

/// What a stanza takes besides its bytes.
const OVERHEAD: usize = 32;

/// A number of stanzas that the peer cannot have handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooHigh {
    /// What it claims.
    pub(super) handled: u32,
    /// What it was sent.
    pub(super) sent: u32,
}

/// The state of a stream that is managed.
#[derive(Debug)]
pub(super) struct Managed {
    settings: Arc<Settings>,
    /// Its account, as it is named among those of whom something is remembered.
    account: Place,
    /// By what it may be resumed; `None`: not at all.
    pub(super) previd: Option<Previd>,
    /// Stanzas sent and not acknowledged, as long as they are remembered: the latest at the back.
    unacked: VecDeque<Box<[u8]>>,
    /// What they take.
    bytes: usize,
    /// For how long it may be resumed, in seconds.
    pub(super) resume_s: u32,
    /// Stanzas of the client that were handled, modulo 2^32.
    received: u32,
    /// Stanzas sent to it, modulo 2^32.
    sent: u32,
    /// How many of these it has acknowledged.
    acked: u32,
    /// What it had been sent when it was asked last.
    asked_at: u32,
    /// It has not said since.
    is_asked: bool,
}

impl Managed {
    /// Management that begins now, of a session of this account.
    pub(super) fn new(settings: &Arc<Settings>, account: &str) -> Self {
        Self {
            settings: Arc::clone(settings),
            account: settings.unacked.place(account),
            previd: None,
            unacked: VecDeque::new(),
            bytes: 0,
            resume_s: 0,
            received: 0,
            sent: 0,
            acked: 0,
            asked_at: 0,
            is_asked: false,
        }
    }

    /// What the client has sent so far and was handled.
    pub(super) const fn received(&self) -> u32 {
        self.received
    }

    /// One more stanza of the client was handled.
    pub(super) const fn handle(&mut self) {
        self.received = self.received.wrapping_add(1);
    }

    /// Whether the client is to be asked what it has handled; from now on it is. Only once something was sent since it was
    /// asked last: one that counts otherwise would be asked for ever.
    pub(super) const fn asks(&mut self) -> bool {
        if self.is_asked || self.sent == self.acked || self.sent == self.asked_at {
            return false;
        }
        self.is_asked = true;
        self.asked_at = self.sent;
        true
    }

    /// An element was written to the client.
    pub(super) fn wrote(&mut self, element: &[u8]) {
        if !is_stanza(element) {
            return;
        }
        self.sent = self.sent.wrapping_add(1);
        if self.previd.is_none() {
            return;
        }
        let mut of_account = self.push(element.into());
        while !self.fits((0, 0), of_account)
            && let Some(bytes) = self.take_oldest()
        {
            of_account = self.give_back(bytes);
            self.settings.metrics.xmpp_unacked_forgotten.increment();
        }
    }

    /// Keeps stanzas for a client without a connection, all or none.
    ///
    /// # Errors
    /// [`Undelivered::QueueFull`] if there is no room for them.
    pub(super) fn keep(&mut self, stanzas: Vec<Box<[u8]>>) -> Result<(), Undelivered> {
        let more = stanzas.iter().map(|stanza| stanza.len() + OVERHEAD).sum();
        if !self.has_room(stanzas.len(), more) {
            return Err(Undelivered::QueueFull);
        }
        for stanza in stanzas {
            self.sent = self.sent.wrapping_add(1);
            self.push(stanza);
        }
        Ok(())
    }

    /// Whether so many stanzas that take so many bytes fit beside what is there.
    pub(super) fn has_room(&self, stanzas: usize, bytes: usize) -> bool {
        self.fits((stanzas, bytes), self.settings.unacked.of(self.account))
    }

    /// The same where so much is remembered of the account.
    fn fits(&self, (stanzas, bytes): (usize, usize), of_account: u64) -> bool {
        let of_shard = self.settings.metrics.xmpp_unacked_bytes.get();
        let with = |there: u64| there.saturating_add(bytes as u64);
        self.unacked.len() + stanzas <= limits::XMPP_UNACKED_MAX
            && self.bytes + bytes <= limits::XMPP_UNACKED_BYTES_MAX
            && with(of_account) <= self.settings.unacked_bytes_per_account_max
            && with(of_shard) <= self.settings.unacked_bytes_max
    }

    /// Remembers one more; how much that makes of its account.
    fn push(&mut self, stanza: Box<[u8]>) -> u64 {
        let bytes = stanza.len() + OVERHEAD;
        self.bytes += bytes;
        self.unacked.push_back(stanza);
        self.settings.metrics.xmpp_unacked_bytes.add(bytes as u64);
        self.settings.unacked.add(self.account, bytes as u64)
    }

    /// Takes the oldest stanza out; its bytes are to be given back.
    fn take_oldest(&mut self) -> Option<usize> {
        let bytes = self.unacked.pop_front()?.len() + OVERHEAD;
        if self.unacked.is_empty() {
            self.unacked = VecDeque::new();
        }
        Some(bytes)
    }

    /// So many bytes are not remembered any more; how many are of its account.
    fn give_back(&mut self, bytes: usize) -> u64 {
        self.bytes = self.bytes.saturating_sub(bytes);
        let metrics = &self.settings.metrics;
        metrics.xmpp_unacked_bytes.add((bytes as u64).wrapping_neg());
        self.settings.unacked.give_back(self.account, bytes as u64)
    }

    /// How many more than before the client has handled. Less than it said before is no more: a deployed client that reads
    /// `<enabled/>` together with what follows begins to count after it has answered.
    const fn newly(&self, handled: u32) -> u32 {
        match handled.wrapping_sub(self.acked) {
            less if less > u32::MAX / 2 => 0,
            newly => newly,
        }
    }

    /// Stanzas that the client has not acknowledged once it has acknowledged `handled`.
    ///
    /// # Errors
    /// [`TooHigh`] for more than was sent.
    fn left(&self, handled: u32) -> Result<usize, TooHigh> {
        let outstanding = self.sent.wrapping_sub(self.acked);
        let newly = self.newly(handled);
        let left = outstanding.checked_sub(newly).ok_or(TooHigh {
            handled,
            sent: self.sent,
        })?;
        Ok(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// The client says what it has handled, modulo 2^32.
    ///
    /// # Errors
    /// [`TooHigh`] if it cannot have.
    pub(super) fn acknowledge(&mut self, handled: u32) -> Result<(), TooHigh> {
        let left = self.left(handled)?;
        self.is_asked = false;
        self.acked = self.acked.wrapping_add(self.newly(handled));
        let mut bytes = 0;
        while self.unacked.len() > left
            && let Some(freed) = self.take_oldest()
        {
            bytes += freed;
        }
        self.give_back(bytes);
        Ok(())
    }

    /// Whether the session can go on where its client has handled so much.
    ///
    /// # Errors
    /// [`ResumeFailure::TooHigh`] if it cannot have, [`ResumeFailure::NotFound`] if what it has not handled is not
    /// remembered any more.
    pub(super) fn check(&self, handled: u32) -> Result<(), ResumeFailure> {
        let too_high = |TooHigh { handled, sent }| ResumeFailure::TooHigh { handled, sent };
        if self.left(handled).map_err(too_high)? > self.unacked.len() {
            return Err(ResumeFailure::NotFound {
                handled: Some(self.received),
            });
        }
        Ok(())
    }

    /// What has to be sent again, oldest first, on a new connection.
    pub(super) fn again(&mut self) -> impl Iterator<Item = &[u8]> {
        self.is_asked = false;
        self.asked_at = self.acked;
        self.unacked.iter().map(|stanza| &**stanza)
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

/// Only these count (XEP-0198, 4).
fn is_stanza(element: &[u8]) -> bool {
    [&b"<message"[..], b"<iq", b"<presence"]
        .iter()
        .any(|name| element.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{SessionId, SessionKey, Token};

    fn managed(unacked_bytes_max: u64) -> Managed {
        let mut settings = Settings::new(Vec::new(), [7; 32], Arc::default());
        settings.unacked_bytes_max = unacked_bytes_max;
        managed_of(&Arc::new(settings), "a")
    }

    fn managed_of(settings: &Arc<Settings>, account: &str) -> Managed {
        let key = SessionKey {
            slot: 0,
            generation: 0,
        };
        let mut managed = Managed::new(settings, account);
        managed.previd = Some(Previd {
            session: SessionId { shard: 0, key },
            token: Token(7),
        });
        managed
    }

    fn held(managed: &Managed) -> u64 {
        managed.settings.metrics.xmpp_unacked_bytes.get()
    }

    #[test]
    fn only_stanzas_count() {
        let mut managed = managed(1_000);
        for element in ["<r xmlns='x'/>", "<a/>", "<stream:error>", "<close/>", "<open/>"] {
            managed.wrote(element.as_bytes());
        }
        assert_eq!((managed.sent, managed.unacked.len()), (0, 0));
        for stanza in ["<message/>", "<iq/>", "<presence/>"] {
            managed.wrote(stanza.as_bytes());
        }
        assert_eq!((managed.sent, managed.unacked.len()), (3, 3));
    }

    #[test]
    fn numbers_wrap_around() {
        for start in [u32::MAX - 2, u32::MAX, 0, 1 << 31] {
            let mut managed = managed(10_000);
            (managed.sent, managed.acked, managed.received) = (start, start, start);
            managed.asked_at = start;
            for _ in 0..5 {
                managed.wrote(b"<message/>");
                managed.handle();
            }
            assert_eq!(managed.received(), start.wrapping_add(5));
            let too_high = TooHigh {
                handled: start.wrapping_add(6),
                sent: start.wrapping_add(5),
            };
            assert_eq!(managed.acknowledge(start.wrapping_add(6)), Err(too_high));
            assert!(managed.acknowledge(start.wrapping_add(1 << 30)).is_err());
            // Nothing more than before.
            assert_eq!(managed.acknowledge(start.wrapping_sub(1)), Ok(()));
            for handled in 0..=5 {
                assert_eq!(managed.check(start.wrapping_add(handled)), Ok(()));
            }
            assert_eq!(managed.acknowledge(start.wrapping_add(4)), Ok(()));
            assert_eq!(managed.again().count(), 1);
            // What was acknowledged stays so, whatever is said later.
            assert_eq!(managed.check(start.wrapping_add(3)), Ok(()));
            assert_eq!(managed.acknowledge(start.wrapping_add(3)), Ok(()));
            assert_eq!(managed.again().count(), 1);
            assert_eq!(managed.acknowledge(start.wrapping_add(5)), Ok(()));
            assert_eq!((held(&managed), managed.unacked.capacity()), (0, 0));
        }
    }

    #[test]
    fn it_is_asked_once_until_it_has_answered_and_never_for_nothing_new() {
        let mut managed = managed(10_000);
        assert!(!managed.asks());
        managed.wrote(b"<message/>");
        assert!(managed.asks() && !managed.asks());
        managed.wrote(b"<message/>");
        assert!(!managed.asks(), "it has not answered");
        managed.acknowledge(1).unwrap();
        assert!(managed.asks(), "of the second");
        managed.acknowledge(1).unwrap();
        assert!(!managed.asks(), "it says that it has not handled it");
        managed.wrote(b"<message/>");
        assert!(managed.asks(), "there is something new");
        managed.acknowledge(3).unwrap();
        assert!(!managed.asks());
    }

    #[test]
    fn what_is_not_acknowledged_is_forgotten_beyond_its_bounds_and_heals() {
        let stanza = [&b"<message>"[..], &[b'x'; 1_000]].concat();
        let most = limits::XMPP_UNACKED_BYTES_MAX / (stanza.len() + OVERHEAD);
        for (of_shard, most) in [(u64::MAX, most), (4 * (stanza.len() + OVERHEAD) as u64, 4)] {
            let mut managed = managed(of_shard);
            for _ in 0..most {
                managed.wrote(&stanza);
            }
            assert_eq!(managed.check(0), Ok(()));
            managed.wrote(&stanza);
            let gone = ResumeFailure::NotFound { handled: Some(0) };
            assert_eq!(managed.check(0), Err(gone));
            assert_eq!(managed.check(1), Ok(()));
            assert_eq!(managed.settings.metrics.xmpp_unacked_forgotten.get(), 1);
            managed.acknowledge(1).unwrap();
            assert_eq!((managed.check(1), managed.unacked.len()), (Ok(()), most));
            let metrics = Arc::clone(&managed.settings.metrics);
            drop(managed);
            assert_eq!(metrics.xmpp_unacked_bytes.get(), 0);
        }
        // As many small ones.
        let mut managed = managed(u64::MAX);
        for _ in 0..=limits::XMPP_UNACKED_MAX {
            managed.wrote(b"<iq/>");
        }
        assert_eq!(managed.unacked.len(), limits::XMPP_UNACKED_MAX);
    }

    #[test]
    fn clients_of_one_account_that_never_acknowledge_leave_room_for_others() {
        let stanza = [&b"<message>"[..], &[b'x'; 959]].concat();
        let mut settings = Settings::new(Vec::new(), [7; 32], Arc::default());
        (settings.unacked_bytes_max, settings.unacked_bytes_per_account_max) = (16_000, 4_000);
        let settings = Arc::new(settings);
        let mut bystander = managed_of(&settings, "b");
        let mut hoarders: Vec<_> = (0..20).map(|_| managed_of(&settings, "a")).collect();
        for _ in 0..20 {
            for hoarder in &mut hoarders {
                hoarder.wrote(&stanza);
            }
        }
        assert_eq!(settings.metrics.xmpp_unacked_bytes.get(), 4_000);
        for _ in 0..4 {
            bystander.wrote(&stanza);
        }
        assert_eq!(
            bystander.check(0),
            Ok(()),
            "it has all that it may have to be sent"
        );
        assert_eq!(settings.metrics.xmpp_unacked_forgotten.get(), 396);
        // The first have a message each, the others nothing.
        let resumable = |hoarders: &[Managed]| hoarders.iter().filter(|one| one.check(19).is_ok()).count();
        assert_eq!(resumable(&hoarders), 4);
        let mut suspended = managed_of(&settings, "a");
        let kept = |managed: &mut Managed| managed.keep(vec![stanza.clone().into_boxed_slice()]);
        assert_eq!(kept(&mut suspended), Err(Undelivered::QueueFull));
        // They heal like others.
        for hoarder in &mut hoarders {
            hoarder.acknowledge(20).unwrap();
        }
        assert_eq!((kept(&mut suspended), resumable(&hoarders)), (Ok(()), 20));
        drop((hoarders, suspended));
        assert_eq!(
            settings.metrics.xmpp_unacked_bytes.get(),
            4_000,
            "the bystander's"
        );
        drop(bystander);
        assert_eq!(settings.metrics.xmpp_unacked_bytes.get(), 0);
        assert_eq!(settings.unacked.of(settings.unacked.place("b")), 0);
    }

    #[test]
    fn without_a_connection_what_does_not_fit_is_refused_and_what_is_there_stays() {
        let mut managed = managed(100);
        let stanza = |len: usize| vec![b'x'; len].into_boxed_slice();
        assert_eq!(managed.keep(vec![stanza(10), stanza(20)]), Ok(()));
        assert_eq!(
            managed.keep(vec![stanza(1), stanza(1)]),
            Err(Undelivered::QueueFull)
        );
        assert_eq!((managed.sent, held(&managed)), (2, 94));
        assert_eq!(managed.check(0), Ok(()));
    }

    #[test]
    fn what_cannot_be_resumed_keeps_nothing() {
        let mut managed = managed(1_000);
        managed.previd = None;
        managed.wrote(b"<message/>");
        assert_eq!((managed.sent, held(&managed)), (1, 0));
        assert!(managed.asks());
        managed.acknowledge(1).unwrap();
    }

    #[test]
    fn it_is_small() {
        assert!(size_of::<Managed>() <= 128, "{}", size_of::<Managed>());
    }
}
