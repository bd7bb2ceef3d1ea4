//! How a block says who it is.

use crate::route::identity::{Account, check_resource};

/// A claim to be an account, with its proof.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// The account's name; grammar not yet checked, any domain already cut off.
    pub account: &'a str,
    /// The resource asked for (checked); empty: the daemon makes one up.
    pub resource: &'a str,
    /// What shows that it is the account: all at once, so no SCRAM.
    pub proof: Proof<'a>,
}

impl std::fmt::Debug for Login<'_> {
    /// Without the proof.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("account", &self.account)
            .field("resource", &self.resource)
            .finish()
    }
}

/// A claim to be an account, with a proof, before it is known under which resource.
#[derive(Clone, Copy, Debug)]
pub struct Authenticate<'a> {
    /// The account's name; grammar not yet checked, any domain already cut off.
    pub account: &'a str,
    /// The proof.
    pub proof: Proof<'a>,
}

/// An address to take, of the account that was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The resource asked for (checked); empty: the daemon makes one up.
    pub resource: &'a str,
    /// It takes no part in a fight for the address. Else it takes over always, as MQTT has it.
    pub damped: bool,
    /// It may prove itself anew once it is attached.
    pub renewable: bool,
}

/// The hash of a SCRAM mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScramHash {
    /// SCRAM-SHA-1 (RFC 5802).
    Sha1,
    /// SCRAM-SHA-256 (RFC 7677).
    Sha256,
}

/// How a block proves that it is an account.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// The secret or a token, as it came.
    Password(&'a [u8]),
    /// The certificate that the connection's handshake has verified.
    Certificate {
        /// The only resource that it is for, if it names one.
        resource: Option<&'a str>,
        /// Until then. Unix time, ms.
        expires_unix_ms: u64,
    },
    /// SCRAM begins: the challenge is asked for.
    ScramFirst(ScramHash),
    /// SCRAM ends.
    Scram {
        /// Of which mechanism.
        hash: ScramHash,
        /// AuthMessage (RFC 5802 section 3).
        auth_message: &'a [u8],
        /// ClientProof, decoded.
        client_proof: &'a [u8],
    },
}

impl std::fmt::Debug for Proof<'_> {
    /// Without what it proves by.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password(_) => f.write_str("Password(…)"),
            Self::Certificate { resource, .. } => f.debug_tuple("Certificate").field(resource).finish(),
            Self::ScramFirst(hash) => f.debug_tuple("ScramFirst").field(hash).finish(),
            Self::Scram { hash, .. } => f
                .debug_struct("Scram")
                .field("hash", hash)
                .finish_non_exhaustive(),
        }
    }
}

/// The scheme of the URI by which a certificate names an account.
const SCHEME: &str = "nexus";

/// What a client's certificate says of who shows it. Whoever made one has verified the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// The account.
    pub account: Box<str>,
    /// The only resource it may have.
    pub resource: Option<Box<str>>,
    /// When the certificate ends. Unix time, ms.
    pub expires_unix_ms: u64,
}

impl Certified {
    /// Reads `nexus:<account>` or `nexus:<account>/<resource>`; in the resource, what a URI does not allow is
    /// percent-encoded (RFC 3986, 2.1). `None`: it is another URI, or names no account.
    pub fn from_uri(uri: &str, expires_unix_ms: u64) -> Option<Self> {
        let (scheme, path) = uri.split_once(':')?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return None;
        }
        let (account, resource) = match path.split_once('/') {
            Some((account, resource)) => (account, Some(percent_decoded(resource)?)),
            None => (path, None),
        };
        Account::parse(account).ok()?;
        if let Some(resource) = &resource {
            check_resource(resource).ok()?;
        }
        Some(Self {
            account: account.into(),
            resource: resource.map(String::into_boxed_str),
            expires_unix_ms,
        })
    }

    /// It as a proof; the resource is copied into `name`, since a command must not borrow from its session.
    pub fn proof<'a>(&self, name: &'a mut Vec<u8>) -> Proof<'a> {
        Proof::Certificate {
            resource: self.resource.as_deref().map(|resource| copied(resource, name)),
            expires_unix_ms: self.expires_unix_ms,
        }
    }
}

/// Text for a command, which must not borrow from its session.
pub(crate) fn copied<'a>(text: &str, into: &'a mut Vec<u8>) -> &'a str {
    into.clear();
    into.extend_from_slice(text.as_bytes());
    std::str::from_utf8(into).unwrap_or_default()
}

/// `None`: a percent sign without two hex digits behind it, or what comes out is not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.as_bytes().split_at_checked(2)?;
        let mut byte = 0;
        for &digit in digits {
            let digit = char::from(digit).to_digit(16)?;
            byte = byte << 4 | u8::try_from(digit).ok()?;
        }
        bytes.push(byte);
        bytes.extend_from_slice(rest);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "etest-0123456789abcdef01234567-owner";

    #[test]
    fn a_uri_names_an_account_and_perhaps_its_resource() {
        let named = |rest: &str| Certified::from_uri(&format!("nexus:{ACCOUNT}{rest}"), 7);
        let whole = |resource: Option<&str>| {
            Some(Certified {
                account: ACCOUNT.into(),
                resource: resource.map(Into::into),
                expires_unix_ms: 7,
            })
        };
        assert_eq!(named(""), whole(None));
        assert_eq!(named("/pump.7"), whole(Some("pump.7")));
        assert_eq!(named("/P%c3%BCmpe%207"), whole(Some("Pümpe 7")));
        // RFC 3986, 3.1: schemes are compared without regard to case; accounts are not.
        assert_eq!(Certified::from_uri(&format!("NEXUS:{ACCOUNT}"), 7), whole(None));
        assert_eq!(
            Certified::from_uri(&format!("nexus:{}", ACCOUNT.to_uppercase()), 7),
            None
        );
    }

    #[test]
    fn other_uris_and_what_no_account_or_resource_can_be_name_nobody() {
        for rest in [
            "/", "/a/b", "/a#b", "/%", "/%4", "/%zz", "/%+4", "/%2f", "/%00", "/%ff", "?x", "@host",
        ] {
            assert_eq!(
                Certified::from_uri(&format!("nexus:{ACCOUNT}{rest}"), 7),
                None,
                "{rest}"
            );
        }
        for uri in [
            "",
            ":",
            "nexus:",
            "nexus://host",
            "https://nexus.example/",
            ACCOUNT,
        ] {
            assert_eq!(Certified::from_uri(uri, 7), None, "{uri}");
        }
    }
}
