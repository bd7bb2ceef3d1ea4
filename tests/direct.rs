//! Nexus-Direct: one string to exactly one worker (PROTOCOL 2.2).

use crate::harness::daemon::DOMAIN;
use crate::harness::http;
use crate::harness::matrix::{MQTTJS_5, PAHO_5, PAHO_311};
use crate::harness::{
    Call, FORMS, Net, Options, Publish, Stamp, each_form, each_pair, each_shard_count, eventually, parallel,
};

#[test]
fn a_string_goes_to_exactly_one_worker_with_its_sender() {
    each_pair(|net, sends, hears| {
        let app = net.app();
        let worker = net.connect(hears, &app.account("owner"), "Worker.1");
        worker.listen_direct();
        let other = net.connect(hears, &app.account("partner"), "Worker.2");
        other.listen_direct();
        // No purchase is asked for Direct.
        let stranger = app.account("user");
        let sender = net.connect(sends, &stranger, "page");
        for text in ["first", "", "zweite ✓", "{\"third\":3}"] {
            sender.direct(&app.name, "Worker.1", text);
            let (came, stamp) = worker.next_direct();
            assert_eq!(came, text);
            assert_eq!(stamp, Stamp::of(&stranger, "page"));
        }
        sender.direct(&app.name, "Worker.2", "fence");
        assert_eq!(other.next_direct().0, "fence", "the first that came there");
    });
}

#[test]
fn a_second_registration_replaces_the_first() {
    each_shard_count(|net| {
        for form in [PAHO_5, MQTTJS_5] {
            let app = net.app();
            let worker = net.connect(form, &app.account("owner"), "w1");
            let sender = net.connect(form, &app.account("user"), "s1");
            for (filter, levels) in [("$nexus/direct", 2), ("$nexus/direct/#", 6), ("$nexus/direct", 2)] {
                worker.hear(filter, 1);
                sender.direct(&app.name, "w1", filter);
                let message = worker.message();
                assert_eq!(message.text(), filter);
                assert_eq!(message.topic.split('/').count(), levels, "{}", message.topic);
            }
            assert!(worker.take_unmatched().is_empty(), "each came once");
        }
    });
}

#[test]
fn a_missing_target_is_dropped_and_puback_0x10_tells_it() {
    parallel(&FORMS, |&form| {
        let net = Net::start(&Options::shards(1));
        let app = net.app();
        let account = app.account("user");
        let sender = net.connect(form, &account, "s1");
        let worker = net.connect(form, &app.account("owner"), "w1");
        let no_one = if form.is_5() { 0x10 } else { 0 };
        let send = |app: &str, resource: &str| {
            sender.publish_acked(Publish::new(&format!("$nexus/direct/{app}/{resource}"), "text"))
        };
        assert_eq!(send(&app.name, "nobody"), no_one);
        assert_eq!(send(&app.name, "w1"), no_one, "connected, but without a listener");
        assert_eq!(send("noapp", "w1"), no_one);
        http::await_drops(net.daemon().http, "direct", "no_receiver", 3);
        worker.listen_direct();
        assert_eq!(send(&app.name, "w1"), 0);
        assert_eq!(worker.next_direct().0, "text");
        worker.unsubscribe(&[if form.is_5() {
            "$nexus/direct"
        } else {
            "$nexus/direct/#"
        }]);
        assert_eq!(send(&app.name, "w1"), no_one);
        http::await_drops(net.daemon().http, "direct", "no_receiver", 4);
        worker.disconnect();
        eventually("nobody holds w1", || send(&app.name, "w1") == no_one);
    });
}

