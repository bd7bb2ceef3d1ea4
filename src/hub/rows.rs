//! The stored form of sessions and of what they have registered.
//!
//! A session: version, the length of its address (2 bytes), the address, what its protocol says of itself; of one that has
//! ended, whose messages of groups nobody else has yet, the same with another version. A will on its way has a number of
//! its own, a third version, the address of its session, and its stored form. A registration: the key names it (the
//! session's number, a kind, a form, whom it hears, the name or filter; of a share the group, a `/`, and the filter), the
//! value says how it is served. Numbers are big endian. Rows that this version does not understand read as nothing.

use super::restoring::Row;
use crate::journal::{Journal, Table};
use crate::route::{
    LeftId, Mark, Qos, Registration, RetainHandling, Role, SenderPattern, Share, SubscriptionOptions, Uid,
    Unregistration,
};

const VERSION: u8 = 1;
/// In place of it in the row of a session that has ended.
const ENDED: u8 = 2;
/// The same in the row of a will.
const WILL: u8 = 3;

const CHANNEL: u8 = 0;
const LISTEN: u8 = 1;
const DIRECT: u8 = 2;
const SYSTEM: u8 = 3;
const SHARED: u8 = 4;

/// What a row of sessions is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A session.
    Session,
    /// One that has ended: some of its messages are on their way to others.
    Ended,
    /// The will of a session, on its way.
    Will,
}

/// Begins the row of a session.
pub(super) fn put_session(row: &mut Vec<u8>, kind: Kind, address: &str) {
    row.push(match kind {
        Kind::Session => VERSION,
        Kind::Ended => ENDED,
        Kind::Will => WILL,
    });
    // Addresses are far shorter.
    let len = u16::try_from(address.len()).unwrap_or(u16::MAX);
    row.extend_from_slice(&len.to_be_bytes());
    row.extend_from_slice(address.as_bytes());
}

/// What a session's row is about, the address in it, and what its protocol says of itself.
pub(super) fn session(row: &[u8]) -> Option<(Kind, &str, &[u8])> {
    let (&[version, a, b], rest) = row.split_first_chunk()?;
    let kind = match version {
        VERSION => Kind::Session,
        ENDED => Kind::Ended,
        WILL => Kind::Will,
        _ => return None,
    };
    let (address, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([a, b])))?;
    Some((kind, std::str::from_utf8(address).ok()?, rest))
}

/// The value of an exchange whose message went to several shards: that it was begun does not say that all who were to
/// get it have it. Who has is in rows of their own.
pub(super) const SPREAD: u8 = 1;

/// Stands among the sessions that have got the message of an exchange for the home of its channel, where it has been
/// retained, or a later one was. No session has this number.
pub(super) const RETAINED: u64 = u64::MAX;

/// The key of an exchange.
pub(super) fn exchange(mark: Mark) -> [u8; 10] {
    let mut key = [0; 10];
    let (session, exchange) = key.split_at_mut(8);
    session.copy_from_slice(&mark.session.get().to_be_bytes());
    exchange.copy_from_slice(&mark.exchange.to_be_bytes());
    key
}

/// The row that tells which sessions of a shard have got the message of an exchange: the first one is part of the key,
/// so that no row takes the place of another. `None` without any.
pub(super) fn receivers(mark: Mark, receivers: &[u64]) -> Option<Row> {
    let (first, rest) = receivers.split_first()?;
    let key = [&exchange(mark)[..], &first.to_be_bytes()].concat();
    let value: Vec<u8> = rest.iter().flat_map(|number| number.to_be_bytes()).collect();
    Some((key.into(), value.into()))
}

/// The key of the row that tells that a group has got the message of an exchange: no session has the number 0, and behind
/// it stands what [`group`] makes. It has no value.
pub(super) fn group_key(mark: Mark, group: &[u8]) -> Vec<u8> {
    [&exchange(mark)[..], &[0; 8], group].concat()
}

