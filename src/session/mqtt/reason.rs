//! Why the session says no, and the one function per version that turns it into a code.

use crate::codec::mqtt::Malformed;
use crate::route::Refusal;
use crate::session::{Disconnect, Ending, LoginFailure};

/// Everything a client is told by a code that is no success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Bytes that are no packet, or a packet that breaks its own rules.
    Malformed(Malformed),
    /// A packet that is not allowed there (5.0, 4.13.1).
    ProtocolError,
    /// More unacknowledged messages than Receive Maximum \[MQTT-3.3.4-9\].
    ReceiveMaximumExceeded,
    /// A topic alias over the maximum (5.0, 3.3.2.3.4).
    TopicAliasInvalid,
    /// Payload Format Indicator 1, or a control topic that takes text, and no UTF-8 (5.0, 3.3.2.3.2).
    PayloadFormatInvalid,
    /// A Client Identifier that is no resource.
    ClientIdInvalid,
    /// No user name, or a password that may not be shown on this connection.
    NoCredentials,
    /// A user name of another domain, no password, or a claim that did not hold.
    BadCredentials,
    /// A claim that could not be decided just now.
    Unavailable,
    /// Enhanced authentication that is not offered.
    AuthenticationMethod,
    /// Authentication Data that is no message of the method.
    BadAuthenticationData,
    /// The client takes no packet as large as the shortest useful CONNACK.
    ClientTakesTooLittle,
    /// Nothing was heard for one and a half times the keep alive \[MQTT-3.1.2-22\].
    KeepAliveTimeout,
    /// No CONNECT, or no verdict on it, in time.
    LoginTimeout,
    /// The client does not read what it is sent.
    SlowReceiver,
    /// There are as many sessions that outlive their connections, or as many bytes of wills, as there may be.
    TooMuchLeft,
    /// More messages in a second than are allowed.
    MessageRate,
    /// More filters in a packet than a block may subscribe to.
    TooManyFilters,
    /// A bound of the session, such as QoS 2 exchanges left open.
    QuotaExceeded,
    /// A QoS 1 message that nobody subscribes to; no failure (5.0, 3.4.2.1).
    NoMatchingSubscribers,
    /// An UNSUBSCRIBE of what was not subscribed; no failure (5.0, 3.11.3).
    NoSubscriptionExisted,
    /// A PUBREL or PUBREC of an exchange that is not open (5.0, 3.6.2.1).
    PacketIdentifierNotFound,
    /// What the router or the grammar of the control topics refuses.
    Refused(Refusal),
    /// The daemon ends the session.
    Ending(Ending),
}

/// The packet that carries the code: the same reason has different codes in different packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// CONNACK.
    ConnAck,
    /// PUBACK, PUBREC, PUBREL, PUBCOMP.
    PubAck,
    /// SUBACK.
    SubAck,
    /// UNSUBACK.
    UnsubAck,
    /// DISCONNECT.
    Disconnect,
}

/// The reason code of MQTT 5.0 (2.4).
pub(super) const fn code_v5(reason: Reason, carrier: Carrier) -> u8 {
    match (reason, carrier) {
        (Reason::NoMatchingSubscribers, _) => 0x10,
        (Reason::NoSubscriptionExisted, _) => 0x11,
        // Only a second CONNECT can have a wrong version then, and that is the error.
        (Reason::Malformed(Malformed::UnsupportedVersion), Carrier::Disconnect) => 0x82,
        (Reason::Malformed(malformed), _) => malformed.reason_code(),
        (Reason::ProtocolError | Reason::BadAuthenticationData, _) => 0x82,
        (Reason::ClientIdInvalid, _) => 0x85,
        // A DISCONNECT can say neither "bad user name or password" nor "server unavailable".
        (Reason::BadCredentials, Carrier::Disconnect) => 0x87,
        (Reason::Unavailable, Carrier::Disconnect) => 0x89,
        (Reason::BadCredentials, _) => 0x86,
        (Reason::NoCredentials, _) => 0x87,
        // A CONNACK has no code for what ends a session: to who is not in yet, the server is not there.
        (Reason::Unavailable | Reason::LoginTimeout, _) | (Reason::Ending(_), Carrier::ConnAck) => 0x88,
        (Reason::AuthenticationMethod, _) => 0x8C,
        (Reason::KeepAliveTimeout, _) => 0x8D,
        (Reason::PacketIdentifierNotFound, _) => 0x92,
        (Reason::ReceiveMaximumExceeded, _) => 0x93,
        (Reason::TopicAliasInvalid, _) => 0x94,
        (Reason::ClientTakesTooLittle, _) => 0x95,
        (Reason::MessageRate, _) => 0x96,
        (Reason::SlowReceiver | Reason::QuotaExceeded | Reason::TooManyFilters | Reason::TooMuchLeft, _) => {
            0x97
        }
        (Reason::PayloadFormatInvalid, _) => 0x99,
        (Reason::Refused(Refusal::NotAuthorized), _) => 0x87,
        (Reason::Refused(Refusal::InvalidName), Carrier::SubAck | Carrier::UnsubAck) => 0x8F,
        (Reason::Refused(Refusal::InvalidName), _) => 0x90,
        (Reason::Refused(Refusal::NotSupported), Carrier::SubAck) => 0x9E,
        (Reason::Refused(Refusal::NotSupported), _) => 0x83,
        // UNSUBACK has no code for limits either.
        (Reason::Refused(Refusal::TooLarge | Refusal::QuotaExceeded | Refusal::Busy), Carrier::UnsubAck) => {
            0x83
        }
        // PUBACK and SUBACK cannot say "too large" or "busy"; a limit was exceeded, somebody's.
        (Reason::Refused(Refusal::TooLarge | Refusal::QuotaExceeded | Refusal::Busy), _) => 0x97,
        (Reason::Ending(Ending::TakenOver), _) => 0x8E,
        (Reason::Ending(Ending::Shutdown), _) => 0x8B,
        // Administrative action: the one who revokes is an operator, whatever the client is doing.
        (Reason::Ending(Ending::Revoked | Ending::ProofEnded), _) => 0x98,
        (Reason::Ending(Ending::SlowReceiver | Ending::TooMuchUnfinished), _) => 0x97,
    }
}

