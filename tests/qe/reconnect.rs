//! What QE's clients go through when connections end: the same address again, credentials that stay good, fights.

use serde_json::{Value, json};

use super::{Block, Library, each_daemon, each_python, jid};
use crate::bridge::{CREDENTIALS, ask, explore_secret};
use crate::harness::clock::{Deadline, Moment};
use crate::xmpp::channel::new_channel;

/// Which library comes back after how many seconds at the earliest.
fn earliest_s(library: Library) -> u64 {
    if library == Library::Js { 1 } else { 5 }
}

#[test]
fn a_block_that_was_cut_off_comes_back_under_its_address_and_is_in_its_channels_still() {
    each_python(|net, python| {
        let app = net.app();
        let owner = app.account("owner");
        let page = Block::page(net, &owner.secret, "uservicex7k2");
        page.online();
        for (library, resource) in [(Library::Js, "w.1"), (python, "w.2")] {
            let worker = Block::worker(net, library, &app, resource);
            assert_eq!(worker.online(), jid(&owner, resource));
            let channel = new_channel();
            worker.command(
                "join",
                json!({"channel": channel, "nick": format!("{}-{resource}", owner.name)}),
            );
            worker.wait("presence", |shown| shown["jid"] == jid(&owner, resource));
            // Others are given credentials, and a new secret, meanwhile.
            let secret = explore_secret(net, &app.name);
            let again = json!({"secret": secret, "resource": "w.3", "public": true});
            assert_eq!(ask(net, CREDENTIALS, &again)["password"], owner.secret);
            net.daemon().cli_json(&["secret", "add", &owner.name]);
            worker.command("cut", json!({}));
            worker.wait("offline", |_| true);
            let began = Moment::now();
            assert_eq!(worker.online(), jid(&owner, resource));
            assert!(
                began.elapsed().as_secs_f32() > earliest_s(library) as f32 - 0.5,
                "not before it tried"
            );
            let reply = page.call(json!({"to": jid(&owner, resource), "members": {"api": "ping"}}));
            assert_eq!(reply["body"]["pong"], true, "{reply}");
            // No client joins anew: it counts on being there still.
            worker.command("say", json!({"channel": channel, "text": "here again"}));
            worker.wait("channel", |came| came["text"] == "here again");
        }
    });
}

#[test]
fn a_wrong_password_is_told_as_not_authorized_and_the_page_stops() {
    each_daemon(|net| {
        let owner = net.app().account("owner");
        let given =
            json!({"secret": owner.secret, "resource": "webuo1", "public": false, "password": "wrong"});
        let page = Block::start(net, Library::Js, given);
        let told = page.wait("error", |_| true);
        assert_eq!(told["condition"], "not-authorized");
    });
}

#[test]
fn two_processes_of_one_address_come_to_rest() {
    each_daemon(|net| {
        let app = net.app();
        let owner = app.account("owner");
        let caller = Block::page(net, &owner.secret, "webuo1");
        caller.online();
        let fighters = [0, 1].map(|_| {
            let worker = Block::worker(net, Library::Js, &app, "w.1");
            assert_eq!(worker.online(), jid(&owner, "w.1"));
            worker
        });
        // Both come back a second after each end. Whoever is refused twice in a row has not been let in between.
        let (mut onlines, mut refused) = (2, [0; 2]);
        let deadline = Deadline::patient();
        while refused.iter().all(|&times| times < 3) {
            assert!(!deadline.passed(), "no rest: {onlines} logins");
            for (fighter, refused) in fighters.iter().zip(&mut refused) {
                if let Ok(event) = fighter.events.recv_timeout(std::time::Duration::from_millis(50)) {
                    if event["event"] == "online" {
                        (onlines, *refused) = (onlines + 1, 0);
                    } else if event["event"] == "error" && event["condition"] == "conflict" {
                        *refused += 1;
                    }
                }
            }
        }
        assert_eq!(onlines, 3, "the first, and two that took the address over");
        let reply = caller.call(json!({"to": jid(&owner, "w.1"), "members": {"api": "ping"}}));
        assert_eq!(reply["body"], json!({"code": 0, "pong": true}));
        let holder = usize::from(refused[0] >= 3);
        assert_eq!(fighters[holder].unheard("offline"), Vec::<Value>::new());
    });
}
