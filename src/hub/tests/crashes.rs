//! Crashes at any moment of what goes from one session to another, or from one shard to several.

use super::cluster::Cluster;
use super::cluster_client::Login;
use crate::codec::mqtt::packet::QoS;
use crate::journal::Table;

const GROUP: &str = "$share/g/a";

/// Everybody comes back and gets what is for them.
fn come_back(cluster: &mut Cluster) {
    cluster.settle();
    for client in 0..cluster.clients.len() {
        if cluster.clients[client].connection().is_none() {
            cluster.connect(client);
        }
    }
    cluster.settle();
}

fn some_steps(cluster: &mut Cluster, most: u32) {
    use rand::Rng;
    for _ in 0..cluster.random.random_range(0..most) {
        cluster.step();
    }
}

/// Times that any of these heard a text.
fn times(cluster: &Cluster, among: &[usize], text: &str) -> usize {
    among
        .iter()
        .map(|&client| cluster.clients[client].times(text))
        .sum()
}

/// A member is owed messages and begins anew: the others get them.
fn redirected(shards: usize, seed: u64, others: &Login) -> Cluster {
    let mut cluster = Cluster::new(shards, seed);
    let publisher = cluster.client(Login::LASTING);
    let first = cluster.client(Login::LASTING);
    cluster.connect(publisher);
    cluster.connect(first);
    cluster.settle();
    cluster.clients[first].subscribes(GROUP, QoS::ExactlyOnce);
    cluster.settle();
    cluster.break_off(first);
    for n in 0..6 {
        let qos = if n % 2 == 0 {
            QoS::AtLeastOnce
        } else {
            QoS::ExactlyOnce
        };
        cluster.clients[publisher].publishes("a", &n.to_string(), qos);
    }
    cluster.settle();
    assert!(cluster.clients[publisher].is_quiet());
    for _ in 0..3 {
        let member = cluster.client(others.clone());
        cluster.connect(member);
        cluster.settle();
        cluster.clients[member].subscribes(GROUP, QoS::ExactlyOnce);
    }
    cluster.settle();
    // One of them is away when it happens.
    if others.expiry_s > 0 {
        cluster.break_off(4);
    }
    cluster.settle();
    cluster.clients[first].login = Login::PASSING;
    cluster.clients[first].forgets_filters();
    cluster.connect(first);
    some_steps(&mut cluster, 80);
    cluster.crash();
    // If it had not ended, it has its messages.
    cluster.clients[first].login = Login::LASTING;
    come_back(&mut cluster);
    cluster
}

#[test]
fn mqtt5_4_8_2_what_an_ended_session_had_reaches_a_member_whatever_crashes() {
    let (mut doubled, mut redirected_by_others) = (0, 0);
    for seed in 0..600 {
        let shards = 1 + usize::try_from(seed % 4).unwrap();
        let cluster = redirected(shards, seed, &Login::LASTING);
        for n in 0..6 {
            let text = n.to_string();
            let heard = times(&cluster, &[1, 2, 3, 4], &text);
            if n % 2 == 0 {
                assert!(heard > 0, "seed {seed}: {text} of QoS 1 is lost");
                doubled += usize::from(heard > 1);
            } else {
                assert_eq!(heard, 1, "seed {seed}: {text} of QoS 2");
            }
            redirected_by_others += times(&cluster, &[2, 3, 4], &text);
        }
        assert_eq!(cluster.stored(Table::Outbound), 0, "seed {seed}");
        let sessions = cluster.stored(Table::Sessions);
        assert_eq!(sessions, 5, "seed {seed}: nothing is left of what ended");
    }
    assert!(redirected_by_others > 600);
    println!("{doubled} of QoS 1 came twice");
}

#[test]
fn mqtt5_4_8_2_5_members_that_end_with_the_daemon_get_qos_2_once_at_most() {
    for seed in 0..300 {
        let shards = 1 + usize::try_from(seed % 4).unwrap();
        let cluster = redirected(shards, seed, &Login::PASSING);
        for n in [1, 3, 5] {
            let heard = times(&cluster, &[1, 2, 3, 4], &n.to_string());
            assert!(heard <= 1, "seed {seed}: {n} of QoS 2 came {heard} times");
        }
        assert_eq!(cluster.stored(Table::Outbound), 0, "seed {seed}");
    }
}

