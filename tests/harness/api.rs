//! Nexus-API, Nexus-Direct and the sender's stamp in the form each protocol version has for them
//! (PROTOCOL 3, control topics).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::client::{Client, Publish, Subscribe};
use super::clock::PATIENCE;
use super::event::{Event, Message};
use super::world::Account;

/// The sender as the daemon stamped it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) app: String,
    pub(crate) uid: String,
    pub(crate) role: String,
    pub(crate) resource: String,
}

impl Stamp {
    /// The stamp of a block.
    pub(crate) fn of(account: &Account, resource: &str) -> Self {
        Self {
            app: account.app.clone(),
            uid: account.uid.clone(),
            role: account.role.clone(),
            resource: resource.to_owned(),
        }
    }

    /// `nexus-app`, `nexus-uid`, `nexus-role` and `nexus-resource`, each exactly once; `None` without any.
    pub(crate) fn in_properties(message: &Message) -> Option<Self> {
        let part = |name: &str| {
            let values = message.properties.user_values(name);
            assert!(values.len() <= 1, "{name} more than once: {message:?}");
            values.into_iter().next()
        };
        Some(Self {
            app: part("nexus-app")?,
            uid: part("nexus-uid")?,
            role: part("nexus-role")?,
            resource: part("nexus-resource")?,
        })
    }

    /// `<app>/<uid>/<role>/<resource>`; what follows is handed back.
    pub(crate) fn in_topic(levels: &str) -> (Self, Option<&str>) {
        let mut parts = levels.splitn(5, '/');
        let mut part = || {
            parts
                .next()
                .unwrap_or_else(|| panic!("no sender in {levels}"))
                .to_owned()
        };
        let stamp = Self {
            app: part(),
            uid: part(),
            role: part(),
            resource: part(),
        };
        (stamp, parts.next())
    }

    /// As 5.0 has it in properties.
    #[track_caller]
    pub(crate) fn as_user_properties(&self) -> Vec<(String, String)> {
        [
            ("nexus-app", &self.app),
            ("nexus-uid", &self.uid),
            ("nexus-role", &self.role),
            ("nexus-resource", &self.resource),
        ]
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .to_vec()
    }
}

/// An API request.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    pub(super) app: &'a str,
    pub(super) cmd: &'a str,
    pub(super) body: Vec<u8>,
    pub(super) resource: Option<&'a str>,
    pub(super) ownership: Option<&'a str>,
    pub(super) prioritize_mine: bool,
    qos: u8,
}

impl<'a> Call<'a> {
    /// With the body `{}`.
    pub(crate) fn new(app: &'a str, cmd: &'a str) -> Self {
        Self {
            app,
            cmd,
            body: b"{}".to_vec(),
            resource: None,
            ownership: None,
            prioritize_mine: false,
            qos: 0,
        }
    }

    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    pub(crate) const fn resource(mut self, resource: &'a str) -> Self {
        self.resource = Some(resource);
        self
    }

    /// Only a requester of 5.0 or XMPP can say so.
    pub(crate) const fn ownership(mut self, ownership: &'a str) -> Self {
        self.ownership = Some(ownership);
        self
    }

    /// Only a requester of 5.0 or XMPP can say so.
    pub(crate) const fn prioritize_mine(mut self) -> Self {
        self.prioritize_mine = true;
        self
    }

    pub(crate) const fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    fn path(&self) -> String {
        let resource = self.resource.map_or_else(String::new, |name| format!("/{name}"));
        format!("{}/{}{resource}", self.app, self.cmd)
    }

    fn user_properties(&self) -> Vec<(&str, &str)> {
        let ownership = self.ownership.map(|which| ("ownership", which));
        let mine = self.prioritize_mine.then_some(("prioritize_mine", "true"));
        ownership.into_iter().chain(mine).collect()
    }
}

/// The outcome of a request as it reached the requester.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) code: i64,
    pub(crate) body: Value,
    pub(crate) message: Message,
}

impl Reply {
    /// The code is the body's; in 5.0 the property `nexus-code` mirrors it, in XMPP the attribute `code`.
    fn new(message: Message, shows_code: bool) -> Self {
        let body = message.json();
        assert!(body.is_object(), "a reply is a JSON object: {body}");
        let code = body["code"].as_i64().unwrap_or(0);
        if shows_code {
            assert_eq!(
                message.properties.user_values("nexus-code"),
                [code.to_string()],
                "nexus-code mirrors the body: {message:?}"
            );
        }
        Self { code, body, message }
    }

