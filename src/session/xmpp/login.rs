//! From an open stream to an address: SASL (RFC 6120 section 6), then resource binding (section 7).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::condition::{Fatal, SaslFailure, StanzaError};
use super::iq::{Asked, write_result};
use super::names::{BIND, CLIENT, SASL};
use super::{Passwords, Session, State, write};
use crate::codec::sasl::{self, SaslError, ScramFirst};
use crate::codec::xmpp::{Element, Piece};
use crate::limits;
use crate::route::identity::check_resource;
use crate::route::{Authenticate, Bind, Certified, Command, Identity, Proof, ScramHash, copied};
use crate::session::scram::Scram;
use crate::session::{LoginFailure, Output, Proven, Scratch};

/// What is kept of a login until it is complete.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// Attempts so far.
    attempts: u8,
    mechanism: Option<Mechanism>,
    /// What the client's certificate says of it.
    certified: Option<Box<Certified>>,
    /// SCRAM, from its first message to its last.
    scram: Option<Scram>,
    /// The id of the request to bind.
    bind_id: String,
    /// How much the client has handled of the session that it wants to go on with.
    pub(super) resumed_from: Option<u32>,
}

/// How the client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mechanism {
    Plain,
    Scram(ScramHash),
    External,
}

impl Login {
    /// An attempt failed.
    pub(super) const fn count_attempt(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
    }
}

impl Session {
    pub(super) fn login(&mut self) -> &mut Login {
        self.login.get_or_insert_default()
    }

    /// An element of SASL.
    pub(super) fn sasl<'a, O: Output>(
        &mut self,
        element: &Element<'a>,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Option<Command<'a>>, Fatal> {
        if element.namespace() != SASL {
            return Err(Fatal::NotAuthorized);
        }
        self.bound_attempts()?;
        let attempt = match (element.name(), self.state) {
            ("auth", State::Negotiating) => self.auth(element, scratch, out),
            ("response", State::Challenged) => self.response(element, scratch),
            ("abort", _) => Err(SaslFailure::Aborted),
            _ => return Err(Fatal::UnsupportedStanza),
        };
        match attempt {
            Ok(command) => Ok(command),
            Err(failure) => {
                self.settings.metrics.logins_denied.increment();
                self.fail(failure, out);
                self.bound_attempts()?;
                Ok(None)
            }
        }
    }

    /// Further attempts than [`limits::XMPP_ATTEMPTS_MAX`] end the stream (RFC 6120, 6.4.5).
    pub(super) fn bound_attempts(&mut self) -> Result<(), Fatal> {
        if self.login().attempts >= limits::XMPP_ATTEMPTS_MAX {
            return Err(Fatal::TooManyAttempts);
        }
        Ok(())
    }

    /// `<auth/>`: an attempt begins.
    fn auth<'a, O: Output>(
        &mut self,
        auth: &Element<'a>,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Option<Command<'a>>, SaslFailure> {
        let mechanism = auth.attribute("mechanism").and_then(|name| name.plain());
        let mechanism = match mechanism {
            Some("PLAIN") if self.passwords == Passwords::Refused => {
                return Err(SaslFailure::EncryptionRequired);
            }
            Some("PLAIN") => Mechanism::Plain,
            Some("EXTERNAL") if self.is_certified() => Mechanism::External,
            Some("SCRAM-SHA-256") => Mechanism::Scram(ScramHash::Sha256),
            Some("SCRAM-SHA-1") => Mechanism::Scram(ScramHash::Sha1),
            _ => return Err(SaslFailure::InvalidMechanism),
        };
        let login = self.login();
        login.mechanism = Some(mechanism);
        login.scram = None;
        if auth.text().raw().trim().is_empty() {
            // RFC 6120, 6.4.2: no initial response; an empty challenge asks for it.
            self.state = State::Challenged;
            write_sasl(out, "challenge", "");
            return Ok(None);
        }
        self.proof(auth, scratch)
    }

