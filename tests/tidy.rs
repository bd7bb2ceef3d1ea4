//! The house rules, held as a test: which room may know which, how long files and functions may be, what every
//! codec and every configuration key comes with, and what does not belong into a source or into the repository.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code: a failed expectation is a failed test"
)]

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/scan.rs"]
mod scan;
#[path = "tidy/tracked.rs"]
mod tracked;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Lines of a file without its tests.
const FILE_LINES_MAX: usize = 800;
/// Files above this are listed for review.
const FILE_LINES_REVIEW: usize = 500;
/// Lines of a function.
const FUNCTION_LINES_MAX: usize = 70;
/// Lines of a function that tests: a sequence of steps is read from top to bottom.
const TEST_LINES_MAX: usize = 100;

/// Functions that may be longer: file, function, why.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[
    (
        "src/codec/mqtt/holder.rs",
        "allowed",
        "the table of MQTT 5.0, 2.2.2.2, row by row",
    ),
    ("loadgen/src/report/human.rs", "write", "a report, line by line"),
    (
        "loadgen/src/report/plot.rs",
        "write",
        "a drawing, element by element",
    ),
    ("loadgen/src/run.rs", "execute", "the steps of a run, in order"),
];

/// What each room of the core may name below `crate::`; a single item where only that one is allowed.
const ROOMS: &[(&str, &[&str])] = &[
    ("codec", &["codec", "limits", "json"]),
    (
        "session",
        &[
            "session", "codec", "route", "limits", "time", "observe", "json", "journal",
        ],
    ),
    (
        "route",
        &[
            "route",
            "session::Ending",
            "observe",
            "limits",
            "time",
            "json",
            "journal",
        ],
    ),
    (
        "store",
        &[
            "store",
            "route",
            "session::LoginFailure",
            "limits",
            "time",
            "json",
            "journal",
        ],
    ),
    (
        "hub",
        &[
            "hub", "session", "route", "store", "observe", "limits", "time", "config", "journal",
        ],
    ),
    ("observe", &["observe", "session::Disconnect", "limits", "time"]),
    ("config", &["config", "limits", "route"]),
    ("journal", &["journal"]),
    ("json", &["json", "limits"]),
    ("limits", &[]),
    ("time", &[]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below a directory whose names end so, as paths from the root, in order.
fn files(below: &str, extensions: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root().join(below)];
    while let Some(directory) = open.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                let built = ["target", "node_modules", "corpus", "artifacts", ".git"];
                if !built.contains(&name.as_str()) {
                    open.push(path);
                }
            } else if extensions.iter().any(|extension| name.ends_with(extension)) {
                found.push(from_root(&path));
            }
        }
    }
    found.sort();
    found
}

fn from_root(path: &Path) -> String {
    let relative = path.strip_prefix(root()).unwrap();
    relative.to_str().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether a whole file is test code.
fn is_test_file(path: &str) -> bool {
    path.starts_with("tests/") || path.split('/').any(|part| part == "tests" || part == "tests.rs")
}

#[track_caller]
fn assert_none(what: &str, found: &str) {
    assert!(found.is_empty(), "{what}:\n{found}");
}

#[test]
fn rooms_know_only_the_rooms_they_may() {
    let mut wrong = String::new();
    for path in files("src", &[".rs"]) {
        let room = path["src/".len()..].split(['/', '.']).next().unwrap().to_owned();
        if matches!(room.as_str(), "main" | "lib" | "daemon") || is_test_file(&path) {
            continue;
        }
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            let _ = writeln!(wrong, "{path}: a room without a place in the table");
            continue;
        };
        for named in scan::crate_paths(&scan::without_tests(&scan::blanked(&read(&path)))) {
            let other = named.split("::").next().unwrap();
            if !allowed.contains(&other) && !allowed.contains(&named.as_str()) {
                let _ = writeln!(wrong, "{path}: crate::{named}");
            }
        }
    }
    assert_none("arrows that point the wrong way", &wrong);
}

#[test]
fn the_machine_is_named_in_shards_only() {
    let mut wrong = String::new();
    for below in ["src", "tests", "bench", "loadgen"] {
        for path in files(below, &[".rs"]) {
            let code = scan::blanked(&read(&path));
            let executor = scan::words(&code, "glommio").count();
            let ring = scan::words(&code, "io_uring")
                .filter(|&at| code[at..].starts_with("io_uring::") || code[..at].ends_with("use "))
                .count();
            if executor + ring > 0 {
                let _ = writeln!(wrong, "{path}");
            }
        }
    }
    for path in files("", &["Cargo.toml"]) {
        let named = read(&path)
            .lines()
            .any(|line| line.starts_with("glommio") || line.starts_with("io-uring"));
        if named && path != "shards/Cargo.toml" {
            let _ = writeln!(wrong, "{path}");
        }
    }
    assert_none("glommio or io_uring outside shards", &wrong);
}

