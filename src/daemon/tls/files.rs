//! Files of certificates and keys, in PEM.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use shards::rustls::RootCertStore;
use shards::rustls::pki_types::pem::PemObject;
use shards::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::daemon::Fault;

/// When files were written last and how long they are: what tells that one has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamps(Vec<Option<(SystemTime, u64)>>);

impl Stamps {
    pub(super) fn of(paths: &[&Path]) -> Self {
        let stamp = |path: &&Path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        Self(paths.iter().map(stamp).collect())
    }
}

/// A chain of certificates, the server's own first.
pub(super) fn chain(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let wrong = |what: String| Fault::new(format!("{key} = {}: {what}", path.display()));
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|e| {
            wrong(format!(
                "cannot read certificates: {e}; name a PEM file with certificates"
            ))
        })?;
    if chain.is_empty() {
        return Err(wrong(
            "no certificate in it; name a PEM file with certificates".to_owned(),
        ));
    }
    Ok(chain)
}

/// A private key: PKCS #8, PKCS #1 or SEC 1.
pub(super) fn private_key(key: &str, path: &Path) -> Result<PrivateKeyDer<'static>, Fault> {
    PrivateKeyDer::from_pem_file(path).map_err(|e| {
        let path = path.display();
        Fault::new(format!(
            "{key} = {path}: cannot read a private key: {e}; name a PEM file with one"
        ))
    })
}

/// The authorities whose clients are believed.
pub(super) fn authorities(key: &str, path: &Path) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(key, path)? {
        roots
            .add(certificate)
            .map_err(|e| Fault::new(format!("{key} = {}: not an authority: {e}", path.display())))?;
    }
    Ok(roots)
}

/// Makes a certificate for `domains` and the loopback that nobody has signed, for development.
pub(super) fn make_self_signed(domains: &[String], cert: &Path, key: &Path) -> Result<(), Fault> {
    let failed = |e: &dyn std::fmt::Display| Fault::new(format!("cannot make {}: {e}", cert.display()));
    let mut names = domains.to_vec();
    names.push("localhost".to_owned());
    names.dedup();
    let mut params = CertificateParams::new(names).map_err(|e| failed(&e))?;
    params.subject_alt_names.extend([
        SanType::IpAddress([127, 0, 0, 1].into()),
        SanType::IpAddress(std::net::Ipv6Addr::LOCALHOST.into()),
    ]);
    params
        .distinguished_name
        .push(DnType::CommonName, "nexusd (self-signed)");
    let pair = KeyPair::generate().map_err(|e| failed(&e))?;
    let certificate = params.self_signed(&pair).map_err(|e| failed(&e))?;
    if let Some(dir) = cert.parent() {
        fs::create_dir_all(dir).map_err(|e| failed(&e))?;
    }
    write_private(key, &pair.serialize_pem()).map_err(|e| failed(&e))?;
    fs::write(cert, certificate.pem()).map_err(|e| failed(&e))
}

/// Writes a file that its owner alone may read.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}
