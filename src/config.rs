//! The configuration: TOML in, a checked [`Config`] out. The one place for defaults.

/// The daemon's configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {}
