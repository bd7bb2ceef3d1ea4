//! Apps and what they allow.

use rusqlite::{OptionalExtension as _, params};

use super::list::{self, AppRecord};
use super::{LogKind, RecordError, Writer, grammar, unknown_app};
use crate::route::DirectPolicy;
use crate::route::identity::{BUILT_IN_APP, check_app};

impl Writer<'_> {
    /// Adds an app. One that exists already takes on what is given and keeps the rest.
    pub fn add_app(
        &self,
        name: &str,
        open: Option<bool>,
        direct: Option<DirectPolicy>,
    ) -> Result<AppRecord, RecordError> {
        grammar(check_app(name), name)?;
        if self.has_app(name)? {
            return self.set_app(name, open, direct);
        }
        // An app that was removed begins anew; its accounts stay revoked.
        self.transaction
            .prepare_cached(
                "INSERT INTO app (name, open, direct, created_unix_ms) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (name) DO UPDATE SET open = excluded.open, direct = excluded.direct,
                     created_unix_ms = excluded.created_unix_ms, removed_unix_ms = NULL",
            )?
            .execute(params![
                name,
                open.unwrap_or_default(),
                list::direct_text(direct.unwrap_or_default()),
                self.unix_ms
            ])?;
        self.log(LogKind::App, name)?;
        self.app(name)
    }

    /// Changes what an app allows; what is not given stays.
    pub fn set_app(
        &self,
        name: &str,
        open: Option<bool>,
        direct: Option<DirectPolicy>,
    ) -> Result<AppRecord, RecordError> {
        self.require_app(name)?;
        let changed = self
            .transaction
            .prepare_cached(
                "UPDATE app SET open = coalesce(?2, open), direct = coalesce(?3, direct)
                 WHERE name = ?1 AND (open IS NOT coalesce(?2, open) OR direct IS NOT coalesce(?3, direct))",
            )?
            .execute(params![name, open, direct.map(list::direct_text)])?;
        if changed > 0 {
            self.log(LogKind::App, name)?;
        }
        self.app(name)
    }

    /// Removes an app with its services; its accounts and secrets are revoked. Again: nothing happens.
    pub fn remove_app(&self, name: &str) -> Result<(), RecordError> {
        if name == BUILT_IN_APP {
            return Err(RecordError::refused(
                format!("the app '{BUILT_IN_APP}' is built in and cannot be removed"),
                "revoke its accounts instead",
            ));
        }
        let removed: Option<Option<u64>> = self
            .transaction
            .prepare_cached("SELECT removed_unix_ms FROM app WHERE name = ?1")?
            .query_row([name], |row| row.get(0))
            .optional()?;
        match removed {
            None => return Err(unknown_app(name)),
            Some(Some(_)) => return Ok(()),
            Some(None) => {}
        }
        for sql in [
            "UPDATE app SET removed_unix_ms = ?2 WHERE name = ?1",
            "UPDATE account SET revoked_unix_ms = ?2 WHERE app = ?1 AND revoked_unix_ms IS NULL",
            "UPDATE secret SET revoked_unix_ms = ?2 WHERE app = ?1 AND revoked_unix_ms IS NULL",
        ] {
            self.transaction
                .prepare_cached(sql)?
                .execute(params![name, self.unix_ms])?;
        }
        self.log(LogKind::AppRemoved, name)?;
        // Who is connected loses the service, too: an app of that name may come back.
        let users: Vec<String> = self
            .transaction
            .prepare_cached("DELETE FROM service WHERE app = ?1 RETURNING uid")?
            .query_map([name], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        users
            .iter()
            .try_for_each(|user| self.log(LogKind::Services, user))
    }

    fn app(&self, name: &str) -> Result<AppRecord, RecordError> {
        let record = self
            .transaction
            .prepare_cached("SELECT name, open, direct, created_unix_ms FROM app WHERE name = ?1")?
            .query_row([name], list::app_of)?;
        Ok(record)
    }
}
