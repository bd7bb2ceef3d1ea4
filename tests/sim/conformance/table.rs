//! The tables of `docs/mqtt.md`: every statement of both versions has its place in them, and what they name exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::suite::{Case, Version, load};

/// How many statements each section of 5.0 has. 2.2.1-1 does not exist.
const OF_5_0: &[(&str, u32)] = &[
    ("1.5.4", 3),
    ("1.5.5", 1),
    ("1.5.7", 1),
    ("2.1.3", 1),
    ("2.2.1", 6),
    ("2.2.2", 1),
    ("3.1.0", 2),
    ("3.1.2", 30),
    ("3.1.3", 12),
    ("3.1.4", 6),
    ("3.2.0", 2),
    ("3.2.2", 22),
    ("3.3.1", 13),
    ("3.3.2", 20),
    ("3.3.4", 10),
    ("3.4.2", 3),
    ("3.5.2", 3),
    ("3.6.1", 1),
    ("3.6.2", 3),
    ("3.7.2", 3),
    ("3.8.1", 1),
    ("3.8.3", 5),
    ("3.8.4", 8),
    ("3.9.2", 2),
    ("3.9.3", 2),
    ("3.10.1", 1),
    ("3.10.3", 2),
    ("3.10.4", 6),
    ("3.11.2", 2),
    ("3.11.3", 2),
    ("3.12.4", 1),
    ("3.14.0", 1),
    ("3.14.1", 1),
    ("3.14.2", 4),
    ("3.14.4", 3),
    ("3.15.1", 1),
    ("3.15.2", 3),
    ("4.1.0", 2),
    ("4.2.0", 1),
    ("4.3.1", 1),
    ("4.3.2", 5),
    ("4.3.3", 13),
    ("4.4.0", 2),
    ("4.5.0", 2),
    ("4.6.0", 6),
    ("4.7.0", 1),
    ("4.7.1", 2),
    ("4.7.2", 1),
    ("4.7.3", 4),
    ("4.8.2", 6),
    ("4.9.0", 3),
    ("4.12.0", 7),
    ("4.12.1", 2),
    ("4.13.1", 1),
    ("4.13.2", 1),
    ("6.0.0", 4),
];

/// The same of 3.1.1, where 3.8.3-4 is printed as `MQTT-3-8.3-4`.
const OF_3_1_1: &[(&str, u32)] = &[
    ("1.5.3", 3),
    ("2.2.2", 2),
    ("2.3.1", 7),
    ("3.1.0", 2),
    ("3.1.2", 24),
    ("3.1.3", 11),
    ("3.1.4", 5),
    ("3.2.0", 1),
    ("3.2.2", 6),
    ("3.3.1", 12),
    ("3.3.2", 3),
    ("3.3.4", 1),
    ("3.3.5", 2),
    ("3.6.1", 1),
    ("3.8.1", 1),
    ("3.8.3", 4),
    ("3.8.4", 6),
    ("3.9.3", 2),
    ("3.10.1", 1),
    ("3.10.3", 2),
    ("3.10.4", 6),
    ("3.12.4", 1),
    ("3.14.1", 1),
    ("3.14.4", 3),
    ("4.1.0", 2),
    ("4.3.1", 1),
    ("4.3.2", 2),
    ("4.3.3", 2),
    ("4.4.0", 1),
    ("4.5.0", 2),
    ("4.6.0", 6),
    ("4.7.1", 3),
    ("4.7.2", 1),
    ("4.7.3", 4),
    ("4.8.0", 2),
    ("6.0.0", 4),
    ("7.0.0", 2),
    ("7.1.1", 1),
    ("7.1.2", 1),
];

/// A row of a table.
struct Row {
    version: Version,
    clauses: Vec<String>,
    enforced: String,
    shown_by: String,
}

/// What the page says.
#[derive(Default)]
struct Page {
    rows: Vec<Row>,
    /// Of what the standards ask without giving it a number: their clauses are the sections, `in 2.1.4`.
    unnumbered: Vec<Row>,
    /// Statements that bind clients alone, or servers that do what this one does not.
    of_others: BTreeSet<(Version, String)>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `3.1.0-1` of `MQTT-3.1.0-1` and of what is printed otherwise.
fn plain(clause: &str) -> String {
    clause
        .trim()
        .trim_start_matches("MQTT-")
        .replace("3-8.3-", "3.8.3-")
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(plain).collect()
}

fn read() -> Page {
    let text = fs::read_to_string(root().join("docs/mqtt.md")).unwrap();
    let mut page = Page::default();
    let mut version = None;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            version = Version::ALL
                .into_iter()
                .find(|version| heading == format!("Statements of MQTT {}", version.name()));
        }
        let Some(version) = version else { continue };
        let of_others = ["Clients only: ", "Not of this server: "];
        if let Some(clauses) = of_others.iter().find_map(|prefix| line.strip_prefix(prefix)) {
            let end = clauses.find(". ").unwrap_or(clauses.len());
            let clauses = list(clauses[..end].trim_end_matches('.'));
            page.of_others
                .extend(clauses.into_iter().map(|clause| (version, clause)));
        }
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let is_numbered = cells[0].starts_with(|first: char| first.is_ascii_digit());
        if line.starts_with("| ") && (is_numbered || cells[0].starts_with("in ")) {
            assert_eq!(cells.len(), 4, "a row of four cells: {line}");
            let rows = if is_numbered {
                &mut page.rows
            } else {
                &mut page.unnumbered
            };
            rows.push(Row {
                version,
                clauses: list(cells[0]),
                enforced: cells[2].to_owned(),
                shown_by: cells[3].to_owned(),
            });
        }
    }
    page
}

