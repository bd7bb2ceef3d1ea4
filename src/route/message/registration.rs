//! What a block registers: channels, shares, listeners.

use crate::route::identity::{Role, Uid};
use crate::route::message::{Qos, Refusal};

/// Which senders a channel subscription hears; `None` is any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SenderPattern<'a> {
    /// The sender's app.
    pub app: Option<&'a str>,
    /// The sender's user.
    pub uid: Option<Uid>,
    /// The sender's role.
    pub role: Option<Role>,
    /// The sender's resource.
    pub resource: Option<&'a str>,
}

/// Subscribers of one app of whom one gets each message (MQTT 5.0, 4.8.2). In another app the same names another group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Share<'a> {
    /// The group's name.
    pub name: &'a str,
    /// The filter of channels.
    pub filter: &'a str,
    /// Whom it hears.
    pub from: SenderPattern<'a>,
    /// See [`SubscriptionOptions::form`].
    pub form: u8,
}

/// Whether a subscription is sent the retained messages that match it (MQTT 5.0, 3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    /// Each time it is made.
    Always,
    /// If it did not exist before.
    IfNew,
    /// Not at all.
    #[default]
    Never,
}

/// How a subscriber wants its deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// The most it takes.
    pub qos: Qos,
    /// Its own messages are not for it.
    pub no_local: bool,
    /// Keep the sender's retain flag.
    pub retain_as_published: bool,
    /// Whether it is sent what is retained.
    pub retained: RetainHandling,
    /// Named in each delivery; 0 is none.
    pub identifier: u32,
    /// The form its protocol delivers in. Opaque to the router, but part of a subscription's identity:
    /// the same filter in two forms is two subscriptions.
    pub form: u8,
}

/// Something a block wants to hear.
#[derive(Clone, Copy, Debug)]
pub enum Registration<'a> {
    /// Messages on the channels that match a filter (checked syntax, wildcards allowed).
    Channel {
        /// The filter.
        filter: &'a str,
        /// Whom it hears.
        from: SenderPattern<'a>,
        /// How it is served.
        options: SubscriptionOptions,
    },
    /// A share of the messages on the channels that match the filter of a group. Again: the last options win.
    Shared {
        /// The group; its filter is of checked syntax.
        share: Share<'a>,
        /// How it is served.
        options: SubscriptionOptions,
    },
    /// Requests for a command: makes the block a worker. Again: the last options win.
    Listen {
        /// The command.
        cmd: &'a str,
        /// How it is served.
        options: SubscriptionOptions,
    },
    /// Direct messages. Again: the last options win.
    Direct {
        /// How it is served.
        options: SubscriptionOptions,
    },
    /// What the daemon tells operators about itself.
    System {
        /// The filter, beginning with `$SYS`; grammar not yet checked.
        filter: &'a str,
        /// How it is served.
        options: SubscriptionOptions,
    },
    /// Messages on one channel, and to be shown to those who are there, as they are to this block: the deliveries of
    /// [`Delivery::Room`](super::Delivery::Room). The last of them, [`RoomEvent::Entered`](super::RoomEvent), may come before
    /// the completion.
    Room {
        /// The channel.
        channel: &'a str,
        /// How it is served.
        options: SubscriptionOptions,
        /// What the others are shown with it, encoded by its protocol. Opaque to the router; may be empty.
        note: &'a str,
        /// It enters, or begins anew: the others are shown to it. Else it is there already, and has another note.
        list: bool,
    },
    /// Decided by the session itself; keeps its place among the others.
    Decided(Result<Qos, Refusal>),
}

/// Something a block no longer wants to hear.
#[derive(Clone, Copy, Debug)]
pub enum Unregistration<'a> {
    /// See [`Registration::Channel`].
    Channel {
        /// The filter.
        filter: &'a str,
        /// Whom it heard.
        from: SenderPattern<'a>,
        /// The form it was registered in.
        form: u8,
    },
    /// See [`Registration::Room`].
    Room {
        /// The channel.
        channel: &'a str,
        /// The form it was registered in.
        form: u8,
    },
    /// See [`Registration::Shared`].
    Shared {
        /// The group.
        share: Share<'a>,
    },
    /// See [`Registration::Listen`].
    Listen {
        /// The command.
        cmd: &'a str,
    },
    /// See [`Registration::Direct`].
    Direct,
    /// See [`Registration::System`].
    System {
        /// The filter.
        filter: &'a str,
        /// The form it was registered in.
        form: u8,
    },
    /// Decided by the session itself: whether there was anything to end.
    Decided(Result<bool, Refusal>),
}
