//! `$SYS`: what the daemon tells operators about itself (PROTOCOL 3, Control topics).

use std::fs;

use crate::harness::matrix::{PAHO_5, PAHO_311, XMPPJS};
use crate::harness::{
    Client, Event, FORMS, Message, Net, Options, Publish, Stamp, each_form, eventually, parallel,
};

/// A daemon that publishes every so many seconds.
fn net(shards: usize, interval_s: u32) -> Net {
    Net::start(&Options::shards(shards).config(&format!("[sys]\ninterval_s = {interval_s}\n")))
}

/// The next message on `$SYS/<name>`; others are taken away.
fn next(client: &Client, name: &str) -> Message {
    loop {
        let message = client.message();
        if message.topic.strip_prefix("$SYS/") == Some(name) {
            return message;
        }
    }
}

/// Waits until `$SYS/<name>` is a number that `holds`.
fn until(client: &Client, name: &str, holds: impl Fn(f64) -> bool) {
    while !holds(next(client, name).text().parse().unwrap()) {}
}

#[test]
fn operators_see_values_move_when_a_client_connects_and_publishes() {
    let net = net(2, 1);
    for form in FORMS {
        let operator = net.connect(form, &net.operator(), "console");
        operator.hear("$SYS/#", 1);
        let version = next(&operator, "broker/version");
        assert!(version.text().starts_with("nexus version "), "{}", version.text());
        assert!(!version.retain && !version.dup && version.qos == 0);
        let stamp = form.is_5().then(|| Stamp::in_properties(&version)).flatten();
        assert_eq!(stamp, form.is_5().then(the_daemon));
        let uptime = next(&operator, "broker/uptime");
        let seconds = uptime.text().strip_suffix(" seconds").unwrap();
        seconds.parse::<u64>().unwrap();
        until(&operator, "broker/clients/connected", |sessions| sessions == 1.0);
        let published = next(&operator, "broker/publish/messages/received");
        let published: f64 = published.text().parse().unwrap();
        let publisher = net.connect(form, &net.app().account("user"), "pump7");
        for _ in 0..5 {
            publisher.publish_acked(Publish::new("plant/7", "21.5"));
        }
        // In the order in which they come.
        until(&operator, "broker/clients/connected", |sessions| sessions == 2.0);
        until(&operator, "broker/clients/maximum", |sessions| sessions == 2.0);
        until(&operator, "broker/subscriptions/count", |count| count == 1.0);
        until(&operator, "broker/messages/received", |packets| packets >= 7.0);
        let load = "broker/load/messages/received/1min";
        until(&operator, load, |load| load > 0.0);
        let now = "broker/publish/messages/received";
        until(&operator, now, |now| now == published + 5.0);
        until(&operator, "broker/bytes/sent", |bytes| bytes > 1_000.0);
        until(&operator, "nexus/channel/received", |channel| channel >= 5.0);
        publisher.disconnect();
        until(&operator, "broker/clients/connected", |sessions| sessions == 1.0);
        operator.disconnect();
    }
}

/// The sender of all that comes under `$SYS`.
fn the_daemon() -> Stamp {
    Stamp {
        app: "nexus".to_owned(),
        uid: "0".repeat(24),
        role: "owner".to_owned(),
        resource: "sys".to_owned(),
    }
}

#[test]
fn the_values_come_at_once_and_only_for_what_was_subscribed_to() {
    let net = net(2, 86_400);
    parallel(&FORMS, |&form| {
        let operator = net.connect(form, &net.operator(), "console");
        for _ in 0..2 {
            operator.hear("$SYS/broker/clients/+", 1);
            let names = ["connected", "disconnected", "total", "expired", "maximum"];
            let topics: Vec<String> = names.iter().map(|_| operator.message().topic).collect();
            assert_eq!(topics, names.map(|name| format!("$SYS/broker/clients/{name}")));
        }
        operator.hear("$SYS/nexus/api/outcomes/timeout", 0);
        let timeouts = operator.message();
        assert_eq!(timeouts.topic, "$SYS/nexus/api/outcomes/timeout");
        assert_eq!(timeouts.text(), "0");
        operator.unsubscribe(&["$SYS/broker/clients/+"]);
        // A wildcard at the first level reaches none of it, for operators either.
        operator.hear("#", 0);
        operator.hear("+/broker/version", 0);
        let last = format!("plant/{:?}/{}", form.library, form.is_5());
        operator.publish(&Publish::new(&last, "last"));
        operator.message_where("what was published", |message| message.topic == last);
        // The operators beside it publish, too.
        let stray = operator.take_unmatched();
        let of_system = |event: &Event| format!("{event:?}").contains("$SYS");
        assert!(!stray.iter().any(of_system), "{stray:?}");
    });
}

#[test]
fn it_is_refused_to_those_who_are_no_operators() {
    each_form(|net, form| {
        let accounts = [
            net.app().account("owner"),
            net.account_of("nexus", "00112233445566778899aabb", "user"),
            net.account_of("nexus", "00112233445566778899aabb", "partner"),
        ];
        for (number, account) in accounts.iter().enumerate() {
            let resource = format!("{:?}{number}", form.library);
            let client = net.connect(form, account, &format!("{resource}{}", form.is_5()));
            for filter in ["$SYS/#", "$SYS/broker/version", "$SYS/+/uptime", "$SYS"] {
                let expected = if form.is_5() { 0x87 } else { 0x80 };
                assert_eq!(client.suback(filter, 1), expected, "{filter}");
            }
        }
    });
}

#[test]
fn nobody_publishes_there() {
    each_form(|net, form| {
        let operator = net.connect(form, &net.operator(), "op");
        operator.hear("$SYS/x", 1);
        let code = operator.publish_acked(Publish::new("$SYS/x", "x"));
        assert_eq!(code, if form.is_5() { 0x87 } else { 0 });
        assert!(operator.take_unmatched().is_empty());
    });
}

#[test]
fn without_an_interval_it_is_refused_until_a_reread_configuration_has_one() {
    let net = net(1, 0);
    for form in [PAHO_5, PAHO_311] {
        let operator = net.connect(form, &net.operator(), "console");
        let refused = if form.is_5() { 0x87 } else { 0x80 };
        assert_eq!(operator.suback("$SYS/#", 1), refused);
    }
    let daemon = net.daemon();
    fs::write(daemon.data_dir().join("nexus.toml"), "[sys]\ninterval_s = 1\n").unwrap();
    daemon.signal("HUP");
    eventually("configuration reread", || {
        daemon.log().contains("configuration reread")
    });
    let operator = net.connect(PAHO_5, &net.operator(), "console");
    eventually("granted", || operator.suback("$SYS/broker/uptime", 1) == 1);
    for _ in 0..3 {
        next(&operator, "broker/uptime");
    }
}

#[test]
fn it_is_not_served_over_xmpp() {
    let net = net(1, 1);
    let operator = net.connect(XMPPJS, &net.operator(), "console");
    let subscribe = "<subscribe xmlns='urn:nexus:1' channel='$SYS/#'/>";
    assert!(operator.iq("set", None, subscribe).condition.is_some());
}
