//! What is tracked is what people write: no packages, no libraries, no large files.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use super::{assert_none, files, root};

/// Bytes of a tracked file.
const FILE_BYTES_MAX: usize = 256 * 1_024;
/// Bytes of an image among the documents.
const IMAGE_BYTES_MAX: usize = 1_024 * 1_024;
/// How far a file is looked at for bytes that no text has.
const LOOKED_AT_BYTES: usize = 8 * 1_024;

const IMAGES: &[&str] = &[".gif", ".jpg", ".png", ".svg", ".webp"];
/// Names of what is packed, built or written by programs.
const ARTEFACTS: &[&str] = &[
    ".7z", ".a", ".apk", ".bz2", ".class", ".crate", ".db", ".deb", ".dll", ".dylib", ".exe", ".gz", ".jar",
    ".o", ".pyc", ".rlib", ".rmeta", ".rpm", ".so", ".sqlite", ".tar", ".tgz", ".wasm", ".whl", ".xz",
    ".zip", ".zst",
];
/// Inputs of fuzz targets are bytes of any kind.
const INPUTS: &str = "tests/fuzz/corpus/";

/// Whether it is a library with its version behind its name, such as `libx.so.1`.
fn is_versioned_library(name: &str) -> bool {
    name.split_once(".so.")
        .is_some_and(|(_, version)| version.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
}

/// Why a file does not belong into the repository, if it does not.
fn fault(path: &str, content: &[u8]) -> Option<&'static str> {
    let name = path.rsplit('/').next().unwrap().to_ascii_lowercase();
    let ends = |with: &[&str]| with.iter().any(|end| name.ends_with(end));
    if ends(ARTEFACTS) || is_versioned_library(&name) {
        return Some("is made by a program");
    }
    if path.starts_with("docs/") && ends(IMAGES) {
        return (content.len() > IMAGE_BYTES_MAX).then_some("is a large image");
    }
    if content.len() > FILE_BYTES_MAX && name != "cargo.lock" {
        return Some("is large");
    }
    let begin = &content[..content.len().min(LOOKED_AT_BYTES)];
    (begin.contains(&0) && !path.starts_with(INPUTS)).then_some("is no text")
}

/// The files that are tracked; where there is no repository, as in an archive of the sources, all that are there.
fn tracked() -> Vec<String> {
    let listed = Command::new("git")
        .arg("ls-files")
        .arg("-z")
        .current_dir(root())
        .output();
    match listed {
        Ok(listed) if listed.status.success() && !listed.stdout.is_empty() => {
            String::from_utf8(listed.stdout)
                .unwrap()
                .split_terminator('\0')
                .map(str::to_owned)
                .collect()
        }
        _ => files("", &[""]),
    }
}

#[test]
fn what_programs_make_is_not_tracked() {
    let mut wrong = String::new();
    for path in tracked() {
        let place = root().join(&path);
        // A link is what it says, and one that is deleted will not be tracked much longer.
        if !place.is_file() {
            continue;
        }
        if let Some(fault) = fault(&path, &fs::read(place).unwrap()) {
            let _ = writeln!(wrong, "{path} {fault}");
        }
    }
    assert_none("files that do not belong into the repository", &wrong);
}

#[test]
fn packages_libraries_and_large_files_are_found() {
    let large = vec![b'x'; FILE_BYTES_MAX + 1];
    let image = [&b"\x89PNG\0"[..], &large].concat();
    let huge = vec![b'x'; IMAGE_BYTES_MAX + 1];
    let found: [(&str, &[u8]); 9] = [
        ("nats-server_2.9.10-1_amd64.deb", b""),
        ("tests/clients/given.ZIP", b""),
        ("target.so", b""),
        ("tuning/libx.so.1.2", b""),
        ("bench/nexusd", b"\x7fELF\0"),
        ("docs/log.md", &large),
        ("tests/fuzz/corpus/mqtt_decode/long", &large),
        ("loadgen/plot.png", &image),
        ("docs/plot.png", &huge),
    ];
    for (path, content) in found {
        assert!(fault(path, content).is_some(), "{path}");
    }
    let kept: [(&str, &[u8]); 6] = [
        ("src/codec/mod.rs", b"//! Text."),
        ("Cargo.lock", &large),
        ("tests/fuzz/Cargo.lock", &large),
        ("docs/plot.png", &image),
        ("tests/fuzz/corpus/mqtt_decode/short", b"\x10\0"),
        ("docs/mqtt.so.md", b""),
    ];
    for (path, content) in kept {
        assert_eq!(fault(path, content), None, "{path}");
    }
}
