//! Who stands in a list of subscribers, and how.

use crate::route::identity::{Role, Sender, Uid};
use crate::route::message::{Qos, RetainHandling, SenderPattern, SessionKey, SubscriptionOptions};
use crate::route::sessions::{NONE, id};

/// One session's interest in one filter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscriber {
    slot: u32,
    generation: u32,
    /// What few subscriptions have; see [`Detail`].
    pub(super) detail: u32,
    pub(super) form: u8,
    flags: u8,
    qos: Qos,
}

const NO_LOCAL: u8 = 1;
const RETAIN_AS_PUBLISHED: u8 = 2;

impl Subscriber {
    pub(super) fn new(key: SessionKey, options: &SubscriptionOptions, detail: u32) -> Self {
        let no_local = if options.no_local { NO_LOCAL } else { 0 };
        let retain = if options.retain_as_published {
            RETAIN_AS_PUBLISHED
        } else {
            0
        };
        Self {
            slot: key.slot,
            generation: key.generation,
            detail,
            form: options.form,
            flags: no_local | retain,
            qos: options.qos,
        }
    }

    pub(super) const fn key(&self) -> SessionKey {
        SessionKey {
            slot: self.slot,
            generation: self.generation,
        }
    }

    pub(super) const fn no_local(&self) -> bool {
        self.flags & NO_LOCAL != 0
    }

    /// Two subscriptions of one session and form as one: the highest QoS.
    pub(super) fn or(self, other: &Self) -> Self {
        let retain = (self.flags | other.flags) & RETAIN_AS_PUBLISHED;
        Self {
            flags: retain | (self.flags & NO_LOCAL),
            qos: self.qos.max(other.qos),
            ..self
        }
    }

    /// The options as they were given, but for the identifier and what held for the moment it was made.
    pub(super) const fn options(&self, identifier: u32) -> SubscriptionOptions {
        SubscriptionOptions {
            qos: self.qos,
            no_local: self.no_local(),
            retain_as_published: self.flags & RETAIN_AS_PUBLISHED != 0,
            retained: RetainHandling::Never,
            identifier,
            form: self.form,
        }
    }
}

/// An identifier or a pattern of senders.
#[derive(Debug, Default)]
pub(super) struct Detail {
    pub(super) identifier: u32,
    pub(super) pattern: Option<Box<Pattern>>,
}

/// [`SenderPattern`], owned.
#[derive(Debug)]
pub(crate) struct Pattern {
    app: Option<Box<str>>,
    uid: Option<Uid>,
    role: Option<Role>,
    resource: Option<Box<str>>,
}

impl Pattern {
    /// `None` if any sender will do.
    pub(crate) fn of(pattern: &SenderPattern<'_>) -> Option<Box<Self>> {
        (*pattern != SenderPattern::default()).then(|| {
            Box::new(Self {
                app: pattern.app.map(Into::into),
                uid: pattern.uid,
                role: pattern.role,
                resource: pattern.resource.map(Into::into),
            })
        })
    }

    /// Bytes of its texts.
    pub(super) fn text_bytes(&self) -> usize {
        let len = |text: &Option<Box<str>>| text.as_deref().map_or(0, str::len);
        len(&self.app) + len(&self.resource)
    }

    pub(crate) fn admits(&self, sender: &Sender<'_>) -> bool {
        self.app.as_deref().is_none_or(|app| app == sender.app())
            && self.role.is_none_or(|role| role == sender.role())
            && self.uid.is_none_or(|uid| uid == sender.uid())
            && self
                .resource
                .as_deref()
                .is_none_or(|resource| resource == sender.resource())
    }

    pub(crate) fn borrowed(&self) -> SenderPattern<'_> {
        SenderPattern {
            app: self.app.as_deref(),
            uid: self.uid,
            role: self.role,
            resource: self.resource.as_deref(),
        }
    }
}

impl Detail {
    pub(super) fn pattern(&self) -> SenderPattern<'_> {
        self.pattern
            .as_deref()
            .map_or_else(SenderPattern::default, Pattern::borrowed)
    }

    pub(super) fn admits(&self, sender: &Sender<'_>) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| pattern.admits(sender))
    }
}

/// All who subscribed to one filter.
#[derive(Debug)]
pub(super) struct List {
    pub(super) text: Box<str>,
    pub(super) subscribers: Subscribers,
}

/// Most channels of a fleet have one subscriber: no allocation for that.
#[derive(Debug)]
pub(super) enum Subscribers {
    One(Subscriber),
    Many(Box<Crowd>),
}

/// Several subscribers.
#[derive(Debug)]
pub(super) struct Crowd {
    all: Vec<Subscriber>,
    /// Subscriptions with a pattern.
    patterned: u32,
    /// See [`Subscribers::groups`].
    groups: u32,
}

impl Subscribers {
    pub(super) fn as_slice(&self) -> &[Subscriber] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => &many.all,
        }
    }

    /// Whether one session may stand here twice in one form.
    pub(super) fn may_repeat(&self) -> bool {
        match self {
            Self::One(_) => false,
            Self::Many(many) => many.patterned > 0,
        }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [Subscriber] {
        match self {
            Self::One(one) => std::slice::from_mut(one),
            Self::Many(many) => &mut many.all,
        }
    }

    /// Removes the last one left.
    pub(super) fn clear(&mut self) {
        match self {
            Self::One(_) => *self = Self::none(),
            Self::Many(many) => (many.all, many.patterned) = (Vec::new(), 0),
        }
    }

    /// Nobody: the filter is there for groups alone.
    pub(super) fn none() -> Self {
        Self::Many(Box::new(Crowd {
            all: Vec::new(),
            patterned: 0,
            groups: NONE,
        }))
    }

    /// Groups that share the filter and are at home here: where they stand, or [`NONE`].
    pub(super) fn groups(&self) -> u32 {
        match self {
            Self::One(_) => NONE,
            Self::Many(many) => many.groups,
        }
    }

    pub(super) fn set_groups(&mut self, groups: u32, is_patterned: impl Fn(&Subscriber) -> bool) {
        if let Self::One(one) = self {
            *self = Self::Many(Box::new(Crowd {
                all: vec![*one],
                patterned: u32::from(is_patterned(one)),
                groups: NONE,
            }));
        }
        if let Self::Many(many) = self {
            many.groups = groups;
        }
    }

    pub(super) fn push(&mut self, subscriber: Subscriber, is_patterned: impl Fn(&Subscriber) -> bool) -> u32 {
        match self {
            Self::One(one) => {
                let all = vec![*one, subscriber];
                let patterned = all
                    .iter()
                    .map(|subscriber| u32::from(is_patterned(subscriber)))
                    .sum();
                *self = Self::Many(Box::new(Crowd {
                    all,
                    patterned,
                    groups: NONE,
                }));
                1
            }
            Self::Many(many) => {
                many.patterned += u32::from(is_patterned(&subscriber));
                many.all.push(subscriber);
                id(many.all.len() - 1)
            }
        }
    }

    /// Removes one, not the last; the last one takes its place.
    pub(super) fn swap_remove(&mut self, index: usize, is_patterned: bool) {
        if let Self::Many(many) = self {
            if index < many.all.len() {
                many.all.swap_remove(index);
                many.patterned -= u32::from(is_patterned);
            }
            if let &[one] = many.all.as_slice()
                && many.groups == NONE
            {
                *self = Self::One(one);
            } else if many.all.len() * 4 < many.all.capacity() {
                many.all.shrink_to(many.all.len() * 2);
            }
        }
    }
}