/// Three members of a group, the last of whom hears the channel for itself, too, and one who only does that.
fn shared(shards: usize, seed: u64) -> Cluster {
    let mut cluster = Cluster::new(shards, seed);
    let publisher = cluster.client(Login::LASTING);
    for n in 0..4 {
        let client = cluster.client(Login::LASTING);
        if n < 3 {
            cluster.clients[client].subscribes(GROUP, QoS::ExactlyOnce);
        }
        if n > 1 {
            cluster.clients[client].subscribes("a", QoS::ExactlyOnce);
        }
    }
    for client in 0..5 {
        cluster.connect(client);
        cluster.settle();
    }
    for n in 0..4 {
        cluster.clients[publisher].publishes("a", &n.to_string(), QoS::ExactlyOnce);
    }
    cluster
}

#[test]
fn mqtt5_4_3_3_a_group_gets_qos_2_once_whatever_crashes() {
    let mut repeated = 0;
    for seed in 0..800 {
        let mut cluster = shared(1 + usize::try_from(seed % 4).unwrap(), seed);
        some_steps(&mut cluster, 100);
        repeated += u32::from(!cluster.clients[0].is_quiet());
        cluster.crash();
        come_back(&mut cluster);
        assert!(cluster.clients[0].is_quiet());
        for n in 0..4 {
            let text = n.to_string();
            assert_eq!(times(&cluster, &[4], &text), 1, "seed {seed}: {text} for itself");
            // Once for the group, once for the member that hears it for itself.
            let members = times(&cluster, &[1, 2, 3], &text);
            assert_eq!(members, 2, "seed {seed}: {text} for the group");
            assert!(times(&cluster, &[3], &text) > 0, "seed {seed}: {text}");
        }
        assert_eq!(cluster.stored(Table::Inbound), 0, "seed {seed}");
    }
    assert!(repeated > 200);
}

/// A client whose will it is, and receivers that last.
fn bereaved(shards: usize, seed: u64, qos: QoS) -> Cluster {
    let mut cluster = Cluster::new(shards, seed);
    let will = ("a".to_owned(), "gone".to_owned(), qos);
    let owner = cluster.client(Login {
        will: Some(will),
        ..Login::LASTING
    });
    for n in 0..5 {
        let client = cluster.client(Login::LASTING);
        let filter = if n < 3 { "a" } else { GROUP };
        cluster.clients[client].subscribes(filter, QoS::ExactlyOnce);
        cluster.connect(client);
        cluster.settle();
    }
    cluster.connect(owner);
    cluster.settle();
    cluster.break_off(1);
    cluster.settle();
    cluster.break_off(owner);
    cluster
}

#[test]
fn mqtt5_3_1_3_2_a_will_comes_once_whatever_crashes() {
    let mut doubled = 0;
    for seed in 0..800 {
        let qos = if seed % 3 == 0 {
            QoS::AtLeastOnce
        } else {
            QoS::ExactlyOnce
        };
        let mut cluster = bereaved(1 + usize::try_from(seed % 4).unwrap(), seed, qos);
        for _ in 0..2 {
            some_steps(&mut cluster, 60);
            cluster.crash();
        }
        come_back(&mut cluster);
        let group = times(&cluster, &[4, 5], "gone");
        for (heard, who) in (1..4)
            .map(|client| (cluster.clients[client].times("gone"), client))
            .chain([(group, 4)])
        {
            assert!(heard > 0, "seed {seed}: {who} has not heard the will");
            assert!(
                heard == 1 || qos == QoS::AtLeastOnce,
                "seed {seed}: {who} heard it {heard} times"
            );
            doubled += usize::from(heard > 1);
        }
        assert_eq!(
            cluster.stored(Table::Sessions),
            6,
            "seed {seed}: nothing is left of it"
        );
        assert_eq!(cluster.stored(Table::Inbound), 0, "seed {seed}");
    }
    println!("{doubled} of QoS 1 came twice");
}

/// Seconds that a will waits, and that a session lasts, where they do not begin at once or last for good.
const WAITS_S: u32 = 100;

/// Crashes after some steps each, over at most 60 seconds.
fn crashes(cluster: &mut Cluster) {
    use rand::Rng;
    for _ in 0..2 {
        some_steps(cluster, 40);
        let seconds = cluster.random.random_range(0..30);
        cluster.pass(seconds);
        cluster.crash();
    }
}

/// More than all have to wait passes, in two steps with crashes between.
fn overdue(cluster: &mut Cluster) {
    for _ in 0..2 {
        cluster.pass(2 * u64::from(WAITS_S));
        cluster.tick();
        some_steps(cluster, 60);
        cluster.crash();
    }
    cluster.settle();
    cluster.pass(2 * u64::from(WAITS_S));
    cluster.settle();
}

