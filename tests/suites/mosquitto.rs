//! The programs of mosquitto, as they are started from a shell: `mosquitto_pub`, `mosquitto_sub` and `mosquitto_rr`.
//! They speak both versions over TCP.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use crossbeam::channel::{Receiver, unbounded};
use serde_json::{Value, json};

use super::{PAYLOAD_BYTES_MAX, fresh};
use crate::harness::clock::{Deadline, PATIENCE};
use crate::harness::matrix::{Library, SHARD_COUNTS, SUITES};
use crate::harness::{Account, Net, Stamp, packages, parallel};

/// Who speaks, and in which version.
struct Shell<'a> {
    net: &'a Net,
    account: &'a Account,
    version: &'static str,
}

/// Runs `test` for each shard count and version.
fn each_version(test: impl Fn(&Shell<'_>) + Sync) {
    parallel(&SHARD_COUNTS, |&shards| {
        let net = Net::shared(shards);
        let account = net.app().account("user");
        parallel(&["mqttv311", "mqttv5"], |&version| {
            test(&Shell {
                net: &net,
                account: &account,
                version,
            });
        });
    });
}

impl Shell<'_> {
    fn is_5(&self) -> bool {
        self.version == "mqttv5"
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = packages::mosquitto(program);
        command
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &self.net.daemon().mqtt.port().to_string(),
            ])
            .args([
                "-V",
                self.version,
                "-u",
                &self.account.name,
                "-P",
                &self.account.secret,
            ])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a program to its end.
    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        self.command(program, arguments).output().unwrap()
    }

    /// `mosquitto_pub`, which must succeed.
    #[track_caller]
    fn publish(&self, arguments: &[&str]) {
        let id = fresh("pub");
        // What is said later counts.
        let mut all = vec!["-i", &id, "-q", "1"];
        all.extend(arguments);
        let output = self.run("mosquitto_pub", &all);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    /// `mosquitto_sub` under a name of its own, with its SUBACK.
    #[track_caller]
    fn hear(&self, arguments: &[&str]) -> Hearer {
        let id = fresh("sub");
        let mut all = vec!["-i", &id];
        all.extend(arguments);
        let hearer = self.start(&all);
        hearer.until_subscribed();
        hearer
    }

    fn start(&self, arguments: &[&str]) -> Hearer {
        let mut command = self.command("mosquitto_sub", arguments);
        let mut child = command.args(["-d", "-F", "%j"]).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let (sender, lines) = unbounded();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // A test that has ended reads no more.
                let _gone = sender.send(line);
            }
        });
        Hearer { child, lines }
    }
}

/// A running `mosquitto_sub`; killed when dropped.
struct Hearer {
    child: Child,
    lines: Receiver<String>,
}

impl Hearer {
    #[track_caller]
    fn line(&self, wanted: &str, pick: impl Fn(&str) -> bool) -> String {
        let deadline = Deadline::patient();
        loop {
            let line = self.lines.recv_timeout(deadline.left());
            let line = line.unwrap_or_else(|end| panic!("no {wanted} within {PATIENCE:?}: {end}"));
            if pick(&line) {
                return line;
            }
        }
    }

    #[track_caller]
    fn until_subscribed(&self) {
        self.line("SUBACK", |line| line.starts_with("Subscribed"));
    }

