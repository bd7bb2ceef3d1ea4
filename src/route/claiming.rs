//! How a session comes by its address: the shard it lives on asks, the home shard decides.

use super::addresses::Claimed;
use super::hashes::AddressKey;
use super::letter::Letter;
use super::message::{Notice, SessionId, SessionKey};
use super::port::Port;
use super::router::Router;
use super::sessions::State;
use crate::session::Ending;

impl Router {
    /// At home: a session asks for an address.
    pub(super) fn claim(&mut self, port: &mut impl Port, address: AddressKey, newcomer: SessionId) {
        match self.addresses.claim(address, newcomer) {
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

    /// At home: a session left.
    pub(super) fn release(&mut self, port: &mut impl Port, address: AddressKey, session: SessionId) {
        if let Some(next) = self.addresses.release(address, session) {
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
