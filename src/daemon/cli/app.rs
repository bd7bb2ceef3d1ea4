//! `nexusd app`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::Output;
use super::{CliError, StoreArgs, parse};
use crate::daemon::control::{AppRecord, OpenMode};
use crate::route::DirectPolicy;

/// `nexusd app`.
#[derive(Debug, Args)]
pub struct AppCommand {
    /// What to do.
    #[command(subcommand)]
    action: Action,
    /// On which store.
    #[command(flatten)]
    target: StoreArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add an app; one that is there takes on what is given.
    Add {
        /// 1 to 32 of a-z and 0-9, beginning with a letter.
        #[arg(value_parser = parse::app)]
        name: String,
        /// Everybody may call its workers.
        #[arg(long)]
        open: bool,
        /// From whom its workers take Direct messages.
        #[arg(long, value_name = "any|entitled", value_parser = parse::direct)]
        direct: Option<DirectPolicy>,
    },
    /// Change what an app allows; what is not given stays.
    Set {
        /// The app.
        #[arg(value_parser = parse::app)]
        name: String,
        /// Whether everybody may call its workers.
        #[arg(long, value_name = "true|false")]
        open: Option<bool>,
        /// From whom its workers take Direct messages.
        #[arg(long, value_name = "any|entitled", value_parser = parse::direct)]
        direct: Option<DirectPolicy>,
    },
    /// List the apps.
    List,
    /// Remove an app with its services, and revoke its accounts and secrets.
    Remove {
        /// The app.
        #[arg(value_parser = parse::app)]
        name: String,
    },
}

const COLUMNS: &[&str; 4] = &["app", "open", "direct", "created"];

fn row(app: AppRecord) -> [serde_json::Value; 4] {
    let direct = match app.policy.direct {
        DirectPolicy::Any => "any",
        DirectPolicy::Entitled => "entitled",
    };
    [
        app.name.into(),
        app.policy.open.into(),
        direct.into(),
        parse::show_moment(app.created_unix_ms),
    ]
}

impl AppCommand {
    pub(super) fn run(self) -> Result<(StoreArgs, Output), CliError> {
        let Self { action, target } = self;
        let output = match action {
            Action::Add { name, open, direct } => {
                let mut records = target.open(OpenMode::Create)?;
                let app = records.write(|w| w.add_app(&name, open.then_some(true), direct))?;
                Output::one(COLUMNS, row(app))
            }
            Action::Set { name, open, direct } => {
                let mut records = target.open(OpenMode::Existing)?;
                let app = records.write(|w| w.set_app(&name, open, direct))?;
                Output::one(COLUMNS, row(app))
            }
            Action::List => {
                let records = target.open(OpenMode::Existing)?;
                Output::list(COLUMNS, records.apps()?.into_iter().map(row))
            }
            Action::Remove { name } => {
                let mut records = target.open(OpenMode::Existing)?;
                records.write(|w| w.remove_app(&name))?;
                Output::one(&["app", "removed"], [json!(name), json!(true)])
            }
        };
        Ok((target, output))
    }
}
