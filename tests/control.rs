//! Topics under `$`: what is offered, what is refused and with which code (PROTOCOL 3, Control topics).

use crate::harness::matrix::PAHO_311;
use crate::harness::{Call, Publish, each_form, each_shard_count};

#[test]
fn control_filters_that_are_not_offered_are_refused() {
    each_form(|net, form| {
        let client = net.connect(form, &net.app().account("owner"), "w1");
        for (filter, code) in [
            ("$nexus/#", 0x8F),
            ("$nexus/listen/#", 0x8F),
            ("$share/g/$nexus/listen/cmd", 0x8F),
            ("$share/g/$nexus/listen/cmd/#", 0x8F),
            ("$share/g/$nexus/direct", 0x8F),
            ("$share/g/$nexus/direct/#", 0x8F),
            ("$nexus/api/#", 0x87),
            ("$nexus/call/#", 0x87),
            ("$nexus/answer/#", 0x87),
            ("$nexus/answer/+", 0x87),
            ("$nexus/other", 0x87),
            ("$other", 0x87),
            ("$other/#", 0x87),
            ("$", 0x87),
            ("$SYS/#", 0x87),
        ] {
            let expected = if form.is_5() { code } else { 0x80 };
            assert_eq!(client.suback(filter, 1), expected, "{filter}");
        }
        assert_eq!(
            client.call(&Call::new("nexus", "ping")).code,
            0,
            "the connection stays"
        );
    });
}

#[test]
fn the_forms_of_5_0_are_refused_on_3_1_1() {
    each_form(|net, form| {
        let client = net.connect(form, &net.app().account("owner"), "w1");
        for filter in ["$nexus/listen/cmd", "$nexus/direct"] {
            let expected = if form.is_5() { 1 } else { 0x80 };
            assert_eq!(client.suback(filter, 1), expected, "{filter}");
        }
        for filter in ["$nexus/listen/cmd/#", "$nexus/direct/#"] {
            assert_eq!(client.suback(filter, 1), 1, "{filter} in both versions");
        }
    });
}

#[test]
fn any_filter_under_reply_is_granted() {
    each_form(|net, form| {
        let client = net.connect(form, &net.app().account("owner"), "w1");
        for filter in [
            "$nexus/reply/+",
            "$nexus/reply/#",
            "$nexus/reply/c1",
            "$nexus/reply/+/x",
        ] {
            assert_eq!(client.suback(filter, 1), 1, "{filter}");
        }
    });
}

#[test]
fn publishing_elsewhere_under_dollar_is_refused_and_the_connection_stays() {
    each_form(|net, form| {
        let client = net.connect(form, &net.app().account("owner"), "w1");
        for topic in [
            "$other/x",
            "$nexus/other",
            "$nexus",
            "$nexus/channel/a/b/c/d/e",
            "$share/g/x",
        ] {
            let code = client.publish_acked(Publish::new(topic, "x"));
            assert_eq!(code, if form.is_5() { 0x87 } else { 0 }, "{topic}");
        }
        assert_eq!(client.call(&Call::new("nexus", "ping")).code, 0);
    });
}

#[test]
fn publishing_to_listener_and_reply_topics_reaches_nobody() {
    each_form(|net, form| {
        let app = net.app();
        let worker = net.connect(form, &app.account("owner"), "w1");
        worker.listen("cmd");
        worker.hear("$nexus/reply/#", 1);
        let sender = net.connect(form, &app.customer(), "s1");
        for topic in [
            "$nexus/listen/cmd",
            "$nexus/listen/cmd/x",
            "$nexus/reply/c1",
            "$nexus/direct",
        ] {
            sender.publish_acked(Publish::new(topic, r#"{"forged":1}"#));
        }
        sender.send_call("c1", &Call::new(&app.name, "cmd").body(r#"{"fence":1}"#));
        assert_eq!(worker.message().text(), r#"{"fence":1}"#);
    });
}

#[test]
fn retain_on_control_topics_is_ignored() {
    each_shard_count(|net| {
        let app = net.app();
        let worker = net.connect(PAHO_311, &app.account("owner"), "w1");
        worker.listen_direct();
        worker.listen("cmd");
        let sender = net.connect(PAHO_311, &app.customer(), "s1");
        let direct = format!("$nexus/direct/{}/w1", app.name);
        sender.publish(&Publish::new(&direct, "retained?").retained());
        let message = worker.message();
        assert_eq!((message.text(), message.retain), ("retained?", false));
        let call = format!("$nexus/call/c1/{}/cmd", app.name);
        sender.publish(&Publish::new(&call, "{}").retained());
        let request = worker.request();
        assert!(!request.message.retain);
        worker.publish(&Publish::new(&request.answer_topic, "{}").retained());
        let reply = sender.message_where("reply", |message| message.topic == "$nexus/reply/c1");
        assert!(!reply.retain);
    });
}

#[test]
fn malformed_control_topics_are_refused_and_the_connection_stays() {
    each_form(|net, form| {
        let app = net.app();
        let client = net.connect(form, &app.account("owner"), "w1");
        let name = &app.name;
        let long = "i".repeat(65);
        for topic in [
            format!("$nexus/call/with space/{name}/cmd"),
            format!("$nexus/call/{long}/{name}/cmd"),
            format!("$nexus/call//{name}/cmd"),
            format!("$nexus/call/c1/{name}"),
            "$nexus/call/c1".to_owned(),
            "$nexus/answer".to_owned(),
            format!("$nexus/direct/{name}"),
        ] {
            let code = client.publish_acked(Publish::new(&topic, "{}"));
            assert_eq!(code >= 0x80, form.is_5(), "{topic}: {code:#x}");
        }
        let long = format!("$nexus/listen/{}/#", "c".repeat(129));
        for filter in [long.as_str(), "$nexus/listen/+/#", "$nexus/listen//#"] {
            assert!(client.suback(filter, 1) >= 0x80, "{filter}");
        }
        assert_eq!(client.call(&Call::new("nexus", "ping")).code, 0);
    });
}
