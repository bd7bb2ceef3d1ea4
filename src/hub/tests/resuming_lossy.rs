//! Clients whose connections are lost at any step, with what was on its way to them, and that resume their sessions on any
//! shard: what is sent on a channel arrives in order and once, and nothing is lost while they come back in time.

use rand::Rng;

use super::resuming_daemon::{Daemon, texts};
use super::*;

/// A client as XEP-0198 has it: it knows what it has handled, and remembers what it sent.
struct Lossy {
    account: &'static str,
    resource: String,
    previd: String,
    conn: u32,
    is_online: bool,
    handled: u32,
    heard: Vec<String>,
    /// What it sent and was not acknowledged.
    unacked: Vec<String>,
    acked: u32,
}

/// The elements that were written to a connection over TCP.
fn elements(heard: &str) -> Vec<String> {
    let starts = [
        "<message",
        "<iq",
        "<presence",
        "<r ",
        "<a ",
        "<resumed",
        "<failed",
    ];
    let mut cuts: Vec<usize> = starts
        .iter()
        .flat_map(|start| heard.match_indices(start).map(|(at, _)| at))
        .collect();
    cuts.sort_unstable();
    cuts.push(heard.len());
    cuts.windows(2)
        .map(|range| heard[range[0]..range[1]].to_owned())
        .collect()
}

fn number(element: &str, name: &str) -> u32 {
    let (_, rest) = element.split_once(&format!(" {name}='")).unwrap();
    rest.split('\'').next().unwrap().parse().unwrap()
}

impl Lossy {
    /// Takes some of what was written to it, from the front; the rest stays.
    fn hear(&mut self, daemon: &mut Daemon, pending: &mut Vec<String>, most: usize) {
        pending.extend(elements(&daemon.heard(self.conn)));
        for element in pending.drain(..most.min(pending.len())) {
            if element.starts_with("<r ") {
                daemon.say(
                    self.conn,
                    &format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", self.handled),
                );
            } else if element.starts_with("<a ") {
                self.acknowledged(number(&element, "h"));
            } else {
                self.handled += 1;
                self.heard.extend(texts(&element).into_iter().map(str::to_owned));
            }
        }
    }

    fn acknowledged(&mut self, handled: u32) {
        self.unacked.drain(..(handled - self.acked) as usize);
        self.acked = handled;
    }

    fn publish(&mut self, daemon: &mut Daemon, text: &str, arrives: bool) {
        let element = format!(
            "<message xmlns='jabber:client'><publish xmlns='urn:nexus:1' channel='a'>{text}</publish></message>"
        );
        if arrives {
            daemon.say(self.conn, &element);
        }
        self.unacked.push(element);
    }

    fn resume(&mut self, daemon: &mut Daemon, conn: u32, shard: usize, over_tcp: bool) {
        daemon.connect(conn, shard, over_tcp, self.account);
        daemon.resume(conn, &self.previd, self.handled);
        self.conn = conn;
        self.is_online = true;
    }

    /// What the resumption was answered with; what may not have arrived is sent again.
    fn resumed(&mut self, daemon: &mut Daemon, pending: &mut Vec<String>) {
        pending.clear();
        pending.extend(elements(&daemon.heard(self.conn)));
        let first = pending.remove(0);
        assert!(first.starts_with("<resumed "), "{first}");
        self.acknowledged(number(&first, "h"));
        for element in self.unacked.clone() {
            daemon.say(self.conn, &element);
        }
    }
}

fn play(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let shards = random.random_range(1..4_u16);
    let mut daemon = Daemon::new(shards);
    let any_shard = |random: &mut StdRng| random.random_range(0..usize::from(shards));
    let mut clients = Vec::new();
    for (conn, account) in (0_u32..).zip([ALICE, BOB, ALICE]) {
        let resource = format!("r{conn}");
        let shard = any_shard(&mut random);
        let previd = daemon.log_in(conn, shard, true, account, &resource);
        daemon.subscribe(conn, "a");
        clients.push(Lossy {
            account,
            resource,
            previd,
            conn,
            is_online: true,
            handled: 1,
            heard: Vec::new(),
            unacked: Vec::new(),
            // The request to subscribe, of which nothing is remembered.
            acked: 1,
        });
    }
    let mut pending: Vec<Vec<String>> = vec![Vec::new(); clients.len()];
    let (mut next_conn, mut sent) = (10, vec![0; clients.len()]);
    for _ in 0..120 {
        let at = random.random_range(0..clients.len());
        let (client, pending) = (&mut clients[at], &mut pending[at]);
        match random.random_range(0..5) {
            0 | 1 if client.is_online => {
                let text = format!("{}:{}", client.resource, sent[at]);
                sent[at] += 1;
                client.publish(&mut daemon, &text, true);
            }
            2 if client.is_online => client.hear(&mut daemon, pending, random.random_range(0..20)),
            3 if client.is_online => {
                client.hear(&mut daemon, pending, random.random_range(0..4));
                if random.random_bool(0.5) {
                    // What it says last never arrives.
                    let text = format!("{}:{}", client.resource, sent[at]);
                    sent[at] += 1;
                    client.publish(&mut daemon, &text, false);
                }
                if random.random_bool(0.7) {
                    daemon.lose(client.conn);
                    client.is_online = false;
                } else {
                    // The daemon takes the earlier connection for alive.
                    let shard = any_shard(&mut random);
                    let earlier = client.conn;
                    client.resume(&mut daemon, next_conn, shard, true);
                    client.resumed(&mut daemon, pending);
                    daemon.lose(earlier);
                    next_conn += 1;
                }
            }
            _ if !client.is_online => {
                daemon.pass(random.random_range(0..1_000));
                let shard = any_shard(&mut random);
                client.resume(&mut daemon, next_conn, shard, true);
                client.resumed(&mut daemon, pending);
                next_conn += 1;
            }
            _ => {}
        }
    }
    for (client, pending) in clients.iter_mut().zip(&mut pending) {
        if !client.is_online {
            let shard = any_shard(&mut random);
            client.resume(&mut daemon, next_conn, shard, true);
            client.resumed(&mut daemon, pending);
            next_conn += 1;
        }
    }
    for _ in 0..3 {
        for (client, pending) in clients.iter_mut().zip(&mut pending) {
            client.hear(&mut daemon, pending, usize::MAX);
        }
    }
    for receiver in &clients {
        for (sender, sent) in clients.iter().zip(&sent) {
            let head = format!("{}:", sender.resource);
            let heard: Vec<_> = receiver
                .heard
                .iter()
                .filter(|text| text.starts_with(&head))
                .collect();
            let all: Vec<_> = (0..*sent).map(|n| format!("{head}{n}")).collect();
            assert_eq!(heard, all.iter().collect::<Vec<_>>(), "seed {seed}");
        }
    }
}

#[test]
fn xep0198_5_nothing_is_lost_or_doubled_or_overtaken_wherever_connections_break() {
    for seed in 0..200 {
        play(seed);
    }
}
