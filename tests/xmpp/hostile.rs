//! Bad input over raw WebSockets: the stream error that RFC 6120 has for it, `<close/>`, the end, a counter that
//! moves, and a neighbour who notices nothing.

mod documents;
mod floods;
mod pace;
mod rooms;
mod stages;

use crate::harness::daemon::DOMAIN;
use crate::harness::http;
use crate::harness::matrix::{PAHO_5, XMPPJS};
use crate::harness::websocket::{BINARY, CONTINUATION, FIN, PING, PONG, TEXT, masked};
use crate::harness::xmpp::{CLIENT, XmppSocket, condition, open_to};
use crate::harness::{Account, Call, Client, Deadline, Net, Options};

const PING_IQ: &str = "<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";

/// A daemon of the test's own, whose counters nobody else moves, with neighbours of both protocols.
struct Place {
    net: Net,
    account: Account,
    neighbours: [Client; 2],
}

impl Place {
    fn new() -> Self {
        let net = Net::start(&Options::shards(1));
        let account = net.app().account("owner");
        let neighbours = [
            net.connect(XMPPJS, &account, "of XMPP"),
            net.connect(PAHO_5, &account, "of MQTT"),
        ];
        Self {
            net,
            account,
            neighbours,
        }
    }

    fn login(&self) -> XmppSocket {
        XmppSocket::login(self.net.daemon().ws, &self.account, "hostile")
    }

    fn disconnects(&self, reasons: &[&str]) -> u64 {
        let series = reasons
            .iter()
            .map(|reason| format!("nexus_disconnects_total{{reason=\"{reason}\"}}"));
        series
            .map(|series| http::metric(self.net.daemon().http, &series))
            .sum()
    }

    /// `bytes` end the stream with one of these conditions, and a counter of one of these reasons moves by one.
    #[track_caller]
    fn ends(&self, name: &str, socket: &mut XmppSocket, message: &[u8], wanted: &[&str], reasons: &[&str]) {
        let before = self.disconnects(reasons);
        socket.socket.send(FIN | TEXT, message);
        let condition = socket.stream_error();
        assert!(
            wanted.contains(&condition.as_str()),
            "{name}: {condition}, not one of {wanted:?}"
        );
        self.counted(name, before, reasons);
    }

    /// The counter moves by one; it may do so after the peer has seen the end.
    #[track_caller]
    fn counted(&self, name: &str, before: u64, reasons: &[&str]) {
        let deadline = Deadline::patient();
        loop {
            let counted = self.disconnects(reasons) - before;
            if counted == 1 {
                break;
            }
            assert!(
                counted == 0 && !deadline.passed(),
                "{name}: {reasons:?} counted {counted}"
            );
        }
        for neighbour in &self.neighbours {
            assert_eq!(
                neighbour.call(&Call::new("nexus", "ping")).code,
                0,
                "after {name}"
            );
            assert!(neighbour.take_unmatched().is_empty(), "after {name}");
        }
    }

    /// The same for many messages, each on a stream of its own, before login and after it.
    #[track_caller]
    fn each_ends(&self, cases: &[(&str, String)], wanted: &[&str], reasons: &[&str]) {
        for (name, message) in cases {
            let mut socket = self.login();
            self.ends(name, &mut socket, message.as_bytes(), wanted, reasons);
            let (mut socket, _) = XmppSocket::open(self.net.daemon().ws);
            self.ends(name, &mut socket, message.as_bytes(), wanted, reasons);
        }
    }
}

fn named(name: &'static str, message: impl Into<String>) -> (&'static str, String) {
    (name, message.into())
}

fn message_with(inside: &str) -> String {
    format!("<message xmlns='{CLIENT}'>{inside}</message>")
}

