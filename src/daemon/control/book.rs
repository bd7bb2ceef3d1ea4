//! What the control thread reads: prepared point look-ups in one snapshot of the database.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::fault::StoreFault;
use super::records::{LogKind, direct_policy};
use crate::limits;
use crate::route::{Account, AppPolicy, Change, CredentialId, ScramHash, Service, Uid};
use crate::store::scram::exchange::{Candidate, Candidates};
use crate::store::verify::{Key, Keys, Proof};
use crate::store::{StoreKey, Verifier, scram};

/// The secret with this MAC, and weak ones, which have none; each is one place in the index.
pub(super) const PASSWORD_LOOK_UP: &str =
    "SELECT id, verifier, scram_sha256, resource != '' FROM secret INDEXED BY secret_password
     WHERE kind = 'account' AND subject = ?1 AND verifier = ?2 AND revoked_unix_ms IS NULL
         AND (?3 IS NULL OR resource IN ('', ?3))
     UNION ALL SELECT id, verifier, scram_sha256, resource != '' FROM secret INDEXED BY secret_password
     WHERE kind = 'account' AND subject = ?1 AND verifier IS NULL AND revoked_unix_ms IS NULL
         AND (?3 IS NULL OR resource IN ('', ?3))
     LIMIT ?4";

/// The first few secrets of an account, in the order of the index.
pub(super) const PROOF_LOOK_UP: &str =
    "SELECT id, resource, generation, scram_sha256, scram_sha1 FROM secret INDEXED BY secret_proof
     WHERE kind = 'account' AND subject = ?1 AND revoked_unix_ms IS NULL
     ORDER BY resource = '' DESC, id DESC LIMIT ?2";

/// The database as the control thread reads it.
#[derive(Debug)]
pub(super) struct Book {
    connection: Connection,
    /// The key its secrets are derived from.
    pub(super) key: StoreKey,
}

/// A secret that is valid.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LiveSecret {
    /// The only resource it is good for.
    pub(super) bound_resource: Option<Box<str>>,
}

/// A row of the change log.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) seq: i64,
    kind: Option<LogKind>,
    subject: String,
}

/// What a logged change means for the daemon.
#[derive(Debug)]
pub(super) enum Told {
    /// To be told to all shards.
    Change(Change),
    /// A weak secret was added.
    WeakSecret,
    /// Overtaken by a later change, which tells more.
    Nothing,
}

impl Book {
    pub(super) fn new(connection: Connection, key: StoreKey) -> Self {
        Self { connection, key }
    }

    /// Begins a snapshot: until [`Book::end`], nothing that others write is seen.
    pub(super) fn begin(&self) -> rusqlite::Result<()> {
        self.connection.prepare_cached("BEGIN")?.execute([])?;
        Ok(())
    }

    /// Ends the snapshot, if there is one.
    pub(super) fn end(&self) -> rusqlite::Result<()> {
        if !self.connection.is_autocommit() {
            self.connection.prepare_cached("COMMIT")?.execute([])?;
        }
        Ok(())
    }

    /// The secrets of `account` that a password with this MAC may be; none if there is no such account. With a
    /// `resource`, those bound to another are left out.
    pub(super) fn keys(
        &self,
        account: &str,
        verifier: &Verifier,
        resource: Option<&str>,
        keys: &mut Keys,
    ) -> rusqlite::Result<()> {
        keys.clear();
        let mut statement = self.connection.prepare_cached(PASSWORD_LOOK_UP)?;
        let mut rows = statement.query(params![account, verifier.0, resource, limits::SECRETS_TRIED_MAX])?;
        while let Some(row) = rows.next()? {
            keys.push(key_of(row)?);
        }
        Ok(())
    }

