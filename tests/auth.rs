//! Enhanced authentication of MQTT 5.0 (4.12; PROTOCOL 3, Connecting): SCRAM by mqtt.js and over sockets by hand.

use serde_json::{Value, json};

use crate::harness::client::auth_properties;
use crate::harness::clock::{CHANGE_MAX, Moment};
use crate::harness::daemon::DOMAIN;
use crate::harness::matrix::{Library, MQTTJS_5, Transport, Version};
use crate::harness::mqtt::{self, PINGREQ, PINGRESP, Raw};
use crate::harness::scram::{Hash, Scram};
use crate::harness::world::{new_uid, text};
use crate::harness::{Account, Call, Client, Connect, Form, Net, each_shard_count};

const CONTINUE: u8 = 0x18;
const AGAIN: u8 = 0x19;
const FORMS: [Form; 2] = [
    MQTTJS_5,
    Form {
        library: Library::Mqttjs,
        version: Version::V5,
        transport: Transport::Tcp,
    },
];

/// How much later than promised a busy machine may show a change.
const ROOM: std::time::Duration = std::time::Duration::from_secs(2);

fn scram(hash: Hash, name: &str) -> Scram {
    Scram::new(hash, "n,,", name, "fyko+d2lbbFgONRv9qkxdawL")
}

/// A CONNECT without user name and password.
fn connect(hash: Hash, scram: &Scram, resource: &str) -> Connect {
    Connect {
        user: None,
        password: None,
        properties: auth_properties(hash.mechanism(), &scram.first()),
        ..Connect::new("", "", resource)
    }
}

/// Answers the challenge that comes.
#[track_caller]
fn answer(client: &Client, hash: Hash, scram: &mut Scram, secret: &str) {
    let (code, properties) = client.auth();
    assert_eq!(code, CONTINUE);
    assert_eq!(properties.text("authentication_method"), Some(hash.mechanism()));
    let challenge = properties.bytes("authentication_data").expect("a challenge");
    let last = scram.last(std::str::from_utf8(&challenge).unwrap(), secret);
    client.send_auth(CONTINUE, hash.mechanism(), &last);
}

/// A client that has shown a secret, whatever comes of it.
#[track_caller]
fn open(net: &Net, form: Form, hash: Hash, account: &Account, resource: &str) -> (Client, Scram) {
    let mut scram = scram(hash, &account.name);
    let client = net.open(form, &connect(hash, &scram, resource));
    answer(&client, hash, &mut scram, &account.secret);
    (client, scram)
}

/// A client that is in.
#[track_caller]
fn login(net: &Net, form: Form, hash: Hash, account: &Account, resource: &str) -> Client {
    let (client, scram) = open(net, form, hash, account, resource);
    let (code, _, properties) = client.connack();
    assert_eq!(code, 0, "{properties:?}");
    assert_eq!(properties.text("authentication_method"), Some(hash.mechanism()));
    let last = properties.bytes("authentication_data").expect("a signature");
    scram.assert_server_final(std::str::from_utf8(&last).unwrap());
    client
}

/// Begins to authenticate again.
fn begin_again(client: &Client, hash: Hash, account: &Account) -> Scram {
    let scram = scram(hash, &account.name);
    client.send_auth(AGAIN, hash.mechanism(), &scram.first());
    scram
}

/// Authenticates again, with success.
#[track_caller]
fn renew(client: &Client, hash: Hash, account: &Account) {
    let mut scram = begin_again(client, hash, account);
    // The client goes on meanwhile.
    assert_eq!(whoami(client)["uid"], account.uid);
    answer(client, hash, &mut scram, &account.secret);
    let (code, properties) = client.auth();
    assert_eq!(code, 0);
    let last = properties.bytes("authentication_data").expect("a signature");
    scram.assert_server_final(std::str::from_utf8(&last).unwrap());
}

#[track_caller]
fn whoami(client: &Client) -> Value {
    let reply = client.call(&Call::new("nexus", "whoami"));
    assert_eq!(reply.code, 0, "{reply:?}");
    reply.body
}

