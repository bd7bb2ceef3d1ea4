//! What is written to the store: by the command line, by the demo, by tests that need a populated store.
//!
//! Invariant: a change and the row of the change log that tells a running daemon of it are committed together.

mod accounts;
mod apps;
mod bridge;
mod list;
mod secrets;
mod services;

use std::fmt;
use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::access;
use super::database::{self, Use};
use super::fault::StoreFault;
use super::files::{DataDir, OpenMode};
use crate::daemon::clock;
use crate::store::StoreKey;

pub use accounts::{AccountSecret, ChosenSecret};
pub use bridge::{Announced, Announcement, Credentials, Found, Given, LiveService, Wanted, Workers};
#[cfg(test)]
pub(super) use bridge::{OWNER_LOOK_UP, SHOWN_LOOK_UP};
pub(super) use list::direct_policy;
pub use list::{AccountRecord, AppRecord, SecretRecord, ServiceRecord};
pub use secrets::IssuedSecret;
pub use services::ServiceKind;

/// Why something was not written.
#[derive(Debug)]
pub enum RecordError {
    /// The rules do not allow it.
    Refused {
        /// What is wrong.
        why: String,
        /// What to do about it.
        remedy: String,
    },
    /// The store failed.
    Fault(StoreFault),
}

impl RecordError {
    fn refused(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Refused {
            why: why.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { why, remedy } => write!(f, "{why}; {remedy}"),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for RecordError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused { .. } => None,
            Self::Fault(fault) => Some(fault),
        }
    }
}

impl From<StoreFault> for RecordError {
    fn from(fault: StoreFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<rusqlite::Error> for RecordError {
    fn from(source: rusqlite::Error) -> Self {
        Self::Fault(StoreFault::Database {
            doing: "use the database",
            source,
        })
    }
}

/// A store, opened to be read and written beside a running daemon.
#[derive(Debug)]
pub struct Records {
    pub(super) connection: Connection,
    pub(super) key: StoreKey,
}

impl Records {
    /// Opens the store in `data_dir`.
    pub fn open(data_dir: &Path, mode: OpenMode) -> Result<Self, StoreFault> {
        let opened = DataDir::open(data_dir, mode).and_then(|dir| database::open(&dir, Use::Write));
        let (connection, key) = opened.map_err(|fault| access::explained(fault, data_dir))?;
        Ok(Self { connection, key })
    }

    /// Looks things up, in one snapshot, beside all who write.
    pub fn read<T>(
        &mut self,
        look: impl FnOnce(&Writer<'_>) -> Result<T, RecordError>,
    ) -> Result<T, RecordError> {
        let reader = Writer {
            transaction: self
                .connection
                .transaction_with_behavior(TransactionBehavior::Deferred)?,
            key: &self.key,
            unix_ms: clock::unix_ms(),
        };
        look(&reader)
    }

    /// Writes all that `change` does, or nothing if it fails. Takes effect in a running daemon within a second.
    pub fn write<T>(
        &mut self,
        change: impl FnOnce(&Writer<'_>) -> Result<T, RecordError>,
    ) -> Result<T, RecordError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let writer = Writer {
            transaction,
            key: &self.key,
            unix_ms: clock::unix_ms(),
        };
        let done = change(&writer)?;
        writer.transaction.commit()?;
        Ok(done)
    }
}

/// A transaction that writes to the store.
pub struct Writer<'a> {
    transaction: Transaction<'a>,
    key: &'a StoreKey,
    unix_ms: u64,
}

/// What a running daemon is told, as it stands in the change log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::daemon::control) enum LogKind {
    /// An app is there or changed its policy; subject: its name.
    App,
    /// An app is gone; subject: its name.
    AppRemoved,
    /// A user's services changed; subject: the uid.
    Services,
    /// An account is revoked; subject: its name.
    AccountRevoked,
    /// A secret is revoked; subject: its id.
    CredentialRevoked,
    /// A weak secret was added; subject: its account.
    WeakSecret,
    /// A worker was announced; subject: its account, or `<account>/<resource>`.
    Announced,
}

impl LogKind {
    const ALL: [Self; 7] = [
        Self::App,
        Self::AppRemoved,
        Self::Services,
        Self::AccountRevoked,
        Self::CredentialRevoked,
        Self::WeakSecret,
        Self::Announced,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::AppRemoved => "app-removed",
            Self::Services => "services",
            Self::AccountRevoked => "account-revoked",
            Self::CredentialRevoked => "credential-revoked",
            Self::WeakSecret => "weak-secret",
            Self::Announced => "announced",
        }
    }

    pub(in crate::daemon::control) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl Writer<'_> {
    fn log(&self, kind: LogKind, subject: &str) -> Result<(), RecordError> {
        self.transaction
            .prepare_cached("INSERT INTO change (at_unix_ms, kind, subject) VALUES (?1, ?2, ?3)")?
            .execute(params![self.unix_ms, kind.as_str(), subject])?;
        Ok(())
    }

    fn has_app(&self, name: &str) -> Result<bool, RecordError> {
        let found = self
            .transaction
            .prepare_cached("SELECT 1 FROM app WHERE name = ?1 AND removed_unix_ms IS NULL")?
            .exists([name])?;
        Ok(found)
    }

    /// For what needs the app: it may be added.
    fn require_app(&self, name: &str) -> Result<(), RecordError> {
        if self.has_app(name)? {
            return Ok(());
        }
        Err(RecordError::refused(
            format!("there is no app '{name}'"),
            format!("see 'nexusd app list', or add it with 'nexusd app add {name}'"),
        ))
    }
}

/// For what takes something from an app: to add it would be no remedy.
fn unknown_app(name: &str) -> RecordError {
    RecordError::refused(format!("there is no app '{name}'"), "see 'nexusd app list'")
}

/// Refuses a name that breaks its grammar.
fn grammar<T>(checked: Result<T, crate::route::NameError>, given: &str) -> Result<T, RecordError> {
    checked.map_err(|rule| RecordError::refused(format!("'{given}' is no valid name"), rule.0))
}
