//! The text of SASL mechanisms: PLAIN (RFC 4616) and SCRAM (RFC 5802, RFC 7677) as a server reads and writes it.
//!
//! Fields are borrowed from the message; what has to be decoded or written is a small string. Nothing here knows
//! accounts, keys or randomness: the server's part of the nonce and the signature come in as arguments.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smallvec::SmallVec;

use crate::limits;

/// Bytes of the longest ClientProof: the hash of SCRAM-SHA-256.
pub const PROOF_BYTES_MAX: usize = 32;

/// Why a message of a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslError {
    /// It breaks the grammar of its mechanism.
    Malformed,
    /// A part of it is longer than it may be.
    TooLong,
    /// RFC 5802, 6: channel binding is asked for, in a mechanism without.
    ChannelBindingUnsupported,
    /// RFC 5802, 6: the channel binding data is not the GS2 header that the exchange began with.
    ChannelBindingMismatch,
    /// RFC 5802, 5.1: an extension (`m=`) that must be understood; none is.
    ExtensionUnsupported,
    /// RFC 5802, 5.1: the nonce is not the one of this exchange.
    NonceMismatch,
}

impl SaslError {
    /// Its name for logs and counters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed message",
            Self::TooLong => "message too long",
            Self::ChannelBindingUnsupported => "channel binding not supported",
            Self::ChannelBindingMismatch => "channel binding does not match",
            Self::ExtensionUnsupported => "extension not supported",
            Self::NonceMismatch => "nonce does not match",
        }
    }
}

impl fmt::Display for SaslError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for SaslError {}

/// A message of PLAIN (RFC 4616, 2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Plain<'a> {
    /// Whom to act as; empty: whom `authcid` names.
    pub authzid: &'a str,
    /// Who logs in; never empty.
    pub authcid: &'a str,
    /// What is shown as proof; never empty.
    pub password: &'a [u8],
}

impl fmt::Debug for Plain<'_> {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain")
            .field("authzid", &self.authzid)
            .field("authcid", &self.authcid)
            .finish_non_exhaustive()
    }
}

/// Reads `[authzid] NUL authcid NUL passwd` (RFC 4616, 2).
pub fn plain(message: &[u8]) -> Result<Plain<'_>, SaslError> {
    let longest = 2 * limits::SASL_NAME_BYTES_MAX + limits::PASSWORD_BYTES_MAX + 2;
    if message.len() > longest {
        return Err(SaslError::TooLong);
    }
    let message = std::str::from_utf8(message).map_err(|_| SaslError::Malformed)?;
    let mut parts = message.split('\0');
    let (Some(authzid), Some(authcid), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(SaslError::Malformed);
    };
    if authcid.is_empty() || password.is_empty() {
        return Err(SaslError::Malformed);
    }
    if authzid.len() > limits::SASL_NAME_BYTES_MAX
        || authcid.len() > limits::SASL_NAME_BYTES_MAX
        || password.len() > limits::PASSWORD_BYTES_MAX
    {
        return Err(SaslError::TooLong);
    }
    Ok(Plain {
        authzid,
        authcid,
        password: password.as_bytes(),
    })
}

/// client-first-message (RFC 5802, 7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScramFirst<'a> {
    /// The flag of channel binding and the authorization identity, with their commas: "n,,". What the end of the
    /// exchange repeats as its channel binding data.
    pub gs2_header: &'a str,
    /// Whom to act as, as it is written (escaped); empty: whom `user` names.
    pub authzid: &'a str,
    /// Who logs in, unescaped; never empty.
    pub user: Cow<'a, str>,
    /// The client's part of the nonce; never empty.
    pub nonce: &'a str,
    /// client-first-message-bare: the first part of AuthMessage.
    pub bare: &'a str,
}

impl<'a> ScramFirst<'a> {
    /// Reads it. The flags `n` and `y` are taken; `p`, which asks for channel binding, is not.
    pub fn parse(message: &'a str) -> Result<Self, SaslError> {
        check_length(message)?;
        let (flag, rest) = message.split_once(',').ok_or(SaslError::Malformed)?;
        match flag {
            "n" | "y" => {}
            _ if flag.starts_with("p=") => return Err(SaslError::ChannelBindingUnsupported),
            _ => return Err(SaslError::Malformed),
        }
        let (authzid, bare) = rest.split_once(',').ok_or(SaslError::Malformed)?;
        let authzid = if authzid.is_empty() {
            authzid
        } else {
            let name = authzid.strip_prefix("a=").ok_or(SaslError::Malformed)?;
            unescaped(name)?;
            name
        };
        let gs2_header = message
            .get(..message.len() - bare.len())
            .ok_or(SaslError::Malformed)?;
        let mut attributes = bare.split(',');
        let user = unescaped(attribute(attributes.next(), "n=")?)?;
        let nonce = nonce_of(attributes.next())?;
        if nonce.len() > limits::SASL_NONCE_BYTES_MAX {
            return Err(SaslError::TooLong);
        }
        attributes.try_for_each(check_extension)?;
        Ok(Self {
            gs2_header,
            authzid,
            user,
            nonce,
            bare,
        })
    }

    /// server-first-message: what the client makes its proof with. `server_nonce`: printable ASCII without a comma,
    /// at least 128 random bits of it.
    pub fn challenge(&self, server_nonce: &str, salt: &[u8], iterations: u32) -> String {
        let nonce = self.nonce;
        let salt = STANDARD.encode(salt);
        format!("r={nonce}{server_nonce},s={salt},i={iterations}")
    }
}

