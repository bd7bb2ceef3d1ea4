//! What the bridge asks of the store: who a secret stands for, credentials, announced workers, live services.
//!
//! Nothing here tells apart a secret that does not exist, one that was revoked and one that is good for something
//! else: all are [`Found::Denied`].

use rusqlite::{OptionalExtension as _, params};

use super::{LogKind, RecordError, Writer};
use crate::daemon::control::token::TokenHolder;
use crate::limits;
use crate::route::identity::check_resource;
use crate::route::{Account, Ownership, Role, Uid};
use crate::store::secret::Subject;

/// The secret with this MAC, of whatever kind.
pub(in crate::daemon::control) const SHOWN_LOOK_UP: &str =
    "SELECT kind, subject, resource, app FROM secret INDEXED BY secret_shown
     WHERE verifier = ?1 AND revoked_unix_ms IS NULL";

/// The first of an app's owners.
pub(in crate::daemon::control) const OWNER_LOOK_UP: &str = "SELECT name FROM account INDEXED BY account_owner
     WHERE app = ?1 AND revoked_unix_ms IS NULL AND substr(name, -6) = '-owner'
     ORDER BY created_unix_ms, name LIMIT 1";

/// What came of a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// This.
    It(T),
    /// The secret is good for nothing of the kind.
    Denied,
    /// It has to be written first, and may not be here.
    Unwritten,
}

/// What a client shows for an account.
#[derive(Clone, Copy)]
pub enum Given<'a> {
    /// A secret: an explore's, a service's or an account's own.
    Secret(&'a str),
    /// A token that was verified, and whom it stands for.
    Token(&'a str, &'a TokenHolder),
}

impl std::fmt::Debug for Given<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Secret(_) => f.write_str("Secret"),
            Self::Token(_, holder) => f.debug_tuple("Token").field(holder).finish(),
        }
    }
}

impl<'a> From<&'a str> for Given<'a> {
    fn from(secret: &'a str) -> Self {
        Self::Secret(secret)
    }
}

/// How a worker is announced.
#[derive(Clone, Copy, Debug)]
pub struct Announcement<'a> {
    /// Its resource; none: every block of the account.
    pub resource: Option<&'a str>,
    /// Whether other users may be given it. Of a worker whose role is `user` they are not.
    pub public: bool,
}

/// What a block logs in with.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `<app>-<uid>-<role>`.
    pub account: String,
    /// Its secret.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

/// A service that has not expired.
#[derive(Clone, PartialEq, Eq)]
pub struct LiveService {
    /// What names it; the same for ever.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

impl std::fmt::Debug for LiveService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveService")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What workers are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Of this app.
    pub app: &'a str,
    /// Under this resource.
    pub resource: Option<&'a str>,
    /// Whose.
    pub ownership: Ownership,
}

/// A worker that was announced, live or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// `<app>-<uid>-<role>`.
    pub account: Box<str>,
    /// None: every block of the account.
    pub resource: Option<Box<str>>,
}

/// What a requester may be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workers {
    /// The requester.
    pub uid: Uid,
    /// The requester's own, then those of others; in both the latest first.
    pub announced: Vec<Announced>,
}

/// Whom a secret or token stands for.
struct Holder {
    account: String,
    /// It is the account's own.
    is_own: bool,
    /// The only resource it is good for.
    resource: Option<String>,
}

/// A secret as it was found.
struct Shown {
    kind: String,
    subject: String,
    resource: String,
    app: String,
}

