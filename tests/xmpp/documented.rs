//! The examples of docs/xmpp.md, tried as they stand.

use std::collections::HashMap;
use std::path::Path;

use crate::harness::daemon::DOMAIN;
use crate::harness::xml::{self, Element};
use crate::harness::xmpp::{XmppSocket, plain};
use crate::harness::{Net, Options, parallel};

/// The accounts of the examples.
const WORKER: (&str, &str, &str) = ("etest", "0123456789abcdef01234567", "owner");
const PAGE: (&str, &str, &str) = ("shop", "89abcdef0123456789abcdef", "user");

/// One step of an example: who, whether it is sent, the stanza.
type Line = (String, bool, String);

/// The examples, in order. A line that begins with neither continues the stanza before it.
fn examples() -> Vec<Line> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/xmpp.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines: Vec<Line> = Vec::new();
    for block in text.split("```").skip(1).step_by(2) {
        if !block.trim_start().starts_with("page ") && !block.trim_start().starts_with("worker ") {
            continue;
        }
        for line in block.trim().lines() {
            let (head, tail) = line.split_once('<').expect("a stanza");
            let direction = if head.contains('>') {
                Some(true)
            } else {
                // The arrow of what is received is the first `<` itself.
                tail.starts_with(' ').then_some(false)
            };
            match direction {
                Some(true) => {
                    let who = head.trim_end_matches([' ', '>']).to_owned();
                    lines.push((who, true, format!("<{tail}")));
                }
                Some(false) => lines.push((head.trim().to_owned(), false, tail.trim().to_owned())),
                None => lines.last_mut().expect("a beginning").2.push_str(line.trim()),
            }
        }
    }
    lines
}

/// The id that the daemon made up.
fn id_of(element: &Element) -> String {
    element.attribute("id").expect("an id").to_owned()
}

#[test]
fn the_examples_of_the_documentation_go_as_they_stand() {
    let examples = examples();
    assert!(examples.len() > 30, "{}", examples.len());
    parallel(&[1, 2], |&shards| {
        let net = Net::start(&Options::shards(shards));
        for (app, ..) in [WORKER, PAGE] {
            net.daemon().cli_json(&["app", "add", app]);
        }
        let [worker, page] = [WORKER, PAGE].map(|(app, uid, role)| net.account_of(app, uid, role));
        net.grant(PAGE.1, WORKER.0, None);
        let credentials = plain("", &page.name, &page.secret);
        let mut blocks = HashMap::from([
            ("worker", XmppSocket::login(net.daemon().ws, &worker, "w1")),
            ("page", XmppSocket::connect(net.daemon().ws)),
        ]);
        let mut token = String::new();
        for (who, sends, stanza) in &examples {
            let block = blocks.get_mut(who.as_str()).expect("a block of the examples");
            if *sends {
                block.send(
                    &stanza
                        .replace("TOKEN", &token)
                        .replace("CREDENTIALS", &credentials),
                );
                continue;
            }
            let came = block.element();
            if stanza.contains("TOKEN") {
                token = id_of(&came);
            }
            assert_eq!(
                came,
                xml::parse(&stanza.replace("TOKEN", &token)),
                "{who} gets {stanza}"
            );
        }
    });
    assert!(examples.iter().any(|(.., stanza)| stanza.contains(DOMAIN)));
}
