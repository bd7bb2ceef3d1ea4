//! The daemon's own life: ready line, health, metrics, signals, the command line, configuration errors, demo
//! (PROTOCOL 6 and 7).

mod log;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crossbeam::channel::unbounded;
use tempfile::TempDir;

use crate::harness::clock::Moment;
use crate::harness::daemon::{cli_in, nexusd, serve_command, signal};
use crate::harness::matrix::{SHARD_COUNTS, Transport};
use crate::harness::world::{new_uid, text};
use crate::harness::xmpp::{CLIENT, FRAMING, NEXUS, XmppSocket, plain};
use crate::harness::{Call, Client, Deadline, FORMS, Net, Options, each_shard_count, http, parallel};

#[test]
fn the_ready_line_names_every_listener() {
    each_shard_count(|net| {
        let ready = &net.daemon().ready;
        assert_eq!(ready["ready"], true);
        let listen = ready["listen"].as_object().unwrap();
        let names: Vec<&str> = listen.keys().map(String::as_str).collect();
        for name in ["http", "mqtt", "ws"] {
            assert!(names.contains(&name), "{names:?}");
            let address: SocketAddr = listen[name].as_str().unwrap().parse().unwrap();
            assert!(address.ip().is_loopback() && address.port() != 0, "{address}");
        }
        for name in ["bridge", "mqtts", "wss"] {
            assert!(!names.contains(&name), "off unless given: {names:?}");
        }
    });
}

#[test]
fn health_readiness_and_metrics_are_served() {
    each_shard_count(|net| {
        let address = net.daemon().http;
        for path in ["/healthz", "/readyz"] {
            assert_eq!(http::get(address, path).status, 200, "{path}");
        }
        let metrics = http::get(address, "/metrics");
        assert_eq!(metrics.status, 200);
        assert_exposition(&metrics.body);
        for series in [
            "nexus_drops_total{stage=\"direct\",reason=\"no_receiver\"}",
            "nexus_drops_total{stage=\"answer\",reason=\"late\"}",
            "nexus_connections{protocol=\"mqtt5\",transport=\"stream\"}",
            "nexus_mqtt_publishes_total{direction=\"out\",qos=\"2\"}",
            "nexus_api_seconds_bucket{le=\"+Inf\"}",
            "nexus_durable_publish_seconds_count",
            "nexus_mqtt_queued_bytes",
        ] {
            assert!(metrics.body.contains(series), "{series}");
        }
        assert_eq!(http::get(address, "/nothing/here").status, 404);
    });
}

/// Prometheus text: each series has a number, and its family a type before it.
fn assert_exposition(text: &str) {
    let mut types: Vec<&str> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            types.push(rest.split(' ').next().unwrap());
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            value
                .parse::<f64>()
                .unwrap_or_else(|error| panic!("{error}: {line}"));
            let name = series.split('{').next().unwrap();
            assert!(
                types.iter().any(|family| name.starts_with(family)),
                "no type: {line}"
            );
        }
    }
    assert!(!types.is_empty());
}

#[test]
fn sigterm_and_sigint_tell_every_client_and_end_with_0() {
    let cases: Vec<(usize, &str)> = SHARD_COUNTS
        .iter()
        .flat_map(|&shards| [(shards, "TERM"), (shards, "INT")])
        .collect();
    parallel(&cases, |&(shards, signal)| {
        let net = Net::start(&Options::shards(shards));
        let account = net.app().account("owner");
        let clients: Vec<Client> = (0..3)
            .flat_map(|n| FORMS.map(|form| (n, form)))
            .enumerate()
            .map(|(place, (_, form))| net.connect(form, &account, &format!("c{place}")))
            .collect();
        let begun = Moment::now();
        net.daemon().signal(signal);
        for client in &clients {
            if client.form.is_5() {
                assert_eq!(client.disconnected(), 0x8B, "{:?}", client.form);
            }
            let close_code = client.closed();
            if client.form.transport == Transport::Ws {
                assert_eq!(close_code, Some(1001), "{:?}", client.form);
            }
        }
        let status = net.daemon().exited();
        assert_eq!(status.code(), Some(0), "{status}");
        assert!(begun.elapsed() < Duration::from_secs(12), "within the drain time");
    });
}

