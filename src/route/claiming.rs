//! How a session comes by its address: the shard it lives on asks, the home shard decides.
//!
//! Invariant: who is given an address after a session that was kept, or is told that it came too late for it, hears so
//! when the end of that one lasts: a crash does not bring back what it was told is not there.

use super::addresses::{Claimed, Residents, Waiting};
use super::hashes::{AddressKey, Placement};
use super::letter::Letter;
use super::message::{ClaimRefusal, Notice, SessionId, SessionKey};
use super::port::Port;
use super::router::Router;
use super::sessions::{Sessions, State};
use crate::session::Ending;
use crate::time::Now;

/// The sessions of this shard as [`super::addresses::Addresses`] sees them.
pub(super) struct Locals<'a> {
    pub(super) shard: u16,
    pub(super) sessions: &'a Sessions,
    pub(super) placement: &'a Placement,
}

impl Residents for Locals<'_> {
    fn shard(&self) -> u16 {
        self.shard
    }

    fn resident(&self, slot: u32) -> Option<(SessionKey, AddressKey)> {
        let (key, entry) = self.sessions.at(slot)?;
        Some((key, self.placement.address(entry.identity.sender().address())))
    }
}

impl Router {
    /// At home: a session asks for an address.
    pub(super) fn claim(
        &mut self,
        now: Now,
        port: &mut impl Port,
        address: AddressKey,
        newcomer: SessionId,
        damped: bool,
    ) {
        let locals = Locals {
            shard: self.shard,
            sessions: &self.sessions,
            placement: &self.placement,
        };
        // Nobody fights for an address whose holder has no connection.
        let holder = self.addresses.holder(&locals, address);
        if damped
            && holder.is_some_and(|holder| !self.is_away(address, holder))
            && !self.conflicts.may_take_over(now.instant, address)
        {
            return self.refuse(port, newcomer, ClaimRefusal::Conflict);
        }
        match self.addresses.claim(&locals, address, newcomer) {
            Claimed::Granted => self.grant(port, address, newcomer),
            // What is there stays: its end could not be made to last.
            Claimed::Evict(holder) if self.is_kept(port, holder) && port.refuses_durable() => {
                self.addresses.release(&locals, address, newcomer);
                self.refuse(port, newcomer, ClaimRefusal::NotStored);
            }
            Claimed::Evict(holder) => {
                let session = holder.key;
                if holder.shard == self.shard {
                    self.evicted(port, session);
                } else {
                    self.mesh.write(holder.shard, |_| Letter::Evict { session });
                }
            }
            Claimed::InsteadOf(other) => {
                let holder = self.addresses.holder(&locals, address);
                if !holder.is_none_or(|holder| self.is_kept(port, holder)) {
                    self.displace(port, other);
                } else if !self.addresses.tell_later(address, other) {
                    self.refuse(port, other, ClaimRefusal::Conflict);
                }
            }
            Claimed::Waits | Claimed::Again => {}
        }
    }

    fn is_away(&self, address: AddressKey, holder: SessionId) -> bool {
        if holder.shard != self.shard {
            return self.away.get(&address) == Some(&holder);
        }
        let entry = self.sessions.get(holder.key);
        entry.is_some_and(|entry| entry.state == State::Suspended)
    }

    /// Has the home of its address know whether a session is without a connection. On its own shard that is known.
    pub(super) fn tell_away(&mut self, key: SessionKey, away: bool) {
        let Some(entry) = self.sessions.get(key) else {
            return;
        };
        let address = self.placement.address(entry.identity.sender().address());
        let home = self.placement.home(address.hash());
        if home != self.shard {
            self.mesh.write(home, |_| Letter::Away {
                address,
                session: key,
                away,
            });
        }
    }

    /// At home: whether a session of another shard is without a connection.
    pub(super) fn heard_away(&mut self, address: AddressKey, session: SessionId, away: bool) {
        if away {
            self.away.insert(address, session);
        } else if self.away.get(&address) == Some(&session) {
            self.away.remove(&address);
        }
    }

