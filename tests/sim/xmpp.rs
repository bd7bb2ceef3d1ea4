//! A simulated client's XMPP over WebSocket (RFC 7395): its login step by step or in one go, its frames in pieces,
//! and what it makes of the server's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::Rng;
use rand::rngs::StdRng;

use crate::words::{DECLINED, Deed, Hearing, Persona, Subject, Word};
use crate::xml::{self, Element, escaped};

/// Served by the simulated daemon.
pub(crate) const DOMAINS: [&str; 2] = ["nexus.example", "second.example"];

/// How the answer to a successful bind begins; the machine knows by it that the session is attached.
pub(crate) const BOUND: &[u8] = b"<iq xmlns='jabber:client' type='result' id='bind'";

pub(crate) const HANDSHAKE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: nexus.example\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n";

const FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";
const STREAM: &str = "http://etherx.jabber.org/streams";
const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
const CLIENT: &str = "jabber:client";
const JSON: &str = "urn:xmpp:json:0";
const NEXUS: &str = "urn:nexus:1";
/// Of what the daemon does not know.
const OTHER: &str = "urn:x";

/// Attempts to log in, the first among them.
const ATTEMPTS_MAX: u32 = 3;

/// One connection's state.
#[derive(Debug)]
pub(crate) struct Xmpp {
    persona: Persona,
    domain: &'static str,
    inbox: Vec<u8>,
    is_upgraded: bool,
    /// Says everything at once instead of waiting for answers.
    is_eager: bool,
    attempts: u32,
    /// Asked to bind its resource.
    pub has_bound: bool,
    is_attached: bool,
    marks: u64,
}

impl Xmpp {
    /// The client and what it says first.
    pub(crate) fn connect(persona: Persona, random: &mut StdRng) -> (Self, Vec<u8>) {
        let mut client = Self {
            persona,
            domain: DOMAINS[random.random_range(0..DOMAINS.len())],
            inbox: Vec::new(),
            is_upgraded: false,
            is_eager: random.random_bool(0.3),
            attempts: 1,
            has_bound: false,
            is_attached: false,
            marks: 0,
        };
        let mut bytes = HANDSHAKE.to_vec();
        if client.is_eager {
            for element in [client.open(), client.auth(), client.open(), client.bind()] {
                bytes.extend(frames(&element, random));
            }
        }
        (client, bytes)
    }

