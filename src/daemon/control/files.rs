//! The files of a store: directory 0700, key and database 0600.
//!
//! Invariant: the key is written before the database is, so that a database without a key means that the key
//! was lost, and a key is never made a second time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::fault::StoreFault;
use crate::store::StoreKey;
use crate::store::secret::KEY_BYTES;

/// Whether a store may be made where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Make it.
    Create,
    /// It has to be there.
    Existing,
}

/// A data directory that exists and is its owner's alone to change.
#[derive(Clone, Debug)]
pub(super) struct DataDir(PathBuf);

impl DataDir {
    /// Opens, or makes, the directory.
    pub(super) fn open(path: &Path, mode: OpenMode) -> Result<Self, StoreFault> {
        let dir = Self(path.to_owned());
        if mode == OpenMode::Existing && !dir.database().exists() {
            return Err(StoreFault::Absent { path: dir.0 });
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(StoreFault::file("make the directory", path))?;
        let found = fs::metadata(path).map_err(StoreFault::file("read the mode of", path))?;
        if found.permissions().mode() & 0o022 != 0 {
            return Err(StoreFault::Exposed {
                path: dir.0,
                chmod: "700",
            });
        }
        Ok(dir)
    }

    /// The database.
    pub(super) fn database(&self) -> PathBuf {
        self.0.join("nexus.db")
    }

    fn key_file(&self) -> PathBuf {
        self.0.join("store.key")
    }

    /// Makes the database's file if there is none; SQLite would make it readable for others.
    pub(super) fn make_database(&self) -> Result<PathBuf, StoreFault> {
        let path = self.database();
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
        {
            Ok(_) => Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = File::open(&path).map_err(StoreFault::file("open", &path))?;
                check_private(&file, &path)?;
                Ok(path)
            }
            Err(error) => Err(StoreFault::file("make", path)(error)),
        }
    }

    /// The store key, made at first use, and its file, by whose lock openers take turns.
    pub(super) fn key(&self) -> Result<(StoreKey, File), StoreFault> {
        let path = self.key_file();
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_key(&path)?;
                File::open(&path).map_err(StoreFault::file("open", &path))?
            }
            Err(error) => return Err(StoreFault::file("open", path)(error)),
        };
        check_private(&file, &path)?;
        let mut text = String::new();
        let read = std::io::Read::by_ref(&mut file)
            .take(1_024)
            .read_to_string(&mut text);
        if let Err(error) = read
            && error.kind() != io::ErrorKind::InvalidData
        {
            return Err(StoreFault::file("read", path)(error));
        }
        let Some(key) = parse_key(&text) else {
            let why = "it is not one line of 43 characters of base64url";
            return Err(StoreFault::Key { path, why });
        };
        Ok((StoreKey::new(&key), file))
    }

    /// The fault of a key that the database was not made with.
    pub(super) fn foreign_key(&self) -> StoreFault {
        StoreFault::Key {
            path: self.key_file(),
            why: "the database beside it was made with another one",
        }
    }

    fn make_key(&self, path: &Path) -> Result<(), StoreFault> {
        if fs::metadata(self.database()).is_ok_and(|database| database.len() > 0) {
            return Err(StoreFault::Key {
                path: path.to_owned(),
                why: "it is missing, but there is a database",
            });
        }
        let mut key = [0; KEY_BYTES];
        let mut suffix = [0; 8];
        random(&mut key)?;
        random(&mut suffix)?;
        let draft = self
            .0
            .join(format!("store.key.{:016x}", u64::from_ne_bytes(suffix)));
        let written = write_key(&draft, &key).and_then(|()| match fs::hard_link(&draft, path) {
            // Another process was first: its key is the key.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        });
        let removed = fs::remove_file(&draft);
        written
            .and(removed)
            .and_then(|()| File::open(&self.0)?.sync_all())
            .map_err(StoreFault::file("make", path))
    }

    /// Takes the directory for one daemon; the lock ends with the file or the process.
    pub(super) fn lock_for_daemon(&self) -> Result<File, StoreFault> {
        let path = self.0.join("nexusd.lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(StoreFault::file("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(StoreFault::Taken { path: self.0.clone() }),
            Err(TryLockError::Error(error)) => Err(StoreFault::file("lock", path)(error)),
        }
    }
}

/// Fills `bytes` with random bits of the operating system.
pub(super) fn random(bytes: &mut [u8]) -> Result<(), StoreFault> {
    getrandom::fill(bytes).map_err(|error| {
        StoreFault::file("read random bits from", "/dev/urandom")(io::Error::other(error.to_string()))
    })
}

fn check_private(file: &File, path: &Path) -> Result<(), StoreFault> {
    let found = file
        .metadata()
        .map_err(StoreFault::file("read the mode of", path))?;
    if found.permissions().mode() & 0o077 != 0 {
        return Err(StoreFault::Exposed {
            path: path.to_owned(),
            chmod: "600",
        });
    }
    Ok(())
}

fn write_key(path: &Path, key: &[u8; KEY_BYTES]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{}", URL_SAFE_NO_PAD.encode(key))?;
    file.sync_all()
}

fn parse_key(text: &str) -> Option<[u8; KEY_BYTES]> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    URL_SAFE_NO_PAD.decode(line).ok()?.try_into().ok()
}