    fn is_kept(&self, port: &mut impl Port, holder: SessionId) -> bool {
        holder.shard == self.shard && port.is_kept(holder.key)
    }

    fn refuse(&mut self, port: &mut impl Port, newcomer: SessionId, refusal: ClaimRefusal) {
        let session = newcomer.key;
        if newcomer.shard == self.shard {
            self.claim_refused(port, session, refusal);
        } else {
            self.mesh
                .write(newcomer.shard, |_| Letter::ClaimRefused { session, refusal });
        }
    }

    fn displace(&mut self, port: &mut impl Port, overtaken: SessionId) {
        let session = overtaken.key;
        if overtaken.shard == self.shard {
            self.displaced(port, session);
        } else {
            self.mesh
                .write(overtaken.shard, |_| Letter::Displaced { session });
        }
    }

    /// At home: a session leaves.
    pub(super) fn release(&mut self, port: &mut impl Port, address: AddressKey, session: SessionId) {
        let locals = Locals {
            shard: self.shard,
            sessions: &self.sessions,
            placement: &self.placement,
        };
        if self.away.get(&address) == Some(&session) {
            self.away.remove(&address);
        }
        if let Some(waiting) = self.addresses.release(&locals, address, session) {
            self.hand_on(port, address, &waiting);
        }
    }

    /// At home: the end of a session that was kept lasts.
    pub fn ended_lasts(&mut self, port: &mut impl Port, address: AddressKey) {
        let locals = Locals {
            shard: self.shard,
            sessions: &self.sessions,
            placement: &self.placement,
        };
        if let Some(waiting) = self.addresses.ended(&locals, address) {
            self.hand_on(port, address, &waiting);
        }
    }

    /// Tells those who waited for an address what came of it.
    fn hand_on(&mut self, port: &mut impl Port, address: AddressKey, waiting: &Waiting) {
        for overtaken in &waiting.overtaken {
            self.displace(port, *overtaken);
        }
        if let Some(next) = waiting.newest {
            self.grant(port, address, next);
        }
    }

    fn grant(&mut self, port: &mut impl Port, address: AddressKey, to: SessionId) {
        self.hand_leavings(port, address, to);
        let session = to.key;
        if to.shard == self.shard {
            self.granted(port, session);
        } else {
            self.mesh.write(to.shard, |_| Letter::Granted { session });
        }
    }

    /// Where the session lives: the address is its own. If it left meanwhile, its release is under way.
    pub(super) fn granted(&mut self, port: &mut impl Port, session: SessionKey) {
        if let Some(entry) = self.sessions.get_mut(session)
            && entry.state == State::Joining
        {
            entry.state = State::Attached;
            self.metrics.sessions.increment();
            self.offer_work(session);
            port.notify(session, Notice::Attached);
        }
    }

    /// Where the session lives: it has to leave. It holds the address until it did.
    pub(super) fn evicted(&mut self, port: &mut impl Port, session: SessionKey) {
        if self.sessions.get(session).is_some() {
            port.end(session, Ending::TakenOver);
        }
    }

    /// Where the session lives: it does not get the address.
    pub(super) fn claim_refused(&mut self, port: &mut impl Port, session: SessionKey, refusal: ClaimRefusal) {
        if let Some(entry) = self.sessions.get_mut(session)
            && entry.state == State::Joining
        {
            entry.state = State::Displaced;
            port.notify(session, Notice::Refused(refusal));
        }
    }

    /// Where the session lives: it waited, and a newer one was preferred.
    pub(super) fn displaced(&mut self, port: &mut impl Port, session: SessionKey) {
        if let Some(entry) = self.sessions.get_mut(session)
            && entry.state == State::Joining
        {
            entry.state = State::Displaced;
            port.notify(session, Notice::Displaced);
        }
    }
}
