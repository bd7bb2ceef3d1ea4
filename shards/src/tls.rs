//! What a listener's newcomers are met with when they speak TLS, and what is known of one when its handshake is over.

#[cfg(any(test, feature = "fuzzing"))]
#[allow(
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a failed expectation is what is looked for, and a fuzzer looks from outside"
)]
pub mod handshakes;
mod session;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;

pub(crate) use session::{Fault, Reading, Tls};

/// The TLS settings of listeners and of connections that turn to TLS later. Clones are one: whoever replaces the
/// settings replaces them for all shards, and for connections that begin from then on; others keep what they have.
#[derive(Clone, Debug)]
pub struct TlsAcceptor(Arc<ArcSwap<ServerConfig>>);

impl TlsAcceptor {
    /// An acceptor with these settings. Early data must be off in them: it would be dropped.
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(ArcSwap::new(config)))
    }

    /// Has connections that begin from now on use these settings.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        self.0.store(config);
    }

    /// A session of a connection that begins now.
    pub(crate) fn accept(&self) -> Result<Box<Tls>, rustls::Error> {
        Tls::new(self.0.load_full()).map(Box::new)
    }
}

/// What a handshake has settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secured {
    /// The version: 2 for TLS 1.2, 3 for TLS 1.3.
    pub minor_version: u8,
    /// The protocol that was agreed on (RFC 7301), if the client named any.
    pub alpn: Option<Vec<u8>>,
    /// The client's own certificate (DER), verified as the settings say, if it showed one.
    pub certificate: Option<Vec<u8>>,
    /// Whether an earlier session was resumed, without a signature and a certificate on the wire.
    pub is_resumed: bool,
}
