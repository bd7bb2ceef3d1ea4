//! Sessions of XMPP that lose their connections and are resumed: on their shard, on another one, over another carrier.

use super::resuming_daemon::{Daemon, admitted, bind_of, resume_of, texts};
use super::*;
use crate::route::Change;

const PING: &str = "<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";

/// All combinations of where a client was and comes back.
fn ways() -> impl Iterator<Item = (u16, usize, bool, bool)> {
    let carriers = [(false, false), (true, true), (false, true), (true, false)];
    [(1, 0), (2, 0), (2, 1), (3, 2)]
        .into_iter()
        .flat_map(move |(shards, back)| carriers.map(|(was, is)| (shards, back, was, is)))
}

#[test]
fn xep0198_5_a_lost_session_goes_on_wherever_its_client_comes_back() {
    for (shards, back, was_tcp, is_tcp) in ways() {
        let mut daemon = Daemon::new(shards);
        daemon.connect(9, back, true, BOB);
        daemon.bind(9, "page");
        let previd = daemon.log_in(1, 0, was_tcp, ALICE, "w1");
        daemon.subscribe(1, "a");
        daemon.publish(9, "a", "one");
        assert_eq!(texts(&daemon.heard(1)), ["one"]);
        daemon.publish(9, "a", "two");
        daemon.lose(1);
        assert_eq!(daemon.sum(|m| m.xmpp_suspended.get()), 1);
        daemon.publish(9, "a", "three");
        daemon.connect(2, back, is_tcp, ALICE);
        // The answer to the subscription and the first message.
        daemon.resume(2, &previd, 2);
        let heard = daemon.heard(2);
        let head = format!("<resumed xmlns='urn:xmpp:sm:3' previd='{previd}' h='1'/>");
        assert!(heard.contains(&head), "{heard}");
        assert_eq!(texts(&heard), ["two", "three"]);
        daemon.publish(9, "a", "four");
        assert_eq!(texts(&daemon.heard(2)), ["four"]);
        daemon.say(2, PING);
        assert!(daemon.heard(2).contains("type='result' id='p'"));
        assert_eq!(
            (
                daemon.sum(|m| m.xmpp_resumed.get()),
                daemon.sum(|m| m.xmpp_suspended.get()),
                daemon.sum(|m| m.sessions.get()),
            ),
            (1, 0, 2)
        );
        // Once more, by the same name.
        daemon.lose(2);
        daemon.publish(9, "a", "five");
        daemon.connect(3, 0, is_tcp, ALICE);
        daemon.resume(3, &previd, 6);
        assert_eq!(texts(&daemon.heard(3)), ["five"]);
        daemon.say(3, "<a xmlns='urn:xmpp:sm:3' h='7'/>");
        assert_eq!(daemon.sum(|m| m.xmpp_unacked_bytes.get()), 0);
    }
}

#[test]
fn xep0198_5_a_session_whose_connection_looks_alive_goes_over_without_loss() {
    for (shards, back, was_tcp, is_tcp) in ways() {
        let mut daemon = Daemon::new(shards);
        daemon.connect(9, 0, true, BOB);
        daemon.bind(9, "page");
        let previd = daemon.log_in(1, 0, was_tcp, ALICE, "w1");
        daemon.subscribe(1, "a");
        daemon.publish(9, "a", "one");
        daemon.connect(2, back, is_tcp, ALICE);
        daemon.resume(2, &previd, 1);
        assert!(daemon.is_closed(1));
        assert!(daemon.heard(1).contains("<conflict "));
        let heard = daemon.heard(2);
        assert!(heard.contains("<resumed "), "{heard}");
        assert_eq!(texts(&heard), ["one"]);
        daemon.lose(1);
        daemon.publish(9, "a", "two");
        assert_eq!(texts(&daemon.heard(2)), ["two"]);
    }
}

#[test]
fn xep0198_5_who_binds_before_it_is_decided_gets_the_session_that_it_wanted() {
    for (shards, back) in [(1, 0), (2, 1)] {
        let mut daemon = Daemon::new(shards);
        daemon.connect(9, back, true, BOB);
        daemon.bind(9, "page");
        let previd = daemon.log_in(1, 0, true, ALICE, "w1");
        daemon.subscribe(1, "a");
        daemon.lose(1);
        daemon.publish(9, "a", "one");
        daemon.connect(2, back, true, ALICE);
        let (resume, bind) = (resume_of(&previd, 1), bind_of("w1"));
        daemon.say(2, &format!("{resume}{bind}"));
        let heard = daemon.heard(2);
        assert_eq!(texts(&heard), ["one"]);
        let jid = format!("<jid>{ALICE}@nexus.example/w1</jid>");
        let order = ["<resumed ", "<publish ", &jid].map(|part| heard.find(part).unwrap());
        assert!(order.is_sorted(), "{heard}");
        // Nobody else has the address, and who waits for what is not there binds.
        assert_eq!(daemon.sum(|m| m.xmpp_resumed.get()), 1);
        daemon.publish(9, "a", "two");
        assert_eq!(texts(&daemon.heard(2)), ["two"]);
        daemon.connect(3, back, true, ALICE);
        daemon.say(3, &format!("{}{}", resume_of("x", 0), bind_of("w3")));
        let heard = daemon.heard(3);
        assert!(
            heard.contains("<item-not-found ") && heard.contains("/w3</jid>"),
            "{heard}"
        );
    }
}

