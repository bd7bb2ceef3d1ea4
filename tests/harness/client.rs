//! One connection of a third-party client.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crossbeam::channel::{Receiver, Select};
use serde_json::{Value, json};

use super::certificates::Authority;
use super::clock::{Deadline, PATIENCE};
use super::daemon::DOMAIN;
use super::driver::{self, Driver};
use super::event::{Event, Message, Properties};
use super::matrix::{Form, Library, Transport, Version};

/// What a CONNECT carries.
#[derive(Clone, Debug)]
pub(crate) struct Connect {
    /// User name.
    pub(crate) user: Option<String>,
    /// Password.
    pub(crate) password: Option<String>,
    /// Client Identifier.
    pub(crate) client_id: String,
    /// Clean Session / Clean Start.
    pub(crate) clean: bool,
    /// Keep Alive, in seconds.
    pub(crate) keepalive_s: u16,
    /// The will, as [`Connect::with_will`] makes it.
    pub(crate) will: Option<Value>,
    /// MQTT 5 properties.
    pub(crate) properties: Value,
    /// The SASL mechanism of XMPP; the library's own choice where there is none.
    pub(crate) mechanism: Option<&'static str>,
    /// The client's own certificate and its key, shown under TLS.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
}

impl Connect {
    /// A clean session of `user` under `client_id`.
    pub(crate) fn new(user: &str, password: &str, client_id: &str) -> Self {
        Self {
            user: Some(user.to_owned()),
            password: Some(password.to_owned()),
            client_id: client_id.to_owned(),
            clean: true,
            keepalive_s: 60,
            will: None,
            properties: Value::Null,
            mechanism: None,
            certificate: None,
        }
    }

    /// The same with a will.
    pub(crate) fn with_will(mut self, topic: &str, payload: &[u8], qos: u8) -> Self {
        self.will =
            Some(json!({"topic": topic, "payload": STANDARD.encode(payload), "qos": qos, "retain": false}));
        self
    }
}

/// Authentication Method and Data.
pub(crate) fn auth_properties(method: &str, data: &str) -> Value {
    json!({"authentication_method": method, "authentication_data": STANDARD.encode(data)})
}

/// What a PUBLISH carries.
#[derive(Clone, Debug)]
pub(crate) struct Publish<'a> {
    topic: &'a str,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    properties: Value,
}

impl<'a> Publish<'a> {
    /// QoS 0, not retained, no properties.
    pub(crate) fn new(topic: &'a str, payload: impl AsRef<[u8]>) -> Self {
        Self {
            topic,
            payload: payload.as_ref().to_vec(),
            qos: 0,
            retain: false,
            properties: Value::Null,
        }
    }

    /// The same with another QoS.
    pub(crate) const fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    /// The same with RETAIN.
    pub(crate) const fn retained(mut self) -> Self {
        self.retain = true;
        self
    }

    /// The same with MQTT 5 properties.
    pub(crate) fn properties(mut self, properties: Value) -> Self {
        self.properties = properties;
        self
    }
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Debug)]
pub(crate) struct Subscribe(Value);

impl Subscribe {
    /// A filter at a QoS.
    pub(crate) fn new(filter: &str, qos: u8) -> Self {
        Self(json!({"filter": filter, "qos": qos}))
    }

    /// The same with No Local.
    pub(crate) fn no_local(mut self) -> Self {
        self.0["no_local"] = true.into();
        self
    }

    /// The same with Retain Handling and Retain As Published.
    pub(crate) fn retained(mut self, handling: u8, as_published: bool) -> Self {
        self.0["retain_handling"] = handling.into();
        self.0["retain_as_published"] = as_published.into();
        self
    }
}

/// One connection of a third-party client; forgotten, hard, when dropped.
pub(crate) struct Client {
    /// The library, version and transport it uses.
    pub(crate) form: Form,
    /// The Client Identifier it asked for.
    pub(crate) resource: String,
    name: String,
    driver: &'static Driver,
    events: Receiver<Event>,
    unmatched: RefCell<VecDeque<Event>>,
    references: Cell<u64>,
}

