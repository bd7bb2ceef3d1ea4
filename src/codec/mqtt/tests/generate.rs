//! Any packet that may be sent, drawn from bytes: the same bytes give the same packet.

use super::api::{
    Ack, Auth, ConnAck, Connect, Direction, Disconnect, Filter, Filters, Names, Packet, PacketId, Properties,
    Property, Publish, QoS, SubAck, Subscribe, Unsubscribe, Version, Will,
};

/// Bytes to draw from; 0 when they are used up.
pub(crate) struct Entropy<'a> {
    rest: &'a [u8],
}

impl<'a> Entropy<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((&byte, rest)) => {
                self.rest = rest;
                byte
            }
            None => 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn text(&mut self) -> &'static str {
        self.pick(&[
            "",
            "a",
            "é",
            "日本",
            "\u{1F600}",
            "a/b",
            "nexus-app",
            "nexus-role",
            "\u{FEFF}x",
            "\u{1}",
            "x y",
            "$",
            LONG,
        ])
    }

    fn topic(&mut self) -> &'static str {
        self.pick(&[
            "a",
            "/",
            "a/b",
            "/a//",
            "é/日本",
            "$SYS/x",
            "~app/x",
            "\u{1F600}",
            " ",
            LONG,
        ])
    }

    fn filter(&mut self) -> &'static str {
        self.pick(&[
            "#",
            "+",
            "a/#",
            "+/+",
            "/",
            "a/+/c",
            "$nexus/direct",
            "é/+",
            "$share/g/+/x",
            LONG,
        ])
    }

    fn binary(&mut self) -> &'static [u8] {
        self.pick(&[&b""[..], b"\0", b"\xFF\xFE", b"{}", LONG.as_bytes()])
    }

    fn packet_id(&mut self) -> PacketId {
        PacketId::new(self.u16()).unwrap_or(PacketId::MIN)
    }

    fn qos(&mut self) -> QoS {
        self.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
    }
}

/// Long enough that a packet's lengths need two bytes.
const LONG: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
                    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A packet with what it borrows.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) version: Version,
    pub(crate) direction: Direction,
    kind: u8,
    flags: u8,
    code: u8,
    qos: QoS,
    keep_alive_s: u16,
    packet_id: PacketId,
    topic: &'static str,
    texts: [&'static str; 2],
    payload: &'static [u8],
    properties: Vec<Property<'static>>,
    will_properties: Vec<Property<'static>>,
    filters: Vec<Filter<'static>>,
    names: Vec<&'static str>,
    codes: Vec<u8>,
}

/// Kinds of packets, one number each.
pub(crate) const KINDS: u8 = 15;

impl Model {
    /// Draws a packet of the kind `kind % KINDS`.
    pub(crate) fn draw(kind: u8, entropy: &mut Entropy<'_>) -> Self {
        let mut kind = kind % KINDS;
        let version = if entropy.flag() {
            Version::V5
        } else {
            Version::V311
        };
        // AUTH exists in 5.0 only.
        if kind == 14 && version == Version::V311 {
            kind = 13;
        }
        let direction = if entropy.flag() {
            Direction::ToServer
        } else {
            Direction::ToClient
        };
        let v5 = version == Version::V5;
        let mut model = Self {
            version,
            direction,
            kind,
            flags: entropy.byte(),
            code: entropy.pick(codes(kind, version, direction)),
            qos: entropy.qos(),
            keep_alive_s: entropy.u16(),
            packet_id: entropy.packet_id(),
            topic: entropy.topic(),
            texts: [entropy.text(), entropy.text()],
            payload: entropy.binary(),
            properties: if v5 {
                properties(kind, direction, entropy)
            } else {
                Vec::new()
            },
            will_properties: if v5 {
                properties(WILL, direction, entropy)
            } else {
                Vec::new()
            },
            filters: (0..=entropy.below(3)).map(|_| draw_filter(v5, entropy)).collect(),
            names: (0..=entropy.below(3)).map(|_| entropy.filter()).collect(),
            codes: (0..=entropy.below(3))
                .map(|_| entropy.pick(codes(kind, version, direction)))
                .collect(),
        };
        let has_alias = model
            .properties
            .iter()
            .any(|property| matches!(property, Property::TopicAlias(_)));
        if kind == 2 && has_alias && entropy.flag() {
            model.topic = "";
        }
        if kind == 10 && !v5 {
            model.codes.clear();
        }
        model
    }