/// What MQTT 3.1.1 has for it: a return code of CONNACK (3.2.2.3) or SUBACK (3.9.3). Nothing else of 3.1.1
/// carries a code, and a CONNACK only the five; otherwise the connection is closed without a word.
pub(super) const fn code_v3(reason: Reason, carrier: Carrier) -> Option<u8> {
    match (reason, carrier) {
        (_, Carrier::SubAck) => Some(0x80),
        (Reason::Malformed(Malformed::UnsupportedVersion), Carrier::ConnAck) => Some(1),
        (Reason::ClientIdInvalid, Carrier::ConnAck) => Some(2),
        (
            Reason::Unavailable | Reason::TooMuchLeft | Reason::LoginTimeout | Reason::Ending(_),
            Carrier::ConnAck,
        ) => Some(3),
        (Reason::BadCredentials, Carrier::ConnAck) => Some(4),
        (Reason::NoCredentials | Reason::Refused(_), Carrier::ConnAck) => Some(5),
        _ => None,
    }
}

/// Why a login failed, in this session's words.
pub(super) const fn login_failure(failure: LoginFailure) -> Reason {
    match failure {
        LoginFailure::Denied | LoginFailure::ResourceRefused | LoginFailure::Conflict => {
            Reason::BadCredentials
        }
        LoginFailure::Unavailable => Reason::Unavailable,
        LoginFailure::QuotaExceeded => Reason::TooMuchLeft,
    }
}

/// Under which heading an end by this reason is counted.
pub(super) const fn disconnect(reason: Reason) -> Disconnect {
    match reason {
        Reason::Malformed(malformed) => match malformed {
            Malformed::UnsupportedVersion => Disconnect::UnsupportedVersion,
            Malformed::PacketTooLarge => Disconnect::TooLarge,
            _ => match malformed.reason_code() {
                0x81 => Disconnect::Malformed,
                _ => Disconnect::ProtocolError,
            },
        },
        Reason::ClientIdInvalid
        | Reason::NoCredentials
        | Reason::BadCredentials
        | Reason::AuthenticationMethod => Disconnect::BadCredentials,
        Reason::Unavailable | Reason::Ending(_) => Disconnect::Unavailable,
        Reason::ClientTakesTooLittle => Disconnect::TooLarge,
        Reason::ReceiveMaximumExceeded
        | Reason::QuotaExceeded
        | Reason::TooManyFilters
        | Reason::TooMuchLeft
        | Reason::MessageRate => Disconnect::QuotaExceeded,
        Reason::KeepAliveTimeout | Reason::LoginTimeout => Disconnect::TimedOut,
        Reason::SlowReceiver => Disconnect::SlowReceiver,
        Reason::ProtocolError
        | Reason::BadAuthenticationData
        | Reason::TopicAliasInvalid
        | Reason::PayloadFormatInvalid
        | Reason::NoMatchingSubscribers
        | Reason::NoSubscriptionExisted
        | Reason::PacketIdentifierNotFound
        | Reason::Refused(_) => Disconnect::ProtocolError,
    }
}

