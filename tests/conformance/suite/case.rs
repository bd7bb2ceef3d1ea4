//! The files of cases.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use super::Version;
use super::net::Transport;
use super::value::text;

/// One sequence of steps, and what it shows.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The file's name.
    pub(crate) file: String,
    /// Its name, unique among all files.
    pub(crate) name: String,
    /// The versions it is played in.
    pub(crate) versions: Vec<Version>,
    /// Clients that always speak this one.
    pub(crate) speaks: BTreeMap<String, Version>,
    /// What may carry it.
    pub(crate) transports: Vec<Transport>,
    /// The clauses it shows, by version.
    pub(crate) clauses: Vec<(Version, String)>,
    /// What happens, for all versions and for each text that `$each` stands for.
    steps: Vec<Value>,
}

const CASE_KEYS: [&str; 8] = [
    "name",
    "shows",
    "versions",
    "speaks",
    "transport",
    "comment",
    "each",
    "steps",
];

impl Case {
    fn read(file: &str, value: &Value) -> Self {
        let name = text(&value["name"]).to_owned();
        let unknown = value
            .as_object()
            .unwrap()
            .keys()
            .find(|key| !CASE_KEYS.contains(&key.as_str()));
        assert_eq!(unknown, None, "{file}: {name}: an unknown key");
        let mut clauses = Vec::new();
        let shows = value["shows"]
            .as_object()
            .unwrap_or_else(|| panic!("{file}: {name} shows nothing"));
        for (version, list) in shows {
            for clause in list.as_array().unwrap() {
                clauses.push((Version::named(version), text(clause).to_owned()));
            }
        }
        let named = |value: &Value| -> Vec<Version> {
            value
                .as_array()
                .unwrap()
                .iter()
                .map(|version| Version::named(text(version)))
                .collect()
        };
        let versions = value.get("versions").map_or_else(
            || {
                Version::ALL
                    .into_iter()
                    .filter(|version| shows.contains_key(version.name()))
                    .collect()
            },
            named,
        );
        let transports = match value.get("transport").map(text) {
            None => vec![Transport::Tcp, Transport::WebSocket],
            Some("websocket") => vec![Transport::WebSocket],
            Some("tcp") => vec![Transport::Tcp],
            Some(other) => panic!("{file}: {name}: no transport {other}"),
        };
        Self {
            file: file.to_owned(),
            name,
            versions,
            speaks: value
                .get("speaks")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .map(|(client, version)| (client.clone(), Version::named(text(version))))
                .collect(),
            transports,
            clauses,
            steps: repeated(value),
        }
    }

    /// The steps as they are in a version: of what is written by version, its own.
    pub(crate) fn steps(&self, version: Version) -> Vec<Map<String, Value>> {
        let steps = self.steps.iter().filter_map(|step| resolved(step, version));
        let mut steps: Vec<_> = steps.map(|step| step.as_object().unwrap().clone()).collect();
        steps.retain(|step| {
            step.get("only")
                .is_none_or(|only| Version::named(text(only)) == version)
        });
        steps
    }

    /// Whether it takes time.
    pub(crate) fn takes_time(&self) -> bool {
        self.steps.iter().any(|step| step.get("advance_ms").is_some())
    }
}

/// The steps of a case, once for each text of `each` if it has that.
fn repeated(case: &Value) -> Vec<Value> {
    let steps = case["steps"].as_array().unwrap();
    let Some(each) = case.get("each") else {
        return steps.clone();
    };
    let each = each.as_array().unwrap().iter();
    each.flat_map(|one| steps.iter().map(|step| with_each(step, text(one))))
        .collect()
}

/// A value with what `$each` stands for in all of its texts.
fn with_each(value: &Value, each: &str) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace("$each", each)),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), with_each(value, each)))
            .collect(),
        Value::Array(items) => items.iter().map(|item| with_each(item, each)).collect(),
        _ => value.clone(),
    }
}

/// Replaces objects whose keys are versions by what stands under this one; `None` if nothing does.
fn resolved(value: &Value, version: Version) -> Option<Value> {
    match value {
        Value::Object(fields) if !fields.is_empty() && fields.keys().all(|key| Version::is_name(key)) => {
            resolved(fields.get(version.name())?, version)
        }
        Value::Object(fields) => Some(
            fields
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), resolved(value, version)?)))
                .collect(),
        ),
        Value::Array(items) => Some(items.iter().filter_map(|item| resolved(item, version)).collect()),
        _ => Some(value.clone()),
    }
}

/// All cases below `tests/conformance`.
pub(crate) fn load() -> Vec<Case> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    let mut cases = Vec::new();
    for path in files {
        let file = path.file_name().unwrap().to_str().unwrap();
        cases.extend(parse(file, &fs::read_to_string(&path).unwrap()));
    }
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "two cases have the same name");
    cases
}

/// All cases, or those that `NEXUS_CASE` is part of the name or file of.
pub(crate) fn chosen() -> Vec<Case> {
    let mut cases = load();
    if let Ok(wanted) = std::env::var("NEXUS_CASE") {
        cases.retain(|case| case.name.contains(&wanted) || case.file.contains(&wanted));
        assert!(!cases.is_empty(), "no case has {wanted:?} in its name");
    }
    cases
}

/// The cases of one file.
pub(crate) fn parse(file: &str, source: &str) -> Vec<Case> {
    let value: Value = serde_json::from_str(source).unwrap_or_else(|error| panic!("{file}: {error}"));
    let cases = value["cases"]
        .as_array()
        .unwrap_or_else(|| panic!("{file}: no cases"));
    cases.iter().map(|case| Case::read(file, case)).collect()
}
