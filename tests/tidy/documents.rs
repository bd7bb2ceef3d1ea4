//! What an operator reads is what there is: every metric, label and configuration key is documented, and everything
//! that is documented exists.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::{assert_none, files, read};

const OPERATIONS: &str = "docs/operations.md";

fn is_name(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

/// The name that a text begins with.
fn name_at(text: &str) -> &str {
    &text[..text.find(|c| !is_name(c)).unwrap_or(text.len())]
}

/// What a source has before its tests.
fn without_tests(path: &str) -> String {
    let mut source = read(path);
    let end = source.find("#[cfg(test)]\nmod tests").unwrap_or(source.len());
    source.truncate(end);
    source
}

/// The metrics that sources name in literals, and those of the data plane, which are named after their counters.
fn metrics() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in files("src", &[".rs"]) {
        let source = without_tests(&path);
        for (at, _) in source.match_indices("\"nexus_") {
            let name = name_at(&source[at + 1..]);
            if !name.ends_with('_') {
                found.insert(name.to_owned());
            }
        }
    }
    let stats = read("shards/src/stats.rs");
    let begin = stats.find("\nstats! {").expect("the counters of the data plane");
    for line in stats[begin..].lines().skip(2).take_while(|line| *line != "}") {
        if let Some(name) = line
            .trim()
            .strip_suffix(',')
            .filter(|name| name.chars().all(is_name))
        {
            found.insert(format!("nexus_shard_{name}"));
        }
    }
    assert!(found.len() > 80, "{found:?}");
    found
}

/// First columns of the tables of a page, without their back-ticks.
fn rows(page: &str) -> Vec<String> {
    let text = read(page);
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `"));
    cells
        .filter_map(|line| line.split_once(" |"))
        .map(|(cell, _)| cell.replace('`', ""))
        .collect()
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_exists() {
    let (exist, mut wrong) = (metrics(), String::new());
    let rows = rows(OPERATIONS);
    let described: BTreeSet<&str> = rows.iter().map(|row| name_at(row)).collect();
    for name in exist.iter().filter(|name| !described.contains(name.as_str())) {
        let _ = writeln!(wrong, "{name}: no row in {OPERATIONS}");
    }
    let mut pages = files("docs", &[".md"]);
    pages.extend(["README.md".to_owned(), "ARCHITECTURE.md".to_owned()]);
    for page in pages {
        let text = read(&page);
        for (at, _) in text.match_indices("nexus_") {
            let name = name_at(&text[at..]);
            let is_part = text[..at].ends_with(|c| is_name(c) || c == '-');
            if !is_part && !exist.contains(name) {
                let _ = writeln!(wrong, "{page}: {name} does not exist");
            }
        }
    }
    assert_none("metrics", &wrong);
}

#[test]
fn every_reason_of_a_metric_is_explained() {
    let text = read(OPERATIONS);
    let mut wrong = String::new();
    let observe = without_tests("src/observe/mod.rs");
    let begin = observe.find("    Stage {").expect("the stages");
    let end = observe.find("    ApiOutcome {").expect("the outcomes");
    let labels = observe[begin..end]
        .lines()
        .filter_map(|line| line.split_once(" = \""));
    let session = read("src/session/mod.rs");
    let ends = session.lines().filter_map(|line| {
        let (name, text) = line.trim().strip_prefix("Self::")?.split_once(" => \"")?;
        name.chars().all(char::is_alphabetic).then_some((name, text))
    });
    let mut seen = 0;
    for (_, value) in labels.chain(ends) {
        let value = name_at(value);
        seen += 1;
        if !text.contains(&format!("\"{value}\"")) && !text.contains(&format!("`{value}`")) {
            let _ = writeln!(wrong, "{value}");
        }
    }
    assert!(seen > 25, "{seen}");
    assert_none(
        "values of labels that docs/operations.md does not explain",
        &wrong,
    );
}

/// The keys of the table in `src/config/keys.rs`, with their tables: `mqtt.receive_maximum`.
fn keys() -> BTreeSet<String> {
    let source = read("src/config/keys.rs");
    let begin = source.find("const KEYS: Keys").expect("the table of keys");
    let source = &source[begin..];
    let table = &source[..source.find("\n];").expect("its end")];
    let mut open: Vec<Option<&str>> = Vec::new();
    let mut paths = BTreeSet::new();
    for (at, c) in table.char_indices() {
        match c {
            '(' => {
                let inside = table[at + 1..].trim_start();
                let name = inside.strip_prefix('"').map(name_at);
                open.push(name);
                if name.is_some() {
                    let path: Vec<&str> = open.iter().flatten().copied().collect();
                    paths.insert(path.join("."));
                }
            }
            ')' => {
                open.pop();
            }
            _ => {}
        }
    }
    let is_table = |path: &str| paths.iter().any(|other| other.starts_with(&format!("{path}.")));
    let leaves: BTreeSet<String> = paths.iter().filter(|path| !is_table(path)).cloned().collect();
    assert!(leaves.len() > 35, "{leaves:?}");
    leaves
}

#[test]
fn every_key_has_a_row_in_the_readme_and_every_row_a_key() {
    let text = read("README.md");
    let begin = text.find("\n## Configuration\n").expect("the table of keys");
    let table = &text[begin + 1..];
    let table = &table[..table.find("\n## Inside\n").expect("its end")];
    let mut described = BTreeSet::new();
    for line in table.lines().filter_map(|line| line.strip_prefix("| `")) {
        let (cell, _) = line.split_once(" |").expect("a second column");
        described.extend(cell.replace('`', "").split(", ").map(str::to_owned));
    }
    let keys = keys();
    let mut wrong = String::new();
    for key in keys.difference(&described) {
        let _ = writeln!(wrong, "{key}: no row");
    }
    for key in described.difference(&keys) {
        let _ = writeln!(wrong, "{key}: no such key");
    }
    assert_none("configuration keys and the table in README.md", &wrong);
}

/// The tests that a table of sentences names in its last column.
fn named_tests(page: &str) -> Vec<String> {
    let text = read(page);
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| ") && line.ends_with("` |"));
    let cells = rows.filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next());
    cells
        .flat_map(|cell| cell.split(", "))
        .map(|name| name.trim_matches('`').to_owned())
        .collect()
}

#[test]
fn every_sentence_about_qe_s_clients_is_shown_by_a_test_that_exists() {
    const PAGE: &str = "docs/qe-clients.md";
    let text = read(PAGE);
    let mut tests = BTreeSet::new();
    for path in files("src", &[".rs"]).into_iter().chain(files("tests", &[".rs"])) {
        let source = read(&path);
        for (at, _) in source.match_indices("#[test]") {
            let name = source[at..]
                .split_once("fn ")
                .map_or("", |(_, rest)| name_at(rest));
            tests.insert(name.to_owned());
        }
    }
    let mut wrong = String::new();
    for name in named_tests(PAGE).iter().filter(|name| !tests.contains(*name)) {
        let _ = writeln!(wrong, "{name}: no such test");
    }
    let is_sentence = |line: &&str| line.starts_with("| ") && !line.starts_with("| what ");
    for line in text
        .lines()
        .filter(is_sentence)
        .filter(|line| !line.ends_with("` |"))
    {
        let _ = writeln!(wrong, "no test: {line}");
    }
    assert!(text.lines().filter(is_sentence).count() > 35);
    assert_none("sentences of docs/qe-clients.md", &wrong);
}
