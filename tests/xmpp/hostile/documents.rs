//! The document over TCP and TLS: what XML could do to who reads it, and how it is cut into packets and records.

use std::io::{Read, Write};

use super::super::tcp::{PING, Raw, header, with_tls};
use crate::harness::bystanders::Bystanders;
use crate::harness::clock::Moment;
use crate::harness::xmpp::STREAMS;
use crate::harness::{Account, Net, eventually, http, parallel};

/// What is under a [`Raw`] that is in clear or under TLS.
pub(super) trait Wire: Read + Write + Send {}
impl<S: Read + Write + Send> Wire for S {}

/// A client in clear, or under TLS from the start.
pub(super) fn connect(net: &Net, is_sealed: bool) -> Raw<Box<dyn Wire>> {
    let daemon = net.daemon();
    let stream: Box<dyn Wire> = if is_sealed {
        Box::new(Raw::connect(daemon.address("xmpps")).secure().stream)
    } else {
        Box::new(Raw::connect(daemon.address("xmpp")).stream)
    };
    Raw {
        stream,
        read: String::new(),
    }
}

impl<S: Read + Write> Raw<S> {
    /// Sends bytes; the peer may have closed already.
    pub(super) fn throw(&mut self, bytes: &[u8]) {
        let _closed = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
    }
}

/// Before the root's tag, in the stream before login, of a block.
const STAGES: [&str; 3] = ["first", "open", "bound"];

/// Throws `bytes` at each stage, in clear and under TLS: the stream ends with one of these conditions, soon.
#[track_caller]
fn each_ends(
    net: &Net,
    account: &Account,
    bystanders: &Bystanders,
    name: &str,
    bytes: &[u8],
    wanted: &[&str],
) {
    for is_sealed in [false, true] {
        for stage in STAGES {
            let mut raw = connect(net, is_sealed);
            match stage {
                "open" => drop(raw.open()),
                "bound" => raw.log_in(account, "hostile"),
                _ => {}
            }
            let begun = Moment::now();
            raw.throw(bytes);
            let rest = raw.rest();
            let took = begun.elapsed();
            let is_wanted = |condition: &&str| {
                rest.contains(&format!("<stream:error xmlns:stream='{STREAMS}'><{condition} "))
            };
            // What is no root of a stream is not read to its end.
            let no_root: &[&str] = match stage {
                "first" => &["unsupported-stanza-type", "not-well-formed"],
                _ => &[],
            };
            // Who goes on sending when all has been said is cut off, and may not read what was said.
            let is_cut_off = bytes.len() > 200_000 && rest.is_empty();
            assert!(
                is_cut_off || wanted.iter().chain(no_root).any(is_wanted),
                "{name}, {stage}, TLS {is_sealed}: {rest}"
            );
            assert!(took.as_secs() < 10, "{name}, {stage}: {took:?}");
        }
    }
    bystanders.undisturbed(name);
}

#[test]
fn rfc6120_11_1_entities_and_document_types_are_refused_wherever_they_stand() {
    let net = with_tls(1);
    let account = net.app().account("owner");
    let bystanders = Bystanders::new(&net, &account);
    let mut laughs = "<!DOCTYPE a [<!ENTITY lol0 'lol'>".to_owned();
    for level in 1..12 {
        let inner = format!("&lol{};", level - 1).repeat(10);
        laughs.push_str(&format!("<!ENTITY lol{level} '{inner}'>"));
    }
    laughs.push_str("]><message><body>&lol11;</body></message>");
    let blown_up = format!(
        "<!DOCTYPE a [<!ENTITY x '{}'>]><message>{}</message>",
        "x".repeat(50_000),
        "&x;".repeat(50_000)
    );
    for (name, text) in [
        ("laughs", &*laughs),
        ("quadratic", &blown_up),
        (
            "a file",
            "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><message><body>&x;</body></message>",
        ),
        (
            "another server's",
            "<!DOCTYPE a SYSTEM 'http://127.0.0.1/a.dtd'><message/>",
        ),
        ("a parameter entity", "<!DOCTYPE a [<!ENTITY % x '%x;'>%x;]>"),
        ("a comment", "<!-- x -->"),
        ("an instruction", "<?xml-stylesheet href='x'?>"),
        ("a notation", "<!NOTATION x SYSTEM 'x'>"),
    ] {
        each_ends(
            &net,
            &account,
            &bystanders,
            name,
            text.as_bytes(),
            // `<!` begins nothing else that there could be in a stream.
            &["restricted-xml", "not-well-formed"][..usize::from(name == "a notation") + 1],
        );
    }
}

#[test]
fn nesting_attributes_names_and_prefixes_without_end_violate_the_policy() {
    let net = with_tls(1);
    let account = net.app().account("owner");
    let bystanders = Bystanders::new(&net, &account);
    let many = |count: usize, one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<String>();
    for (name, text) in [
        ("nesting", "<a>".repeat(300_000)),
        (
            "attributes",
            format!("<a{}/>", many(60_000, &|n| format!(" a{n}='1'"))),
        ),
        (
            "prefixes",
            format!("<a{}/>", many(60_000, &|n| format!(" xmlns:n{n}='u:{n}'"))),
        ),
        ("a name of a megabyte", format!("<{}/>", "n".repeat(1 << 20))),
        (
            "an attribute's name of a megabyte",
            format!("<a {}='1'/>", "n".repeat(1 << 20)),
        ),
        (
            "a prefix of a megabyte",
            format!("<a xmlns:{}='u:1'/>", "n".repeat(1 << 20)),
        ),
        ("children", format!("<message>{}", "<a/>".repeat(200_000))),
    ] {
        each_ends(
            &net,
            &account,
            &bystanders,
            name,
            text.as_bytes(),
            &["policy-violation"],
        );
    }
}