/// client-final-message (RFC 5802, 7).
#[derive(Clone, PartialEq, Eq)]
pub struct ScramFinal<'a> {
    /// The channel binding data, decoded: without channel binding, the GS2 header that the exchange began with.
    pub channel_binding: Vec<u8>,
    /// The client's and the server's part of the nonce.
    pub nonce: &'a str,
    /// ClientProof, decoded: 1 to [`PROOF_BYTES_MAX`] bytes.
    pub proof: SmallVec<[u8; PROOF_BYTES_MAX]>,
    /// client-final-message-without-proof: the last part of AuthMessage.
    pub without_proof: &'a str,
}

impl fmt::Debug for ScramFinal<'_> {
    /// Without the proof.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramFinal")
            .field("without_proof", &self.without_proof)
            .finish_non_exhaustive()
    }
}

impl<'a> ScramFinal<'a> {
    /// Reads it. Whether it belongs to this exchange: see [`Self::check`].
    pub fn parse(message: &'a str) -> Result<Self, SaslError> {
        check_length(message)?;
        // The proof is the last attribute, and base64 has no comma.
        let (without_proof, proof) = message.rsplit_once(',').ok_or(SaslError::Malformed)?;
        let mut attributes = without_proof.split(',');
        let channel_binding = STANDARD
            .decode(attribute(attributes.next(), "c=")?)
            .map_err(|_| SaslError::Malformed)?;
        let nonce = nonce_of(attributes.next())?;
        attributes.try_for_each(check_extension)?;
        Ok(Self {
            channel_binding,
            nonce,
            proof: proof_of(attribute(Some(proof), "p=")?)?,
            without_proof,
        })
    }

    /// Whether it ends the exchange that began with this GS2 header and goes on with this nonce (the client's part and
    /// the server's).
    pub fn check(&self, gs2_header: &str, nonce: &str) -> Result<(), SaslError> {
        if self.channel_binding != gs2_header.as_bytes() {
            return Err(SaslError::ChannelBindingMismatch);
        }
        if self.nonce != nonce {
            return Err(SaslError::NonceMismatch);
        }
        Ok(())
    }
}

/// AuthMessage (RFC 5802, 3): what both sides sign.
pub fn auth_message(first_bare: &str, server_first: &str, without_proof: &str) -> String {
    [first_bare, server_first, without_proof].join(",")
}

/// server-final-message of an exchange that succeeded: proves the server to the client.
pub fn server_final(signature: &[u8]) -> String {
    let mut message = String::from("v=");
    STANDARD.encode_string(signature, &mut message);
    message
}

/// Bounds a message of SCRAM, and keeps NUL out of it, which no attribute's value may have.
fn check_length(message: &str) -> Result<(), SaslError> {
    if message.len() > limits::SASL_MESSAGE_BYTES_MAX {
        return Err(SaslError::TooLong);
    }
    if message.contains('\0') {
        return Err(SaslError::Malformed);
    }
    Ok(())
}

/// The value of an attribute that must stand here. Where `m=` stands instead, an extension is asked for.
fn attribute<'a>(found: Option<&'a str>, name: &str) -> Result<&'a str, SaslError> {
    let found = found.ok_or(SaslError::Malformed)?;
    if found.starts_with("m=") {
        return Err(SaslError::ExtensionUnsupported);
    }
    found.strip_prefix(name).ok_or(SaslError::Malformed)
}

/// A nonce: printable ASCII without a comma. Attributes are split at commas, so that none is left.
fn nonce_of(found: Option<&str>) -> Result<&str, SaslError> {
    let nonce = attribute(found, "r=")?;
    if nonce.is_empty() || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(SaslError::Malformed);
    }
    Ok(nonce)
}

/// An optional extension is ignored (RFC 5802, 5.1), but has to be one: a letter that means nothing yet, and a value.
fn check_extension(attribute: &str) -> Result<(), SaslError> {
    match attribute.as_bytes() {
        [b'm', b'=', ..] => Err(SaslError::ExtensionUnsupported),
        [b'a' | b'n' | b'r' | b'c' | b's' | b'i' | b'p' | b'v' | b'e', ..] => Err(SaslError::Malformed),
        [letter, b'=', _, ..] if letter.is_ascii_alphabetic() => Ok(()),
        _ => Err(SaslError::Malformed),
    }
}

/// A saslname: `=2C` is a comma, `=3D` an equals sign, and no other `=` may be there (RFC 5802, 5.1).
fn unescaped(name: &str) -> Result<Cow<'_, str>, SaslError> {
    if name.is_empty() {
        return Err(SaslError::Malformed);
    }
    if name.len() > limits::SASL_NAME_BYTES_MAX {
        return Err(SaslError::TooLong);
    }
    let mut parts = name.split('=');
    let first = parts.next().unwrap_or_default();
    if first.len() == name.len() {
        return Ok(Cow::Borrowed(name));
    }
    let mut plain = String::with_capacity(name.len());
    plain.push_str(first);
    for part in parts {
        let (character, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(SaslError::Malformed),
        };
        plain.push(character);
        plain.push_str(rest);
    }
    Ok(Cow::Owned(plain))
}

fn proof_of(text: &str) -> Result<SmallVec<[u8; PROOF_BYTES_MAX]>, SaslError> {
    // What base64 makes of the longest proof, with its padding.
    if text.len() > PROOF_BYTES_MAX.div_ceil(3) * 4 {
        return Err(SaslError::TooLong);
    }
    let mut bytes = [0; PROOF_BYTES_MAX.div_ceil(3) * 3];
    let len = STANDARD
        .decode_slice(text, &mut bytes)
        .map_err(|_| SaslError::Malformed)?;
    match bytes.get(..len) {
        Some(proof) if (1..=PROOF_BYTES_MAX).contains(&len) => Ok(SmallVec::from_slice(proof)),
        Some([]) | None => Err(SaslError::Malformed),
        Some(_) => Err(SaslError::TooLong),
    }
}