#[test]
fn a_direct_message_never_reaches_an_api_listener() {
    each_form(|net, form| {
        let app = net.app();
        let worker = net.connect(form, &app.account("owner"), "w1");
        worker.listen("cmd");
        let sender = net.connect(form, &app.customer(), "s1");
        sender.publish_acked(Publish::new(&format!("$nexus/direct/{}/w1", app.name), "{}"));
        sender.send_call("c1", &Call::new(&app.name, "cmd").body(r#"{"fence":1}"#));
        assert_eq!(worker.message().text(), r#"{"fence":1}"#);
    });
}

#[test]
fn own_uid_wins_then_role_owner_then_the_oldest_session() {
    each_form(|net, form| {
        let app = net.app();
        let sender_account = app.account("user");
        let sender = net.connect(form, &sender_account, "s1");
        let hold = |account: &crate::harness::Account| {
            let client = net.connect(form, account, "same");
            client.listen_direct();
            client
        };
        let older = hold(&app.account("partner"));
        let younger = hold(&app.account("partner"));
        sender.direct(&app.name, "same", "to the oldest");
        assert_eq!(older.next_direct().0, "to the oldest");
        let owner = hold(&app.account("owner"));
        sender.direct(&app.name, "same", "to the owner");
        assert_eq!(owner.next_direct().0, "to the owner");
        let own = hold(&sender_account);
        sender.direct(&app.name, "same", "to my own");
        assert_eq!(own.next_direct().0, "to my own");
        own.disconnect();
        owner.disconnect();
        older.disconnect();
        let topic = format!("$nexus/direct/{}/same", app.name);
        eventually("the younger is left", || {
            sender.publish_acked(Publish::new(&topic, "to who is left"));
            !younger.take_unmatched().is_empty()
        });
    });
}

#[test]
fn a_full_address_may_be_used_in_place_of_app_and_resource() {
    each_form(|net, form| {
        let app = net.app();
        let (owner, partner) = (app.account("owner"), app.account("partner"));
        let first = net.connect(form, &owner, "same");
        first.listen_direct();
        let second = net.connect(form, &partner, "same");
        second.listen_direct();
        let sender = net.connect(form, &app.account("user"), "s1");
        for (account, client) in [(&partner, &second), (&owner, &first)] {
            let topic = format!("$nexus/direct/{}@{DOMAIN}/same", account.name);
            sender.publish(&Publish::new(&topic, account.role.clone()).qos(1));
            assert_eq!(client.next_direct().0, account.role);
        }
    });
}

#[test]
fn direct_messages_arrive_in_the_order_sent() {
    each_pair(|net, sends, hears| {
        const MESSAGES: usize = 200;
        let app = net.app();
        let worker = net.connect(hears, &app.account("owner"), "w1");
        worker.listen_direct();
        let sender = net.connect(sends, &app.account("user"), "s1");
        for n in 0..MESSAGES {
            sender.direct(&app.name, "w1", &n.to_string());
        }
        for n in 0..MESSAGES {
            assert_eq!(worker.next_direct().0, n.to_string());
        }
    });
}

#[test]
fn a_direct_message_is_a_utf_8_string() {
    each_form(|net, form| {
        let app = net.app();
        let worker = net.connect(form, &app.account("owner"), "w1");
        worker.listen_direct();
        let sender = net.connect(form, &app.account("user"), "s1");
        let topic = format!("$nexus/direct/{}/w1", app.name);
        let code = sender.publish_acked(Publish::new(&topic, b"\xff\xfe"));
        assert_eq!(code >= 0x80, form.is_5(), "{code:#x}");
        sender.direct(&app.name, "w1", "text");
        assert_eq!(worker.next_direct().0, "text");
    });
}

#[test]
fn with_the_policy_entitled_strangers_are_dropped_and_answers_pass() {
    parallel(&FORMS, |&form| {
        let net = Net::start(&Options::shards(2));
        let app = net.entitled_app();
        let owner = app.account("owner");
        let worker = net.connect(form, &owner, "w1");
        worker.listen_direct();
        let topic = format!("$nexus/direct/{}/w1", app.name);
        let customer = net.connect(form, &app.customer(), "c1");
        assert_eq!(customer.publish_acked(Publish::new(&topic, "customer")), 0);
        assert_eq!(worker.next_direct().0, "customer");
        let partner = net.connect(PAHO_311, &app.account("partner"), "p1");
        assert_eq!(partner.publish_acked(Publish::new(&topic, "partner")), 0);
        assert_eq!(worker.next_direct().0, "partner");

        // Another app's user, whom the worker has not messaged yet.
        let home = net.app();
        let stranger = home.account("user");
        let block = net.connect(form, &stranger, "s1");
        block.listen_direct();
        block.publish_acked(Publish::new(&topic, "uninvited"));
        http::await_drops(net.daemon().http, "direct", "not_authorized", 1);
        worker.direct(&home.name, "s1", "hello");
        assert_eq!(block.next_direct().0, "hello");
        assert_eq!(block.publish_acked(Publish::new(&topic, "answer")), 0);
        let (text, sender) = worker.next_direct();
        assert_eq!((text.as_str(), sender), ("answer", Stamp::of(&stranger, "s1")));
        // Whom one worker messaged may answer it, not another.
        let colleague = net.connect(form, &owner, "w2");
        colleague.listen_direct();
        block.publish_acked(Publish::new(
            &format!("$nexus/direct/{}/w2", app.name),
            "uninvited",
        ));
        http::await_drops(net.daemon().http, "direct", "not_authorized", 2);
    });
}
