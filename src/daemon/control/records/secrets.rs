//! Secrets: issued, shown again, revoked.

use std::borrow::Cow;

use rusqlite::{OptionalExtension as _, params};

use super::{LogKind, RecordError, Writer, grammar};
use crate::route::identity::check_resource;
use crate::route::{CredentialId, Uid};
use crate::store::secret::{Secret, Subject};

/// A secret with its name, to be shown once.
#[derive(Clone, Debug)]
pub struct IssuedSecret {
    /// What `secret revoke` takes.
    pub id: CredentialId,
    /// The secret.
    pub secret: Secret,
}

/// Where the secrets of a subject stand in the database.
pub(super) struct Place<'a> {
    pub(super) kind: &'static str,
    pub(super) subject: Cow<'a, str>,
    pub(super) resource: &'a str,
    pub(super) app: &'a str,
}

impl<'a> Place<'a> {
    pub(super) fn of(subject: &Subject<'a>) -> Self {
        let (kind, subject, resource, app): (_, Cow<'a, str>, _, _) = match *subject {
            Subject::Account { account } => ("account", account.into(), "", app_of(account)),
            Subject::Resource { account, resource } => ("account", account.into(), resource, app_of(account)),
            Subject::Explore { app } => ("explore", app.into(), "", app),
            Subject::Service { uid, app } => ("service", format!("{uid}/{app}").into(), "", app),
        };
        Self {
            kind,
            subject,
            resource,
            app,
        }
    }
}

/// The app of an account whose name was checked.
fn app_of(account: &str) -> &str {
    account.split_once('-').map_or(account, |(app, _)| app)
}

impl Writer<'_> {
    /// The secret of an account, good for every resource or for one alone. The same until it is revoked.
    pub fn add_secret(&self, account: &str, resource: Option<&str>) -> Result<IssuedSecret, RecordError> {
        self.require_account(account)?;
        match resource {
            Some(resource) => {
                grammar(check_resource(resource), resource)?;
                self.issue(&Subject::Resource { account, resource })
            }
            None => self.issue(&Subject::Account { account }),
        }
    }

    /// The secret of an explore. The same until it is revoked.
    pub fn explore_secret(&self, app: &str) -> Result<IssuedSecret, RecordError> {
        self.require_app(app)?;
        self.issue(&Subject::Explore { app })
    }

    /// The secret of a user's service, which must have been granted. The same until it is revoked.
    pub fn service_secret(&self, uid: Uid, app: &str) -> Result<IssuedSecret, RecordError> {
        self.require_app(app)?;
        let granted = self
            .transaction
            .prepare_cached("SELECT 1 FROM service WHERE uid = ?1 AND app = ?2")?
            .exists(params![uid.to_string(), app])?;
        if !granted {
            return Err(RecordError::refused(
                format!("the user {uid} has no service of the app '{app}'"),
                format!("grant it with 'nexusd service grant --uid {uid} --app {app}'"),
            ));
        }
        self.issue(&Subject::Service { uid, app })
    }

    /// Revokes a secret; connections that logged in with it end. Again: nothing happens.
    pub fn revoke_secret(&self, id: CredentialId) -> Result<(), RecordError> {
        // Of those that are shown: generations begin with 1.
        let revoked: Option<Option<u64>> = self
            .transaction
            .prepare_cached("SELECT revoked_unix_ms FROM secret WHERE id = ?1 AND generation > 0")?
            .query_row([id.0], |row| row.get(0))
            .optional()?;
        match revoked {
            None => Err(RecordError::refused(
                format!("there is no secret {}", id.0),
                "see 'nexusd secret list'",
            )),
            Some(Some(_)) => Ok(()),
            Some(None) => self.end_secret(id),
        }
    }

    pub(super) fn end_secret(&self, id: CredentialId) -> Result<(), RecordError> {
        self.transaction
            .prepare_cached("UPDATE secret SET revoked_unix_ms = ?2 WHERE id = ?1")?
            .execute(params![id.0, self.unix_ms])?;
        self.log(LogKind::CredentialRevoked, &id.0.to_string())
    }

    /// The live derived secret of a subject; made, in the next generation, if there is none.
    pub(super) fn issue(&self, subject: &Subject<'_>) -> Result<IssuedSecret, RecordError> {
        match self.live_secret(subject)? {
            Some(live) => Ok(live),
            None => self.make(subject, &Place::of(subject)),
        }
    }

    /// The live derived secret of a subject, if there is one.
    pub(super) fn live_secret(&self, subject: &Subject<'_>) -> Result<Option<IssuedSecret>, RecordError> {
        let place = Place::of(subject);
        let live: Option<(u64, u64, String)> = self
            .transaction
            .prepare_cached(
                "SELECT id, generation, origin FROM secret
                 WHERE kind = ?1 AND subject = ?2 AND resource = ?3 AND revoked_unix_ms IS NULL",
            )?
            .query_row(params![place.kind, place.subject, place.resource], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        match live {
            Some((id, generation, origin)) if origin == "derived" => Ok(Some(IssuedSecret {
                id: CredentialId(id),
                secret: self.key.secret(subject, generation),
            })),
            Some((id, ..)) => Err(RecordError::refused(
                format!(
                    "the secret {id} of '{}' was chosen by a person and is not kept",
                    place.subject
                ),
                format!("ask that person, or end it with 'nexusd secret revoke {id}' first"),
            )),
            None => Ok(None),
        }
    }

    fn make(&self, subject: &Subject<'_>, place: &Place<'_>) -> Result<IssuedSecret, RecordError> {
        let generation = self.next_generation(place)?;
        let secret = self.key.secret(subject, generation);
        let id: u64 = self
            .transaction
            .prepare_cached(
                "INSERT INTO secret (kind, subject, resource, app, generation, origin, verifier,
                     created_unix_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, 'derived', ?6, ?7) RETURNING id",
            )?
            .query_row(
                params![
                    place.kind,
                    place.subject,
                    place.resource,
                    place.app,
                    generation,
                    self.key.verifier(secret.expose().as_bytes()).0,
                    self.unix_ms
                ],
                |row| row.get(0),
            )?;
        Ok(IssuedSecret {
            id: CredentialId(id),
            secret,
        })
    }

    pub(super) fn next_generation(&self, place: &Place<'_>) -> Result<u64, RecordError> {
        let last: u64 = self
            .transaction
            .prepare_cached(
                "SELECT coalesce(max(generation), 0) FROM secret
                 WHERE kind = ?1 AND subject = ?2 AND resource = ?3",
            )?
            .query_row(params![place.kind, place.subject, place.resource], |row| {
                row.get(0)
            })?;
        Ok(last + 1)
    }
}
