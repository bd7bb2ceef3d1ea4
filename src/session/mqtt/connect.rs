//! CONNECT and CONNACK (3.1, 3.2): who may come in, and what the client is told about the server.

use smallvec::SmallVec;

use super::auth::{account_of, hash_of};
use super::control;
use super::left::Left;
use super::reason::{self, Carrier, Reason};
use super::topic_alias::Replacements;
use super::{Passwords, Session, State};
use crate::codec::Decode;
use crate::codec::mqtt::forward::forwarded;
use crate::codec::mqtt::packet::{self, ConnAck, Connect, Packet, Version};
use crate::codec::mqtt::property::{Properties, Property};
use crate::codec::mqtt::{Context, Direction, Malformed, decode, header};
use crate::limits;
use crate::route::identity::{check_channel, check_resource};
use crate::route::{Certified, Command, Identity, Login, Proof, Refusal, ScramHash, copied};
use crate::session::{Disconnect, Output, Scratch, Step, Will};

/// What CONNACK will say, decided when CONNECT is read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Welcome {
    /// The client named no identifier, so the one it got is told.
    assigned_client_id: bool,
    /// The keep alive was lowered.
    server_keep_alive: bool,
    /// The client asked for Response Information.
    response_information: bool,
    /// The session lasts for another time than was asked for.
    pub(super) session_expiry: bool,
    /// It goes on where an earlier connection left it.
    pub(super) session_present: bool,
}

