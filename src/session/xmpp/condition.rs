//! Why the session says no, and the one function per kind of element that turns it into the standard's word.

use crate::codec::xmpp::Malformed;
use crate::route::Refusal;
use crate::session::{Disconnect, Ending};

/// What ends a stream (RFC 6120, 4.9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fatal {
    /// Bytes that are no XML, or XML that XMPP does not allow.
    Malformed(Malformed),
    /// An element that has no business there.
    UnsupportedStanza,
    /// `<open/>` or a stanza in a namespace that is not its own.
    InvalidNamespace,
    /// The root of a stream under another prefix than `stream`.
    BadPrefix,
    /// `<open/>` for a domain that is not served.
    HostUnknown,
    /// A version before 1.0.
    UnsupportedVersion,
    /// A stanza before the login is complete.
    NotAuthorized,
    /// An iq whose id, or whom it names, is too long to be repeated in an answer.
    IdTooLong,
    /// What was proven is good no more.
    Revoked,
    /// Attempts to log in, or to open the stream, over the bound.
    TooManyAttempts,
    /// Login not complete in time.
    LoginTimeout,
    /// Nothing was heard, not even an answer to a ping.
    Silent,
    /// Does not read what it is sent.
    SlowReceiver,
    /// A newer session has the address, or keeps it.
    Conflict,
    /// The proof was accepted, but not for this.
    Refused,
    /// It could not be decided just now.
    Unavailable,
    /// A number of stanzas that is none.
    BadFormat,
    /// The client cannot have handled so many stanzas (XEP-0198, 4).
    HandledTooHigh {
        /// What it claims.
        handled: u32,
        /// What it was sent.
        sent: u32,
    },
    /// The daemon ends the session.
    Ending(Ending),
}

impl Fatal {
    /// The stream error's condition.
    pub(super) const fn condition(self) -> &'static str {
        match self {
            Self::Malformed(malformed) => condition_of(malformed),
            Self::UnsupportedStanza => "unsupported-stanza-type",
            Self::InvalidNamespace => "invalid-namespace",
            Self::BadPrefix => "bad-namespace-prefix",
            Self::HostUnknown => "host-unknown",
            Self::UnsupportedVersion => "unsupported-version",
            Self::NotAuthorized | Self::Refused | Self::Revoked => "not-authorized",
            Self::TooManyAttempts | Self::SlowReceiver | Self::IdTooLong => "policy-violation",
            Self::LoginTimeout | Self::Silent => "connection-timeout",
            Self::Conflict => "conflict",
            Self::BadFormat => "bad-format",
            Self::HandledTooHigh { .. } => "undefined-condition",
            Self::Unavailable => "resource-constraint",
            Self::Ending(ending) => match ending {
                Ending::TakenOver => "conflict",
                Ending::Revoked | Ending::ProofEnded => "not-authorized",
                Ending::Shutdown => "system-shutdown",
                Ending::SlowReceiver => "policy-violation",
                Ending::TooMuchUnfinished => "resource-constraint",
            },
        }
    }

    /// What the peer is told beside the condition, if that helps.
    pub(super) const fn text(self) -> Option<&'static str> {
        match self {
            Self::Malformed(malformed) => Some(malformed.as_str()),
            Self::NotAuthorized => Some("log in and bind a resource first"),
            Self::TooManyAttempts => Some("too many attempts"),
            Self::LoginTimeout => Some("the login took too long"),
            Self::Silent => Some("no answer to a ping"),
            Self::SlowReceiver | Self::Ending(Ending::SlowReceiver) => Some("what is sent is not read"),
            Self::Ending(Ending::TooMuchUnfinished) => Some("too many large stanzas are unfinished"),
            Self::Conflict => Some("the address is in use"),
            Self::Refused => Some("the secret is good for another resource"),
            Self::Ending(Ending::TakenOver) => Some("a newer session took the address"),
            Self::IdTooLong => Some("the id or address of an iq is too long"),
            Self::Revoked | Self::Ending(Ending::Revoked | Ending::ProofEnded) => {
                Some("the account or secret was revoked")
            }
            Self::UnsupportedStanza
            | Self::InvalidNamespace
            | Self::BadPrefix
            | Self::HostUnknown
            | Self::UnsupportedVersion
            | Self::BadFormat
            | Self::HandledTooHigh { .. }
            | Self::Unavailable
            | Self::Ending(Ending::Shutdown) => None,
        }
    }

    /// How it is counted.
    pub(super) const fn disconnect(self) -> Disconnect {
        match self {
            Self::Malformed(malformed) if is_too_much(malformed) => Disconnect::TooLarge,
            Self::Malformed(_) => Disconnect::Malformed,
            Self::UnsupportedStanza
            | Self::InvalidNamespace
            | Self::BadPrefix
            | Self::NotAuthorized
            | Self::BadFormat
            | Self::HandledTooHigh { .. }
            | Self::HostUnknown => Disconnect::ProtocolError,
            Self::UnsupportedVersion => Disconnect::UnsupportedVersion,
            Self::TooManyAttempts => Disconnect::QuotaExceeded,
            Self::LoginTimeout | Self::Silent => Disconnect::TimedOut,
            Self::SlowReceiver | Self::Ending(_) => Disconnect::SlowReceiver,
            Self::IdTooLong => Disconnect::TooLarge,
            Self::Conflict | Self::Refused | Self::Revoked => Disconnect::BadCredentials,
            Self::Unavailable => Disconnect::Unavailable,
        }
    }
}

