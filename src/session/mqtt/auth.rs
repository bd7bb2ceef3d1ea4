//! Enhanced authentication (5.0, 4.12): SCRAM between CONNECT and CONNACK, and again from an attached client (4.12.1).
//!
//! The first message comes with CONNECT, the last one of the server leaves with CONNACK. A client that is in stays in
//! while it authenticates again: it is never held back for a verdict, and speaks out of turn if it does not wait for one.

use super::reason::{Reason, login_failure};
use super::{Session, Settings, State};
use crate::codec::mqtt::packet::{Auth, Connect, Packet};
use crate::codec::mqtt::property::{Properties, Property};
use crate::codec::sasl::{self, SaslError, ScramFirst};
use crate::limits;
use crate::route::{Authenticate, Bind, ScramHash};
use crate::session::scram::Scram;
use crate::session::{LoginFailure, Output, Passwords, Proven, Scratch};

/// Success (3.15.2.1): the end of a re-authentication.
const SUCCESS: u8 = 0x00;
/// Continue authentication.
const CONTINUE: u8 = 0x18;
/// Re-authenticate; clients only.
const AGAIN: u8 = 0x19;

/// What is kept of a client that named an Authentication Method.
#[derive(Debug)]
pub(super) struct Enhanced {
    hash: ScramHash,
    /// Who it is, or claims to be; the same in every exchange of the connection.
    account: Box<str>,
    turn: Turn,
    /// The exchange that is under way.
    scram: Option<Scram>,
    /// The Client Identifier, until the address is taken.
    resource: Box<str>,
    /// The server's last message, until CONNACK takes it along.
    server_final: String,
}

/// Who has to say something next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Nobody: no exchange is under way.
    Nobody,
    /// The client, to the challenge.
    Client,
    /// The control thread, to a message of the client.
    Verdict,
}

impl Session {
    /// CONNECT with an Authentication Method: the account comes from the first message of SCRAM, a user name only
    /// repeats it. A password beside it is no error by the standard; it is not looked at, and refused where it must not
    /// be shown.
    pub(super) fn enhanced<'a>(
        &mut self,
        hash: ScramHash,
        connect: &Connect<'_>,
        scratch: &'a mut Scratch,
    ) -> Result<Authenticate<'a>, Reason> {
        if connect.password.is_some() && self.passwords == Passwords::Refused {
            return Err(Reason::NoCredentials);
        }
        let data = connect.properties.authentication_data().unwrap_or_default();
        let (account, scram) = first(&self.settings, hash, data)?;
        let user_name = connect.user_name.filter(|name| !name.is_empty());
        if let Some(user_name) = user_name
            && account_of(&self.settings, user_name)? != &*account
        {
            return Err(Reason::BadCredentials);
        }
        let enhanced = Enhanced {
            hash,
            account,
            turn: Turn::Verdict,
            scram: None,
            resource: connect.client_id.into(),
            server_final: String::new(),
        };
        let enhanced = self
            .rare
            .get_or_insert_default()
            .enhanced
            .insert(Box::new(enhanced));
        Ok(enhanced.scram.insert(scram).begin(&mut scratch.name))
    }

    /// AUTH from the client (3.15), before CONNACK or behind it.
    pub(super) fn auth<'a>(
        &mut self,
        auth: &Auth<'_>,
        scratch: &'a mut Scratch,
    ) -> Result<Authenticate<'a>, Reason> {
        let enhanced = self.rare.as_mut().and_then(|rare| rare.enhanced.as_mut());
        // [MQTT-4.12.0-7]
        let enhanced = enhanced.ok_or(Reason::ProtocolError)?;
        // [MQTT-4.12.0-5], [MQTT-4.12.1-1]
        if auth.properties.authentication_method() != Some(method(enhanced.hash)) {
            return Err(Reason::ProtocolError);
        }
        let data = auth.properties.authentication_data().unwrap_or_default();
        let Scratch { name, attributes, .. } = scratch;
        let claim = match (auth.code, enhanced.turn, &mut enhanced.scram) {
            (CONTINUE, Turn::Client, Some(scram)) => {
                scram.proof(data, name, attributes).map_err(sasl_failure)?
            }
            (AGAIN, Turn::Nobody, slot) => {
                let (account, scram) = first(&self.settings, enhanced.hash, data)?;
                if account != enhanced.account {
                    return Err(Reason::BadCredentials);
                }
                slot.insert(scram).begin(name)
            }
            _ => return Err(Reason::ProtocolError),
        };
        enhanced.turn = Turn::Verdict;
        Ok(claim)
    }

    /// What came of a message of the client.
    pub(super) fn decided<O: Output>(
        &mut self,
        verdict: Result<Proven<'_>, LoginFailure>,
        out: &mut O,
    ) -> Result<(), Reason> {
        let is_attached = match self.state {
            State::LoggingIn => false,
            State::Attached => true,
            State::Connecting | State::Challenged | State::Offline | State::Ended => return Ok(()),
        };
        let Some(rare) = &mut self.rare else { return Ok(()) };
        let Some(enhanced) = &mut rare.enhanced else {
            return Ok(());
        };
        let hash = enhanced.hash;
        match (verdict.map_err(login_failure)?, &mut enhanced.scram) {
            (
                Proven::Challenge {
                    salt,
                    iterations,
                    nonce,
                },
                Some(scram),
            ) => {
                let challenge = scram.challenge(nonce, salt, iterations).map_err(sasl_failure)?;
                let challenge = challenge.to_owned();
                enhanced.turn = Turn::Client;
                if !is_attached {
                    self.state = State::Challenged;
                }
                self.send_auth(CONTINUE, hash, &challenge, out)
            }
            (Proven::Challenge { .. }, None) => Err(Reason::BadAuthenticationData),
            (Proven::Account { server_signature }, _) => {
                let server_final = sasl::server_final(server_signature);
                enhanced.scram = None;
                enhanced.turn = Turn::Nobody;
                if is_attached {
                    return self.send_auth(SUCCESS, hash, &server_final, out);
                }
                enhanced.server_final = server_final;
                Ok(())
            }
        }
    }

    /// The address to take, once the account is proven.
    pub(super) fn binds(&self) -> Option<Bind<'_>> {
        let enhanced = self.rare.as_ref()?.enhanced.as_ref()?;
        let is_proven = self.state == State::LoggingIn && enhanced.turn == Turn::Nobody;
        is_proven.then_some(Bind {
            resource: &enhanced.resource,
            // [MQTT-3.1.4-3]: a newcomer takes over, always.
            damped: false,
            renewable: true,
        })
    }

    /// What CONNACK says of it \[MQTT-4.12.0-5\], (3.2.2.3.18).
    pub(super) fn method_and_data(&self) -> Option<[Property<'_>; 2]> {
        let enhanced = self.rare.as_ref()?.enhanced.as_ref()?;
        Some([
            Property::AuthenticationMethod(method(enhanced.hash)),
            Property::AuthenticationData(enhanced.server_final.as_bytes()),
        ])
    }

    /// CONNACK is written: what was kept for it goes.
    pub(super) fn forget_welcome(&mut self) {
        if let Some(enhanced) = self.rare.as_mut().and_then(|rare| rare.enhanced.as_mut()) {
            enhanced.server_final = String::new();
            enhanced.resource = Box::default();
        }
        if let Some(rare) = &mut self.rare {
            rare.certified = None;
        }
        if self.rare.as_ref().is_some_and(|rare| rare.is_empty()) {
            self.rare = None;
        }
    }

    /// AUTH. It cannot be left out like other packets: the client would wait for it.
    fn send_auth<O: Output>(&self, code: u8, hash: ScramHash, data: &str, out: &mut O) -> Result<(), Reason> {
        let properties = [
            Property::AuthenticationMethod(method(hash)),
            Property::AuthenticationData(data.as_bytes()),
        ];
        let properties = Properties::list(&properties);
        let packet = Packet::Auth(Auth { code, properties });
        if !self.fits(packet.encoded_len(self.version)) {
            return Err(Reason::ClientTakesTooLittle);
        }
        self.send(&packet, out);
        Ok(())
    }
}