    /// Whether stanzas may be sent: what an eager client sends early waits at the server.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_eager || self.is_attached
    }

    fn open(&self) -> String {
        format!("<open xmlns='{FRAMING}' to='{}' version='1.0'/>", self.domain)
    }

    fn auth(&self) -> String {
        let plain = STANDARD.encode(format!("\0{}\0secret", self.persona.account));
        format!("<auth xmlns='{SASL}' mechanism='PLAIN'>{plain}</auth>")
    }

    fn bind(&mut self) -> String {
        self.has_bound = true;
        format!(
            "<iq xmlns='{CLIENT}' type='set' id='bind'><bind xmlns='{BIND}'><resource>{}</resource></bind></iq>",
            self.persona.resource
        )
    }

    /// A deed in bytes, and the mark by which its completion will be known.
    pub(crate) fn say(&mut self, deed: &Deed<'_>, random: &mut StdRng) -> (Vec<u8>, Option<u64>) {
        let mut mark = None;
        let element = match *deed {
            Deed::Want(subject, wanted) => {
                self.marks += 1;
                mark = Some(self.marks);
                let mut bytes = Vec::new();
                if subject == Subject::Account {
                    bytes.extend(frames(&presence(wanted, random), random));
                }
                bytes.extend(frames(&self.want(subject, wanted), random));
                return (bytes, mark);
            }
            Deed::Publish { channel, text } => format!(
                "<message xmlns='{CLIENT}'><publish xmlns='{NEXUS}' channel='{}'>{}</publish></message>",
                escaped(channel),
                content(text)
            ),
            Deed::Direct { app, resource, text } => format!(
                "<message xmlns='{CLIENT}'><direct xmlns='{NEXUS}' app='{app}' resource='{}'>{}</direct></message>",
                escaped(resource),
                content(text)
            ),
            Deed::Message {
                account,
                resource,
                text,
                has_body,
            } => message(account, resource, text, has_body, random),
            Deed::Call { id, cmd, body } => {
                let to = if names_daemon(id) {
                    format!(" to='{}'", self.domain)
                } else {
                    String::new()
                };
                format!(
                    "<iq xmlns='{CLIENT}' type='set' id='c{id}'{to}><api xmlns='{NEXUS}' app='etest' cmd='{cmd}'>\
                     <json xmlns='{JSON}'>{}</json></api></iq>",
                    content(body)
                )
            }
            Deed::Answer { token, body } => {
                let json = format!("<json xmlns='{JSON}'>{}</json>", content(body));
                let payload = if random.random_bool(0.5) {
                    format!("<api xmlns='{NEXUS}'>{json}</api>")
                } else {
                    json
                };
                format!("<iq xmlns='{CLIENT}' type='result' id='{token}'>{payload}</iq>")
            }
            Deed::Decline { token } => format!(
                "<iq xmlns='{CLIENT}' type='error' id='{token}'><error type='cancel'>\
                 <failure xmlns='{NEXUS}' code='{DECLINED}'/></error></iq>"
            ),
            Deed::Leave => format!("<close xmlns='{FRAMING}'/>"),
        };
        (frames(&element, random), mark)
    }

    /// An iq whose answer tells that it, and what was sent before it, was done.
    fn want(&self, subject: Subject, wanted: bool) -> String {
        let un = if wanted { "" } else { "un" };
        let payload = match subject {
            Subject::Channel(filter) => {
                format!("<{un}subscribe xmlns='{NEXUS}' channel='{}'/>", escaped(filter))
            }
            Subject::Listen(cmd) => format!("<{un}listen xmlns='{NEXUS}' cmd='{cmd}'/>"),
            Subject::Account => {
                return format!(
                    "<iq xmlns='{CLIENT}' type='get' id='d{}'><ping xmlns='urn:xmpp:ping'/></iq>",
                    self.marks
                );
            }
        };
        format!(
            "<iq xmlns='{CLIENT}' type='set' id='d{}'>{payload}</iq>",
            self.marks
        )
    }

    /// Bytes from the server.
    pub(crate) fn hear(&mut self, bytes: &[u8], random: &mut StdRng) -> Hearing {
        self.inbox.extend_from_slice(bytes);
        let inbox = std::mem::take(&mut self.inbox);
        let mut hearing = Hearing::default();
        let mut rest = inbox.as_slice();
        if !self.is_upgraded {
            let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") else {
                self.inbox = inbox;
                return hearing;
            };
            assert!(
                rest.starts_with(b"HTTP/1.1 101 "),
                "{}",
                String::from_utf8_lossy(rest)
            );
            rest = &rest[end + 4..];
            self.is_upgraded = true;
            self.go_on(&[self.open()], &mut hearing, random);
        }
        while let Some((opcode, payload, len)) = frame(rest) {
            rest = &rest[len..];
            if opcode == TEXT {
                let text = std::str::from_utf8(payload).expect("text messages are UTF-8");
                self.element(&xml::parse(text), &mut hearing, random);
            }
        }
        self.inbox = rest.to_vec();
        hearing
    }

    /// The next step of a login that waits for answers.
    fn go_on(&self, elements: &[String], hearing: &mut Hearing, random: &mut StdRng) {
        if !self.is_eager {
            for element in elements {
                hearing.answer.extend(frames(element, random));
            }
        }
    }

    fn element(&mut self, element: &Element, hearing: &mut Hearing, random: &mut StdRng) {
        match (element.namespace.as_str(), element.name.as_str()) {
            (FRAMING, "open") => assert_eq!(element.attribute("from"), Some(self.domain)),
            (FRAMING, "close") => {}
            (STREAM, "features") if element.child(BIND, "bind").is_some() => {
                if !self.is_eager {
                    let bind = self.bind();
                    self.go_on(&[bind], hearing, random);
                }
            }
            (STREAM, "features") => self.go_on(&[self.auth()], hearing, random),
            (STREAM, "error") => hearing.words.push(Word::Ended {
                condition: element.elements()[0].name.clone(),
            }),
            (SASL, "success") => self.go_on(&[self.open()], hearing, random),
            (SASL, "failure") => {
                let condition = &element.elements()[0].name;
                assert_eq!(condition, "temporary-auth-failure");
                self.attempts += 1;
                if self.attempts <= ATTEMPTS_MAX {
                    self.go_on(&[self.auth()], hearing, random);
                }
            }
            (CLIENT, "iq") => self.iq(element, hearing, random),
            (CLIENT, "message") => hearing.words.push(self.message(element)),
            _ => panic!("unexpected {element:?}"),
        }
    }

    fn iq(&mut self, iq: &Element, hearing: &mut Hearing, random: &mut StdRng) {
        let id = iq.attribute("id").expect("every iq has an id");
        let kind = iq.attribute("type").expect("every iq has a type");
        let word = match (kind, id.split_at(1)) {
            ("get", _) => {
                assert!(iq.child("urn:xmpp:ping", "ping").is_some(), "{iq:?}");
                let answer = ["result", "error"][random.random_range(0..2usize)];
                let pong = format!("<iq xmlns='{CLIENT}' type='{answer}' id='{id}'/>");
                hearing.answer.extend(frames(&pong, random));
                return;
            }
            ("set", _) => self.request(iq, id),
            ("result", _) if id == "bind" => {
                let jid = iq.child(BIND, "bind").unwrap().elements()[0].text();
                let own = format!(
                    "{}@{}/{}",
                    self.persona.account, self.domain, self.persona.resource
                );
                assert_eq!(jid, own);
                self.is_attached = true;
                Word::Attached
            }
            (_, ("c", id)) => self.reply(iq, id.parse().unwrap()),
            (_, ("d", mark)) => Word::Done {
                mark: mark.parse().unwrap(),
                granted: kind == "result",
            },
            _ => panic!("unexpected {iq:?}"),
        };
        hearing.words.push(word);
    }

    fn request(&self, iq: &Element, token: &str) -> Word {
        assert_eq!(iq.attribute("from"), Some(self.domain));
        let api = iq.child(NEXUS, "api").expect("a request");
        Word::Request {
            cmd: api.attribute("cmd").expect("a command").to_owned(),
            token: token.to_owned(),
            from: self.sender(api).path,
            body: api.child(JSON, "json").expect("a body").text(),
        }
    }

    fn reply(&self, iq: &Element, id: u64) -> Word {
        let from = names_daemon(id).then_some(self.domain);
        assert_eq!(
            iq.attribute("from"),
            from,
            "the answer comes from whom was asked: {iq:?}"
        );
        if iq.attribute("type") == Some("error") {
            let error = &iq.elements()[0];
            let failure = error.child(NEXUS, "failure").expect("an outcome has a code");
            let code = failure.attribute("code").unwrap().parse().unwrap();
            let text = error.child("urn:ietf:params:xml:ns:xmpp-stanzas", "text");
            let text = text.expect("a failure says why").text();
            return Word::Reply {
                id,
                code,
                body: format!("{{\"code\":{code},\"error\":\"{text}\"}}"),
                from: None,
            };
        }
        let api = iq.child(NEXUS, "api").expect("an outcome");
        let body = api.child(JSON, "json").expect("a body").text();
        let code = api.attribute("code").expect("a code").parse().unwrap();
        let parsed: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(parsed["code"].as_i64(), Some(code), "the code of the body");
        Word::Reply {
            id,
            code,
            body,
            from: Some(self.sender(api).path),
        }
    }

    fn message(&self, message: &Element) -> Word {
        let sender = self.sender(message);
        let from = message.attribute("from").expect("every message has a sender");
        if let Some(publish) = message.child(NEXUS, "publish") {
            assert_eq!(from, format!("conference.{}", self.domain));
            return Word::Channel {
                from: sender.path,
                channel: publish.attribute("channel").expect("a channel").to_owned(),
                text: publish.text(),
            };
        }
        assert_eq!(from, sender.jid);
        let body = message.child(CLIENT, "body");
        let text = body.or_else(|| message.child(OTHER, "x")).expect("a text").text();
        if let Some(id) = message.attribute("id") {
            assert_eq!(Some(id), text.split(':').nth(1), "the id is the sender's");
            assert_eq!(message.attribute("type"), Some("chat"));
            assert!(message.child(OTHER, "y").is_some(), "children are kept");
        }
        Word::Direct {
            from: sender.path,
            text,
        }
    }

    /// Who sent it, as the daemon says.
    fn sender(&self, parent: &Element) -> Sender {
        let sender = parent.child(NEXUS, "sender").expect("a sender");
        let [app, uid, role, resource] =
            ["app", "uid", "role", "resource"].map(|name| sender.attribute(name).expect("the whole sender"));
        let jid = format!("{app}-{uid}-{role}@{}/{resource}", self.domain);
        assert_eq!(
            sender.attribute("jid"),
            Some(jid.as_str()),
            "in the receiver's domain"
        );
        Sender {
            path: format!("{app}/{uid}/{role}/{resource}"),
            jid,
        }
    }
}