/// A client whose will waits, one who hears it, and a group of two.
fn mourned(shards: usize, seed: u64, qos: QoS) -> Cluster {
    let mut cluster = Cluster::new(shards, seed);
    let owner = cluster.client(Login {
        will: Some(("a".to_owned(), "gone".to_owned(), qos)),
        delay_s: WAITS_S,
        ..Login::LASTING
    });
    for filter in ["a", GROUP, GROUP] {
        let client = cluster.client(Login::LASTING);
        cluster.clients[client].subscribes(filter, QoS::ExactlyOnce);
        cluster.connect(client);
        cluster.settle();
    }
    cluster.connect(owner);
    cluster.settle();
    cluster
}

#[test]
fn mqtt5_3_1_3_2_2_a_will_that_waits_comes_once_unless_its_client_is_back_in_time() {
    for seed in 0..600 {
        let qos = if seed % 3 == 0 {
            QoS::AtLeastOnce
        } else {
            QoS::ExactlyOnce
        };
        let is_back_in_time = seed % 2 == 0;
        let mut cluster = mourned(1 + usize::try_from(seed % 4).unwrap(), seed, qos);
        cluster.break_off(0);
        crashes(&mut cluster);
        if is_back_in_time {
            // It leaves no other will.
            cluster.clients[0].login.will = None;
            come_back(&mut cluster);
            cluster.break_off(0);
            overdue(&mut cluster);
        } else {
            for client in 1..4 {
                cluster.connect(client);
            }
            cluster.settle();
            assert_eq!(times(&cluster, &[1, 2, 3], "gone"), 0, "seed {seed}: too early");
            overdue(&mut cluster);
        }
        come_back(&mut cluster);
        for among in [&[1][..], &[2, 3]] {
            let heard = times(&cluster, among, "gone");
            assert!(
                heard > 0 || is_back_in_time,
                "seed {seed}: {among:?} have not heard the will"
            );
            let most = match (is_back_in_time, qos) {
                (true, _) => 0,
                (false, QoS::ExactlyOnce) => 1,
                (false, _) => usize::MAX,
            };
            assert!(heard <= most, "seed {seed}: {among:?} heard it {heard} times");
        }
        assert_eq!(cluster.stored(Table::Sessions), 4, "seed {seed}: of the will");
        assert_eq!(cluster.stored(Table::Inbound), 0, "seed {seed}");
    }
}

#[test]
fn mqtt5_3_1_2_11_2_a_session_lasts_as_long_as_it_asked_for_whatever_crashes() {
    for seed in 0..400 {
        let mut cluster = Cluster::new(1 + usize::try_from(seed % 4).unwrap(), seed);
        let publisher = cluster.client(Login::LASTING);
        let away = cluster.client(Login {
            expiry_s: WAITS_S,
            ..Login::LASTING
        });
        cluster.clients[away].subscribes("a", QoS::ExactlyOnce);
        for client in [publisher, away] {
            cluster.connect(client);
            cluster.settle();
        }
        cluster.break_off(away);
        let is_known_at_restart = seed % 3 == 0;
        if is_known_at_restart {
            cluster.settle();
        }
        for (text, qos) in [("1", QoS::AtLeastOnce), ("2", QoS::ExactlyOnce)] {
            cluster.clients[publisher].publishes("a", text, qos);
        }
        crashes(&mut cluster);
        cluster.connect(publisher);
        cluster.settle();
        let is_back_in_time = seed % 2 == 0;
        if !is_back_in_time {
            // For one whose end is not known the time begins with each restart.
            cluster.pass(2 * u64::from(WAITS_S));
            if is_known_at_restart {
                cluster.crash();
            } else if seed % 5 == 0 {
                overdue(&mut cluster);
            }
        }
        cluster.connect(away);
        some_steps(&mut cluster, 200);
        come_back(&mut cluster);
        assert_eq!(cluster.clients[away].resumed, is_back_in_time, "seed {seed}");
        for text in ["1", "2"] {
            let heard = times(&cluster, &[away], text);
            assert_eq!(heard > 0, is_back_in_time, "seed {seed}: {text}");
            assert!(
                heard <= 1 || text == "1",
                "seed {seed}: {text} of QoS 2 came {heard} times"
            );
        }
        assert_eq!(cluster.stored(Table::Sessions), 2, "seed {seed}");
        assert_eq!(cluster.stored(Table::Registrations), 1, "seed {seed}");
        assert_eq!(cluster.stored(Table::Outbound), 0, "seed {seed}");
    }
}

