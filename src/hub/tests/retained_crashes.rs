//! What is retained after a crash: the last message that was acknowledged, whoever published it, and nothing older.

use rand::Rng;

use super::cluster::Cluster;
use super::cluster_client::Login;
use crate::codec::mqtt::packet::QoS;
use crate::journal::Table;

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// Steps until something is so, or for so many.
fn until(cluster: &mut Cluster, most: u32, is_so: impl Fn(&Cluster) -> bool) -> bool {
    for _ in 0..most {
        if is_so(cluster) {
            return true;
        }
        cluster.step();
    }
    is_so(cluster)
}

fn has_heard(cluster: &Cluster, client: usize, text: &str) -> bool {
    cluster.clients[client].times(text) > 0
}

fn has_said_yes(cluster: &Cluster, client: usize, text: &str) -> bool {
    cluster.clients[client]
        .acknowledged
        .iter()
        .any(|known| known == text)
}

/// What somebody who comes now is told of a channel.
fn retained(cluster: &mut Cluster) -> Option<String> {
    let reader = cluster.client(Login::PASSING);
    cluster.clients[reader].subscribes("r", QoS::AtLeastOnce);
    cluster.connect(reader);
    cluster.settle();
    assert!(cluster.clients[reader].heard.len() < 2);
    let (text, _) = cluster.clients[reader].heard.pop()?;
    Some(text)
}

/// Clients of sessions that last, and who hear the channel.
fn writers(cluster: &mut Cluster, logins: &[Login]) {
    for login in logins {
        let writer = cluster.client(login.clone());
        cluster.clients[writer].subscribes("r", QoS::AtLeastOnce);
        cluster.connect(writer);
    }
    cluster.settle();
}

/// Each of them publishes when it has heard what was published before. The last that was acknowledged.
fn write_in_turn(cluster: &mut Cluster, writers: usize) -> usize {
    let mut acknowledged = 0;
    for n in 1..=6 {
        let writer = cluster.random.random_range(0..writers);
        let before = (n - 1).to_string();
        if n > 1 && !until(cluster, 400, |cluster| has_heard(cluster, writer, &before)) {
            return acknowledged;
        }
        let qos = QOS[cluster.random.random_range(0..3)];
        cluster.clients[writer].retains("r", &n.to_string(), qos);
        let text = n.to_string();
        if cluster.random.random_bool(0.5) && qos != QoS::AtMostOnce {
            until(cluster, 400, |cluster| has_said_yes(cluster, writer, &text));
        }
        let is_acknowledged = |n: usize| {
            let text = n.to_string();
            (0..writers).any(|writer| has_said_yes(cluster, writer, &text))
        };
        acknowledged = (1..=n).rev().find(|&n| is_acknowledged(n)).unwrap_or(0);
    }
    acknowledged
}

#[test]
fn mqtt5_3_3_1_3_what_is_retained_is_never_older_than_what_was_acknowledged() {
    let (mut some, mut latest) = (0, 0);
    for seed in 0..500 {
        let mut cluster = Cluster::new(2 + usize::try_from(seed % 3).unwrap(), seed);
        writers(&mut cluster, &[Login::LASTING, Login::LASTING, Login::LASTING]);
        cluster.no_room = 0.5;
        let acknowledged = write_in_turn(&mut cluster, 3);
        let is_settled = seed % 2 == 0;
        if is_settled {
            cluster.settle();
        }
        let in_memory = is_settled.then(|| retained(&mut cluster));
        cluster.crash();
        let after = retained(&mut cluster);
        let found: usize = after.as_deref().map_or(0, |text| text.parse().expect(text));
        assert!(
            found >= acknowledged,
            "seed {seed}: {found} is retained, {acknowledged} was acknowledged"
        );
        if let Some(before) = in_memory {
            assert_eq!(after, before, "seed {seed}: once everything lasts");
            latest += u32::from(before.is_some());
        }
        some += u32::from(acknowledged > 0);
    }
    assert!(some > 200 && latest > 200, "{some}, {latest}");
}

#[test]
fn mqtt5_3_1_2_5_a_retained_will_is_retained_once_whatever_crashes() {
    let (mut replaced, mut repeated) = (0, 0);
    for seed in 0..500 {
        let mut cluster = Cluster::new(1 + usize::try_from(seed % 4).unwrap(), seed);
        let owner = Login {
            will: Some((
                "r".to_owned(),
                "gone".to_owned(),
                QOS[usize::try_from(seed % 3).unwrap()],
            )),
            retains_will: true,
            ..Login::LASTING
        };
        writers(&mut cluster, &[owner, Login::LASTING, Login::LASTING]);
        cluster.break_off(0);
        until(&mut cluster, 300, |cluster| {
            has_heard(cluster, 1, "gone") && cluster.is_mesh_empty()
        });
        let is_heard = has_heard(&cluster, 1, "gone") && cluster.is_mesh_empty();
        if is_heard {
            cluster.clients[1].retains("r", "back", QoS::AtLeastOnce);
            until(&mut cluster, 60, |cluster| has_said_yes(cluster, 1, "back"));
        }
        let is_replaced = has_said_yes(&cluster, 1, "back");
        for _ in 0..2 {
            cluster.crash();
            for _ in 0..cluster.random.random_range(0..60) {
                cluster.step();
            }
        }
        repeated += u32::from(cluster.stored(Table::Sessions) > 3);
        cluster.settle();
        let found = retained(&mut cluster);
        if is_replaced {
            assert_eq!(found.as_deref(), Some("back"), "seed {seed}");
            replaced += 1;
        } else if !is_heard {
            assert!(
                found.is_none() || found.as_deref() == Some("gone"),
                "seed {seed}: {found:?}"
            );
        }
        cluster.clients[0].login.will = None;
        for client in 0..3 {
            cluster.connect(client);
        }
        cluster.settle();
        assert_eq!(cluster.stored(Table::Sessions), 3, "seed {seed}: of the will");
        assert_eq!(cluster.stored(Table::Inbound), 0, "seed {seed}");
    }
    assert!(
        replaced > 50 && repeated > 50,
        "{replaced} were replaced, {repeated} came again"
    );
}

#[test]
fn mqtt5_4_3_3_what_is_repeated_with_qos_2_is_retained_once_whatever_crashes() {
    let (mut repeated, mut first) = (0, 0);
    for seed in 0..500 {
        let mut cluster = Cluster::new(1 + usize::try_from(seed % 4).unwrap(), seed);
        writers(&mut cluster, &[Login::LASTING, Login::LASTING, Login::LASTING]);
        cluster.clients[0].retains("r", "one", QoS::ExactlyOnce);
        let is_heard = |cluster: &Cluster| has_heard(cluster, 1, "one") && cluster.is_mesh_empty();
        if until(&mut cluster, 300, is_heard) {
            cluster.clients[1].retains("r", "two", QoS::AtLeastOnce);
            until(&mut cluster, 60, |cluster| has_said_yes(cluster, 1, "two"));
        }
        let is_replaced = has_said_yes(&cluster, 1, "two");
        cluster.crash();
        let is_over = cluster.clients[0].is_quiet();
        cluster.connect(0);
        cluster.settle();
        let found = retained(&mut cluster);
        if is_replaced {
            repeated += u32::from(!is_over);
            assert_eq!(found.as_deref(), Some("two"), "seed {seed}");
        } else {
            first += u32::from(found.as_deref() == Some("one"));
        }
    }
    assert!(
        repeated > 20 && first > 50,
        "{repeated} were repeated, {first} stayed"
    );
}
