//! What can be wrong with a packet by itself.

use std::fmt;

/// Declares the violations: each with its clause, its MQTT 5.0 reason code and a short text.
macro_rules! violations {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)+) => {
        /// Why bytes can never become a valid packet. The connection is to be closed: in 5.0 after a CONNACK
        /// or DISCONNECT with [`Malformed::reason_code`] (4.13), in 3.1.1 without a word (4.8), but for
        /// [`Malformed::UnsupportedVersion`], which is told by a CONNACK with return code 1.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Malformed { $($(#[$doc])* $name,)+ }

        impl Malformed {
            /// All values, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The reason code of MQTT 5.0 (2.4) that tells the peer.
            pub const fn reason_code(self) -> u8 {
                match self { $(Self::$name => $code,)+ }
            }

            /// What is wrong, in a few words: a Reason String (3.14.2.2.3).
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

violations! {
    // The fixed header.
    /// 2.1.2: type 0, or type 15 (AUTH) in 3.1.1.
    PacketTypeReserved = 0x81, "reserved packet type";
    /// \[MQTT-2.1.3-1\]: flags that are not those of the packet type.
    FlagsReserved = 0x81, "reserved flags in the fixed header";
    /// \[MQTT-3.3.1-4\]: both QoS bits of a PUBLISH.
    PublishQoS3 = 0x81, "QoS 3";
    /// \[MQTT-3.3.1-2\]: DUP on QoS 0. An invalid flag (2.1.3), so malformed.
    DupWithQoS0 = 0x81, "DUP with QoS 0";
    /// 2.1.4, 3.1.1 2.2.3: the Remaining Length goes on after its fourth byte.
    RemainingLengthTooLong = 0x81, "Remaining Length over four bytes";
    /// \[MQTT-1.5.5-1\]: a Remaining Length longer than needed. 3.1.1 has no such rule, so it is accepted there.
    RemainingLengthNotMinimal = 0x81, "Remaining Length not in its shortest form";
    /// \[MQTT-3.1.2-24\], \[MQTT-3.2.2-15\]: larger than the receiver takes; known from the fixed header alone.
    PacketTooLarge = 0x95, "packet too large";
    /// \[MQTT-3.1.0-1\]: something else before CONNECT.
    NotConnect = 0x82, "the first packet must be CONNECT";

    // The shape of the body.
    /// A field or a property block goes past the end of what contains it.
    Truncated = 0x81, "packet shorter than its fields";
    /// The packet goes on after its last field.
    TrailingBytes = 0x81, "bytes after the last field";
    /// 1.5.5: a Variable Byte Integer goes on after its fourth byte.
    VarIntTooLong = 0x81, "variable byte integer over four bytes";
    /// \[MQTT-1.5.5-1\]: a Variable Byte Integer longer than needed.
    VarIntNotMinimal = 0x81, "variable byte integer not in its shortest form";
    /// \[MQTT-1.5.4-1\]: a string is not UTF-8; surrogates included.
    Utf8 = 0x81, "string not UTF-8";
    /// \[MQTT-1.5.4-2\]: U+0000 in a string.
    Nul = 0x81, "U+0000 in a string";
    /// \[MQTT-2.2.1-3\], \[MQTT-2.2.1-4\]: Packet Identifier 0.
    PacketIdZero = 0x82, "packet identifier 0";
    /// A reason or return code that the packet type does not have, or not from this sender (3.x.2.1).
    ReasonCode = 0x82, "reason code not of this packet";

    // CONNECT and CONNACK.
    /// \[MQTT-3.1.2-1\], \[MQTT-3.1.2-2\]: a protocol name or level other than `MQTT` 4 and 5.
    UnsupportedVersion = 0x84, "unsupported protocol version";
    /// \[MQTT-3.1.2-3\]: the reserved connect flag.
    ConnectFlagReserved = 0x81, "reserved connect flag";
    /// \[MQTT-3.1.2-12\]: Will QoS 3.
    WillQoS3 = 0x81, "will QoS 3";
    /// \[MQTT-3.1.2-11\], \[MQTT-3.1.2-13\]: Will QoS or Will Retain without a will.
    WillFlags = 0x82, "will QoS or will retain without a will";
    /// 3.1.1 \[MQTT-3.1.2-22\]: a password without a user name. 5.0 allows it.
    PasswordWithoutUserName = 0x82, "password without user name";
    /// \[MQTT-4.7.1-1\], \[MQTT-4.7.3-1\]: a Will Topic that is no topic name.
    WillTopic = 0x82, "will topic invalid";
    /// \[MQTT-3.2.2-1\]: reserved acknowledge flags of a CONNACK.
    ConnAckFlagsReserved = 0x81, "reserved acknowledge flags";
    /// \[MQTT-3.2.2-6\]: Session Present together with a failure.
    SessionPresentWithFailure = 0x82, "session present with a failure";

    // Topics. 0x8F and 0x90 are for what is correctly formed, but not accepted (2.4).
    /// \[MQTT-4.7.3-1\], 3.3.2.1: no Topic Name, and no Topic Alias in its place.
    TopicNameEmpty = 0x82, "topic name empty";
    /// \[MQTT-3.3.2-2\]: a wildcard in a Topic Name.
    TopicNameWildcard = 0x82, "wildcard in a topic name";
    /// \[MQTT-4.7.3-1\]: an empty Topic Filter.
    TopicFilterEmpty = 0x82, "topic filter empty";
    /// \[MQTT-4.7.1-1\], \[MQTT-4.7.1-2\]: a wildcard that is not a level of its own, or `#` not at the end.
    TopicFilterWildcard = 0x82, "misplaced wildcard in a topic filter";
    /// \[MQTT-4.8.2-1\], \[MQTT-4.8.2-2\]: `$share/` without a share name or without a filter.
    TopicFilterShare = 0x82, "shared subscription invalid";

    // SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK.
    /// \[MQTT-3.8.3-2\], \[MQTT-3.10.3-2\]: no Topic Filter.
    NoTopicFilter = 0x82, "no topic filter";
    /// \[MQTT-3.8.3-5\], 3.1.1 \[MQTT-3-8.3-4\]: reserved bits of the subscription options.
    SubscriptionOptionsReserved = 0x81, "reserved subscription options";
    /// 3.8.3.1: Maximum QoS 3.
    SubscribeQoS3 = 0x82, "maximum QoS 3";
    /// 3.8.3.1: Retain Handling 3.
    RetainHandling3 = 0x82, "retain handling 3";
    /// \[MQTT-3.8.3-4\]: No Local on a shared subscription.
    NoLocalShared = 0x82, "no local on a shared subscription";
    /// \[MQTT-3.8.4-6\], \[MQTT-3.11.3-1\]: an acknowledgement of no filter.
    NoReasonCode = 0x82, "no reason code";

    // Properties.
    /// 2.2.2.2: an identifier that the standard does not have.
    PropertyUnknown = 0x81, "unknown property";
    /// 2.2.2.2: a property that this packet does not have.
    PropertyNotAllowed = 0x81, "property not of this packet";
    /// \[MQTT-3.3.4-6\], \[MQTT-3.14.2-2\], 3.14.2.2.5: a property that only the other side may send.
    PropertyDirection = 0x82, "property not of this sender";
    /// 2.2.2.2 and each property: twice what may stand once.
    PropertyRepeated = 0x82, "property repeated";
    /// A property that is 0 or 1 has another value (3.1.2.11.6 and alike). For the Payload Format Indicator the
    /// standard does not say so; it has no other values either.
    PropertyNotBoolean = 0x82, "property neither 0 nor 1";
    /// 3.1.2.11.3, 3.2.2.3.3: Receive Maximum 0.
    ReceiveMaximumZero = 0x82, "receive maximum 0";
    /// 3.1.2.11.4, 3.2.2.3.6: Maximum Packet Size 0.
    MaximumPacketSizeZero = 0x82, "maximum packet size 0";
    /// 3.2.2.3.4: Maximum QoS other than 0 and 1.
    MaximumQoS = 0x82, "maximum QoS neither 0 nor 1";
    /// \[MQTT-3.3.2-8\]: Topic Alias 0.
    TopicAliasZero = 0x94, "topic alias 0";
    /// 3.3.2.3.8, 3.8.2.1.2: Subscription Identifier 0.
    SubscriptionIdentifierZero = 0x82, "subscription identifier 0";
    /// \[MQTT-3.3.2-14\], \[MQTT-4.7.3-1\]: a Response Topic that is no topic name.
    ResponseTopic = 0x82, "response topic invalid";
    /// 3.1.2.11.10: Authentication Data without Authentication Method. The same in a CONNACK, where
    /// \[MQTT-4.12.0-5\] wants the method.
    AuthenticationDataWithoutMethod = 0x82, "authentication data without method";
    /// 3.15.2.2.2: AUTH without Authentication Method.
    AuthenticationMethodMissing = 0x82, "authentication method missing";
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for Malformed {}
