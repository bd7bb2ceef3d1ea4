//! `nexusd secret`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::Output;
use super::{CliError, StoreArgs, parse};
use crate::daemon::control::{IssuedSecret, OpenMode};
use crate::route::{CredentialId, Uid};

/// `nexusd secret`.
#[derive(Debug, Args)]
pub struct SecretCommand {
    /// What to do.
    #[command(subcommand)]
    action: Action,
    /// On which store.
    #[command(flatten)]
    target: StoreArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Issue, or show again, the secret of an account, or one that logs in with one resource alone.
    Add {
        /// `<app>-<uid>-<role>`.
        #[arg(value_parser = parse::account)]
        account: String,
        /// The only resource it logs in with.
        #[arg(long, value_name = "R", value_parser = parse::resource)]
        resource: Option<String>,
    },
    /// Issue, or show again, the secret of an explore.
    Explore {
        /// The app.
        #[arg(value_parser = parse::app)]
        app: String,
    },
    /// Issue, or show again, the secret of a user's service.
    Service {
        /// The user: 24 lower-case hex digits.
        #[arg(long, value_name = "HEX24", value_parser = parse::uid)]
        uid: Uid,
        /// The app.
        #[arg(long, value_name = "APP", value_parser = parse::app)]
        app: String,
    },
    /// List the secrets, the revoked ones included, without showing them.
    List,
    /// Revoke a secret; connections that logged in with it end.
    Revoke {
        /// As `secret list` shows it.
        #[arg(value_parser = parse::credential)]
        id: CredentialId,
    },
}

fn issued(issued: &IssuedSecret) -> Output {
    Output::one(
        &["id", "secret"],
        [json!(issued.id.0), json!(issued.secret.expose())],
    )
}

impl SecretCommand {
    pub(super) fn run(self) -> Result<(StoreArgs, Output), CliError> {
        let Self { action, target } = self;
        let mut records = target.open(OpenMode::Existing)?;
        let output = match action {
            Action::Add { account, resource } => {
                issued(&records.write(|w| w.add_secret(&account, resource.as_deref()))?)
            }
            Action::Explore { app } => issued(&records.write(|w| w.explore_secret(&app))?),
            Action::Service { uid, app } => issued(&records.write(|w| w.service_secret(uid, &app))?),
            Action::List => {
                let rows = records.secrets()?.into_iter().map(|secret| {
                    [
                        secret.id.into(),
                        secret.kind.into(),
                        secret.subject.into(),
                        secret.resource.into(),
                        secret.generation.into(),
                        secret.origin.into(),
                        parse::show_moment(secret.created_unix_ms),
                        parse::show_optional_moment(secret.revoked_unix_ms),
                    ]
                });
                let columns = &[
                    "id",
                    "kind",
                    "subject",
                    "resource",
                    "generation",
                    "origin",
                    "created",
                    "revoked",
                ];
                Output::list(columns, rows)
            }
            Action::Revoke { id } => {
                records.write(|w| w.revoke_secret(id))?;
                Output::one(&["id", "revoked"], [json!(id.0), json!(true)])
            }
        };
        Ok((target, output))
    }
}
