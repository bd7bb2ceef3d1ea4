//! Accounts and the secrets people choose for them.

use rusqlite::{OptionalExtension as _, params};

use super::secrets::Place;
use super::{LogKind, RecordError, Writer};
use crate::route::{Account, Role, Uid};
use crate::store::scram;
use crate::store::secret::{Secret, SecretError, Subject};

/// An account with its secret, to be shown once.
#[derive(Clone, Debug)]
pub struct AccountSecret {
    /// `<app>-<uid>-<role>`.
    pub account: String,
    /// What logs in.
    pub secret: Secret,
}

/// A secret that a person chose.
#[derive(Clone, Debug)]
pub struct ChosenSecret {
    secret: Secret,
    weak: bool,
}

impl ChosenSecret {
    /// Checks it: see [`Secret::chosen`].
    pub fn new(text: &str, weak: bool) -> Result<Self, SecretError> {
        let secret = Secret::chosen(text, weak)?;
        Ok(Self { secret, weak })
    }
}

impl Writer<'_> {
    /// Adds an account, or shows the secret of the one that is there. A revoked account is valid again, with
    /// a secret of the next generation.
    pub fn add_account(&self, app: &str, uid: Uid, role: Role) -> Result<AccountSecret, RecordError> {
        let account = self.revive_account(app, uid, role)?;
        let secret = self.issue(&Subject::Account { account: &account })?.secret;
        Ok(AccountSecret { account, secret })
    }

    /// Adds an account whose secret a person chose. Again with the same secret: nothing happens.
    pub fn add_account_with(
        &self,
        app: &str,
        uid: Uid,
        role: Role,
        chosen: &ChosenSecret,
    ) -> Result<AccountSecret, RecordError> {
        let account = self.revive_account(app, uid, role)?;
        let bytes = chosen.secret.expose().as_bytes();
        let salt = self.key.salt(&account);
        let sha256 = scram::sha256(bytes, &salt, scram::ITERATIONS);
        let scram_sha256 = [sha256.stored_key, sha256.server_key].concat();
        let secret = chosen.secret.clone();
        let place = Place::of(&Subject::Account { account: &account });
        let live: Option<(u64, Vec<u8>)> = self
            .transaction
            .prepare_cached(
                "SELECT id, coalesce(scram_sha256, x'') FROM secret
                 WHERE kind = ?1 AND subject = ?2 AND resource = ?3 AND revoked_unix_ms IS NULL",
            )?
            .query_row(params![place.kind, place.subject, place.resource], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        match live {
            Some((_, kept)) if kept == scram_sha256 => return Ok(AccountSecret { account, secret }),
            Some((id, _)) => {
                return Err(RecordError::refused(
                    format!("the account '{account}' has another secret, {id}"),
                    format!("end that one first with 'nexusd secret revoke {id}'"),
                ));
            }
            None => {}
        }
        let sha1 = scram::sha1(bytes, &salt, scram::ITERATIONS);
        let verifier = (!chosen.weak).then(|| self.key.verifier(bytes).0);
        self.transaction
            .prepare_cached(
                "INSERT INTO secret (kind, subject, resource, app, generation, origin, verifier,
                     scram_sha256, scram_sha1, created_unix_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                place.kind,
                place.subject,
                place.resource,
                place.app,
                self.next_generation(&place)?,
                if chosen.weak { "weak" } else { "chosen" },
                verifier,
                scram_sha256,
                [sha1.stored_key, sha1.server_key].concat(),
                self.unix_ms
            ])?;
        if chosen.weak {
            self.log(LogKind::WeakSecret, &account)?;
        }
        Ok(AccountSecret { account, secret })
    }

    /// Revokes an account and all its secrets; its connections end. Again: nothing happens.
    pub fn revoke_account(&self, name: &str) -> Result<(), RecordError> {
        let revoked: Option<Option<u64>> = self
            .transaction
            .prepare_cached("SELECT revoked_unix_ms FROM account WHERE name = ?1")?
            .query_row([name], |row| row.get(0))
            .optional()?;
        match revoked {
            None => {
                return Err(RecordError::refused(
                    format!("there is no account '{name}'"),
                    "see 'nexusd account list'",
                ));
            }
            Some(Some(_)) => return Ok(()),
            Some(None) => {}
        }
        self.transaction
            .prepare_cached("UPDATE account SET revoked_unix_ms = ?2 WHERE name = ?1")?
            .execute(params![name, self.unix_ms])?;
        self.transaction
            .prepare_cached(
                "UPDATE secret SET revoked_unix_ms = ?2
                 WHERE kind = 'account' AND subject = ?1 AND revoked_unix_ms IS NULL",
            )?
            .execute(params![name, self.unix_ms])?;
        self.log(LogKind::AccountRevoked, name)
    }

    /// Checks that an account is there and not revoked, and takes its name apart.
    pub(super) fn require_account<'n>(&self, name: &'n str) -> Result<Account<'n>, RecordError> {
        let account = super::grammar(Account::parse(name), name)?;
        let live = self
            .transaction
            .prepare_cached("SELECT 1 FROM account WHERE name = ?1 AND revoked_unix_ms IS NULL")?
            .exists([name])?;
        if live { Ok(account) } else { Err(no_account(name)) }
    }

    pub(super) fn revive_account(&self, app: &str, uid: Uid, role: Role) -> Result<String, RecordError> {
        self.require_app(app)?;
        let account = format!("{app}-{uid}-{role}");
        self.transaction
            .prepare_cached(
                "INSERT INTO account (name, app, created_unix_ms) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name) DO UPDATE SET revoked_unix_ms = NULL",
            )?
            .execute(params![account, app, self.unix_ms])?;
        Ok(account)
    }
}

fn no_account(name: &str) -> RecordError {
    RecordError::refused(
        format!("there is no account '{name}', or it is revoked"),
        "see 'nexusd account list', or add it with 'nexusd account add'",
    )
}
