//! An XMPP server over WebSocket or TCP for one test: a thread for each connection, through `tungstenite`'s own server
//! and `quick-xml`. It knows one account, `ok` with the secret `s`, and nobody; names are matched exactly.
#![allow(
    clippy::disallowed_types,
    reason = "a test server may block; nothing of it is measured"
)]

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use quick_xml::events::Event;
use quick_xml::{Reader, XmlVersion};

use super::carrier::{Carrier, Heard};

const STREAM: &str = "xmlns:stream='http://etherx.jabber.org/streams'";
const PLAIN_OK: &str = "AG9rAHM=";

/// What the server does wrong; numbers count the requests or published messages of the whole server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Answers this request with a failure.
    Fails(u64),
    /// Drops this request or message.
    Drops(u64),
    /// Sends a stream error instead of its answer.
    StreamError(u64),
    /// Ends the stream instead.
    Closes(u64),
    /// Breaks the connection instead.
    Breaks(u64),
    /// Sends a stream error instead of the second `<open/>`.
    RefusesStream,
}

#[derive(Default)]
struct State {
    count: u64,
    /// Command or channel and who wants it.
    wanted: Vec<(String, Sender<String>)>,
    /// Requests by token: who asked, and under which id.
    asked: HashMap<String, (Sender<String>, String)>,
}

/// What the streams go over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    WebSocket,
    Tcp,
    /// TCP; TLS has to be asked for before the login.
    StartTls,
    /// TLS from the first byte.
    Tls,
}

/// Starts the server over WebSocket. Requests without a listener are answered by it with their own body.
pub(crate) fn start(fault: Fault) -> SocketAddr {
    start_over(Over::WebSocket, fault)
}

/// The same over something else.
pub(crate) fn start_over(over: Over, fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let state = Arc::<Mutex<State>>::default();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let state = Arc::clone(&state);
            std::thread::spawn(move || Connection::accept(stream, state, over, fault).serve());
        }
    });
    address
}

struct Connection {
    carrier: Carrier,
    over: Over,
    state: Arc<Mutex<State>>,
    fault: Fault,
    proven: bool,
    own: Sender<String>,
    queue: Receiver<String>,
}

impl Connection {
    fn accept(stream: TcpStream, state: Arc<Mutex<State>>, over: Over, fault: Fault) -> Self {
        let mut carrier = match over {
            Over::WebSocket => Carrier::web_socket(stream),
            _ => Carrier::tcp(stream),
        };
        if over == Over::Tls {
            carrier.seal();
        }
        let (own, queue) = channel();
        Self {
            carrier,
            over,
            state,
            fault,
            proven: false,
            own,
            queue,
        }
    }

    fn serve(mut self) {
        loop {
            match self.carrier.hear() {
                Heard::Element(text) => {
                    if !self.element(&text) {
                        return self.carrier.close();
                    }
                }
                Heard::Nothing => {}
                Heard::End => return,
            }
            while let Ok(text) = self.queue.try_recv() {
                if !self.carrier.say(&text) {
                    return;
                }
            }
        }
    }

    fn say(&self, text: impl Into<String>) {
        self.own.send(text.into()).unwrap();
    }

    /// Sends at once what is the last thing said.
    fn last_words(&mut self, text: &str) -> bool {
        self.carrier.say(text);
        false
    }

