//! The verbs of a block in the native stanzas of XMPP (PROTOCOL 4), as `@xmpp/client` sends them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::api::{Call, Request, Stamp};
use super::client::Client;
use super::daemon::DOMAIN;
use super::event::{Event, Message};
use super::world::Account;
use super::xml::{self, Element};

/// The full JID of a block.
pub(crate) fn full_jid(account: &Account, resource: &str) -> String {
    format!("{}@{DOMAIN}/{resource}", account.name)
}

/// The bare JID of an account.
pub(crate) fn bare_jid(account: &Account) -> String {
    format!("{}@{DOMAIN}", account.name)
}

impl Message {
    /// The stanza that it was.
    #[track_caller]
    pub(crate) fn element(&self) -> Element {
        xml::parse(&self.stanza)
    }

    /// The `jid` of its one `<sender/>`.
    #[track_caller]
    pub(crate) fn sender_jid(&self) -> String {
        let element = self.element();
        let senders = element.descendants("urn:nexus:1", "sender");
        assert_eq!(senders.len(), 1, "one sender: {}", self.stanza);
        senders[0].attribute("jid").expect("the sender's jid").to_owned()
    }
}

/// The answer to an IQ.
#[derive(Clone, Debug)]
pub(crate) struct IqAnswer {
    /// The condition of an error.
    pub(crate) condition: Option<String>,
    /// The whole stanza.
    pub(crate) stanza: Element,
}

impl Client {
    /// Whether the registration was granted.
    #[track_caller]
    fn registered(&self, sent: u64) -> bool {
        self.wait("answer to a registration", |event| match event {
            Event::Suback { reference, codes } if *reference == Some(sent) => Some(codes == &[0]),
            _ => None,
        })
    }

    /// `<listen/>`.
    #[track_caller]
    pub(super) fn listen_native(&self, cmd: &str) {
        let sent = self.command("listen", json!({ "cmd": cmd }));
        assert!(self.registered(sent), "listener {cmd}");
    }

    /// `<unlisten/>`.
    #[track_caller]
    pub(crate) fn unlisten_native(&self, cmd: &str) {
        let sent = self.command("unlisten", json!({ "cmd": cmd }));
        assert!(self.registered(sent), "no listener {cmd}");
    }

    /// `<subscribe/>`; whether it was granted.
    #[track_caller]
    pub(crate) fn try_subscribe_native(&self, filter: &str) -> bool {
        let sent = self.command("subscribe", json!({ "channel": filter }));
        self.registered(sent)
    }

    /// `<subscribe/>`, which must be granted.
    #[track_caller]
    pub(crate) fn subscribe_native(&self, filter: &str) {
        assert!(self.try_subscribe_native(filter), "subscription {filter}");
    }

    /// `<unsubscribe/>`.
    #[track_caller]
    pub(crate) fn unsubscribe_native(&self, filter: &str) {
        let sent = self.command("unsubscribe", json!({ "channel": filter }));
        assert!(self.registered(sent), "no subscription {filter}");
    }

    /// `<publish/>`.
    #[track_caller]
    pub(crate) fn publish_native(&self, channel: &str, text: &str) {
        self.publish_retaining(channel, text, None);
    }

    /// The same with the attribute `retain`.
    #[track_caller]
    pub(crate) fn publish_retaining(&self, channel: &str, text: &str, retain: Option<bool>) {
        let mut fields = json!({"channel": channel, "payload": STANDARD.encode(text)});
        if let Some(retain) = retain {
            fields["retain"] = retain.into();
        }
        self.command("publish", fields);
    }

    /// The answer to a request, as the result of its IQ.
    #[track_caller]
    pub(super) fn answer_native(&self, request: &Request, body: &[u8]) {
        self.command(
            "answer",
            json!({"token": token(request), "payload": STANDARD.encode(body)}),
        );
    }

    /// Answers a request with an error of XMPP.
    #[track_caller]
    pub(crate) fn decline_native(&self, request: &Request, kind: &str, condition: &str) {
        self.command(
            "decline",
            json!({"token": token(request), "error": [kind, condition]}),
        );
    }