    /// A failure by the daemon has exactly this body.
    #[track_caller]
    pub(crate) fn assert_failure(&self, code: i64, error: &str) {
        assert_eq!(self.body, json!({"code": code, "error": error}));
    }
}

/// A request as it reached a worker.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) cmd: String,
    pub(crate) sender: Stamp,
    pub(crate) answer_topic: String,
    pub(crate) message: Message,
}

impl Request {
    /// Reads both forms of delivery; `None` for what is not a request.
    pub(crate) fn new(message: Message) -> Option<Self> {
        let rest = message.topic.strip_prefix("$nexus/listen/")?;
        let Some((cmd, rest)) = rest.split_once('/') else {
            return Some(Self {
                cmd: rest.to_owned(),
                sender: Stamp::in_properties(&message).expect("a sender in the user properties"),
                answer_topic: message
                    .properties
                    .text("response_topic")
                    .expect("a Response Topic")
                    .to_owned(),
                message,
            });
        };
        let (token, sender) = rest.split_once('/').expect("a token and a sender");
        let (sender, more) = Stamp::in_topic(sender);
        assert_eq!(more, None, "nothing follows the sender: {}", message.topic);
        Some(Self {
            cmd: cmd.to_owned(),
            sender,
            answer_topic: format!("$nexus/answer/{token}"),
            message,
        })
    }
}

impl Client {
    /// Registers an API listener in the form of this client's version.
    #[track_caller]
    pub(crate) fn listen(&self, cmd: &str) {
        if self.form.is_xmpp() {
            return self.listen_native(cmd);
        }
        let filter = if self.form.is_5() {
            format!("$nexus/listen/{cmd}")
        } else {
            format!("$nexus/listen/{cmd}/#")
        };
        self.hear(&filter, 1);
    }

    /// The next request.
    #[track_caller]
    pub(crate) fn request(&self) -> Request {
        self.wait("request", |event| match event {
            Event::Message(message) => Request::new(message.clone()),
            _ => None,
        })
    }

    /// Answers a request.
    #[track_caller]
    pub(crate) fn answer(&self, request: &Request, body: impl AsRef<[u8]>) {
        if self.form.is_xmpp() {
            return self.answer_native(request, body.as_ref());
        }
        self.publish(&Publish::new(&request.answer_topic, body));
    }

    /// Sends a request in the form of this client's version, under an id.
    #[track_caller]
    pub(crate) fn send_call(&self, id: &str, call: &Call<'_>) -> u64 {
        if self.form.is_xmpp() {
            return self.send_call_native(id, call);
        }
        if self.form.is_5() {
            let topic = format!("$nexus/api/{}", call.path());
            self.publish(&Publish::new(&topic, &call.body).qos(call.qos).properties(json!({
                "response_topic": format!("answers/{}", self.resource),
                "correlation_data": STANDARD.encode(id),
                "user_properties": call.user_properties(),
            })))
        } else {
            assert!(
                call.user_properties().is_empty(),
                "3.1.1 has no words for this request"
            );
            let topic = format!("$nexus/call/{id}/{}", call.path());
            self.publish(&Publish::new(&topic, &call.body).qos(call.qos))
        }
    }

    /// The outcome of the request that was sent under an id.
    #[track_caller]
    pub(crate) fn reply(&self, id: &str) -> Reply {
        self.reply_within(id, PATIENCE)
    }

    /// The same within `patience`.
    #[track_caller]
    pub(crate) fn reply_within(&self, id: &str, patience: Duration) -> Reply {
        let shows_code = self.form.is_5() || self.form.is_xmpp();
        let message = self.wait_within(patience, "reply", |event| match event {
            Event::Message(message) if is_reply_to(message, id) => Some(message.clone()),
            _ => None,
        });
        assert!(!message.retain, "a reply is never retained");
        if shows_code {
            assert_eq!(message.topic, format!("answers/{}", self.resource));
        }
        Reply::new(message, shows_code)
    }

    /// Sends a request and waits for its outcome.
    #[track_caller]
    pub(crate) fn call(&self, call: &Call<'_>) -> Reply {
        let id = super::world::new_uid();
        self.send_call(&id, call);
        self.reply(&id)
    }

