//! Slows down whoever guesses: ten failures a minute per account and address, then answers are delayed.
//!
//! A guess made while throttled waits for its turn, one per [`limits::THROTTLE_SPACING_MS`]; when more wait
//! than fit before the login deadline, the rest is not decided at all. Memory is bounded: all windows are
//! equally long, so that the oldest entry is also the first to end, and it is forgotten first.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use ahash::RandomState;

use crate::limits;
use crate::time::Instant;

const WINDOW: Duration = Duration::from_millis(limits::THROTTLE_WINDOW_MS);
const SPACING: Duration = Duration::from_millis(limits::THROTTLE_SPACING_MS);
const DELAY_MAX: Duration = Duration::from_millis(limits::THROTTLE_DELAY_MS_MAX);

/// Who is counted: a seeded hash of account and address. Two that collide share a count; nobody can make
/// them collide on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Guesser(u64);

/// When a login is to be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// At once.
    Now,
    /// Not before that.
    At(Instant),
    /// Not at all: too many wait already.
    Refused,
}

#[derive(Debug)]
struct Window {
    begun: Instant,
    failures: u32,
    /// When the next guess may be decided, while throttled.
    turn: Instant,
}

/// Counts failures of logins.
#[derive(Debug)]
pub struct Throttle {
    windows: HashMap<u64, Window, RandomState>,
    /// The keys of `windows`, each once, in the order their windows began.
    order: VecDeque<u64>,
    hasher: RandomState,
    capacity: usize,
}

impl Throttle {
    /// A throttle that remembers at most `capacity` guessers; `seed` must not be known to peers.
    pub fn new(capacity: usize, seed: [u64; 4]) -> Self {
        let [a, b, c, d] = seed;
        let hasher = RandomState::with_seeds(a, b, c, d);
        Self {
            windows: HashMap::with_hasher(hasher.clone()),
            order: VecDeque::new(),
            hasher,
            capacity: capacity.max(1),
        }
    }

    /// The key under which failures of `account` from `peer` are counted. Of an IPv6 address its /64 counts,
    /// which belongs to one subscriber as a rule.
    pub fn guesser(&self, account: &str, peer: IpAddr) -> Guesser {
        let network = match peer {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(address) => IpAddr::V4(address),
                None => {
                    let [a, b, c, d, ..] = address.segments();
                    IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
                }
            },
        };
        Guesser(self.hasher.hash_one((account, network)))
    }

    /// Asks when a login may be decided. A turn that is given is taken: every call that gets
    /// [`Admission::At`] moves the next one on.
    pub fn admit(&mut self, now: Instant, guesser: Guesser) -> Admission {
        if !self.throttles(now, guesser) {
            return Admission::Now;
        }
        let Some(window) = self.windows.get_mut(&guesser.0) else {
            return Admission::Now;
        };
        let turn = window.turn.max(now) + SPACING;
        if turn - now > DELAY_MAX {
            return Admission::Refused;
        }
        window.turn = turn;
        Admission::At(turn)
    }

    /// Whether logins of this guesser have to wait.
    pub fn throttles(&self, now: Instant, guesser: Guesser) -> bool {
        self.windows.get(&guesser.0).is_some_and(|window| {
            !ended(window, now) && window.failures >= limits::LOGIN_FAILURES_PER_WINDOW_MAX
        })
    }

    /// A login was denied.
    pub fn failed(&mut self, now: Instant, guesser: Guesser) {
        self.forget_ended(now);
        if let Some(window) = self.windows.get_mut(&guesser.0) {
            window.failures = window.failures.saturating_add(1);
            return;
        }
        if self.windows.len() >= self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.windows.remove(&oldest);
        }
        self.order.push_back(guesser.0);
        self.windows.insert(
            guesser.0,
            Window {
                begun: now,
                failures: 1,
                turn: now,
            },
        );
    }

    /// Guessers remembered.
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Whether nobody failed lately.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    fn forget_ended(&mut self, now: Instant) {
        while let Some(key) = self.order.front() {
            if self.windows.get(key).is_some_and(|window| !ended(window, now)) {
                break;
            }
            self.windows.remove(key);
            self.order.pop_front();
        }
    }
}