#[test]
fn xep0198_5_who_may_not_have_a_session_is_told_that_there_is_none_and_may_bind() {
    for (shards, back) in [(1, 0), (2, 1)] {
        let mut daemon = Daemon::new(shards);
        let previd = daemon.log_in(1, 0, true, ALICE, "w1");
        daemon.lose(1);
        let mut guess = previd.clone();
        guess.replace_range(51.., if guess.ends_with('0') { "1" } else { "0" });
        let mut elsewhere = previd.clone();
        elsewhere.replace_range(..4, "ffff");
        let mut nowhere = previd.clone();
        nowhere.replace_range(4..12, "00ffffff");
        let mut stale = previd.clone();
        stale.replace_range(12..20, "0000ffff");
        for (conn, account, name) in [
            (2, BOB, &previd),
            (3, ALICE, &guess),
            (4, ALICE, &elsewhere),
            (5, ALICE, &nowhere),
            (6, ALICE, &stale),
        ] {
            daemon.connect(conn, back, true, account);
            daemon.resume(conn, name, 0);
            let heard = daemon.heard(conn);
            assert!(heard.contains("<item-not-found "), "{heard}");
            daemon.bind(conn, &format!("r{conn}"));
            assert!(daemon.heard(conn).contains("<jid>"));
        }
        assert_eq!(daemon.sum(|m| m.xmpp_resume_failed.get()), 5);
        // A secret that is for another resource.
        daemon.verdict = |_| Ok(admitted(grants(), Some("w2")));
        daemon.connect(7, back, true, ALICE);
        daemon.resume(7, &previd, 0);
        assert!(daemon.heard(7).contains("<item-not-found "));
        daemon.verdict = |_| Ok(admitted(grants(), Some("w1")));
        // A lie.
        daemon.connect(8, back, true, ALICE);
        daemon.resume(8, &previd, 77);
        assert!(daemon.heard(8).contains("<handled-count-too-high ") && daemon.is_closed(8));
        // Revoked on its way.
        daemon.verdict = |_| Err(LoginFailure::Denied);
        daemon.connect(10, back, true, ALICE);
        daemon.resume(10, &previd, 0);
        assert!(daemon.heard(10).contains("<not-authorized ") && daemon.is_closed(10));
        // It is there still.
        daemon.verdict = |_| Ok(admitted(grants(), Some("w1")));
        daemon.connect(11, back, true, ALICE);
        daemon.resume(11, &previd, 0);
        assert!(daemon.heard(11).contains("<resumed "));
    }
}

#[test]
fn a_newcomer_with_the_same_address_ends_what_waits_and_is_no_conflict() {
    for (shards, back) in [(1, 0), (2, 1), (2, 0), (3, 2)] {
        let mut daemon = Daemon::new(shards);
        let mut previd = daemon.log_in(0, 0, true, ALICE, "w1");
        for conn in 1..8 {
            daemon.lose(conn - 1);
            let shard = if conn % 2 == 0 { 0 } else { back };
            let next = daemon.log_in(conn, shard, true, ALICE, "w1");
            assert_eq!(daemon.sum(|m| m.xmpp_suspended.get()), 0);
            daemon.connect(100 + conn, back, true, ALICE);
            daemon.resume(100 + conn, &previd, 0);
            assert!(daemon.heard(100 + conn).contains("<item-not-found "));
            previd = next;
        }
    }
}

