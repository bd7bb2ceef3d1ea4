//! The database: how it is opened, its schema and the migrations to it.

use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::fault::StoreFault;
use super::files::DataDir;
use crate::limits;
use crate::store::StoreKey;

/// Each step takes the schema one version on; `user_version` counts the steps taken. Steps are never edited
/// once released.
const MIGRATIONS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
];

/// Marks the file as a Nexus store: "NeXu".
const APPLICATION_ID: i64 = 0x4e65_5875;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Commits are on the disk when they return; the log is folded into the database by and by.
    Write,
    /// Look-ups of the control thread, which waits for nobody.
    LookUp,
}

/// Opens the database of `dir`, brings its schema up to date and checks that it was made with the key.
pub(super) fn open(dir: &DataDir, purpose: Use) -> Result<(Connection, StoreKey), StoreFault> {
    // One opener at a time: switching to WAL does not wait for others by itself.
    let held = dir.key()?;
    let (path, is_empty) = dir.make_database()?;
    if is_empty && !held.is_new {
        tracing::warn!("{}", StoreFault::Lost { path: path.clone() });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection =
        Connection::open_with_flags(path, flags).map_err(StoreFault::database("open the database"))?;
    configure(&connection, purpose).map_err(StoreFault::database("open the database"))?;
    migrate(&mut connection, dir, &held.key)?;
    check_key(&connection, dir, &held.key)?;
    if purpose == Use::LookUp {
        connection
            .busy_timeout(Duration::from_millis(limits::CONTROL_BUSY_MS))
            .map_err(StoreFault::database("open the database"))?;
    }
    Ok((connection, held.key))
}

fn configure(connection: &Connection, purpose: Use) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_millis(limits::DATABASE_BUSY_MS))?;
    connection.set_prepared_statement_cache_capacity(64);
    // Plans do not depend on what is bound: without this, a statement that uses a partial index is planned
    // anew each time something else is bound to it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    match purpose {
        Use::Write => connection.pragma_update(None, "synchronous", "FULL"),
        Use::LookUp => {
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            // Folding the log into the database waits for the disk: left to those who write.
            connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
            connection.pragma_update(None, "cache_size", -limits::DATABASE_CACHE_KIB)
        }
    }
}

fn migrate(connection: &mut Connection, dir: &DataDir, key: &StoreKey) -> Result<(), StoreFault> {
    let doing = "bring the database's schema up to date";
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let found = version(connection).map_err(StoreFault::database("read the database"))?;
    if found > known {
        let path = dir.database();
        return Err(StoreFault::Version { path, found, known });
    }
    if found == known {
        return Ok(());
    }
    let mut run = || -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
        let found = version(&transaction)?;
        for (step, sql) in (1..).zip(MIGRATIONS).filter(|(step, _)| *step > found) {
            transaction.execute_batch(sql)?;
            transaction.pragma_update(None, "user_version", step)?;
        }
        if found == 0 {
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.execute(
                "INSERT INTO meta (name, value) VALUES ('key', ?1)",
                [key.fingerprint().as_slice()],
            )?;
        }
        transaction.commit()
    };
    run().map_err(StoreFault::database(doing))
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn check_key(connection: &Connection, dir: &DataDir, key: &StoreKey) -> Result<(), StoreFault> {
    let made_with: Vec<u8> = connection
        .query_row("SELECT value FROM meta WHERE name = 'key'", [], |row| row.get(0))
        .map_err(StoreFault::database("read the database"))?;
    if made_with == key.fingerprint() {
        Ok(())
    } else {
        Err(dir.foreign_key())
    }
}
