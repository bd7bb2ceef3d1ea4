//! Connecting: who gets in, under which name, and what CONNACK promises (PROTOCOL 3, Connecting; 6).

use serde_json::json;

use crate::harness::daemon::DOMAIN;
use crate::harness::matrix::{PAHO_5, PAHO_311};
use crate::harness::mqtt::{self, Raw};
use crate::harness::world::{new_uid, text};
use crate::harness::{Account, Call, Client, Connect, Form, each_form, each_shard_count};

/// Refused, in the words of each version: "5.0: 0x86/0x87, 3.1.1: 4/5".
#[track_caller]
fn assert_refused(client: &Client) -> u8 {
    let (code, session_present, _) = client.connack();
    let refusals: &[u8] = if client.form.is_5() {
        &[0x86, 0x87]
    } else {
        &[4, 5]
    };
    assert!(refusals.contains(&code), "CONNACK {code:#x}");
    assert!(!session_present);
    client.closed();
    code
}

/// What `whoami` says to a block.
fn whoami(client: &Client) -> serde_json::Value {
    let reply = client.call(&Call::new("nexus", "whoami"));
    assert_eq!(reply.code, 0, "{reply:?}");
    reply.body
}

#[test]
fn there_are_no_anonymous_connections() {
    each_form(|net, form| {
        let nobody = Connect {
            user: None,
            password: None,
            ..Connect::new("", "", "w1")
        };
        assert_refused(&net.open(form, &nobody));
    });
}

#[test]
fn a_user_name_without_a_password_is_refused() {
    each_form(|net, form| {
        let account = net.app().account("owner");
        let connect = Connect {
            password: None,
            ..account.connect("w1")
        };
        assert_refused(&net.open(form, &connect));
    });
}

#[test]
fn unknown_account_and_wrong_secret_are_refused_alike() {
    each_form(|net, form| {
        let account = net.app().account("owner");
        let other = net.app().account("owner");
        let wrong = Connect::new(&account.name, &other.secret, "w1");
        let unknown = Connect::new(
            &format!("{}-{}-partner", account.app, new_uid()),
            &account.secret,
            "w1",
        );
        let wrong = assert_refused(&net.open(form, &wrong));
        let unknown = assert_refused(&net.open(form, &unknown));
        assert_eq!(wrong, unknown);
    });
}

#[test]
fn an_account_has_exactly_three_parts() {
    each_form(|net, form| {
        let account = net.app().account("owner");
        for user in [
            format!("{}-x", account.name),
            format!("{}-{}", account.app, account.uid),
            account.app.clone(),
        ] {
            assert_refused(&net.open(form, &Connect::new(&user, &account.secret, "w1")));
        }
    });
}

#[test]
fn the_user_name_may_carry_the_domain() {
    each_form(|net, form| {
        let account = net.app().account("owner");
        let user = format!("{}@{DOMAIN}", account.name);
        let client = net.open(form, &Connect::new(&user, &account.secret, "w1"));
        assert_eq!(client.connack().0, 0);
        assert_eq!(whoami(&client)["uid"], account.uid);
    });
}

#[test]
fn a_secret_bound_to_a_resource_logs_in_as_that_resource_alone() {
    each_form(|net, form| {
        let account = net.app().account("user");
        let made = net
            .daemon()
            .cli_json(&["secret", "add", &account.name, "--resource", "Device.7"]);
        let device = Account {
            secret: text(&made, "secret"),
            ..account.clone()
        };
        let client = net.connect(form, &device, "Device.7");
        assert_refused(&net.open(form, &device.connect("Device.8")));
        assert_refused(&net.open(form, &device.connect("device.7")));
        assert_eq!(whoami(&client)["resource"], "Device.7");
    });
}

#[test]
fn the_resource_is_kept_byte_for_byte() {
    each_form(|net, form| {
        let account = net.app().account("owner");
        for resource in [
            "Worker.App.dev",
            "worker.app.dev",
            "Gerät 7 – ✓",
            &"r".repeat(128),
        ] {
            let client = net.connect(form, &account, resource);
            let body = whoami(&client);
            assert_eq!(body["app"], account.app);
            assert_eq!(body["uid"], account.uid);
            assert_eq!(body["role"], account.role);
            assert_eq!(body["resource"], resource);
        }
    });
}

#[test]
fn a_client_identifier_outside_the_grammar_of_a_resource_is_refused() {
    each_form(|net, form| {
        let account = net.app().account("owner");
        let long = "r".repeat(129);
        for resource in ["a/b", "a+b", "a#b", "a@b", &long] {
            let client = net.open(form, &account.connect(resource));
            let (code, _, _) = client.connack();
            assert_eq!(code, if form.is_5() { 0x85 } else { 2 }, "{resource}");
            client.closed();
        }
    });
}

#[test]
fn an_empty_client_identifier_gets_an_assigned_one() {
    each_form(|net, form| {
        let account = net.app().account("owner");
        let client = net.open(form, &account.connect(""));
        let (code, _, properties) = client.connack();
        assert_eq!(code, 0);
        let body = client.call(&Call::new("nexus", "whoami")).body;
        let resource = body["resource"].as_str().unwrap();
        assert!(!resource.is_empty());
        if form.is_5() {
            assert_eq!(properties.text("assigned_client_identifier"), Some(resource));
        }
    });
}

