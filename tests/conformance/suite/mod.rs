//! Conformance of the MQTT face: cases as data, each a sequence of what clients send and what they expect.
//!
//! The language. A file below `tests/conformance` holds `cases`; a case has a `name`, what it `shows` (clauses of each
//! version it is played in; `versions` where it is played in more), clients that always speak one version (`speaks`), and
//! `steps`. An object whose keys are versions stands for what it has under the version that is played; a step with `only`
//! is left out in the other one. With `each`, a list of texts, the steps are done once for each of them, which stands
//! where they have `$each`. Each step names one client:
//!
//! | step | what happens |
//! |---|---|
//! | `{"login": c, …}` | `c` opens a connection, sends a CONNECT with these fields, is let in; `session_present` is checked, the properties of CONNACK are not |
//! | `{"open": c}` | `c` opens a connection |
//! | `{"send": c, PACKET: {…}}` | sends a packet (and opens a connection if there is none); `packets`: several in one write; `framed`: first byte and body in hex; `bytes`: hex; `frame`: a WebSocket frame; `frame_bytes_max` cuts |
//! | `{"expect": c, PACKET: {…}}` | exactly this packet comes next; `packets`: these, in order; `each_id`, here and in `send`: one for each identifier from the first to the last |
//! | `{"expect_all": c, "packets": […]}` | these come next, in any order |
//! | `{"expect_close": c, "code": n}` | the connection ends; in 5.0 after a DISCONNECT with this code, if one is named. `close_code`: of WebSocket |
//! | `{"expect_nothing": c}` | nothing has come and nothing comes: after a round trip of PINGREQ on every connection |
//! | `{"ping": c}` | the same for `c` alone |
//! | `{"subscribe": c, "filter": f, "qos": q}` | SUBSCRIBE to one filter and its SUBACK |
//! | `{"hang_up": c}` | the connection breaks off |
//! | `{"advance_ms": n}` | time passes |
//!
//! Fields that are not named have their defaults (in CONNECT: Clean Start, no will, the Client Identifier is the
//! client's name, the account `device` and its secret; `account` names another); in what is expected they must be absent
//! or 0. `"?"` is any value, `"?x"` the same value wherever it stands, `null` none, and `"*"` among properties lets others be. A Reason String may come with any
//! packet that takes one unless the case names it. What 3.1.1 has no room for (properties, most codes) is left out there.
//! A delivery of 5.0 (but for replies) must end with the four user properties that name its sender, which are then taken off; `from` names
//! the client that it must be.

mod case;
mod client;
mod expect;
mod net;
mod packet;
mod play;
mod property;
mod steps;
mod value;
mod websocket;
mod wire;

pub(crate) use case::{Case, chosen, load, parse};
pub(crate) use net::{Account, Heard, Net, Transport};
pub(crate) use play::{play, play_all};

/// A version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// 3.1.1
    V311,
    /// 5.0
    V5,
}

impl Version {
    pub(crate) const ALL: [Self; 2] = [Self::V311, Self::V5];

    /// Its name in the files.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        }
    }

    fn is_name(text: &str) -> bool {
        Self::ALL.iter().any(|version| version.name() == text)
    }

    fn named(text: &str) -> Self {
        let found = Self::ALL.into_iter().find(|version| version.name() == text);
        found.unwrap_or_else(|| panic!("no version {text}"))
    }

    /// The Protocol Version of CONNECT (3.1.2.2).
    const fn level(self) -> u8 {
        match self {
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }
}