#[test]
fn sighup_closes_no_connection() {
    parallel(&SHARD_COUNTS, |&shards| {
        let net = Net::start(&Options::shards(shards).config("[channels]\nroot_wildcard = \"operators\"\n"));
        let account = net.app().account("owner");
        let clients: Vec<Client> = FORMS
            .map(|form| net.connect(form, &account, &format!("{form:?}")))
            .into();
        net.daemon().signal("HUP");
        for client in &clients {
            assert_eq!(client.call(&Call::new("nexus", "ping")).code, 0);
            assert!(client.take_unmatched().is_empty());
        }
        net.connect(FORMS[0], &account, "later");
    });
}

#[test]
fn a_store_outlives_the_daemon() {
    let directory = TempDir::with_prefix("nexus-test-").unwrap();
    assert_done(&cli_in(directory.path(), &["app", "add", "etest"]));
    let uid = new_uid();
    let arguments = ["account", "add", "etest", "--uid", &uid, "--role", "owner"];
    let first = json(&cli_in(directory.path(), &arguments));
    assert_eq!(first["account"], format!("etest-{uid}-owner"));
    assert!(text(&first, "secret").len() >= 32);
    let list = json(&cli_in(directory.path(), &["account", "list"]));
    assert!(list.to_string().contains(&text(&first, "account")), "{list}");
    assert!(
        !list.to_string().contains(&text(&first, "secret")),
        "a list shows no secret"
    );
}

#[test]
fn every_command_prints_json_and_tables_for_people() {
    let net = Net::start(&Options::shards(1));
    let daemon = net.daemon();
    let app = net.app();
    let account = app.account("user");
    net.grant(&account.uid, &app.name, None);
    let explore = daemon.cli_json(&["secret", "explore", &app.name]);
    let service = daemon.cli_json(&["secret", "service", "--uid", &account.uid, "--app", &app.name]);
    for made in [&explore, &service] {
        assert!(!text(made, "id").is_empty() && !text(made, "secret").is_empty());
    }
    let again = daemon.cli_json(&["secret", "explore", &app.name]);
    assert_eq!(again["secret"], explore["secret"], "stable until revoked");
    daemon.cli_json(&["secret", "revoke", &text(&explore, "id")]);
    let renewed = daemon.cli_json(&["secret", "explore", &app.name]);
    assert_ne!(renewed["secret"], explore["secret"], "the generation moved on");
    for (list, shows) in [
        (["app", "list"], &app.name),
        (["account", "list"], &account.name),
        (["secret", "list"], &app.name),
        (["service", "list"], &account.uid),
    ] {
        let found = daemon.cli_json(&list);
        assert!(found.to_string().contains(shows.as_str()), "{list:?}: {found}");
        let table = daemon.cli(&[list[0], list[1], "--human"]);
        assert_eq!(table.status.code(), Some(0));
        let table = String::from_utf8(table.stdout).unwrap();
        assert!(
            table.contains(shows.as_str()) && !table.starts_with(['{', '[']),
            "{table}"
        );
    }
}

