//! What commands print: one JSON value, or a table.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde_json::{Map, Value};

use super::CliError;

/// The outcome of a command.
#[derive(Debug)]
pub(super) struct Output {
    /// The columns of the table, which are the keys of the objects.
    columns: &'static [&'static str],
    rows: Vec<Vec<Value>>,
    /// The outcome is a list, though it may have one entry.
    list: bool,
}

impl Output {
    /// One object.
    pub(super) fn one<const N: usize>(columns: &'static [&'static str; N], row: [Value; N]) -> Self {
        Self {
            columns,
            rows: vec![row.into()],
            list: false,
        }
    }

    /// A list of objects.
    pub(super) fn list<const N: usize>(
        columns: &'static [&'static str; N],
        rows: impl Iterator<Item = [Value; N]>,
    ) -> Self {
        Self {
            columns,
            rows: rows.map(Vec::from).collect(),
            list: true,
        }
    }

    /// Prints on standard output.
    pub(super) fn print(self, human: bool) -> Result<(), CliError> {
        let text = if human { self.table() } else { self.json() };
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")
            .and_then(|()| out.flush())
            .map_err(|error| CliError::new(format!("cannot print: {error}; check standard output")))
    }

    pub(super) fn json(self) -> String {
        let Self { columns, rows, list } = self;
        let mut objects = rows.into_iter().map(|row| {
            let fields = columns.iter().map(|key| (*key).to_owned()).zip(row);
            Value::Object(fields.collect::<Map<_, _>>())
        });
        if list {
            Value::Array(objects.collect()).to_string()
        } else {
            objects.next().unwrap_or_default().to_string()
        }
    }

    pub(super) fn table(&self) -> String {
        let head = self.columns.iter().map(|key| key.to_uppercase()).collect();
        let lines: Vec<Vec<String>> = std::iter::once(head)
            .chain(self.rows.iter().map(|row| row.iter().map(cell).collect()))
            .collect();
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for line in &lines {
            let mut padded = String::new();
            for (cell, width) in line.iter().zip(&widths) {
                // Writing to a String does not fail.
                let _ = write!(padded, "{cell:width$}  ");
            }
            text.push_str(padded.trim_end());
            text.push('\n');
        }
        text.truncate(text.trim_end().len());
        text
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
