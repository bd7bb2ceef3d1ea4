//! The page for browsers, docs/web-page.html, used in headless Chromium against a running daemon.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crossbeam::channel::{Receiver, unbounded};
use serde_json::{Value, json};

use crate::harness::daemon::DOMAIN;
use crate::harness::matrix::PAHO_5;
use crate::harness::native::full_jid;
use crate::harness::packages;
use crate::harness::{Net, Options};

/// From the start of a browser to what a page shows, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Chromium by the names that distributions give it.
fn chromium() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let mut places = env::split_paths(&path)
        .flat_map(|place| ["chromium", "chromium-browser", "google-chrome"].map(|name| place.join(name)));
    places.find(|place| place.is_file())
}

/// The page as it is used: the steps it has come through.
struct Page {
    child: Child,
    steps: Receiver<Value>,
}

impl Page {
    fn open(browser: &Path, typed: &Value) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new("node")
            .arg(root.join("tests/clients/web_page.js"))
            .arg(packages::node_packages())
            .arg(browser)
            .arg(root.join("docs/web-page.html"))
            .arg(typed.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("node");
        let output = child.stdout.take().unwrap();
        let (sender, steps) = unbounded();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _gone = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, steps }
    }

    /// What the page shows at the end of this step.
    #[track_caller]
    fn after(&mut self, step: &str) -> Value {
        let Ok(shown) = self.steps.recv_timeout(PATIENCE) else {
            // Ended by itself, or ended now: either way its last words are all there.
            let _ended = self.child.kill();
            let mut error = String::new();
            let _read = self.child.stderr.take().unwrap().read_to_string(&mut error);
            panic!("the page did not come to `{step}`: {error}");
        };
        assert_eq!(shown["step"], step, "{shown}");
        shown
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

#[test]
fn the_page_logs_in_calls_a_worker_and_joins_a_channel() {
    let Some(browser) = chromium() else {
        // Past the capture of output, so that it is seen.
        let note = "\nSKIPPED: no Chromium here to open docs/web-page.html in (Debian: chromium)\n";
        std::io::stderr().write_all(note.as_bytes()).unwrap();
        return;
    };
    let net = Net::start(&Options::shards(2));
    let app = net.app();
    let (owner, customer) = (app.account("owner"), app.customer());
    let worker = net.connect(PAHO_5, &owner, "Worker.1");
    worker.listen("multiply");
    let channel = "plant <7>/+";
    let mut page = Page::open(
        &browser,
        &json!({
            "login": {
                "address": format!("ws://{}/ws", net.daemon().ws),
                "account": format!("{}@{DOMAIN}", customer.name),
                "secret": customer.secret,
                "resource": "Web.1",
            },
            "wrong": "wrong",
            "call": {"nobody": "nobody", "app": app.name, "cmd": "multiply", "body": r#"{"num1": 10, "num2": 5, "text": "<&'\uffff"}"#},
            "channel": channel,
            "say": {"channel": "plant <7>/alarm", "text": "second </publish><evil/>"},
        }),
    );
    let refused = page.after("refused")["status"].clone();
    assert_eq!(refused, "login refused: not-authorized");
    let own = full_jid(&customer, "Web.1");
    assert_eq!(page.after("connected")["status"], format!("connected as {own}"));
    let failed = page.after("failed")["reply"].clone();
    let failed: Value = serde_json::from_str(failed.as_str().unwrap()).unwrap();
    assert_eq!(failed["code"], -3000, "an app nobody has a service of: {failed}");
    page.after("mistyped");

    let request = worker.request();
    assert_eq!(
        request.message.json(),
        json!({"num1": 10, "num2": 5, "text": "<&'\u{FFFF}"})
    );
    let answer = json!({"code": 0, "result": 50, "text": "<img src=x onerror=alert(1)>"});
    worker.answer(&request, answer.to_string());
    let called = page.after("called");
    let reply: Value = serde_json::from_str(called["reply"].as_str().unwrap()).unwrap();
    assert_eq!(reply, answer);
    assert_eq!(called["answerer"], full_jid(&owner, "Worker.1"));

    assert_eq!(page.after("joined")["joined"], format!("joined {channel}"));
    worker.say("plant <7>/alarm", "first <img src=x onerror=alert(2)>");
    let jid = full_jid(&owner, "Worker.1");
    assert_eq!(
        page.after("heard")["message"],
        format!("plant <7>/alarm: first <img src=x onerror=alert(2)> ({jid})")
    );
    assert_eq!(
        page.after("said")["message"],
        format!("plant <7>/alarm: second </publish><evil/> ({own})")
    );
    assert_eq!(page.after("clean")["markup"], 0);

    // Taken over by another block, it says so.
    let _successor = net.connect(PAHO_5, &customer, "Web.1");
    assert_eq!(page.after("closed")["status"], "connection closed (conflict)");
    assert_eq!(page.after("end")["errors"], json!([]));
}
