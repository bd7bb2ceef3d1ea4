//! The server's side of an exchange of SCRAM (RFC 5802 section 5), whichever protocol carries its messages.

use crate::codec::sasl::{self, SaslError, ScramFinal, ScramFirst};
use crate::route::{Authenticate, Proof, ScramHash, copied};

/// An exchange, from the client's first message to its last.
#[derive(Debug)]
pub(super) struct Scram {
    hash: ScramHash,
    account: Box<str>,
    /// The client's first message.
    first: Box<str>,
    /// The server's answer; empty until it is written.
    challenge: String,
    /// The client's part of the nonce and the server's.
    nonce: String,
}

impl Scram {
    /// Begins with the client's first message, by which it is this account.
    pub(super) fn new(hash: ScramHash, account: &str, first: &str) -> Self {
        Self {
            hash,
            account: account.into(),
            first: first.into(),
            challenge: String::new(),
            nonce: String::new(),
        }
    }

    /// What the challenge has to be made from is asked for.
    pub(super) fn begin<'a>(&self, name: &'a mut Vec<u8>) -> Authenticate<'a> {
        Authenticate {
            account: copied(&self.account, name),
            proof: Proof::ScramFirst(self.hash),
        }
    }

    /// The server's first message.
    pub(super) fn challenge(
        &mut self,
        server_nonce: &str,
        salt: &[u8],
        iterations: u32,
    ) -> Result<&str, SaslError> {
        let first = ScramFirst::parse(&self.first)?;
        self.nonce = [first.nonce, server_nonce].concat();
        self.challenge = first.challenge(server_nonce, salt, iterations);
        Ok(&self.challenge)
    }

    /// Whether the server has answered the client's first message.
    pub(super) const fn is_challenged(&self) -> bool {
        !self.challenge.is_empty()
    }

    /// The client's last message: its proof, with what was signed.
    pub(super) fn proof<'a>(
        &self,
        message: &[u8],
        name: &'a mut Vec<u8>,
        signed: &'a mut Vec<u8>,
    ) -> Result<Authenticate<'a>, SaslError> {
        let message = std::str::from_utf8(message).map_err(|_| SaslError::Malformed)?;
        let last = ScramFinal::parse(message)?;
        let first = ScramFirst::parse(&self.first)?;
        last.check(first.gs2_header, &self.nonce)?;
        signed.clear();
        let message = sasl::auth_message(first.bare, &self.challenge, last.without_proof);
        signed.extend_from_slice(message.as_bytes());
        let message_len = signed.len();
        signed.extend_from_slice(&last.proof);
        let (auth_message, client_proof) = signed.split_at(message_len);
        Ok(Authenticate {
            account: copied(&self.account, name),
            proof: Proof::Scram {
                hash: self.hash,
                auth_message,
                client_proof,
            },
        })
    }
}
