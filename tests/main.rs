//! The daemon over real sockets, with real third-party clients (paho-mqtt, mqtt.js, aiomqtt, rumqttc,
//! the programs of mosquitto, and @xmpp/client: MQTT 3.1.1 and 5.0 over TCP and WebSocket, XMPP over WebSocket) and
//! with hand-made bytes where no client would send them. Each test is named for the sentence of the protocol that it
//! shows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_types,
    reason = "test code: a failed expectation is a failed test, and test threads may share behind a lock"
)]

mod harness;

mod answers;
mod api;
mod auth;
mod bridge;
mod browser;
mod builtin;
mod certificate;
mod channel;
mod conformance;
mod control;
mod crash;
mod direct;
mod flow;
mod hostile;
mod life;
mod login;
mod qe;
mod readme;
mod refusals;
mod retained;
mod rights;
mod selection;
mod session;
mod share;
mod storage;
mod suites;
mod system;
mod tls;
mod tuning;
mod xmpp;
