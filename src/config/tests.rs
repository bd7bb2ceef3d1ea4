//! What a configuration may say, and what is said about one that is wrong.

use super::*;

fn error(text: &str) -> String {
    Config::parse(text, Path::new("nexus.toml"))
        .unwrap_err()
        .to_string()
}

#[test]
fn an_empty_file_gives_the_defaults_and_they_pass_their_own_check() {
    assert_eq!(Config::parse("", Path::new("x")).unwrap(), Config::default());
}

#[test]
fn every_value_can_be_set() {
    let text = r#"
        data_dir = "/var/lib/nexus"
        domains = ["qepal.com", "nexus.example"]
        [shards]
        count = 2
        spin_us = 50
        [listen]
        mqtt = "0.0.0.0:1883"
        ws = "[::1]:0"
        http = "127.0.0.1:9000"
        [mqtt]
        v3_plain_channels = false
        cleartext_passwords = true
        receive_maximum = 10
        packet_bytes_max = 2048
        topic_aliases_max = 0
        keep_alive_s_max = 60
        inflight_max = 5
        queued_messages_max = 6
        queued_bytes_max = 7000
        [xmpp]
        ping_s = 30
        [channels]
        root_wildcard = "all"
        retained_max = 5
        retained_bytes_max = 6
        retained_per_account_max = 7
        retained_bytes_per_account_max = 8
        subscription_bytes_max = 4096
        [api]
        requests_per_block_max = 1
        requests_per_worker_max = 2
        requests_per_shard_max = 3
        [sys]
        interval_s = 0
        [drain]
        seconds = 1
        [[tokens]]
        app = "etest"
        algorithm = "EdDSA"
        key_file = "etest.pem"
    "#;
    let config = Config::parse(text, Path::new("x")).unwrap();
    assert_eq!(config.channels.root_wildcard, RootWildcard::All);
    assert_eq!(
        (config.channels.retained_max, config.channels.retained_bytes_max),
        (5, 6)
    );
    let of_account = (
        config.channels.retained_per_account_max,
        config.channels.retained_bytes_per_account_max,
    );
    assert_eq!(of_account, (7, 8));
    assert_eq!(config.channels.subscription_bytes_max, 4_096);
    assert_eq!(config.api.requests_per_worker_max, 2);
    assert_eq!(config.listen.ws.port(), 0);
    let mqtt = config.mqtt;
    let bounds = (mqtt.inflight_max, mqtt.queued_messages_max, mqtt.queued_bytes_max);
    assert_eq!(bounds, (5, 6, 7_000));
}

#[test]
fn errors_name_file_key_value_and_what_is_allowed() {
    for (text, line) in [
        (
            "[mqtt]\nreceive_maximum = 0\n",
            "nexus.toml:2: mqtt.receive_maximum = 0: a number from 1 to 65535 is allowed",
        ),
        (
            "[mqtt]\nreceive_maximum = \"many\"\n",
            "nexus.toml:2: mqtt.receive_maximum = \"many\": a number from 1 to 65535 is allowed",
        ),
        (
            "mqtt.receive_maximum = -1\n",
            "nexus.toml:1: mqtt.receive_maximum = -1: a number from 1 to 65535 is allowed",
        ),
        (
            "[shards]\ncount = 99_999_999_999_999_999_999\n",
            "nexus.toml:2: shards.count = 99_999_999_999_999_999_999: a number from 0 to 64 is allowed",
        ),
        (
            "[drain]\nseconds = 1.5\n",
            "nexus.toml:2: drain.seconds = 1.5: a number from 0 to 3600 is allowed",
        ),
        (
            "[sys]\ninterval_s = 86401\n",
            "nexus.toml:2: sys.interval_s = 86401: a number from 0 to 86400 is allowed",
        ),
        (
            "[mqtt]\nv3_plain_channels = \"no\"\n",
            "nexus.toml:2: mqtt.v3_plain_channels = \"no\": true or false is allowed",
        ),
        (
            "[channels]\nroot_wildcard = \"none\"\n",
            "nexus.toml:2: channels.root_wildcard = \"none\": \"operators\" or \"all\" is allowed",
        ),
        (
            "[listen]\nmqtt = 1883\n",
            "nexus.toml:2: listen.mqtt = 1883: an IP address with a port in quotes is allowed, as in \
             \"127.0.0.1:1883\"",
        ),
        (
            "data_dir = 5\n",
            "nexus.toml:1: data_dir = 5: a path in quotes is allowed",
        ),
        (
            "mqtt = 5\n",
            "nexus.toml:1: mqtt = 5: a table is allowed, with v3_plain_channels, cleartext_passwords, \
             receive_maximum, packet_bytes_max, topic_aliases_max, keep_alive_s_max, session_expiry_s_max, inflight_max, \
             queued_messages_max, queued_bytes_max, queued_bytes_total_max, sessions_max, \
             sessions_per_account_max, will_bytes_max, publish_rate_max",
        ),
    ] {
        assert_eq!(error(text), line);
    }
    for domains in ["5", "[]", "[7]", "[\"a b\"]", "\"a.example\""] {
        let line = error(&format!("\ndomains = {domains}"));
        let start = format!("nexus.toml:2: domains = {domains}: a list of at least one domain is allowed");
        assert!(line.starts_with(&start), "{line}");
    }
}

