//! Which store a command works on.

use std::path::{Path, PathBuf};

use clap::Args;

use super::CliError;
use crate::daemon::control::{OpenMode, Records};

/// Where the store is if neither `--data-dir` nor the configuration says so: below the working directory.
pub const DATA_DIR_DEFAULT: &str = "nexus-data";

/// Which store, and how to print.
#[derive(Clone, Debug, Args)]
pub struct StoreArgs {
    /// Where the store is; by default what the configuration says, else ./nexus-data.
    #[arg(long, value_name = "DIR", global = true)]
    pub data_dir: Option<PathBuf>,
    /// The configuration file.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Print a table instead of JSON.
    #[arg(long, global = true)]
    pub human: bool,
}

impl StoreArgs {
    /// Opens the store.
    pub(super) fn open(&self, mode: OpenMode) -> Result<Records, CliError> {
        Ok(Records::open(&self.data_dir()?, mode)?)
    }

    fn data_dir(&self) -> Result<PathBuf, CliError> {
        if let Some(dir) = &self.data_dir {
            return Ok(dir.clone());
        }
        match &self.config {
            Some(file) => configured(file),
            None => Ok(DATA_DIR_DEFAULT.into()),
        }
    }
}

/// The key `data_dir` of a configuration file.
fn configured(file: &Path) -> Result<PathBuf, CliError> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| {
        CliError::new(format!(
            "cannot read the configuration {shown}: {error}; check the path given with --config"
        ))
    })?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        CliError::new(format!(
            "cannot use the configuration {shown}: {error}; correct that line"
        ))
    })?;
    match table.get("data_dir") {
        None => Ok(DATA_DIR_DEFAULT.into()),
        Some(toml::Value::String(dir)) => Ok(dir.into()),
        Some(other) => Err(CliError::new(format!(
            "cannot use the configuration {shown}: data_dir is {other}; write a path in quotes"
        ))),
    }
}
