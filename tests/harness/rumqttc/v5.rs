//! rumqttc's client of MQTT 5.0.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectProperties, ConnectReturnCode, Filter, LastWill, LastWillProperties, Packet,
    PubAckReason, PubRecReason, Publish, PublishProperties, RetainForwardRule, SubscribeProperties,
    SubscribeReasonCode, UnsubAckReason,
};
use rumqttc::v5::mqttbytes::{QoS, qos as quality_of};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use serde_json::{Map, Value, json};

use super::{PACKET_BYTES_MAX, REQUESTS_MAX, Teller, bytes, filters, number, optional_text, qos, text};

/// A client that will connect as `command` says.
pub(super) fn new(command: &Value) -> (AsyncClient, EventLoop) {
    let port = number(command, "port").unwrap();
    let mut options = MqttOptions::new(text(command, "client_id"), text(command, "host"), port);
    let properties = &command["properties"];
    options
        .set_credentials(text(command, "user"), text(command, "password"))
        .set_clean_start(command["clean"] == true)
        .set_keep_alive(Duration::from_secs(number(command, "keepalive").unwrap()))
        .set_connect_properties(ConnectProperties {
            session_expiry_interval: number(properties, "session_expiry_interval"),
            receive_maximum: number(properties, "receive_maximum"),
            max_packet_size: Some(PACKET_BYTES_MAX),
            ..ConnectProperties::new()
        });
    let will = &command["will"];
    if will.is_object() {
        let given = &will["properties"];
        let properties = LastWillProperties {
            delay_interval: number(given, "will_delay_interval"),
            payload_format_indicator: number(given, "payload_format_indicator"),
            message_expiry_interval: number(given, "message_expiry_interval"),
            content_type: optional_text(given, "content_type"),
            response_topic: optional_text(given, "response_topic"),
            correlation_data: correlation(given),
            user_properties: user_properties(given),
        };
        options.set_last_will(LastWill::new(
            text(will, "topic"),
            bytes(will, "payload"),
            quality(will),
            will["retain"] == true,
            Some(properties),
        ));
    }
    AsyncClient::new(options, REQUESTS_MAX)
}

/// Sends what `command` says.
pub(super) fn send(client: &AsyncClient, what: &str, command: &Value) -> Result<(), String> {
    let given = &command["properties"];
    let done = match what {
        "subscribe" => {
            let filters = filters(command).iter().map(filter);
            let properties = SubscribeProperties {
                id: number(given, "subscription_identifier"),
                user_properties: user_properties(given),
            };
            client.try_subscribe_many_with_properties(filters, properties)
        }
        // Tests unsubscribe from one filter at a time, which is all that this client can.
        "unsubscribe" => client.try_unsubscribe(filters(command)[0].as_str().unwrap()),
        "publish" => client.try_publish_with_properties(
            text(command, "topic"),
            quality(command),
            command["retain"] == true,
            bytes(command, "payload"),
            PublishProperties {
                payload_format_indicator: number(given, "payload_format_indicator"),
                message_expiry_interval: number(given, "message_expiry_interval"),
                topic_alias: number(given, "topic_alias"),
                response_topic: optional_text(given, "response_topic"),
                correlation_data: correlation(given),
                user_properties: user_properties(given),
                subscription_identifiers: Vec::new(),
                content_type: optional_text(given, "content_type"),
            },
        ),
        "disconnect" => client.try_disconnect(),
        _ => return Err(format!("rumqttc has no {what}")),
    };
    done.map_err(|error| format!("{what}: {error}"))
}

fn filter(wanted: &Value) -> Filter {
    Filter {
        path: text(wanted, "filter"),
        qos: quality(wanted),
        nolocal: wanted["no_local"] == true,
        preserve_retain: wanted["retain_as_published"] == true,
        retain_forward_rule: match wanted["retain_handling"].as_u64() {
            Some(2) => RetainForwardRule::Never,
            Some(1) => RetainForwardRule::OnNewSubscribe,
            _ => RetainForwardRule::OnEverySubscribe,
        },
    }
}

/// Tells the events of a connection until it ends.
pub(super) async fn events(mut events: EventLoop, teller: Teller) {
    loop {
        match events.poll().await {
            Ok(Event::Outgoing(Outgoing::Publish(id))) if id != 0 => teller.left("puback", id),
            Ok(Event::Outgoing(Outgoing::Subscribe(id))) => teller.left("suback", id),
            Ok(Event::Outgoing(Outgoing::Unsubscribe(id))) => teller.left("unsuback", id),
            Ok(Event::Outgoing(_)) => {}
            Ok(Event::Incoming(packet)) => came(&teller, packet),
            Err(error) => {
                if let ConnectionError::ConnectionRefused(code) = error {
                    let fields =
                        json!({"code": connack_code(code), "session_present": false, "properties": {}});
                    teller.tell("connack", fields);
                }
                teller.tell("closed", json!({"reason": error.to_string()}));
                return;
            }
        }
    }
}

