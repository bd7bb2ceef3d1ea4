//! Sessions that outlive their connections: without one they keep their address, their subscriptions and their
//! listeners, and are offered to nobody.
//!
//! Invariant: such a session lives on the home shard of its address, so that whoever comes back finds it there, and
//! who takes its address is decided without asking another shard.

use std::time::Duration;

use super::claiming::Locals;
use super::identity::Identity;
use super::message::SessionKey;
use super::port::Port;
use super::rights::{CredentialId, Grants};
use super::router::Router;
use super::sessions::State;
use crate::limits;
use crate::time::Now;

impl Router {
    /// The shard that an address is at home on.
    pub fn home(&self, identity: &Identity) -> u16 {
        let address = self.placement.address(identity.sender().address());
        self.placement.home(address.hash())
    }

    /// The session of this shard that holds an address at home here.
    pub fn holder(&self, identity: &Identity) -> Option<SessionKey> {
        let address = self.placement.address(identity.sender().address());
        let locals = Locals {
            shard: self.shard,
            sessions: &self.sessions,
            placement: &self.placement,
        };
        let holder = self.addresses.holder(&locals, address)?;
        (holder.shard == self.shard).then_some(holder.key)
    }

    /// A session lost its connection and goes on without. What it was asked waits for it for [`limits::WORKER_BACK_MS`]; of
    /// one that is `kept` the requests of its own are forgotten.
    pub fn suspend(&mut self, now: Now, port: &mut impl Port, key: SessionKey, kept: bool) {
        let Some(entry) = self.sessions.attached(key) else {
            return;
        };
        let (uid, takes_direct) = (entry.identity.sender().uid(), entry.direct().is_some());
        let is_worker = entry.worker().is_some();
        self.metrics.sessions.decrement();
        self.metrics.sessions_offline.increment();
        if kept {
            self.leave_requests(port, key);
        } else {
            self.tell_away(key, true);
        }
        self.retract_work(key);
        if takes_direct {
            self.tell_direct(key, false);
        }
        self.entitlement.leave(uid);
        if let Some(entry) = self.sessions.get_mut(key) {
            entry.state = State::Suspended;
            entry.since = now.instant;
        }
        self.tell_members(key, false);
        if is_worker {
            let until = now.instant + Duration::from_millis(limits::WORKER_BACK_MS);
            self.suspended.push_back((until, key));
        }
    }

    /// A session has a connection again, and the rights that its client came back with.
    pub fn resume(&mut self, now: Now, key: SessionKey, grants: Grants) {
        let Some(entry) = self
            .sessions
            .get_mut(key)
            .filter(|entry| entry.state == State::Suspended)
        else {
            return;
        };
        entry.state = State::Attached;
        entry.credential = grants.credential;
        entry.since = now.instant;
        let (uid, takes_direct) = (entry.identity.sender().uid(), entry.direct().is_some());
        self.metrics.sessions.increment();
        self.metrics.sessions_offline.decrement();
        self.entitlement.enter(uid, grants.services);
        if takes_direct {
            self.tell_direct(key, true);
        }
        self.tell_members(key, true);
        self.offer_work(key);
        if grants.announced {
            self.announce(key);
        }
        self.tell_away(key, false);
    }

    /// Takes a session in that was kept over a restart, without a connection. Its address is at home here; false if
    /// somebody holds it. `key` must not be in use.
    pub fn restore(&mut self, now: Now, key: SessionKey, identity: Identity) -> bool {
        if self.home(&identity) != self.shard || self.holder(&identity).is_some() {
            return false;
        }
        let address = self.placement.address(identity.sender().address());
        if !self
            .sessions
            .insert(key, identity, CredentialId::NONE, now.instant)
        {
            return false;
        }
        let id = self.id(key);
        let locals = Locals {
            shard: self.shard,
            sessions: &self.sessions,
            placement: &self.placement,
        };
        let _ = self.addresses.claim(&locals, address, id);
        if let Some(entry) = self.sessions.get_mut(key) {
            entry.state = State::Suspended;
        }
        self.metrics.sessions_offline.increment();
        true
    }

    /// Ends what workers were asked that have not come back in time.
    pub(super) fn give_up_suspended(&mut self, now: Now, port: &mut impl Port) {
        let wait = Duration::from_millis(limits::WORKER_BACK_MS);
        while let Some(&(until, key)) = self.suspended.front()
            && until <= now.instant
        {
            self.suspended.pop_front();
            // One that came back and went again waits anew.
            let is_it = self
                .sessions
                .get(key)
                .is_some_and(|entry| entry.state == State::Suspended && entry.since + wait == until);
            if is_it {
                self.give_up_work(port, key);
            }
        }
    }
}
