//! What a peer leaves behind: sessions, wills, retained messages, messages that wait. Each goes up to its bound, is refused or
//! dropped and counted beyond it, and is there for others as before.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{ANSWER_MAX, Lasting, Watch, code};
use crate::harness::matrix::SHARD_COUNTS;
use crate::harness::mqtt::{self, Raw};
use crate::harness::{Account, Net, Options, eventually, http, parallel};

/// Subscribes to one filter with QoS 1.
#[track_caller]
fn hear(raw: &mut Raw, filter: &str) {
    raw.send(&mqtt::subscribe(5, 1, filter));
    let suback = raw.packet();
    assert_eq!((suback.first, suback.body.last()), (0x90, Some(&1)));
}

/// Publishes with QoS 1; the reason code of the PUBACK.
#[track_caller]
fn publish(raw: &mut Raw, topic: &str, retain: bool, payload: &[u8]) -> u8 {
    let mut publish = mqtt::publish(topic, Some(1), Some(&[]), payload);
    publish[0] |= u8::from(retain);
    raw.send(&publish);
    code(&raw.packet())
}

/// The next packet, which is a PUBLISH of QoS 1 with this payload, acknowledged.
#[track_caller]
fn take(raw: &mut Raw, payload: &[u8]) {
    let message = raw.packet();
    assert_eq!(message.first & 0xF6, 0x32, "{message:?}");
    assert!(message.body.ends_with(payload), "{message:?}, not {payload:?}");
    let at = 2 + usize::from(u16::from_be_bytes([message.body[0], message.body[1]]));
    raw.send(&mqtt::packet(0x40, &message.body[at..at + 2]));
}

/// More sessions than any bound of these tests.
const LEFT_MAX: usize = 500;

/// Begins sessions that last, a few at a time, and leaves them, until each of those who do it is refused; how many.
fn leave_sessions(net: &Net, account: &Account) -> usize {
    let begun = AtomicUsize::new(0);
    parallel(&[0, 1, 2, 3], |&_who| {
        loop {
            let number = begun.fetch_add(1, Ordering::Relaxed);
            assert!(number < LEFT_MAX, "nobody is refused");
            let (mut raw, connack) = Lasting::new(account, &format!("left{number}")).open(net);
            match connack.connack_code() {
                0 => {}
                refused => {
                    assert_eq!(refused, 0x97);
                    raw.assert_closed();
                    return;
                }
            }
        }
    });
    begun.load(Ordering::Relaxed) - 4
}

#[test]
fn sessions_without_end_are_refused_beyond_their_bound_and_who_has_one_comes_back() {
    let cases: Vec<(usize, &str, usize)> = SHARD_COUNTS
        .iter()
        .flat_map(|&shards| {
            [
                // One is of another account.
                (shards, "sessions_max = 121", 120),
                (shards, "sessions_per_account_max = 120", 120),
            ]
        })
        .collect();
    parallel(&cases, |&(shards, bound, most)| {
        let net = Net::start(&Options::shards(shards).config(&format!("[mqtt]\n{bound}\n")));
        let app = net.app();
        let (hoarder, other) = (app.account("owner"), app.account("user"));
        let metric = |name: &str| http::metric(net.daemon().http, name);
        let mut watch = Watch::new(&net, &other, "watch");
        let device = Lasting::new(&other, "device");
        let (mut raw, _) = device.come(&net);
        hear(&mut raw, "to/device");
        drop(raw);
        let left = leave_sessions(&net, &hoarder);
        // Two shards that grant the last place at one moment both do.
        assert!((most..most + 4).contains(&left), "{left}");
        assert_eq!(metric("nexus_logins_denied_total"), 4);
        eventually("nobody holds a connection", || {
            metric("nexus_sessions_offline") == left as u64 + 1
        });
        watch.ask();
        let clean_session_0 = |account: &Account, resource: &str| {
            let mut connect = mqtt::connect(4, account, resource);
            // Clean Session lies behind the protocol's name and level.
            let flags = connect.windows(5).position(|five| five == b"MQTT\x04").unwrap() + 5;
            connect[flags] &= !2;
            let mut raw = Raw::open(net.daemon().mqtt);
            raw.send(&connect);
            raw.packet().connack_code()
        };
        assert_eq!(clean_session_0(&hoarder, "one more"), 3, "3.1.1: unavailable");
        // A session that ends with its connection takes no place.
        let mut raw = Raw::login(net.daemon().mqtt, 5, &other, "passing");
        assert_eq!(publish(&mut raw, "to/device", false, b"while away"), 0);
        let (mut raw, was_there) = device.come(&net);
        assert!(was_there);
        take(&mut raw, b"while away");
        let new = |account: &Account| Lasting::new(account, "new").open(&net).1.connack_code();
        let of_all = bound.starts_with("sessions_max");
        assert_eq!(new(&other), if of_all { 0x97 } else { 0 });
        assert_eq!(new(&hoarder), 0x97);
        for number in 0..=left - most {
            Raw::login(net.daemon().mqtt, 5, &hoarder, &format!("left{number}"));
        }
        eventually("a session that ended makes room", || new(&hoarder) == 0);
        watch.ask();
        assert!(watch.longest < ANSWER_MAX, "{:?}", watch.longest);
    });
}