#[test]
fn a_message_split_at_every_byte_is_the_same_message() {
    let place = Place::new();
    let mut socket = place.login();
    let ping = PING_IQ.as_bytes();
    for split in 1..ping.len() {
        // In two fragments, with a ping between them.
        socket.socket.send(TEXT, &ping[..split]);
        socket.socket.send(FIN | PING, b"");
        socket.socket.send(FIN | CONTINUATION, &ping[split..]);
        let pong = socket.socket.next().expect("a pong");
        assert_eq!(pong.first, FIN | PONG);
        assert_eq!(socket.element().attribute("id"), Some("p"));
        // In two writes, at a byte of the frame.
        let frame = masked(FIN | TEXT, ping);
        socket.socket.send_bytes(&frame[..split]);
        socket.socket.send_bytes(&frame[split..]);
        assert_eq!(socket.element().attribute("id"), Some("p"));
    }
    // A fragment for each byte, those of a character of several bytes among them.
    let long = "<iq xmlns='jabber:client' type='get' id='é✓\u{1F600}'><ping xmlns='urn:xmpp:ping'/></iq>";
    let bytes = long.as_bytes();
    for (place, byte) in bytes.iter().enumerate() {
        let fin = if place + 1 == bytes.len() { FIN } else { 0 };
        let opcode = if place == 0 { TEXT } else { CONTINUATION };
        socket.socket.send(fin | opcode, &[*byte]);
    }
    assert_eq!(socket.element().attribute("id"), Some("é✓\u{1F600}"));
    assert_eq!(place.disconnects(&["malformed", "protocol_error"]), 0);
}

#[test]
fn rfc6120_4_9_3_13_unclosed_and_mismatched_tags_are_not_well_formed() {
    let cases = [
        named("unclosed", format!("<message xmlns='{CLIENT}'><body>x</body>")),
        named("unclosed inside", message_with("<body>x")),
        named("mismatched", message_with("<body>x</bode>")),
        named("crossed", message_with("<a><b></a></b>")),
        named("never opened", "</message>"),
        named(
            "unfinished start",
            "<message xmlns='jabber:client' to='x".to_owned(),
        ),
        named("no element", "hello"),
        named("unquoted attribute", message_with("<body a=1/>")),
        named("attribute twice", message_with("<body a='1' a='2'/>")),
        named("`<` in an attribute", message_with("<body a='<'/>")),
        named("no name", message_with("< body/>")),
        named("end of CDATA in text", message_with("<body>]]></body>")),
    ];
    Place::new().each_ends(&cases, &["not-well-formed", "bad-format"], &["malformed"]);
}

#[test]
fn rfc6120_11_6_characters_that_xml_forbids_are_not_well_formed() {
    let cases = [
        named("control character", message_with("<body>\u{1}</body>")),
        named("NUL", message_with("<body>\u{0}</body>")),
        named("U+FFFE", message_with("<body>\u{FFFE}</body>")),
        named("U+FFFF in an attribute", message_with("<body a='\u{FFFF}'/>")),
        named("reference to U+0001", message_with("<body>&#1;</body>")),
        named("reference to a surrogate", message_with("<body>&#xD800;</body>")),
        named(
            "reference beyond Unicode",
            message_with("<body>&#x110000;</body>"),
        ),
    ];
    Place::new().each_ends(
        &cases,
        &["not-well-formed", "bad-format", "restricted-xml"],
        &["malformed"],
    );
}

#[test]
fn rfc6120_4_9_3_18_restricted_xml_is_told() {
    let cases = [
        named("comment", message_with("<!-- x -->")),
        named("comment before", format!("<!-- x -->{PING_IQ}")),
        named("processing instruction", message_with("<?x y?>")),
        named("DTD", format!("<!DOCTYPE x [<!ENTITY a 'b'>]>{PING_IQ}")),
        named("entity reference", message_with("<body>&nbsp;</body>")),
        // Not well-formed, either; who looks for the name of an entity sees one that is not allowed.
        named("bare ampersand", message_with("<body>a & b</body>")),
        named("entity in an attribute", message_with("<body a='&lol;'/>")),
    ];
    Place::new().each_ends(&cases, &["restricted-xml", "not-well-formed"], &["malformed"]);
}

