//! Which store a command works on.

use std::path::PathBuf;

use clap::Args;

use super::CliError;
use crate::daemon::control::{OpenMode, Records};
use crate::daemon::serve::read_config;

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
        Ok(read_config(self.config.as_ref())?.data_dir)
    }
}