/// RFC 6120, 4.9.3.13, 4.9.3.14, 4.9.3.18 and 4.9.3.22.
const fn condition_of(malformed: Malformed) -> &'static str {
    match malformed {
        Malformed::Utf8 => "unsupported-encoding",
        Malformed::Doctype | Malformed::Instruction | Malformed::Comment | Malformed::Reference => {
            "restricted-xml"
        }
        _ if is_too_much(malformed) => "policy-violation",
        _ => "not-well-formed",
    }
}

const fn is_too_much(malformed: Malformed) -> bool {
    matches!(
        malformed,
        Malformed::TooLarge
            | Malformed::TooDeep
            | Malformed::NameTooLong
            | Malformed::TooManyAttributes
            | Malformed::TooManyPrefixes
            | Malformed::TooManyChildren
    )
}

/// Why a login attempt failed; the connection stays (RFC 6120, 6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SaslFailure {
    Aborted,
    EncryptionRequired,
    IncorrectEncoding,
    InvalidAuthzid,
    InvalidMechanism,
    MalformedRequest,
    NotAuthorized,
    TemporaryAuthFailure,
}

impl SaslFailure {
    /// The failure's condition.
    pub(super) const fn condition(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::EncryptionRequired => "encryption-required",
            Self::IncorrectEncoding => "incorrect-encoding",
            Self::InvalidAuthzid => "invalid-authzid",
            Self::InvalidMechanism => "invalid-mechanism",
            Self::MalformedRequest => "malformed-request",
            Self::NotAuthorized => "not-authorized",
            Self::TemporaryAuthFailure => "temporary-auth-failure",
        }
    }
}

/// A stanza error (RFC 6120, 8.3): its type and condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StanzaError {
    pub(super) kind: &'static str,
    pub(super) condition: &'static str,
}

impl StanzaError {
    const fn new(kind: &'static str, condition: &'static str) -> Self {
        Self { kind, condition }
    }

    pub(super) const BAD_REQUEST: Self = Self::new("modify", "bad-request");
    pub(super) const FORBIDDEN: Self = Self::new("auth", "forbidden");
    pub(super) const ITEM_NOT_FOUND: Self = Self::new("cancel", "item-not-found");
    pub(super) const JID_MALFORMED: Self = Self::new("modify", "jid-malformed");
    pub(super) const NOT_ACCEPTABLE: Self = Self::new("cancel", "not-acceptable");
    pub(super) const NOT_ALLOWED: Self = Self::new("cancel", "not-allowed");
    pub(super) const SERVICE_UNAVAILABLE: Self = Self::new("cancel", "service-unavailable");

    /// What the router refused.
    pub(super) const fn of_refusal(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotAuthorized => Self::FORBIDDEN,
            Refusal::InvalidName => Self::BAD_REQUEST,
            Refusal::NotSupported => Self::new("cancel", "feature-not-implemented"),
            Refusal::TooLarge => Self::new("modify", "policy-violation"),
            Refusal::QuotaExceeded | Refusal::Busy => Self::new("wait", "resource-constraint"),
        }
    }

    /// Why the router refused to let the block join a room (XEP-0045, 7.2).
    pub(super) const fn of_refused_join(refusal: Refusal) -> Self {
        match refusal {
            Refusal::InvalidName => Self::JID_MALFORMED,
            other => Self::of_refusal(other),
        }
    }

    /// An outcome that the daemon gave to a request (PROTOCOL section 4).
    pub(super) const fn of_outcome(code: i32) -> Self {
        match code {
            -2000 => Self::ITEM_NOT_FOUND,
            -500 => Self::new("cancel", "feature-not-implemented"),
            -3000 => Self::FORBIDDEN,
            -2001 => Self::new("wait", "recipient-unavailable"),
            -2002 => Self::new("wait", "resource-constraint"),
            -2003 => Self::new("modify", "policy-violation"),
            -2004 => Self::BAD_REQUEST,
            -408 => Self::new("wait", "remote-server-timeout"),
            _ => Self::new("cancel", "undefined-condition"),
        }
    }
}