    /// `<response/>`: the initial response, if it did not come with the attempt, or SCRAM's last message.
    fn response<'a>(
        &mut self,
        response: &Element<'a>,
        scratch: &'a mut Scratch,
    ) -> Result<Option<Command<'a>>, SaslFailure> {
        if self.login().scram.as_ref().is_some_and(Scram::is_challenged) {
            self.scram_final(response, scratch)
        } else {
            self.proof(response, scratch)
        }
    }

    /// The client's first message, of whichever mechanism.
    fn proof<'a>(
        &mut self,
        element: &Element<'a>,
        scratch: &'a mut Scratch,
    ) -> Result<Option<Command<'a>>, SaslFailure> {
        let Scratch { name, text, .. } = scratch;
        decode(element, text)?;
        match self.login().mechanism {
            Some(Mechanism::Plain) => {
                let plain = sasl::plain(text).map_err(failure)?;
                let account = self.account(plain.authcid, plain.authzid)?;
                name.clear();
                name.extend_from_slice(account.as_bytes());
                self.state = State::Deciding;
                Ok(Some(Command::Authenticate(Authenticate {
                    account: std::str::from_utf8(name).unwrap_or_default(),
                    proof: Proof::Password(plain.password),
                })))
            }
            Some(Mechanism::Scram(hash)) => {
                let message = std::str::from_utf8(text).map_err(|_| SaslFailure::MalformedRequest)?;
                let first = ScramFirst::parse(message).map_err(failure)?;
                let scram = Scram::new(hash, self.account(&first.user, first.authzid)?, message);
                self.state = State::Deciding;
                Ok(Some(Command::Authenticate(
                    self.login().scram.insert(scram).begin(name),
                )))
            }
            Some(Mechanism::External) => self.external(name, text),
            None => Err(SaslFailure::MalformedRequest),
        }
    }

    /// Whether the client has shown a certificate that names an account.
    pub(super) fn is_certified(&self) -> bool {
        self.login.as_ref().is_some_and(|login| login.certified.is_some())
    }

    /// The client has shown this certificate.
    pub(super) fn certify(&mut self, certified: Box<Certified>) {
        self.login().certified = Some(certified);
    }

    /// EXTERNAL (RFC 4422, A): in `text`, whom the client acts for; nothing, for whom its certificate names.
    fn external<'a>(
        &mut self,
        name: &'a mut Vec<u8>,
        text: &'a mut Vec<u8>,
    ) -> Result<Option<Command<'a>>, SaslFailure> {
        let login = self.login.as_ref();
        let certified = login.and_then(|login| login.certified.as_ref());
        let certified = certified.ok_or(SaslFailure::InvalidMechanism)?;
        let authzid = std::str::from_utf8(text).map_err(|_| SaslFailure::MalformedRequest)?;
        let account = self.account(&certified.account, authzid)?;
        let account = copied(account, name);
        let proof = certified.proof(text);
        self.state = State::Deciding;
        Ok(Some(Command::Authenticate(Authenticate { account, proof })))
    }

    /// SCRAM's last message of the client (RFC 5802 section 3).
    fn scram_final<'a>(
        &mut self,
        response: &Element<'a>,
        scratch: &'a mut Scratch,
    ) -> Result<Option<Command<'a>>, SaslFailure> {
        let Scratch {
            name,
            text,
            attributes,
            ..
        } = scratch;
        decode(response, text)?;
        let scram = self.login().scram.as_ref().ok_or(SaslFailure::MalformedRequest)?;
        let claim = scram.proof(text, name, attributes).map_err(failure)?;
        self.state = State::Deciding;
        Ok(Some(Command::Authenticate(claim)))
    }

    /// The account a client claims to be. It may name one of our domains; to act for another than itself, nobody may.
    fn account<'n>(&self, name: &'n str, authzid: &str) -> Result<&'n str, SaslFailure> {
        let account = match name.split_once('@') {
            Some((account, domain)) if self.settings.domain_of(domain).is_some() => account,
            Some(_) => return Err(SaslFailure::NotAuthorized),
            None => name,
        };
        let own = authzid.is_empty()
            || authzid
                .split_once('@')
                .is_some_and(|(who, domain)| who == account && self.settings.domain_of(domain).is_some());
        if !own {
            return Err(SaslFailure::InvalidAuthzid);
        }
        Ok(account)
    }

    /// The verdict on a proof.
    pub(super) fn decided<O: Output>(&mut self, verdict: Result<Proven<'_>, LoginFailure>, out: &mut O) {
        match verdict {
            Ok(Proven::Challenge {
                salt,
                iterations,
                nonce,
            }) => self.challenge(nonce, salt, iterations, out),
            Ok(Proven::Account { server_signature }) => {
                let last = match self.login().mechanism {
                    Some(Mechanism::Scram(_)) => STANDARD.encode(sasl::server_final(server_signature)),
                    Some(Mechanism::Plain | Mechanism::External) | None => String::new(),
                };
                self.login().scram = None;
                self.state = State::Proven;
                write_sasl(out, "success", &last);
            }
            Err(LoginFailure::Unavailable | LoginFailure::QuotaExceeded) => {
                self.fail(SaslFailure::TemporaryAuthFailure, out);
            }
            Err(LoginFailure::Denied | LoginFailure::ResourceRefused | LoginFailure::Conflict) => {
                self.fail(SaslFailure::NotAuthorized, out);
            }
        }
    }

    fn challenge<O: Output>(&mut self, nonce: &str, salt: &[u8], iterations: u32, out: &mut O) {
        let scram = self.login().scram.as_mut();
        let Some(Ok(challenge)) = scram.map(|scram| scram.challenge(nonce, salt, iterations)) else {
            return self.fail(SaslFailure::MalformedRequest, out);
        };
        let challenge = STANDARD.encode(challenge);
        self.state = State::Challenged;
        write_sasl(out, "challenge", &challenge);
    }

    /// `<failure/>`: another attempt may follow.
    fn fail<O: Output>(&mut self, failure: SaslFailure, out: &mut O) {
        let login = self.login();
        login.count_attempt();
        login.mechanism = None;
        login.scram = None;
        self.state = State::Negotiating;
        write(
            out,
            &[
                Piece::Raw("<failure xmlns='"),
                Piece::Raw(SASL),
                Piece::Raw("'><"),
                Piece::Raw(failure.condition()),
                Piece::Raw("/></failure>"),
            ],
        );
    }

    /// A stanza of a client that was proven: to bind a resource is all it may ask for.
    pub(super) fn bind<'a, O: Output>(
        &mut self,
        stanza: &Element<'a>,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Option<Command<'a>>, Fatal> {
        let asks = stanza.is(CLIENT, "iq") && stanza.attribute("type").is_some_and(|kind| kind.is("set"));
        let bind = stanza.child(BIND, "bind").filter(|_| asks);
        let bind = bind.ok_or(Fatal::NotAuthorized)?;
        let mut id = Vec::new();
        if let Some(given) = stanza.attribute("id") {
            given.append_to(&mut id);
        }
        let id = String::from_utf8_lossy(&id).into_owned();
        super::iq::check_repeated("", &id)?;
        let name = &mut scratch.name;
        name.clear();
        if let Some(resource) = bind.child(BIND, "resource") {
            resource.text().append_to(name);
        }
        let resource = std::str::from_utf8(name).unwrap_or_default();
        if id.is_empty() || (!resource.is_empty() && check_resource(resource).is_err()) {
            super::iq::write_error(out, "", &id, StanzaError::BAD_REQUEST);
            return Ok(None);
        }
        self.login().bind_id = id;
        self.state = State::Claiming;
        // Stock clients reconnect at once when another process takes their address, and would fight for ever.
        Ok(Some(Command::Bind(Bind {
            resource,
            damped: true,
            renewable: false,
        })))
    }

    /// The address is the session's (RFC 6120, 7.6).
    pub(super) fn bound<O: Output>(&mut self, identity: &Identity, out: &mut O) {
        let sender = identity.sender();
        let jid = format!("{}@{}/{}", sender.account(), self.domain(), sender.resource());
        let login = self.login.take().unwrap_or_default();
        let asked = Asked {
            to: "",
            id: &login.bind_id,
        };
        write_bound(out, asked, &jid);
        self.address = jid.into_boxed_str();
        self.state = State::Attached;
    }

    /// A stanza that binds where there is an address already. A deployed client waits 2 s for the answer to `<resume/>` and
    /// then binds on the same stream: if its session was resumed meanwhile, it has what it asks for.
    pub(super) fn bind_again<O: Output>(&self, bind: &Element<'_>, asked: Asked<'_>, out: &mut O) {
        let mut wanted = Vec::new();
        if let Some(resource) = bind.child(BIND, "resource") {
            resource.text().append_to(&mut wanted);
        }
        let is_own = wanted.is_empty() || self.own().1.as_bytes() == wanted;
        if is_own && self.resumed {
            write_bound(out, asked, &self.address);
        } else {
            super::iq::write_error(out, asked.to, asked.id, StanzaError::NOT_ALLOWED);
        }
    }
}

