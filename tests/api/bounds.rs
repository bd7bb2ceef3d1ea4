//! Requests in flight: one id each, and as many as there may be.

use serde_json::json;

use crate::harness::http;
use crate::harness::matrix::{PAHO_5, PAHO_311};
use crate::harness::mqtt::{self, Raw};
use crate::harness::{Call, FORMS, Net, Options, Publish, each_shard_count, parallel};

#[test]
fn a_second_id_in_flight_from_one_block_is_dropped_and_counted() {
    parallel(&FORMS, |&form| {
        let net = Net::start(&Options::shards(1));
        let app = net.app();
        let worker = net.connect(form, &app.account("owner"), "w1");
        worker.listen("cmd");
        let requester = net.connect(form, &app.customer(), "r1");
        let topic = format!("$nexus/call/same/{}/cmd", app.name);
        requester.publish(&Publish::new(&topic, r#"{"n":1}"#).qos(1));
        requester.publish(&Publish::new(&topic, r#"{"n":2}"#).qos(1));
        let first = worker.request();
        assert_eq!(first.message.text(), r#"{"n":1}"#);
        http::await_drops(net.daemon().http, "request", "duplicate_id", 1);
        worker.answer(&first, r#"{"answered":1}"#);
        let is_reply = |message: &crate::harness::Message| message.topic == "$nexus/reply/same";
        assert_eq!(
            requester.message_where("reply", is_reply).text(),
            r#"{"answered":1}"#
        );
        // Once its outcome is given, the id is free.
        requester.publish(&Publish::new(&topic, r#"{"n":3}"#).qos(1));
        let third = worker.request();
        assert_eq!(third.message.text(), r#"{"n":3}"#);
        worker.answer(&third, r#"{"answered":3}"#);
        assert_eq!(
            requester.message_where("reply", is_reply).text(),
            r#"{"answered":3}"#
        );
    });
}

/// Sends requests under the ids `r0`, `r1`, … without waiting.
fn flood(raw: &mut Raw, app: &str, count: usize) {
    for n in 0..count {
        raw.send(&mqtt::publish(
            &format!("$nexus/call/r{n}/{app}/cmd"),
            None,
            None,
            b"{}",
        ));
    }
}

/// The topic and payload of a PUBLISH of QoS 0 or 1 to a 3.1.1 client.
fn topic_and_payload(packet: &mqtt::Packet) -> (String, Vec<u8>) {
    assert_eq!(packet.first & 0xF0, 0x30, "a PUBLISH: {packet:?}");
    let length = usize::from(u16::from_be_bytes([packet.body[0], packet.body[1]]));
    let topic = String::from_utf8(packet.body[2..2 + length].to_vec()).unwrap();
    let id = if packet.first & 0x06 == 0 { 0 } else { 2 };
    (topic, packet.body[2 + length + id..].to_vec())
}

fn overload_of(raw: &mut Raw, id: usize) {
    let (topic, payload) = topic_and_payload(&raw.packet());
    assert_eq!(topic, format!("$nexus/reply/r{id}"));
    let body: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(
        body,
        json!({"code": -2002, "error": "too many requests in flight."})
    );
}

#[test]
fn the_bound_of_requests_in_flight_per_block_is_answered_at_once() {
    each_shard_count(|net| {
        let app = net.app();
        let worker = net.connect(PAHO_5, &app.account("owner"), "w1");
        worker.listen("cmd");
        let bound = nexus::limits::REQUESTS_PER_BLOCK_MAX;
        let mut requester = Raw::login(net.daemon().mqtt, 4, &app.customer(), "r1");
        flood(&mut requester, &app.name, bound + 1);
        overload_of(&mut requester, bound);
        // Another block is not concerned.
        let other = net.connect(PAHO_311, &app.customer(), "r2");
        other.send_call("mine", &Call::new(&app.name, "cmd").body(r#"{"other":1}"#));
        loop {
            let request = worker.request();
            if request.message.text() == r#"{"other":1}"# {
                worker.answer(&request, "{}");
                break;
            }
        }
        assert_eq!(other.reply("mine").code, 0);
    });
}

#[test]
fn the_bound_of_requests_in_flight_per_worker_is_answered_at_once() {
    each_shard_count(|net| {
        let app = net.app();
        let customer = app.customer();
        let worker = net.connect(PAHO_311, &app.account("owner"), "w1");
        worker.listen("cmd");
        let (per_block, per_worker) = (
            nexus::limits::REQUESTS_PER_BLOCK_MAX,
            nexus::limits::REQUESTS_PER_WORKER_MAX,
        );
        let mut requesters: Vec<Raw> = (0..per_worker.div_ceil(per_block))
            .map(|n| Raw::login(net.daemon().mqtt, 4, &customer, &format!("r{n}")))
            .collect();
        let mut left = per_worker;
        for requester in &mut requesters {
            let count = left.min(per_block);
            flood(requester, &app.name, count);
            left -= count;
        }
        for _ in 0..per_worker {
            worker.request();
        }
        let mut last = Raw::login(net.daemon().mqtt, 4, &customer, "last");
        flood(&mut last, &app.name, 1);
        overload_of(&mut last, 0);
    });
}

#[test]
fn the_bound_of_requests_in_flight_per_shard_is_answered_at_once() {
    parallel(&FORMS, |&form| {
        let net = Net::start(&Options::shards(1).config("[api]\nrequests_per_shard_max = 3\n"));
        let app = net.app();
        let customer = app.customer();
        let worker = net.connect(form, &app.account("owner"), "w1");
        worker.listen("cmd");
        let requesters = ["r0", "r1", "r2", "r3"].map(|resource| net.connect(form, &customer, resource));
        let call = Call::new(&app.name, "cmd");
        let requests: Vec<_> = requesters[..3]
            .iter()
            .map(|requester| {
                requester.send_call("c1", &call);
                worker.request()
            })
            .collect();
        let refused = requesters[3].call(&call);
        refused.assert_failure(-2002, "too many requests in flight.");
        for (requester, request) in requesters.iter().zip(&requests) {
            worker.answer(request, "{}");
            assert_eq!(requester.reply("c1").code, 0);
        }
        let reply = requesters[3].call_served(&[&worker], &call);
        assert_eq!(reply.code, 0, "once there is room again");
    });
}