#[test]
fn an_unknown_key_is_named_with_those_that_are_known() {
    assert_eq!(
        error("\n[listen]\nmqttt = \"x\"\n"),
        "nexus.toml:3: listen.mqttt = \"x\": no such key; allowed in [listen] are mqtt, mqtt_of_shards, mqtts, ws, wss, xmpp, \
         xmpps, http, bridge"
    );
    let top = "no such key; allowed at the top are data_dir, domains, shards, listen, tls, mqtt, xmpp, channels, api, \
               sys, storage, drain, tokens";
    assert_eq!(
        error("[chanels]\nroot_wildcard = \"all\"\n"),
        format!("nexus.toml:1: chanels: {top}")
    );
    assert_eq!(error("port = 1\n"), format!("nexus.toml:1: port = 1: {top}"));
}

#[test]
fn a_token_key_is_complete_and_its_values_are_known() {
    let token = "[[tokens]]\napp = \"etest\"\nalgorithm = \"HS256\"\nkey_file = \"k\"\n";
    Config::parse(token, Path::new("x")).unwrap();
    assert_eq!(
        error(&token.replace("HS256", "none")),
        "nexus.toml:3: tokens.algorithm = \"none\": \"HS256\", \"ES256\" or \"EdDSA\" is allowed"
    );
    let app = error(&token.replace("etest", "e-test"));
    assert!(
        app.starts_with("nexus.toml:2: tokens.app = \"e-test\": an app's name"),
        "{app}"
    );
    assert_eq!(
        error(&token.replace("key_file", "#")),
        "nexus.toml:1: tokens.key_file is missing: a path in quotes is allowed"
    );
    let single = error(&token.replace("[[tokens]]", "[tokens]"));
    assert!(
        single.starts_with("nexus.toml:1: tokens: tables in [[ ]] are allowed, each with app,"),
        "{single}"
    );
}

#[test]
fn what_is_no_toml_is_told_in_one_line_with_its_place() {
    for (text, start) in [
        ("[channels\n", "nexus.toml:1: [channels: this is not TOML: "),
        (
            "\n[mqtt]\nreceive_maximum = many\n",
            "nexus.toml:3: receive_maximum = many: this is not TOML: ",
        ),
        ("data_dir = \n", "nexus.toml:1: data_dir =: this is not TOML: "),
    ] {
        let line = error(text);
        assert!(line.starts_with(start) && !line.contains('\n'), "{line}");
    }
    let long = error(&format!("data_dir = [\"{}\",\n7]\n", "x".repeat(5_000)));
    assert!(long.len() < 200 && !long.contains('\n'), "{long}");
}

/// The table of keys and the checks on values that were given otherwise do not drift apart.
#[test]
fn values_of_the_command_line_are_held_to_the_same_ranges() {
    let config = Config {
        shards: Shards {
            count: 65,
            ..Shards::default()
        },
        ..Config::default()
    };
    let line = config.check().unwrap_err().to_string();
    assert_eq!(line, "shards.count = 65: a number from 0 to 64 is allowed");
    let config = Config {
        domains: vec!["a b".to_owned()],
        ..Config::default()
    };
    let line = config.check().unwrap_err().to_string();
    assert!(
        line.starts_with("domains = [\"a b\"]: a list of at least one domain"),
        "{line}"
    );
    let config = Config::parse("tls.client_auth = \"required\"\n", Path::new("x")).unwrap();
    let line = config.check().unwrap_err().to_string();
    assert_eq!(
        line,
        "tls.client_auth = \"required\": name the authorities of the clients in tls.client_ca_file"
    );
}

#[test]
fn what_holds_from_start_to_end_is_kept_and_named() {
    let running = Config::default();
    let text = "data_dir = \"other\"\ndomains = [\"other\"]\nshards.count = 3\nshards.spin_us = 9\n\
                drain.seconds = 1\n[listen]\nmqtt = \"127.0.0.1:1\"\nws = \"127.0.0.1:2\"\n\
                http = \"127.0.0.1:3\"\nbridge = \"127.0.0.1:4\"\n[mqtt]\npacket_bytes_max = 2048\nreceive_maximum = 7\n\
                [[tokens]]\napp = \"etest\"\nalgorithm = \"HS256\"\nkey_file = \"k\"\n";
    let mut reread = Config::parse(text, Path::new("x")).unwrap();
    assert_eq!(
        reread.keep_bound(&running),
        [
            "domains (the first)",
            "data_dir",
            "shards.count",
            "shards.spin_us",
            "listen.mqtt",
            "listen.ws",
            "listen.http",
            "listen.bridge",
            "mqtt.packet_bytes_max",
            "drain.seconds",
            "tokens"
        ]
    );
    assert_eq!(reread.mqtt.receive_maximum, 7);
    reread.mqtt.receive_maximum = running.mqtt.receive_maximum;
    assert_eq!(reread, running);
    reread.domains.push("alias.example".to_owned());
    assert!(reread.keep_bound(&running).is_empty());
    assert_eq!(reread.domains.len(), 2);
}