#[test]
fn xep0198_5_nobody_comes_back_in_time() {
    let mut daemon = Daemon::new(2);
    let previd = daemon.log_in(1, 0, true, ALICE, "w1");
    daemon.subscribe(1, "a");
    daemon.lose(1);
    daemon.pass(299_999);
    assert_eq!(daemon.sum(|m| m.xmpp_suspended.get()), 1);
    daemon.pass(1);
    assert_eq!(daemon.places[0].hub.len(), 0);
    assert_eq!(
        (
            daemon.sum(|m| m.xmpp_suspended.get()),
            daemon.sum(|m| m.xmpp_resume_expired.get()),
            daemon.sum(|m| m.subscriptions.get()),
            daemon.sum(|m| m.sessions_offline.get()),
        ),
        (0, 1, 0, 0)
    );
    daemon.connect(2, 1, true, ALICE);
    daemon.resume(2, &previd, 0);
    assert!(daemon.heard(2).contains("<item-not-found "));
}

#[test]
fn xep0198_5_a_stream_that_its_client_ended_leaves_nothing() {
    for (over_tcp, end) in [
        (true, "</stream:stream>"),
        (false, "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"),
    ] {
        let mut daemon = Daemon::new(1);
        daemon.log_in(1, 0, over_tcp, ALICE, "w1");
        daemon.say(1, end);
        daemon.lose(1);
        assert!(daemon.places[0].hub.is_empty());
    }
    // RFC 7395, 3.6: a WebSocket that ends without the stream.
    let mut daemon = Daemon::new(1);
    daemon.log_in(1, 0, false, ALICE, "w1");
    daemon.show(1, &[0x88, 0x80, 0, 0, 0, 0]);
    daemon.lose(1);
    assert_eq!(daemon.sum(|m| m.xmpp_suspended.get()), 1);
}

#[test]
fn what_waits_ends_with_what_its_client_came_in_by() {
    let revoked: [fn(&mut Daemon); 3] = [
        |daemon| {
            daemon.change(&Change::AccountRevoked {
                account: ALICE.into(),
            });
        },
        |daemon| {
            daemon.change(&Change::CredentialRevoked {
                credential: CredentialId(1),
            });
        },
        |daemon| daemon.pass(60_000),
    ];
    for revoke in revoked {
        for resumed in [false, true] {
            let mut daemon = Daemon::new(1);
            daemon.verdict = |_| {
                let mut grants = grants();
                grants.expires_unix_ms = Some(1_700_000_060_000);
                Ok(admitted(grants, None))
            };
            let previd = daemon.log_in(1, 0, true, ALICE, "w1");
            daemon.lose(1);
            if resumed {
                daemon.connect(2, 0, true, ALICE);
                daemon.resume(2, &previd, 0);
                daemon.lose(2);
            }
            assert_eq!(daemon.sum(|m| m.xmpp_suspended.get()), 1);
            revoke(&mut daemon);
            assert_eq!(daemon.sum(|m| m.xmpp_suspended.get()), 0);
            assert!(daemon.places[0].hub.is_empty() && daemon.places[0].machine.timers.is_empty());
        }
    }
}

#[test]
fn p2_1_a_worker_that_is_away_is_asked_nothing_and_may_answer_within_5_s() {
    for (shards, back) in [(1, 0), (2, 1)] {
        for away_ms in [4_900, 5_100] {
            let mut daemon = Daemon::new(shards);
            daemon.open_app();
            daemon.connect(9, back, true, ALICE);
            daemon.bind(9, "page");
            let previd = daemon.log_in(1, 0, true, ALICE, "w1");
            daemon.say(
                1,
                "<iq xmlns='jabber:client' type='set' id='l'><listen xmlns='urn:nexus:1' cmd='add'/></iq>",
            );
            daemon.heard(1);
            let call = |id: &str| {
                format!(
                    "<iq xmlns='jabber:client' type='set' id='{id}'><api xmlns='urn:nexus:1' app='etest' cmd='add'/></iq>"
                )
            };
            daemon.heard(9);
            daemon.say(9, &call("c1"));
            let asked = daemon.heard(1);
            assert!(asked.contains("cmd='add'"), "{asked} {}", daemon.heard(9));
            let token = asked
                .split_once("id='")
                .unwrap()
                .1
                .split('\'')
                .next()
                .unwrap()
                .to_owned();
            daemon.lose(1);
            daemon.say(9, &call("c2"));
            let heard = daemon.heard(9);
            assert!(
                heard.contains("id='c2'") && heard.contains("code='-2000'"),
                "{heard}"
            );
            daemon.pass(away_ms);
            daemon.connect(2, back, true, ALICE);
            daemon.resume(2, &previd, 1);
            let heard = daemon.heard(2);
            assert!(heard.contains(&token), "the request is sent again: {heard}");
            daemon.say(
                2,
                &format!(
                    "<iq xmlns='jabber:client' type='result' id='{token}'><json xmlns='urn:xmpp:json:0'>{{\"n\":7}}</json></iq>"
                ),
            );
            let heard = daemon.heard(9);
            let outcome = if away_ms < 5_000 {
                "{\"n\":7}"
            } else {
                "code='-2001'"
            };
            assert!(heard.contains("id='c1'") && heard.contains(outcome), "{heard}");
            daemon.say(9, &call("c3"));
            assert!(daemon.heard(2).contains("cmd='add'"), "it is asked again");
        }
    }
}

