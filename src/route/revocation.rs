//! Changes of rights while blocks are connected.
//!
//! A revocation looks through the sessions of the shard, a bounded number per tick: it is rare, and an index by
//! account and secret would cost every idle device bytes for it. A million sessions are through in well under a
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
enum Revoked {
    Account(Box<str>),
    Credential(CredentialId),
    App(Box<str>),
}

impl Revoked {
    fn concerns(&self, entry: &Entry) -> bool {
        match self {
            Self::Account(account) => entry.identity.sender().account() == &**account,
            Self::Credential(credential) => entry.credential == *credential,
            Self::App(app) => entry.identity.sender().app() == &**app,
        }
    }
}

/// A revocation on its way through the sessions.
#[derive(Debug)]
pub(super) struct Sweep {
    revoked: Revoked,
    next_slot: u32,
}

impl Router {
    /// Follows a change that the control thread made; every shard hears all of them in the same order.
    pub fn apply(&mut self, _now: Now, port: &mut impl Port, change: &Change) {
        let revoked = match change {
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
                Revoked::App(name.clone())
            }
            Change::AccountRevoked { account } => Revoked::Account(account.clone()),
            Change::CredentialRevoked { credential } if *credential == CredentialId::NONE => return,
            Change::CredentialRevoked { credential } => Revoked::Credential(*credential),
        };
        self.sweeps.push_back(Sweep {
            revoked,
            next_slot: 0,
        });
        if self.sweeps.len() == 1 {
            self.sweep(port);
        }
    }

    /// Goes on with the revocations.
    pub(super) fn sweep(&mut self, port: &mut impl Port) {
        let mut left = limits::SWEEP_SESSIONS_PER_TICK;
        while left > 0
            && let Some(sweep) = self.sweeps.front_mut()
        {
            let start = sweep.next_slot;
            let end = start.saturating_add(left).min(self.sessions.end());
            let concerned = |(_, entry): &(SessionKey, &Entry)| sweep.revoked.concerns(entry);
            // With a secret goes the connection that was proven by it; the account has its session still.
            let ending = match sweep.revoked {
                Revoked::Credential(_) => Ending::ProofEnded,
                Revoked::Account(_) | Revoked::App(_) => Ending::Revoked,
            };
            for (key, _) in self.sessions.in_slots(start..end).filter(concerned) {
                port.end(key, ending);
            }
            left -= end - start;
            if end < self.sessions.end() {
                sweep.next_slot = end;
            } else {
                self.sweeps.pop_front();
            }
        }
    }
}
