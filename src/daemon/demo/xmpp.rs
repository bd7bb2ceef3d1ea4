//! The sample web block's connection: XMPP over WebSocket (RFC 7395) by `tungstenite` and quick-xml, blocking.
//! It shares nothing with the daemon's own codec: the demonstration goes over real sockets.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Message as Frame, WebSocket};

use super::xml::{Element, escape};
use super::{Login, Patience, open_tcp};
use crate::daemon::Fault;

const FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";
const NEXUS: &str = "urn:nexus:1";
const JSON: &str = "urn:xmpp:json:0";

/// What came of a request to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// The outcome's code; 0 is success.
    pub(super) code: String,
    /// The worker's object, or the daemon's reason.
    pub(super) text: String,
    /// The address of the worker that answered.
    pub(super) sender: String,
}

/// A request to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// What the answer has to name.
    pub(super) id: String,
    /// Its body.
    pub(super) body: String,
}

/// A message that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The channel it was published on; none: it is a Direct message.
    pub(super) channel: Option<String>,
    /// What it says.
    pub(super) text: String,
    /// The sender's address, as the daemon says.
    pub(super) sender: String,
    /// The sender's app.
    pub(super) app: String,
    /// The sender's resource.
    pub(super) resource: String,
}

/// What arrived unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A message.
    Message(Message),
    /// A request.
    Request(Request),
}

/// A connected web block.
pub(super) struct Client {
    socket: WebSocket<TcpStream>,
    /// What arrived while something else was awaited.
    arrived: VecDeque<Event>,
    ids: u32,
}