#[test]
fn mqtt5_3_4_2_1_the_store_of_retained_messages_is_filled_and_goes_on_at_its_bound() {
    let cases: Vec<(usize, &str)> = SHARD_COUNTS
        .iter()
        .flat_map(|&shards| {
            [
                (shards, "retained_max = 201"),
                (shards, "retained_bytes_max = 300000"),
            ]
        })
        .collect();
    parallel(&cases, |&(shards, bound)| {
        let net = Net::start(&Options::shards(shards).config(&format!("[channels]\n{bound}\n")));
        let app = net.app();
        let (hoarder, other) = (app.account("owner"), app.account("user"));
        let address = net.daemon().http;
        let metric = |name: &str| http::metric(address, name);
        let mut device = Raw::login(net.daemon().mqtt, 5, &other, "device");
        let mut display = Raw::login(net.daemon().mqtt, 5, &other, "display");
        hear(&mut display, "state/#");
        assert_eq!(publish(&mut device, "state/lamp", true, b"off"), 0);
        take(&mut display, b"off");
        // From several connections, and so from all shards.
        let mut flood: Vec<Raw> = (0..4)
            .map(|n| Raw::login(net.daemon().mqtt, 5, &hoarder, &format!("hoarder{n}")))
            .collect();
        let (mut taken, mut refused) = (0, 0);
        for n in 0..400 {
            let raw = &mut flood[n % 4];
            match publish(raw, &format!("hoard/{n}"), true, &[b'x'; 2_000]) {
                // Retained, and nobody hears it now.
                0x10 => taken += 1,
                0x97 => refused += 1,
                other => panic!("{other:#x} for message {n}"),
            }
        }
        let by_bytes = bound.starts_with("retained_bytes_max");
        if by_bytes {
            assert!((100..150).contains(&taken), "{taken} of 2,000 bytes");
            assert!(metric("nexus_retained_bytes") <= 300_000);
        } else {
            assert_eq!(taken, 200);
        }
        assert_eq!(metric("nexus_retained_messages"), taken + 1);
        assert_eq!(http::drops(address, "retained", "quota"), refused);
        // Another account's messages pass; what it has retained may change, but not grow beyond the bound.
        assert_eq!(publish(&mut device, "state/lamp", false, b"blinks"), 0);
        take(&mut display, b"blinks");
        assert_eq!(publish(&mut device, "state/lamp", true, b"on "), 0);
        take(&mut display, b"on ");
        assert_eq!(publish(&mut device, "state/door", true, &[b'y'; 2_500]), 0x97);
        take(&mut display, &[b'y'; 2_500]);
        let large = [b'z'; 4_000];
        let grown = publish(&mut device, "state/lamp", true, &large);
        take(&mut display, &large);
        assert_eq!(grown, if by_bytes { 0x97 } else { 0 });
        let mut later = Raw::login(net.daemon().mqtt, 5, &other, "later");
        hear(&mut later, "state/#");
        take(&mut later, if by_bytes { b"on " } else { &large });
        // What is removed makes room, for anybody.
        for n in [0, 1] {
            assert_eq!(publish(&mut flood[2], &format!("hoard/{n}"), true, b""), 0x10);
        }
        assert_eq!(publish(&mut device, "state/door", true, b"shut"), 0);
        take(&mut display, b"shut");
        take(&mut later, b"shut");
    });
}

