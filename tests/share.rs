//! Shared subscriptions (MQTT 5.0, 4.8.2, and for 3.1.1) with third-party clients: who gets what, what becomes of it if a
//! member ends, and what a crash leaves of a group.

use serde_json::json;

use crate::harness::matrix::{MQTTJS_5, MQTTJS_311, PAHO_5, PAHO_311, SHARD_COUNTS};
use crate::harness::mqtt::{self, Raw};
use crate::harness::{Account, Client, Connect, Event, Net, Options, Publish, each_shard_count, parallel};

/// How many of `total` messages each client gets.
#[track_caller]
fn shares(clients: &[&Client], total: usize) -> Vec<usize> {
    let mut shares = vec![0; clients.len()];
    for _ in 0..total {
        let (place, ()) = Client::first_of(clients, "share", |_, event| {
            matches!(event, Event::Message(_)).then_some(())
        });
        shares[place] += 1;
    }
    shares
}

/// Publishes numbers at QoS 1, each acknowledged.
#[track_caller]
fn say(from: &Client, channel: &str, numbers: std::ops::Range<usize>) {
    for n in numbers {
        assert_eq!(from.publish_acked(Publish::new(channel, n.to_string())), 0);
    }
}

#[test]
fn mqtt5_4_8_2_members_of_both_versions_take_turns() {
    each_shard_count(|net| {
        let app = net.app();
        let channel = format!("share/{}", app.name);
        let members: Vec<Client> = [PAHO_5, PAHO_311, MQTTJS_5, MQTTJS_311]
            .iter()
            .map(|&form| net.connect(form, &app.account("user"), "m"))
            .collect();
        for member in &members {
            member.hear(&format!("$share/g/{channel}"), 1);
        }
        let plain = net.connect(PAHO_5, &app.account("user"), "p");
        plain.hear(&channel, 1);
        let publisher = net.connect(MQTTJS_5, &app.account("owner"), "s");
        say(&publisher, &channel, 0..40);
        let members: Vec<&Client> = members.iter().collect();
        assert_eq!(shares(&members, 40), [10; 4]);
        assert_eq!(shares(&[&plain], 40), [40], "who subscribes alone gets all");
        // One goes by UNSUBSCRIBE, one with its connection.
        let codes = members[0].unsubscribe(&[&format!("$share/g/{channel}")]);
        assert_eq!(codes, [0]);
        members[1].kill();
        say(&publisher, &channel, 0..20);
        let left = shares(&members, 20);
        // What was on its way to the one that went may have found either.
        assert!(
            left[..2] == [0, 0] && left[2..].iter().all(|&share| share >= 9),
            "{left:?}"
        );
    });
}

#[test]
fn mqtt5_4_8_2_filters_are_checked_and_what_is_retained_is_not_sent() {
    each_shard_count(|net| {
        for form in [PAHO_5, MQTTJS_311] {
            let app = net.app();
            let client = net.connect(form, &app.account("user"), "m");
            let channel = format!("share/{}", app.name);
            let (invalid, denied) = if form.is_5() { (0x8F, 0x87) } else { (0x80, 0x80) };
            for (filter, code) in [
                ("$share/g/$SYS/#", invalid),
                ("$share/g/$nexus/reply/#", invalid),
                ("$share/g/#", denied),
                ("$share/g/~other/x", denied),
            ] {
                assert_eq!(client.suback(filter, 1), code, "{filter}");
            }
            client.publish_acked(Publish::new(&channel, "retained").retained());
            let by_sender = format!("$share/g/$nexus/channel/{}/+/+/+/{channel}", app.name);
            client.hear(&format!("$share/g/{channel}"), 1);
            client.hear(&by_sender, 1);
            client.publish_acked(Publish::new(&channel, "live"));
            for _ in 0..2 {
                let message = client.message();
                assert_eq!((message.text(), message.retain), ("live", false));
            }
        }
    });
}

#[test]
fn mqtt5_4_8_2_what_a_member_did_not_acknowledge_goes_to_another() {
    each_shard_count(|net| {
        let app = net.app();
        let channel = format!("share/{}", app.name);
        let filter = format!("$share/g/{channel}");
        let other = net.connect(PAHO_5, &app.account("user"), "o");
        let mut raw = Raw::login(net.daemon().mqtt, 4, &app.account("user"), "r");
        let mut body = vec![0, 7];
        body.extend(mqtt::counted(&filter));
        body.push(1);
        raw.send(&mqtt::packet(0x82, &body));
        assert_eq!(raw.packet().body, [0, 7, 1]);
        other.hear(&filter, 1);
        let publisher = net.connect(PAHO_311, &app.account("owner"), "s");
        say(&publisher, &channel, 0..20);
        for _ in 0..10 {
            assert_eq!(raw.packet().first & 0xF6, 0x32, "PUBLISH of QoS 1");
        }
        drop(raw);
        let mut texts: Vec<usize> = (0..20).map(|_| other.message().text().parse().unwrap()).collect();
        texts.sort_unstable();
        assert_eq!(texts, (0..20).collect::<Vec<_>>());
    });
}

/// A CONNECT for a session that lasts.
fn kept(account: &Account) -> Connect {
    Connect {
        clean: false,
        properties: json!({ "session_expiry_interval": 600 }),
        ..account.connect("m")
    }
}

/// Members come back to their sessions.
#[track_caller]
fn come(net: &Net, accounts: &[Account]) -> Vec<Client> {
    let back = |account| {
        let client = net.open(PAHO_5, &kept(account));
        let (code, present, _) = client.connack();
        assert_eq!((code, present), (0, true));
        client
    };
    accounts.iter().map(back).collect()
}

/// The numbers that all of them get, in order; then they go.
#[track_caller]
fn numbers(members: &[Client], total: usize) -> Vec<usize> {
    let all: Vec<&Client> = members.iter().collect();
    let mut numbers: Vec<usize> = (0..total)
        .map(|_| {
            let (_, n) = Client::first_of(&all, "share", |_, event| match event {
                Event::Message(message) => Some(message.text().parse().unwrap()),
                _ => None,
            });
            n
        })
        .collect();
    for member in members {
        member.disconnect();
    }
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_group_and_what_it_is_owed_outlive_a_crash() {
    parallel(&SHARD_COUNTS, |&shards| {
        let options = Options::shards(shards);
        let mut net = Net::start(&options);
        let accounts: Vec<_> = {
            let app = net.app();
            (0..5).map(|_| app.account("user")).collect()
        };
        let channel = "share/crash";
        for account in &accounts[..4] {
            let member = net.open(PAHO_5, &kept(account));
            assert_eq!(member.connack().0, 0);
            member.hear(&format!("$share/g/{channel}"), 1);
            member.disconnect();
        }
        let publisher = net.connect(PAHO_5, &accounts[4], "s");
        say(&publisher, channel, 0..20);
        net.crash(&options);
        let publisher = net.connect(PAHO_5, &accounts[4], "s");
        say(&publisher, channel, 20..40);
        assert_eq!(
            numbers(&come(&net, &accounts[..4]), 40),
            (0..40).collect::<Vec<_>>()
        );
        // All are offline again. One is given up after another crash: what it had is another one's.
        say(&publisher, channel, 0..8);
        net.crash(&options);
        net.connect(PAHO_5, &accounts[0], "m").disconnect();
        assert_eq!(
            numbers(&come(&net, &accounts[1..4]), 8),
            (0..8).collect::<Vec<_>>()
        );
    });
}
