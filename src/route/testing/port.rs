//! One shard's side of its router, recording.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::route::*;
use crate::session::Ending;
use crate::time::Instant;

/// A session in the net.
pub(crate) type Block = SessionId;

/// A sender, owned.
pub(crate) type Address = String;

/// What reached a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Channel {
        channel: String,
        payload: Vec<u8>,
        /// Whether it is marked as retained.
        retain: bool,
        sender: Address,
        options: SubscriptionOptions,
        identifiers: Vec<u32>,
        /// The name of the group it came for.
        group: Option<String>,
    },
    Direct {
        text: String,
        sender: Address,
        options: SubscriptionOptions,
    },
    Request {
        token: Token,
        cmd: String,
        body: String,
        sender: Address,
    },
    Reply {
        label: Vec<u8>,
        code: i32,
        body: String,
        sender: Option<Address>,
    },
    /// The channel, and what goes on there.
    Room(String, String),
    Notice(Notice),
    End(Ending),
}

impl Got {
    fn of(delivery: &Delivery<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        match delivery {
            Delivery::Channel {
                message,
                sender,
                options,
                identifiers,
                share,
                is_shown: _,
            } => Self::Channel {
                channel: message.channel.into(),
                payload: message.payload.into(),
                retain: message.retain && options.retain_as_published,
                sender: sender.address().into(),
                options: *options,
                identifiers: identifiers.to_vec(),
                group: share.map(|share| share.name.into()),
            },
            Delivery::Direct {
                text,
                sender,
                options,
                ..
            } => Self::Direct {
                text: (*text).into(),
                sender: sender.address().into(),
                options: *options,
            },
            Delivery::Request {
                token,
                cmd,
                body,
                sender,
                ..
            } => Self::Request {
                token: *token,
                cmd: (*cmd).into(),
                body: text(body),
                sender: sender.address().into(),
            },
            Delivery::Room { channel, event } => {
                let what = match event {
                    RoomEvent::Listing => "list".into(),
                    RoomEvent::Came { sender, note } => format!("+{}{note}", sender.address()),
                    RoomEvent::Went { sender } => format!("-{}", sender.address()),
                    RoomEvent::SpeakerWent { sender } => format!("~{}", sender.address()),
                    RoomEvent::Entered => "in".into(),
                };
                Self::Room((*channel).into(), what)
            }
            Delivery::Reply { label, outcome, .. } => Self::Reply {
                label: label.to_vec(),
                code: outcome.code,
                body: text(outcome.body),
                sender: outcome.sender.map(|sender| sender.address().into()),
            },
        }
    }
}

/// One shard's side of its router.
#[derive(Debug, Default)]
pub(crate) struct FakePort {
    /// Sessions that joined and did not leave.
    pub(super) live: HashMap<SessionKey, VecDeque<Got>>,
    /// Sessions that take nothing, and why.
    pub(crate) failing: HashMap<SessionKey, Undelivered>,
    /// Sessions that write down what they take, until when nothing of it lasts.
    pub(crate) keeping: HashSet<SessionKey>,
    written: u64,
    /// What waits for that to last.
    pub(crate) held: Vec<(u16, PublishId)>,
    /// Addresses of sessions whose end does not last yet.
    pub(crate) held_addresses: Vec<AddressKey>,
    /// Sessions that got their address since the net looked.
    pub(super) attached: Vec<SessionKey>,
    /// Sessions to be ended.
    pub(super) ends: VecDeque<SessionKey>,
    pub(super) timers: BTreeMap<(Instant, u64), RouteTimer>,
    pub(super) armed: HashMap<u64, Instant>,
    next_timer: u64,
    messages: u64,
    /// Messages begun that nothing has been delivered of.
    begun: bool,
}

impl FakePort {
    fn record(&mut self, to: SessionKey, got: Got) {
        let queue = self
            .live
            .get_mut(&to)
            .unwrap_or_else(|| panic!("{got:?} for {to:?}, which left"));
        queue.push_back(got);
    }
}

impl Port for FakePort {
    fn now(&self) -> Instant {
        Instant::default()
    }

    fn begin_message(&mut self, _: crate::route::port::Receivers) {
        self.messages += 1;
        self.begun = true;
    }

    fn deliver(&mut self, to: SessionKey, delivery: &Delivery<'_>) -> Result<(), Undelivered> {
        assert!(self.begun, "a delivery outside of a message");
        if let Some(reason) = self.failing.get(&to) {
            return Err(*reason);
        }
        self.record(to, Got::of(delivery));
        self.written += u64::from(self.keeping.contains(&to));
        Ok(())
    }

    fn written(&self) -> u64 {
        self.written
    }

    fn hold(&mut self, origin: u16, publish: PublishId) {
        self.held.push((origin, publish));
    }

    fn is_kept(&mut self, session: SessionKey) -> bool {
        self.keeping.contains(&session)
    }

    fn hold_address(&mut self, address: AddressKey) {
        self.held_addresses.push(address);
    }

    fn notify(&mut self, to: SessionKey, notice: Notice) {
        if notice == Notice::Attached {
            self.attached.push(to);
        }
        self.record(to, Got::Notice(notice));
    }

    fn end(&mut self, session: SessionKey, ending: Ending) {
        self.record(session, Got::End(ending));
        self.ends.push_back(session);
    }

    fn arm(&mut self, at: Instant, timer: RouteTimer) -> TimerHandle {
        self.next_timer += 1;
        self.timers.insert((at, self.next_timer), timer);
        self.armed.insert(self.next_timer, at);
        TimerHandle(self.next_timer)
    }

    fn cancel(&mut self, timer: TimerHandle) {
        if let Some(at) = self.armed.remove(&timer.0) {
            self.timers.remove(&(at, timer.0));
        }
    }
}