impl Session {
    /// The first packet of the connection, which has to be CONNECT \[MQTT-3.1.0-1\].
    pub(super) fn first<'a, O: Output>(
        &mut self,
        bytes: &'a [u8],
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Step<'a>, Disconnect> {
        let context = Context {
            version: None,
            packet_bytes_max: limits::CONNECT_BYTES_MAX,
            direction: Direction::ToServer,
        };
        let reason = match decode(bytes, context) {
            Ok(Decode::Need(len)) => return Ok(Step::Need(len)),
            Ok(Decode::Frame {
                frame: Packet::Connect(connect),
                len,
            }) => match self.connect(&connect, scratch) {
                Ok(command) => {
                    self.state = State::LoggingIn;
                    return Ok(Step::Done {
                        used: len,
                        command: Some(command),
                    });
                }
                Err(reason) => reason,
            },
            Ok(Decode::Frame { .. }) => Reason::Malformed(Malformed::NotConnect),
            Err(malformed) => {
                let reason = Reason::Malformed(malformed);
                match claimed_version(bytes, malformed) {
                    Some(version) => {
                        self.version = version;
                        reason
                    }
                    // Whatever it speaks, it is not told in MQTT.
                    None => {
                        self.state = State::Ended;
                        return Err(reason::disconnect(reason));
                    }
                }
            }
        };
        self.refuse(reason, out);
        self.will = None;
        self.state = State::Ended;
        Err(reason::disconnect(reason))
    }

    /// Takes a CONNECT in: everything that can be decided without looking up the account.
    fn connect<'a>(
        &mut self,
        connect: &Connect<'a>,
        scratch: &'a mut Scratch,
    ) -> Result<Command<'a>, Reason> {
        self.version = connect.version;
        let method = match connect.version {
            Version::V5 => self.adopt(&connect.properties)?,
            Version::V311 => None,
        };
        check_client_id(connect)?;
        self.adopt_life(connect);
        // 3.1.2.11.4: nothing larger may be sent, so the client would never learn that it is in.
        let assigned = if connect.client_id.is_empty() {
            3 + limits::RESOURCE_BYTES_MAX
        } else {
            0
        };
        let enhanced = if method.is_some() {
            limits::CONNACK_AUTH_BYTES_MAX
        } else {
            0
        };
        if !self.fits(limits::CONNACK_BYTES_MAX + assigned + enhanced) {
            return Err(Reason::ClientTakesTooLittle);
        }
        self.welcome.assigned_client_id = connect.client_id.is_empty();
        self.keep_alive(connect.keep_alive_s);
        self.will = match &connect.will {
            Some(will) => Some(Box::new(Left::new(take_will(will, connect.version, scratch)?))),
            None => None,
        };
        match method {
            Some(hash) => self.enhanced(hash, connect, scratch).map(Command::Authenticate),
            None => self.login(connect, scratch).map(Command::Login),
        }
    }

    /// What a 5.0 client says of itself (3.1.2.11).
    fn adopt(&mut self, properties: &Properties<'_>) -> Result<Option<ScramHash>, Reason> {
        self.problem_information = properties.request_problem_information().unwrap_or(true);
        self.welcome.response_information = properties.request_response_information().unwrap_or(false);
        self.window = properties
            .receive_maximum()
            .map_or(self.settings.inflight_max, |maximum| {
                maximum.min(self.settings.inflight_max)
            });
        if let Some(most) = properties.topic_alias_maximum().filter(|&most| most != 0) {
            self.rare.get_or_insert_default().replaced = Replacements::up_to(most);
        }
        self.client_packet_bytes_max = properties.maximum_packet_size_bytes().unwrap_or(u32::MAX);
        properties.authentication_method().map(hash_of).transpose()
    }

    /// The claim and its proof (PROTOCOL section 3).
    fn login<'a>(&self, connect: &Connect<'a>, scratch: &'a mut Scratch) -> Result<Login<'a>, Reason> {
        let user_name = connect.user_name.unwrap_or_default();
        if let Some(certified) = self.rare.as_ref().and_then(|rare| rare.certified.as_ref()) {
            return self.certified(certified, connect, scratch);
        }
        if user_name.is_empty() {
            return Err(Reason::NoCredentials);
        }
        if connect.password.is_some() && self.passwords == Passwords::Refused {
            return Err(Reason::NoCredentials);
        }
        let password = connect.password.ok_or(Reason::BadCredentials)?;
        Ok(Login {
            account: account_of(&self.settings, user_name)?,
            resource: connect.client_id,
            proof: Proof::Password(password),
        })
    }

    /// The same where the client's certificate names the account: a user name only repeats it. A password has to be
    /// right besides.
    fn certified<'a>(
        &self,
        certified: &Certified,
        connect: &Connect<'a>,
        scratch: &'a mut Scratch,
    ) -> Result<Login<'a>, Reason> {
        let user_name = connect.user_name.filter(|name| !name.is_empty());
        if let Some(user_name) = user_name
            && account_of(&self.settings, user_name)? != &*certified.account
        {
            return Err(Reason::BadCredentials);
        }
        let Scratch { name, text, .. } = scratch;
        let bound = certified.resource.as_deref().map(|bound| copied(bound, text));
        let resource = match bound {
            Some(bound) if connect.client_id.is_empty() => bound,
            Some(bound) if connect.client_id != bound => return Err(Reason::BadCredentials),
            _ => connect.client_id,
        };
        Ok(Login {
            account: copied(&certified.account, name),
            resource,
            proof: match connect.password {
                Some(password) => Proof::Password(password),
                None => Proof::Certificate {
                    resource: bound,
                    expires_unix_ms: certified.expires_unix_ms,
                },
            },
        })
    }

    /// Grants the keep alive, lowered to the operator's bound where the client can be told \[MQTT-3.1.2-21\].
    fn keep_alive(&mut self, asked_s: u16) {
        let most_s = self.settings.keep_alive_s_max;
        let too_long = most_s != 0 && (asked_s == 0 || asked_s > most_s);
        let lowered = too_long && self.version == Version::V5;
        self.welcome.server_keep_alive = lowered;
        self.keep_alive_s = if lowered { most_s } else { asked_s };
    }

    /// CONNACK with success (3.2).
    pub(super) fn welcome<O: Output>(&self, identity: &Identity, out: &mut O) {
        let properties = self.offers(identity);
        let connack = |properties| {
            Packet::ConnAck(ConnAck {
                session_present: self.welcome.session_present,
                code: 0,
                properties,
            })
        };
        self.send(&connack(Properties::list(&properties)), out);
    }

    /// The properties of a CONNACK with success; without effect in 3.1.1.
    fn offers<'a>(&'a self, identity: &'a Identity) -> SmallVec<[Property<'a>; 14]> {
        let settings = &self.settings;
        let mut offers = SmallVec::new();
        if self.welcome.session_expiry {
            offers.push(Property::SessionExpiryInterval(self.session_expiry_s));
        }
        offers.push(Property::ReceiveMaximum(settings.receive_maximum.max(1)));
        offers.push(Property::MaximumPacketSize(settings.packet_bytes_max.max(1)));
        if self.welcome.assigned_client_id {
            let resource = identity.sender().resource();
            offers.push(Property::AssignedClientIdentifier(resource));
        }
        offers.push(Property::TopicAliasMaximum(settings.topic_alias_maximum));
        offers.push(Property::WildcardSubscriptionAvailable(true));
        offers.push(Property::SubscriptionIdentifiersAvailable(true));
        offers.push(Property::SharedSubscriptionAvailable(true));
        if self.welcome.server_keep_alive {
            offers.push(Property::ServerKeepAlive(self.keep_alive_s));
        }
        if self.welcome.response_information {
            offers.push(Property::ResponseInformation(control::REPLY_PREFIX));
        }
        offers.extend(self.method_and_data().into_iter().flatten());
        offers
    }

    /// CONNACK with a failure, if the version has a code for it.
    pub(super) fn refuse<O: Output>(&self, reason: Reason, out: &mut O) {
        let code = match self.version {
            Version::V5 => Some(reason::code_v5(reason, Carrier::ConnAck)),
            Version::V311 => reason::code_v3(reason, Carrier::ConnAck),
        };
        let Some(code) = code else { return };
        let packet = |properties| {
            Packet::ConnAck(ConnAck {
                session_present: false,
                code,
                properties,
            })
        };
        self.send_with_text(Some(reason), packet, &mut [Property::ReasonString("")], out);
    }
}