#[test]
fn a_billion_laughs_expand_to_nothing() {
    let mut laughs = "<!DOCTYPE lolz [<!ENTITY lol0 'lol'>".to_owned();
    for level in 1..10 {
        let inner = format!("&lol{};", level - 1).repeat(10);
        laughs.push_str(&format!("<!ENTITY lol{level} '{inner}'>"));
    }
    laughs.push_str("]>");
    laughs.push_str(&message_with("<body>&lol9;</body>"));
    Place::new().each_ends(&[named("laughs", laughs)], &["restricted-xml"], &["malformed"]);
}

#[test]
fn rfc6120_4_9_3_2_prefixes_must_be_declared() {
    let cases = [
        named("element", message_with("<x:y/>")),
        named("attribute", message_with("<y x:a='1'/>")),
        named("the stanza itself", "<s:message/>"),
        named(
            "declared inside only",
            message_with("<x:y><z xmlns:x='urn:x'/></x:y>"),
        ),
    ];
    Place::new().each_ends(
        &cases,
        &["bad-namespace-prefix", "not-well-formed"],
        &["malformed"],
    );
}

#[test]
fn rfc7395_3_3_several_elements_in_one_message_end_the_stream() {
    let place = Place::new();
    let twice = format!("{PING_IQ}{PING_IQ}");
    for (name, bytes) in [("two", twice), ("text behind", format!("{PING_IQ} x"))] {
        let before = place.disconnects(&["malformed", "protocol_error"]);
        let mut socket = place.login();
        socket.send(&bytes);
        // Whether the first of them is still answered is left open.
        let mut error = socket.element();
        if error.is(CLIENT, "iq") {
            error = socket.element();
        }
        let condition = condition(&error);
        let wanted = ["not-well-formed", "bad-format", "policy-violation", "invalid-xml"];
        assert!(wanted.contains(&condition.as_str()), "{name}: {condition}");
        socket.assert_closed();
        place.counted(name, before, &["malformed", "protocol_error"]);
    }
}

#[test]
fn rfc7395_3_3_an_element_may_not_be_spread_over_messages() {
    let place = Place::new();
    let mut socket = place.login();
    let half = &PING_IQ.as_bytes()[..30];
    place.ends(
        "first half",
        &mut socket,
        half,
        &["not-well-formed", "bad-format"],
        &["malformed"],
    );
}

#[test]
fn rfc7395_3_2_binary_messages_are_refused() {
    let place = Place::new();
    for logged_in in [false, true] {
        let before = place.disconnects(&["malformed", "protocol_error"]);
        let mut socket = if logged_in {
            place.login()
        } else {
            XmppSocket::connect(place.net.daemon().ws)
        };
        let message = if logged_in {
            PING_IQ.to_owned()
        } else {
            open_to(DOMAIN)
        };
        socket.socket.send(FIN | BINARY, message.as_bytes());
        assert_eq!(socket.socket.close_code(), 1003);
        place.counted("binary", before, &["malformed", "protocol_error"]);
    }
}

#[test]
fn rfc6455_8_1_text_that_is_not_utf_8_is_closed_with_1007() {
    let place = Place::new();
    for bad in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"] {
        let before = place.disconnects(&["malformed"]);
        let mut socket = place.login();
        let message = [
            &b"<message xmlns='jabber:client'><body>"[..],
            bad,
            b"</body></message>",
        ]
        .concat();
        socket.socket.send(FIN | TEXT, &message);
        assert_eq!(socket.socket.close_code(), 1007);
        place.counted("bad UTF-8", before, &["malformed"]);
    }
}

