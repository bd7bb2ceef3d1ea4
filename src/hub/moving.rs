//! Connections that go to the shard where their session lives.

use super::Hub;
use super::io::Io;
use super::table::{Entry, Prelogin, State};
use crate::route::SessionKey;
use crate::session::Session;
use crate::store::{Admitted, LoginProof};
use crate::time::Now;

/// A connection and its session on their way to another shard.
#[derive(Debug)]
pub struct Luggage<P> {
    /// The session.
    pub session: Box<P>,
    prelogin: Box<Prelogin>,
}

impl<C: Copy + PartialEq + std::fmt::Debug, S: Clone, P: Session> Hub<C, S, P> {
    /// Has a connection whose proof was accepted go to the shard that its session lives on.
    pub(super) fn move_home<I>(&mut self, io: &mut I, key: SessionKey, home: u16, admitted: Admitted)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let Some(entry) = self.table.get_mut(key) else {
            return;
        };
        let Some(prelogin) = entry.prelogin.as_mut() else {
            return;
        };
        prelogin.proven = Some(Box::new(admitted));
        entry.state = State::Moving;
        io.hand_over(entry.conn, home);
    }

    /// A connection goes to the shard that it was to be handed over to. Called in place of [`Hub::closed`].
    pub fn leaving<I>(&mut self, io: &mut I, slot: u32, conn: C) -> Option<Luggage<P>>
    where
        I: Io<Conn = C, Shared = S>,
    {
        let key = self.key_of(slot, conn)?;
        let mut entry = self.table.remove(key)?;
        if let Some(timer) = entry.timer.take() {
            io.cancel(timer);
        }
        let Some(prelogin) = entry.prelogin else {
            self.metrics.connections_closed.increment();
            return None;
        };
        self.pooled_bytes -= prelogin.pooled;
        let session = Box::new(entry.session);
        Some(Luggage { session, prelogin })
    }

    /// A connection came from another shard, and is held. Returns the slot that names it; `None`: close it. What it
    /// proved there is confirmed once more: what was revoked on its way would not be looked for any more.
    pub fn handed<I>(&mut self, io: &mut I, now: Now, conn: C, luggage: Luggage<P>) -> Option<u32>
    where
        I: Io<Conn = C, Shared = S>,
    {
        let slot = self.take_over(io, now, conn, luggage);
        // It was counted as opened where it was accepted.
        if slot.is_none() {
            self.metrics.connections_closed.increment();
        }
        slot
    }

    fn take_over<I>(&mut self, io: &mut I, now: Now, conn: C, luggage: Luggage<P>) -> Option<u32>
    where
        I: Io<Conn = C, Shared = S>,
    {
        if self.draining {
            return None;
        }
        let Luggage {
            session,
            mut prelogin,
        } = luggage;
        let admitted = prelogin.proven.take()?;
        let account = prelogin.account.clone();
        let resource = prelogin.resuming.is_none().then(|| prelogin.resource.clone());
        self.pooled_bytes += prelogin.pooled;
        let key = self.table.insert(Entry {
            prelogin: Some(prelogin),
            ..Entry::new(*session, conn, State::Moving)
        })?;
        self.rearm(io, key);
        let proof = LoginProof::Proven {
            credential: admitted.grants.credential,
            expires_unix_ms: admitted.grants.expires_unix_ms,
        };
        if !self.ask(io, key, &account, resource, proof) {
            self.decided(io, now, key, Err(crate::session::LoginFailure::Unavailable));
        }
        self.settle(io, now);
        Some(key.slot)
    }
}