    fn flag(&self, at: u8) -> bool {
        self.flags & 1 << at != 0
    }

    /// The packet.
    pub(crate) fn packet(&self) -> Packet<'_> {
        let properties = Properties::list(&self.properties);
        let packet_id = self.packet_id;
        let ack = Ack {
            packet_id,
            code: if self.version == Version::V5 { self.code } else { 0 },
            properties,
        };
        let suback = SubAck {
            packet_id,
            properties,
            codes: &self.codes,
        };
        match self.kind {
            0 => Packet::Connect(self.connect(properties)),
            1 => Packet::ConnAck(ConnAck {
                session_present: self.flag(0) && self.code == 0,
                code: self.code,
                properties,
            }),
            2 => Packet::Publish(Publish {
                dup: self.flag(0) && self.qos != QoS::AtMostOnce,
                qos: self.qos,
                retain: self.flag(1),
                topic: self.topic,
                packet_id: (self.qos != QoS::AtMostOnce).then_some(packet_id),
                properties,
                payload: self.payload,
            }),
            3 => Packet::PubAck(ack),
            4 => Packet::PubRec(ack),
            5 => Packet::PubRel(ack),
            6 => Packet::PubComp(ack),
            7 => Packet::Subscribe(Subscribe {
                packet_id,
                properties,
                filters: Filters::list(&self.filters),
            }),
            8 => Packet::SubAck(suback),
            9 => Packet::Unsubscribe(Unsubscribe {
                packet_id,
                properties,
                filters: Names::list(&self.names),
            }),
            10 => Packet::UnsubAck(suback),
            11 => Packet::PingReq,
            12 => Packet::PingResp,
            13 => Packet::Disconnect(Disconnect {
                code: if self.version == Version::V5 { self.code } else { 0 },
                properties,
            }),
            _ => Packet::Auth(Auth {
                code: self.code,
                properties,
            }),
        }
    }

    fn connect<'a>(&'a self, properties: Properties<'a>) -> Connect<'a> {
        let user_name = self.flag(0).then_some(self.texts[1]);
        let may_password = self.version == Version::V5 || user_name.is_some();
        Connect {
            version: self.version,
            clean: self.flag(1),
            keep_alive_s: self.keep_alive_s,
            properties,
            client_id: self.texts[0],
            will: self.flag(2).then_some(Will {
                topic: self.topic,
                payload: self.payload,
                qos: self.qos,
                retain: self.flag(3),
                properties: Properties::list(&self.will_properties),
            }),
            user_name,
            password: (self.flag(4) && may_password).then_some(self.payload),
        }
    }
}

fn draw_filter(v5: bool, entropy: &mut Entropy<'_>) -> Filter<'static> {
    let filter = entropy.filter();
    Filter {
        filter,
        qos: entropy.qos(),
        no_local: v5 && entropy.flag() && !filter.starts_with("$share/"),
        retain_as_published: v5 && entropy.flag(),
        retain_handling: if v5 { entropy.pick(&[0, 1, 2]) } else { 0 },
    }
}

fn codes(kind: u8, version: Version, direction: Direction) -> &'static [u8] {
    match (kind, version, direction) {
        (1, Version::V311, _) => &[0, 1, 2, 3, 4, 5],
        (1, Version::V5, _) => &[0, 0x80, 0x81, 0x84, 0x85, 0x8C, 0x9F],
        (3 | 4, ..) => &[0, 0x10, 0x80, 0x91, 0x99],
        (5 | 6, ..) => &[0, 0x92],
        (8, Version::V311, _) => &[0, 1, 2, 0x80],
        (8, Version::V5, _) => &[0, 1, 2, 0x80, 0x8F, 0xA2],
        (10, ..) => &[0, 0x11, 0x80, 0x91],
        (13, _, Direction::ToServer) => &[0, 4, 0x81, 0x99],
        (13, _, Direction::ToClient) => &[0, 0x8B, 0x8E, 0x9D, 0xA2],
        (14, _, Direction::ToServer) => &[0x18, 0x19],
        (14, _, Direction::ToClient) => &[0, 0x18],
        _ => &[0],
    }
}