impl Writer<'_> {
    /// The credentials of the account that `given` stands for, and its worker announced. With `may_write`, what is
    /// not there is made: the account of a service's user, its secret, the announcement. Who shows a secret or token of
    /// the account itself gets just that back: a token that ends does not become a secret that stays.
    pub fn bridge_credentials<'g>(
        &self,
        given: impl Into<Given<'g>>,
        announcement: Announcement<'_>,
        may_write: bool,
    ) -> Result<Found<Credentials>, RecordError> {
        let given = given.into();
        let Some(holder) = self.holder(given)? else {
            return Ok(Found::Denied);
        };
        let resource = match (&holder.resource, announcement.resource) {
            (Some(bound), Some(wanted)) if bound != wanted => return Ok(Found::Denied),
            (bound, wanted) => wanted.or(bound.as_deref()),
        };
        let Ok(account) = Account::parse(&holder.account) else {
            return Ok(Found::Denied);
        };
        let (Given::Secret(shown) | Given::Token(shown, _)) = given;
        let password = if holder.is_own {
            shown.to_owned()
        } else {
            match self.account_secret(&account, may_write)? {
                Found::It(password) => password,
                Found::Denied => return Ok(Found::Denied),
                Found::Unwritten => return Ok(Found::Unwritten),
            }
        };
        let announcement = Announcement {
            resource,
            ..announcement
        };
        if !self.is_announced(&account, announcement)? {
            if !may_write {
                return Ok(Found::Unwritten);
            }
            self.announce(&account, announcement)?;
        }
        Ok(Found::It(Credentials {
            account: holder.account,
            password,
        }))
    }

    /// The workers that the holder of `given` may be given, whether they are live or not.
    pub fn bridge_workers<'g>(
        &self,
        given: impl Into<Given<'g>>,
        wanted: &Wanted<'_>,
    ) -> Result<Found<Workers>, RecordError> {
        let Some(holder) = self.holder(given.into())? else {
            return Ok(Found::Denied);
        };
        let Ok(requester) = Account::parse(&holder.account) else {
            return Ok(Found::Denied);
        };
        if !self.may_call(&requester, wanted.app)? {
            return Ok(Found::Denied);
        }
        let mut announced = Vec::new();
        self.announced(&requester, wanted, true, &mut announced)?;
        if wanted.ownership != Ownership::Mine {
            self.announced(&requester, wanted, false, &mut announced)?;
        }
        Ok(Found::It(Workers {
            uid: requester.uid,
            announced,
        }))
    }

    /// What names the live service of `uid` that has this secret.
    pub fn service_by_secret(&self, secret: &str, uid: Uid) -> Result<Found<String>, RecordError> {
        let Some(shown) = self.shown(secret)? else {
            return Ok(Found::Denied);
        };
        let is_of_user = shown.kind == "service" && shown.subject == format!("{uid}/{}", shown.app);
        if is_of_user && self.has_live_service(uid, &shown.app)? {
            return Ok(Found::It(self.key.service_id(uid, &shown.app)));
        }
        Ok(Found::Denied)
    }

    /// The live service that `uid` has of the app whose secret, or whose owner's or partner's secret, this is.
    pub fn live_service(
        &self,
        secret: &str,
        uid: Uid,
        may_write: bool,
    ) -> Result<Found<LiveService>, RecordError> {
        let Some(shown) = self.shown(secret)? else {
            return Ok(Found::Denied);
        };
        let is_of_app = match shown.kind.as_str() {
            "explore" => true,
            "account" => Account::parse(&shown.subject).is_ok_and(|account| account.role.is_public()),
            _ => false,
        };
        if !is_of_app || !self.has_live_service(uid, &shown.app)? {
            return Ok(Found::Denied);
        }
        let app = shown.app.as_str();
        let subject = Subject::Service { uid, app };
        let live = match self.live_secret(&subject)? {
            None if !may_write => return Ok(Found::Unwritten),
            None => self.issue(&subject)?,
            Some(live) => live,
        };
        Ok(Found::It(LiveService {
            id: self.key.service_id(uid, app),
            secret: live.secret.expose().to_owned(),
        }))
    }

    fn shown(&self, secret: &str) -> Result<Option<Shown>, RecordError> {
        let verifier = self.key.verifier(secret.as_bytes()).0;
        let found = self
            .transaction
            .prepare_cached(SHOWN_LOOK_UP)?
            .query_row([verifier], |row| {
                Ok(Shown {
                    kind: row.get(0)?,
                    subject: row.get(1)?,
                    resource: row.get(2)?,
                    app: row.get(3)?,
                })
            })
            .optional()?;
        match found {
            Some(shown) if self.has_app(&shown.app)? => Ok(Some(shown)),
            _ => Ok(None),
        }
    }

    /// Who it stands for: an explore's secret for the first of the app's owners, a service's for its user, a token for its
    /// account.
    fn holder(&self, given: Given<'_>) -> Result<Option<Holder>, RecordError> {
        match given {
            Given::Secret(secret) => self.secret_holder(secret),
            Given::Token(_, holder) => self.token_holder(holder),
        }
    }

    fn token_holder(&self, holder: &TokenHolder) -> Result<Option<Holder>, RecordError> {
        let app = holder.account.split('-').next().unwrap_or_default();
        if self.is_revoked(&holder.account)? != Some(false) || !self.has_app(app)? {
            return Ok(None);
        }
        Ok(Some(Holder {
            account: holder.account.to_string(),
            is_own: true,
            resource: holder.resource.as_deref().map(str::to_owned),
        }))
    }

    fn secret_holder(&self, secret: &str) -> Result<Option<Holder>, RecordError> {
        let Some(shown) = self.shown(secret)? else {
            return Ok(None);
        };
        let account = match shown.kind.as_str() {
            "account" => shown.subject,
            "explore" => {
                let owner = self
                    .transaction
                    .prepare_cached(OWNER_LOOK_UP)?
                    .query_row([&shown.app], |row| row.get(0))
                    .optional()?;
                let Some(owner) = owner else {
                    return Ok(None);
                };
                owner
            }
            _ => {
                let uid = shown.subject.split('/').next().unwrap_or_default();
                let Ok(uid) = Uid::parse(uid) else {
                    return Ok(None);
                };
                if !self.has_live_service(uid, &shown.app)? {
                    return Ok(None);
                }
                format!("{}-{uid}-{}", shown.app, Role::User)
            }
        };
        if self.is_revoked(&account)? == Some(true) {
            return Ok(None);
        }
        Ok(Some(Holder {
            account,
            is_own: shown.kind == "account",
            resource: Some(shown.resource).filter(|resource| !resource.is_empty()),
        }))
    }

    /// Whether an account is revoked; none if it was never there.
    fn is_revoked(&self, account: &str) -> Result<Option<bool>, RecordError> {
        let found = self
            .transaction
            .prepare_cached("SELECT revoked_unix_ms IS NOT NULL FROM account WHERE name = ?1")?
            .query_row([account], |row| row.get(0))
            .optional()?;
        Ok(found)
    }

    fn account_secret(&self, account: &Account<'_>, may_write: bool) -> Result<Found<String>, RecordError> {
        let subject = Subject::Account {
            account: account.name,
        };
        let live = match self.live_secret(&subject)? {
            Some(live) => live,
            None if !may_write => return Ok(Found::Unwritten),
            None => {
                if self.is_revoked(account.name)?.is_none() {
                    self.revive_account(account.app, account.uid, account.role)?;
                }
                self.issue(&subject)?
            }
        };
        Ok(Found::It(live.secret.expose().to_owned()))
    }

    fn has_live_service(&self, uid: Uid, app: &str) -> Result<bool, RecordError> {
        let found = self
            .transaction
            .prepare_cached(
                "SELECT 1 FROM service WHERE uid = ?1 AND app = ?2
                     AND (expires_unix_ms IS NULL OR expires_unix_ms > ?3)",
            )?
            .exists(params![uid.to_string(), app, self.unix_ms])?;
        Ok(found)
    }

    /// Whether an account may call the workers of `app` (PROTOCOL 2.1, Entitlement).
    fn may_call(&self, requester: &Account<'_>, app: &str) -> Result<bool, RecordError> {
        let open: Option<bool> = self
            .transaction
            .prepare_cached("SELECT open FROM app WHERE name = ?1 AND removed_unix_ms IS NULL")?
            .query_row([app], |row| row.get(0))
            .optional()?;
        let Some(open) = open else {
            return Ok(false);
        };
        let is_of_app = requester.app == app && requester.role.is_public();
        Ok(open || is_of_app || self.has_live_service(requester.uid, app)?)
    }

    fn is_announced(&self, account: &Account<'_>, wanted: Announcement<'_>) -> Result<bool, RecordError> {
        let found = self
            .transaction
            .prepare_cached(
                "SELECT 1 FROM announcement WHERE app = ?1 AND uid = ?2 AND role = ?3 AND resource = ?4
                     AND public = ?5 AND announced_unix_ms > ?6",
            )?
            .exists(params![
                account.app,
                account.uid.to_string(),
                account.role.as_str(),
                wanted.resource.unwrap_or_default(),
                wanted.public,
                self.unix_ms.saturating_sub(limits::ANNOUNCED_FRESH_MS)
            ])?;
        Ok(found)
    }

    fn announce(&self, account: &Account<'_>, wanted: Announcement<'_>) -> Result<(), RecordError> {
        if let Some(resource) = wanted.resource {
            super::grammar(check_resource(resource), resource)?;
        }
        let (uid, role) = (account.uid.to_string(), account.role.as_str());
        // What is announced anew is known to a running daemon already.
        let is_known = self
            .transaction
            .prepare_cached(
                "SELECT 1 FROM announcement WHERE app = ?1 AND uid = ?2 AND role = ?3 AND resource = ?4",
            )?
            .exists(params![
                account.app,
                uid,
                role,
                wanted.resource.unwrap_or_default()
            ])?;
        if !is_known {
            let block = wanted
                .resource
                .map(|resource| format!("{}/{resource}", account.name));
            self.log(LogKind::Announced, block.as_deref().unwrap_or(account.name))?;
        }
        self.transaction
            .prepare_cached(
                "INSERT INTO announcement (app, uid, role, resource, public, announced_unix_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (app, uid, role, resource) DO UPDATE SET public = excluded.public,
                     announced_unix_ms = excluded.announced_unix_ms",
            )?
            .execute(params![
                account.app,
                uid,
                role,
                wanted.resource.unwrap_or_default(),
                wanted.public,
                self.unix_ms
            ])?;
        self.transaction
            .prepare_cached(
                "DELETE FROM announcement WHERE app = ?1 AND uid = ?2 AND role = ?3 AND resource IN
                     (SELECT resource FROM announcement WHERE app = ?1 AND uid = ?2 AND role = ?3
                      ORDER BY announced_unix_ms DESC, resource = ?5 DESC LIMIT -1 OFFSET ?4)",
            )?
            .execute(params![
                account.app,
                uid,
                role,
                limits::ANNOUNCED_PER_ACCOUNT_MAX,
                wanted.resource.unwrap_or_default()
            ])?;
        Ok(())
    }

    /// Appends the requester's own workers, or those of others.
    fn announced(
        &self,
        requester: &Account<'_>,
        wanted: &Wanted<'_>,
        own: bool,
        found: &mut Vec<Announced>,
    ) -> Result<(), RecordError> {
        let sql = if own {
            "SELECT uid, role, resource FROM announcement
             WHERE app = ?1 AND uid = ?2 AND (?3 IS NULL OR resource IN ('', ?3)) AND (NOT ?4 OR role = 'owner')
             ORDER BY announced_unix_ms DESC LIMIT ?5"
        } else {
            "SELECT uid, role, resource FROM announcement INDEXED BY announcement_public
             WHERE app = ?1 AND uid <> ?2 AND (?3 IS NULL OR resource IN ('', ?3)) AND (NOT ?4 OR role = 'owner')
                 AND public = 1 AND role <> 'user'
             ORDER BY announced_unix_ms DESC LIMIT ?5"
        };
        let mut statement = self.transaction.prepare_cached(sql)?;
        let mut rows = statement.query(params![
            wanted.app,
            requester.uid.to_string(),
            wanted.resource,
            wanted.ownership == Ownership::Owner,
            limits::ANNOUNCED_SOUGHT_MAX
        ])?;
        while let Some(row) = rows.next()? {
            let (uid, role): (String, String) = (row.get(0)?, row.get(1)?);
            let resource: Box<str> = row.get(2)?;
            let resource = Some(resource)
                .filter(|resource| !resource.is_empty())
                .or_else(|| wanted.resource.map(Box::from));
            found.push(Announced {
                account: format!("{}-{uid}-{role}", wanted.app).into(),
                resource,
            });
        }
        Ok(())
    }
}
