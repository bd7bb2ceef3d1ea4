//! XMPP (RFC 6120) over WebSocket (RFC 7395) and over TCP, through `quick-xml`.
//!
//! Over WebSocket one element is one text message; over TCP elements follow one another in a stream. Everything sent is written by `quick-xml`, what is sent often as a
//! [`Template`](super::template::Template); everything received is read by `quick-xml`, its texts borrowed as they
//! lie on the wire.

mod read;
mod stream;
mod write;

pub use read::read;
pub use stream::next_element;
pub use write::{
    acknowledge, answer, auth, auth_anonymous, bind, close, direct, enable, groupchat, join, listen, open,
    ping, pong, presence, publish, request, starttls, stream_begin, stream_end, subscribe,
};

/// The namespace of `<open/>` and `<close/>`.
const FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";
/// The namespace of stanzas.
const CLIENT: &str = "jabber:client";
/// The namespace of rooms (XEP-0045).
const MUC: &str = "http://jabber.org/protocol/muc";
/// The namespace of requests, listeners and channels.
const NEXUS: &str = "urn:nexus:1";
/// The namespace of stream management (XEP-0198).
const MANAGEMENT: &str = "urn:xmpp:sm:3";
/// The namespace of JSON containers (XEP-0335).
const JSON: &str = "urn:xmpp:json:0";

/// The id of the request to bind.
pub const BIND_ID: &str = "bind";
/// The id of a subscription, or of the registration of a listener.
pub const WANT_ID: &str = "want";
/// The id of the client's pings.
pub const PING_ID: &str = "ping";

/// A received element, borrowed from the read buffer. Texts are as they lie on the wire: with their references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stanza<'a> {
    /// `<open/>`, or the head of a stream.
    Open,
    /// `<stream:features/>`.
    Features(Offers),
    /// `<proceed/>`: TLS begins.
    Proceed,
    /// SASL's `<success/>`.
    Success,
    /// SASL's `<failure/>` with its condition.
    Failure(&'a str),
    /// `<iq/>`.
    Iq(Iq<'a>),
    /// `<message/>`.
    Message(Message<'a>),
    /// `<presence/>` of a room.
    Presence(Presence<'a>),
    /// `<enabled/>`: stanzas count from here on.
    Enabled,
    /// `<failed/>` of stream management with its condition.
    ManagementFailed(&'a str),
    /// `<r/>`: the server asks how many stanzas were handled.
    AckWanted,
    /// `<stream:error/>` with its condition.
    StreamError(&'a str),
    /// `<close/>`, or the end of a stream.
    Close,
    /// An element that changes nothing here.
    Other,
}

impl Stanza<'_> {
    /// Whether stream management counts it (XEP-0198, 4).
    pub const fn counts(&self) -> bool {
        matches!(self, Self::Iq(_) | Self::Message(_) | Self::Presence(_))
    }
}

/// What a server offers on a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// STARTTLS.
    pub starttls: bool,
    /// SASL PLAIN.
    pub plain: bool,
    /// SASL ANONYMOUS.
    pub anonymous: bool,
    /// A resource can be bound.
    pub bind: bool,
}

/// What an iq is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IqKind {
    /// It asks.
    Get,
    /// It asks for a change.
    Set,
    /// It answers.
    Result,
    /// It refuses.
    #[default]
    Error,
}

/// A received iq.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Iq<'a> {
    /// Its type.
    pub kind: IqKind,
    /// Its id.
    pub id: &'a str,
    /// It is a ping (XEP-0199).
    pub ping: bool,
    /// The JSON of its container; `None` where it has none.
    pub json: Option<&'a str>,
    /// The condition of an error.
    pub condition: &'a str,
    /// The code of a failed request.
    pub code: Option<i32>,
}

/// A received message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Message<'a> {
    /// What was published on a channel, the body of a message to a room, or a Direct message.
    pub text: Option<&'a str>,
    /// The condition, where it is an error.
    pub refused: Option<&'a str>,
}

/// A received presence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Presence<'a> {
    /// The receiver's own (status 110; XEP-0045, 7.2.2).
    pub own: bool,
    /// The condition, where it is an error.
    pub refused: Option<&'a str>,
}
