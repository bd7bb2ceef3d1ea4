//! Bad input over raw sockets: the protocol's own reason, the connection closed, a neighbour undisturbed.

mod floods;
mod packets;
mod prelogin;
mod websocket;

use crate::harness::matrix::{MQTTJS_311, PAHO_5};
use crate::harness::{Call, Client, Net};

/// Blocks on both listeners, which go on being served whatever others send.
struct Neighbours {
    clients: Vec<Client>,
}

impl Neighbours {
    fn new(net: &Net) -> Self {
        let account = net.app().account("owner");
        Self {
            clients: vec![
                net.connect(PAHO_5, &account, "over TCP"),
                net.connect(MQTTJS_311, &account, "over WebSocket"),
            ],
        }
    }

    #[track_caller]
    fn assert_undisturbed(&self) {
        for client in &self.clients {
            assert_eq!(client.call(&Call::new("nexus", "ping")).code, 0);
            assert!(client.take_unmatched().is_empty());
        }
    }
}
