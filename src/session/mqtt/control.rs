//! Topics and filters as what they mean: channels, and the control topics under `$nexus/` (PROTOCOL section 3).
//!
//! Invariant: what leaves this room has been checked against the grammar of its names; the router is never
//! handed a name a peer made up freely.

use crate::limits;
use crate::observe::Stage;
use crate::route::identity::{check_app, check_channel, check_channel_filter, check_resource};
use crate::route::{Account, Refusal, Role, SenderPattern, Share, Token, Uid};

/// Deliveries come on the topic that was asked for; the sender is in user properties (5.0 alone).
pub(super) const FORM_PLAIN: u8 = 0;
/// Deliveries come on a topic that spells the sender out.
pub(super) const FORM_SENDER: u8 = 1;

/// Under this prefix replies to `$nexus/call/<id>/…` arrive; what CONNACK names as Response Information.
pub(super) const REPLY_PREFIX: &str = "$nexus/reply/";

/// Whose listener is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Callee<'a> {
    /// The app.
    pub(super) app: &'a str,
    /// The listener's name.
    pub(super) cmd: &'a str,
    /// Narrows to one resource.
    pub(super) resource: Option<&'a str>,
}

/// What a PUBLISH to a topic under `$` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// `$nexus/api/<app>/<cmd>[/<resource>]`: the reply goes to the Response Topic.
    Api(Callee<'a>),
    /// `$nexus/call/<id>/<app>/<cmd>[/<resource>]`: the reply goes to `$nexus/reply/<id>`.
    Call(&'a str, Callee<'a>),
    /// `$nexus/answer/<token>`.
    Answer(Token),
    /// `$nexus/direct/<app>/<resource>`, or a full address in place of the app and resource.
    Direct {
        /// The receiver's app.
        app: &'a str,
        /// The receiver's resource.
        resource: &'a str,
        /// The account and its domain, where a full address names them.
        account: Option<(&'a str, &'a str)>,
    },
}

impl Target<'_> {
    /// Under which stage a message to it is counted if it is dropped.
    pub(super) const fn stage(&self) -> Stage {
        match self {
            Self::Api(_) | Self::Call(..) => Stage::Request,
            Self::Answer(_) => Stage::Answer,
            Self::Direct { .. } => Stage::Direct,
        }
    }
}

/// What a filter of a SUBSCRIBE or UNSUBSCRIBE asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    /// Channels, plain or by sender.
    Channel {
        /// The filter of channels.
        filter: &'a str,
        /// Whom to hear.
        from: SenderPattern<'a>,
        /// [`FORM_PLAIN`] or [`FORM_SENDER`].
        form: u8,
    },
    /// `$share/<group>/<filter>`: channels, plain or by sender.
    Shared(Share<'a>),
    /// `$nexus/listen/<cmd>[/#]`.
    Listen(&'a str, u8),
    /// `$nexus/direct[/#]`.
    Direct(u8),
    /// A filter under `$nexus/reply/`.
    Reply,
    /// A filter of `$SYS`. Its grammar is the router's to check: who may not subscribe there is told that first.
    System(&'a str),
}

/// Whether a topic name is a channel's, or none at all; all others lie under `$`.
pub(super) fn is_channel(topic: &str) -> bool {
    !topic.starts_with('$')
}

/// Reads the topic name of a PUBLISH that is no channel's; on refusal with the stage under which the message is counted as
/// dropped.
pub(super) fn target(topic: &str) -> Result<Target<'_>, (Stage, Refusal)> {
    let Some((word, rest)) = topic
        .strip_prefix("$nexus/")
        .and_then(|rest| rest.split_once('/'))
    else {
        return Err((Stage::Channel, Refusal::NotAuthorized));
    };
    let (stage, target) = match word {
        "api" => (Stage::Request, callee(rest).map(Target::Api)),
        "call" => (Stage::Request, call(rest)),
        "answer" => (Stage::Answer, Token::parse(rest).map(Target::Answer)),
        "direct" => (Stage::Direct, direct(rest)),
        _ => return Err((Stage::Channel, Refusal::NotAuthorized)),
    };
    target.ok_or((stage, Refusal::InvalidName))
}

/// Takes `<app>/<cmd>[/<resource>]` apart. Whether they are names is the router's to say: the requester can be
/// told, by an outcome.
fn callee(text: &str) -> Option<Callee<'_>> {
    let (app, rest) = text.split_once('/')?;
    let (cmd, resource) = rest
        .split_once('/')
        .map_or((rest, None), |(cmd, resource)| (cmd, Some(resource)));
    Some(Callee { app, cmd, resource })
}