struct Sender {
    path: String,
    jid: String,
}

/// Some calls name the daemon, others nobody.
const fn names_daemon(id: u64) -> bool {
    id.is_multiple_of(2)
}

fn presence(wanted: bool, random: &mut StdRng) -> String {
    let forms = if wanted {
        ["/>", " type='available'/>", "><priority>7</priority></presence>"]
    } else {
        [
            " type='unavailable'/>",
            "><priority>-1</priority></presence>",
            " type='unavailable'><priority>5</priority></presence>",
        ]
    };
    let form = forms[random.random_range(0..forms.len())];
    format!("<presence xmlns='{CLIENT}'{form}")
}

/// A plain message; some claim to come from somebody else, some have more to them than a body.
fn message(account: &str, resource: Option<&str>, text: &str, has_body: bool, random: &mut StdRng) -> String {
    let domain = DOMAINS[random.random_range(0..DOMAINS.len())];
    let resource = resource.map_or_else(String::new, |resource| format!("/{}", escaped(resource)));
    let forged = if random.random_bool(0.3) {
        " from='forged@nexus.example/x'"
    } else {
        ""
    };
    let head = format!("<message xmlns='{CLIENT}' to='{account}@{domain}{resource}'{forged}");
    let number = text.split(':').nth(1).unwrap();
    let text = content(text);
    let body = if has_body {
        format!("<body>{text}</body>")
    } else {
        format!("<x xmlns='{OTHER}'>{text}</x>")
    };
    if random.random_bool(0.5) {
        return format!("{head}>{body}</message>");
    }
    let claimed = format!("<sender xmlns='{NEXUS}' app='nexus'/>");
    format!("{head} type='chat' id='{number}'><y xmlns='{OTHER}'/>{claimed}{body}</message>")
}