/// The kind whose properties are those of a will.
const WILL: u8 = 99;

/// Properties that the kind of packet has, each with an even chance, in an order that is drawn as well.
fn properties(kind: u8, direction: Direction, entropy: &mut Entropy<'_>) -> Vec<Property<'static>> {
    let mut drawn = Vec::new();
    let e = entropy;
    for property in candidates(kind, direction, e) {
        if e.flag() {
            drawn.push(property);
        }
    }
    // 3.15.2.2.2, 3.1.2.11.10: the method is there with AUTH and with data.
    if kind == 14
        || drawn
            .iter()
            .any(|property| matches!(property, Property::AuthenticationData(_)))
    {
        drawn.retain(|property| !matches!(property, Property::AuthenticationMethod(_)));
        drawn.push(Property::AuthenticationMethod(e.text()));
    }
    if !matches!(kind, 11 | 12) {
        for _ in 0..e.below(3) {
            drawn.push(Property::UserProperty(e.text(), e.text()));
        }
    }
    let by = if drawn.is_empty() { 0 } else { e.below(drawn.len()) };
    drawn.rotate_left(by);
    drawn
}

fn candidates(kind: u8, direction: Direction, e: &mut Entropy<'_>) -> Vec<Property<'static>> {
    match kind {
        0 => vec![
            Property::SessionExpiryInterval(e.u32()),
            Property::ReceiveMaximum(e.u16().max(1)),
            Property::MaximumPacketSize(e.u32().max(1)),
            Property::TopicAliasMaximum(e.u16()),
            Property::RequestResponseInformation(e.flag()),
            Property::RequestProblemInformation(e.flag()),
            Property::AuthenticationData(e.binary()),
        ],
        1 => vec![
            Property::SessionExpiryInterval(e.u32()),
            Property::ReceiveMaximum(e.u16().max(1)),
            Property::MaximumQoS(e.byte() & 1),
            Property::RetainAvailable(e.flag()),
            Property::MaximumPacketSize(e.u32().max(1)),
            Property::AssignedClientIdentifier(e.text()),
            Property::TopicAliasMaximum(e.u16()),
            Property::ReasonString(e.text()),
            Property::WildcardSubscriptionAvailable(e.flag()),
            Property::SubscriptionIdentifiersAvailable(e.flag()),
            Property::SharedSubscriptionAvailable(e.flag()),
            Property::ServerKeepAlive(e.u16()),
            Property::ResponseInformation(e.text()),
            Property::ServerReference(e.text()),
            Property::AuthenticationData(e.binary()),
        ],
        2 | WILL => {
            let mut all = vec![
                Property::PayloadFormatIndicator(e.flag()),
                Property::MessageExpiryInterval(e.u32()),
                Property::ContentType(e.text()),
                Property::ResponseTopic(e.topic()),
                Property::CorrelationData(e.binary()),
            ];
            if kind == WILL {
                all.push(Property::WillDelayInterval(e.u32()));
            } else {
                all.push(Property::TopicAlias(e.u16().max(1)));
                if direction == Direction::ToClient {
                    all.push(Property::SubscriptionIdentifier(e.u32() % 268_435_455 + 1));
                    all.push(Property::SubscriptionIdentifier(u32::from(e.byte()) + 1));
                }
            }
            all
        }
        3..=6 | 8 | 10 => vec![Property::ReasonString(e.text())],
        7 => vec![Property::SubscriptionIdentifier(e.u32() % 268_435_455 + 1)],
        13 => vec![
            Property::ReasonString(e.text()),
            match direction {
                Direction::ToServer => Property::SessionExpiryInterval(e.u32()),
                Direction::ToClient => Property::ServerReference(e.text()),
            },
        ],
        14 => vec![
            Property::AuthenticationData(e.binary()),
            Property::ReasonString(e.text()),
        ],
        _ => Vec::new(),
    }
}