#[test]
fn p2_1_a_reply_waits_for_who_asked_and_direct_messages_do_not() {
    let mut daemon = Daemon::new(2);
    daemon.open_app();
    daemon.connect(9, 1, true, ALICE);
    daemon.bind(9, "w9");
    daemon.say(
        9,
        "<iq xmlns='jabber:client' type='set' id='l'><listen xmlns='urn:nexus:1' cmd='add'/></iq>",
    );
    daemon.heard(9);
    let previd = daemon.log_in(1, 0, false, ALICE, "page");
    daemon.say(
        1,
        "<iq xmlns='jabber:client' type='set' id='c1'><api xmlns='urn:nexus:1' app='etest' cmd='add'/></iq>",
    );
    daemon.lose(1);
    let asked = daemon.heard(9);
    let token = asked
        .split_once("id='")
        .unwrap()
        .1
        .split('\'')
        .next()
        .unwrap()
        .to_owned();
    daemon.say(
        9,
        &format!("<iq xmlns='jabber:client' type='result' id='{token}'><json xmlns='urn:xmpp:json:0'>{{\"n\":7}}</json></iq>"),
    );
    let direct = format!(
        "<message xmlns='jabber:client' to='{ALICE}@nexus.example/page'><body>hello</body></message>"
    );
    daemon.say(9, &direct);
    daemon.connect(2, 1, true, ALICE);
    daemon.resume(2, &previd, 0);
    let heard = daemon.heard(2);
    assert!(heard.contains("{\"n\":7}") && !heard.contains("hello"), "{heard}");
    daemon.say(9, &direct);
    assert!(daemon.heard(2).contains("hello"));
}

#[test]
fn how_many_wait_is_bounded_by_account() {
    let most = u32::try_from(limits::XMPP_SUSPENDED_PER_ACCOUNT_MAX).unwrap();
    let mut daemon = Daemon::new(1);
    for conn in 0..=most {
        daemon.log_in(conn, 0, true, ALICE, &format!("r{conn}"));
        daemon.lose(conn);
    }
    daemon.log_in(most + 1, 0, true, BOB, "r");
    daemon.lose(most + 1);
    assert_eq!(daemon.sum(|m| m.xmpp_suspended.get()), u64::from(most) + 1);
    assert_eq!(daemon.sum(|m| m.xmpp_suspend_refused.get()), 1);
}

#[test]
fn clients_of_one_account_that_never_acknowledge_take_nobody_elses_resumption() {
    for (of_account, is_resumed) in [(10_000, true), (u64::MAX, false)] {
        let mut daemon = Daemon::new(1);
        daemon.bound_unacked(40_000, of_account);
        daemon.connect(9, 0, true, BOB);
        daemon.bind(9, "page");
        for conn in 10..20 {
            daemon.log_in(conn, 0, true, ALICE, &format!("r{conn}"));
            daemon.subscribe(conn, "a");
        }
        let previd = daemon.log_in(1, 0, true, BOB, "w1");
        daemon.subscribe(1, "a");
        for _ in 0..5 {
            daemon.publish(9, "a", &"x".repeat(1_000));
        }
        assert!(daemon.sum(|m| m.xmpp_unacked_forgotten.get()) > 0);
        assert!(daemon.sum(|m| m.xmpp_unacked_bytes.get()) <= 40_000);
        daemon.lose(1);
        daemon.connect(2, 0, true, BOB);
        // The answer to the subscription was all that it read.
        daemon.resume(2, &previd, 1);
        let heard = daemon.heard(2);
        assert_eq!(heard.contains("<resumed "), is_resumed, "{heard}");
        assert_eq!(texts(&heard).len(), if is_resumed { 5 } else { 0 });
    }
}

#[test]
fn a_stop_ends_what_waits_and_nothing_is_stored() {
    let mut daemon = Daemon::new(1);
    daemon.log_in(1, 0, true, ALICE, "w1");
    daemon.log_in(2, 0, true, ALICE, "w2");
    daemon.lose(1);
    let place = &mut daemon.places[0];
    place.hub.stop(&mut place.machine, daemon.now);
    assert!(daemon.heard(2).contains("<system-shutdown "));
    daemon.lose(2);
    assert!(daemon.places[0].hub.is_empty());
    assert!(daemon.places[0].hub.take_batch().is_none());
}
