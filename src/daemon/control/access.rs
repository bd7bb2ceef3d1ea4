//! Why the store's files are refused to this process, and what its user can do about it.
//!
//! Asked only after something was refused: owners and modes are no proof of access, but they explain a refusal.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::fault::StoreFault;

/// What a store may consist of.
const FILES: [&str; 5] = [
    "store.key",
    "nexus.db",
    "nexus.db-wal",
    "nexus.db-shm",
    "nexusd.lock",
];

/// The same fault, or, if access to the data directory was refused, one that says by what.
pub(super) fn explained(fault: StoreFault, dir: &Path) -> StoreFault {
    use rusqlite::ErrorCode::{CannotOpen, PermissionDenied, ReadOnly};
    let is_refusal = match &fault {
        StoreFault::File { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            return StoreFault::Denied {
                dir: dir.to_owned(),
                why: "its file system is read-only".to_owned(),
                remedy: "mount it writable, or name another directory with --data-dir".to_owned(),
            };
        }
        StoreFault::File { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
        StoreFault::Database { source, .. } => matches!(
            source.sqlite_error_code(),
            Some(ReadOnly | PermissionDenied | CannotOpen)
        ),
        _ => false,
    };
    let reason = is_refusal.then(|| refusal(dir)).flatten();
    reason.map_or(fault, |(why, remedy)| StoreFault::Denied {
        dir: dir.to_owned(),
        why,
        remedy,
    })
}

/// What is refused about `dir`, and the remedy; none if owners and modes do not tell.
fn refusal(dir: &Path) -> Option<(String, String)> {
    // The owner of a process's own entry is its effective user.
    let me = fs::metadata("/proc/self").ok()?.uid();
    if me == 0 {
        return None;
    }
    if fs::metadata(dir).is_err() {
        return refusal_above(dir, me);
    }
    std::iter::once(dir.to_owned())
        .chain(FILES.map(|name| dir.join(name)))
        .find_map(|path| {
            let found = fs::metadata(&path).ok()?;
            let (owner, shown) = (found.uid(), path.display());
            if owner != me {
                return Some((
                    format!("{shown} belongs to user {owner}, and this runs as user {me}"),
                    format!(
                        "run it as user {owner}, or 'chown -R {me} {}' as root",
                        dir.display()
                    ),
                ));
            }
            let (needed, letters) = if found.is_dir() {
                (0o700, "rwx")
            } else {
                (0o600, "rw")
            };
            let mode = found.permissions().mode() & 0o777;
            (mode & needed != needed).then(|| {
                (
                    format!("the mode of {shown} is {mode:03o}"),
                    format!("run 'chmod u+{letters} {shown}'"),
                )
            })
        })
}

/// The same where the directory cannot be made, or not be reached.
fn refusal_above(dir: &Path, me: u32) -> Option<(String, String)> {
    let above = existing_above(dir);
    let found = fs::metadata(above).ok()?;
    let (owner, mode) = (found.uid(), found.permissions().mode() & 0o777);
    let dir = dir.display();
    Some((
        format!(
            "user {me} may not use {}, which belongs to user {owner} and has mode {mode:03o}",
            above.canonicalize().as_deref().unwrap_or(above).display()
        ),
        format!("run 'install -d -m 700 -o {me} {dir}' as root, or name another directory with --data-dir"),
    ))
}

/// The nearest directory on the way to `dir` that is there.
pub(super) fn existing_above(dir: &Path) -> &Path {
    dir.ancestors()
        .find(|path| fs::metadata(path).is_ok())
        .unwrap_or_else(|| Path::new("."))
}