/// What stands for a group of an app, on any shard and after any restart.
pub(super) fn group(app: &str, share: &Share<'_>) -> Box<[u8]> {
    let mut name = shared(0, share).split_off(8);
    name.splice(0..0, app.bytes().chain([0]));
    name.into()
}

/// Who has got the message of an exchange.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Receivers {
    /// Sessions by their numbers.
    Sessions(Vec<u64>),
    /// A group, see [`group`].
    Group(Box<[u8]>),
}

/// Reads such a row, its key without the session's number: the exchange and who has got its message.
pub(super) fn received(key: &[u8], value: &[u8]) -> Option<(u16, Receivers)> {
    let (exchange, rest) = key.split_first_chunk()?;
    let (first, group) = rest.split_first_chunk()?;
    let receivers = match (u64::from_be_bytes(*first), group, value.as_chunks()) {
        (0, group, ([], [])) if !group.is_empty() => Receivers::Group(group.into()),
        (first @ 1.., [], (rest, [])) => {
            let rest = rest.iter().copied().map(u64::from_be_bytes);
            Receivers::Sessions(std::iter::once(first).chain(rest).collect())
        }
        _ => return None,
    };
    Some((u16::from_be_bytes(*exchange), receivers))
}

/// Deletes what holds a message that a session left.
pub(super) fn delete_left(journal: &mut Journal, left: LeftId) {
    let mut key = [0; 16];
    let (number, seq) = key.split_at_mut(8);
    number.copy_from_slice(&left.number.to_be_bytes());
    seq.copy_from_slice(&left.seq.to_be_bytes());
    journal.delete(Table::Outbound, &key);
}

/// The key of what a session has registered; `None` for what it decides itself.
pub(super) fn key(number: u64, registration: &Registration<'_>) -> Option<Vec<u8>> {
    match registration {
        Registration::Channel {
            filter,
            from,
            options,
        } => Some(named(number, CHANNEL, options.form, from, filter)),
        Registration::Shared { share, .. } => Some(shared(number, share)),
        Registration::Listen { cmd, .. } => Some(named(number, LISTEN, 0, &SenderPattern::default(), cmd)),
        Registration::Direct { .. } => Some(named(number, DIRECT, 0, &SenderPattern::default(), "")),
        Registration::System { filter, options } => Some(named(
            number,
            SYSTEM,
            options.form,
            &SenderPattern::default(),
            filter,
        )),
        // Of those who are in rooms none is kept.
        Registration::Room { .. } | Registration::Decided(_) => None,
    }
}

/// The key of what a session has ended.
pub(super) fn key_of_ended(number: u64, ended: &Unregistration<'_>) -> Option<Vec<u8>> {
    match ended {
        Unregistration::Channel { filter, from, form } => Some(named(number, CHANNEL, *form, from, filter)),
        Unregistration::Shared { share } => Some(shared(number, share)),
        Unregistration::Listen { cmd } => Some(named(number, LISTEN, 0, &SenderPattern::default(), cmd)),
        Unregistration::Direct => Some(named(number, DIRECT, 0, &SenderPattern::default(), "")),
        Unregistration::System { filter, form } => {
            Some(named(number, SYSTEM, *form, &SenderPattern::default(), filter))
        }
        Unregistration::Room { .. } | Unregistration::Decided(_) => None,
    }
}

fn shared(number: u64, share: &Share<'_>) -> Vec<u8> {
    let name = [share.name, "/", share.filter].concat();
    named(number, SHARED, share.form, &share.from, &name)
}

fn named(number: u64, kind: u8, form: u8, from: &SenderPattern<'_>, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(8 + 6 + name.len());
    key.extend_from_slice(&number.to_be_bytes());
    key.extend_from_slice(&[kind, form]);
    let role = from.role.map_or("", Role::as_str);
    let uid = from.uid.map(|uid| uid.to_string()).unwrap_or_default();
    for part in [from.app.unwrap_or(""), &uid, role, from.resource.unwrap_or("")] {
        key.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
        key.extend_from_slice(part.as_bytes());
    }
    key.extend_from_slice(name.as_bytes());
    key
}