    /// Does what one element asks for; false if the connection ends.
    fn element(&mut self, text: &str) -> bool {
        let element = Element::read(text);
        match element.names.join("/").as_str() {
            "open" | "stream:stream" => return self.open(),
            "starttls" => {
                assert!(self.over == Over::StartTls && !self.carrier.is_sealed());
                self.carrier
                    .say("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
                self.carrier.seal();
            }
            "auth" if element.text == PLAIN_OK || element.get("mechanism") == Some("ANONYMOUS") => {
                assert!(self.over != Over::StartTls || self.carrier.is_sealed());
                self.proven = true;
                self.say("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
            }
            "auth" => {
                self.say("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>");
            }
            "iq/bind/resource" => {
                let address = (format!("bench/{}", element.text), self.own.clone());
                self.state.lock().unwrap().wanted.push(address);
                self.result(&element, "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>");
            }
            "iq/ping" => self.result(&element, ""),
            "iq/subscribe" | "iq/listen" => {
                let name = element.get("channel").or_else(|| element.get("cmd")).unwrap();
                let wanted = (name.to_owned(), self.own.clone());
                self.state.lock().unwrap().wanted.push(wanted);
                self.result(&element, "");
            }
            "iq/api/json" if element.get("type") == Some("set") => return self.request(&element),
            "iq/api/json" => {
                let (who, id) = self.state.lock().unwrap().asked[element.get("id").unwrap()].clone();
                // Whoever asked may have gone.
                let _ = who.send(reply(&id, &element.text));
            }
            "message/publish" => return self.publish(&element),
            "message/direct" => return self.direct(&element),
            "presence" => {}
            "presence/x/history" => self.join(&element),
            "message/body" => return self.speak(&element),
            "close" => return false,
            other => panic!("the load generator sent {other}: {text}"),
        }
        true
    }

    fn open(&mut self) -> bool {
        if self.proven && self.fault == Fault::RefusesStream {
            return self.stream_error();
        }
        self.say(match self.over {
            Over::WebSocket => "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' version='1.0'/>".to_owned(),
            _ => format!("<?xml version='1.0'?><stream:stream xmlns='jabber:client' {STREAM} version='1.0'>"),
        });
        let features = if self.over == Over::StartTls && !self.carrier.is_sealed() {
            "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"
        } else if self.proven {
            "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"
        } else {
            "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-256</mechanism>\
             <mechanism>PLAIN</mechanism><mechanism>ANONYMOUS</mechanism></mechanisms>"
        };
        self.say(format!("<stream:features {STREAM}>{features}</stream:features>"));
        true
    }

    fn stream_error(&mut self) -> bool {
        self.last_words(&format!(
            "<stream:error {STREAM}><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
        ))
    }

    fn result(&self, asked: &Element, payload: &str) {
        let id = asked.get("id").unwrap();
        self.say(format!(
            "<iq xmlns='jabber:client' type='result' id='{id}'>{payload}</iq>"
        ));
    }

    /// Counts a request or message and does what is wrong with it; `None` if nothing is.
    fn faulty(&mut self) -> Option<bool> {
        let number = {
            let mut state = self.state.lock().unwrap();
            state.count += 1;
            state.count
        };
        match self.fault {
            Fault::Drops(at) if at == number => Some(true),
            Fault::StreamError(at) if at == number => Some(self.stream_error()),
            Fault::Closes(at) if at == number => Some(self.last_words(match self.over {
                Over::WebSocket => "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
                _ => "</stream:stream>",
            })),
            Fault::Breaks(at) if at == number => {
                self.carrier.break_off();
                Some(false)
            }
            _ => None,
        }
    }

    fn request(&mut self, request: &Element) -> bool {
        if let Some(stays) = self.faulty() {
            return stays;
        }
        let id = request.get("id").unwrap();
        let mut state = self.state.lock().unwrap();
        if self.fault == Fault::Fails(state.count) {
            drop(state);
            self.say(format!(
                "<iq xmlns='jabber:client' type='error' id='{id}'><error type='cancel'>\
                 <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
                 <failure xmlns='urn:nexus:1' code='-2000'/></error></iq>"
            ));
            return true;
        }
        let cmd = request.get("cmd");
        let worker = state.wanted.iter().find(|(name, _)| Some(name.as_str()) == cmd);
        let Some((cmd, worker)) = worker.cloned() else {
            drop(state);
            self.say(reply(id, &request.text));
            return true;
        };
        let token = format!("{:032x}", state.asked.len() + 1);
        state
            .asked
            .insert(token.clone(), (self.own.clone(), id.to_owned()));
        let body = &request.text;
        let asked = format!(
            "<iq xmlns='jabber:client' type='set' id='{token}'><api xmlns='urn:nexus:1' cmd='{cmd}'>\
             <sender xmlns='urn:nexus:1' app='a'/><json xmlns='urn:xmpp:json:0'>{body}</json></api></iq>"
        );
        worker.send(asked).unwrap();
        true
    }

    /// The occupants' nicks are what they asked for; nobody is told of anybody else.
    fn join(&self, presence: &Element) {
        let occupant = presence.get("to").unwrap();
        let (room, nick) = occupant.split_once('/').unwrap();
        if nick.is_empty() {
            return self.say(format!(
                "<presence xmlns='jabber:client' type='error' from='{occupant}'><error type='modify'>\
                 <jid-malformed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
            ));
        }
        let wanted = (room.to_owned(), self.own.clone());
        self.state.lock().unwrap().wanted.push(wanted);
        self.say(format!(
            "<presence xmlns='jabber:client' from='{occupant}'><x xmlns='http://jabber.org/protocol/muc#user'>\
             <item affiliation='none' role='participant'/><status code='110'/></x></presence>"
        ));
        self.say(format!(
            "<message xmlns='jabber:client' type='groupchat' from='{room}'><subject/></message>"
        ));
    }

    fn speak(&mut self, message: &Element) -> bool {
        if let Some(stays) = self.faulty() {
            return stays;
        }
        assert_eq!(message.get("type"), Some("groupchat"));
        let room = message.get("to").unwrap();
        let text = &message.text;
        for (name, occupant) in &self.state.lock().unwrap().wanted {
            if name == room {
                let said = format!(
                    "<message xmlns='jabber:client' type='groupchat' from='{room}/n'><body>{text}</body></message>"
                );
                let _ = occupant.send(said);
            }
        }
        true
    }

    fn direct(&mut self, message: &Element) -> bool {
        if let Some(stays) = self.faulty() {
            return stays;
        }
        let address = format!(
            "{}/{}",
            message.get("app").unwrap(),
            message.get("resource").unwrap()
        );
        let text = &message.text;
        for (name, worker) in &self.state.lock().unwrap().wanted {
            if *name == address {
                let _ = worker.send(format!(
                    "<message xmlns='jabber:client' type='normal' from='f'><body>{text}</body>\
                     <sender xmlns='urn:nexus:1' app='a'/></message>"
                ));
            }
        }
        true
    }

    fn publish(&mut self, message: &Element) -> bool {
        if let Some(stays) = self.faulty() {
            return stays;
        }
        let channel = message.get("channel").unwrap();
        let text = &message.text;
        for (name, subscriber) in &self.state.lock().unwrap().wanted {
            if name == channel {
                let delivered = format!(
                    "<message xmlns='jabber:client' type='normal'><publish xmlns='urn:nexus:1' channel='{channel}'>\
                     {text}</publish><sender xmlns='urn:nexus:1' app='a'/></message>"
                );
                let _ = subscriber.send(delivered);
            }
        }
        true
    }
}

/// Quotes become references, as some servers write them: the client has to read them.
fn reply(id: &str, body: &str) -> String {
    let body = body.replace('"', "&quot;");
    format!(
        "<iq xmlns='jabber:client' type='result' id='{id}'><api xmlns='urn:nexus:1' code='0'>\
         <json xmlns='urn:xmpp:json:0'>{body}</json></api></iq>"
    )
}

/// An element with its names from the root inwards, all attributes and its text.
struct Element {
    names: Vec<String>,
    attributes: HashMap<String, String>,
    text: String,
}

impl Element {
    fn read(text: &str) -> Self {
        let mut element = Self {
            names: Vec::new(),
            attributes: HashMap::new(),
            text: String::new(),
        };
        let mut reader = Reader::from_str(text);
        loop {
            match reader.read_event().unwrap() {
                Event::Start(tag) | Event::Empty(tag) => {
                    element.names.push(tag.name().as_ref().to_owned());
                    for attribute in tag.attributes() {
                        let attribute = attribute.unwrap();
                        let value = attribute
                            .normalized_value(XmlVersion::Implicit1_0)
                            .unwrap()
                            .into_owned();
                        element
                            .attributes
                            .insert(attribute.key.as_ref().to_owned(), value);
                    }
                }
                Event::Text(text) => element.text.push_str(&text),
                Event::End(_) => {}
                Event::Eof => return element,
                Event::Decl(_) => {}
                other => panic!("the load generator sent {other:?}"),
            }
        }
    }

    fn get(&self, attribute: &str) -> Option<&str> {
        self.attributes.get(attribute).map(String::as_str)
    }
}
