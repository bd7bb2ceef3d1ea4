//! Receivers of the same bytes share them: what a burst costs at the send queues.

use super::{block, new_channel};
use crate::harness::matrix::PAHO_311;
use crate::harness::mqtt::{Raw, publish};
use crate::harness::{Client, Net, Options, http};

#[test]
fn a_burst_goes_out_from_one_copy() {
    const BURST: usize = 100;
    let net = Net::start(&Options::shards(1));
    let channel = new_channel();
    let hearers: Vec<Client> = (0..3)
        .map(|place| block(&net, PAHO_311, &format!("h{place}")).1)
        .collect();
    for hearer in &hearers {
        hearer.hear(&channel, 0);
    }
    let account = net.app().account("user");
    let mut publisher = Raw::login(net.daemon().mqtt, 4, &account, "p");
    let payload = |number: usize| format!("{number:0>200}").into_bytes();
    let burst: Vec<u8> = (0..BURST)
        .flat_map(|number| publish(&channel, None, None, &payload(number)))
        .collect();
    publisher.send(&burst);
    for hearer in &hearers {
        for number in 0..BURST {
            assert_eq!(hearer.message().payload, payload(number));
        }
    }
    let counter = |name: &str| http::metric(net.daemon().http, &format!("nexus_shard_{name}{{shard=\"0\"}}"));
    // Frames of one burst lie behind one another: each queue has one run of bytes to send.
    assert_eq!((counter("shared_copies"), counter("vectored_sends")), (0, 0));
    assert!(counter("sends") > 0, "the counters are there");
}
