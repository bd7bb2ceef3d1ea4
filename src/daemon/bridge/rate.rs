//! How many requests an address may send: a bucket each, in a table of bounded size.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use ahash::RandomState;

use crate::limits;
use crate::time::Instant;

/// What an address has left.
#[derive(Debug)]
struct Bucket {
    /// Requests, in thousandths.
    left: u64,
    filled: Instant,
}

const FULL: u64 = limits::BRIDGE_BURST_MAX as u64 * 1_000;

impl Bucket {
    fn fill(&mut self, now: Instant) {
        let ms = u64::try_from((now - self.filled).as_millis()).unwrap_or(u64::MAX);
        self.filled = now;
        let more = ms.saturating_mul(limits::BRIDGE_REQUESTS_PER_S.into());
        self.left = self.left.saturating_add(more).min(FULL);
    }
}

/// The buckets of all addresses.
#[derive(Debug)]
pub(super) struct Rates {
    buckets: HashMap<IpAddr, Bucket, RandomState>,
    addresses_max: usize,
}

impl Rates {
    pub(super) fn new(addresses_max: usize) -> Self {
        Self {
            buckets: HashMap::default(),
            addresses_max,
        }
    }

    /// Whether a request of `peer` is within its rate.
    pub(super) fn admits(&mut self, now: Instant, peer: IpAddr) -> bool {
        let peer = network(peer);
        if !self.buckets.contains_key(&peer) && self.buckets.len() >= self.addresses_max {
            // Who has been silent for long enough is as good as unknown.
            self.buckets.retain(|_, bucket| {
                bucket.fill(now);
                bucket.left < FULL
            });
            if self.buckets.len() >= self.addresses_max {
                return false;
            }
        }
        let bucket = self.buckets.entry(peer).or_insert(Bucket {
            left: FULL,
            filled: now,
        });
        bucket.fill(now);
        match bucket.left.checked_sub(1_000) {
            Some(left) => {
                bucket.left = left;
                true
            }
            None => false,
        }
    }
}

/// What one peer has many addresses of: of IPv6, the first 64 bits.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Requests that are let through before the first that is not.
    fn admitted(rates: &mut Rates, now: Instant, peer: &str) -> u32 {
        (0..).find(|_| !rates.admits(now, ip(peer))).unwrap()
    }

    #[test]
    fn a_burst_then_so_many_a_second_for_each_address() {
        let mut rates = Rates::new(10);
        let start = Instant::default();
        assert_eq!(admitted(&mut rates, start, "192.0.2.1"), limits::BRIDGE_BURST_MAX);
        assert_eq!(admitted(&mut rates, start, "192.0.2.2"), limits::BRIDGE_BURST_MAX);
        let later = start + Duration::from_millis(500);
        assert_eq!(
            admitted(&mut rates, later, "192.0.2.1"),
            limits::BRIDGE_REQUESTS_PER_S / 2
        );
        let much_later = start + Duration::from_secs(3_600);
        assert_eq!(
            admitted(&mut rates, much_later, "192.0.2.1"),
            limits::BRIDGE_BURST_MAX
        );
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_a_mapped_one_is_ipv4() {
        let mut rates = Rates::new(10);
        let now = Instant::default();
        assert_eq!(admitted(&mut rates, now, "2001:db8::1"), limits::BRIDGE_BURST_MAX);
        assert!(!rates.admits(now, ip("2001:db8::ffff:1")));
        assert!(rates.admits(now, ip("2001:db8:0:1::1")));
        assert_eq!(
            admitted(&mut rates, now, "::ffff:192.0.2.1"),
            limits::BRIDGE_BURST_MAX
        );
        assert!(!rates.admits(now, ip("192.0.2.1")));
    }

    #[test]
    fn a_full_table_takes_nobody_new_until_somebody_was_silent() {
        let mut rates = Rates::new(2);
        let start = Instant::default();
        assert!(rates.admits(start, ip("192.0.2.1")));
        assert!(rates.admits(start, ip("192.0.2.2")));
        assert!(!rates.admits(start, ip("192.0.2.3")));
        assert!(rates.admits(start, ip("192.0.2.1")), "who is known goes on");
        let later = start + Duration::from_secs(1);
        assert!(rates.admits(later, ip("192.0.2.3")));
    }
}