/// What the address of the session is.
fn write_bound<O: Output>(out: &mut O, asked: Asked<'_>, jid: &str) {
    let payload = [
        Piece::Raw("<bind xmlns='"),
        Piece::Raw(BIND),
        Piece::Raw("'><jid>"),
        Piece::Text(jid),
        Piece::Raw("</jid></bind>"),
    ];
    write_result(out, asked, &payload);
}

/// RFC 6120, 6.3.6 and 6.4.2: base64 without anything else in it; `=` is the empty string.
fn decode(element: &Element<'_>, into: &mut Vec<u8>) -> Result<(), SaslFailure> {
    into.clear();
    let text = element
        .text()
        .plain()
        .ok_or(SaslFailure::IncorrectEncoding)?
        .trim();
    if text == "=" {
        return Ok(());
    }
    STANDARD
        .decode_vec(text, into)
        .map_err(|_| SaslFailure::IncorrectEncoding)
}

/// What a client is told of a message that is refused (RFC 6120, 6.5). That channel binding is not offered, it was told
/// before: no mechanism's name ends in `-PLUS`.
const fn failure(error: SaslError) -> SaslFailure {
    match error {
        SaslError::Malformed
        | SaslError::TooLong
        | SaslError::ChannelBindingUnsupported
        | SaslError::ExtensionUnsupported => SaslFailure::MalformedRequest,
        SaslError::ChannelBindingMismatch | SaslError::NonceMismatch => SaslFailure::NotAuthorized,
    }
}

fn write_sasl<O: Output>(out: &mut O, name: &str, base64: &str) {
    write(
        out,
        &[
            Piece::Raw("<"),
            Piece::Raw(name),
            Piece::Raw(" xmlns='"),
            Piece::Raw(SASL),
            Piece::Raw("'>"),
            Piece::Raw(base64),
            Piece::Raw("</"),
            Piece::Raw(name),
            Piece::Raw(">"),
        ],
    );
}
