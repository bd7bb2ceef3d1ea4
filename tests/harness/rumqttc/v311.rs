//! rumqttc's client of MQTT 3.1.1.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rumqttc::{
    AsyncClient, ClientError, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions,
    Outgoing, Packet, QoS, SubscribeFilter, SubscribeReasonCode,
};
use serde_json::{Value, json};

use super::{PACKET_BYTES_MAX, REQUESTS_MAX, Teller, bytes, filters, number, qos, text};

/// A client that will connect as `command` says.
pub(super) fn new(command: &Value) -> (AsyncClient, EventLoop) {
    let port = number(command, "port").unwrap();
    let mut options = MqttOptions::new(text(command, "client_id"), text(command, "host"), port);
    let packet_bytes_max = usize::try_from(PACKET_BYTES_MAX).unwrap();
    options
        .set_credentials(text(command, "user"), text(command, "password"))
        .set_clean_session(command["clean"] == true)
        .set_keep_alive(Duration::from_secs(number(command, "keepalive").unwrap()))
        .set_max_packet_size(packet_bytes_max, packet_bytes_max);
    let will = &command["will"];
    if will.is_object() {
        let quality = quality(qos(will));
        let retain = will["retain"] == true;
        options.set_last_will(LastWill::new(
            text(will, "topic"),
            bytes(will, "payload"),
            quality,
            retain,
        ));
    }
    AsyncClient::new(options, REQUESTS_MAX)
}

/// Sends what `command` says.
pub(super) fn send(client: &AsyncClient, what: &str, command: &Value) -> Result<(), String> {
    let done: Result<(), ClientError> = match what {
        "subscribe" => client.try_subscribe_many(
            filters(command)
                .iter()
                .map(|wanted| SubscribeFilter::new(text(wanted, "filter"), quality(qos(wanted)))),
        ),
        // Tests unsubscribe from one filter at a time, which is all that this client can.
        "unsubscribe" => client.try_unsubscribe(filters(command)[0].as_str().unwrap()),
        "publish" => client.try_publish(
            text(command, "topic"),
            quality(qos(command)),
            command["retain"] == true,
            bytes(command, "payload"),
        ),
        "disconnect" => client.try_disconnect(),
        _ => return Err(format!("rumqttc has no {what}")),
    };
    done.map_err(|error| format!("{what}: {error}"))
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
                    connack(&teller, code, false);
                }
                teller.tell("closed", json!({"reason": error.to_string()}));
                return;
            }
        }
    }
}

fn came(teller: &Teller, packet: Packet) {
    match packet {
        Packet::ConnAck(packet) => connack(teller, packet.code, packet.session_present),
        Packet::SubAck(packet) => {
            let code = |code: &SubscribeReasonCode| match code {
                SubscribeReasonCode::Success(quality) => *quality as u8,
                SubscribeReasonCode::Failure => 0x80,
            };
            let codes: Vec<u8> = packet.return_codes.iter().map(code).collect();
            teller.answered("suback", packet.pkid, json!({ "codes": codes }));
        }
        Packet::UnsubAck(packet) => teller.answered("unsuback", packet.pkid, json!({"codes": []})),
        Packet::PubAck(packet) => teller.answered("puback", packet.pkid, json!({"code": 0})),
        Packet::PubComp(packet) => teller.answered("puback", packet.pkid, json!({"code": 0})),
        Packet::Publish(packet) => teller.tell(
            "message",
            json!({
                "topic": packet.topic,
                "payload": STANDARD.encode(&packet.payload),
                "qos": packet.qos as u8,
                "retain": packet.retain,
                "dup": packet.dup,
                "properties": {},
            }),
        ),
        _ => {}
    }
}

fn connack(teller: &Teller, code: ConnectReturnCode, session_present: bool) {
    let code = match code {
        ConnectReturnCode::Success => 0,
        ConnectReturnCode::RefusedProtocolVersion => 1,
        ConnectReturnCode::BadClientId => 2,
        ConnectReturnCode::ServiceUnavailable => 3,
        ConnectReturnCode::BadUserNamePassword => 4,
        ConnectReturnCode::NotAuthorized => 5,
    };
    teller.tell(
        "connack",
        json!({"code": code, "session_present": session_present, "properties": {}}),
    );
}

fn quality(qos: u8) -> QoS {
    rumqttc::qos(qos).unwrap()
}
