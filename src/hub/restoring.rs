//! Sessions that are taken in as they were kept over a restart.

use super::Hub;
use super::io::Io;
use super::keeping::first_number;
use super::rows::{self, Kind};
use super::table::{Entry, State};
use crate::route::{Account, Identity, SessionKey};
use crate::session::{Session, Starts};
use crate::time::Now;

/// A row of a table: its key and its value.
pub type Row = (Box<[u8]>, Box<[u8]>);

/// A session as it was written down, and what it had registered.
#[derive(Debug)]
pub struct Stored {
    /// Its number.
    pub number: u64,
    /// Its row in [`Table::Sessions`].
    pub row: Box<[u8]>,
    /// Its rows in [`Table::Registrations`]: keys without the session's number, and values.
    pub registrations: Vec<Row>,
}

/// Whose address it is.
pub(super) fn identity(address: &str) -> Option<Identity> {
    let (account, resource) = address.split_once('/')?;
    Identity::new(&Account::parse(account).ok()?, resource).ok()
}

impl Stored {
    /// The address it has, if its row can be read.
    pub fn address(&self) -> Option<&str> {
        rows::session(&self.row).map(|(_, address, _)| address)
    }
}

impl<C: Copy + PartialEq + std::fmt::Debug, S: Clone, P: Session> Hub<C, S, P> {
    /// Takes a session in that was kept over a restart. `None` if it does not belong here or cannot be read; nothing of
    /// it is left then. Otherwise how many of its registrations could not be read.
    pub fn restore<I>(
        &mut self,
        io: &mut I,
        now: Now,
        stored: &Stored,
        revive: impl FnOnce(&[u8]) -> Option<P>,
    ) -> Option<usize>
    where
        I: Io<Conn = C, Shared = S>,
    {
        self.next_number = self.next_number.max(first_number(self.shard, stored.number));
        self.restoring();
        if let Some((kind @ (Kind::Ended | Kind::Will), address, rest)) = rows::session(&stored.row) {
            let is_taken = match kind {
                Kind::Will => self.restore_will(stored.number, address, rest),
                _ => self.restore_left(now, stored.number, address, revive(rest)),
            };
            if !is_taken {
                self.forget(stored.number);
            }
            return is_taken.then_some(0);
        }
        let key = self.revive(now, stored, revive, I::NOWHERE);
        let Some(key) = key else {
            self.forget(stored.number);
            return None;
        };
        let mut unread = 0;
        for (name, value) in &stored.registrations {
            let registered = rows::registration(name, value).is_some_and(|registration| {
                let registered = self.route(io, now, |router, port| {
                    router.register(now, port, key, &registration)
                });
                registered.is_ok()
            });
            unread += usize::from(!registered);
        }
        self.router.tell_keeping();
        self.rearm(io, key);
        self.settle(io, now);
        Some(unread)
    }

    fn revive(
        &mut self,
        now: Now,
        stored: &Stored,
        revive: impl FnOnce(&[u8]) -> Option<P>,
        conn: C,
    ) -> Option<SessionKey> {
        let (_, address, described) = rows::session(&stored.row)?;
        let identity = identity(address)?;
        let session = revive(described)?;
        let key = self.table.insert(Entry {
            kept: true,
            ..Entry::new(session, conn, State::Offline)
        })?;
        if !self.router.restore(now, key, identity.clone()) {
            self.table.remove(key);
            return None;
        }
        self.router.count_kept(&identity, true);
        Some(key)
    }

    /// Writes down when the daemon was started; on one shard.
    pub fn write_starts(&mut self, starts: &Starts) {
        self.batch.write(|journal| starts.write(journal));
    }

    /// Takes in who had got the message of an exchange before the restart, from a row of [`Table::Inbound`] whose key is
    /// longer than that of an exchange; the key without the session's number. Before there are connections, on every
    /// shard. False: it cannot be read.
    pub fn restore_received(&mut self, session: u64, key: &[u8], value: &[u8]) -> bool {
        let Some((exchange, receivers)) = rows::received(key, value) else {
            return false;
        };
        self.batch.restore_received(session, exchange, receivers);
        true
    }

    /// No session that is kept from now on gets a number up to `last`.
    pub fn numbered_up_to(&mut self, last: u64) {
        self.next_number = self.next_number.max(first_number(self.shard, last));
    }
}