/// The value of a registration: how it is served.
pub(super) fn value(registration: &Registration<'_>) -> [u8; 7] {
    let options = match registration {
        Registration::Channel { options, .. }
        | Registration::Room { options, .. }
        | Registration::Shared { options, .. }
        | Registration::Listen { options, .. }
        | Registration::Direct { options }
        | Registration::System { options, .. } => *options,
        Registration::Decided(_) => SubscriptionOptions::default(),
    };
    let qos = match options.qos {
        Qos::AtMostOnce => 0,
        Qos::AtLeastOnce => 1,
        Qos::ExactlyOnce => 2,
    };
    let flags = u8::from(options.no_local) << 2 | u8::from(options.retain_as_published) << 3;
    let [a, b, c, d] = options.identifier.to_be_bytes();
    [VERSION, qos | flags, options.form, a, b, c, d]
}

/// A registration as it was written down, its key without the session's number.
pub(super) fn registration<'a>(key: &'a [u8], value: &[u8]) -> Option<Registration<'a>> {
    let &[VERSION, flags, form, a, b, c, d] = value else {
        return None;
    };
    let options = SubscriptionOptions {
        qos: match flags & 3 {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            2 => Qos::ExactlyOnce,
            _ => return None,
        },
        no_local: flags & 4 != 0,
        retain_as_published: flags & 8 != 0,
        identifier: u32::from_be_bytes([a, b, c, d]),
        form,
        // It is not made now: what is retained was sent when it was.
        retained: RetainHandling::Never,
    };
    let (&[kind, _], mut rest) = key.split_first_chunk()?;
    let mut part = || {
        let (&len, behind) = rest.split_first()?;
        let (part, behind) = behind.split_at_checked(usize::from(len))?;
        rest = behind;
        std::str::from_utf8(part).ok()
    };
    let some = |text: &'a str| (!text.is_empty()).then_some(text);
    let (app, uid, role, resource) = (some(part()?), some(part()?), some(part()?), some(part()?));
    let from = SenderPattern {
        app,
        uid: uid.map(Uid::parse).transpose().ok()?,
        role: role.map(Role::parse).transpose().ok()?,
        resource,
    };
    let name = std::str::from_utf8(rest).ok()?;
    match kind {
        CHANNEL => Some(Registration::Channel {
            filter: name,
            from,
            options,
        }),
        SHARED => {
            let (name, filter) = name.split_once('/')?;
            let share = Share {
                name,
                filter,
                from,
                form,
            };
            Some(Registration::Shared { share, options })
        }
        LISTEN => Some(Registration::Listen { cmd: name, options }),
        DIRECT => Some(Registration::Direct { options }),
        SYSTEM => Some(Registration::System {
            filter: name,
            options,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(qos: Qos) -> SubscriptionOptions {
        SubscriptionOptions {
            qos,
            no_local: true,
            retain_as_published: true,
            identifier: 300,
            form: 1,
            retained: RetainHandling::Never,
        }
    }

    #[test]
    fn registrations_come_back_as_they_were_written_down() {
        let from = SenderPattern {
            app: Some("etest"),
            uid: Uid::parse("0123456789abcdef01234567").ok(),
            role: Some(Role::Owner),
            resource: Some("w1"),
        };
        for registration in [
            Registration::Channel {
                filter: "a/+/#",
                from,
                options: options(Qos::ExactlyOnce),
            },
            Registration::Channel {
                filter: "é",
                from: SenderPattern::default(),
                options: options(Qos::AtMostOnce),
            },
            Registration::Shared {
                share: Share {
                    name: "group",
                    filter: "a//+",
                    from,
                    form: 1,
                },
                options: options(Qos::AtLeastOnce),
            },
            Registration::Listen {
                cmd: "multiply",
                options: options(Qos::AtLeastOnce),
            },
            Registration::Direct {
                options: options(Qos::AtLeastOnce),
            },
            Registration::System {
                filter: "$SYS/#",
                options: options(Qos::AtMostOnce),
            },
        ] {
            let (key, value) = (key(7, &registration).unwrap(), value(&registration));
            assert_eq!(key[..8], 7_u64.to_be_bytes());
            let read = super::registration(&key[8..], &value).unwrap();
            assert_eq!(format!("{read:?}"), format!("{registration:?}"));
            for len in 0..key.len() - 8 {
                // Never a panic; a name that was cut reads as a shorter one.
                let _ = super::registration(&key[8..8 + len], &value);
            }
        }
        assert!(key(7, &Registration::Decided(Ok(Qos::AtMostOnce))).is_none());
    }

    #[test]
    fn what_was_ended_has_the_key_it_was_registered_with() {
        let from = SenderPattern {
            app: Some("etest"),
            ..SenderPattern::default()
        };
        let registered = Registration::Channel {
            filter: "a",
            from,
            options: options(Qos::AtLeastOnce),
        };
        let ended = Unregistration::Channel {
            filter: "a",
            from,
            form: 1,
        };
        assert_eq!(key(9, &registered), key_of_ended(9, &ended));
        let share = Share {
            name: "g",
            filter: "a",
            from,
            form: 1,
        };
        let options = options(Qos::AtLeastOnce);
        let shared = key(9, &Registration::Shared { share, options });
        assert_eq!(shared, key_of_ended(9, &Unregistration::Shared { share }));
        assert_ne!(shared, key(9, &registered));
    }

    #[test]
    fn who_has_got_a_message_comes_back_as_it_was_written_down() {
        let mark = Mark {
            session: 7.try_into().unwrap(),
            exchange: 0x102,
            again: false,
        };
        let (key, value) = receivers(mark, &[3, 5, 4]).unwrap();
        let sessions = Receivers::Sessions(vec![3, 5, 4]);
        assert_eq!(received(&key[8..], &value), Some((0x102, sessions)));
        assert!(receivers(mark, &[]).is_none());
        let share = Share {
            name: "g",
            filter: "a",
            from: SenderPattern::default(),
            form: 1,
        };
        let name = group("etest", &share);
        assert_ne!(name, group("etes", &share));
        assert_ne!(name, group("etest", &Share { form: 0, ..share }));
        let key = group_key(mark, &name);
        assert_eq!(key[..10], exchange(mark));
        assert_eq!(received(&key[8..], &[]), Some((0x102, Receivers::Group(name))));
        for (key, value) in [(&key[8..], &[1][..]), (&key[8..18], &[]), (&key[8..17], &[])] {
            assert_eq!(received(key, value), None);
        }
    }

    #[test]
    fn sessions_come_back_and_damaged_rows_are_nothing() {
        let mut row = Vec::new();
        put_session(&mut row, Kind::Ended, "a/b");
        assert_eq!(session(&row), Some((Kind::Ended, "a/b", &[][..])));
        row.clear();
        put_session(&mut row, Kind::Session, "a/b");
        row.extend_from_slice(b"rest");
        assert_eq!(session(&row), Some((Kind::Session, "a/b", &b"rest"[..])));
        assert_eq!(session(&row[..4]), None);
        row[0] = 9;
        assert_eq!(session(&row), None);
        assert!(registration(&[CHANNEL, 0], &[VERSION, 0, 0, 0, 0, 0, 0]).is_none());
        assert!(registration(&[9, 0, 0, 0, 0, 0], &[VERSION, 0, 0, 0, 0, 0, 0]).is_none());
        assert!(registration(&[CHANNEL, 0, 0, 0, 0, 0], &[VERSION, 3, 0, 0, 0, 0, 0]).is_none());
    }
}