fn came(teller: &Teller, packet: Packet) {
    match packet {
        Packet::ConnAck(packet) => connack(teller, &packet),
        Packet::SubAck(packet) => {
            let codes: Vec<u8> = packet.return_codes.iter().map(suback_code).collect();
            teller.answered("suback", packet.pkid, json!({ "codes": codes }));
        }
        Packet::UnsubAck(packet) => {
            let codes: Vec<u8> = packet.reasons.iter().map(unsuback_code).collect();
            teller.answered("unsuback", packet.pkid, json!({ "codes": codes }));
        }
        Packet::PubAck(packet) => {
            let code = match packet.reason {
                PubAckReason::Success => 0,
                PubAckReason::NoMatchingSubscribers => 0x10,
                PubAckReason::NotAuthorized => 0x87,
                PubAckReason::TopicNameInvalid => 0x90,
                PubAckReason::QuotaExceeded => 0x97,
                _ => 0x80,
            };
            teller.answered("puback", packet.pkid, json!({ "code": code }));
        }
        Packet::PubRec(packet) => {
            let code = match packet.reason {
                // The exchange goes on to its PUBCOMP.
                PubRecReason::Success | PubRecReason::NoMatchingSubscribers => return,
                PubRecReason::NotAuthorized => 0x87,
                PubRecReason::TopicNameInvalid => 0x90,
                PubRecReason::QuotaExceeded => 0x97,
                _ => 0x80,
            };
            teller.answered("puback", packet.pkid, json!({ "code": code }));
        }
        Packet::PubComp(packet) => teller.answered("puback", packet.pkid, json!({"code": 0})),
        Packet::Publish(packet) => message(teller, &packet),
        Packet::Disconnect(packet) => teller.tell("disconnect", json!({"code": packet.reason_code as u8})),
        _ => {}
    }
}

fn connack(teller: &Teller, packet: &ConnAck) {
    let mut told = Map::new();
    if let Some(properties) = &packet.properties {
        told.extend(
            properties
                .topic_alias_max
                .map(|max| ("topic_alias_maximum".into(), max.into())),
        );
        told.extend(
            properties
                .receive_max
                .map(|max| ("receive_maximum".into(), max.into())),
        );
        told.extend(
            properties
                .max_packet_size
                .map(|max| ("maximum_packet_size".into(), max.into())),
        );
    }
    teller.tell(
        "connack",
        json!({
            "code": connack_code(packet.code),
            "session_present": packet.session_present,
            "properties": told,
        }),
    );
}

fn message(teller: &Teller, packet: &Publish) {
    let given = packet.properties.clone().unwrap_or_default();
    let mut told = Map::new();
    let mut put = |name: &str, value: Option<Value>| told.extend(value.map(|value| (name.to_owned(), value)));
    put(
        "payload_format_indicator",
        given.payload_format_indicator.map(Value::from),
    );
    put(
        "message_expiry_interval",
        given.message_expiry_interval.map(Value::from),
    );
    put("response_topic", given.response_topic.map(Value::from));
    let correlation = given.correlation_data.map(|data| STANDARD.encode(data).into());
    put("correlation_data", correlation);
    put("content_type", given.content_type.map(Value::from));
    put(
        "subscription_identifier",
        Some(given.subscription_identifiers.into()),
    );
    put("user_properties", Some(json!(given.user_properties)));
    teller.tell(
        "message",
        json!({
            "topic": String::from_utf8_lossy(&packet.topic),
            "payload": STANDARD.encode(&packet.payload),
            "qos": packet.qos as u8,
            "retain": packet.retain,
            "dup": packet.dup,
            "properties": told,
        }),
    );
}

fn connack_code(code: ConnectReturnCode) -> u8 {
    match code {
        ConnectReturnCode::Success => 0,
        ConnectReturnCode::ClientIdentifierNotValid => 0x85,
        ConnectReturnCode::BadUserNamePassword => 0x86,
        ConnectReturnCode::NotAuthorized => 0x87,
        _ => 0x80,
    }
}

fn suback_code(code: &SubscribeReasonCode) -> u8 {
    match code {
        SubscribeReasonCode::Success(quality) => *quality as u8,
        SubscribeReasonCode::NotAuthorized => 0x87,
        SubscribeReasonCode::TopicFilterInvalid => 0x8F,
        SubscribeReasonCode::QuotaExceeded => 0x97,
        SubscribeReasonCode::SharedSubscriptionsNotSupported => 0x9E,
        _ => 0x80,
    }
}

fn unsuback_code(code: &UnsubAckReason) -> u8 {
    match code {
        UnsubAckReason::Success => 0,
        UnsubAckReason::NoSubscriptionExisted => 0x11,
        _ => 0x80,
    }
}

fn quality(value: &Value) -> QoS {
    quality_of(qos(value)).unwrap()
}

fn user_properties(given: &Value) -> Vec<(String, String)> {
    let pairs = given["user_properties"].clone();
    serde_json::from_value(pairs).unwrap_or_default()
}

fn correlation(given: &Value) -> Option<bytes::Bytes> {
    let is_there = given["correlation_data"].is_string();
    is_there.then(|| bytes(given, "correlation_data").into())
}
