//! Rows about parts of Nexus by themselves, which have no peer: the timer wheel and what routing allocates.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::stats::{Metric, Spread};

/// A row of figures that `nexus-parts` prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// Its name for `--only`.
    pub(crate) name: &'static str,
    title: &'static str,
    figures: &'static [Figure],
}

/// A figure, and the most that it may be.
#[derive(Clone, Copy, Debug)]
struct Figure {
    metric: Metric,
    most: f64,
}

const fn figure(name: &'static str, path: &'static str, most: f64) -> Figure {
    Figure {
        metric: Metric {
            name,
            path,
            digits: 2,
        },
        most,
    }
}

/// Every such row.
pub(crate) const PARTS: &[Part] = &[
    Part {
        name: "P12",
        title: "a million pending timers of 30 s",
        figures: &[
            figure("insert ns", "/wheel/insert_ns", 30.0),
            figure("cancel ns", "/wheel/cancel_ns", 30.0),
            figure("cancel anywhere ns", "/wheel/cancel_anywhere_ns", f64::INFINITY),
            figure("B/timer", "/wheel/bytes", 32.0),
        ],
    },
    Part {
        name: "P14",
        title: "allocations of a routed message, 10,000 after the warm-up",
        figures: &[
            figure("MQTT", "/allocations/mqtt", 0.0),
            figure("MQTT 5.0", "/allocations/mqtt-5", 0.0),
            figure("WebSocket", "/allocations/mqtt-ws", 0.0),
            figure("to 100", "/allocations/mqtt-to-100", 0.0),
            figure("across", "/allocations/mqtt-across", 0.0),
            figure("XMPP", "/allocations/xmpp", 0.0),
            figure("XMPP to 100", "/allocations/xmpp-to-100", 0.0),
            figure("XMPP across", "/allocations/xmpp-across", 0.0),
        ],
    },
];

/// Runs `nexus-parts` on a core.
///
/// # Errors
/// A sentence: what did not run, or what it printed.
pub(crate) fn measure(program: &Path, core: usize) -> Result<Value, String> {
    loadgen::engine::pin(core)?;
    let output = Command::new(program)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).map_err(|error| format!("nexus-parts: {error}: `{}`", text.trim()))
}

/// Writes one row and whether its figures are what they have to be.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write(part: &Part, rounds: &[Option<Value>], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\n{}  {}", part.name, part.title)?;
    for figure in part.figures {
        let name = figure.metric.name;
        match figure.metric.spread(rounds) {
            None => writeln!(out, "  {name:<32} not measured")?,
            Some(Spread { median, min, max }) => {
                write!(out, "  {name:<32} {median:.2} ({min:.2}-{max:.2})")?;
                let most = figure.most;
                match most.is_finite() {
                    true if median <= most => writeln!(out, "; target: at most {most}: met")?,
                    true => writeln!(out, "; target: at most {most}: missed")?,
                    false => writeln!(out)?,
                }
            }
        }
    }
    Ok(())
}

/// A row as it is kept.
pub(crate) fn record(part: &Part, rounds: &[Option<Value>]) -> Value {
    let spread = |figure: &Figure| {
        let spread = figure.metric.spread(rounds);
        (figure.metric.name.to_owned(), json!(spread))
    };
    let figures: serde_json::Map<String, Value> = part.figures.iter().map(spread).collect();
    json!({ "row": part.name, "title": part.title, "median_min_max": figures, "rounds": rounds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_held_against_their_targets() {
        let round = Some(json!({ "wheel": { "insert_ns": 20.0, "cancel_ns": 31.0 } }));
        let mut out = Vec::new();
        write(&PARTS[0], &[round.clone(), None, round], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("20.00 (20.00-20.00); target: at most 30: met"),
            "{text}"
        );
        assert!(
            text.contains("31.00 (31.00-31.00); target: at most 30: missed"),
            "{text}"
        );
        assert!(
            text.contains("B/timer") && text.contains("not measured"),
            "{text}"
        );
    }
}
