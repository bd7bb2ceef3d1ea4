//! Nexus's own iq: requests to workers and their answers, listeners, subscriptions (PROTOCOL section 4).

use super::Session;
use super::condition::StanzaError;
use super::iq::{Asked, spell, write_error};
use super::label::ReplyTo;
use super::names::{JSON, NEXUS};
use crate::codec::xmpp::Element;
use crate::route::identity::{check_channel_filter, check_resource};
use crate::route::{
    Answer, ApiRequest, Command, Ownership, Qos, Registration, RetainHandling, SubscriptionOptions, Ticket,
    Token, Unregistration,
};
use crate::session::{Output, Scratch};

/// The one iq that waits for its completion: it comes before the next element is read.
const TICKET: Ticket = Ticket(0);

/// The code of a worker that failed without one.
const WORKER_FAILED: i32 = -500;

/// Native subscribers are told what is retained each time they subscribe, and that alone is marked as retained.
const OPTIONS: SubscriptionOptions = SubscriptionOptions {
    qos: Qos::AtMostOnce,
    no_local: false,
    retain_as_published: false,
    retained: RetainHandling::Always,
    identifier: 0,
    form: 0,
};

impl Session {
    /// `<api/>`, `<listen/>`, `<subscribe/>` and their opposites.
    pub(super) fn native<'a, O: Output>(
        &mut self,
        payload: &Element<'a>,
        asked: Asked<'_>,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Option<Command<'a>> {
        if payload.name() == "api" {
            return request(payload, asked, scratch, out);
        }
        let (attribute, is_filter) = match payload.name() {
            "listen" | "unlisten" => ("cmd", false),
            "subscribe" | "unsubscribe" => ("channel", true),
            _ => {
                write_error(out, asked.to, asked.id, StanzaError::SERVICE_UNAVAILABLE);
                return None;
            }
        };
        let [subject] = spell(&mut scratch.name, [payload.attribute(attribute)]);
        let checked = if is_filter {
            check_channel_filter(subject)
        } else {
            check_resource(subject)
        };
        if checked.is_err() {
            write_error(out, asked.to, asked.id, StanzaError::BAD_REQUEST);
            return None;
        }
        self.wait_for(asked);
        let from = Default::default();
        Some(match payload.name() {
            "listen" => register(Registration::Listen {
                cmd: subject,
                options: OPTIONS,
            }),
            "unlisten" => unregister(Unregistration::Listen { cmd: subject }),
            "subscribe" => register(Registration::Channel {
                filter: subject,
                from,
                options: OPTIONS,
            }),
            _ => unregister(Unregistration::Channel {
                filter: subject,
                from,
                form: OPTIONS.form,
            }),
        })
    }
}

fn register(wanted: Registration<'_>) -> Command<'_> {
    Command::Register {
        wanted: vec![wanted],
        ticket: TICKET,
    }
}

fn unregister(unwanted: Unregistration<'_>) -> Command<'_> {
    Command::Unregister {
        unwanted: vec![unwanted],
        ticket: TICKET,
    }
}

/// A request to a worker. Its outcome comes later, whatever is wrong with its names and body.
fn request<'a, O: Output>(
    api: &Element<'a>,
    asked: Asked<'_>,
    scratch: &'a mut Scratch,
    out: &mut O,
) -> Option<Command<'a>> {
    let Scratch {
        name, text, label, ..
    } = scratch;
    let reply_to = ReplyTo {
        to: asked.to,
        id: asked.id,
    };
    if !reply_to.encode(label) {
        write_error(out, asked.to, asked.id, StanzaError::BAD_REQUEST);
        return None;
    }
    let [app, cmd, resource, ownership, mine] = spell(
        name,
        ["app", "cmd", "resource", "ownership", "prioritize_mine"].map(|name| api.attribute(name)),
    );
    let has_resource = api.attribute("resource").is_some();
    let [body] = spell(text, [api.child(JSON, "json").map(|json| json.text())]);
    Some(Command::Request {
        request: ApiRequest {
            app,
            cmd,
            resource: has_resource.then_some(resource),
            ownership: match ownership {
                "" => Ownership::Any,
                "mine" => Ownership::Mine,
                "owner" => Ownership::Owner,
                _ => Ownership::Unknown,
            },
            prioritize_mine: matches!(mine, "true" | "1"),
            body: body.as_bytes(),
            label,
            label_is_unique: false,
            qos: Qos::AtMostOnce,
        },
        ticket: None,
    })
}

/// An iq of type result or error: a worker's answer, if its id is a token. An answer to the daemon's own ping has
/// done its work by coming.
pub(super) fn answer<'a>(
    iq: &Element<'a>,
    id: &str,
    scratch: &'a mut Scratch,
    is_error: bool,
) -> Option<Command<'a>> {
    let token = Token::parse(id)?;
    let failure = is_error.then(|| failure_code(iq));
    let json = iq
        .child(NEXUS, "api")
        .and_then(|api| api.child(JSON, "json"))
        .or_else(|| iq.child(JSON, "json"));
    let [body] = spell(&mut scratch.text, [json.map(|json| json.text())]);
    let body = if is_error { "" } else { body };
    Some(Command::Answer {
        answer: Answer {
            token,
            body: body.as_bytes(),
            failure,
            qos: Qos::AtMostOnce,
        },
        ticket: None,
    })
}

/// The code a worker failed with; -500 where it named none.
fn failure_code(iq: &Element<'_>) -> i32 {
    let failure = iq
        .children()
        .find(|child| child.name() == "error")
        .and_then(|error| error.child(NEXUS, "failure"));
    failure
        .and_then(|failure| failure.attribute("code"))
        .and_then(|code| code.plain())
        .and_then(|code| code.parse().ok())
        // No failure has the code of success.
        .filter(|code| *code != 0)
        .unwrap_or(WORKER_FAILED)
}
