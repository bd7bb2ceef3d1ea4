//! `nexus-loadgen`: open-loop load for MQTT servers.

fn main() {}
