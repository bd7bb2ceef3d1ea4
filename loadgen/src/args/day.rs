//! The description of a mixed load: parts in TOML or JSON, and what the command line changes of it.

use std::path::Path;

use serde::Deserialize;

use crate::protocol::Wire;
use crate::scenario::flow::Kind;
use crate::scenario::mixed::{Does, Outline};

/// The load where no other is described.
const USUAL: &str = include_str!("day.toml");
/// Parts of a load: their numbers are a byte of the names of their connections.
const PARTS_MAX: usize = 255;

/// The whole description.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Day {
    /// Its parts.
    part: Vec<PartOfDay>,
}

/// One part as it is described.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartOfDay {
    name: String,
    kind: KindOfPart,
    /// Of the rate; relative to the others.
    share: f64,
    #[serde(default = "one")]
    groups: usize,
    #[serde(default = "one")]
    senders: usize,
    #[serde(default = "one")]
    receivers: usize,
    #[serde(default)]
    qos: u8,
    #[serde(default = "hundred")]
    payload: usize,
    /// Its senders connect where web pages do.
    #[serde(default)]
    web: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindOfPart {
    Topic,
    Direct,
    Api,
}

fn one() -> usize {
    1
}

fn hundred() -> usize {
    100
}

/// What a description is turned into a load with.
#[derive(Clone, Copy, Debug)]
pub struct Means<'a> {
    /// Sends per second of all parts together.
    pub rate_hz: f64,
    /// The app that Direct messages and requests go to.
    pub app: &'a str,
    /// What is spoken, and the place of the endpoint, by who is no web page.
    pub usual: (Wire, usize),
    /// The same by web pages.
    pub web: (Wire, usize),
}

impl Day {
    /// Reads the description in a file, JSON if its name ends so, else TOML; without a file the usual one.
    ///
    /// # Errors
    /// A sentence with the file and what is wrong in it.
    pub fn read(file: Option<&Path>) -> Result<Self, String> {
        let Some(file) = file else {
            return toml::from_str(USUAL).map_err(|error| error.to_string());
        };
        let said = |error: &dyn std::fmt::Display| format!("--day {}: {error}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| said(&error))?;
        if file.extension().is_some_and(|extension| extension == "json") {
            serde_json::from_str(&text).map_err(|error| said(&error))
        } else {
            toml::from_str(&text).map_err(|error| said(&error))
        }
    }

    /// Changes shares, each `NAME=N`.
    ///
    /// # Errors
    /// A sentence with what is not of that form, or names no part.
    pub fn change(&mut self, shares: &[String]) -> Result<(), String> {
        for change in shares {
            let parsed = change
                .split_once('=')
                .and_then(|(name, share)| Some((name, share.parse::<f64>().ok()?)));
            let (name, share) = parsed.ok_or_else(|| format!("--share {change}: expected NAME=N"))?;
            let names = || {
                self.part
                    .iter()
                    .map(|part| part.name.as_str())
                    .collect::<Vec<_>>()
            };
            let known = names().join(", ");
            let part = self.part.iter_mut().find(|part| part.name == name);
            part.ok_or_else(|| format!("--share {change}: the parts are {known}"))?
                .share = share;
        }
        Ok(())
    }

    /// The parts of the load. Those without a share are left out.
    ///
    /// # Errors
    /// A sentence with the part and what cannot be.
    pub fn outlines(&self, means: &Means<'_>) -> Result<Vec<Outline>, String> {
        let all: f64 = self.part.iter().map(|part| part.share).sum();
        let mut outlines: Vec<Outline> = Vec::new();
        for part in &self.part {
            let wrong = |what: &str| Err(format!("part {}: {what}", part.name));
            if !part.share.is_finite() || part.share < 0.0 {
                return wrong("its share must be 0 or more");
            }
            if part.share == 0.0 {
                continue;
            }
            if part.groups == 0 || part.senders == 0 || part.receivers == 0 {
                return wrong("groups, senders and receivers must be 1 or more");
            }
            if part.qos > 2 {
                return wrong("qos is 0, 1 or 2");
            }
            if part.kind == KindOfPart::Direct && part.receivers != 1 {
                return wrong("a Direct message has one receiver");
            }
            if outlines.iter().any(|other| other.name == part.name) {
                return wrong("another one has its name");
            }
            let app = means.app.to_owned();
            outlines.push(Outline {
                name: part.name.clone(),
                does: match part.kind {
                    KindOfPart::Topic => Does::Flow(Kind::Topic),
                    KindOfPart::Direct => Does::Flow(Kind::Direct { app }),
                    KindOfPart::Api => Does::Api {
                        app,
                        cmd: format!("load-{}", part.name),
                    },
                },
                rate_hz: means.rate_hz * part.share / all,
                groups: part.groups,
                senders: part.senders,
                receivers: part.receivers,
                qos: part.qos,
                payload_bytes: part.payload,
                from: if part.web { means.web } else { means.usual },
            });
        }
        match outlines.len() {
            0 => Err("no part has a share".into()),
            1..=PARTS_MAX => Ok(outlines),
            _ => Err(format!("more than {PARTS_MAX} parts")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Version;

    const MEANS: Means<'_> = Means {
        rate_hz: 1_000.0,
        app: "bench",
        usual: (Wire::Mqtt(Version::V5), 0),
        web: (Wire::Xmpp, 1),
    };

    #[test]
    fn the_usual_day_shares_the_rate_among_its_parts() {
        let mut day = Day::read(None).unwrap();
        let rates = |day: &Day| {
            let outlines = day.outlines(&MEANS).unwrap();
            let rates = outlines.into_iter().map(|part| (part.name, part.rate_hz));
            rates.collect::<Vec<_>>()
        };
        let usual = rates(&day);
        assert_eq!(usual[0], ("telemetry".into(), 600.0));
        assert!((usual.iter().map(|part| part.1).sum::<f64>() - 1_000.0).abs() < 1e-6);
        day.change(&["telemetry=0".into(), "calls=15".into()]).unwrap();
        let changed = rates(&day);
        assert_eq!((changed.len(), &changed[0].1), (4, &400.0));
        let calls = day.outlines(&MEANS).unwrap().pop().unwrap();
        assert_eq!((calls.rate_hz, calls.from), (300.0, MEANS.web));
    }

    #[test]
    fn what_cannot_be_is_said() {
        let mut day = Day::read(None).unwrap();
        for (change, said) in [
            ("calls", "expected"),
            ("calls=x", "expected"),
            ("cals=1", "telemetry, readings"),
        ] {
            let error = day.change(&[change.into()]).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        for (text, said) in [
            ("name='a'\nkind='topic'\nshare=-1", "share"),
            ("name='a'\nkind='topic'\nshare=0", "no part"),
            ("name='a'\nkind='topic'\nshare=1\nqos=3", "qos"),
            ("name='a'\nkind='topic'\nshare=1\nsenders=0", "senders"),
            ("name='a'\nkind='direct'\nshare=1\nreceivers=2", "one receiver"),
            (
                "name='a'\nkind='topic'\nshare=1\n[[part]]\nname='a'\nkind='api'\nshare=1",
                "its name",
            ),
        ] {
            let day: Day = toml::from_str(&format!("[[part]]\n{text}")).unwrap();
            let error = day.outlines(&MEANS).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        assert!(toml::from_str::<Day>("[[part]]\nname='a'\nkind='topic'\nshare=1\nshares=1").is_err());
    }
}