#[test]
fn an_account_that_retains_all_it_may_leaves_room_for_others() {
    let cases: Vec<(usize, &str)> = SHARD_COUNTS
        .iter()
        .flat_map(|&shards| {
            [
                (shards, "retained_per_account_max = 50"),
                (shards, "retained_bytes_per_account_max = 100000"),
            ]
        })
        .collect();
    parallel(&cases, |&(shards, bound)| {
        let options = Options::shards(shards).config(&format!("[channels]\n{bound}\n"));
        let mut net = Net::start(&options);
        let app = net.app();
        let (hoarder, other) = (app.account("owner"), app.account("user"));
        let login = |net: &Net, account: &Account, resource: &str| {
            Raw::login(net.daemon().mqtt, 5, account, resource)
        };
        // From several connections, and so from all shards.
        let mut flood: Vec<Raw> = (0..4)
            .map(|n| login(&net, &hoarder, &format!("hoarder{n}")))
            .collect();
        let (mut taken, mut refused) = (0, 0);
        for n in 0..100 {
            match publish(&mut flood[n % 4], &format!("hoard/{n}"), true, &[b'x'; 2_000]) {
                0x10 => taken += 1,
                0x97 => refused += 1,
                other => panic!("{other:#x} for message {n}"),
            }
        }
        let most = if bound.starts_with("retained_per") { 50 } else { 47 };
        assert!((40..=most).contains(&taken), "{taken}");
        assert_eq!(http::drops(net.daemon().http, "retained", "quota"), refused);
        let mut device = login(&net, &other, "device");
        for n in 0..20 {
            assert_eq!(
                publish(&mut device, &format!("state/{n}"), true, &[b'y'; 2_000]),
                0x10
            );
        }
        // It holds over a restart, too.
        net.crash(&options);
        let mut raw = login(&net, &hoarder, "hoarder0");
        assert_eq!(publish(&mut raw, "hoard/more", true, &[b'x'; 2_000]), 0x97);
        assert_eq!(publish(&mut raw, "hoard/0", true, &[b'z'; 2_000]), 0x10);
        // Who takes over a channel frees its place.
        let mut device = login(&net, &other, "device");
        assert_eq!(publish(&mut device, "hoard/1", true, &[b'y'; 2_000]), 0x10);
        eventually("all shards know", || {
            publish(&mut raw, "hoard/more", true, &[b'x'; 2_000]) == 0x10
        });
    });
}

