//! Opens the database whatever became of it: what is damaged is dropped, told and, where it may still hold something,
//! kept aside under another name. Only a machine that refuses the files is a fault.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::engine::{Engine, Salvaged, is_damage};
use super::log::{self, Dropped};
use crate::daemon::{Fault, clock};

const DATABASE: &str = "sessions.db";
const LOG: &str = "sessions.db-wal";
/// What is salvaged is collected here.
const FRESH: &str = "sessions.db.new";
const FRESH_LOG: &str = "sessions.db.new-wal";

/// Opens, or makes, the database in `dir`. Appends a line to `reports` for everything that was dropped.
pub(super) fn open(dir: &Path, reports: &mut Vec<String>) -> Result<Engine, Fault> {
    let place = Place(dir);
    place.make()?;
    place.look_at_log(reports)?;
    let path = place.database()?;
    let why = match open_whole(&path) {
        Ok(Some(engine)) => return Ok(engine),
        Ok(None) => "rows are missing or changed".to_owned(),
        Err(error) if is_damage(&error) => error.to_string(),
        Err(error) => return Err(place.fault("open", &error)),
    };
    let report = match place.salvage()? {
        Some(salvaged) => told(&path, &why, salvaged),
        None => format!(
            "{} cannot be read ({why}): begun anew, its files are kept as *.damaged-*",
            path.display()
        ),
    };
    reports.push(report);
    Engine::open(&place.database()?).map_err(|error| place.fault("open", &error))
}

struct Place<'a>(&'a Path);

impl Place<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes what is not there, and finishes a salvage that was interrupted.
    fn make(&self) -> Result<(), Fault> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.0)
            .map_err(|error| self.file_fault("make", &error))?;
        let is_there = |name| fs::exists(self.path(name)).map_err(|error| self.file_fault("read", &error));
        if is_there(DATABASE)? {
            // Not finished: what it was made from is there still.
            return self.remove(&[FRESH, FRESH_LOG]);
        }
        if is_there(LOG)? {
            // The log of a database that was moved aside must not be taken for that of the next one.
            self.move_aside(&[LOG])?;
        }
        if is_there(FRESH)? {
            self.rename(FRESH, DATABASE)?;
        }
        Ok(())
    }

    fn look_at_log(&self, reports: &mut Vec<String>) -> Result<(), Fault> {
        let dropped = log::look(&self.path(LOG)).map_err(|error| self.file_fault("read", &error))?;
        let name = self.path(LOG);
        let name = name.display();
        match dropped {
            Dropped::Nothing => {}
            Dropped::Pages(pages) => reports.push(format!(
                "the end of {name} is incomplete or damaged: {pages} pages behind the last whole commit are dropped"
            )),
            Dropped::All(bytes) => reports.push(format!(
                "the beginning of {name} is incomplete or damaged: all of its {bytes} bytes are dropped"
            )),
        }
        Ok(())
    }

    /// The database's file; SQLite would make it readable for others.
    fn database(&self) -> Result<PathBuf, Fault> {
        self.private(DATABASE)
    }

    fn private(&self, name: &str) -> Result<PathBuf, Fault> {
        let path = self.path(name);
        let made = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        made.map_err(|error| self.file_fault("open", &error))?;
        Ok(path)
    }

    /// Copies what can be read into a database that takes the damaged one's place. None if nothing can be read.
    fn salvage(&self) -> Result<Option<Salvaged>, Fault> {
        self.remove(&[FRESH, FRESH_LOG])?;
        let mut salvaged = None;
        if let Ok(damaged) = Engine::open(&self.path(DATABASE)) {
            let fresh = self.private(FRESH)?;
            let written = Engine::open(&fresh).and_then(|mut fresh| {
                let salvaged = damaged.salvage(&mut fresh)?;
                fresh.close()?;
                Ok(salvaged)
            });
            salvaged = Some(written.map_err(|error| self.fault("write", &error))?);
        }
        // In this order: a database without its log is never opened, see `make`.
        self.move_aside(&[DATABASE, LOG])?;
        if salvaged.is_some() {
            self.rename(FRESH, DATABASE)?;
        }
        Ok(salvaged)
    }

    fn move_aside(&self, names: &[&str]) -> Result<(), Fault> {
        let now = clock::unix_ms();
        for name in names {
            if fs::exists(self.path(name)).unwrap_or(false) {
                self.rename(name, &format!("{name}.damaged-{now}"))?;
            }
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Fault> {
        fs::rename(self.path(from), self.path(to))
            .and_then(|()| fs::File::open(self.0)?.sync_all())
            .map_err(|error| self.file_fault("rename files in", &error))
    }

    fn remove(&self, names: &[&str]) -> Result<(), Fault> {
        for name in names {
            match fs::remove_file(self.path(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(self.file_fault("remove files in", &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn file_fault(&self, doing: &str, error: &io::Error) -> Fault {
        fault(doing, self.0, &error)
    }

    fn fault(&self, doing: &str, error: &rusqlite::Error) -> Fault {
        fault(doing, &self.path(DATABASE), error)
    }
}

fn fault(doing: &str, path: &Path, error: &dyn std::fmt::Display) -> Fault {
    let path = path.display();
    Fault::new(format!(
        "cannot {doing} {path}: {error}; see to its owner, its mode and the space on its file system, or set \
         storage.durability = \"memory\""
    ))
}

/// None if something in it is damaged.
fn open_whole(path: &Path) -> rusqlite::Result<Option<Engine>> {
    let engine = Engine::open(path)?;
    Ok(engine.is_whole()?.then_some(engine))
}

fn told(path: &Path, why: &str, salvaged: Salvaged) -> String {
    let Salvaged { rows, broken, gaps } = salvaged;
    format!(
        "{} is damaged ({why}): {rows} rows were copied into a new one, {broken} were damaged, {gaps} places could not \
         be read; its files are kept as *.damaged-*",
        path.display()
    )
}
