//! The database of what outlives the daemon: tables of keys and values in SQLite, each commit on the disk when it
//! returns.
//!
//! Rows lie in the order in which they were written, with an index of the keys: messages come and go in that order, so
//! that few pages change, and a row behind a damaged page is found by its number. A value ends with the checksum of
//! its row.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Transaction, TransactionBehavior, params};

use super::checksum::crc32;
use super::group::{Group, behind};
use crate::journal::{Journal, Table};
use crate::limits;

/// Is shown rows of several tables: each with its table, its key and its value.
pub type VisitRow<'a> = dyn FnMut(Table, &[u8], &[u8]) + 'a;

/// Marks the file: "NeXs".
const APPLICATION_ID: i64 = 0x4e65_5873;
/// Of the schema and of how rows are written.
pub(super) const VERSION: i64 = 1;
const PAGE_BYTES: i64 = 4_096;
const CHECKSUM_BYTES: usize = 4;

/// An open database.
#[derive(Debug)]
pub(super) struct Engine {
    connection: Connection,
    value: Vec<u8>,
}

/// What is left of a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Salvaged {
    /// Rows that were read.
    pub(super) rows: u64,
    /// Rows whose checksum does not hold.
    pub(super) broken: u64,
    /// Places where nothing could be read.
    pub(super) gaps: u64,
}