#[test]
fn mqtt3_3_1_3_8_an_empty_client_identifier_needs_a_clean_session() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let mut bytes = mqtt::connect(4, &account, "");
        // The connect flags, after the fixed header (2), the name (6) and the level (1), without Clean Session.
        let flags = bytes.iter().position(|&byte| byte == 0b1100_0010).unwrap();
        bytes[flags] = 0b1100_0000;
        let mut raw = Raw::open(net.daemon().mqtt);
        raw.send(&bytes);
        assert_eq!(raw.packet().connack_code(), 2);
        raw.assert_closed();
    });
}

#[test]
fn take_over_by_the_same_account_closes_the_old_connection() {
    each_form(|net, form| {
        let account = net.app().account("owner");
        let old = net.connect(form, &account, "w1");
        let new = net.connect(form, &account, "w1");
        if form.is_5() {
            assert_eq!(old.disconnected(), 0x8E);
        }
        old.closed();
        assert_eq!(whoami(&new)["resource"], "w1");
    });
}

#[test]
fn an_address_is_unique_over_versions_and_transports() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let mut clients: Vec<Client> = Vec::new();
        for form in crate::harness::FORMS {
            let client = net.connect(form, &account, "w1");
            if let Some(old) = clients.last() {
                old.closed();
            }
            clients.push(client);
        }
        assert_eq!(whoami(clients.last().unwrap())["resource"], "w1");
    });
}

#[test]
fn two_accounts_never_share_or_steal_a_session() {
    each_form(|net, form| {
        let app = net.app();
        let (one, other) = (app.account("owner"), app.account("partner"));
        let first = net.connect(form, &one, "w1");
        let second = net.connect(form, &other, "w1");
        assert_eq!(whoami(&first)["uid"], one.uid);
        assert_eq!(whoami(&second)["uid"], other.uid);
    });
}

#[test]
fn connack_says_honestly_what_is_not_offered() {
    each_form(|net, form| {
        let account = net.app().account("owner");
        let mut connect = Connect {
            clean: false,
            ..account.connect("w1")
        };
        if form.is_5() {
            connect.properties = json!({"session_expiry_interval": 3600});
        }
        let first = net.open(form, &connect);
        let (code, session_present, properties) = first.connack();
        assert_eq!((code, session_present), (0, false));
        if form.is_5() {
            assert_eq!(properties.number("maximum_qos"), None, "2 needs no word");
            assert!(!properties.has("retain_available"), "it is available");
            assert_eq!(properties.number("session_expiry_interval"), None, "as asked");
        }
        first.hear("kept/by/nobody", 1);
        first.disconnect();
        let second = net.open(form, &connect);
        let (code, session_present, _) = second.connack();
        assert_eq!((code, session_present), (0, true), "it was asked to last");
    });
}

#[test]
fn every_qos_is_granted() {
    each_form(|net, form| {
        let client = net.connect(form, &net.app().account("owner"), "w1");
        assert_eq!(client.suback("plant/7", 2), 2);
        assert_eq!(client.suback("plant/8", 1), 1);
        assert_eq!(client.suback("plant/9", 0), 0);
    });
}

#[test]
fn version_3_1_is_refused_with_return_code_1() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let mut body = mqtt::counted("MQIsdp");
        body.extend([3, 0b1100_0010, 0, 60]);
        for field in ["w1", &account.name, &account.secret] {
            body.extend(mqtt::counted(field));
        }
        let mut raw = Raw::open(net.daemon().mqtt);
        raw.send(&mqtt::packet(0x10, &body));
        assert_eq!(raw.packet().connack_code(), 1);
        raw.assert_closed();
    });
}

#[test]
fn an_unknown_version_is_refused() {
    each_shard_count(|net| {
        for version in [0, 3, 6, 255] {
            let mut raw = Raw::open(net.daemon().mqtt);
            raw.send(&mqtt::connect(version, &net.app().account("owner"), "w1"));
            let code = raw.packet().connack_code();
            assert!(
                matches!(code, 1 | 0x84),
                "unacceptable protocol version, in 3.1.1 or in 5.0: {code:#x}"
            );
            raw.assert_closed();
        }
    });
}

#[test]
fn a_will_on_a_control_topic_is_refused_at_connect() {
    each_form(|net, form| {
        let account = net.app().account("owner");
        for topic in ["$nexus/direct/etest/w1", "$nexus/answer/x", "$SYS/x", "$other"] {
            let client = net.open(form, &account.connect("w1").with_will(topic, b"gone", 0));
            let (code, _, _) = client.connack();
            assert_eq!(code, if form.is_5() { 0x90 } else { 5 }, "{topic}");
            client.closed();
        }
    });
}

#[test]
fn a_peer_that_logs_in_stays_though_others_fail() {
    // Failed logins of one account from one address are answered late; another account is not.
    each_shard_count(|net| {
        let app = net.app();
        let (attacked, other) = (app.account("owner"), app.account("partner"));
        let bystander: Client = net.connect(PAHO_311, &attacked, "w1");
        let guesses: Vec<Client> = (0..12_u32)
            .map(|place| {
                let form: Form = if place.is_multiple_of(2) { PAHO_5 } else { PAHO_311 };
                net.open(form, &Connect::new(&attacked.name, "guess", &format!("g{place}")))
            })
            .collect();
        let late = net.connect(PAHO_5, &other, "w1");
        assert_eq!(whoami(&late)["uid"], other.uid);
        assert_eq!(whoami(&bystander)["uid"], attacked.uid);
        for guess in &guesses {
            assert_refused(guess);
        }
    });
}
