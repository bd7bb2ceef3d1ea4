//! The certificates of the listeners with TLS, and what is asked of clients.

use std::path::PathBuf;

use serde::Deserialize;

/// Certificates of the listeners with TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The daemon's certificates; a client that asks for no name of theirs is shown the first.
    pub certificates: Vec<Certificate>,
    /// Makes a certificate for development in the data directory, which no client believes unless told so.
    pub self_signed: bool,
    /// The authorities whose certificates clients may show (PEM); none: clients show none.
    pub client_ca_file: Option<PathBuf>,
    /// See [`ClientAuth`].
    pub client_auth: ClientAuth,
}

/// Whether a client has to show a certificate, where there are authorities for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// It may do without.
    #[default]
    Optional,
    /// The handshake fails without.
    Required,
}

/// A certificate with its key, both in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The chain, the certificate itself first.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

impl Tls {
    /// Whether any certificate is named.
    pub fn is_named(&self) -> bool {
        self.self_signed || !self.certificates.is_empty()
    }
}
