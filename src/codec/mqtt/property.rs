//! The properties of MQTT 5.0 (2.2.2): a checked block that is read in place.

/// A property block that has been checked against the rules of its packet: every identifier known and allowed
/// there, every value well-formed, nothing doubled that may stand once. Holds the bytes after the block's
/// length; empty in 3.1.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    pub(super) block: &'a [u8],
}

/// One property, in the order of its identifier on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property<'a> {
    /// 0x01: whether the payload claims to be UTF-8.
    PayloadFormatIndicator(bool),
    /// 0x02, seconds.
    MessageExpiryInterval(u32),
    /// 0x03
    ContentType(&'a str),
    /// 0x08
    ResponseTopic(&'a str),
    /// 0x09
    CorrelationData(&'a [u8]),
    /// 0x0B, 1..=268,435,455.
    SubscriptionIdentifier(u32),
    /// 0x11, seconds.
    SessionExpiryInterval(u32),
    /// 0x12
    AssignedClientIdentifier(&'a str),
    /// 0x13, seconds.
    ServerKeepAlive(u16),
    /// 0x15
    AuthenticationMethod(&'a str),
    /// 0x16
    AuthenticationData(&'a [u8]),
    /// 0x17
    RequestProblemInformation(bool),
    /// 0x18, seconds.
    WillDelayInterval(u32),
    /// 0x19
    RequestResponseInformation(bool),
    /// 0x1A
    ResponseInformation(&'a str),
    /// 0x1C
    ServerReference(&'a str),
    /// 0x1F
    ReasonString(&'a str),
    /// 0x21, never 0.
    ReceiveMaximum(u16),
    /// 0x22
    TopicAliasMaximum(u16),
    /// 0x23, never 0.
    TopicAlias(u16),
    /// 0x24: 0 or 1.
    MaximumQoS(u8),
    /// 0x25
    RetainAvailable(bool),
    /// 0x26
    UserProperty(&'a str, &'a str),
    /// 0x27, never 0.
    MaximumPacketSize(u32),
    /// 0x28
    WildcardSubscriptionAvailable(bool),
    /// 0x29
    SubscriptionIdentifiersAvailable(bool),
    /// 0x2A
    SharedSubscriptionAvailable(bool),
}