#[test]
fn a_failed_command_says_one_line_and_ends_with_1() {
    let net = Net::start(&Options::shards(1));
    let app = net.app();
    let uid = new_uid();
    let nobody = format!("{}-{uid}-user", app.name);
    for arguments in [
        &["app", "remove", "nosuchapp"][..],
        &["account", "add", "nosuchapp", "--uid", &uid, "--role", "user"],
        &["account", "revoke", &nobody],
        &["secret", "add", &nobody],
        &["secret", "explore", "nosuchapp"],
        &["service", "grant", "--uid", &uid, "--app", "nosuchapp"],
    ] {
        let output = net.daemon().cli(arguments);
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {out}{err}");
        assert_eq!(err.trim_end().lines().count(), 1, "{arguments:?}: {err}");
        let named = arguments.iter().any(|word| word.contains("nosuchapp")) && err.contains("nosuchapp");
        assert!(named || err.contains(&nobody), "{arguments:?} says what: {err}");
        assert_eq!(out, "", "{arguments:?}: nothing on standard output");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [
        &[][..],
        &["fly"],
        &["app"],
        &["app", "add"],
        &["serve", "--no-such-flag"],
        &["account", "add", "etest"],
        &[
            "account",
            "add",
            "etest",
            "--uid",
            "5eed00000000000000000001",
            "--role",
            "king",
        ],
        &["serve", "--shards", "many"],
        &["app", "add", "Not-A-Name"],
        &["account", "add", "etest", "--uid", "123", "--role", "user"],
    ] {
        let output = nexusd(arguments, &[]);
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {out}{err}");
        assert!(!err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_configuration_error_names_file_key_value_and_what_is_allowed() {
    for (config, named) in [
        (
            "[channels]\nroot_wildcard = \"some\"\n",
            vec!["root_wildcard", "some", "operators", "all"],
        ),
        ("[channels]\nroot_wildcard = 5\n", vec!["root_wildcard", "5"]),
        (
            "[channels]\nroot_wildcards = \"all\"\n",
            vec!["root_wildcards", "root_wildcard"],
        ),
        (
            "[chanels]\nroot_wildcard = \"all\"\n",
            vec!["chanels", "channels"],
        ),
        (
            "[mqtt]\nv3_plain_channels = \"no\"\n",
            vec!["v3_plain_channels", "no", "true or false"],
        ),
        (
            "[mqtt]\nreceive_maximum = \"many\"\n",
            vec!["mqtt.receive_maximum", "many", "1 to 65535"],
        ),
        ("[channels\n", vec![]),
    ] {
        let directory = TempDir::with_prefix("nexus-test-").unwrap();
        let mut serve = serve_command(directory.path(), &Options::shards(1).config(config));
        let served = serve.output().unwrap();
        let path = directory.path().join("nexus.toml");
        let path = path.to_str().unwrap();
        let checked = nexusd(&["check", "--config", path], &[]);
        // `check` shows its findings on standard output, `serve` only says why it does not start.
        let (findings, _) = texts(&checked);
        let (served_out, reason) = texts(&served);
        assert_eq!(served_out, "");
        for (output, said) in [(served, reason), (checked, findings)] {
            let (out, err) = texts(&output);
            assert_eq!(output.status.code(), Some(1), "{config}: {out}{err}");
            assert!(said.contains(path), "the file: {said}");
            for word in &named {
                assert!(said.contains(word), "{word}: {said}");
            }
            assert_eq!(err.trim_end().lines().count(), 1, "{err}");
        }
    }
}

#[test]
fn a_configuration_file_that_is_missing_and_an_address_that_is_taken_fail_with_1() {
    let net = Net::start(&Options::shards(1));
    let directory = TempDir::with_prefix("nexus-test-").unwrap();
    let missing = directory.path().join("missing.toml");
    let output = nexusd(&["serve", "--config", missing.to_str().unwrap()], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(texts(&output).1.contains("missing.toml"));
    // Another data directory, the same address.
    let taken = net.daemon().mqtt.to_string();
    let data = directory.path().join("data");
    let free = "127.0.0.1:0";
    let arguments = [
        "serve", "--mqtt", &taken, "--ws", free, "--http", free, "--shards", "1",
    ];
    let output = nexusd(&arguments, &["--data-dir", data.to_str().unwrap()]);
    let (_, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains(&taken), "{err}");
}

#[test]
fn check_reports_on_the_machine() {
    let output = nexusd(&["check"], &[]);
    let (out, err) = texts(&output);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{out}{err}");
    let all = format!("{out}{err}").to_lowercase();
    for word in ["linux", "io_uring", "lock", "files", "cores", "mib are free"] {
        assert!(all.contains(word), "{word}: {all}");
    }
}

#[test]
fn demo_once_ends_with_0_when_all_of_it_worked() {
    let directory = TempDir::with_prefix("nexus-test-").unwrap();
    let data = directory.path().join("data");
    let free = "127.0.0.1:0";
    let output = nexusd(
        &[
            "demo",
            "--once",
            "--mqtt",
            free,
            "--ws",
            free,
            "--http",
            free,
            "--tls",
            "self-signed",
            "--mqtts",
            free,
            "--wss",
            free,
            "--xmpps",
            free,
        ],
        &["--data-dir", data.to_str().unwrap()],
    );
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    for word in ["API", "Direct", "Channel"] {
        assert!(out.contains(word), "{word}: {out}");
    }
    // Across the protocols, both ways, and on one channel.
    for crossing in [
        "the web page (XMPP) asks worker w1 (MQTT 5.0)",
        "the device (MQTT 3.1.1) asks worker w1 (MQTT 5.0)",
        "the device (MQTT 3.1.1) asks worker w2 (XMPP)",
        "the device (MQTT 3.1.1) to worker w2 (XMPP)",
        "the web page (XMPP) to the device (MQTT 3.1.1)",
        "<- <publish channel='plant/7/status'>  21.5",
        "/user/web1/plant/7/status  fan on",
    ] {
        assert!(out.contains(crossing), "{crossing}: {out}");
    }
    assert!(!out.contains("join in"), "nobody can: {out}");
}

#[test]
fn demo_tells_how_to_join_in_and_stays_up() {
    let free = "127.0.0.1:0";
    let mut child = Command::new(env!("CARGO_BIN_EXE_nexusd"))
        .args([
            "demo",
            "--mqtt",
            free,
            "--ws",
            free,
            "--http",
            free,
            "--shards",
            "1",
            "--tls",
            "self-signed",
            "--mqtts",
            free,
            "--wss",
            free,
            "--xmpps",
            free,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = unbounded();
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            let _gone = sender.send(line);
        }
    });
    let deadline = Deadline::patient();
    let mut text = String::new();
    while !text.contains("Ctrl-C") {
        let Ok(line) = lines.recv_timeout(deadline.left()) else {
            let (_killed, _status) = (child.kill(), child.wait());
            panic!("it does not tell how to join in: {text}");
        };
        text.push_str(&line);
        text.push('\n');
    }
    for way in [
        "mosquitto_sub",
        "mosquitto_rr",
        "mosquitto_pub -h 127.0.0.1 -p ",
        " --cafile ",
        "Over TLS: MQTT on 127.0.0.1:",
        "'@xmpp/client'",
        "mqtt.connect",
        "docs/web-page.html",
    ] {
        assert!(text.contains(way), "{way}: {text}");
    }
    // What is to be typed into the page lets a web block in, and a worker answers it.
    let typed = |label: &str| {
        let line = text
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(label));
        line.unwrap_or_else(|| panic!("{label}: {text}"))
            .trim()
            .to_owned()
    };
    let address = typed("Address ");
    let address = address
        .strip_prefix("ws://")
        .unwrap()
        .strip_suffix("/ws")
        .unwrap();
    let reply = ask_demo_worker(address.parse().unwrap(), &typed("Account "), &typed("Secret "));
    assert_eq!(reply, r#"{"code":0,"result":42}"#);
    assert!(child.try_wait().unwrap().is_none(), "it stays up: {text}");
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The reply of the demonstration's worker to a web block.
#[track_caller]
fn ask_demo_worker(address: SocketAddr, account: &str, secret: &str) -> String {
    let (name, domain) = account.split_once('@').unwrap();
    let opening = format!("<open xmlns='{FRAMING}' to='{domain}' version='1.0'/>");
    let mut page = XmppSocket::connect(address);
    let open = |page: &mut XmppSocket| {
        page.send(&opening);
        (page.element(), page.element())
    };
    open(&mut page);
    let answer = page.authenticate("PLAIN", &plain("", name, secret));
    assert_eq!(answer.name, "success");
    open(&mut page);
    page.bind("web2");
    let answer = page.ask(&format!(
        "<iq xmlns='{CLIENT}' type='set' id='c'><api xmlns='{NEXUS}' app='etest' cmd='multiply'>\
         <json xmlns='urn:xmpp:json:0'>{{\"num1\":6,\"num2\":7}}</json></api></iq>"
    ));
    answer.descendants("urn:xmpp:json:0", "json")[0].text()
}

#[test]
fn the_data_directory_keeps_its_key_to_itself() {
    use std::os::unix::fs::PermissionsExt;
    let net = Net::start(&Options::shards(1));
    net.app().account("owner");
    let mut private = 0;
    for entry in std::fs::read_dir(net.daemon().data_dir().join("data")).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{:?} is open to others: {mode:o}", entry.path());
        private += usize::from(mode == 0o600);
    }
    assert!(private >= 1, "the store key is a 0600 file beside the database");
}

#[track_caller]
fn assert_done(output: &Output) {
    let (out, err) = texts(output);
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
}

#[track_caller]
fn json(output: &Output) -> serde_json::Value {
    assert_done(output);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn texts(output: &Output) -> (String, String) {
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}
