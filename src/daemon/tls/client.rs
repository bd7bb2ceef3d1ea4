//! Whom a client's certificate names.

use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::route::Certified;

/// The account that a certificate names, in a URI of its Subject Alternative Names (RFC 5280, 4.2.1.6). None or
/// several: it names nobody. Whether it is to be believed was found out before.
pub(in crate::daemon) fn certified(leaf: &[u8]) -> Option<Certified> {
    let (_, certificate) = parse_x509_certificate(leaf).ok()?;
    let expires_s = certificate.validity().not_after.timestamp();
    let expires_unix_ms = u64::try_from(expires_s).ok()?.saturating_mul(1_000);
    let alternative = certificate.subject_alternative_name().ok()??;
    let mut named = alternative
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Certified::from_uri(uri, expires_unix_ms),
            _ => None,
        });
    named.next().filter(|_| named.next().is_none())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType, date_time_ymd};

    use super::*;

    const OWNER: &str = "nexus:etest-0123456789abcdef01234567-owner";
    const USER: &str = "nexus:etest-0123456789abcdef01234567-user/pump7";

    fn named_by(uris: &[&str]) -> Option<Certified> {
        let mut params = CertificateParams::new(vec!["pump.example".to_owned()]).unwrap();
        params.not_after = date_time_ymd(2040, 1, 2);
        let names = uris.iter().map(|&uri| SanType::URI(uri.try_into().unwrap()));
        params.subject_alt_names.extend(names);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        certified(certificate.der())
    }

    #[test]
    fn a_certificate_names_the_account_of_its_only_uri_of_ours_until_it_ends() {
        let owner = named_by(&["https://example.org/", OWNER]).unwrap();
        assert_eq!(Some(&*owner.account), OWNER.strip_prefix("nexus:"));
        assert_eq!((owner.resource, owner.expires_unix_ms), (None, 2_209_075_200_000));
        let user = named_by(&[USER]).unwrap();
        assert_eq!(user.resource.as_deref(), Some("pump7"));
    }

    #[test]
    fn one_that_names_nobody_or_several_names_nobody() {
        for uris in [
            &[][..],
            &["https://example.org/"],
            &[OWNER, USER],
            &["nexus:owner"],
        ] {
            assert_eq!(named_by(uris), None, "{uris:?}");
        }
        assert_eq!(certified(b"no certificate"), None);
    }
}