    /// The secrets of `account` that a proof of SCRAM is tried against: those good for every resource, then the others,
    /// the newest first. None if there is no such account.
    pub(super) fn candidates(
        &self,
        account: &str,
        hash: ScramHash,
        candidates: &mut Candidates,
    ) -> rusqlite::Result<()> {
        candidates.clear();
        let mut statement = self.connection.prepare_cached(PROOF_LOOK_UP)?;
        let mut rows = statement.query(params![account, limits::SECRETS_TRIED_MAX])?;
        while let Some(row) = rows.next()? {
            let kept: Option<Vec<u8>> = row.get(match hash {
                ScramHash::Sha256 => 3,
                ScramHash::Sha1 => 4,
            })?;
            candidates.push(Candidate {
                credential: CredentialId(row.get(0)?),
                resource: row.get(1)?,
                generation: row.get(2)?,
                is_derived: kept.is_none(),
                keys: kept.and_then(|kept| scram::Keys::from_bytes(hash, &kept)),
            });
        }
        Ok(())
    }

    /// A secret of `account` that is valid still, as is the account.
    pub(super) fn live(
        &self,
        account: &str,
        credential: CredentialId,
    ) -> rusqlite::Result<Option<LiveSecret>> {
        self.connection
            .prepare_cached(
                "SELECT nullif(secret.resource, '') FROM secret
                 JOIN account ON account.name = secret.subject JOIN app ON app.name = account.app
                 WHERE secret.id = ?1 AND secret.kind = 'account' AND secret.subject = ?2
                     AND secret.revoked_unix_ms IS NULL AND account.revoked_unix_ms IS NULL
                     AND app.removed_unix_ms IS NULL",
            )?
            .query_row(params![credential.0, account], |row| {
                let bound_resource = row.get(0)?;
                Ok(LiveSecret { bound_resource })
            })
            .optional()
    }

    /// Whether an account is there and not revoked.
    pub(super) fn has_account(&self, account: &str) -> rusqlite::Result<bool> {
        self.connection
            .prepare_cached(
                "SELECT 1 FROM account JOIN app ON app.name = account.app
                 WHERE account.name = ?1 AND account.revoked_unix_ms IS NULL AND app.removed_unix_ms IS NULL",
            )?
            .exists([account])
    }

    /// Whether any weak secret is valid.
    pub(super) fn has_weak_secrets(&self) -> rusqlite::Result<bool> {
        self.connection
            .prepare_cached("SELECT 1 FROM secret WHERE origin = 'weak' AND revoked_unix_ms IS NULL")?
            .exists([])
    }

    /// Whether any worker is announced.
    pub(super) fn has_announcements(&self) -> rusqlite::Result<bool> {
        self.connection
            .prepare_cached("SELECT 1 FROM announcement")?
            .exists([])
    }

    /// Whether this block is announced as a worker, under its resource or with all of its account.
    pub(super) fn is_announced(&self, account: &Account<'_>, resource: &str) -> rusqlite::Result<bool> {
        self.connection
            .prepare_cached(
                "SELECT 1 FROM announcement WHERE app = ?1 AND uid = ?2 AND role = ?3 AND resource IN ('', ?4)",
            )?
            .exists(params![
                account.app,
                account.uid.to_string(),
                account.role.as_str(),
                resource
            ])
    }

