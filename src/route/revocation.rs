//! Changes of rights while blocks are connected.
//!
//! A revocation, and the announcement of a worker, looks through the sessions of the shard, a bounded number per tick: it
//! is rare, and an index by account and secret would cost every idle device bytes for it. A million sessions are through in well under a
//! second; a session that joins meanwhile was admitted by a login that came after the revocation.

use super::message::SessionKey;
use super::port::Port;
use super::rights::{Change, CredentialId};
use super::router::Router;
use super::sessions::Entry;
use crate::limits;
use crate::session::Ending;
use crate::time::Now;

#[derive(Debug)]
enum Concerned {
    Account(Box<str>),
    Credential(CredentialId),
    App(Box<str>),
    /// Announced as a worker: this account, under this resource or under any.
    Announced(Box<str>, Option<Box<str>>),
}

impl Concerned {
    fn concerns(&self, entry: &Entry) -> bool {
        match self {
            Self::Account(account) => entry.identity.sender().account() == &**account,
            Self::Credential(credential) => entry.credential == *credential,
            Self::App(app) => entry.identity.sender().app() == &**app,
            Self::Announced(account, resource) => {
                let sender = entry.identity.sender();
                let fits = |resource: &str| resource == sender.resource();
                sender.account() == &**account && resource.as_deref().is_none_or(fits)
            }
        }
    }
}

/// A change on its way through the sessions.
#[derive(Debug)]
pub(super) struct Sweep {
    concerned: Concerned,
    next_slot: u32,
}

impl Router {
    /// Follows a change that the control thread made; every shard hears all of them in the same order.
    pub fn apply(&mut self, _now: Now, port: &mut impl Port, change: &Change) {
        let concerned = match change {
            Change::App { name, policy } => {
                self.entitlement.set_app(name.clone(), *policy);
                return;
            }
            Change::Services { uid, services } => {
                self.entitlement.set_services(*uid, services.clone());
                return;
            }
            Change::AppRemoved { name } => {
                self.entitlement.remove_app(name);
                Concerned::App(name.clone())
            }
            Change::AccountRevoked { account } => Concerned::Account(account.clone()),
            Change::Announced { account, resource } => {
                Concerned::Announced(account.clone(), resource.clone())
            }
            Change::CredentialRevoked { credential } if *credential == CredentialId::NONE => return,
            Change::CredentialRevoked { credential } => Concerned::Credential(*credential),
        };
        self.sweeps.push_back(Sweep {
            concerned,
            next_slot: 0,
        });
        if self.sweeps.len() == 1 {
            self.sweep(port);
        }
    }

    /// Goes on with the changes.
    pub(super) fn sweep(&mut self, port: &mut impl Port) {
        let mut left = limits::SWEEP_SESSIONS_PER_TICK;
        while left > 0
            && let Some(sweep) = self.sweeps.front_mut()
        {
            let start = sweep.next_slot;
            let end = start.saturating_add(left).min(self.sessions.end());
            let is_concerned = |(_, entry): &(SessionKey, &Entry)| sweep.concerned.concerns(entry);
            let found = self.sessions.in_slots(start..end).filter(is_concerned);
            let found: Vec<SessionKey> = found.map(|(key, _)| key).collect();
            // With a secret goes the connection that was proven by it; the account has its session still.
            let ending = match sweep.concerned {
                Concerned::Credential(_) => Some(Ending::ProofEnded),
                Concerned::Account(_) | Concerned::App(_) => Some(Ending::Revoked),
                Concerned::Announced(..) => None,
            };
            left -= end - start;
            if end < self.sessions.end() {
                sweep.next_slot = end;
            } else {
                self.sweeps.pop_front();
            }
            for key in found {
                match ending {
                    Some(ending) => port.end(key, ending),
                    None => self.announce(key),
                }
            }
        }
    }
}
