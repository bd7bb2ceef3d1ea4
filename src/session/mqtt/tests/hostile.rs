//! Whatever bytes come, in whatever pieces: the session answers in packets or ends.

use proptest::prelude::*;

use super::*;
use crate::codec::mqtt::packet::{Ack, Auth, Names, Unsubscribe};
use crate::route::{Completion, Direct, Proof, Qos, Reach, Refusal, Registration, Ticket, Unregistration};
use crate::session::testing::Wait;
use crate::session::{LoginFailure, Proven};

/// Packets a client may send, plausible enough to get past the first checks.
fn vocabulary(version: Version) -> Vec<Vec<u8>> {
    const ALIAS: &[Property<'_>] = &[
        Property::TopicAlias(1),
        Property::ResponseTopic("my/replies"),
        Property::CorrelationData(&[1, 2]),
        Property::PayloadFormatIndicator(true),
        Property::MessageExpiryInterval(5),
        Property::UserProperty("nexus-app", "forged"),
        Property::UserProperty("ownership", "mine"),
    ];
    let ack = Ack {
        packet_id: id(7),
        code: 0,
        properties: Properties::EMPTY,
    };
    let filters = [
        filter("plant/#", QoS::AtLeastOnce),
        filter("$nexus/listen/c/#", QoS::AtLeastOnce),
        filter("$nexus/reply/+", QoS::AtMostOnce),
        filter("$share/g/a", QoS::AtMostOnce),
    ];
    let mut packets = vec![
        Packet::Connect(connect(version)),
        subscription(&filters, &[]),
        Packet::Unsubscribe(Unsubscribe {
            packet_id: id(9),
            properties: Properties::EMPTY,
            filters: Names::list(&["plant/#", "$nexus/direct", "$nexus/reply/+"]),
        }),
        Packet::PubAck(ack),
        Packet::PubRec(ack),
        Packet::PubRel(ack),
        Packet::PubComp(ack),
        Packet::PingReq,
    ];
    let topics = [
        "plant/7",
        "$nexus/api/etest/c",
        "$nexus/call/1/etest/c",
        "$nexus/direct/etest/w.1",
        "$SYS/x",
    ];
    for topic in topics {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            packets.push(Packet::Publish(message(topic, qos, &[])));
            packets.push(Packet::Publish(message(topic, qos, ALIAS)));
        }
    }
    packets
        .iter()
        .map(|packet| encoded(packet, version))
        .chain(exchange(version))
        .collect()
}

fn encoded(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode_into(version, &mut bytes);
    bytes
}

/// The packets of enhanced authentication, which 3.1.1 has not.
fn exchange(version: Version) -> Vec<Vec<u8>> {
    if version != V5 {
        return Vec::new();
    }
    let method = Property::AuthenticationMethod("SCRAM-SHA-256");
    let first = format!("n,,n={},r=abc", account());
    let begin = [method, Property::AuthenticationData(first.as_bytes())];
    let proof = format!("c=biws,r=abcfedcba9876543210,p={}=", "A".repeat(43));
    let go_on = [method, Property::AuthenticationData(proof.as_bytes())];
    let connect = Packet::Connect(Connect {
        properties: Properties::list(&begin),
        ..connect(version)
    });
    let auth = |code, properties| Packet::Auth(Auth { code, properties });
    let packets = [
        connect,
        auth(0x18, Properties::list(&go_on)),
        auth(0x19, Properties::list(&begin)),
    ];
    packets.iter().map(|packet| encoded(packet, version)).collect()
}