/// Another secret of the same account, and its id.
fn another(net: &Net, account: &Account, flags: &[&str]) -> (Account, String) {
    let arguments = [&["secret", "add", &account.name], flags].concat();
    let made = net.daemon().cli_json(&arguments);
    let secret = text(&made, "secret");
    let id = made["id"]
        .as_str()
        .map_or_else(|| made["id"].to_string(), str::to_owned);
    (
        Account {
            secret,
            ..account.clone()
        },
        id,
    )
}

#[test]
fn mqtt5_4_12_scram_logs_a_client_in_without_its_secret() {
    each_shard_count(|net| {
        for form in FORMS {
            for hash in [Hash::Sha256, Hash::Sha1] {
                let account = net.app().account("owner");
                let client = login(net, form, hash, &account, "w1");
                let body = whoami(&client);
                assert_eq!(
                    (&body["uid"], &body["resource"]),
                    (&json!(account.uid), &json!("w1"))
                );
                // The newcomer takes over however it comes in, as often as it comes.
                let mut old = client;
                for _ in 0..4 {
                    let new = login(net, form, hash, &account, "w1");
                    assert_eq!(old.disconnected(), 0x8E);
                    old = new;
                }
                let with_domain = Account {
                    name: format!("{}@{DOMAIN}", account.name),
                    ..account.clone()
                };
                let client = login(net, form, hash, &with_domain, "");
                let resource = whoami(&client)["resource"].clone();
                assert!(resource.as_str().is_some_and(|made_up| !made_up.is_empty()));
            }
        }
    });
}

#[test]
fn a_wrong_proof_and_an_unknown_account_are_refused_alike() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let other = net.app().account("owner");
        let wrong = Account {
            secret: other.secret.clone(),
            ..account.clone()
        };
        let unknown = Account {
            name: format!("{}-{}-partner", account.app, new_uid()),
            ..account.clone()
        };
        let codes = [&wrong, &unknown].map(|nobody| {
            let (client, _) = open(net, MQTTJS_5, Hash::Sha256, nobody, "w1");
            let (code, _, properties) = client.connack();
            assert!(!properties.has("authentication_data"), "no signature for nobody");
            client.closed();
            code
        });
        assert_eq!(codes[0], codes[1]);
        assert!([0x86, 0x87].contains(&codes[0]), "{:#x}", codes[0]);
    });
}

#[test]
fn a_secret_bound_to_a_resource_is_good_for_that_one_alone() {
    each_shard_count(|net| {
        let account = net.app().account("user");
        let (device, _) = another(net, &account, &["--resource", "Device.7"]);
        let client = login(net, MQTTJS_5, Hash::Sha256, &device, "Device.7");
        assert_eq!(whoami(&client)["resource"], "Device.7");
        let (refused, _) = open(net, MQTTJS_5, Hash::Sha256, &device, "Device.8");
        let code = refused.connack().0;
        assert!([0x86, 0x87].contains(&code), "{code:#x}");
        refused.closed();
        // The account's own secret is good for it, too; another resource's is not.
        renew(&client, Hash::Sha256, &account);
        let (other, _) = another(net, &account, &["--resource", "Device.8"]);
        let mut scram = begin_again(&client, Hash::Sha256, &other);
        answer(&client, Hash::Sha256, &mut scram, &other.secret);
        assert_eq!(client.disconnected(), 0x87);
    });
}

#[test]
fn mqtt5_4_12_1_a_client_authenticates_again_and_ends_if_it_fails() {
    each_shard_count(|net| {
        let app = net.app();
        let (account, other) = (app.account("owner"), app.account("partner"));
        for form in FORMS {
            let client = login(net, form, Hash::Sha256, &account, "w1");
            renew(&client, Hash::Sha256, &account);
            renew(&client, Hash::Sha256, &account);
            let mut scram = begin_again(&client, Hash::Sha256, &account);
            answer(&client, Hash::Sha256, &mut scram, &other.secret);
            assert_eq!(client.disconnected(), 0x87);
            client.closed();
            let client = login(net, form, Hash::Sha256, &account, "w1");
            begin_again(&client, Hash::Sha256, &other);
            assert_eq!(client.disconnected(), 0x87, "the same account");
            client.closed();
        }
    });
}

