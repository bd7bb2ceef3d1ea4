//! XMPP over WebSocket (PROTOCOL 4), with `@xmpp/client` and with hand-made stanzas.

mod channel;
mod cross;
mod documented;
mod hostile;
mod login;
mod message;
mod stream;
mod timeout;