/// Text of an element: a CR would not come through as it is (XML 1.0, 2.11).
fn content(text: &str) -> String {
    escaped(text).replace('\r', "&#13;")
}

pub(crate) const TEXT: u8 = 1;

/// A text message in one frame or several, masked (RFC 6455, 5.2 to 5.4).
pub(crate) fn frames(text: &str, random: &mut StdRng) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut rest, mut opcode) = (text.as_bytes(), TEXT);
    loop {
        let len = if random.random_bool(0.9) {
            rest.len()
        } else {
            random.random_range(0..=rest.len())
        };
        let (payload, after) = rest.split_at(len);
        let is_last = after.is_empty();
        bytes.push(if is_last { 0x80 | opcode } else { opcode });
        match u8::try_from(len) {
            Ok(len @ 0..126) => bytes.push(0x80 | len),
            _ => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
            }
        }
        let key: [u8; 4] = random.random();
        bytes.extend_from_slice(&key);
        bytes.extend(
            payload
                .iter()
                .zip(key.iter().cycle())
                .map(|(byte, key)| byte ^ key),
        );
        if is_last {
            return bytes;
        }
        (rest, opcode) = (after, 0);
    }
}

/// The frame at the front, which is whole, unmasked and ends its message: opcode, payload and its length.
pub(crate) fn frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let &[first, second, ..] = bytes else { return None };
    assert_eq!(first & 0xF0, 0x80, "the server writes whole messages");
    let (len, head) = match second {
        0..126 => (usize::from(second), 2),
        126 => (
            usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)),
            4,
        ),
        _ => panic!("masked, or longer than anything here"),
    };
    let payload = bytes.get(head..head + len)?;
    Some((first & 0x0F, payload, head + len))
}