#[test]
fn a_revocation_ends_who_was_last_proven_by_that_secret() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let (first, first_id) = another(net, &account, &[]);
        let (second, second_id) = another(net, &account, &["--resource", "w1"]);
        assert_ne!(first.secret, second.secret);
        let client = login(net, MQTTJS_5, Hash::Sha256, &first, "w1");
        let stays = login(net, MQTTJS_5, Hash::Sha256, &first, "w2");
        renew(&client, Hash::Sha256, &second);
        net.daemon().cli_json(&["secret", "revoke", &first_id]);
        assert_eq!(stays.disconnected(), 0x98);
        assert_eq!(whoami(&client)["uid"], account.uid);
        net.daemon().cli_json(&["secret", "revoke", &second_id]);
        let begun = Moment::now();
        assert_eq!(client.disconnected(), 0x98);
        assert!(begun.elapsed() < CHANGE_MAX + ROOM);
        let (refused, _) = open(net, MQTTJS_5, Hash::Sha256, &second, "w1");
        let code = refused.connack().0;
        assert!([0x86, 0x87].contains(&code), "{code:#x}");
    });
}

/// A property block with a method and data.
fn block(method: &str, data: &str) -> Vec<u8> {
    let properties = [vec![0x15], mqtt::counted(method), vec![0x16], mqtt::counted(data)].concat();
    [mqtt::variable(properties.len()), properties].concat()
}

/// A CONNECT with a method, by hand.
fn raw_connect(method: &str, data: &str) -> Vec<u8> {
    let head = [mqtt::counted("MQTT"), vec![5, 0b10, 0, 60]].concat();
    let body = [head, block(method, data), mqtt::counted("w1")].concat();
    mqtt::packet(0x10, &body)
}

fn raw_auth(code: u8, method: &str, data: &str) -> Vec<u8> {
    mqtt::packet(0xF0, &[vec![code], block(method, data)].concat())
}

#[test]
fn mqtt5_4_12_what_is_no_exchange_is_refused_in_connack() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let first = scram(Hash::Sha256, &account.name).first();
        let method = Hash::Sha256.mechanism();
        for (connect, next, wanted) in [
            (raw_connect("GSSAPI", "x"), None, 0x8C),
            (raw_connect(method, "x"), None, 0x82),
            (raw_connect(method, &first), Some(PINGREQ.to_vec()), 0x82),
            (
                raw_connect(method, &first),
                Some(raw_auth(AGAIN, method, &first)),
                0x82,
            ),
            (
                raw_connect(method, &first),
                Some(raw_auth(CONTINUE, "SCRAM-SHA-1", "c=biws")),
                0x82,
            ),
            (
                raw_connect(method, &first),
                Some(raw_auth(CONTINUE, method, "c=biws")),
                0x82,
            ),
        ] {
            let mut raw = Raw::open(net.daemon().mqtt);
            raw.send(&connect);
            if let Some(next) = next {
                assert_eq!(raw.packet().first, 0xF0, "an AUTH");
                raw.send(&next);
            }
            assert_eq!(raw.packet().connack_code(), wanted);
            raw.assert_closed();
        }
    });
}

#[test]
fn mqtt5_4_12_auth_out_of_turn_is_a_protocol_error() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let method = Hash::Sha256.mechanism();
        let first = scram(Hash::Sha256, &account.name).first();
        // Who came in by a password has no method to authenticate by again.
        let mut raw = Raw::login(net.daemon().mqtt, 5, &account, "w1");
        raw.send(&PINGREQ);
        assert_eq!(raw.packet().first, PINGRESP);
        raw.send(&raw_auth(AGAIN, method, &first));
        assert_eq!(raw.packet().disconnect_code(), 0x82);
        raw.assert_closed();
        for (code, method) in [(CONTINUE, method), (AGAIN, "SCRAM-SHA-1")] {
            let client = login(net, MQTTJS_5, Hash::Sha256, &account, "w2");
            client.send_auth(code, method, &first);
            assert_eq!(client.disconnected(), 0x82);
            client.closed();
        }
    });
}
