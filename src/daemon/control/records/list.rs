//! What is in the store, for people and programs to read. No secret is among it.

use rusqlite::{Row, params};

use super::{RecordError, Records};
use crate::route::{AppPolicy, DirectPolicy, Uid};

/// An app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppRecord {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub policy: AppPolicy,
    /// When it was added.
    pub created_unix_ms: u64,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRecord {
    /// `<app>-<uid>-<role>`.
    pub account: String,
    /// When it was added first.
    pub created_unix_ms: u64,
    /// When it was revoked, if it is.
    pub revoked_unix_ms: Option<u64>,
}

/// What is told of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRecord {
    /// Its name.
    pub id: u64,
    /// `account`, `explore` or `service`.
    pub kind: String,
    /// The account; the app; `<uid>/<app>`.
    pub subject: String,
    /// The only resource it logs in with.
    pub resource: Option<String>,
    /// How many secrets this subject has had, this one included.
    pub generation: u64,
    /// `derived`, `chosen` or `weak`.
    pub origin: String,
    /// When it was made.
    pub created_unix_ms: u64,
    /// When it was revoked, if it is.
    pub revoked_unix_ms: Option<u64>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRecord {
    /// The user, 24 hex digits.
    pub uid: String,
    /// The app.
    pub app: String,
    /// `get` or `purchase`.
    pub kind: String,
    /// When it ends, if it does.
    pub expires_unix_ms: Option<u64>,
    /// When it was granted last.
    pub granted_unix_ms: u64,
}

pub(super) const fn direct_text(policy: DirectPolicy) -> &'static str {
    match policy {
        DirectPolicy::Any => "any",
        DirectPolicy::Entitled => "entitled",
    }
}

pub(in crate::daemon::control) fn direct_policy(text: &str) -> DirectPolicy {
    if text == "entitled" {
        DirectPolicy::Entitled
    } else {
        DirectPolicy::Any
    }
}

/// Reads `name, open, direct, created_unix_ms`.
pub(super) fn app_of(row: &Row<'_>) -> rusqlite::Result<AppRecord> {
    let direct: String = row.get(2)?;
    Ok(AppRecord {
        name: row.get(0)?,
        policy: AppPolicy {
            open: row.get(1)?,
            direct: direct_policy(&direct),
        },
        created_unix_ms: row.get(3)?,
    })
}

impl Records {
    /// All apps by name.
    pub fn apps(&self) -> Result<Vec<AppRecord>, RecordError> {
        let sql = "SELECT name, open, direct, created_unix_ms FROM app
                   WHERE removed_unix_ms IS NULL ORDER BY name";
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map([], app_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// All accounts by name, of one app or of all, the revoked ones included.
    pub fn accounts(&self, app: Option<&str>) -> Result<Vec<AccountRecord>, RecordError> {
        let sql = "SELECT name, created_unix_ms, revoked_unix_ms FROM account
                   WHERE ?1 IS NULL OR app = ?1 ORDER BY name";
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map([app], |row| {
            Ok(AccountRecord {
                account: row.get(0)?,
                created_unix_ms: row.get(1)?,
                revoked_unix_ms: row.get(2)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// All secrets in the order they were made, the revoked ones included.
    pub fn secrets(&self) -> Result<Vec<SecretRecord>, RecordError> {
        let sql = "SELECT id, kind, subject, nullif(resource, ''), generation, origin, created_unix_ms,
                       revoked_unix_ms
                   FROM secret WHERE generation > 0 ORDER BY id";
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map([], |row| {
            Ok(SecretRecord {
                id: row.get(0)?,
                kind: row.get(1)?,
                subject: row.get(2)?,
                resource: row.get(3)?,
                generation: row.get(4)?,
                origin: row.get(5)?,
                created_unix_ms: row.get(6)?,
                revoked_unix_ms: row.get(7)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Services by user and app, of one user or app or of all, the expired ones included.
    pub fn services(&self, uid: Option<Uid>, app: Option<&str>) -> Result<Vec<ServiceRecord>, RecordError> {
        let sql = "SELECT uid, app, kind, expires_unix_ms, granted_unix_ms FROM service
                   WHERE (?1 IS NULL OR uid = ?1) AND (?2 IS NULL OR app = ?2) ORDER BY uid, app";
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map(params![uid.map(|uid| uid.to_string()), app], |row| {
            Ok(ServiceRecord {
                uid: row.get(0)?,
                app: row.get(1)?,
                kind: row.get(2)?,
                expires_unix_ms: row.get(3)?,
                granted_unix_ms: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
