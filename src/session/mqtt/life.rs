//! The session beyond its connection (3.1.1: 3.1.2.4; 5.0: 4.1): how long it lasts, and what goes on without one.
//!
//! Invariant: without a connection there are the messages, the filters for replies and a will that waits, and nothing
//! else: limits and identity are a connection's, and come with the next one.

use std::sync::Arc;
use std::time::Duration;

use super::description::{Connection, Description};
use super::left::Left;
use super::{MessageState, Rare, Session, Settings, State};
use crate::codec::mqtt::packet::{Connect, Disconnect, Version};
use crate::session::{Due, Life, Starts};
use crate::time::{Instant, Now};

/// A session that does not expire (5.0, 3.1.2.11.2); what 3.1.1 calls Clean Session 0.
pub(super) const NEVER_S: u32 = u32::MAX;

impl Session {
    /// How long the client wants its session to last, and whether it begins anew (3.1.2.4).
    pub(super) fn adopt_life(&mut self, connect: &Connect<'_>) {
        self.fresh = connect.clean;
        let asked = match connect.version {
            Version::V5 => connect.properties.session_expiry_interval_s().unwrap_or(0),
            Version::V311 if connect.clean => 0,
            Version::V311 => NEVER_S,
        };
        self.session_expiry_s = asked.min(self.settings.session_expiry_s_max);
        self.welcome.session_expiry = self.session_expiry_s != asked;
    }

    /// A DISCONNECT may change how long the session lasts (5.0, 3.14.2.2.2), but not make it last at all: false. It is what
    /// CONNECT asked for that must not have been 0, whatever was granted.
    pub(super) fn change_life(&mut self, disconnect: &Disconnect<'_>) -> bool {
        let Some(asked) = disconnect.properties.session_expiry_interval_s() else {
            return true;
        };
        let was_asked = self.session_expiry_s != 0 || self.welcome.session_expiry;
        if asked != 0 && !was_asked {
            return false;
        }
        self.session_expiry_s = asked.min(self.settings.session_expiry_s_max);
        true
    }

    pub(super) const fn lasts(&self) -> Life {
        if self.fresh && self.session_expiry_s == 0 {
            Life::Connection
        } else {
            Life::Kept { fresh: self.fresh }
        }
    }

    /// The session without the connection, if it is to last.
    pub(super) fn go_on_without(&mut self, now: Now) -> Option<Self> {
        if self.session_expiry_s == 0 {
            return None;
        }
        // Its connection broke before the client was told that it is in: what was there before goes on, and nothing was
        // left.
        if !matches!(self.state, State::Attached | State::Ended) {
            self.will = None;
        }
        let messages = self.take_exchange();
        self.state = State::Ended;
        let replies = self.rare.as_mut().map(|rare| std::mem::take(&mut rare.replies));
        let mut offline = Self::offline(&self.settings, now, messages);
        offline.version = self.version;
        offline.session_expiry_s = self.session_expiry_s;
        offline.will = self.will.take_if(|will| will.delay_s > 0);
        if let Some(replies) = replies.filter(|replies| !replies.is_empty()) {
            offline.rare.get_or_insert_default().replies = replies;
        }
        Some(offline)
    }

    fn offline(settings: &Arc<Settings>, now: Now, mut messages: Box<MessageState>) -> Self {
        messages.tell(&settings.metrics);
        Self {
            state: State::Offline,
            messages: Some(messages),
            ..Self::new(settings, super::Passwords::Refused, now)
        }
    }

    /// Takes up what an earlier connection of the session left.
    pub(super) fn take_up(&mut self, earlier: &mut Self) {
        self.welcome.session_present = true;
        self.messages = earlier.messages.take();
        let replies = earlier
            .rare
            .as_mut()
            .map(|rare| std::mem::take(&mut rare.replies));
        if let Some(replies) = replies.filter(|replies| !replies.is_empty()) {
            self.rare.get_or_insert_default().replies = replies;
        }
        // [MQTT-3.1.3-9]: who is back in time has no will to be published.
        earlier.will = None;
    }

    /// Belongs to another shard from now on.
    pub fn rehome(&mut self, settings: &Arc<Settings>) {
        self.settings = Arc::clone(settings);
    }

    fn expiry_deadline(&self) -> Option<Instant> {
        let lasts = Duration::from_secs(self.session_expiry_s.into());
        (self.session_expiry_s != NEVER_S).then(|| self.heard + lasts)
    }

    fn will_deadline(&self) -> Option<Instant> {
        let delay = |will: &Left| self.heard + Duration::from_secs(will.delay_s.into());
        self.will.as_deref().map(delay)
    }

    /// When something is due of a session without a connection.
    pub(super) fn offline_deadline(&self) -> Option<Instant> {
        match (self.will_deadline(), self.expiry_deadline()) {
            (Some(will), Some(expiry)) => Some(will.min(expiry)),
            (deadline, None) | (None, deadline) => deadline,
        }
    }

    /// What is due of it.
    pub(super) fn what_is_due(&mut self, now: Now) -> Option<Due> {
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now.instant);
        if self.state != State::Offline {
            return None;
        }
        if passed(self.expiry_deadline()) {
            return Some(Due::End);
        }
        if passed(self.will_deadline()) {
            return self.will.take().map(|will| Due::Will(will.into_will()));
        }
        None
    }

    /// What the next start has to know of it, as it is `now`.
    pub(super) fn description(&self, now: Now) -> Description<'_> {
        let connection = if self.state == State::Offline {
            let since = now.instant.saturating_since(self.heard).as_millis();
            let since = u64::try_from(since).unwrap_or(u64::MAX);
            Connection::NoneSince(now.unix_ms.saturating_sub(since))
        } else {
            Connection::At(now.unix_ms)
        };
        Description {
            version: self.version,
            session_expiry_s: self.session_expiry_s,
            connection,
            will: self.will.as_deref().map(|will| &**will),
            replies: self.rare.as_deref().map_or(&[][..], |rare| &rare.replies),
        }
    }

    /// A session that was kept over a restart; `None` if what was written down of it cannot be read.
    ///
    /// One whose connection was there when the daemon ended lost it then: it and its will wait from the first of the
    /// `starts` after that on. Of one of which that is not known both wait from now on.
    pub fn restored(
        settings: &Arc<Settings>,
        now: Now,
        starts: &Starts,
        described: &[u8],
        messages: MessageState,
    ) -> Option<Self> {
        let read = Description::read(described)?;
        let since = match read.connection {
            Connection::NoneSince(unix_ms) => Some(unix_ms),
            Connection::At(unix_ms) => starts.first_after(unix_ms),
            Connection::Unknown => None,
        };
        let away_ms = since.map_or(0, |since| now.unix_ms.saturating_sub(since));
        let left = |seconds: u32| {
            let ms = u64::from(seconds).saturating_mul(1_000).saturating_sub(away_ms);
            u32::try_from(ms.div_ceil(1_000)).unwrap_or(NEVER_S)
        };
        let mut session = Self::offline(settings, now, Box::new(messages));
        session.version = read.version;
        session.session_expiry_s = match read.session_expiry_s {
            NEVER_S => NEVER_S,
            seconds => left(seconds),
        };
        session.will = read.will.map(|mut will| {
            will.delay_s = left(will.delay_s);
            let mut will = Box::new(Left::new(*will));
            will.count(&settings.metrics);
            will
        });
        if !read.replies.is_empty() {
            session.rare = Some(Box::new(Rare {
                replies: read.replies,
                ..Rare::default()
            }));
        }
        Some(session)
    }
}
