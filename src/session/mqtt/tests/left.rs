//! What the wills of a shard take, all together.

use super::*;
use crate::codec::mqtt::packet::{self, Disconnect as Leave};
use crate::session::mqtt::MessageState;

/// A CONNECT of 5.0 for a session that lasts a minute, with a will that waits half of that.
fn mortal(settings: Settings, payload: &'static [u8]) -> Client {
    let mut client = Client::new(V5, settings);
    client.ask(&Packet::Connect(Connect {
        properties: Properties::list(&[Property::SessionExpiryInterval(60)]),
        will: Some(packet::Will {
            topic: "last/words",
            payload,
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: Properties::list(&[Property::WillDelayInterval(30)]),
        }),
        ..connect(V5)
    }));
    client
}

fn held(client: &Client) -> u64 {
    client.settings.metrics.mqtt_will_bytes.get()
}

#[test]
fn a_will_counts_while_a_session_that_was_attached_has_it() {
    let mut client = mortal(settings(), b"gone");
    assert_eq!(held(&client), 0, "not in yet");
    client.attach(&worker());
    let bytes = held(&client);
    assert!((14..200).contains(&bytes), "{bytes}");
    assert_eq!(client.peer.session.will_bytes(), bytes);
    client.ask(&Packet::Disconnect(Leave {
        code: 0,
        properties: Properties::EMPTY,
    }));
    assert_eq!(held(&client), 0, "[MQTT-3.14.4-3]");
    let mut client = mortal(settings(), b"gone");
    client.attach(&worker());
    assert!(client.peer.session.take_will().is_some());
    assert_eq!(held(&client), 0, "on its way");
}

#[test]
fn a_will_that_waits_counts_without_a_connection_and_after_a_restart() {
    let mut client = mortal(settings(), b"gone");
    client.peer.session.keep(model::NUMBER);
    client.attach(&worker());
    let bytes = held(&client);
    let now = client.peer.now;
    let offline = client.peer.session.detach(now).unwrap();
    assert_eq!((held(&client), offline.will_bytes()), (bytes, bytes));
    assert_eq!(client.peer.session.will_bytes(), 0);
    let mut described = Vec::new();
    offline.describe(now, &mut described);
    let messages = MessageState::restore(model::NUMBER, now, [], []).0;
    let restored = Session::restored(
        &client.settings,
        now,
        &crate::session::Starts::default(),
        &described,
        messages,
    )
    .unwrap();
    assert_eq!(held(&client), 2 * bytes);
    drop(offline);
    drop(restored);
    assert_eq!(held(&client), 0);
}

#[test]
fn a_will_has_to_fit_beside_the_others_but_for_the_one_it_replaces() {
    let most = 1_000;
    let bounded = Settings {
        will_bytes_max: most,
        ..settings()
    };
    assert!(!mortal(bounded.clone(), &[b'x'; 1_000]).peer.session.will_fits(0));
    let mut first = mortal(bounded.clone(), &[b'x'; 500]);
    assert!(first.peer.session.will_fits(0));
    first.attach(&worker());
    let second = mortal(bounded.clone(), &[b'x'; 500]);
    assert!(!second.peer.session.will_fits(0));
    assert!(second.peer.session.will_fits(first.peer.session.will_bytes()));
    assert!(Client::new(V5, bounded).peer.session.will_fits(0), "has none");
    drop(first);
    assert!(second.peer.session.will_fits(0));
}