/// Completes what was asked, one way or the other, as the router would.
fn complete(client: &mut Client, command: &Command<'_>, well: bool) {
    let done = |good: Qos| if well { Ok(good) } else { Err(Refusal::Busy) };
    let (ticket, completion): (Option<Ticket>, _) = match command {
        Command::Publish { message, ticket } => {
            assert!(crate::route::identity::check_channel(message.channel).is_ok());
            let reach = if well { Reach::Subscribers } else { Reach::Nobody };
            (*ticket, Completion::Published(Ok(reach)))
        }
        Command::Direct {
            direct: Direct { app, .. },
            ticket,
        } => {
            assert!(crate::route::identity::check_app(app).is_ok());
            (
                *ticket,
                Completion::Direct(crate::route::DirectOutcome::Delivered),
            )
        }
        Command::Authenticate(claim) => return decide(client, claim.proof, well),
        Command::Bind(_)
        | Command::Resume(_)
        | Command::AllowResumption { .. }
        | Command::DirectToAccount { .. }
        | Command::StartTls => {
            panic!("not of this protocol: {command:?}")
        }
        Command::Request { request, ticket } => {
            assert!(crate::route::identity::check_resource(request.cmd).is_ok());
            assert!(request.label.len() <= crate::limits::LABEL_BYTES_MAX);
            (*ticket, Completion::Requested)
        }
        Command::Answer { ticket, .. } => (*ticket, Completion::Answered),
        Command::Register { wanted, ticket } => {
            let results = wanted.iter().map(|one| match one {
                Registration::Decided(result) => *result,
                _ => done(Qos::AtLeastOnce),
            });
            (Some(*ticket), Completion::Registered(results.collect()))
        }
        Command::Unregister { unwanted, ticket } => {
            let results = unwanted.iter().map(|one| match one {
                Unregistration::Decided(result) => *result,
                _ => Ok(well),
            });
            (Some(*ticket), Completion::Unregistered(results.collect()))
        }
        Command::Login(_) => return client.attach(&worker()),
        Command::Leave => return,
    };
    if let Some(ticket) = ticket {
        client.peer.completed(ticket, &completion);
    }
}

/// Decides about a proof, as the control thread would.
fn decide(client: &mut Client, proof: Proof<'_>, well: bool) {
    let challenge = Proven::Challenge {
        salt: b"salt",
        iterations: 4_096,
        nonce: "fedcba9876543210",
    };
    let account = Proven::Account {
        server_signature: &[5; 32],
    };
    let verdict = match proof {
        Proof::ScramFirst(_) => Ok(challenge),
        _ if well => Ok(account),
        _ => Err(LoginFailure::Denied),
    };
    let (now, out) = (client.peer.now, &mut client.peer.out);
    let binds = client.peer.session.proven(now, verdict, out);
    if matches!(binds, Ok(Some(_))) {
        client.attach(&worker());
    }
}

/// Sends pieces until the session ends; all that it writes has to be packets.
fn converse(mut client: Client, pieces: &[Vec<u8>], well: bool) {
    for piece in pieces {
        let mut next = piece.as_slice();
        // A login holds back what follows it, so the session is asked again after each completion.
        loop {
            let Ok(commands) = client.peer.feed(next) else {
                client.packets();
                return;
            };
            next = &[];
            for command in &commands {
                complete(&mut client, command, well);
            }
            if commands.is_empty() || client.peer.waits != Some(Wait::Hold) {
                break;
            }
        }
        client.packets();
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        rng_seed: prop::test_runner::RngSeed::Fixed(0x6E65_7875_7300_0010),
        ..ProptestConfig::default()
    })]

    #[test]
    fn packets_with_bytes_changed_never_panic(
        v5: bool,
        attached: bool,
        well: bool,
        choices in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let version = if v5 { V5 } else { V311 };
        let vocabulary = vocabulary(version);
        let mut bytes = Vec::new();
        for (which, change, at, value) in choices {
            let mut packet = which.get(&vocabulary).clone();
            // Most are left as they are, so that a conversation goes on for a while.
            if change == 0 {
                let at = at.index(packet.len());
                packet[at] = value;
            }
            bytes.extend_from_slice(&packet);
        }
        let tail = bytes.split_off(cut.index(bytes.len()));
        let client = if attached {
            Client::attached(version)
        } else {
            Client::new(version, settings())
        };
        converse(client, &[bytes, tail], well);
    }

    #[test]
    fn arbitrary_bytes_never_panic(v5: bool, attached: bool, bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let version = if v5 { V5 } else { V311 };
        let client = if attached {
            Client::attached(version)
        } else {
            Client::new(version, settings())
        };
        converse(client, &[bytes], true);
    }
}