    /// `<api/>`, without `to`.
    #[track_caller]
    pub(super) fn send_call_native(&self, id: &str, call: &Call<'_>) -> u64 {
        self.send_call_to(None, id, call)
    }

    /// `<api/>` addressed to somebody.
    #[track_caller]
    pub(crate) fn send_call_to(&self, to: Option<&str>, id: &str, call: &Call<'_>) -> u64 {
        self.command(
            "call",
            json!({
                "id": id,
                "to": to,
                "app": call.app,
                "cmd": call.cmd,
                "resource": call.resource,
                "ownership": call.ownership,
                "prioritize_mine": call.prioritize_mine,
                "payload": STANDARD.encode(&call.body),
            }),
        )
    }

    /// `<direct/>`.
    #[track_caller]
    pub(super) fn direct_native(&self, app: &str, resource: &str, text: &str) {
        self.command(
            "direct",
            json!({"app": app, "resource": resource, "payload": STANDARD.encode(text)}),
        );
    }

    /// A plain message with a body, to a full or a bare JID.
    #[track_caller]
    pub(crate) fn chat(&self, to: &str, text: &str) {
        self.command(
            "direct",
            json!({"to": to, "type": "chat", "payload": STANDARD.encode(text)}),
        );
    }

    /// Any stanza that answers nothing.
    #[track_caller]
    pub(crate) fn send_stanza(&self, stanza: &str) {
        self.command("send", json!({ "xml": stanza }));
    }

    /// An IQ with this child, and its answer.
    #[track_caller]
    pub(crate) fn iq(&self, kind: &str, to: Option<&str>, child: &str) -> IqAnswer {
        let sent = self.command("iq", json!({"type": kind, "to": to, "xml": child}));
        self.wait("answer to an IQ", |event| match event {
            Event::Result {
                reference,
                condition,
                stanza,
            } if *reference == Some(sent) => Some(IqAnswer {
                condition: condition.clone(),
                stanza: xml::parse(stanza),
            }),
            _ => None,
        })
    }

    /// Joins a room by the library's own means; the self-presence.
    #[track_caller]
    pub(crate) fn join_by_library(&self, room: &str, nick: &str) -> Element {
        let sent = self.command("join_room", json!({"room": room, "nick": nick}));
        self.wait("end of a join", |event| match event {
            Event::Result {
                reference, stanza, ..
            } if *reference == Some(sent) => Some(xml::parse(stanza)),
            _ => None,
        })
    }

    /// Leaves a room by the library's own means.
    #[track_caller]
    pub(crate) fn leave_by_library(&self, room: &str, nick: &str) {
        self.command("leave_room", json!({"room": room, "nick": nick}));
    }

    /// The next presence from an occupant, its room and nick given.
    #[track_caller]
    pub(crate) fn presence_from(&self, occupant: &str) -> Element {
        self.wait("presence", |event| match event {
            Event::Presence { stanza } => {
                Some(xml::parse(stanza)).filter(|presence| presence.attribute("from") == Some(occupant))
            }
            _ => None,
        })
    }

    /// Waits for the condition of the stream error that the server sends.
    #[track_caller]
    pub(crate) fn stream_error(&self) -> String {
        self.wait("stream error", |event| match event {
            Event::StreamError { condition } => Some(condition.clone()),
            _ => None,
        })
    }

    /// The end of a login of XMPP: the condition of its failure, `None` for a success; and what was told of it.
    #[track_caller]
    pub(crate) fn login_outcome(&self) -> (Option<String>, super::event::Properties) {
        let (code, _, properties) = self.connack();
        let condition = properties.text("condition").map(str::to_owned);
        assert_eq!(code == 0, condition.is_none(), "{properties:?}");
        (condition, properties)
    }

    /// The next plain message or `<direct/>`, whole, with its sender.
    #[track_caller]
    pub(crate) fn next_plain(&self) -> (Message, Stamp) {
        let message = self.message_where("message", |message| message.topic == "$nexus/direct");
        let sender = Stamp::in_properties(&message).expect("a sender");
        (message, sender)
    }
}

/// The token that a request must be answered with.
fn token(request: &Request) -> Value {
    let token = request.answer_topic.strip_prefix("$nexus/answer/");
    token.expect("a topic to answer on").into()
}