#[test]
fn what_waits_for_sessions_that_are_away_is_bounded_in_all() {
    parallel(&SHARD_COUNTS, |&shards| {
        let bound = 1_000_000;
        let config = format!("[mqtt]\nqueued_bytes_total_max = {bound}\n");
        let net = Net::start(&Options::shards(shards).config(&config));
        let app = net.app();
        let (hoarder, other) = (app.account("owner"), app.account("user"));
        let address = net.daemon().http;
        let metric = |name: &str| http::metric(address, name);
        let (away, messages) = (40, 50);
        let names: Vec<String> = (0..away).map(|n| format!("away{n}")).collect();
        for name in &names {
            let (mut raw, _) = Lasting::new(&hoarder, name).come(&net);
            hear(&mut raw, "news");
        }
        eventually("all are away", || metric("nexus_sessions_offline") == away);
        let mut reader = Raw::login(net.daemon().mqtt, 5, &other, "reader");
        hear(&mut reader, "news");
        let mut publisher = Raw::login(net.daemon().mqtt, 5, &hoarder, "publisher");
        let payload = |n: u64| [format!("{n:04}").into_bytes(), vec![b'x'; 1_500]].concat();
        for n in 0..messages {
            assert_eq!(publish(&mut publisher, "news", false, &payload(n)), 0);
            // Who is there and acknowledges goes on.
            take(&mut reader, &payload(n));
        }
        eventually("all that the reader has is acknowledged", || {
            metric("nexus_mqtt_in_flight") == 0
        });
        let waiting = metric("nexus_mqtt_queued_messages");
        assert!(waiting > away, "{waiting}");
        assert_eq!(
            waiting + http::drops(address, "channel", "queue_full"),
            away * messages
        );
        let held = metric("nexus_mqtt_held_bytes");
        assert!(held <= bound && held > bound * 4 / 5, "{held}");
        // What was dropped are the newest: each has the first ones, in order.
        let mut came = 0;
        for name in &names {
            let (mut raw, was_there) = Lasting::new(&hoarder, name).come(&net);
            assert!(was_there);
            raw.send(&mqtt::PINGREQ);
            let mut next = 0;
            loop {
                let packet = raw.packet();
                if packet.first == mqtt::PINGRESP {
                    break;
                }
                assert_eq!(packet.first & 0xF6, 0x32);
                assert!(packet.body.ends_with(&payload(next)), "{next} of {name}");
                next += 1;
            }
            came += next;
        }
        assert_eq!(came, waiting);
    });
}

/// So many sessions subscribe to so many filters of a kilobyte each.
const LEFT: usize = 40;
const FILTERS: usize = 150;

/// A SUBSCRIBE of 5.0 with QoS 1.
fn subscribe_to_many(session: usize) -> Vec<u8> {
    let mut body = vec![0, 1, 0];
    for n in 0..FILTERS {
        body.extend(mqtt::counted(format!("{session}/{n:04}/{}", "f".repeat(990))));
        body.push(1);
    }
    mqtt::packet(0x82, &body)
}

#[test]
fn what_sessions_that_last_subscribe_to_is_bounded_in_all() {
    parallel(&SHARD_COUNTS, |&shards| {
        let bound = 1_000_000;
        let config = format!("[channels]\nsubscription_bytes_max = {bound}\n");
        let options = Options::shards(shards).config(&config);
        let mut net = Net::start(&options);
        let app = net.app();
        let (hoarder, other) = (app.account("owner"), app.account("user"));
        let mut watch = Watch::new(&net, &other, "watch");
        let device = Lasting::new(&other, "device");
        let (mut raw, _) = device.come(&net);
        hear(&mut raw, "to/device");
        drop(raw);
        // Each shard has its part of the bound, and gets more than that.
        let (mut taken, mut refused) = (0, 0);
        for n in 0..LEFT {
            let (mut raw, _) = Lasting::new(&hoarder, &format!("left{n}")).come(&net);
            raw.send(&subscribe_to_many(n));
            let suback = raw.packet();
            for code in &suback.body[suback.body.len() - FILTERS..] {
                match code {
                    1 => taken += 1,
                    code => {
                        assert_eq!(*code, 0x97);
                        refused += 1;
                    }
                }
            }
            watch.ask();
        }
        assert_eq!(taken + refused, (LEFT * FILTERS) as u64);
        assert!((750..=1_000).contains(&taken), "{taken}");
        let metric = |net: &Net, name: &str| http::metric(net.daemon().http, name);
        assert_eq!(metric(&net, "nexus_subscriptions_refused_total"), refused);
        let held = |net: &Net| metric(net, "nexus_subscription_bytes");
        eventually("the gauge tells it", || held(&net) > bound * 4 / 5);
        assert!(held(&net) <= bound, "{}", held(&net));
        let mut old = Raw::open(net.daemon().mqtt);
        old.send(&mqtt::connect(4, &hoarder, "old"));
        assert_eq!(old.packet().connack_code(), 0);
        old.send(&mqtt::subscribe(4, 1, &"o".repeat(1_000)));
        let suback = old.packet();
        assert_eq!(
            (suback.first, suback.body.last()),
            (0x90, Some(&0x80)),
            "{suback:?}"
        );
        // Who had subscribed before is reached, and keeps it over a restart, as do those who took so much.
        let mut publisher = Raw::login(net.daemon().mqtt, 5, &other, "publisher");
        assert_eq!(publish(&mut publisher, "to/device", false, b"while away"), 0);
        net.crash(&options);
        let (mut raw, was_there) = device.come(&net);
        assert!(was_there);
        take(&mut raw, b"while away");
        eventually("all that was granted is there again", || {
            metric(&net, "nexus_subscriptions") == taken + 1
        });
        // A session that ends makes room.
        for n in 0..LEFT {
            Raw::login(net.daemon().mqtt, 5, &hoarder, &format!("left{n}"));
        }
        eventually("all is free again", || held(&net) < 1_000);
        hear(&mut raw, &"f".repeat(1_000));
        assert!(watch.longest < ANSWER_MAX, "{:?}", watch.longest);
    });
}

