//! What the integration tests stand on: third-party clients in driver processes, raw sockets, and the daemon
//! with a store of its own, seeded by its own command line.
//!
//! Nothing here sleeps: everything waits for an event, with a deadline that only a failure reaches.

pub(crate) mod api;
pub(crate) mod bystanders;
pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod clock;
pub(crate) mod daemon;
pub(crate) mod driver;
pub(crate) mod event;
pub(crate) mod http;
#[allow(dead_code, reason = "shared with the simulation, which uses other parts")]
pub(crate) mod lasting;
pub(crate) mod lives;
pub(crate) mod matrix;
pub(crate) mod mqtt;
pub(crate) mod native;
pub(crate) mod packages;
pub(crate) mod relay;
pub(crate) mod rumqttc;
pub(crate) mod scram;
pub(crate) mod websocket;
pub(crate) mod world;
pub(crate) mod xml;
pub(crate) mod xmpp;

pub(crate) use api::{Call, Reply, Request, Stamp};
pub(crate) use client::{Client, Connect, Publish, Subscribe};
pub(crate) use clock::{Deadline, eventually};
pub(crate) use daemon::Options;
pub(crate) use event::{Event, Message};
pub(crate) use matrix::{FORMS, Form, each_crossing, each_form, each_pair, each_shard_count, parallel};
pub(crate) use world::{Account, App, Net};
