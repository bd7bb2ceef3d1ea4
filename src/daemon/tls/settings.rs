//! The settings of TLS as the library takes them.

use std::sync::Arc;

use shards::rustls::crypto::{CryptoProvider, aws_lc_rs};
use shards::rustls::server::danger::ClientCertVerifier;
use shards::rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use shards::rustls::sign::CertifiedKey;
use shards::rustls::{RootCertStore, ServerConfig};

use super::{files, self_signed_paths};
use crate::config::{ClientAuth, Config};
use crate::daemon::Fault;

/// The certificates there are. A client is shown the first that is for the name it asks for, else the first of all.
#[derive(Debug)]
struct Certificates(Vec<(Vec<String>, Arc<CertifiedKey>)>);

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name();
        let is_for =
            |names: &[String]| asked.is_some_and(|asked| names.iter().any(|name| matches(name, asked)));
        let fitting = self.0.iter().find(|(names, _)| is_for(names));
        fitting.or_else(|| self.0.first()).map(|(_, key)| Arc::clone(key))
    }
}

/// Whether a name of a certificate is for the name a client asks for (RFC 6125, 6.4): the same but for the case of
/// letters, or a first label of `*` for any one label.
fn matches(name: &str, asked: &str) -> bool {
    if let Some(rest) = name.strip_prefix("*.") {
        return asked
            .split_once('.')
            .is_some_and(|(_, asked)| asked.eq_ignore_ascii_case(rest));
    }
    name.eq_ignore_ascii_case(asked)
}

/// All that the listeners' settings have in common.
pub(super) struct Settings {
    provider: Arc<CryptoProvider>,
    certificates: Arc<Certificates>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    tickets: Arc<dyn ProducesTickets>,
}

impl Settings {
    /// Reads the files; none if the configuration names no certificate.
    pub(super) fn read(config: &Config) -> Result<Option<Self>, Fault> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut certificates = Vec::new();
        for pair in &config.tls.certificates {
            certificates.push(certified(&provider, &pair.cert_file, &pair.key_file)?);
        }
        if config.tls.self_signed {
            let (cert, key) = self_signed_paths(config);
            if !cert.exists() || !key.exists() {
                files::make_self_signed(&config.domains, &cert, &key)?;
            }
            let made = certified(&provider, &cert, &key).map_err(|fault| {
                Fault::new(format!(
                    "tls.self_signed: {fault}; remove both files, and others are made"
                ))
            })?;
            certificates.push(made);
        }
        if certificates.is_empty() {
            return Ok(None);
        }
        let clients = verifier_of(config, &provider)?;
        let tickets = aws_lc_rs::Ticketer::new()
            .map_err(|e| Fault::new(format!("tls: no key for session tickets: {e}")))?;
        Ok(Some(Self {
            provider,
            certificates: Arc::new(Certificates(certificates)),
            clients,
            tickets,
        }))
    }

    /// Settings of a listener that speaks these protocols. Sessions are resumed by tickets, for which nothing is kept.
    pub(super) fn server(&self, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, Fault> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| Fault::new(format!("tls: {e}")))?;
        let builder = match &self.clients {
            Some(clients) => builder.with_client_cert_verifier(Arc::clone(clients)),
            None => builder.with_no_client_auth(),
        };
        let resolver = Arc::clone(&self.certificates);
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.ticketer = Arc::clone(&self.tickets);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // Each costs as much as an eighth of the handshake, and whoever comes back by one gets another.
        config.send_tls13_tickets = 1;
        Ok(Arc::new(config))
    }
}

/// A certificate with its key and the names it is for.
fn certified(
    provider: &CryptoProvider,
    cert: &std::path::Path,
    key: &std::path::Path,
) -> Result<(Vec<String>, Arc<CertifiedKey>), Fault> {
    let chain = files::chain("tls.certificates.cert_file", cert)?;
    let private = files::private_key("tls.certificates.key_file", key)?;
    let wrong = |what: &dyn std::fmt::Display| {
        Fault::new(format!(
            "tls.certificates: {} and {} are of no use together: {what}",
            cert.display(),
            key.display()
        ))
    };
    let certified = CertifiedKey::from_der(chain, private, provider).map_err(|e| wrong(&e))?;
    let leaf = certified.end_entity_cert().map_err(|e| wrong(&e))?;
    let names = names_of(leaf).map_err(|e| wrong(&e))?;
    Ok((names, Arc::new(certified)))
}

/// The DNS names of a certificate.
fn names_of(leaf: &[u8]) -> Result<Vec<String>, String> {
    use x509_parser::extensions::GeneralName;
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf).map_err(|e| e.to_string())?;
    let alternative = certificate
        .subject_alternative_name()
        .map_err(|e| e.to_string())?;
    let names = alternative.iter().flat_map(|names| &names.value.general_names);
    Ok(names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect())
}

/// Reads what clients are to be believed by, and nothing else.
pub(super) fn clients(config: &Config) -> Result<(), Fault> {
    verifier_of(config, &Arc::new(aws_lc_rs::default_provider()))?;
    Ok(())
}

/// What clients are believed by, if the configuration names authorities.
fn verifier_of(
    config: &Config,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Fault> {
    let Some(path) = &config.tls.client_ca_file else {
        return Ok(None);
    };
    let roots = files::authorities("tls.client_ca_file", path)?;
    verifier(provider, roots, path, config.tls.client_auth).map(Some)
}

/// Believes certificates of clients that these authorities have signed.
fn verifier(
    provider: &Arc<CryptoProvider>,
    roots: RootCertStore,
    path: &std::path::Path,
    client_auth: ClientAuth,
) -> Result<Arc<dyn ClientCertVerifier>, Fault> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = match client_auth {
        ClientAuth::Optional => builder.allow_unauthenticated(),
        ClientAuth::Required => builder,
    };
    builder
        .build()
        .map_err(|e| Fault::new(format!("tls.client_ca_file = {}: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn rfc6125_6_4_names_match_by_labels() {
        for (name, asked, expected) in [
            ("example.org", "example.org", true),
            ("Example.org", "eXample.ORG", true),
            ("example.org", "www.example.org", false),
            ("*.example.org", "www.example.org", true),
            ("*.example.org", "example.org", false),
            ("*.example.org", "a.b.example.org", false),
        ] {
            assert_eq!(matches(name, asked), expected, "{name} {asked}");
        }
    }
}