impl Engine {
    /// Opens the database in `path`, a file that exists; an empty one becomes a database.
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let mut engine = Self::open_as_it_is(path)?;
        let connection = &mut engine.connection;
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match version {
            0 if tables == 0 => make_tables(connection)?,
            VERSION => {}
            _ => return Err(rusqlite::Error::IntegralValueOutOfRange(0, version)),
        }
        Ok(engine)
    }

    /// Opens the database in `path`, whatever is in it, and makes nothing.
    pub(super) fn open_as_it_is(path: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.set_prepared_statement_cache_capacity(32);
        connection.pragma_update(None, "page_size", PAGE_BYTES)?;
        // Nobody else uses it: the index of the log is kept in memory, and not in a file of its own.
        connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "cache_size", -limits::STORAGE_CACHE_KIB)?;
        let pages = limits::STORAGE_LOG_BYTES / PAGE_BYTES;
        connection.pragma_update_and_check(None, "wal_autocheckpoint", pages, |_| Ok(()))?;
        let bytes = 2 * limits::STORAGE_LOG_BYTES;
        connection.pragma_update_and_check(None, "journal_size_limit", bytes, |_| Ok(()))?;
        Ok(Self {
            connection,
            value: Vec::new(),
        })
    }

    /// The version that a later nexusd wrote, which is not for this one to read; None if it was none.
    pub(super) fn later_version(&self) -> Option<i64> {
        let read = |name| {
            let value = self.connection.pragma_query_value(None, name, |row| row.get(0));
            value.unwrap_or(0)
        };
        let version: i64 = read("user_version");
        (read("application_id") == APPLICATION_ID && version > VERSION).then_some(version)
    }

    /// Makes all changes of the journals, in their order, durable at once, or none of them.
    pub(super) fn commit(&mut self, journals: &mut dyn Iterator<Item = &Journal>) -> rusqlite::Result<()> {
        let mut group = Group::default();
        for journal in journals {
            group.add(journal);
        }
        // Dropped without a commit, it is rolled back.
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        for &table in Table::ALL {
            apply(&transaction, table, &group, &mut self.value)?;
        }
        transaction.commit()
    }

    /// Shows all rows of a table in the order of their keys. Tells how many do not hold their checksum; those are not
    /// shown.
    pub(super) fn rows(&self, table: Table, visit: &mut dyn FnMut(&[u8], &[u8])) -> rusqlite::Result<u64> {
        let name = table.as_str();
        let mut statement = self
            .connection
            .prepare(&format!("SELECT key, value FROM {name} ORDER BY key"))?;
        let mut rows = statement.query([])?;
        let mut broken = 0;
        while let Some(row) = rows.next()? {
            match checked(row, 0)? {
                Some((key, value)) => visit(key, value),
                None => broken += 1,
            }
        }
        Ok(broken)
    }

    /// Shows the rows of all tables but the retained messages', in the order of the first eight bytes of their keys, a
    /// session's number, and for each number in the order of the tables and of their keys. Tells how many do not hold
    /// their checksum; those are not shown.
    pub(super) fn session_rows(&self, visit: &mut VisitRow<'_>) -> rusqlite::Result<u64> {
        let mut statements = Vec::new();
        for table in OF_SESSIONS {
            let name = table.as_str();
            let sql = format!("SELECT key, value FROM {name} ORDER BY key");
            statements.push((table, self.connection.prepare(&sql)?));
        }
        let mut broken = 0;
        let mut cursors = Vec::new();
        for (table, statement) in &mut statements {
            let mut cursor = Cursor {
                table: *table,
                rows: statement.query([])?,
                number: None,
                key: Vec::new(),
                value: Vec::new(),
            };
            broken += cursor.advance()?;
            cursors.push(cursor);
        }
        // The first of those with the lowest number: the tables stand in their order.
        while let Some(next) = cursors
            .iter_mut()
            .filter(|cursor| cursor.number.is_some())
            .min_by_key(|cursor| cursor.number)
        {
            visit(next.table, &next.key, &next.value);
            broken += next.advance()?;
        }
        Ok(broken)
    }

    /// Reads everything. Tells whether all of it can be read, holds its checksum and lies in order, and each table has
    /// as many rows as its index.
    pub(super) fn is_whole(&self) -> rusqlite::Result<bool> {
        for &table in Table::ALL {
            let (mut count, mut is_sorted, mut last) = (0, true, Vec::new());
            let broken = self.rows(table, &mut |key, _| {
                is_sorted = is_sorted && (count == 0 || last.as_slice() < key);
                count += 1;
                last.clear();
                last.extend_from_slice(key);
            })?;
            let of_table = format!("SELECT count(*) FROM {} NOT INDEXED", table.as_str());
            let rows: i64 = self.connection.query_row(&of_table, [], |row| row.get(0))?;
            if broken > 0 || !is_sorted || rows != count {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Copies all that can be read into an empty database, whose errors alone are told.
    pub(super) fn salvage(&self, into: &mut Self) -> rusqlite::Result<Salvaged> {
        let mut salvaged = Salvaged::default();
        for &table in Table::ALL {
            let mut from = i64::MIN;
            // Beyond so many places the rest of the table is given up.
            for _ in 0..limits::STORAGE_GAPS_MAX {
                match self.salvage_from(table, from, into, &mut salvaged)? {
                    None => break,
                    Some(unreadable) => {
                        salvaged.gaps += 1;
                        match self.readable_after(table, unreadable) {
                            Some(next) => from = next,
                            None => break,
                        }
                    }
                }
            }
        }
        Ok(salvaged)
    }

    /// Copies rows from a number on. Tells the first number that cannot be read, if not all can.
    fn salvage_from(
        &self,
        table: Table,
        from: i64,
        into: &mut Self,
        salvaged: &mut Salvaged,
    ) -> rusqlite::Result<Option<i64>> {
        let mut journal = Journal::new();
        let mut unreadable = Some(from);
        {
            let Ok(mut statement) = self.connection.prepare(&by_number(table)) else {
                return Ok(Some(from));
            };
            let Ok(mut rows) = statement.query([from]) else {
                return Ok(Some(from));
            };
            loop {
                let row = match rows.next() {
                    Ok(Some(row)) => row,
                    Ok(None) => {
                        unreadable = None;
                        break;
                    }
                    Err(_) => break,
                };
                let (Ok(id), Ok(pair)) = (row.get::<_, i64>(0), checked(row, 1)) else {
                    salvaged.broken += 1;
                    continue;
                };
                // A damaged number may be lower than those before it.
                unreadable = unreadable.max(id.checked_add(1));
                match pair {
                    Some((key, value)) => {
                        salvaged.rows += 1;
                        journal.put(table, key, value);
                    }
                    None => salvaged.broken += 1,
                }
                if journal.len_bytes() >= limits::STORAGE_GROUP_BYTES_MAX {
                    into.commit(&mut std::iter::once(&journal))?;
                    journal.clear();
                }
            }
        }
        into.commit(&mut std::iter::once(&journal))?;
        Ok(unreadable)
    }

    /// A number behind `unreadable` from which rows can be read again: in growing steps over what cannot be read, then
    /// back to its end. What lies between is lost.
    fn readable_after(&self, table: Table, unreadable: i64) -> Option<i64> {
        let (mut bad, mut step) = (unreadable.max(0), 1);
        let mut good = loop {
            let next = bad.checked_add(step)?;
            step = step.checked_mul(2)?;
            if self.is_readable(table, next) {
                break next;
            }
            bad = next;
        };
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            if self.is_readable(table, middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        Some(good)
    }

    /// Whether the first row from a number on can be read, or there is none.
    fn is_readable(&self, table: Table, number: i64) -> bool {
        let Ok(mut statement) = self.connection.prepare_cached(&by_number(table)) else {
            return false;
        };
        statement
            .query([number])
            .is_ok_and(|mut rows| rows.next().is_ok())
    }

    /// Folds the log into the database as far as that goes, so that what is written next takes its place and no more
    /// room.
    pub(super) fn fold_log(&self) -> rusqlite::Result<()> {
        self.connection
            .query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))
    }

    /// Folds the log into the database and leaves nothing of it.
    pub(super) fn empty_log(&self) -> rusqlite::Result<()> {
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }

    /// Folds the log into the database and closes both.
    pub(super) fn close(self) -> rusqlite::Result<()> {
        self.empty_log()?;
        self.connection.close().map_err(|(_, error)| error)
    }

    /// The greatest number of pages, so that a test can fill the disk.
    #[cfg(test)]
    pub(super) fn limit_pages(&self, pages: i64) {
        self.connection
            .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
            .unwrap();
    }
}

fn by_number(table: Table) -> String {
    let name = table.as_str();
    format!("SELECT id, key, value FROM {name} NOT INDEXED WHERE id >= ?1 ORDER BY id")
}

fn make_tables(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for table in Table::ALL {
        let name = table.as_str();
        transaction.execute_batch(&format!(
            "CREATE TABLE {name} (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL) STRICT"
        ))?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

fn apply(
    transaction: &Transaction<'_>,
    table: Table,
    group: &Group<'_>,
    stored: &mut Vec<u8>,
) -> rusqlite::Result<()> {
    let name = table.as_str();
    for prefix in group.cleared(table) {
        let sql = format!("DELETE FROM {name} WHERE key >= ?1 AND (?2 IS NULL OR key < ?2)");
        transaction
            .prepare_cached(&sql)?
            .execute(params![prefix, behind(prefix)])?;
    }
    let mut last = group.last(table).peekable();
    if last.peek().is_none() {
        return Ok(());
    }
    let mut put = transaction.prepare_cached(&format!(
        "INSERT INTO {name} (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
    ))?;
    let mut delete = transaction.prepare_cached(&format!("DELETE FROM {name} WHERE key = ?1"))?;
    for (key, value) in last {
        match value {
            Some(value) => {
                stored.clear();
                stored.extend_from_slice(value);
                stored.extend_from_slice(&crc32(&[key, value]).to_le_bytes());
                put.execute(params![key, stored.as_slice()])?;
            }
            None => {
                delete.execute([key])?;
            }
        }
    }
    Ok(())
}

/// The tables whose keys begin with a session's number, its own first.
const OF_SESSIONS: [Table; 4] = [
    Table::Sessions,
    Table::Registrations,
    Table::Outbound,
    Table::Inbound,
];

/// Where the reading of one of several tables is.
struct Cursor<'s> {
    table: Table,
    rows: rusqlite::Rows<'s>,
    /// Of the row that is shown next; none at the end.
    number: Option<[u8; 8]>,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Cursor<'_> {
    /// Goes on to the next row that holds its checksum. Tells how many before it do not.
    fn advance(&mut self) -> rusqlite::Result<u64> {
        let mut broken = 0;
        self.number = None;
        while let Some(row) = self.rows.next()? {
            if let Some((key, value)) = checked(row, 0)? {
                self.key.clear();
                self.key.extend_from_slice(key);
                self.value.clear();
                self.value.extend_from_slice(value);
                // A key that is too short is shown among the first, for what it is.
                self.number = Some(key.first_chunk().copied().unwrap_or_default());
                break;
            }
            broken += 1;
        }
        Ok(broken)
    }
}

/// Key and value, at a row's columns `first` and the next, if they hold their checksum.
fn checked<'a>(row: &'a Row<'_>, first: usize) -> rusqlite::Result<Option<(&'a [u8], &'a [u8])>> {
    let (key, stored) = (row.get_ref(first)?, row.get_ref(first + 1)?);
    let (Ok(key), Ok(stored)) = (key.as_blob(), stored.as_blob()) else {
        return Ok(None);
    };
    let Some((value, sum)) = stored.split_last_chunk::<CHECKSUM_BYTES>() else {
        return Ok(None);
    };
    let is_right = u32::from_le_bytes(*sum) == crc32(&[key, value]);
    Ok(is_right.then_some((key, value)))
}

/// Whether an error tells of damage to the files, and not that the machine refuses them just now.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    const READ: i32 = rusqlite::ffi::SQLITE_IOERR_READ;
    const SHORT_READ: i32 = rusqlite::ffi::SQLITE_IOERR_SHORT_READ;
    match error {
        rusqlite::Error::SqliteFailure(found, _) => match found.code {
            ErrorCode::DiskFull
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed => false,
            ErrorCode::SystemIoFailure => matches!(found.extended_code, READ | SHORT_READ),
            _ => true,
        },
        _ => true,
    }
}
