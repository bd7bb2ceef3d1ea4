//! Namespaces and fixed names.

/// Stanzas of a client (RFC 6120).
pub(super) const CLIENT: &str = "jabber:client";
/// Framing of XMPP over WebSocket (RFC 7395).
pub(super) const FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";
/// Streams (RFC 6120).
pub(super) const STREAM: &str = "http://etherx.jabber.org/streams";
/// STARTTLS (RFC 6120 section 5).
pub(super) const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// SASL (RFC 6120 section 6).
pub(super) const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// Resource binding (RFC 6120 section 7).
pub(super) const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// Session establishment, obsolete but asked for (RFC 3921 section 3).
pub(super) const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
/// Ping (XEP-0199).
pub(super) const PING: &str = "urn:xmpp:ping";
/// Service discovery (XEP-0030).
pub(super) const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// Service discovery (XEP-0030).
pub(super) const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
/// Client state indication (XEP-0352).
pub(super) const CLIENT_STATE: &str = "urn:xmpp:csi:0";
/// Stream management (XEP-0198).
pub(super) const MANAGEMENT: &str = "urn:xmpp:sm:3";
/// Roster (RFC 6121 section 2).
pub(super) const ROSTER: &str = "jabber:iq:roster";
/// JSON containers (XEP-0335).
pub(super) const JSON: &str = "urn:xmpp:json:0";
/// Rooms (XEP-0045).
pub(super) const MUC: &str = "http://jabber.org/protocol/muc";
/// Capabilities of clients (XEP-0115).
pub(super) const CAPS: &str = "http://jabber.org/protocol/caps";
/// What the owners of a room may ask.
pub(super) const MUC_OWNER: &str = "http://jabber.org/protocol/muc#owner";
/// What its administrators may.
pub(super) const MUC_ADMIN: &str = "http://jabber.org/protocol/muc#admin";
/// What is Nexus's own (PROTOCOL section 4).
pub(super) const NEXUS: &str = "urn:nexus:1";

/// The first label of the channel service's domain.
pub(super) const CONFERENCE: &str = "conference";
/// The id of the daemon's own pings.
pub(super) const PING_ID: &str = "nexus-ping";
