//! Where blocks are, for whoever asks from outside of the shards: first the indexes of Direct messages say which
//! sessions hold an address, then the sessions' own shards say which of them are there.

use super::identity::Account;
use super::message::{SessionId, SessionKey};
use super::router::Router;
use crate::limits;

impl Router {
    /// Appends the sessions that take Direct messages for an account, under a resource or under any, as far as the
    /// index of this shard knows them: at most [`limits::DIRECT_ACCOUNT_BLOCKS_MAX`] of one account.
    pub fn seek_blocks(&self, account: &str, resource: Option<&str>, found: &mut Vec<SessionId>) {
        let Ok(account) = Account::parse(account) else {
            return;
        };
        let Some(resource) = resource else {
            let blocks = self.direct_index.of_account(account.uid, account.role);
            return found.extend(blocks.take(limits::DIRECT_ACCOUNT_BLOCKS_MAX));
        };
        let name = self.placement.direct(account.app, resource);
        if self.placement.home(name) == self.shard {
            found.extend(self.direct_index.find_account(name, &account));
        }
    }

    /// The address, `<account>/<resource>`, of a session of this shard whose client is there; of none while the daemon
    /// stops.
    pub fn live_address(&self, key: SessionKey) -> Option<&str> {
        let entry = self.sessions.attached(key).filter(|_| !self.draining)?;
        Some(entry.identity.sender().address())
    }
}