    /// All services of a user, live or not. `uid`: 24 lower-case hex digits.
    pub(super) fn services(&self, uid: &str) -> rusqlite::Result<Vec<Service>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT app, expires_unix_ms FROM service WHERE uid = ?1 LIMIT ?2")?;
        let rows = statement.query_map(params![uid, limits::SERVICES_PER_UID_MAX], |row| {
            Ok(Service {
                app: row.get(0)?,
                expires_unix_ms: row.get(1)?,
            })
        })?;
        rows.collect()
    }

    /// All apps with what they allow.
    pub(super) fn policies(&self) -> rusqlite::Result<Vec<Change>> {
        let mut statement = self
            .connection
            .prepare("SELECT name, open, direct FROM app WHERE removed_unix_ms IS NULL")?;
        let rows = statement.query_map([], |row| {
            Ok(Change::App {
                name: row.get(0)?,
                policy: policy_of(row, 1)?,
            })
        })?;
        rows.collect()
    }

    /// The number of the last change that was made.
    pub(super) fn last_change(&self) -> rusqlite::Result<i64> {
        self.connection
            .query_row("SELECT coalesce(max(seq), 0) FROM change", [], |row| row.get(0))
    }

    /// The changes after `seq`, at most [`limits::CHANGES_PER_BATCH_MAX`] of them.
    pub(super) fn changes_after(&self, seq: i64) -> rusqlite::Result<Vec<Logged>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT seq, kind, subject FROM change WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
        let rows = statement.query_map(params![seq, limits::CHANGES_PER_BATCH_MAX], |row| {
            let kind: String = row.get(1)?;
            Ok(Logged {
                seq: row.get(0)?,
                kind: LogKind::parse(&kind),
                subject: row.get(2)?,
            })
        })?;
        rows.collect()
    }

    /// What a logged change means, with what it concerns as it stands in this snapshot.
    pub(super) fn read(&self, logged: &Logged) -> rusqlite::Result<Told> {
        let subject = logged.subject.as_str();
        let change = match logged.kind {
            Some(LogKind::App) => match self.policy(subject)? {
                Some(policy) => Change::App {
                    name: subject.into(),
                    policy,
                },
                None => return Ok(Told::Nothing),
            },
            Some(LogKind::AppRemoved) => Change::AppRemoved { name: subject.into() },
            Some(LogKind::Services) => match Uid::parse(subject) {
                Ok(uid) => Change::Services {
                    uid,
                    services: self.services(subject)?,
                },
                Err(_) => return Ok(Told::Nothing),
            },
            Some(LogKind::AccountRevoked) => Change::AccountRevoked {
                account: subject.into(),
            },
            Some(LogKind::CredentialRevoked) => match subject.parse() {
                Ok(id) => Change::CredentialRevoked {
                    credential: CredentialId(id),
                },
                Err(_) => return Ok(Told::Nothing),
            },
            Some(LogKind::WeakSecret) => return Ok(Told::WeakSecret),
            Some(LogKind::Announced) => {
                let (account, resource) = subject.split_once('/').unzip();
                Change::Announced {
                    account: account.unwrap_or(subject).into(),
                    resource: resource.map(Box::from),
                }
            }
            None => return Ok(Told::Nothing),
        };
        Ok(Told::Change(change))
    }

    /// Removes some of the changes up to `seq` that were made before `unix_ms`; tells how many.
    pub(super) fn prune(&self, seq: i64, unix_ms: u64) -> rusqlite::Result<usize> {
        self.connection
            .prepare_cached(
                "DELETE FROM change WHERE seq IN
                     (SELECT seq FROM change WHERE seq <= ?1 AND at_unix_ms < ?2 ORDER BY seq LIMIT ?3)",
            )?
            .execute(params![seq, unix_ms, limits::CHANGES_PRUNED_MAX])
    }

    fn policy(&self, app: &str) -> rusqlite::Result<Option<AppPolicy>> {
        self.connection
            .prepare_cached("SELECT open, direct FROM app WHERE name = ?1 AND removed_unix_ms IS NULL")?
            .query_row([app], |row| policy_of(row, 0))
            .optional()
    }
}

fn policy_of(row: &Row<'_>, first: usize) -> rusqlite::Result<AppPolicy> {
    let direct: String = row.get(first + 1)?;
    Ok(AppPolicy {
        open: row.get(first)?,
        direct: direct_policy(&direct),
    })
}

fn key_of(row: &Row<'_>) -> rusqlite::Result<Key> {
    let credential = CredentialId(row.get(0)?);
    let verifier: Option<[u8; 32]> = row.get(1)?;
    let scram: Option<[u8; 64]> = row.get(2)?;
    let proof = match (verifier, scram) {
        (Some(verifier), scram) => Proof::Fast {
            verifier: Verifier(verifier),
            is_derived: scram.is_none(),
        },
        (None, scram) => {
            let scram = scram.unwrap_or([0; 64]);
            let (stored_key, _) = scram.split_first_chunk().unwrap_or((&[0; 32], &[]));
            Proof::Slow(*stored_key)
        }
    };
    Ok(Key {
        credential,
        proof,
        is_bound: row.get(3)?,
    })
}

/// Opens the store of `dir` for look-ups.
pub(super) fn open(dir: &super::files::DataDir) -> Result<Book, StoreFault> {
    let (connection, key) = super::database::open(dir, super::database::Use::LookUp)?;
    Ok(Book::new(connection, key))
}
