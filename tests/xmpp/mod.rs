//! XMPP over WebSocket and TCP (PROTOCOL 4), with `@xmpp/client` and with hand-made stanzas.

pub(crate) mod channel;
mod cross;
mod documented;
mod hostile;
pub(crate) mod login;
mod message;
mod occupants;
mod resumption;
mod rooms;
mod stream;
mod tcp;
mod timeout;