/// How large each will of the test of wills is.
const WILL_BYTES: usize = 60_000;

#[test]
fn mqtt_3_1_2_5_wills_are_refused_beyond_their_bound_and_may_fall_due_together() {
    parallel(&SHARD_COUNTS, |&shards| {
        let bound = 6_000_000;
        let config = format!("[mqtt]\nwill_bytes_max = {bound}\n");
        let net = Net::start(&Options::shards(shards).config(&config));
        let app = net.app();
        let (hoarder, other) = (app.account("owner"), app.account("user"));
        let metric = |name: &str| http::metric(net.daemon().http, name);
        let wills = || metric("nexus_mqtt_will_bytes");
        let mut watch = Watch::new(&net, &other, "watch");
        let device = Lasting {
            will: Some(("device/gone", &[b'd'; 1_000], 3_600)),
            ..Lasting::new(&other, "device")
        };
        let (mut raw, _) = device.come(&net);
        hear(&mut raw, "to/device");
        drop(raw);
        let payload = vec![b'w'; WILL_BYTES];
        let leave = |name: &str, delay_s: u32| {
            let leaving = Lasting {
                will: Some(("gone", &payload, delay_s)),
                ..Lasting::new(&hoarder, name)
            };
            leaving.open(&net).1.connack_code()
        };
        let (mut left, mut refused) = (Vec::new(), 0);
        // Each shard has its part of the bound, and gets more than that.
        for n in 0..200 {
            let name = format!("left{n}");
            match leave(&name, 3_600) {
                0 => left.push(name),
                code => {
                    assert_eq!(code, 0x97);
                    refused += 1;
                }
            }
        }
        watch.ask();
        let all = left.len() * WILL_BYTES;
        assert!(all <= bound && all > bound - 2 * shards * WILL_BYTES, "{all}");
        assert!((all as u64..=bound as u64).contains(&wills()), "{}", wills());
        assert_eq!(metric("nexus_logins_denied_total"), refused);
        // Who leaves no will is let in, and who has a session comes back to it, with a will in place of the earlier one.
        let mut plain = Raw::login(net.daemon().mqtt, 5, &hoarder, "plain");
        assert_eq!(publish(&mut plain, "to/device", false, b"while away"), 0);
        let (mut raw, was_there) = device.come(&net);
        assert!(was_there);
        take(&mut raw, b"while away");
        for name in &left {
            assert_eq!(leave(name, 1), 0, "{name}");
        }
        // Now they fall due within a moment of one another.
        eventually("the wills are published", || {
            watch.ask();
            wills() < 2_000
        });
        assert_eq!(metric("nexus_sessions_offline"), left.len() as u64);
        assert_eq!(leave("one more", 3_600), 0, "there is room again");
        assert!(watch.longest < ANSWER_MAX, "{:?}", watch.longest);
    });
}