/// The Client Identifier is the resource (PROTOCOL section 3); none is made up where a session is to be found
/// again by its name \[MQTT-3.1.3-8\] of 3.1.1.
fn check_client_id(connect: &Connect<'_>) -> Result<(), Reason> {
    if !connect.client_id.is_empty() {
        return check_resource(connect.client_id)
            .map(drop)
            .map_err(|_| Reason::ClientIdInvalid);
    }
    match connect.version {
        Version::V311 if !connect.clean => Err(Reason::ClientIdInvalid),
        Version::V311 | Version::V5 => Ok(()),
    }
}

/// Copies a will, checked as if it were published now.
fn take_will(will: &packet::Will<'_>, version: Version, scratch: &mut Scratch) -> Result<Will, Reason> {
    let channel = check_channel(will.topic).map_err(|_| Reason::Refused(Refusal::InvalidName))?;
    if version == Version::V5 {
        let text = will.properties.payload_format_indicator() == Some(true);
        if text && std::str::from_utf8(will.payload).is_err() {
            return Err(Reason::PayloadFormatInvalid);
        }
    }
    Ok(Will {
        channel: channel.into(),
        payload: will.payload.into(),
        attributes: forwarded(will.properties, &mut scratch.attributes).into(),
        qos: super::publish::guarantee(will.qos),
        retain: will.retain,
        expiry_s: will.properties.message_expiry_interval_s(),
        delay_s: will.properties.will_delay_interval_s().unwrap_or(0),
    })
}

/// In which version a peer that sent no valid CONNECT is told so; `None` if it does not speak MQTT.
fn claimed_version(bytes: &[u8], malformed: Malformed) -> Option<Version> {
    let Ok(Decode::Frame { frame: header, .. }) = header(bytes) else {
        return None;
    };
    if malformed == Malformed::NotConnect {
        return None;
    }
    let (len, rest) = bytes.get(usize::from(header.header_len)..)?.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
    match (name, rest.first()?) {
        (b"MQTT", 0..=4) | (b"MQIsdp", _) => Some(Version::V311),
        (b"MQTT", _) => Some(Version::V5),
        _ => None,
    }
}