#[test]
fn floods_of_nesting_attributes_and_namespaces_violate_the_policy() {
    let many = |count: usize, one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<String>();
    let deep = format!("{}{}", "<a>".repeat(1500), "</a>".repeat(1500));
    let attributes = many(700, &|n| format!(" a{n}='1'"));
    let declarations = many(400, &|n| format!(" xmlns:n{n}='urn:x:{n}'"));
    let cases = [
        named("nesting", message_with(&deep)),
        named("attributes", message_with(&format!("<a{attributes}/>"))),
        named("namespaces", message_with(&format!("<a{declarations}/>"))),
        named("a long name", message_with(&format!("<{}/>", "n".repeat(8000)))),
        named(
            "a long attribute's name",
            message_with(&format!("<a {}='1'/>", "n".repeat(8000))),
        ),
    ];
    Place::new().each_ends(
        &cases,
        &["policy-violation"],
        &["malformed", "too_large", "protocol_error", "quota_exceeded"],
    );
}

#[test]
fn names_of_a_megabyte_and_stanzas_over_the_bound_are_cut_off() {
    let place = Place::new();
    let reasons = ["malformed", "too_large"];
    let name = "n".repeat(1024 * 1024);
    for (what, message) in [
        ("a name", format!("<{name}/>")),
        ("an attribute's name", format!("<message {name}='1'/>")),
        (
            "a body",
            message_with(&format!("<body>{}</body>", "x".repeat(4 * 1024 * 1024))),
        ),
    ] {
        for logged_in in [true, false] {
            let before = place.disconnects(&reasons);
            let mut socket = if logged_in {
                place.login()
            } else {
                XmppSocket::open(place.net.daemon().ws).0
            };
            socket.send(&message);
            // By the stream's word or by the WebSocket's (1009), or by a reset to who goes on sending.
            let code = socket.socket.try_close_code();
            assert!(
                matches!(code, None | Some(1000 | 1008 | 1009)),
                "{what}: {code:?}"
            );
            place.counted(what, before, &reasons);
        }
    }
}

#[test]
fn stanzas_that_are_well_formed_but_wrong_are_survived() {
    let place = Place::new();
    let mut socket = place.login();
    for stanza in [
        "<iq xmlns='jabber:client' type='get'><ping xmlns='urn:xmpp:ping'/></iq>",
        "<iq xmlns='jabber:client' id='a'/>",
        "<iq xmlns='jabber:client' type='get' id='a'/>",
        "<iq xmlns='jabber:client' type='get' id='a'><a xmlns='u:1'/><b xmlns='u:2'/></iq>",
        "<iq xmlns='jabber:client' type='wrong' id='a'><ping xmlns='urn:xmpp:ping'/></iq>",
        "<iq xmlns='jabber:client' type='set' id='a' to='@@//'><ping xmlns='urn:xmpp:ping'/></iq>",
        "<iq xmlns='jabber:client' type='set' id='a'><api xmlns='urn:nexus:1'/></iq>",
        "<iq xmlns='jabber:client' type='set' id='a'><api xmlns='urn:nexus:1' app='x' cmd='y'><json xmlns='urn:xmpp:json:0'>{</json></api></iq>",
        "<message xmlns='jabber:client'/>",
        "<message xmlns='jabber:client'><direct xmlns='urn:nexus:1'/></message>",
        "<message xmlns='jabber:client'><publish xmlns='urn:nexus:1' channel='a/+'>x</publish></message>",
        "<presence xmlns='jabber:client' type='wrong'><priority>9999</priority></presence>",
        "<presence xmlns='jabber:client' to='nobody@nowhere/x' type='subscribe'/>",
    ] {
        socket.send(stanza);
        // Whatever is said to it, the block is served afterwards.
        socket.send("<iq xmlns='jabber:client' type='get' id='after'><ping xmlns='urn:xmpp:ping'/></iq>");
        loop {
            let element = socket.element();
            assert!(element.is(CLIENT, "iq"), "{stanza}: {element:?}");
            if element.attribute("id") == Some("after") {
                assert_eq!(element.attribute("type"), Some("result"));
                break;
            }
            assert_eq!(element.attribute("type"), Some("error"), "{stanza}: {element:?}");
        }
    }
}
