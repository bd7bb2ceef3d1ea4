//! Services: the right of a user to call an app's workers.

use rusqlite::{OptionalExtension as _, params};

use super::list::ServiceRecord;
use super::secrets::Place;
use super::{LogKind, RecordError, Writer, unknown_app};
use crate::limits;
use crate::route::{CredentialId, Uid};
use crate::store::secret::Subject;

/// How a user came by a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceKind {
    /// For nothing.
    #[default]
    Get,
    /// Paid for.
    Purchase,
}

impl ServiceKind {
    /// The kind as it stands in the database and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Purchase => "purchase",
        }
    }
}

impl Writer<'_> {
    /// Grants a service; one that was granted before takes on what is given here.
    pub fn grant_service(
        &self,
        uid: Uid,
        app: &str,
        kind: ServiceKind,
        expires_unix_ms: Option<u64>,
    ) -> Result<ServiceRecord, RecordError> {
        self.require_app(app)?;
        let user = uid.to_string();
        let others: usize = self
            .transaction
            .prepare_cached("SELECT count(*) FROM service WHERE uid = ?1 AND app <> ?2")?
            .query_row([&user, app], |row| row.get(0))?;
        if others >= limits::SERVICES_PER_UID_MAX {
            return Err(RecordError::refused(
                format!("the user {uid} has {others} services, which is the most"),
                "revoke one that is no longer needed",
            ));
        }
        self.transaction
            .prepare_cached(
                "INSERT INTO service (uid, app, kind, expires_unix_ms, granted_unix_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (uid, app) DO UPDATE SET kind = excluded.kind,
                     expires_unix_ms = excluded.expires_unix_ms,
                     granted_unix_ms = excluded.granted_unix_ms",
            )?
            .execute(params![user, app, kind.as_str(), expires_unix_ms, self.unix_ms])?;
        self.log(LogKind::Services, &user)?;
        Ok(ServiceRecord {
            uid: user,
            app: app.to_owned(),
            kind: kind.as_str().to_owned(),
            expires_unix_ms,
            granted_unix_ms: self.unix_ms,
        })
    }

    /// Revokes a service and its secret; tells whether there was one.
    pub fn revoke_service(&self, uid: Uid, app: &str) -> Result<bool, RecordError> {
        if !self.has_app(app)? {
            return Err(unknown_app(app));
        }
        let user = uid.to_string();
        let gone = self
            .transaction
            .prepare_cached("DELETE FROM service WHERE uid = ?1 AND app = ?2")?
            .execute([&user, app])?;
        if gone == 0 {
            return Ok(false);
        }
        let place = Place::of(&Subject::Service { uid, app });
        let secret: Option<u64> = self
            .transaction
            .prepare_cached(
                "SELECT id FROM secret WHERE kind = ?1 AND subject = ?2 AND revoked_unix_ms IS NULL",
            )?
            .query_row([place.kind, &*place.subject], |row| row.get(0))
            .optional()?;
        if let Some(id) = secret {
            self.end_secret(CredentialId(id))?;
        }
        self.log(LogKind::Services, &user)?;
        Ok(true)
    }
}
