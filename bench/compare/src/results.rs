//! The raw results of a run: a directory with a file for each row, written as soon as the row is done.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use loadgen::clock::{date_utc, unix_ns};
use serde_json::{Value, json};

/// Runs of one day in one place at most.
const RUNS_A_DAY_MAX: u32 = 1_000;

/// Where the results of a run go, and what is said of all of them.
#[derive(Debug)]
pub(crate) struct Results {
    directory: PathBuf,
    head: Value,
    histograms: bool,
}

impl Results {
    /// Makes a directory for a run below `place`: the date, with a number if there has been one that day. `histograms`:
    /// reports keep their counts of latencies, too.
    ///
    /// # Errors
    /// A sentence: what could not be made, and why.
    pub(crate) fn begin(place: &Path, conditions: Value, histograms: bool) -> Result<Self, String> {
        let date = date_utc(unix_ns());
        let fault = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
        fs::create_dir_all(place).map_err(|error| fault(place, error))?;
        for run in 1..=RUNS_A_DAY_MAX {
            let directory = match run {
                1 => place.join(&date),
                _ => place.join(format!("{date}-{run}")),
            };
            match fs::create_dir(&directory) {
                Ok(()) => {
                    let head = json!({ "date": date, "machine": machine(), "conditions": conditions });
                    return Ok(Self {
                        directory,
                        head,
                        histograms,
                    });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(fault(&directory, error)),
            }
        }
        Err(format!(
            "{}: there are {RUNS_A_DAY_MAX} runs of {date}",
            place.display()
        ))
    }

    /// Where they are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes down a row.
    ///
    /// # Errors
    /// A sentence: what could not be written, and why.
    pub(crate) fn add(&self, name: &str, mut record: Value) -> Result<(), String> {
        if !self.histograms {
            without_histograms(&mut record);
        }
        without_places(&mut record);
        let path = self.directory.join(format!("{name}.json"));
        let whole = json!({ "run": self.head, "row": record });
        let text = serde_json::to_string_pretty(&whole).map_err(|error| error.to_string())?;
        fs::write(&path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// Drops the counts of latencies, wherever they stand; percentiles stay.
fn without_histograms(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("latency_ns");
            fields.values_mut().for_each(without_histograms);
        }
        Value::Array(values) => values.iter_mut().for_each(without_histograms),
        _ => {}
    }
}

/// Leaves of the paths of temporary files, in commands, their names.
fn without_places(value: &mut Value) {
    match value {
        Value::String(text) if Path::new(text).starts_with(std::env::temp_dir()) => {
            if let Some(name) = Path::new(text).file_name() {
                *text = name.to_string_lossy().into_owned();
            }
        }
        Value::Object(fields) => fields.values_mut().for_each(without_places),
        Value::Array(values) => values.iter_mut().for_each(without_places),
        _ => {}
    }
}

/// What the figures were measured on.
fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let field = |name: &str| {
        let value = cpu
            .lines()
            .find_map(|line| line.strip_prefix(name)?.split_once(':'));
        value.map(|(_, value)| value.trim().to_owned())
    };
    let memory = read("/proc/meminfo");
    json!({
        "cpu": field("model name"),
        "family_model": [field("cpu family"), field("model\t")],
        "cores": cpu.lines().filter(|line| line.starts_with("processor")).count(),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "memory": memory.lines().next().map(|line| line.replace("MemTotal:", "").trim().to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_has_a_directory_and_each_row_a_file() {
        let place = tempfile::tempdir().unwrap();
        let written = std::env::temp_dir().join(".tmp1/report.json");
        let row =
            json!({ "rounds": [{ "latency_ns": "1:2", "latency_us": { "p50": 1 }, "command": [written] }] });
        let read = |results: &Results| -> Value {
            let text = fs::read_to_string(results.directory().join("P1.json")).unwrap();
            serde_json::from_str(&text).unwrap()
        };
        let first = Results::begin(place.path(), json!({ "rounds": 5 }), false).unwrap();
        first.add("P1", row.clone()).unwrap();
        assert_eq!(read(&first)["run"]["conditions"]["rounds"], 5);
        let expected = json!({ "latency_us": { "p50": 1 }, "command": ["report.json"] });
        assert_eq!(read(&first)["row"]["rounds"][0], expected);
        let second = Results::begin(place.path(), json!({}), true).unwrap();
        second.add("P1", row).unwrap();
        assert_eq!(read(&second)["row"]["rounds"][0]["latency_ns"], "1:2");
        assert_ne!(first.directory(), second.directory());
    }

    #[test]
    fn a_place_that_cannot_be_written_to_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let fault = Results::begin(file.path(), json!({}), false).unwrap_err();
        assert!(fault.contains(file.path().to_str().unwrap()), "{fault}");
    }
}
