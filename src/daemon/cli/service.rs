//! `nexusd service`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::output::Output;
use super::{CliError, StoreArgs, parse};
use crate::daemon::control::{OpenMode, ServiceKind, ServiceRecord};
use crate::route::Uid;

/// `nexusd service`.
#[derive(Debug, Args)]
pub struct ServiceCommand {
    /// What to do.
    #[command(subcommand)]
    action: Action,
    /// On which store.
    #[command(flatten)]
    target: StoreArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Grant a service; one that was granted before takes on what is given here.
    Grant {
        /// The user: 24 lower-case hex digits.
        #[arg(long, value_name = "HEX24", value_parser = parse::uid)]
        uid: Uid,
        /// The app.
        #[arg(long, value_name = "APP", value_parser = parse::app)]
        app: String,
        /// Whether it was paid for.
        #[arg(long, value_name = "get|purchase", value_parser = parse::kind, default_value = "get")]
        kind: ServiceKind,
        /// When it ends; never by default.
        #[arg(long, value_name = "RFC3339", value_parser = parse::moment)]
        expires: Option<u64>,
    },
    /// Revoke a service and its secret.
    Revoke {
        /// The user: 24 lower-case hex digits.
        #[arg(long, value_name = "HEX24", value_parser = parse::uid)]
        uid: Uid,
        /// The app.
        #[arg(long, value_name = "APP", value_parser = parse::app)]
        app: String,
    },
    /// List the services, the expired ones included.
    List {
        /// Of this user alone.
        #[arg(long, value_name = "HEX24", value_parser = parse::uid)]
        uid: Option<Uid>,
        /// Of this app alone.
        #[arg(long, value_name = "APP", value_parser = parse::app)]
        app: Option<String>,
    },
}

const COLUMNS: &[&str; 5] = &["uid", "app", "kind", "expires", "granted"];

fn row(service: ServiceRecord) -> [Value; 5] {
    [
        service.uid.into(),
        service.app.into(),
        service.kind.into(),
        parse::show_optional_moment(service.expires_unix_ms),
        parse::show_moment(service.granted_unix_ms),
    ]
}

impl ServiceCommand {
    pub(super) fn run(self) -> Result<(StoreArgs, Output), CliError> {
        let Self { action, target } = self;
        let mut records = target.open(OpenMode::Existing)?;
        let output = match action {
            Action::Grant {
                uid,
                app,
                kind,
                expires,
            } => {
                let granted = records.write(|w| w.grant_service(uid, &app, kind, expires))?;
                Output::one(COLUMNS, row(granted))
            }
            Action::Revoke { uid, app } => {
                records.write(|w| w.revoke_service(uid, &app))?;
                Output::one(
                    &["uid", "app", "revoked"],
                    [json!(uid.to_string()), json!(app), json!(true)],
                )
            }
            Action::List { uid, app } => {
                let services = records.services(uid, app.as_deref())?;
                Output::list(COLUMNS, services.into_iter().map(row))
            }
        };
        Ok((target, output))
    }
}
