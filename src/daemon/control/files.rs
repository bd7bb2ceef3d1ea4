//! The files of a store: directory 0700, key and database 0600.
//!
//! Invariant: the key is written before the database is, so that a database without a key means that the key
//! was lost, and a key is never made a second time.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::access;
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

/// The store key; while it is held, other openers of the store wait.
#[derive(Debug)]
pub(super) struct HeldKey {
    /// The key.
    pub(super) key: StoreKey,
    /// It was made just now.
    pub(super) is_new: bool,
    _turn: File,
}

/// A data directory that exists and is its owner's alone to change.
#[derive(Clone, Debug)]
pub(super) struct DataDir(PathBuf);

impl DataDir {
    /// Opens, or makes, the directory.
    pub(super) fn open(path: &Path, mode: OpenMode) -> Result<Self, StoreFault> {
        let dir = Self(path.to_owned());
        if mode == OpenMode::Existing && !is_there(&dir.database())? {
            return Err(match is_there(&dir.key_file())? {
                true => StoreFault::Lost { path: dir.database() },
                false => StoreFault::Absent { path: dir.0 },
            });
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(StoreFault::file("make the directory", path))?;
        dir.check_mode()?;
        Ok(dir)
    }

    fn check_mode(&self) -> Result<(), StoreFault> {
        let found = fs::metadata(&self.0).map_err(StoreFault::file("read the mode of", &self.0))?;
        if found.permissions().mode() & 0o022 != 0 {
            return Err(StoreFault::Exposed {
                path: self.0.clone(),
                chmod: "700",
            });
        }
        Ok(())
    }

    /// Looks whether [`DataDir::open`] and what follows it would go well, and changes nothing. Tells whether
    /// there is a store.
    pub(super) fn look(path: &Path) -> Result<bool, StoreFault> {
        let dir = Self(path.to_owned());
        let is_made = is_there(path)?;
        let place = if is_made {
            path
        } else {
            access::existing_above(path)
        };
        // A file without a name, gone when it is dropped.
        tempfile::tempfile_in(place).map_err(StoreFault::file("write to", place))?;
        if !is_made {
            return Ok(false);
        }
        dir.check_mode()?;
        let has_key = is_there(&dir.key_file())?;
        if has_key {
            dir.read_key()?;
        }
        match fs::metadata(dir.database()) {
            Ok(database) if database.len() > 0 && !has_key => Err(dir.missing_key()),
            Ok(database) if database.len() > 0 => open_private(&dir.database(), true).map(|_| true),
            _ if has_key => Err(StoreFault::Lost { path: dir.database() }),
            _ => Ok(false),
        }
    }

    /// The database.
    pub(super) fn database(&self) -> PathBuf {
        self.0.join("nexus.db")
    }

    fn key_file(&self) -> PathBuf {
        self.0.join("store.key")
    }

    /// Makes the database's file if there is none; SQLite would make it readable for others. Tells whether
    /// there was none.
    ///
    /// One that is there is never opened here: closing it again would drop the locks of SQLite's connections to it in
    /// this process (fcntl, POSIX.1), and the next process to close the database would take its log away from them.
    pub(super) fn make_database(&self) -> Result<(PathBuf, bool), StoreFault> {
        let path = self.database();
        if is_there(&path)? {
            let found = fs::metadata(&path).map_err(StoreFault::file("read the mode of", &path))?;
            check_private(&path, &found)?;
            return Ok((path, found.len() == 0));
        }
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        made.map_err(StoreFault::file("make", &path))?;
        Ok((path, true))
    }

    /// The store key, made at first use.
    pub(super) fn key(&self) -> Result<HeldKey, StoreFault> {
        let path = self.key_file();
        let made = match is_there(&path)? {
            true => None,
            false => self.make_key(&path)?,
        };
        let (key, file) = self.read_key()?;
        let is_new = made.is_some();
        let turn = match made {
            Some(locked) => locked,
            None => {
                file.lock().map_err(StoreFault::file("lock", path))?;
                file
            }
        };
        Ok(HeldKey {
            key,
            is_new,
            _turn: turn,
        })
    }

    fn read_key(&self) -> Result<(StoreKey, File), StoreFault> {
        let path = self.key_file();
        let (mut file, _) = open_private(&path, false)?;
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

    fn missing_key(&self) -> StoreFault {
        StoreFault::Key {
            path: self.key_file(),
            why: "it is missing, but there is a database",
        }
    }

    /// The fault of a key that the database was not made with.
    pub(super) fn foreign_key(&self) -> StoreFault {
        StoreFault::Key {
            path: self.key_file(),
            why: "the database beside it was made with another one",
        }
    }

    /// Makes the key; its file, locked, unless another process was first.
    fn make_key(&self, path: &Path) -> Result<Option<File>, StoreFault> {
        if fs::metadata(self.database()).is_ok_and(|database| database.len() > 0) {
            return Err(self.missing_key());
        }
        let mut key = [0; KEY_BYTES];
        let mut suffix = [0; 8];
        random(&mut key)?;
        random(&mut suffix)?;
        let draft = self
            .0
            .join(format!("store.key.{:016x}", u64::from_ne_bytes(suffix)));
        let written = write_key(&draft, &key).and_then(|file| match fs::hard_link(&draft, path) {
            Ok(()) => Ok(Some(file)),
            // Its key is the key.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(error),
        });
        let removed = fs::remove_file(&draft);
        written
            .and_then(|made| removed.map(|()| made))
            .and_then(|made| File::open(&self.0)?.sync_all().map(|()| made))
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

/// Whether something is there; a fault if that cannot be seen.
fn is_there(path: &Path) -> Result<bool, StoreFault> {
    path.try_exists().map_err(StoreFault::file("look at", path))
}

/// Opens a file that has to be its owner's alone.
fn open_private(path: &Path, writes: bool) -> Result<(File, Metadata), StoreFault> {
    let file = OpenOptions::new()
        .read(true)
        .write(writes)
        .open(path)
        .map_err(StoreFault::file("open", path))?;
    let found = file
        .metadata()
        .map_err(StoreFault::file("read the mode of", path))?;
    check_private(path, &found)?;
    Ok((file, found))
}

/// Refuses a file that others may use.
fn check_private(path: &Path, found: &Metadata) -> Result<(), StoreFault> {
    if found.permissions().mode() & 0o077 != 0 {
        return Err(StoreFault::Exposed {
            path: path.to_owned(),
            chmod: "600",
        });
    }
    Ok(())
}

/// Locked before it has its name: nobody gets a turn with a key whose maker has not had one.
fn write_key(path: &Path, key: &[u8; KEY_BYTES]) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{}", URL_SAFE_NO_PAD.encode(key))?;
    file.sync_all()?;
    file.lock()?;
    Ok(file)
}

fn parse_key(text: &str) -> Option<[u8; KEY_BYTES]> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    URL_SAFE_NO_PAD.decode(line).ok()?.try_into().ok()
}
