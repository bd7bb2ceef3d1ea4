//! The addresses that connections come from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Consecutive addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    first: IpAddr,
    count: u64,
}

impl Range {
    fn nth(&self, at: u64) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => {
                let at = u32::try_from(at).unwrap_or(0);
                Ipv4Addr::from_bits(first.to_bits().wrapping_add(at)).into()
            }
            IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits().wrapping_add(at.into())).into(),
        }
    }
}

impl FromStr for Range {
    type Err = String;

    /// `ADDRESS` or `FIRST-LAST`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let address = |text: &str| text.parse::<IpAddr>().map_err(|error| format!("{text}: {error}"));
        let (first, last) = (address(first)?, address(last)?);
        let between = match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                last.to_bits().checked_sub(first.to_bits()).map(u64::from)
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                let between = last.to_bits().checked_sub(first.to_bits());
                between.and_then(|between| u64::try_from(between).ok())
            }
            _ => None,
        };
        let count = between.and_then(|between| between.checked_add(1));
        let count = count.ok_or_else(|| format!("{text}: the last address comes before the first"))?;
        Ok(Self { first, count })
    }
}

/// The addresses that connections come from, in turn.
#[derive(Clone, Debug, Default)]
pub enum Sources {
    /// The system's choice.
    #[default]
    Any,
    /// So many of the loopback, 127.0.0.2 and up, to a server that is there.
    Loopback(u32),
    /// These.
    These(Vec<Range>),
}

impl Sources {
    /// Where the `turn`-th connection, to `server`, comes from; `None`: the system's choice.
    pub fn at(&self, turn: u64, server: SocketAddr) -> Option<IpAddr> {
        match self {
            Self::Loopback(count @ 1..) if server.ip().is_loopback() && server.is_ipv4() => {
                let all = Range {
                    first: Ipv4Addr::new(127, 0, 0, 2).into(),
                    count: (*count).into(),
                };
                Some(all.nth(turn % all.count))
            }
            Self::Any | Self::Loopback(_) => None,
            Self::These(ranges) => {
                let all = ranges
                    .iter()
                    .map(|range| range.count)
                    .fold(0, u64::saturating_add);
                let mut at = turn % all.max(1);
                for range in ranges {
                    match at.checked_sub(range.count) {
                        Some(beyond) => at = beyond,
                        None => return Some(range.nth(at)),
                    }
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_in_turn_over_all_ranges() {
        let server: SocketAddr = "10.0.0.1:1".parse().unwrap();
        let ranges = ["127.0.1.254-127.0.2.1", "127.0.9.9"].map(|text| text.parse().unwrap());
        let sources = Sources::These(ranges.to_vec());
        let found: Vec<_> = (0..6)
            .map(|turn| sources.at(turn, server).unwrap().to_string())
            .collect();
        let expected = [
            "127.0.1.254",
            "127.0.1.255",
            "127.0.2.0",
            "127.0.2.1",
            "127.0.9.9",
            "127.0.1.254",
        ];
        assert_eq!(found, expected);
        let six: Range = "fd00::ffff-fd00::1:1".parse().unwrap();
        assert_eq!((six.count, six.nth(2).to_string().as_str()), (3, "fd00::1:1"));
        for wrong in ["127.0.0.2-127.0.0.1", "127.0.0.1-::1", "x", "127.0.0.1-"] {
            assert!(wrong.parse::<Range>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_loopbacks_own_are_for_servers_there() {
        let sources = Sources::Loopback(2);
        let from = |server: &str| {
            (0..3)
                .map(|turn| sources.at(turn, server.parse().unwrap()))
                .collect::<Vec<_>>()
        };
        let [first, second] = ["127.0.0.2", "127.0.0.3"].map(|text| Some(text.parse().unwrap()));
        assert_eq!(from("127.0.0.1:1"), [first, second, first]);
        assert_eq!(from("10.0.0.1:1"), [None, None, None]);
    }
}