    /// The next message.
    #[track_caller]
    fn message(&self) -> Value {
        let line = self.line("message", |line| line.starts_with('{'));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The payload of the next message.
    #[track_caller]
    fn text(&self) -> String {
        self.message()["payload"].as_str().unwrap().to_owned()
    }

    /// Waits for the process to end by itself.
    #[track_caller]
    fn ended(mut self) -> i32 {
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Hearer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

#[test]
fn each_qos_both_ways() {
    each_version(|shell| {
        let channel = fresh("shell");
        let hearers = ["0", "1", "2"].map(|qos| shell.hear(&["-q", qos, "-t", &format!("{channel}/+")]));
        for sent in [0_u64, 1, 2] {
            shell.publish(&["-q", &sent.to_string(), "-t", &format!("{channel}/a"), "-m", "x"]);
            for (hearer, granted) in hearers.iter().zip(0..) {
                let message = hearer.message();
                assert_eq!(message["topic"], format!("{channel}/a"));
                assert_eq!(
                    (&message["qos"], &message["retain"]),
                    (&json!(sent.min(granted)), &json!(0))
                );
            }
        }
    });
}

#[test]
fn retained_messages_come_later_and_are_cleared() {
    each_version(|shell| {
        let channel = fresh("shell");
        shell.publish(&["-r", "-t", &channel, "-m", "1"]);
        shell.publish(&["-r", "-t", &channel, "-m", "2"]);
        let hearer = shell.hear(&["-q", "1", "-t", &channel]);
        let message = hearer.message();
        assert_eq!(
            (&message["payload"], &message["retain"]),
            (&json!("2"), &json!(1))
        );
        if shell.is_5() {
            let shown = shell.hear(&["-q", "1", "-t", &channel, "--retain-as-published"]);
            assert_eq!(shown.text(), "2");
            shell.publish(&["-r", "-t", &channel, "-m", "3"]);
            assert_eq!(shown.message()["retain"], 1);
            assert_eq!(hearer.message()["retain"], 0);
        }
        shell.publish(&["-r", "-t", &channel, "-n"]);
        let late = shell.hear(&["-q", "1", "-t", &channel]);
        shell.publish(&["-t", &channel, "-m", "fence"]);
        assert_eq!(late.text(), "fence");
    });
}

#[test]
fn wills_are_published_when_the_program_is_killed_and_not_when_it_ends() {
    each_version(|shell| {
        let channel = fresh("shell");
        let hearer = shell.hear(&["-q", "2", "-t", &channel]);
        let will = |text: &str, more: &[&str]| {
            let mut arguments = vec!["-t", "other", "--will-topic", &channel, "--will-payload", text];
            arguments.extend(["--will-qos", "2"]);
            arguments.extend(more);
            shell.hear(&arguments)
        };
        assert_eq!(will("never", &["-E"]).ended(), 0);
        let sudden = will("at once", &[]);
        if shell.is_5() {
            let waits = ["-c", "-x", "60", "-D", "will", "will-delay-interval", "2"];
            drop(will("delayed", &waits));
        }
        drop(sudden);
        let message = hearer.message();
        assert_eq!(
            (&message["payload"], &message["qos"]),
            (&json!("at once"), &json!(2))
        );
        if shell.is_5() {
            assert_eq!(hearer.text(), "delayed");
        }
    });
}

#[test]
fn what_waits_for_a_session_comes_in_order() {
    each_version(|shell| {
        let (channel, id) = (fresh("shell"), fresh("kept"));
        let mut session = vec!["-i", &id, "-q", "2", "-c", "-t", &channel];
        if shell.is_5() {
            session.extend(["-x", "60"]);
        }
        let mut once = session.clone();
        once.push("-E");
        let first = shell.start(&once);
        assert_eq!(first.ended(), 0);
        let name = fresh("pub");
        let mut lines = shell
            .command("mosquitto_pub", &["-i", &name, "-q", "2", "-t", &channel, "-l"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        lines.stdin.take().unwrap().write_all(b"1\n2\n3\n").unwrap();
        assert!(lines.wait().unwrap().success());
        let second = shell.start(&session);
        assert_eq!([second.text(), second.text(), second.text()], ["1", "2", "3"]);
    });
}

#[test]
fn wildcards_overlap_and_are_unsubscribed() {
    each_version(|shell| {
        let channel = fresh("shell");
        let filters = ["#", "+/b"].map(|below| format!("{channel}/{below}"));
        let mut arguments = vec!["-q", "1", "-t", &filters[0], "-t", &filters[1]];
        if shell.is_5() {
            arguments.extend(["-D", "subscribe", "subscription-identifier", "7"]);
        }
        let hearer = shell.hear(&arguments);
        let fence = fresh("fence");
        let other = shell.hear(&["-q", "1", "-t", &fence, "-t", &filters[0], "-U", &filters[0]]);
        other.line("UNSUBACK", |line| line.contains("received UNSUBACK"));
        shell.publish(&["-t", &format!("{channel}/a/c"), "-m", "x"]);
        let message = hearer.message();
        assert_eq!(message["topic"], format!("{channel}/a/c"));
        if shell.is_5() {
            assert_eq!(message["properties"]["subscription-identifier"], 7);
        }
        shell.publish(&["-t", &fence, "-m", "fence"]);
        assert_eq!(other.text(), "fence", "nothing of what was unsubscribed");
    });
}

#[test]
fn members_of_a_shared_subscription_take_turns() {
    each_version(|shell| {
        let channel = fresh("shell");
        let shared = format!("$share/g/{channel}");
        let members = [(); 2].map(|()| shell.hear(&["-q", "1", "-t", &shared]));
        for text in ["1", "2", "3", "4"] {
            shell.publish(&["-t", &channel, "-m", text]);
        }
        let mut came: Vec<String> = members
            .iter()
            .flat_map(|member| [member.text(), member.text()])
            .collect();
        came.sort_unstable();
        assert_eq!(came, ["1", "2", "3", "4"]);
    });
}

#[test]
fn properties_and_topic_aliases_pass_and_the_sender_is_shown() {
    each_version(|shell| {
        let (channel, id) = (fresh("shell"), fresh("p"));
        if !shell.is_5() {
            let sender = format!(
                "{}/{}/{}",
                shell.account.app, shell.account.uid, shell.account.role
            );
            let hearer = shell.hear(&["-q", "1", "-t", &format!("$nexus/channel/+/+/+/+/{channel}")]);
            shell.publish(&["-i", &id, "-t", &channel, "-m", "x"]);
            let topic = format!("$nexus/channel/{sender}/{id}/{channel}");
            assert_eq!(hearer.message()["topic"], topic);
            return;
        }
        let hearer = shell.hear(&["-q", "1", "-t", &channel]);
        let mut arguments = vec!["-i", &id, "-t", &channel, "-m", "x", "--repeat", "2"];
        for property in [
            ["topic-alias", "2"],
            ["content-type", "text/plain"],
            ["response-topic", "back/here"],
            ["correlation-data", "c1"],
            ["message-expiry-interval", "100"],
            ["payload-format-indicator", "1"],
        ] {
            arguments.extend(["-D", "publish"]);
            arguments.extend(property);
        }
        arguments.extend(["-D", "publish", "user-property", "a", "1"]);
        shell.publish(&arguments);
        for _ in 0..2 {
            let message = hearer.message();
            assert_eq!(message["topic"], channel.as_str());
            let properties = &message["properties"];
            assert_eq!(properties["content-type"], "text/plain");
            assert_eq!(properties["response-topic"], "back/here");
            assert_eq!(properties["correlation-data"], "c1");
            assert_eq!(properties["message-expiry-interval"], 100);
            let user = properties["user-properties"].to_string();
            for (_, value) in Stamp::of(shell.account, &id).as_user_properties() {
                assert!(user.contains(&value), "{value} in {user}");
            }
        }
    });
}

#[test]
fn a_request_of_mosquitto_rr_is_answered() {
    parallel(&SHARD_COUNTS, |&shards| {
        let net = Net::shared(shards);
        let (app, at) = (net.app(), fresh("rr"));
        let account = app.customer();
        let shell = Shell {
            net: &net,
            account: &account,
            version: "mqttv5",
        };
        let form = SUITES
            .iter()
            .find(|form| form.library == Library::Rumqttc && form.is_5());
        let worker = net.connect(*form.unwrap(), &app.account("owner"), "worker");
        worker.listen("multiply");
        let topic = format!("$nexus/api/{}/multiply", app.name);
        let arguments = [
            "-i",
            &at,
            "-t",
            &topic,
            "-e",
            "my/replies",
            "-m",
            r#"{"num1":10}"#,
        ];
        let asking = shell.command("mosquitto_rr", &arguments).spawn().unwrap();
        let request = worker.request();
        assert_eq!(request.sender, Stamp::of(&account, &at));
        worker.answer(&request, r#"{"code":0,"result":50}"#);
        let output = asking.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let reply: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(reply, json!({"code": 0, "result": 50}));
    });
}

#[test]
fn refusals_are_told() {
    each_version(|shell| {
        let mut wrong = shell.account.clone();
        wrong.secret = "wrong".into();
        let refused = Shell {
            account: &wrong,
            ..*shell
        };
        let output = refused.run("mosquitto_pub", &["-i", "x", "-t", "a", "-m", "x"]);
        let told = String::from_utf8_lossy(&output.stderr).to_lowercase();
        assert!(!output.status.success());
        assert!(
            told.contains("bad user") || told.contains("not authori"),
            "{told}"
        );
        let output = shell.run("mosquitto_sub", &["-i", &fresh("s"), "-t", "$SYS/#"]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("All subscription requests were denied"), "{told}");
        if shell.is_5() {
            let arguments = ["-i", &fresh("p"), "-q", "1", "-t", "$other", "-m", "x"];
            let output = shell.run("mosquitto_pub", &arguments);
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(told.contains("Not authorized"), "{output:?}");
        }
    });
}

#[test]
fn a_large_file_passes() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("payload");
    std::fs::write(&file, vec![b'x'; PAYLOAD_BYTES_MAX - 32]).unwrap();
    each_version(|shell| {
        let channel = fresh("shell");
        let hearer = shell.hear(&["-q", "2", "-t", &channel]);
        shell.publish(&["-q", "2", "-t", &channel, "-f", file.to_str().unwrap()]);
        assert_eq!(hearer.message()["payloadlen"], PAYLOAD_BYTES_MAX - 32);
    });
}