fn ended(window: &Window, now: Instant) -> bool {
    now - window.begun >= WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::default() + Duration::from_millis(ms)
    }

    fn throttle() -> Throttle {
        Throttle::new(4, [1, 2, 3, 4])
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn fail(throttle: &mut Throttle, who: Guesser, times: u32, ms: u64) {
        for _ in 0..times {
            throttle.failed(at(ms), who);
        }
    }

    #[test]
    fn ten_failures_pass_undelayed_then_answers_are_spaced_a_second_apart() {
        let mut throttle = throttle();
        let who = throttle.guesser("a", ip("192.0.2.1"));
        fail(&mut throttle, who, 9, 0);
        assert_eq!(throttle.admit(at(0), who), Admission::Now);
        fail(&mut throttle, who, 1, 0);
        assert_eq!(throttle.admit(at(10), who), Admission::At(at(1_010)));
        assert_eq!(throttle.admit(at(10), who), Admission::At(at(2_010)));
        assert_eq!(throttle.admit(at(5_000), who), Admission::At(at(6_000)));
    }

    #[test]
    fn guesses_beyond_the_longest_delay_are_not_decided() {
        let mut throttle = throttle();
        let who = throttle.guesser("a", ip("192.0.2.1"));
        fail(&mut throttle, who, 10, 0);
        let fit = limits::THROTTLE_DELAY_MS_MAX / limits::THROTTLE_SPACING_MS;
        for turn in 1..=fit {
            let expected = Admission::At(at(turn * limits::THROTTLE_SPACING_MS));
            assert_eq!(throttle.admit(at(0), who), expected);
        }
        assert_eq!(throttle.admit(at(0), who), Admission::Refused);
        assert!(matches!(throttle.admit(at(1_000), who), Admission::At(_)));
    }

    #[test]
    fn a_minute_after_the_first_failure_the_count_begins_anew() {
        let mut throttle = throttle();
        let who = throttle.guesser("a", ip("192.0.2.1"));
        fail(&mut throttle, who, 10, 0);
        assert!(matches!(throttle.admit(at(59_999), who), Admission::At(_)));
        assert_eq!(throttle.admit(at(60_000), who), Admission::Now);
        fail(&mut throttle, who, 1, 60_000);
        assert_eq!(throttle.admit(at(60_001), who), Admission::Now);
        assert_eq!(throttle.len(), 1);
    }

    #[test]
    fn another_account_and_another_address_are_counted_apart() {
        let mut throttle = throttle();
        let who = throttle.guesser("a", ip("192.0.2.1"));
        fail(&mut throttle, who, 20, 0);
        let account = throttle.guesser("b", ip("192.0.2.1"));
        let address = throttle.guesser("a", ip("192.0.2.2"));
        assert_eq!(throttle.admit(at(1), account), Admission::Now);
        assert_eq!(throttle.admit(at(1), address), Admission::Now);
    }

    #[test]
    fn an_ipv6_network_is_one_guesser_and_a_mapped_address_is_its_ipv4_address() {
        let throttle = throttle();
        let of = |text| throttle.guesser("a", ip(text));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_is_forgotten_first() {
        let mut throttle = throttle();
        let who: Vec<Guesser> = (0..6)
            .map(|n| throttle.guesser(&format!("a{n}"), ip("::1")))
            .collect();
        for (n, who) in (0..).zip(&who) {
            fail(&mut throttle, *who, 10, n);
        }
        assert_eq!(throttle.len(), 4);
        assert_eq!(throttle.admit(at(10), who[1]), Admission::Now);
        assert!(matches!(throttle.admit(at(10), who[2]), Admission::At(_)));
        throttle.failed(at(120_000), who[0]);
        assert_eq!((throttle.len(), throttle.order.len()), (1, 1));
    }
}
