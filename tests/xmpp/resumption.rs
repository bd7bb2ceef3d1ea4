//! Connections that are lost without a good-bye, and clients that resume their sessions (XEP-0198).

use serde_json::json;

use super::tcp::with_tls;
use crate::harness::daemon::DOMAIN;
use crate::harness::matrix::{Form, Library, PAHO_5, Transport, Version, XMPPJS};
use crate::harness::relay::Relay;
use crate::harness::xmpp::XmppSocket;
use crate::harness::{Account, Call, Client, Net, Options, Publish, eventually, http, parallel};

const SLIXMPP_STARTTLS: Form = Form {
    library: Library::Slixmpp,
    version: Version::Xmpp,
    transport: Transport::StartTls,
};

const CASES: [(usize, Form); 4] = [
    (1, XMPPJS),
    (2, XMPPJS),
    (1, SLIXMPP_STARTTLS),
    (2, SLIXMPP_STARTTLS),
];

/// A client that comes back by itself when its connection is lost.
fn connect(net: &Net, form: Form, account: &Account, resource: &str) -> (Relay, Client) {
    let target = match form.library {
        Library::XmppJs => net.daemon().ws,
        _ => net.daemon().address("xmpp"),
    };
    let relay = Relay::to(target);
    let mut connect = account.connect(resource);
    connect.properties = json!({"reconnect": true});
    let client = Client::open(form, relay.address, &connect);
    let (code, present, _) = client.connack();
    assert_eq!((code, present), (0, false));
    (relay, client)
}

fn metric(net: &Net, name: &str) -> u64 {
    http::metric(net.daemon().http, name)
}

#[test]
fn xep0198_5_stock_clients_resume_and_miss_nothing() {
    parallel(&CASES, |&(shards, form)| {
        let net = with_tls(shards);
        let app = net.open_app();
        let account = app.account("owner");
        let (relay, client) = connect(&net, form, &account, "w1");
        // `@xmpp/client` does not count the answers to its own requests, so it asks for nothing here.
        let is_worker = form.library == Library::Slixmpp;
        if is_worker {
            client.listen("add");
        }
        let room = format!("hall@conference.{DOMAIN}");
        client.send_stanza(&format!("<presence to='{room}/me'/>"));
        client.presence_from(&format!("{room}/{}-w1", account.name));
        let sender = net.connect(PAHO_5, &app.account_of(&account.uid, "partner"), "pump");
        let caller = net.connect(XMPPJS, &app.customer(), "page");
        let publish = |text: &str| {
            sender.publish_acked(Publish::new("hall", text).qos(1));
        };
        publish("0");
        assert_eq!(client.message().payload, b"0");
        for round in 0..3 {
            relay.cut();
            client.closed();
            let texts: Vec<String> = (0..5).map(|n| format!("{round}:{n}")).collect();
            for text in &texts {
                publish(text);
            }
            let (code, present, _) = client.connack();
            assert_eq!((code, present), (0, true), "{form:?}");
            for text in &texts {
                assert_eq!(client.message().payload, text.as_bytes(), "{form:?}");
            }
            if !is_worker {
                continue;
            }
            let id = format!("c{round}");
            caller.send_call(&id, &Call::new(&app.name, "add"));
            let request = client.request();
            client.answer(&request, r#"{"sum":3}"#);
            assert_eq!(caller.reply(&id).code, 0, "{form:?}");
        }
        assert_eq!(metric(&net, "nexus_xmpp_resumed_total"), 3);
        client.disconnect();
        eventually("the session ends with its stream", || {
            metric(&net, "nexus_xmpp_suspended") == 0 && metric(&net, "nexus_sessions") == 2
        });
    });
}

#[test]
fn xep0198_5_a_client_that_is_away_too_long_binds_again_on_the_same_stream() {
    parallel(&[1, 2], |&shards| {
        let net = Net::start(&Options::shards(shards).config("[xmpp]\nresume_s = 1\n"));
        let account = net.app().account("owner");
        let mut first = XmppSocket::login(net.daemon().ws, &account, "w1");
        let enabled = first.ask("<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
        assert_eq!(enabled.attribute("max"), Some("1"), "{enabled:?}");
        let previd = enabled.attribute("id").unwrap().to_owned();
        drop(first);
        eventually("it is given up", || {
            metric(&net, "nexus_xmpp_resume_expired_total") == 1
        });
        let (mut again, _) = XmppSocket::open(net.daemon().ws);
        let plain = crate::harness::xmpp::plain("", &account.name, &account.secret);
        again.authenticate("PLAIN", &plain);
        again.restart();
        let failed = again.ask(&format!(
            "<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='0'/>"
        ));
        assert!(failed.is("urn:xmpp:sm:3", "failed"), "{failed:?}");
        let bound = again.bind("w1");
        assert_eq!(bound.attribute("type"), Some("result"), "{bound:?}");
        let enabled = again.ask("<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
        assert!(enabled.is("urn:xmpp:sm:3", "enabled"), "{enabled:?}");
    });
}