impl Client {
    /// Sends a CONNECT to the daemon that listens there.
    pub(crate) fn open(form: Form, address: SocketAddr, connect: &Connect) -> Self {
        static NAMES: AtomicU64 = AtomicU64::new(0);
        let driver = match form.library {
            Library::Paho => driver::paho(),
            Library::Mqttjs => driver::mqttjs(),
            Library::XmppJs => driver::xmppjs(),
            Library::Slixmpp => driver::slixmpp(),
            Library::SlixmppDeployed => driver::slixmpp_deployed(),
            Library::Aiomqtt => driver::aiomqtt(),
            Library::Rumqttc => driver::rumqttc(),
        };
        let name = format!("c{}", NAMES.fetch_add(1, Ordering::Relaxed));
        let client = Self {
            form,
            resource: connect.client_id.clone(),
            events: driver.register(&name),
            name,
            driver,
            unmatched: RefCell::new(VecDeque::new()),
            references: Cell::new(0),
        };
        client.command(
            "connect",
            json!({
                "version": if form.version == Version::V5 { 5 } else { 4 },
                "transport": match form.transport {
                    Transport::Tcp => "tcp",
                    Transport::Ws => "ws",
                    Transport::Tls => "tls",
                    Transport::Wss => "wss",
                    Transport::StartTls => "starttls",
                },
                "ca_file": Authority::shared().file(),
                "cert_file": connect.certificate.as_ref().map(|(cert, _)| cert),
                "key_file": connect.certificate.as_ref().map(|(_, key)| key),
                "host": address.ip().to_string(),
                "port": address.port(),
                "path": if form.is_xmpp() { "/ws" } else { "/mqtt" },
                "domain": DOMAIN,
                "mechanism": connect.mechanism,
                "user": connect.user,
                "password": connect.password,
                "client_id": connect.client_id,
                "clean": connect.clean,
                "keepalive": connect.keepalive_s,
                "will": connect.will,
                "properties": connect.properties,
            }),
        );
        client
    }

    /// Sends a command to the driver; its reference names what answers it.
    pub(super) fn command(&self, what: &str, mut fields: Value) -> u64 {
        let reference = self.references.get() + 1;
        self.references.set(reference);
        fields["client"] = self.name.clone().into();
        fields["do"] = what.into();
        fields["ref"] = reference.into();
        self.driver.send(&fields);
        reference
    }

    /// The first event, come already or still to come, that `pick` takes.
    #[track_caller]
    pub(crate) fn wait<T>(&self, wanted: &str, pick: impl FnMut(&Event) -> Option<T>) -> T {
        self.wait_within(PATIENCE, wanted, pick)
    }

    /// The same within `patience`.
    #[track_caller]
    pub(crate) fn wait_within<T>(
        &self,
        patience: Duration,
        wanted: &str,
        mut pick: impl FnMut(&Event) -> Option<T>,
    ) -> T {
        let mut unmatched = self.unmatched.borrow_mut();
        let found = unmatched
            .iter()
            .enumerate()
            .find_map(|(index, event)| Some((index, pick(event)?)));
        if let Some((index, picked)) = found {
            unmatched.remove(index);
            return picked;
        }
        let deadline = Deadline::after(patience);
        loop {
            let Ok(event) = self.events.recv_timeout(deadline.left()) else {
                panic!(
                    "{} {:?}: no {wanted} within {patience:?}; unmatched: {unmatched:#?}",
                    self.resource, self.form
                );
            };
            if let Event::Failure { reason } = &event {
                panic!("{} {:?}: {reason}", self.resource, self.form);
            }
            if let Some(picked) = pick(&event) {
                return picked;
            }
            unmatched.push_back(event);
        }
    }

    /// The first event of several clients that `pick` takes, with the client's place among them.
    pub(crate) fn first_of<T>(
        clients: &[&Self],
        wanted: &str,
        mut pick: impl FnMut(usize, &Event) -> Option<T>,
    ) -> (usize, T) {
        let deadline = Deadline::patient();
        loop {
            for (place, client) in clients.iter().enumerate() {
                let mut unmatched = client.unmatched.borrow_mut();
                unmatched.extend(client.events.try_iter());
                let found = unmatched
                    .iter()
                    .enumerate()
                    .find_map(|(index, event)| Some((index, pick(place, event)?)));
                if let Some((index, picked)) = found {
                    unmatched.remove(index);
                    return (place, picked);
                }
            }
            let mut select = Select::new();
            for client in clients {
                select.recv(&client.events);
            }
            assert!(
                select.ready_timeout(deadline.left()).is_ok(),
                "no {wanted} within {PATIENCE:?}"
            );
        }
    }

    /// Events that came and that nobody waited for, taken away.
    #[track_caller]
    pub(crate) fn take_unmatched(&self) -> Vec<Event> {
        let mut unmatched = self.unmatched.borrow_mut();
        unmatched.extend(self.events.try_iter());
        unmatched.drain(..).collect()
    }

    /// CONNACK: its code, session present, properties.
    #[track_caller]
    pub(crate) fn connack(&self) -> (u8, bool, Properties) {
        self.wait("CONNACK", |event| match event {
            Event::Connack {
                code,
                session_present,
                properties,
            } => Some((*code, *session_present, properties.clone())),
            _ => None,
        })
    }

