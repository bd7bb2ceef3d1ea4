//! TLS around a connection.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::io::ReadOutcome;

/// Sessions that are remembered to be resumed, over all threads.
const SESSIONS_MAX: usize = 4_096;

/// What connections of an endpoint speak TLS with. Clones share the sessions that may be resumed.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// TLS to a server of this name, whose certificate `authorities` (PEM) have signed; without them it is not looked
    /// at. Sessions are resumed where the server gives tickets, if they are to be.
    ///
    /// # Errors
    /// A sentence: an unreadable file, or what is no name.
    pub fn new(host: &str, authorities: Option<&Path>, resumes: bool) -> Result<Self, String> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(|error| format!("--tls {host}: {error}"))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match authorities {
            Some(path) => builder.with_root_certificates(roots(path)?),
            None => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody(provider))),
        };
        let mut config = builder.with_no_client_auth();
        config.resumption = if resumes {
            Resumption::in_memory_sessions(SESSIONS_MAX)
        } else {
            Resumption::disabled()
        };
        Ok(Self {
            config: Arc::new(config),
            name,
        })
    }

    pub(super) fn connect(&self) -> io::Result<Box<TlsStream>> {
        let machine =
            ClientConnection::new(Arc::clone(&self.config), self.name.clone()).map_err(io::Error::other)?;
        Ok(Box::new(TlsStream {
            machine,
            is_open: false,
        }))
    }
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let said = |error: &dyn fmt::Display| format!("--ca-file {}: {error}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| said(&error))? {
        let certificate = certificate.map_err(|error| said(&error))?;
        roots.add(certificate).map_err(|error| said(&error))?;
    }
    if roots.is_empty() {
        return Err(said(&"no certificate in it"));
    }
    Ok(roots)
}

/// Believes any certificate: what is measured is the server, on a network that is trusted.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// One connection's TLS.
#[derive(Debug)]
pub(super) struct TlsStream {
    machine: ClientConnection,
    /// [`Self::has_opened`] has said so.
    is_open: bool,
}

impl TlsStream {
    /// True once, when the handshake is over.
    pub(super) fn has_opened(&mut self) -> bool {
        let was_open = self.is_open;
        self.is_open = !self.machine.is_handshaking();
        self.is_open && !was_open
    }

    /// Whether records of its own wait to be written.
    pub(super) fn wants_write(&self) -> bool {
        self.machine.wants_write()
    }

    /// Reads what the records say that have come.
    pub(super) fn read(&mut self, socket: &mut impl Read, buffer: &mut [u8]) -> ReadOutcome {
        let mut have = 0;
        loop {
            let room = buffer.get_mut(have..).unwrap_or_default();
            if room.is_empty() {
                return ReadOutcome::More(have);
            }
            match self.machine.reader().read(room) {
                Ok(0) if have == 0 => return ReadOutcome::Ended("closed by the server".into()),
                Ok(0) => return ReadOutcome::More(have),
                Ok(read) => {
                    have += read;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return ReadOutcome::Ended(error.to_string()),
            }
            match self.machine.read_tls(socket) {
                Ok(_) => {
                    if let Err(error) = self.machine.process_new_packets() {
                        return ReadOutcome::Ended(format!("TLS: {error}"));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return ReadOutcome::Drained(have),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return ReadOutcome::Ended(error.to_string()),
            }
        }
    }

    /// Seals and writes as much of `plain` as the socket takes: how many bytes were taken, and whether it took all.
    ///
    /// # Errors
    /// A broken connection.
    pub(super) fn write(&mut self, socket: &mut impl Write, plain: &[u8]) -> io::Result<(usize, bool)> {
        let mut taken = 0;
        loop {
            while self.machine.wants_write() {
                match self.machine.write_tls(socket) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((taken, false)),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            let left = plain.get(taken..).unwrap_or_default();
            if left.is_empty() || self.machine.is_handshaking() {
                return Ok((taken, true));
            }
            taken += self.machine.writer().write(left)?;
        }
    }

    /// Says the last record.
    pub(super) fn close(&mut self, socket: &mut impl Write) {
        self.machine.send_close_notify();
        // If the socket refuses it, the connection ends regardless.
        let _ = self.write(socket, &[]);
    }
}
