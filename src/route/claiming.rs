//! How a session comes by its address: the shard it lives on asks, the home shard decides.

use super::addresses::{Claimed, Residents};
use super::hashes::{AddressKey, Placement};
use super::letter::Letter;
use super::message::{Notice, SessionId, SessionKey};
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
        if damped
            && self.addresses.is_held(&locals, address)
            && !self.conflicts.may_take_over(now.instant, address)
        {
            let session = newcomer.key;
            if newcomer.shard == self.shard {
                self.claim_refused(port, session);
            } else {
                self.mesh
                    .write(newcomer.shard, |_| Letter::ClaimRefused { session });
            }
            return;
        }
        match self.addresses.claim(&locals, address, newcomer) {
            Claimed::Granted => self.grant(port, newcomer),
            Claimed::Evict(holder) => {
                let session = holder.key;
                if holder.shard == self.shard {
                    self.evicted(port, session);
                } else {
                    self.mesh.write(holder.shard, |_| Letter::Evict { session });
                }
            }
            Claimed::InsteadOf(other) => {
                let session = other.key;
                if other.shard == self.shard {
                    self.displaced(port, session);
                } else {
                    self.mesh.write(other.shard, |_| Letter::Displaced { session });
                }
            }
            Claimed::Again => {}
        }
    }

    /// At home: a session leaves.
    pub(super) fn release(&mut self, port: &mut impl Port, address: AddressKey, session: SessionId) {
        let locals = Locals {
            shard: self.shard,
            sessions: &self.sessions,
            placement: &self.placement,
        };
        if let Some(next) = self.addresses.release(&locals, address, session) {
            self.grant(port, next);
        }
    }

    fn grant(&mut self, port: &mut impl Port, to: SessionId) {
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
            port.notify(session, Notice::Attached);
        }
    }

    /// Where the session lives: it has to leave. It holds the address until it did.
    pub(super) fn evicted(&mut self, port: &mut impl Port, session: SessionKey) {
        if self.sessions.get(session).is_some() {
            port.end(session, Ending::TakenOver);
        }
    }

    /// Where the session lives: the address is fought for, and it does not get it.
    pub(super) fn claim_refused(&mut self, port: &mut impl Port, session: SessionKey) {
        if let Some(entry) = self.sessions.get_mut(session)
            && entry.state == State::Joining
        {
            entry.state = State::Displaced;
            port.notify(session, Notice::Refused);
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