    /// AUTH: its code and properties.
    #[track_caller]
    pub(crate) fn auth(&self) -> (u8, Properties) {
        self.wait("AUTH", |event| match event {
            Event::Auth { code, properties } => Some((*code, properties.clone())),
            _ => None,
        })
    }

    /// Sends an AUTH (mqtt.js alone).
    pub(crate) fn send_auth(&self, code: u8, method: &str, data: &str) {
        let properties = auth_properties(method, data);
        self.command("auth", json!({"code": code, "properties": properties}));
    }

    /// SUBACK of filters, each with its code.
    #[track_caller]
    pub(crate) fn subscribe(&self, filters: &[Subscribe]) -> Vec<u8> {
        self.subscribe_with(filters, Value::Null)
    }

    /// The same with properties of the SUBSCRIBE.
    #[track_caller]
    pub(crate) fn subscribe_with(&self, filters: &[Subscribe], properties: Value) -> Vec<u8> {
        let filters: Vec<&Value> = filters.iter().map(|filter| &filter.0).collect();
        let sent = self.command("subscribe", json!({"filters": filters, "properties": properties}));
        self.wait("SUBACK", |event| match event {
            Event::Suback { reference, codes } if *reference == Some(sent) => Some(codes.clone()),
            _ => None,
        })
    }

    /// Subscribes to one filter, which must be granted with the QoS asked for.
    #[track_caller]
    pub(crate) fn hear(&self, filter: &str, qos: u8) {
        assert_eq!(self.subscribe(&[Subscribe::new(filter, qos)]), [qos], "{filter}");
    }

    /// UNSUBACK; the codes are empty in 3.1.1.
    #[track_caller]
    pub(crate) fn unsubscribe(&self, filters: &[&str]) -> Vec<u8> {
        let sent = self.command("unsubscribe", json!({ "filters": filters }));
        self.wait("UNSUBACK", |event| match event {
            Event::Unsuback { reference, codes } if *reference == Some(sent) => Some(codes.clone()),
            _ => None,
        })
    }

    /// Sends a PUBLISH; its reference names the acknowledgement.
    #[track_caller]
    pub(crate) fn publish(&self, publish: &Publish<'_>) -> u64 {
        self.command(
            "publish",
            json!({
                "topic": publish.topic,
                "payload": STANDARD.encode(&publish.payload),
                "qos": publish.qos,
                "retain": publish.retain,
                "properties": publish.properties,
            }),
        )
    }

    /// The reason code of the acknowledgement of a PUBLISH (always 0 in 3.1.1).
    #[track_caller]
    pub(crate) fn puback(&self, sent: u64) -> u8 {
        self.wait("PUBACK", |event| match event {
            Event::Puback { reference, code } if *reference == Some(sent) => Some(*code),
            _ => None,
        })
    }

    /// Sends a PUBLISH of QoS 1 and waits for the reason code of its acknowledgement.
    #[track_caller]
    pub(crate) fn publish_acked(&self, publish: Publish<'_>) -> u8 {
        let sent = self.publish(&publish.qos(1));
        self.puback(sent)
    }

    /// The next message that `pick` takes.
    #[track_caller]
    pub(crate) fn message_where(&self, wanted: &str, mut pick: impl FnMut(&Message) -> bool) -> Message {
        self.wait(wanted, |event| match event {
            Event::Message(message) if pick(message) => Some(message.clone()),
            _ => None,
        })
    }

    /// The next message.
    #[track_caller]
    pub(crate) fn message(&self) -> Message {
        self.message_where("message", |_| true)
    }

    /// Says good-bye with a DISCONNECT and waits for the end.
    #[track_caller]
    pub(crate) fn disconnect(&self) {
        self.command("disconnect", json!({}));
        self.closed();
    }

    /// Ends the connection without a DISCONNECT.
    #[track_caller]
    pub(crate) fn kill(&self) {
        self.command("kill", json!({}));
        self.closed();
    }

    /// Waits for the reason code of the server's DISCONNECT (5.0).
    #[track_caller]
    pub(crate) fn disconnected(&self) -> u8 {
        self.wait("DISCONNECT", |event| match event {
            Event::Disconnect { code } => Some(*code),
            _ => None,
        })
    }

    /// Waits for the end of the connection; over WebSocket its close code.
    #[track_caller]
    pub(crate) fn closed(&self) -> Option<u16> {
        self.closed_within(PATIENCE)
    }

    /// The same within `patience`.
    #[track_caller]
    pub(crate) fn closed_within(&self, patience: Duration) -> Option<u16> {
        self.wait_within(patience, "end of the connection", |event| match event {
            Event::Closed { ws_code, .. } => Some(*ws_code),
            _ => None,
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.forget(&self.name);
    }
}
