//! How sessions and connections end, and the timers that may end them.

use super::Hub;
use super::io::{HubTimer, Io};
use super::keeping::Fate;
use super::table::{State, Timer};
use crate::route::SessionKey;
use crate::session::{Disconnect, Ending, Session};
use crate::time::Now;

impl<C: Copy + PartialEq + std::fmt::Debug, S: Clone, P: Session> Hub<C, S, P> {
    /// Ends a session that did nothing wrong, or its connection alone if it may go on without.
    pub(super) fn end<I>(&mut self, io: &mut I, now: Now, key: SessionKey, ending: Ending)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let is_kept = self.table.get_mut(key).is_some_and(|entry| entry.kept);
        let fate = match ending {
            Ending::TakenOver | Ending::Revoked => Fate::Discard,
            Ending::SlowReceiver => Fate::Keep,
            // What is in memory alone ends with what its client came in by, and with the daemon.
            Ending::ProofEnded | Ending::Shutdown | Ending::TooMuchUnfinished if is_kept => Fate::Keep,
            Ending::ProofEnded | Ending::Shutdown | Ending::TooMuchUnfinished => Fate::Discard,
        };
        self.end_as(io, now, key, ending, fate);
    }

    pub(super) fn end_as<I>(&mut self, io: &mut I, now: Now, key: SessionKey, ending: Ending, fate: Fate)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let Some(entry) = self.table.get_mut(key) else {
            return;
        };
        match entry.state {
            State::Closing => {}
            State::Offline if fate != Fate::Discard => {}
            State::Offline => {
                self.part(io, now, key, fate);
                self.table.remove(key);
            }
            _ => {
                if let Some(mut out) = io.output(entry.conn) {
                    entry.session.end(now, ending, &mut out);
                }
                let remains = self.part(io, now, key, fate);
                self.close(io, remains);
            }
        }
    }

    /// Ends a session by its peer's fault.
    pub(super) fn disconnect<I>(&mut self, io: &mut I, now: Now, key: SessionKey, reason: Disconnect)
    where
        I: Io<Conn = C, Shared = S>,
    {
        self.metrics.disconnected(reason);
        self.good_bye(io, now, key);
        self.settle(io, now);
    }

    pub(super) fn good_bye<I>(&mut self, io: &mut I, now: Now, key: SessionKey)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let remains = self.part(io, now, key, Fate::Keep);
        self.close(io, remains);
    }

    /// Closes the connection of a session that has left, after what is queued has been sent.
    pub(super) fn close<I>(&mut self, io: &mut I, key: SessionKey)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let Some(entry) = self.table.get_mut(key) else {
            return;
        };
        entry.state = State::Closing;
        if let Some(timer) = entry.timer.take() {
            io.cancel(timer);
        }
        if let Some(prelogin) = entry.prelogin.take() {
            self.pooled_bytes -= prelogin.pooled;
        }
        io.close(entry.conn);
    }

    pub(super) fn session_timer<I>(&mut self, io: &mut I, now: Now, slot: u32)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let Some(key) = self.table.key(slot) else { return };
        let Some(entry) = self.table.get_mut(key) else {
            return;
        };
        // It has fired.
        entry.timer.take();
        match entry.state {
            State::Closing => return,
            State::Offline => return self.offline_timer(io, now, key),
            _ => {}
        }
        if entry.session.next_timeout().is_some_and(|at| at <= now.instant) {
            let Some(mut out) = io.output(entry.conn) else {
                return;
            };
            let result = entry.session.timeout(now, &mut out);
            drop(out);
            self.batch.drain(key, entry);
            if let Err(reason) = result {
                return self.disconnect(io, now, key, reason);
            }
        }
        self.rearm(io, key);
    }

    /// Arms the session's timer if its next time-out is earlier than what is armed. A later one is found when
    /// the timer fires: activity moves time-outs all the time, and costs nothing this way.
    pub(super) fn rearm<I>(&mut self, io: &mut I, key: SessionKey)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let Some(entry) = self
            .table
            .get_mut(key)
            .filter(|entry| entry.state != State::Closing)
        else {
            return;
        };
        let Some(at) = entry.session.next_timeout() else {
            return;
        };
        if let Some((armed, timer)) = entry.timer.get() {
            if armed <= at {
                return;
            }
            io.cancel(timer);
        }
        entry.timer = Timer::armed(at, io.arm(at, HubTimer::of_session(key)));
    }
}
