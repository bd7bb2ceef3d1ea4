//! Opens the database whatever became of it: what is damaged is dropped, told and, where it may still hold something,
//! kept aside under another name. Only a machine that refuses the files is a fault.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::engine::{self, Engine, Salvaged, is_damage};
use super::log::{self, Dropped};
use crate::daemon::{Fault, clock};
use crate::limits;

const DATABASE: &str = "sessions.db";
const LOG: &str = "sessions.db-wal";
/// What is salvaged is collected here.
const FRESH: &str = "sessions.db.new";
const FRESH_LOG: &str = "sessions.db.new-wal";
/// Between the name of a damaged file and when it was moved aside, in milliseconds since the Unix epoch.
const ASIDE: &str = ".damaged-";

/// What was damaged.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// A line for each file.
    pub(super) reports: Vec<String>,
    /// Rows that were read and do not hold their checksum.
    pub(super) rows: u64,
}

/// Opens, or makes, the database in `dir`, and tells of everything that was dropped.
pub(super) fn open(dir: &Path) -> Result<(Engine, Damage), Fault> {
    let (place, mut damage) = (Place(dir), Damage::default());
    let engine = open_place(&place, &mut damage)?;
    Ok((engine, damage))
}

fn open_place(place: &Place<'_>, damage: &mut Damage) -> Result<Engine, Fault> {
    place.make(&mut damage.reports)?;
    let is_cut = place.look_at_log(&mut damage.reports)?;
    let path = place.database()?;
    let why = match open_whole(&path) {
        Ok(Some(engine)) => {
            if is_cut {
                // What was dropped lies there until it is overwritten. Without room for this it is told once more.
                let _no_room = engine.empty_log();
            }
            return Ok(engine);
        }
        Ok(None) => "rows are missing or changed".to_owned(),
        Err(error) if is_damage(&error) => {
            place.check_version()?;
            error.to_string()
        }
        Err(error) => return Err(place.fault("open", &error)),
    };
    let report = match place.salvage()? {
        (Some(salvaged), aside) => {
            damage.rows += salvaged.broken;
            told(&path, &why, salvaged, &aside)
        }
        (None, aside) => format!(
            "{} cannot be read ({why}): begun anew without what it kept; it is now {}",
            path.display(),
            aside.display()
        ),
    };
    damage.reports.push(report);
    Engine::open(&place.database()?).map_err(|error| place.fault("open", &error))
}

struct Place<'a>(&'a Path);

impl Place<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes what is not there, and finishes a salvage that was interrupted.
    fn make(&self, reports: &mut Vec<String>) -> Result<(), Fault> {
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
            let is_lost = !is_there(FRESH)? && fs::metadata(self.path(LOG)).is_ok_and(|log| log.len() > 0);
            let stamp = self.move_aside(&[LOG])?;
            if is_lost {
                reports.push(format!(
                    "{} is gone from beside its log: begun anew without what it kept; the log is now {}",
                    self.path(DATABASE).display(),
                    self.path(&aside(LOG, stamp)).display()
                ));
            }
        }
        if is_there(FRESH)? {
            self.rename(FRESH, DATABASE)?;
        }
        Ok(())
    }

    /// Tells whether something of the log will be dropped.
    fn look_at_log(&self, reports: &mut Vec<String>) -> Result<bool, Fault> {
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
        Ok(dropped != Dropped::Nothing)
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

    /// Refuses what a later version wrote: it is whole, and this version would lose it.
    fn check_version(&self) -> Result<(), Fault> {
        let path = self.path(DATABASE);
        let Some(found) = Engine::open_as_it_is(&path)
            .ok()
            .and_then(|engine| engine.later_version())
        else {
            return Ok(());
        };
        Err(Fault::new(format!(
            "{} was written by a later version of nexusd (form {found}, this one knows {}); start that version, or \
             move the file away to begin without what it keeps",
            path.display(),
            engine::VERSION
        )))
    }

    /// Copies what can be read into a database that takes the damaged one's place. None if nothing can be read. Tells
    /// what the damaged one is called now.
    fn salvage(&self) -> Result<(Option<Salvaged>, PathBuf), Fault> {
        self.remove(&[FRESH, FRESH_LOG])?;
        let mut salvaged = None;
        if let Ok(damaged) = Engine::open_as_it_is(&self.path(DATABASE)) {
            let fresh = self.private(FRESH)?;
            let written = Engine::open(&fresh).and_then(|mut fresh| {
                let salvaged = damaged.salvage(&mut fresh)?;
                fresh.close()?;
                Ok(salvaged)
            });
            salvaged = Some(written.map_err(|error| self.fault("write", &error))?);
        }
        // In this order: a database without its log is never opened, see `make`.
        let stamp = self.move_aside(&[DATABASE, LOG])?;
        if salvaged.is_some() {
            self.rename(FRESH, DATABASE)?;
        }
        Ok((salvaged, self.path(&aside(DATABASE, stamp))))
    }

    /// Keeps damaged files under another name, in place of the oldest such files. Tells the time in that name.
    fn move_aside(&self, names: &[&str]) -> Result<u64, Fault> {
        let kept = self.kept_aside()?;
        let after_last = kept.last().map_or(0, |(last, _)| last.saturating_add(1));
        let stamp = clock::unix_ms().max(after_last);
        for name in names {
            if fs::exists(self.path(name)).unwrap_or(false) {
                self.rename(name, &aside(name, stamp))?;
            }
        }
        let mut stamps: Vec<u64> = kept.iter().map(|(stamp, _)| *stamp).collect();
        stamps.dedup();
        let Some(oldest) = stamps.len().checked_sub(limits::STORAGE_DAMAGED_MAX - 1) else {
            return Ok(stamp);
        };
        let gone = stamps.get(..oldest).unwrap_or_default();
        let gone = kept.iter().filter(|(stamp, _)| gone.contains(stamp));
        let gone: Vec<&str> = gone.map(|(_, name)| name.as_str()).collect();
        self.remove(&gone)?;
        Ok(stamp)
    }

    /// Files that were kept aside: when, and their names. The oldest first.
    fn kept_aside(&self) -> Result<Vec<(u64, String)>, Fault> {
        let read = || -> io::Result<Vec<(u64, String)>> {
            let mut kept = Vec::new();
            for entry in fs::read_dir(self.0)? {
                let Ok(name) = entry?.file_name().into_string() else {
                    continue;
                };
                let stamp = [DATABASE, LOG].iter().find_map(|of| {
                    let stamp = name.strip_prefix(of)?.strip_prefix(ASIDE)?;
                    stamp.parse().ok()
                });
                kept.extend(stamp.map(|stamp| (stamp, name)));
            }
            kept.sort();
            Ok(kept)
        };
        read().map_err(|error| self.file_fault("read", &error))
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

fn aside(name: &str, stamp: u64) -> String {
    format!("{name}{ASIDE}{stamp}")
}

fn told(path: &Path, why: &str, salvaged: Salvaged, aside: &Path) -> String {
    let Salvaged { rows, broken, gaps } = salvaged;
    format!(
        "{} is damaged ({why}): {rows} rows were copied into a new one, {broken} were damaged, {gaps} places could not \
         be read; it is now {}",
        path.display(),
        aside.display()
    )
}