    /// Sends a request, lets whichever worker is asked answer with its resource, and waits for the outcome.
    #[track_caller]
    pub(crate) fn call_served(&self, workers: &[&Self], call: &Call<'_>) -> Reply {
        let id = super::world::new_uid();
        self.send_call(&id, call);
        let mut all = vec![self];
        all.extend(workers);
        loop {
            let (place, message) = Self::first_of(&all, "request or reply", |place, event| match event {
                Event::Message(message) if place == 0 => is_reply_to(message, &id).then(|| message.clone()),
                Event::Message(message) => message
                    .topic
                    .starts_with("$nexus/listen/")
                    .then(|| message.clone()),
                _ => None,
            });
            if place == 0 {
                return Reply::new(message, self.form.is_5() || self.form.is_xmpp());
            }
            let request = Request::new(message).expect("a request");
            let worker = all[place];
            worker.answer(&request, json!({"worker": worker.resource}).to_string());
        }
    }

    /// Registers the Direct listener in the form of this client's version.
    #[track_caller]
    pub(crate) fn listen_direct(&self) {
        if self.form.is_xmpp() {
            // A block of XMPP listens from the moment it is bound.
            return;
        }
        let filter = if self.form.is_5() {
            "$nexus/direct"
        } else {
            "$nexus/direct/#"
        };
        self.hear(filter, 1);
    }

    /// Sends a Direct message.
    #[track_caller]
    pub(crate) fn direct(&self, app: &str, resource: &str, text: &str) {
        if self.form.is_xmpp() {
            return self.direct_native(app, resource, text);
        }
        self.publish(&Publish::new(&format!("$nexus/direct/{app}/{resource}"), text));
    }

    /// The next Direct message: its text and its sender.
    #[track_caller]
    pub(crate) fn next_direct(&self) -> (String, Stamp) {
        let message = self.message_where("Direct message", |message| {
            message.topic == "$nexus/direct" || message.topic.starts_with("$nexus/direct/")
        });
        let sender = message.topic.strip_prefix("$nexus/direct/").map_or_else(
            || Stamp::in_properties(&message).expect("a sender in the user properties"),
            |levels| Stamp::in_topic(levels).0,
        );
        (message.text().to_owned(), sender)
    }

    /// Subscribes to channels in the form that shows the sender: plain in 5.0, `$nexus/channel/…` in 3.1.1.
    #[track_caller]
    pub(crate) fn hear_channel(&self, filter: &str) {
        if self.form.is_xmpp() {
            return self.subscribe_native(filter);
        }
        if self.form.is_5() {
            self.hear(filter, 1);
        } else {
            self.hear(&format!("$nexus/channel/+/+/+/+/{filter}"), 1);
        }
    }

    /// Publishes a text on a channel: at QoS 1 where the protocol has one.
    #[track_caller]
    pub(crate) fn say(&self, channel: &str, text: &str) {
        if self.form.is_xmpp() {
            return self.publish_native(channel, text);
        }
        self.publish(&Publish::new(channel, text).qos(1));
    }

    /// The next channel message: the channel, the sender and the message.
    #[track_caller]
    pub(crate) fn next_on_channel(&self) -> (String, Stamp, Message) {
        let message = self.message_where("channel message", |message| {
            !message.topic.starts_with('$') || message.topic.starts_with("$nexus/channel/")
        });
        if let Some(levels) = message.topic.strip_prefix("$nexus/channel/") {
            let (sender, channel) = Stamp::in_topic(levels);
            return (channel.expect("a channel").to_owned(), sender, message);
        }
        let sender = Stamp::in_properties(&message).expect("a sender in the user properties");
        (message.topic.clone(), sender, message)
    }

    /// The code of the SUBACK of one filter.
    #[track_caller]
    pub(crate) fn suback(&self, filter: &str, qos: u8) -> u8 {
        let codes = self.subscribe(&[Subscribe::new(filter, qos)]);
        assert_eq!(codes.len(), 1);
        codes[0]
    }
}

fn is_reply_to(message: &Message, id: &str) -> bool {
    message.topic.strip_prefix("$nexus/reply/") == Some(id)
        || message.properties.bytes("correlation_data").as_deref() == Some(id.as_bytes())
}