/// Somebody who is owed messages begins anew, in a session that ends with its connection or lasts, after the earlier one
/// has expired or not. Whether it was told so before the crash, in which it lost its connection.
fn begun_anew(cluster: &mut Cluster, seed: u64) -> bool {
    use rand::Rng;
    let publisher = cluster.client(Login::LASTING);
    let client = cluster.client(Login {
        expiry_s: WAITS_S,
        ..Login::LASTING
    });
    cluster.clients[client].subscribes("a", QoS::ExactlyOnce);
    cluster.connect(publisher);
    cluster.connect(client);
    cluster.settle();
    if !seed.is_multiple_of(5) {
        cluster.break_off(client);
    }
    cluster.clients[publisher].publishes("a", "earlier", QoS::ExactlyOnce);
    if seed % 5 == 1 {
        cluster.settle();
        cluster.pass(2 * u64::from(WAITS_S));
    } else {
        some_steps(cluster, 60);
    }
    cluster.clients[client].forgets_filters();
    if seed.is_multiple_of(3) {
        cluster.clients[client].login.clean = true;
        cluster.connect(client);
    } else {
        cluster.clients[client].login = Login::PASSING;
        cluster.connect_anywhere(client);
    }
    let most = cluster.random.random_range(0..100);
    for _ in 0..most {
        cluster.step();
        if cluster.clients[client].attached {
            break;
        }
    }
    let was_told = cluster.clients[client].attached;
    some_steps(cluster, 4);
    cluster.crash();
    was_told
}

#[test]
fn mqtt5_3_1_2_4_what_was_there_before_a_new_session_is_gone_for_good_whatever_crashes() {
    let (mut told, mut back) = (0, 0);
    for seed in 0..900 {
        let mut cluster = Cluster::new(1 + usize::try_from(seed % 4).unwrap(), seed);
        let was_told = begun_anew(&mut cluster, seed);
        let begun = cluster.clients[1].login.clone();
        let heard = cluster.clients[1].heard.len();
        cluster.clients[1].login = Login::LASTING;
        come_back(&mut cluster);
        let owed = cluster.clients[1].heard.len() > heard;
        if was_told {
            told += 1;
            // Another session that lasts may be there by then.
            let is_earlier = cluster.clients[1].resumed && begun.expiry_s == 0;
            assert!(!is_earlier, "seed {seed}: the earlier session is back");
            assert!(!owed, "seed {seed}: with what it was owed");
        } else {
            back += u32::from(owed);
        }
        // Of the publisher and of the one that came back.
        assert_eq!(cluster.stored(Table::Sessions), 2, "seed {seed}");
        let registrations = usize::from(!was_told && cluster.clients[1].resumed);
        assert!(
            cluster.stored(Table::Registrations) <= registrations,
            "seed {seed}"
        );
    }
    assert!(told > 300 && back > 30, "{told} were told, {back} went on");
}

#[test]
fn mqtt5_3_1_2_11_2_what_a_crash_cut_off_lasts_from_then_on_whatever_crashes_follow() {
    for seed in 0..200 {
        let mut cluster = Cluster::new(1 + usize::try_from(seed % 4).unwrap(), seed);
        let away = cluster.client(Login {
            expiry_s: WAITS_S,
            will: Some(("a".to_owned(), "gone".to_owned(), QoS::AtLeastOnce)),
            delay_s: WAITS_S / 2,
            ..Login::LASTING
        });
        let heir = cluster.client(Login::LASTING);
        cluster.clients[heir].subscribes("a", QoS::AtLeastOnce);
        for client in [heir, away] {
            cluster.connect(client);
            cluster.settle();
        }
        // It was connected for longer than it would have lasted otherwise.
        cluster.pass(2 * u64::from(WAITS_S));
        cluster.crash();
        // When that was lasts.
        cluster.settle();
        let is_back_in_time = seed % 2 == 0;
        let seconds = if is_back_in_time { 10 } else { WAITS_S / 2 };
        for _ in 0..3 {
            cluster.pass(u64::from(seconds));
            some_steps(&mut cluster, 20);
            cluster.crash();
        }
        cluster.connect(heir);
        cluster.settle();
        let heard = cluster.clients[heir].times("gone");
        assert_eq!(heard > 0, !is_back_in_time, "seed {seed}: the will");
        cluster.clients[away].login.will = None;
        cluster.connect(away);
        cluster.settle();
        assert_eq!(cluster.clients[away].resumed, is_back_in_time, "seed {seed}");
        assert_eq!(cluster.stored(Table::Sessions), 2, "seed {seed}");
    }
}
