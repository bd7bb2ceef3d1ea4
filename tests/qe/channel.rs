//! Channels as QE's clients join, use and leave them.

use serde_json::json;

use super::{Block, Library, each_daemon, each_python, jid};
use crate::bridge::service_secret;
use crate::harness::matrix::PAHO_5;
use crate::harness::world::new_uid;
use crate::harness::{Account, Net};
use crate::xmpp::channel::new_channel;

/// An occupant is heard under the daemon's own nick, with the address that its presence showed before.
#[track_caller]
fn assert_heard(block: &Block, channel: &str, who: &Account, resource: &str, text: &str) {
    let came = block.wait("channel", |came| came["text"] == text);
    assert_eq!(came["room"], channel);
    assert_eq!(came["nick"], format!("{}-{resource}", who.name));
    assert_eq!(
        came["jid"],
        jid(who, resource),
        "shown before the first message: {came}"
    );
}

/// A page of a user with a service, and its account.
fn page(net: &Net, app: &str, resource: &str) -> (Account, Block) {
    let uid = new_uid();
    let secret = service_secret(net, &uid, app);
    let block = Block::page(net, &secret, resource);
    block.online();
    let account = net.account_of(app, &uid, "user");
    (account, block)
}

#[test]
fn blocks_join_with_nicks_of_three_kinds_and_hear_one_another_under_the_daemon_s() {
    each_python(|net, python| {
        let app = net.app();
        let owner = app.account("owner");
        let js = Block::worker(net, Library::Js, &app, "w.1");
        let python = Block::worker(net, python, &app, "w.2");
        let (user, page) = page(net, &app.name, "webuo1");
        let device = net.account_of(&app.name, &new_uid(), "user");
        js.online();
        python.online();
        let channel = new_channel();
        // The page: its own nick, `type="available"` literally. Self-presence with its real address.
        let nick = format!("{}-webuo1", user.name);
        page.command(
            "join",
            json!({"channel": channel, "nick": nick, "type": "available"}),
        );
        let shown = page.wait("presence", |shown| shown["jid"] == jid(&user, "webuo1"));
        assert!(
            shown["from"].as_str().unwrap().ends_with(&format!("/{nick}")),
            "{shown}"
        );
        // The worker in JavaScript: app, uid, resource.
        let nick = format!("{}-{}-w.1", app.name, owner.uid);
        js.command("join", json!({"channel": channel, "nick": nick}));
        js.wait("presence", |shown| shown["jid"] == jid(&owner, "w.1"));
        // The worker in Python: app, uid, resource, role; it speaks in the same write as it joins.
        let nick = format!("{}-{}-w.2-owner", app.name, owner.uid);
        python.command("join", json!({"channel": channel, "nick": nick, "text": "hello"}));
        for block in [&python, &js, &page] {
            assert_heard(block, &channel, &owner, "w.2", "hello");
        }
        // The worker in JavaScript claims to be somebody else; it is not closed, and nobody believes it.
        let wrong = json!({"channel": channel, "text": "from js", "from": "etest@qepal.com/x"});
        js.command("say", wrong);
        for block in [&js, &page, &python] {
            assert_heard(block, &channel, &owner, "w.1", "from js");
        }
        page.command("say", json!({"channel": channel, "text": "from the page"}));
        for block in [&page, &js, &python] {
            assert_heard(block, &channel, &user, "webuo1", "from the page");
        }
        let mqtt = net.connect(PAHO_5, &device, "Device.7");
        mqtt.say(&channel, "21.5");
        for block in [&page, &js, &python] {
            assert_heard(block, &channel, &device, "Device.7", "21.5");
        }
    });
}

#[test]
fn who_leaves_by_the_bare_room_hears_no_more() {
    each_python(|net, python| {
        let app = net.app();
        let owner = app.account("owner");
        let js = Block::worker(net, Library::Js, &app, "w.1");
        let python = Block::worker(net, python, &app, "w.2");
        let device = net.connect(PAHO_5, &app.account("user"), "d1");
        for (block, resource) in [(&js, "w.1"), (&python, "w.2")] {
            let channel = new_channel();
            block.online();
            block.command(
                "join",
                json!({"channel": channel, "nick": format!("{}-{resource}", owner.name)}),
            );
            block.wait("presence", |shown| shown["jid"] == jid(&owner, resource));
            block.command("leave", json!({ "channel": channel }));
            block.wait("presence", |shown| {
                shown["type"] == "unavailable" && shown["jid"] == jid(&owner, resource)
            });
            device.publish_acked(crate::harness::Publish::new(&channel, "unheard"));
            device.direct(&app.name, resource, "after it");
            assert_eq!(block.wait("direct", |_| true)["body"], "after it");
            assert!(block.unheard("channel").is_empty(), "{resource}");
        }
    });
}

#[test]
fn names_of_rooms_are_compared_byte_for_byte_and_nothing_old_is_sent() {
    each_daemon(|net| {
        let app = net.app();
        let (small, large) = (new_channel(), new_channel().to_uppercase());
        let device = net.connect(PAHO_5, &app.account("user"), "d1");
        for channel in [&small, &large] {
            let kept = crate::harness::Publish::new(channel, "kept").retained();
            device.publish_acked(kept);
        }
        let (user, page) = page(net, &app.name, "webuo1");
        for channel in [&small, &large] {
            page.command(
                "join",
                json!({"channel": channel, "nick": format!("{}-webuo1", user.name)}),
            );
            page.wait("presence", |shown| shown["jid"] == jid(&user, "webuo1"));
        }
        for channel in [&large, &small] {
            page.command("say", json!({"channel": channel, "text": "now"}));
            assert_heard(&page, channel, &user, "webuo1", "now");
        }
        assert!(page.unheard("channel").is_empty(), "each once, and no history");
    });
}