#[test]
fn rfc6120_11_6_what_is_no_utf_8_and_what_xml_forbids_is_not_well_formed() {
    let net = with_tls(1);
    let account = net.app().account("owner");
    let bystanders = Bystanders::new(&net, &account);
    let around = |bytes: &[u8]| [b"<message><body>", bytes, b"</body></message>"].concat();
    for (name, bytes) in [
        ("no UTF-8", around(b"\xff")),
        ("an overlong slash", around(b"\xc0\xaf")),
        ("a surrogate", around(b"\xed\xa0\x80")),
        ("beyond Unicode", around(b"\xf4\x90\x80\x80")),
        ("half a character", around(b"\xe2\x82")),
        ("UTF-16", b"\xff\xfe<\0m\0".to_vec()),
        ("U+FFFE", around("\u{FFFE}".as_bytes())),
        (
            "U+FFFF in an attribute",
            "<message to='\u{FFFF}'/>".as_bytes().to_vec(),
        ),
        ("NUL", around(b"\0")),
        ("U+000B in a name", b"<mess\x0bage/>".to_vec()),
        ("a reference to U+FFFE", around(b"&#xFFFE;")),
    ] {
        each_ends(
            &net,
            &account,
            &bystanders,
            name,
            &bytes,
            &["not-well-formed", "unsupported-encoding", "bad-format"],
        );
    }
}

#[test]
fn a_stanza_split_at_every_byte_is_the_same_stanza() {
    let net = with_tls(1);
    let account = net.app().account("owner");
    let bystanders = Bystanders::new(&net, &account);
    // Characters of one to four bytes, a reference, CDATA.
    let stanza = PING.replace("id='p'", "id='p&amp;é✓\u{1F600}'");
    for is_sealed in [false, true] {
        let mut raw = connect(&net, is_sealed);
        raw.log_in(&account, "hostile");
        let answered = |raw: &mut Raw<Box<dyn Wire>>| {
            let answer = raw.until("</iq>");
            assert!(
                answer.contains("id='p&amp;é✓\u{1F600}'") && answer.contains("result"),
                "{answer}"
            );
        };
        for split in 1..stanza.len() {
            let (first, second) = stanza.as_bytes().split_at(split);
            raw.throw(first);
            raw.throw(second);
            answered(&mut raw);
        }
        // A packet, or a record, for each byte.
        for byte in stanza.as_bytes() {
            raw.throw(&[*byte]);
        }
        answered(&mut raw);
    }
    bystanders.undisturbed("split");
}

#[test]
fn rfc6120_4_3_3_a_stream_that_is_opened_again_and_again_ends() {
    let net = with_tls(1);
    let account = net.app().account("owner");
    let bystanders = Bystanders::new(&net, &account);
    for (name, again) in [
        ("headers", header()),
        ("headers and ends", format!("{}</stream:stream>", header())),
    ] {
        for is_sealed in [false, true] {
            for stage in STAGES {
                let mut raw = connect(&net, is_sealed);
                match stage {
                    "open" => drop(raw.open()),
                    "bound" => raw.log_in(&account, "hostile"),
                    _ => {}
                }
                raw.throw(again.repeat(500).as_bytes());
                let rest = raw.rest();
                assert!(rest.ends_with("</stream:stream>"), "{name}, {stage}: {rest}");
                let opened = rest.matches("<stream:features").count();
                assert!(opened <= 1, "{name}, {stage}: {opened} streams on one connection");
            }
        }
    }
    bystanders.undisturbed("opened again");
}

#[test]
fn documents_that_are_never_closed_leave_nothing_behind() {
    let net = with_tls(1);
    let account = net.app().account("owner");
    let bystanders = Bystanders::new(&net, &account);
    let connections = || http::metric(net.daemon().http, "nexus_shard_connections{shard=\"0\"}");
    // The gauge follows at the shard's next turn.
    eventually("the bystanders are counted", || connections() == 2);
    for is_sealed in [false, true] {
        let ends: Vec<String> = [
            String::new(),
            header()[..40].to_owned(),
            header(),
            format!("{}<auth", header()),
        ]
        .into();
        parallel(&ends, |begun| {
            for _ in 0..60 {
                let mut raw = connect(&net, is_sealed);
                raw.throw(begun.as_bytes());
            }
        });
        for begun in [
            "<message to='a",
            "<message><body>",
            "<iq type='get' id='x'><query",
        ] {
            let mut raw = connect(&net, is_sealed);
            raw.log_in(&account, "hostile");
            raw.throw(begun.as_bytes());
        }
    }
    eventually("all are gone", || connections() == 2);
    bystanders.undisturbed("never closed");
}
