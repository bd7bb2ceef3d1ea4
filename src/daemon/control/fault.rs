//! What can go wrong with the store, told in one line: what, why, what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A fault of ours or of the machine, never of a peer.
#[derive(Debug)]
pub enum StoreFault {
    /// A file could not be used.
    File {
        /// What was tried, as in "cannot …".
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// There is no store in the directory, and none was to be made.
    Absent {
        /// The data directory.
        path: PathBuf,
    },
    /// The database is gone, and the key beside it is not.
    Lost {
        /// Where the database was.
        path: PathBuf,
    },
    /// The machine refuses the data directory, or a file in it, to this process.
    Denied {
        /// The data directory.
        dir: PathBuf,
        /// By what.
        why: String,
        /// What to do about it.
        remedy: String,
    },
    /// A file or directory that others than its owner may use.
    Exposed {
        /// The file.
        path: PathBuf,
        /// The mode it has to have, as chmod takes it.
        chmod: &'static str,
    },
    /// The key file is not what it was.
    Key {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Another daemon serves the directory.
    Taken {
        /// The data directory.
        path: PathBuf,
    },
    /// The database was made by a later version.
    Version {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The latest that is known.
        known: i64,
    },
    /// SQLite refused.
    Database {
        /// What was tried, as in "cannot …".
        doing: &'static str,
        /// Why it failed.
        source: rusqlite::Error,
    },
    /// A thread could not be started.
    Thread {
        /// Why it failed.
        source: io::Error,
    },
}

impl StoreFault {
    pub(super) fn database(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Database { doing, source }
    }

    pub(super) fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File {
            doing,
            path: path.into(),
            source,
        }
    }
}

impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { doing, path, source } => {
                let path = path.display();
                write!(f, "cannot {doing} {path}: {source}; ")?;
                f.write_str(match source.kind() {
                    io::ErrorKind::PermissionDenied => "run as the owner of the data directory",
                    io::ErrorKind::StorageFull => "free space on its file system",
                    io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                        "that is no directory, name one with --data-dir"
                    }
                    _ => "check the path and its file system",
                })
            }
            Self::Absent { path } => write!(
                f,
                "no store in {}: it has no database; name the data directory with --data-dir or --config, \
                 or make a store with 'nexusd app add NAME'",
                path.display()
            ),
            Self::Lost { path } => write!(
                f,
                "the database {} is gone, but the store key beside it is not: the apps, accounts and secrets it \
                 held are unknown; restore it from a backup, or begin anew with 'nexusd app add NAME'",
                path.display()
            ),
            Self::Denied { dir, why, remedy } => {
                write!(
                    f,
                    "cannot use the data directory {}: {why}; {remedy}",
                    dir.display()
                )
            }
            Self::Exposed { path, chmod } => {
                let path = path.display();
                write!(
                    f,
                    "{path} is not safe: other users may use it; run 'chmod {chmod} {path}'"
                )
            }
            Self::Key { path, why } => write!(
                f,
                "cannot use the store key {}: {why}; restore it from a backup, without it no secret is valid",
                path.display()
            ),
            Self::Taken { path } => write!(
                f,
                "cannot serve {}: another nexusd does; stop it or use another --data-dir",
                path.display()
            ),
            Self::Version { path, found, known } => write!(
                f,
                "cannot use {}: its schema has version {found}, this nexusd knows {known}; use a later nexusd",
                path.display()
            ),
            Self::Database { doing, source } => {
                write!(f, "cannot {doing}: {source}; {}", database_remedy(source))
            }
            Self::Thread { source } => {
                write!(f, "cannot start a thread: {source}; raise the limit of processes")
            }
        }
    }
}

fn database_remedy(source: &rusqlite::Error) -> &'static str {
    use rusqlite::ErrorCode;
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program holds the database, try again"
        }
        Some(ErrorCode::DiskFull) => "free space on its file system",
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "restore nexus.db and store.key from a backup"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "run as the owner of the data directory"
        }
        _ => "check the data directory and its file system",
    }
}

impl std::error::Error for StoreFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } | Self::Thread { source } => Some(source),
            Self::Database { source, .. } => Some(source),
            _ => None,
        }
    }
}
