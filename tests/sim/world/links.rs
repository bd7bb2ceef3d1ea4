//! Connections between clients and shards: what is on its way in either direction, and what the server holds back.

use std::net::{IpAddr, Ipv4Addr};

use nexus::hub::Next;
use nexus::session::any::AnySession;
use rand::Rng;

use super::{Speaks, World};
use crate::events::Event;
use crate::machine::Note;

/// A connection as the world sees it.
#[derive(Debug)]
pub(crate) struct Link {
    pub shard: usize,
    pub(super) slot: Option<u32>,
    pub(super) held: Vec<u8>,
    pub(super) waits_for: usize,
    pub(super) is_held: bool,
    /// No event of this connection overtakes an earlier one, in either direction.
    pub(super) to_server_at: u64,
    pub(super) to_client_at: u64,
    pub(super) is_gone_at_server: bool,
}

impl World {
    /// Opens a connection to a shard; it is the server's at once.
    pub(crate) fn connect(&mut self, shard: usize, speaks: Speaks) -> usize {
        let conn = self.links.len();
        let now = self.time();
        let place = &mut self.shards[shard];
        place.machine.wires.insert(conn, Default::default());
        let session = match speaks {
            Speaks::Mqtt => AnySession::mqtt(&place.opening, now),
            Speaks::MqttOverWebSocket | Speaks::Xmpp => AnySession::web_socket(&place.opening, now),
        };
        let slot = place
            .hub
            .open(&mut place.machine, conn, IpAddr::V4(Ipv4Addr::LOCALHOST), session);
        self.links.push(Link {
            shard,
            slot,
            held: Vec::new(),
            waits_for: 1,
            is_held: false,
            to_server_at: 0,
            to_client_at: 0,
            is_gone_at_server: false,
        });
        conn
    }

    /// Sends bytes to the server, in one to three pieces.
    pub(crate) fn send(&mut self, conn: usize, mut bytes: Vec<u8>) {
        while !bytes.is_empty() {
            let len = if self.random.random_bool(0.8) {
                bytes.len()
            } else {
                self.random.random_range(1..=bytes.len())
            };
            let rest = bytes.split_off(len);
            self.send_up(conn, Event::ToServer(conn, bytes));
            bytes = rest;
        }
    }

    /// Breaks a connection from the client's side.
    pub(crate) fn break_off(&mut self, conn: usize) {
        if self.disk.is_some() {
            self.send_up(conn, Event::BrokenAtServer(conn));
        }
        self.send_up(conn, Event::GoneAtServer(conn));
    }

    /// Whether nothing that a connection carried can reach the server any more.
    pub(crate) fn is_over(&self, conn: usize) -> bool {
        self.links[conn].is_gone_at_server
    }

    fn send_up(&mut self, conn: usize, event: Event) {
        let delay = self.delay();
        let link = &mut self.links[conn];
        link.to_server_at = link.to_server_at.max(self.now + delay);
        let after = link.to_server_at - self.now;
        self.at(after, event);
    }

    pub(super) fn send_down(&mut self, conn: usize, event: Event) {
        let delay = self.delay();
        let link = &mut self.links[conn];
        link.to_client_at = link.to_client_at.max(self.now + delay);
        let after = link.to_client_at - self.now;
        self.at(after, event);
    }

    /// Shows the hub what a connection holds, as long as it makes progress.
    pub(super) fn show(&mut self, conn: usize) {
        let now = self.time();
        loop {
            let link = &mut self.links[conn];
            let Some(slot) = link.slot.filter(|_| !link.is_gone_at_server) else {
                return link.held.clear();
            };
            if link.is_held || link.held.len() < link.waits_for {
                return;
            }
            let shard = &mut self.shards[link.shard];
            let progress = shard
                .hub
                .receive(&mut shard.machine, now, slot, conn, &mut link.held);
            link.held.drain(..progress.used);
            match progress.next {
                Next::Need(bytes) => link.waits_for = bytes.max(1),
                Next::Hold => link.is_held = true,
            }
        }
    }

    /// The connection is gone, but the hub is not told yet.
    pub(super) fn broken_at_server(&mut self, conn: usize) {
        let machine = &mut self.shards[self.links[conn].shard].machine;
        if let Some(wire) = machine.wires.get_mut(&conn) {
            wire.is_broken = true;
        }
    }

    pub(super) fn gone_at_server(&mut self, conn: usize) {
        let now = self.time();
        let link = &mut self.links[conn];
        let Some(slot) = link.slot else { return };
        if std::mem::replace(&mut link.is_gone_at_server, true) {
            return;
        }
        let shard = &mut self.shards[link.shard];
        shard.machine.notes.push(Note::Closed(conn));
        shard.machine.wires.remove(&conn);
        shard.hub.closed(&mut shard.machine, now, slot, conn);
    }

    /// A connection goes to another shard, unless it is gone.
    pub(super) fn hand_over(&mut self, conn: usize, to: usize) {
        let now = self.time();
        let link = &mut self.links[conn];
        let (from, Some(slot)) = (link.shard, link.slot) else {
            return;
        };
        if link.is_gone_at_server {
            return;
        }
        let place = &mut self.shards[from];
        let wire = place.machine.wires.remove(&conn).unwrap();
        let mut luggage = place.hub.leaving(&mut place.machine, slot, conn).unwrap();
        let place = &mut self.shards[to];
        luggage.session.rehome(&place.opening);
        place.machine.wires.insert(conn, wire);
        link.shard = to;
        link.slot = place.hub.handed(&mut place.machine, now, conn, luggage);
        self.settle(from);
        self.settle(to);
    }

    pub(super) fn settle_wire(&mut self, place: usize, conn: usize) {
        let Some(wire) = self.shards[place].machine.wires.get_mut(&conn) else {
            return;
        };
        let sent = std::mem::take(&mut wire.sent);
        let is_resumed = std::mem::take(&mut wire.is_resumed);
        let is_closed = wire.is_closed;
        if !sent.is_empty() {
            self.send_down(conn, Event::ToClient(conn, sent));
        }
        if is_closed {
            self.send_down(conn, Event::GoneAtClient(conn));
            self.gone_at_server(conn);
        } else if is_resumed {
            self.links[conn].is_held = false;
            self.links[conn].waits_for = 1;
            self.show(conn);
        }
    }
}
