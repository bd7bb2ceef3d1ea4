//! What clients of XMPP send, element by element.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The domain of the fixtures.
pub const DOMAIN: &str = "nexus.example";

/// The opening handshake of XMPP over WebSocket (RFC 7395, 3.1).
pub const HANDSHAKE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: nexus.example\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n";

/// Opens the stream.
pub fn open() -> String {
    format!("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='{DOMAIN}' version='1.0'/>")
}

/// SASL PLAIN.
pub fn auth(account: &str) -> String {
    let plain = STANDARD.encode(format!("\0{account}\0secret"));
    format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>")
}

/// Binds a resource.
pub fn bind(resource: &str) -> String {
    set(&format!(
        "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind>"
    ))
}

/// Subscribes to the channels that match a filter.
pub fn subscribe(filter: &str) -> String {
    set(&format!("<subscribe xmlns='urn:nexus:1' channel='{filter}'/>"))
}

/// Listens to a command.
pub fn listen(cmd: &str) -> String {
    set(&format!("<listen xmlns='urn:nexus:1' cmd='{cmd}'/>"))
}

/// A request to a worker of `etest`.
pub fn call(cmd: &str, body: &str) -> String {
    set(&format!(
        "<api xmlns='urn:nexus:1' app='etest' cmd='{cmd}'><json xmlns='urn:xmpp:json:0'>{body}</json></api>"
    ))
}

/// A worker's answer.
pub fn answer(token: &str, body: &str) -> String {
    format!(
        "<iq xmlns='jabber:client' type='result' id='{token}'><api xmlns='urn:nexus:1'>\
         <json xmlns='urn:xmpp:json:0'>{body}</json></api></iq>"
    )
}

fn set(payload: &str) -> String {
    format!("<iq xmlns='jabber:client' type='set' id='c1'>{payload}</iq>")
}

/// Presence without anything in it: available.
pub const AVAILABLE: &str = "<presence xmlns='jabber:client'/>";

/// Publishes on a channel. The text stands as it is, escaped.
pub fn publish(channel: &str, text: &str) -> String {
    format!(
        "<message xmlns='jabber:client'><publish xmlns='urn:nexus:1' channel='{channel}'>{text}</publish></message>"
    )
}

/// A Direct message to a worker of `etest`. The text stands as it is, escaped.
pub fn direct(resource: &str, text: &str) -> String {
    format!(
        "<message xmlns='jabber:client'><direct xmlns='urn:nexus:1' app='etest' resource='{resource}'>{text}\
         </direct></message>"
    )
}

/// A plain message as chat clients send them: with an id, a type and a thing beside its body.
pub fn message(to: &str, text: &str) -> String {
    format!(
        "<message xmlns='jabber:client' to='{to}' type='chat' id='m1'><body>{text}</body>\
         <active xmlns='http://jabber.org/protocol/chatstates'/></message>"
    )
}
