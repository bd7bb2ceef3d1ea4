//! The space that is left on the file system of a directory.

use std::io;
use std::path::Path;

use crate::limits;

/// Bytes that are free for this process where `dir` is, or would be made.
pub fn free_bytes(dir: &Path) -> io::Result<u64> {
    let above = dir.ancestors().find(|path| path.exists());
    // What is relative and not there yet would be made here.
    let found = rustix::fs::statvfs(above.unwrap_or_else(|| Path::new(".")))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// If so little is free that what has to last will soon be refused: a line of what, where, and what to do.
pub fn shortage(dir: &Path, free_bytes: u64) -> Option<String> {
    (free_bytes < limits::STORAGE_FREE_BYTES_MIN).then(|| {
        format!(
            "{} MiB are free where {} is, and its log alone takes up to {} MiB: free space on its file system",
            free_bytes >> 20,
            dir.display(),
            limits::STORAGE_FREE_BYTES_MIN >> 20
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_told_of_directories_that_are_there_or_will_be() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free_bytes(dir.path()).unwrap() > 0);
        assert!(free_bytes(&dir.path().join("to/be/made")).unwrap() > 0);
        assert!(free_bytes(Path::new("to/be/made")).unwrap() > 0);
    }

    #[test]
    fn too_little_is_said_in_one_line_with_the_remedy() {
        let enough = limits::STORAGE_FREE_BYTES_MIN;
        assert_eq!(shortage(Path::new("/data"), enough), None);
        let line = shortage(Path::new("/data"), 5 << 20).unwrap();
        assert!(
            line.starts_with("5 MiB") && line.contains("/data") && line.contains("free space"),
            "{line}"
        );
        assert_eq!(line.lines().count(), 1);
    }
}