/// The Reason String (5.0, 3.2.2.3.9 and alike) that goes with the code, where the code alone leaves the
/// client's author guessing.
pub(super) const fn text(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::Malformed(malformed) => malformed.as_str(),
        Reason::ClientIdInvalid => {
            "the Client Identifier is the resource: 1 to 128 bytes, no control character and none of / + # @"
        }
        Reason::NoCredentials => {
            "log in with an account as user name, and a password where it is not in clear"
        }
        Reason::AuthenticationMethod => "Authentication Method: SCRAM-SHA-256 or SCRAM-SHA-1",
        Reason::BadAuthenticationData => "Authentication Data is no message of SCRAM without channel binding",
        Reason::ClientTakesTooLittle => "Maximum Packet Size is too small to be served",
        Reason::PayloadFormatInvalid => "the payload is not UTF-8",
        Reason::SlowReceiver => "does not read what it is sent",
        Reason::TooMuchLeft => "too many sessions that outlive their connections, or too many bytes of wills",
        Reason::MessageRate => "too many messages in a second",
        Reason::TooManyFilters => "more filters in a packet than a block may subscribe to",
        Reason::QuotaExceeded => "too many exchanges left open",
        Reason::Ending(Ending::TooMuchUnfinished) => "too many large packets are unfinished",
        Reason::Refused(Refusal::InvalidName) => "a name in the topic breaks its grammar",
        Reason::Refused(Refusal::NotSupported) => "not offered in this form",
        Reason::Refused(Refusal::TooLarge) => "too large",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mqtt5_3_4_2_1_refusals_have_codes_that_a_puback_may_carry() {
        let codes = [
            (Refusal::NotAuthorized, 0x87),
            (Refusal::InvalidName, 0x90),
            (Refusal::NotSupported, 0x83),
            (Refusal::TooLarge, 0x97),
            (Refusal::QuotaExceeded, 0x97),
            (Refusal::Busy, 0x97),
        ];
        for (refusal, code) in codes {
            assert_eq!(code_v5(Reason::Refused(refusal), Carrier::PubAck), code);
        }
    }

    #[test]
    fn mqtt5_3_9_3_refusals_have_codes_that_a_suback_may_carry() {
        let codes = [
            (Refusal::NotAuthorized, 0x87),
            (Refusal::InvalidName, 0x8F),
            (Refusal::NotSupported, 0x9E),
            (Refusal::TooLarge, 0x97),
            (Refusal::QuotaExceeded, 0x97),
            (Refusal::Busy, 0x97),
        ];
        for (refusal, code) in codes {
            assert_eq!(code_v5(Reason::Refused(refusal), Carrier::SubAck), code);
            assert_eq!(code_v3(Reason::Refused(refusal), Carrier::SubAck), Some(0x80));
        }
    }

    #[test]
    fn mqtt5_3_14_2_1_every_ending_has_its_code() {
        for (ending, code) in [
            (Ending::TakenOver, 0x8E),
            (Ending::Shutdown, 0x8B),
            (Ending::Revoked, 0x98),
            (Ending::ProofEnded, 0x98),
            (Ending::SlowReceiver, 0x97),
            (Ending::TooMuchUnfinished, 0x97),
        ] {
            assert_eq!(code_v5(Reason::Ending(ending), Carrier::Disconnect), code);
            assert_eq!(code_v5(Reason::Ending(ending), Carrier::ConnAck), 0x88);
            assert_eq!(code_v3(Reason::Ending(ending), Carrier::Disconnect), None);
        }
    }

    #[test]
    fn mqtt311_3_2_2_3_connack_has_five_codes_and_silence() {
        let code = |reason| code_v3(reason, Carrier::ConnAck);
        assert_eq!(code(Reason::Malformed(Malformed::UnsupportedVersion)), Some(1));
        assert_eq!(code(Reason::ClientIdInvalid), Some(2));
        assert_eq!(code(Reason::Unavailable), Some(3));
        assert_eq!(code(Reason::BadCredentials), Some(4));
        assert_eq!(code(Reason::NoCredentials), Some(5));
        assert_eq!(code(Reason::Refused(Refusal::InvalidName)), Some(5));
        assert_eq!(code(Reason::Malformed(Malformed::Truncated)), None);
        // 3.1.1 [MQTT-3.1.4-1]: what does not conform gets no CONNACK.
        assert_eq!(code(Reason::Malformed(Malformed::WillTopic)), None);
    }

    #[test]
    fn what_ends_a_session_is_counted_under_one_heading() {
        for &malformed in Malformed::ALL {
            let expected = match malformed.reason_code() {
                0x81 => Disconnect::Malformed,
                0x84 => Disconnect::UnsupportedVersion,
                0x95 => Disconnect::TooLarge,
                _ => Disconnect::ProtocolError,
            };
            assert_eq!(
                disconnect(Reason::Malformed(malformed)),
                expected,
                "{malformed:?}"
            );
        }
    }
}