/// The mechanism that an Authentication Method names.
pub(super) fn hash_of(method: &str) -> Result<ScramHash, Reason> {
    match method {
        "SCRAM-SHA-256" => Ok(ScramHash::Sha256),
        "SCRAM-SHA-1" => Ok(ScramHash::Sha1),
        _ => Err(Reason::AuthenticationMethod),
    }
}

const fn method(hash: ScramHash) -> &'static str {
    match hash {
        ScramHash::Sha1 => "SCRAM-SHA-1",
        ScramHash::Sha256 => "SCRAM-SHA-256",
    }
}

/// The first message of the client. It may act for itself alone.
fn first(settings: &Settings, hash: ScramHash, data: &[u8]) -> Result<(Box<str>, Scram), Reason> {
    let message = std::str::from_utf8(data).map_err(|_| Reason::BadAuthenticationData)?;
    let first = ScramFirst::parse(message).map_err(sasl_failure)?;
    let account = account_of(settings, &first.user)?;
    let own = first.authzid.is_empty()
        || first
            .authzid
            .split_once('@')
            .is_some_and(|(who, domain)| who == account && settings.is_ours(domain));
    if !own {
        return Err(Reason::BadCredentials);
    }
    Ok((account.into(), Scram::new(hash, account, message)))
}

/// The account in a user name, which may name one of our domains (PROTOCOL section 3).
pub(super) fn account_of<'n>(settings: &Settings, user_name: &'n str) -> Result<&'n str, Reason> {
    let account = match user_name.split_once('@') {
        Some((account, domain)) if settings.is_ours(domain) => account,
        Some(_) => return Err(Reason::BadCredentials),
        None => user_name,
    };
    if account.is_empty() || account.len() > limits::ACCOUNT_BYTES_MAX {
        return Err(Reason::BadCredentials);
    }
    Ok(account)
}

/// A message that is none is the client's mistake; one of another exchange is a claim that does not hold.
const fn sasl_failure(error: SaslError) -> Reason {
    match error {
        SaslError::Malformed
        | SaslError::TooLong
        | SaslError::ChannelBindingUnsupported
        | SaslError::ExtensionUnsupported => Reason::BadAuthenticationData,
        SaslError::ChannelBindingMismatch | SaslError::NonceMismatch => Reason::BadCredentials,
    }
}