/// The parts of a text between two of these signs.
fn quoted(text: &str, sign: char) -> Vec<&str> {
    text.split(sign).skip(1).step_by(2).collect()
}

#[track_caller]
fn assert_none(what: &str, found: &str) {
    assert!(found.is_empty(), "{what}:\n{found}");
}

#[test]
fn every_statement_has_its_place() {
    let page = read();
    let mut named: BTreeMap<(Version, String), u32> = BTreeMap::new();
    for row in &page.rows {
        for clause in &row.clauses {
            *named.entry((row.version, clause.clone())).or_default() += 1;
        }
    }
    for clause in &page.of_others {
        *named.entry(clause.clone()).or_default() += 1;
    }
    let mut wrong = String::new();
    for (version, sections) in [(Version::V5, OF_5_0), (Version::V311, OF_3_1_1)] {
        for (section, count) in sections {
            for number in 1..=*count {
                let clause = format!("{section}-{number}");
                let is_gap = (version, clause.as_str()) == (Version::V5, "2.2.1-1");
                let times = named.remove(&(version, clause.clone())).unwrap_or(0);
                if times != u32::from(!is_gap) {
                    let _ = writeln!(wrong, "{clause} of {}: {times} times", version.name());
                }
            }
        }
    }
    assert_none("statements that do not stand in docs/mqtt.md once", &wrong);
    assert_eq!(named, BTreeMap::new(), "statements that do not exist");
}

#[test]
fn every_statement_of_a_case_has_its_row() {
    let page = read();
    let rows: BTreeSet<(Version, &str)> = page
        .rows
        .iter()
        .flat_map(|row| row.clauses.iter().map(|clause| (row.version, clause.as_str())))
        .collect();
    let mut wrong = String::new();
    for case in load() {
        for (version, clause) in &case.clauses {
            if !rows.contains(&(*version, plain(clause).as_str())) {
                let _ = writeln!(
                    wrong,
                    "{}: {}: {clause} of {}",
                    case.file,
                    case.name,
                    version.name()
                );
            }
        }
    }
    assert_none("statements of cases without a row in docs/mqtt.md", &wrong);
}

/// Whether a case shows one of the statements of a row; if they have no number, whether it may.
fn shows(case: &Case, row: &Row, is_numbered: bool) -> bool {
    if !is_numbered {
        return case.versions.contains(&row.version);
    }
    case.clauses
        .iter()
        .any(|(version, clause)| *version == row.version && row.clauses.contains(&plain(clause)))
}

#[test]
fn what_the_rows_name_exists() {
    let cases = load();
    let mut wrong = String::new();
    let page = read();
    let numbered = page.rows.iter().map(|row| (row, true));
    for (row, is_numbered) in numbered.chain(page.unnumbered.iter().map(|row| (row, false))) {
        let what = format!("{} of {}", row.clauses.join(", "), row.version.name());
        for path in quoted(&row.enforced, '`') {
            if !root().join(path).is_file() {
                let _ = writeln!(wrong, "{what}: no file {path}");
            }
        }
        let (named, functions) = (quoted(&row.shown_by, '"'), quoted(&row.shown_by, '`'));
        if quoted(&row.enforced, '`').is_empty() || named.is_empty() && functions.is_empty() {
            let _ = writeln!(wrong, "{what}: nowhere enforced or shown by nothing");
        }
        for name in named {
            match cases.iter().find(|case| case.name == name) {
                Some(case) if shows(case, row, is_numbered) => {}
                Some(_) => drop(writeln!(wrong, "{what}: another statement is shown by {name:?}")),
                None => drop(writeln!(wrong, "{what}: no case {name:?}")),
            }
        }
        for function in functions {
            let (path, name) = function.split_once("::").unwrap_or((function, ""));
            let source = fs::read_to_string(root().join(path)).unwrap_or_default();
            let is_there = match name {
                "" => !source.is_empty(),
                _ => source.contains(&format!("fn {name}(")),
            };
            if !is_there {
                let _ = writeln!(wrong, "{what}: no test {function}");
            }
        }
    }
    assert_none("docs/mqtt.md names what does not exist", &wrong);
}
