//! `nexusd account`.

use std::io::{self, Read};

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::Output;
use super::{CliError, StoreArgs, parse};
use crate::daemon::control::{ChosenSecret, OpenMode};
use crate::limits;
use crate::route::{Role, Uid};

/// `nexusd account`.
#[derive(Debug, Args)]
pub struct AccountCommand {
    /// What to do.
    #[command(subcommand)]
    action: Action,
    /// On which store.
    #[command(flatten)]
    target: StoreArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add an account, or show the secret of the one that is there.
    Add {
        /// The app; it has to be there.
        #[arg(value_parser = parse::app)]
        app: String,
        /// The user: 24 lower-case hex digits.
        #[arg(long, value_name = "HEX24", value_parser = parse::uid)]
        uid: Uid,
        /// What the user is to the app.
        #[arg(long, value_name = "owner|partner|user", value_parser = parse::role)]
        role: Role,
        /// Read the secret, chosen by a person, from the first line of standard input.
        #[arg(long)]
        secret_stdin: bool,
        /// Take a secret of fewer than 32 characters; logins with it cost a slow hash.
        #[arg(long, requires = "secret_stdin")]
        weak: bool,
    },
    /// List the accounts, the revoked ones included.
    List {
        /// Of this app alone.
        #[arg(long, value_name = "APP", value_parser = parse::app)]
        app: Option<String>,
    },
    /// Revoke an account and all its secrets; its connections end.
    Revoke {
        /// `<app>-<uid>-<role>`.
        #[arg(value_parser = parse::account)]
        account: String,
    },
}

impl AccountCommand {
    pub(super) fn run(self) -> Result<(StoreArgs, Output), CliError> {
        let Self { action, target } = self;
        let output = match action {
            Action::Add {
                app,
                uid,
                role,
                secret_stdin,
                weak,
            } => {
                let chosen = secret_stdin.then(|| chosen_secret(io::stdin().lock(), weak));
                let chosen = chosen.transpose()?;
                let mut records = target.open(OpenMode::Create)?;
                let added = records.write(|w| match &chosen {
                    Some(chosen) => w.add_account_with(&app, uid, role, chosen),
                    None => w.add_account(&app, uid, role),
                })?;
                Output::one(
                    &["account", "secret"],
                    [json!(added.account), json!(added.secret.expose())],
                )
            }
            Action::List { app } => {
                let records = target.open(OpenMode::Existing)?;
                let rows = records.accounts(app.as_deref())?.into_iter().map(|account| {
                    [
                        account.account.into(),
                        parse::show_moment(account.created_unix_ms),
                        parse::show_optional_moment(account.revoked_unix_ms),
                    ]
                });
                Output::list(&["account", "created", "revoked"], rows)
            }
            Action::Revoke { account } => {
                let mut records = target.open(OpenMode::Existing)?;
                records.write(|w| w.revoke_account(&account))?;
                Output::one(&["account", "revoked"], [json!(account), json!(true)])
            }
        };
        Ok((target, output))
    }
}

/// Reads a secret up to the end of its line.
pub(super) fn chosen_secret(input: impl Read, weak: bool) -> Result<ChosenSecret, CliError> {
    let most = u64::try_from(limits::SECRET_BYTES_MAX).unwrap_or(u64::MAX);
    let mut text = Vec::new();
    // Its line end, and one byte more than is allowed.
    input
        .take(most + 3)
        .read_to_end(&mut text)
        .map_err(|error| CliError::new(format!("cannot read the secret: {error}; check standard input")))?;
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let refused = |why: &dyn std::fmt::Display| {
        CliError::new(format!(
            "cannot take the secret: {why}; give one line of {} to {} printable ASCII characters \
             (fewer with --weak)",
            limits::SECRET_CHARS_MIN,
            limits::SECRET_BYTES_MAX
        ))
    };
    let text = std::str::from_utf8(line).map_err(|error| refused(&error))?;
    ChosenSecret::new(text, weak).map_err(|error| refused(&error))
}
