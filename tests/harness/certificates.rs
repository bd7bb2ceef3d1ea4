//! An authority of this test run, and certificates of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};

/// An authority. Clients are told of it by a file.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: PathBuf,
    names: AtomicU64,
}

impl Authority {
    /// The one that all clients of this run believe.
    pub(crate) fn shared() -> &'static Self {
        static AUTHORITY: OnceLock<Authority> = OnceLock::new();
        AUTHORITY.get_or_init(|| Self::new("authority"))
    }

    /// One of that name, which nobody believes unless told so.
    pub(crate) fn new(name: &str) -> Self {
        let unique = format!("{name}-{}", std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique);
        fs::create_dir_all(&dir).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        fs::write(dir.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            dir,
            names: AtomicU64::new(0),
        }
    }

    /// Its own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A new certificate for these names and the loopback: its chain and its key.
    pub(crate) fn certificate(&self, names: &[&str]) -> (PathBuf, PathBuf) {
        self.written(self.pem(names))
    }

    /// A new certificate of a client that this URI names: its chain and its key.
    pub(crate) fn client_certificate(&self, uri: &str) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::default();
        params
            .subject_alt_names
            .push(SanType::URI(uri.try_into().unwrap()));
        self.written(self.signed(&params))
    }

    fn written(&self, (chain, key): (String, String)) -> (PathBuf, PathBuf) {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        let paths = ["cert", "key"].map(|what| self.dir.join(format!("{number}-{what}.pem")));
        fs::write(&paths[0], chain).unwrap();
        fs::write(&paths[1], key).unwrap();
        paths.into()
    }

    /// The same as text.
    pub(crate) fn pem(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params
            .subject_alt_names
            .push(SanType::IpAddress([127, 0, 0, 1].into()));
        self.signed(&params)
    }

    fn signed(&self, params: &CertificateParams) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}