fn call(text: &str) -> Option<Target<'_>> {
    let (id, rest) = text.split_once('/')?;
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if id.is_empty() || id.len() > limits::CALL_ID_BYTES_MAX || !id.bytes().all(known) {
        return None;
    }
    Some(Target::Call(id, callee(rest)?))
}

fn direct(text: &str) -> Option<Target<'_>> {
    let (to, resource) = text.split_once('/')?;
    let resource = check_resource(resource).ok()?;
    let Some((name, domain)) = to.split_once('@') else {
        let app = check_app(to).ok()?;
        return Some(Target::Direct {
            app,
            resource,
            account: None,
        });
    };
    let app = Account::parse(name).ok()?.app;
    Some(Target::Direct {
        app,
        resource,
        account: Some((name, domain)),
    })
}

/// Whether a reply may be asked for on this Response Topic: replies are never published, but a requester must
/// not be made to take one for a message of another kind.
pub(super) fn takes_replies(response_topic: &str) -> bool {
    match response_topic.strip_prefix('$') {
        Some(_) => response_topic.starts_with(REPLY_PREFIX),
        None => check_channel(response_topic).is_ok(),
    }
}

/// Reads a topic filter that the codec found well-formed.
pub(super) fn wanted(filter: &str) -> Result<Wanted<'_>, Refusal> {
    if !filter.starts_with('$') {
        let filter = check_channel_filter(filter).map_err(|_| Refusal::InvalidName)?;
        let from = SenderPattern::default();
        return Ok(Wanted::Channel {
            filter,
            from,
            form: FORM_PLAIN,
        });
    }
    if let Some(share) = filter.strip_prefix("$share/") {
        return shared(share).ok_or(Refusal::InvalidName);
    }
    if filter.split('/').next() == Some("$SYS") {
        return Ok(Wanted::System(filter));
    }
    let Some(rest) = filter.strip_prefix("$nexus/") else {
        return Err(Refusal::NotAuthorized);
    };
    let (word, rest) = match rest.split_once('/') {
        Some((word, rest)) => (word, Some(rest)),
        None => (rest, None),
    };
    match (word, rest) {
        ("channel", Some(rest)) => by_sender(rest).ok_or(Refusal::InvalidName),
        ("listen", Some(rest)) => listen(rest).ok_or(Refusal::InvalidName),
        ("direct", None) => Ok(Wanted::Direct(FORM_PLAIN)),
        ("direct", Some("#")) => Ok(Wanted::Direct(FORM_SENDER)),
        ("reply", Some(_)) => Ok(Wanted::Reply),
        ("channel" | "listen" | "direct" | "#" | "+", _) => Err(Refusal::InvalidName),
        _ => Err(Refusal::NotAuthorized),
    }
}

/// `<group>/<filter>` (5.0, 4.8.2), where the filter is one of channels. Over `listen` and `direct` nothing is shared: a
/// listener belongs to its block.
fn shared(text: &str) -> Option<Wanted<'_>> {
    let (name, filter) = text.split_once('/')?;
    let is_long = name.len() > limits::SHARE_NAME_BYTES_MAX;
    if name.is_empty() || is_long || name.contains(['+', '#']) || filter.starts_with("$share/") {
        return None;
    }
    match wanted(filter) {
        Ok(Wanted::Channel { filter, from, form }) => Some(Wanted::Shared(Share {
            name,
            filter,
            from,
            form,
        })),
        _ => None,
    }
}

/// `<app>/<uid>/<role>/<resource>/<channel filter>`; a `#` stands for all that may still follow.
fn by_sender(text: &str) -> Option<Wanted<'_>> {
    let mut parts = [None; 4];
    let mut rest = text;
    for part in &mut parts {
        if rest == "#" {
            break;
        }
        let (head, tail) = rest.split_once('/')?;
        *part = (head != "+").then_some(head);
        rest = tail;
    }
    let [app, uid, role, resource] = parts;
    Some(Wanted::Channel {
        filter: check_channel_filter(rest).ok()?,
        from: SenderPattern {
            app: app.map(check_app).transpose().ok()?,
            uid: uid.map(Uid::parse).transpose().ok()?,
            role: role.map(Role::parse).transpose().ok()?,
            resource: resource.map(check_resource).transpose().ok()?,
        },
        form: FORM_SENDER,
    })
}

fn listen(text: &str) -> Option<Wanted<'_>> {
    let (cmd, form) = match text.split_once('/') {
        None => (text, FORM_PLAIN),
        Some((cmd, "#")) => (cmd, FORM_SENDER),
        Some(_) => return None,
    };
    Some(Wanted::Listen(check_resource(cmd).ok()?, form))
}

#[cfg(test)]
mod tests;