impl Client {
    /// Connects, logs in by PLAIN and binds the resource.
    pub(super) fn connect(
        address: SocketAddr,
        domain: &str,
        login: &Login,
        patience: Patience,
    ) -> Result<Self, Fault> {
        let socket = open(address, patience)
            .map_err(|e| Fault::new(format!("{} cannot connect: {e}", login.resource)))?;
        let mut client = Self {
            socket,
            arrived: VecDeque::new(),
            ids: 0,
        };
        client.open(domain)?;
        let proof = STANDARD.encode(format!("\0{}\0{}", login.account, login.secret));
        client.send(&format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{proof}</auth>"
        ))?;
        let verdict = client.element()?;
        if verdict.name != "success" {
            let why = verdict.condition();
            return Err(Fault::new(format!(
                "the login of {} was refused: {why}",
                login.account
            )));
        }
        client.open(domain)?;
        client.set(&format!(
            "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{}</resource></bind>",
            escape(&login.resource)
        ))?;
        // Makes messages to the account as a whole come here, too.
        client.send("<presence xmlns='jabber:client'/>")?;
        Ok(client)
    }

    /// Opens the stream, which is done once more after the login.
    fn open(&mut self, domain: &str) -> Result<(), Fault> {
        let domain = escape(domain);
        self.send(&format!("<open xmlns='{FRAMING}' to='{domain}' version='1.0'/>"))?;
        loop {
            let element = self.element()?;
            match element.name.as_str() {
                "open" => {}
                "features" => return Ok(()),
                _ => {
                    let why = element.condition();
                    return Err(Fault::new(format!("the stream was refused: {why}")));
                }
            }
        }
    }

    /// Asks a worker, and waits for what comes of it.
    pub(super) fn call(&mut self, app: &str, cmd: &str, body: &str) -> Result<Reply, Fault> {
        let answer = self.ask(&format!(
            "<api xmlns='{NEXUS}' app='{}' cmd='{}'><json xmlns='{JSON}'>{}</json></api>",
            escape(app),
            escape(cmd),
            escape(body)
        ))?;
        let no_reply = || Fault::new(format!("no reply to a request: {answer:?}"));
        if let Some(error) = answer.child("error") {
            let failure = error.child("failure").ok_or_else(no_reply)?;
            return Ok(Reply {
                code: failure.attribute("code").to_owned(),
                text: error
                    .child("text")
                    .map(|text| text.text.clone())
                    .unwrap_or_default(),
                sender: String::new(),
            });
        }
        let api = answer.child("api").ok_or_else(no_reply)?;
        let (json, sender) = api.child("json").zip(api.child("sender")).ok_or_else(no_reply)?;
        Ok(Reply {
            code: api.attribute("code").to_owned(),
            text: json.text.clone(),
            sender: sender.attribute("jid").to_owned(),
        })
    }

    /// Registers a listener.
    pub(super) fn listen(&mut self, cmd: &str) -> Result<(), Fault> {
        self.set(&format!("<listen xmlns='{NEXUS}' cmd='{}'/>", escape(cmd)))
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, request: &Request, body: &str) -> Result<(), Fault> {
        self.send(&format!(
            "<iq xmlns='jabber:client' type='result' id='{}'><api xmlns='{NEXUS}'>\
             <json xmlns='{JSON}'>{}</json></api></iq>",
            escape(&request.id),
            escape(body)
        ))
    }

    /// Subscribes to a channel.
    pub(super) fn subscribe(&mut self, channel: &str) -> Result<(), Fault> {
        self.set(&format!(
            "<subscribe xmlns='{NEXUS}' channel='{}'/>",
            escape(channel)
        ))
    }

    /// Publishes on a channel.
    pub(super) fn publish(&mut self, channel: &str, text: &str) -> Result<(), Fault> {
        self.send(&format!(
            "<message xmlns='jabber:client'><publish xmlns='{NEXUS}' channel='{}'>{}</publish></message>",
            escape(channel),
            escape(text)
        ))
    }

    /// Sends a Direct message.
    pub(super) fn direct(&mut self, app: &str, resource: &str, text: &str) -> Result<(), Fault> {
        self.send(&format!(
            "<message xmlns='jabber:client'><direct xmlns='{NEXUS}' app='{}' resource='{}'>{}</direct></message>",
            escape(app),
            escape(resource),
            escape(text)
        ))
    }

    /// The next message.
    pub(super) fn message(&mut self) -> Result<Message, Fault> {
        match self.event()? {
            Event::Message(message) => Ok(message),
            Event::Request(_) => Err(Fault::new("a request came to a block that listens to nothing")),
        }
    }

    /// What arrives next unasked.
    pub(super) fn event(&mut self) -> Result<Event, Fault> {
        loop {
            if let Some(event) = self.arrived.pop_front() {
                return Ok(event);
            }
            let element = self.element()?;
            self.sort(&element)?;
        }
    }

    /// Sends an iq and waits for its result.
    fn set(&mut self, payload: &str) -> Result<(), Fault> {
        let answer = self.ask(payload)?;
        match answer.child("error") {
            None => Ok(()),
            Some(error) => Err(Fault::new(format!(
                "{payload} was refused: {}",
                error.condition()
            ))),
        }
    }

    /// Sends an iq and waits for the one with the same id.
    fn ask(&mut self, payload: &str) -> Result<Element, Fault> {
        self.ids += 1;
        let id = format!("q{}", self.ids);
        self.send(&format!(
            "<iq xmlns='jabber:client' type='set' id='{id}'>{payload}</iq>"
        ))?;
        loop {
            let element = self.element()?;
            let answers = matches!(element.attribute("type"), "result" | "error");
            if element.name == "iq" && answers && element.attribute("id") == id {
                return Ok(element);
            }
            self.sort(&element)?;
        }
    }

    /// Keeps what is for the caller, and answers what is for the client itself.
    fn sort(&mut self, element: &Element) -> Result<(), Fault> {
        match element.name.as_str() {
            "message" => self.arrived.extend(message(element).map(Event::Message)),
            "iq" => {
                let id = element.attribute("id");
                match element.child("api").and_then(|api| api.child("json")) {
                    Some(json) => self.arrived.push_back(Event::Request(Request {
                        id: id.to_owned(),
                        body: json.text.clone(),
                    })),
                    // The daemon asks whether the block is still there.
                    None if element.child("ping").is_some() => self.send(&format!(
                        "<iq xmlns='jabber:client' type='result' id='{}'/>",
                        escape(id)
                    ))?,
                    None => {}
                }
            }
            "error" | "close" => {
                let why = element.condition();
                return Err(Fault::new(format!("the daemon ended the stream: {why}")));
            }
            _ => {}
        }
        Ok(())
    }

    fn send(&mut self, element: &str) -> Result<(), Fault> {
        self.socket
            .send(Frame::text(element))
            .map_err(|e| Fault::new(format!("cannot send: {e}")))
    }

    fn element(&mut self) -> Result<Element, Fault> {
        loop {
            let frame = self.socket.read();
            match frame.map_err(|e| Fault::new(format!("the connection ended: {e}")))? {
                Frame::Text(text) => {
                    return Element::parse(&text)
                        .ok_or_else(|| Fault::new(format!("the daemon sent what is no XML: {text}")));
                }
                Frame::Close(_) => return Err(Fault::new("the connection ended: closed by the daemon")),
                _ => {}
            }
        }
    }
}

fn open(address: SocketAddr, patience: Patience) -> Result<WebSocket<TcpStream>, String> {
    let stream = open_tcp(address, patience).map_err(|e| e.to_string())?;
    let mut request = format!("ws://{address}/ws")
        .into_client_request()
        .map_err(|e| e.to_string())?;
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", HeaderValue::from_static("xmpp"));
    let (socket, _) = tungstenite::client(request, stream).map_err(|e| e.to_string())?;
    Ok(socket)
}

/// A delivery: from a channel, or by Direct. Without its sender it is none.
fn message(stanza: &Element) -> Option<Message> {
    let sender = stanza.child("sender")?;
    let published = stanza.child("publish");
    let said = published.or_else(|| stanza.child("body"))?;
    Some(Message {
        channel: published.map(|publish| publish.attribute("channel").to_owned()),
        text: said.text.clone(),
        sender: sender.attribute("jid").to_owned(),
        app: sender.attribute("app").to_owned(),
        resource: sender.attribute("resource").to_owned(),
    })
}
