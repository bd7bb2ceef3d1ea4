//! How much is retained: in all, and of each account.

use std::collections::HashMap;

use super::Retained;
use crate::route::router::RouterLimits;

/// Some messages, and the bytes that they take as [`Retained::len_bytes`] counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Amount {
    fn add(&mut self, message: &Retained) {
        self.messages += 1;
        self.bytes += message.len_bytes();
    }

    fn remove(&mut self, message: &Retained) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(message.len_bytes());
    }

    /// Whether one more message of `bytes` bytes stays within bounds, once `replaced` is gone.
    fn has_room(
        mut self,
        replaced: Option<&Retained>,
        bytes: usize,
        messages_max: usize,
        bytes_max: usize,
    ) -> bool {
        if let Some(replaced) = replaced {
            self.remove(replaced);
        }
        self.messages < messages_max && self.bytes.saturating_add(bytes) <= bytes_max
    }
}

/// What a replica holds. An account from which nothing is retained costs nothing.
#[derive(Debug, Default)]
pub(super) struct Usage {
    all: Amount,
    of_accounts: HashMap<Box<str>, Amount>,
}

impl Usage {
    pub(super) const fn all(&self) -> Amount {
        self.all
    }

    pub(super) fn of(&self, account: &str) -> Amount {
        self.of_accounts.get(account).copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, message: &Retained) {
        self.all.add(message);
        match self.of_accounts.get_mut(message.account()) {
            Some(of_account) => of_account.add(message),
            None => {
                let mut of_account = Amount::default();
                of_account.add(message);
                self.of_accounts.insert(message.account().into(), of_account);
            }
        }
    }

    pub(super) fn remove(&mut self, message: &Retained) {
        self.all.remove(message);
        let Some(of_account) = self.of_accounts.get_mut(message.account()) else {
            return;
        };
        of_account.remove(message);
        if of_account.messages == 0 {
            self.of_accounts.remove(message.account());
        }
    }

    /// Whether a message of `account` stays within the bounds of all and of its account, if it takes the place of
    /// `replaced`.
    pub(super) fn has_room(
        &self,
        replaced: Option<&Retained>,
        account: &str,
        bytes: usize,
        limits: &RouterLimits,
    ) -> bool {
        let (messages_max, bytes_max) = (limits.retained_max, limits.retained_bytes_max);
        if !self.all.has_room(replaced, bytes, messages_max, bytes_max) {
            return false;
        }
        let bound = |most| if most == 0 { usize::MAX } else { most };
        let own = replaced.filter(|replaced| replaced.account() == account);
        self.of(account).has_room(
            own,
            bytes,
            bound(limits.retained_per_account_max),
            bound(limits.retained_bytes_per_account_max),
        )
    }
}
