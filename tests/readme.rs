//! The examples of README.md for XMPP, run as they stand but for the ports.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crossbeam::channel::{Receiver, unbounded};

use crate::harness::{Account, Net, Options, packages};

const PATIENCE: Duration = Duration::from_secs(40);
const OWNER: &str = "0123456789abcdef01234567";
const USER: &str = "89abcdef0123456789abcdef";

/// The code of a language, block by block.
fn blocks(language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(path).unwrap();
    let blocks = text.split("```").skip(1).step_by(2);
    let head = format!("{language}\n");
    blocks
        .filter_map(|block| block.strip_prefix(&head).map(str::to_owned))
        .collect()
}

/// The daemon and the accounts of the examples: who runs workers, and who calls them.
fn world() -> (Net, Account, Account) {
    let net = Net::start(&Options::shards(2).domains(&["localhost"]));
    for app in ["etest", "shop"] {
        net.daemon().cli_json(&["app", "add", app]);
    }
    let owner = net.account_of("etest", OWNER, "owner");
    let page = net.account_of("shop", USER, "user");
    net.grant(USER, "etest", None);
    (net, owner, page)
}

/// A program that runs. Killed when dropped.
struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    fn start(command: &mut Command, account: &Account, resource: &str) -> Self {
        let mut child = command
            .env("ACCOUNT", &account.name)
            .env("SECRET", &account.secret)
            .env("RESOURCE", resource)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let (sender, lines) = unbounded();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // A test that has ended listens no more.
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The next line that it prints.
    #[track_caller]
    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line of the example")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

fn replaced(code: &str, from: &str, to: &str) -> String {
    assert!(code.contains(from), "{from} is not in the example");
    code.replace(from, to)
}

#[test]
fn the_worker_and_the_caller_in_python_run_as_they_stand() {
    let (net, owner, page) = world();
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("block.py");
    let port = net.daemon().address("xmpp").port().to_string();
    let blocks = blocks("python");
    fs::write(
        &program,
        replaced(&blocks[0], "'127.0.0.1', 5222", &format!("'127.0.0.1', {port}")),
    )
    .unwrap();
    let run = |role: &str, account: &Account| {
        let mut command = Command::new(packages::slixmpp(false));
        command.arg("-uB").arg(&program).arg(role);
        Program::start(&mut command, account, "")
    };
    let caller = run("caller", &page);
    assert_eq!(caller.line(), "item-not-found no free worker found.");
    let worker = run("worker", &owner);
    assert_eq!(worker.line(), "listening");
    let caller = run("caller", &page);
    assert_eq!(caller.line(), "{'code': 0, 'result': 50}");
    assert_eq!(worker.line(), format!("asked by {}@localhost/page", page.name));
}

/// A module of some of the examples in JavaScript. It lies where node finds the packages; removed when dropped.
struct Module(PathBuf);

impl Module {
    fn new(name: &str, ws: SocketAddr, parts: &[&str]) -> Self {
        let path = packages::node_packages().join(format!("readme-{}-{name}.mjs", std::process::id()));
        fs::write(
            &path,
            replaced(&parts.concat(), "127.0.0.1:8083", &ws.to_string()),
        )
        .unwrap();
        Self(path)
    }

    fn run(&self, account: &Account, resource: &str) -> Program {
        Program::start(Command::new("node").arg(&self.0), account, resource)
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.0);
    }
}

#[test]
fn the_examples_in_javascript_run_as_they_stand() {
    let (net, owner, page) = world();
    let blocks = blocks("js");
    let block = |what: &str| {
        let found = blocks.iter().find(|block| block.contains(what));
        found.unwrap_or_else(|| panic!("no example has {what}")).as_str()
    };
    let begin = block("import { client, xml }");
    let ws = net.daemon().ws;
    let ready = "console.log('listening')\n";
    let works = Module::new("worker", ws, &[begin, block("xmpp.iqCallee.set("), ready]);
    let asks = Module::new("caller", ws, &[begin, block("cmd: 'multiply' }, body")]);
    let hears = Module::new("channel", ws, &[begin, block("xml('subscribe'")]);
    let takes = Module::new("direct", ws, &[begin, block("xml('direct'")]);
    let caller = asks.run(&page, "page");
    assert_eq!(caller.line(), "item-not-found no free worker found. -2000");
    // Its library would come back for ever.
    drop(caller);
    let worker = works.run(&owner, "w1");
    assert_eq!(worker.line(), "listening");
    let caller = asks.run(&page, "page");
    let expected = format!("{{ code: 0, result: 50 }} {}@localhost/w1", owner.name);
    assert_eq!(caller.line(), expected);
    assert_eq!(worker.line(), format!("multiply {}@localhost/page", page.name));
    let hearer = hears.run(&page, "web1");
    let expected = format!("plant/7/temperature 22.5 {}@localhost/web1", page.name);
    assert_eq!(hearer.line(), expected);
    // It sends to the name that it has itself.
    let receiver = takes.run(&owner, "w2");
    assert_eq!(receiver.line(), format!("hello {}@localhost/w2", owner.name));
}
