//! The examples of docs/bridge.md, tried as they stand.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{bridge, explore_secret, service_secret, start};
use crate::harness::xmpp::XmppSocket;

const OWNER: &str = "0123456789abcdef01234567";
const USER: &str = "89abcdef0123456789abcdef";

/// The commands, each with the answer that is shown below it.
fn examples() -> Vec<(String, Value)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/bridge.md");
    let text = std::fs::read_to_string(path).unwrap();
    let blocks: Vec<&str> = text.split("```").skip(1).step_by(2).collect();
    let mut examples = Vec::new();
    for pair in blocks.windows(2) {
        if let [command, answer] = pair
            && let (Some(command), Some(answer)) =
                (command.strip_prefix("sh\n"), answer.strip_prefix("json\n"))
        {
            examples.push((command.to_owned(), serde_json::from_str(answer).unwrap()));
        }
    }
    examples
}

/// Whether an answer is as it is shown; `…` is any text.
fn is_as_shown(answer: &Value, shown: &Value) -> bool {
    match (answer, shown) {
        (Value::Object(answer), Value::Object(shown)) => {
            answer.len() == shown.len()
                && shown
                    .iter()
                    .all(|(name, shown)| answer.get(name).is_some_and(|value| is_as_shown(value, shown)))
        }
        (Value::String(text), Value::String(shown)) => shown == "…" && !text.is_empty() || text == shown,
        _ => answer == shown,
    }
}

#[test]
fn the_examples_of_the_bridge_s_documentation_go_as_they_stand() {
    let net = start(2);
    net.daemon().cli_json(&["app", "add", "etest"]);
    let owner = net.account_of("etest", OWNER, "owner");
    let explore = explore_secret(&net, "etest");
    let service = service_secret(&net, USER, "etest");
    let _worker = XmppSocket::login(net.daemon().ws, &owner, "w1");
    let examples = examples();
    assert!(examples.len() >= 7, "{}", examples.len());
    for (command, shown) in examples {
        let output = Command::new("sh")
            .args(["-c", &command])
            .env("BRIDGE", format!("http://{}", bridge(&net)))
            .env("EXPLORE", &explore)
            .env("SERVICE", &service)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{command}: {error} (curl is needed): {output:?}"));
        assert!(is_as_shown(&answer, &shown), "{command}: {answer}, not {shown}");
    }
}