#[test]
fn files_are_short() {
    let (mut wrong, mut review) = (String::new(), String::new());
    for path in files("", &[".rs"]) {
        let source = read(&path);
        let lines = if is_test_file(&path) {
            source.lines().count()
        } else {
            scan::without_tests(&scan::blanked(&source)).lines().count()
        };
        if lines > FILE_LINES_MAX {
            let _ = writeln!(wrong, "{path}: {lines} lines");
        } else if lines > FILE_LINES_REVIEW {
            let _ = writeln!(review, "{path}: {lines} lines");
        }
    }
    println!("files of more than {FILE_LINES_REVIEW} lines:\n{review}");
    assert_none("files that must be split by meaning", &wrong);
}

#[test]
fn functions_are_short() {
    let mut wrong = String::new();
    let mut needed = BTreeSet::new();
    for path in files("", &[".rs"]) {
        for function in scan::functions(&scan::blanked(&read(&path))) {
            let most = if is_test_file(&path) {
                TEST_LINES_MAX
            } else {
                FUNCTION_LINES_MAX
            };
            if function.lines <= most {
                continue;
            }
            let excepted = LONG_FUNCTIONS
                .iter()
                .position(|(file, name, _)| *file == path && *name == function.name);
            if let Some(place) = excepted {
                needed.insert(place);
            } else {
                let scan::Function { name, line, lines } = function;
                let _ = writeln!(wrong, "{path}:{line}: {name}: {lines} lines");
            }
        }
    }
    assert_none("functions that must be split", &wrong);
    assert_eq!(needed.len(), LONG_FUNCTIONS.len(), "an exception nobody needs");
}

#[test]
fn every_codec_has_a_fuzz_target() {
    let targets = files("tests/fuzz", &[".rs"]);
    if !root().join("tests/fuzz").exists() {
        return;
    }
    let mut wrong = String::new();
    for entry in fs::read_dir(root().join("src/codec")).unwrap() {
        let path = entry.unwrap().path();
        let codec = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let fuzzed = targets.iter().any(|target| {
            let stem = Path::new(target).file_stem().unwrap().to_str().unwrap();
            stem.split('_').any(|part| part == codec)
        });
        if codec != "mod" && !fuzzed {
            let _ = writeln!(wrong, "{codec}");
        }
    }
    assert_none("codecs without a fuzz target", &wrong);
}

/// The keys of the configuration: the fields of its structs that are read from the file.
fn configuration_keys() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut sources = files("src/config", &[".rs"]);
    sources.push("src/config.rs".to_owned());
    sources.retain(|path| root().join(path).exists());
    for path in sources {
        let code = scan::without_tests(&scan::blanked(&read(&path)));
        for at in scan::words(&code, "deny_unknown_fields") {
            let Some(open) = code[at..].find('{') else {
                continue;
            };
            let body = &code[at + open + 1..];
            let body = &body[..body.find('}').unwrap_or(body.len())];
            for line in body.lines() {
                let field = line
                    .trim()
                    .trim_start_matches("pub(crate) ")
                    .trim_start_matches("pub ");
                if let Some((name, _)) = field.split_once(": ") {
                    keys.insert(name.to_owned());
                }
            }
        }
    }
    keys
}

#[test]
fn every_configuration_key_is_documented() {
    let mut pages = files("docs", &[".md", ".toml"]);
    pages.push("README.md".to_owned());
    pages.retain(|path| root().join(path).exists());
    let text: String = pages.iter().map(|path| read(path)).collect();
    let mut wrong = String::new();
    for key in configuration_keys() {
        if scan::words(&text, &key).next().is_none() {
            let _ = writeln!(wrong, "{key}");
        }
    }
    assert_none("configuration keys neither in README.md nor in docs", &wrong);
}

#[test]
fn every_source_says_what_it_is_for() {
    let mut wrong = String::new();
    for path in files("", &[".rs"]) {
        let source = read(&path);
        let first = source.lines().find(|line| !line.starts_with("#!"));
        if !first.is_some_and(|line| line.starts_with("//! ")) {
            let _ = writeln!(wrong, "{path}");
        }
    }
    assert_none("sources that do not begin with //!", &wrong);
}

#[test]
fn nothing_is_left_unfinished() {
    // Written in two parts so that this list does not find itself.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("todo", "!("),
        concat!("unimpl", "emented!("),
        concat!("unwrap_or_else(|_| ", "panic!"),
        concat!("#[ig", "nore]"),
    ];
    let mut wrong = String::new();
    for path in files("", &[".rs", ".py", ".js", ".md", ".toml", ".sh"]) {
        for (number, line) in read(&path).lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(*word)) {
                let _ = writeln!(wrong, "{path}:{}: {word}", number + 1);
            }
        }
    }
    assert_none("left unfinished", &wrong);
}

#[test]
fn no_path_of_a_machine_and_no_package_host_is_named() {
    let words = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("crates", ".io"),
        concat!("pypi", ".org"),
        concat!("npmjs", ".org"),
    ];
    let mut wrong = String::new();
    let mut paths = files(
        "",
        &[
            ".rs", ".py", ".js", ".json", ".md", ".toml", ".sh", ".service", ".txt",
        ],
    );
    paths.extend(files(".ci", &[""]));
    for path in paths {
        for (number, line) in read(&path).lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(*word)) {
                let _ = writeln!(wrong, "{path}:{}: {word}", number + 1);
            }
        }
    }
    assert_none("places of one machine or of package hosts", &wrong);
}
