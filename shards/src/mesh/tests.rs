//! The mesh under pressure: full rings, both directions at once, doorbells.

use std::thread;

use super::*;

/// Meshes of two shards.
fn pair(parcels: usize) -> (Mesh<u64>, Mesh<u64>) {
    let mut meshes = grid(2, parcels).into_iter();
    (meshes.next().unwrap(), meshes.next().unwrap())
}

fn woken(mesh: &mut Mesh<u64>) -> Vec<usize> {
    let mut peers = Vec::new();
    mesh.wake(|peer| peers.push(peer));
    peers
}

#[test]
fn a_sleeper_is_rung_once_per_sleep_and_the_waking_never() {
    let (mut a, mut b) = pair(4);
    a.send(1, 1).unwrap();
    assert!(woken(&mut a).is_empty(), "the peer is awake");
    assert!(!b.fall_asleep(), "something arrived");
    assert_eq!(b.receive(0), Some(1));
    assert!(b.fall_asleep());
    a.send(1, 2).unwrap();
    assert_eq!(woken(&mut a), [1]);
    a.send(1, 3).unwrap();
    assert!(woken(&mut a).is_empty(), "rung already");
}

#[test]
fn whoever_looked_for_room_in_vain_is_rung_like_whoever_was_refused() {
    let mut meshes = one_way::<u64>(2, 1).into_iter();
    let (mut a, mut b) = (meshes.next().unwrap(), meshes.next().unwrap());
    assert!(a.has_room(1));
    assert!(!a.has_room(0) && !a.has_room(2), "no way leads there");
    a.send(1, 1).unwrap();
    assert!(!a.has_room(1));
    assert!(a.fall_asleep());
    assert_eq!(b.receive(0), Some(1));
    b.give_back(0, 1);
    assert_eq!(woken(&mut b), [0]);
    assert!(a.has_room(1));
    assert_eq!(a.reuse(1), None, "there is no way back");
}

#[test]
fn whoever_was_refused_is_rung_when_there_is_room() {
    let (mut a, mut b) = pair(2);
    a.send(1, 1).unwrap();
    a.send(1, 2).unwrap();
    assert_eq!(a.send(1, 3), Err(3));
    assert!(a.fall_asleep());
    assert!(woken(&mut b).is_empty(), "no room was made");
    assert_eq!(b.receive(0), Some(1));
    assert_eq!(woken(&mut b), [0]);
    a.wake_up();
    assert!(!a.fall_asleep(), "there is room: offer again before sleeping");
    assert!(a.fall_asleep(), "... once");
}

#[test]
fn draining_wakes_nobody_who_did_not_wish() {
    let (mut a, mut b) = pair(2);
    a.send(1, 1).unwrap();
    woken(&mut a);
    assert!(a.fall_asleep());
    assert_eq!(b.receive(0), Some(1));
    assert!(woken(&mut b).is_empty());
}

#[test]
fn one_way_traffic_reuses_its_parcels() {
    let mut meshes = grid::<Box<u64>>(2, 8).into_iter();
    let (mut a, mut b) = (meshes.next().unwrap(), meshes.next().unwrap());
    let mut made = 0;
    for n in 0..10_000 {
        let parcel = a.reuse(1).unwrap_or_else(|| {
            made += 1;
            Box::new(0)
        });
        let mut parcel = parcel;
        *parcel = n;
        a.send(1, parcel).unwrap();
        if n % 4 == 3 {
            while let Some(parcel) = b.receive(0) {
                b.give_back(0, parcel);
            }
        }
    }
    assert!(made <= 8, "{made} parcels were made");
}

/// Two threads that sleep only on what the mesh tells them to, with rings so small that both directions are
/// full most of the time. A lost wake-up would be a park that nobody ends.
#[test]
fn no_wake_up_is_lost_with_both_directions_full() {
    const PARCELS: u64 = 200_000;
    let (a, b) = pair(4);
    let threads: Arc<[std::sync::OnceLock<thread::Thread>; 2]> = Arc::default();
    let run = move |mut mesh: Mesh<u64>, threads: Arc<[std::sync::OnceLock<thread::Thread>; 2]>| {
        let (me, peer) = (mesh.shard(), 1 - mesh.shard());
        threads[me].set(thread::current()).unwrap();
        let (mut sent, mut got, mut lost) = (0, 0, 0u32);
        while sent < PARCELS || got < PARCELS {
            while let Some(parcel) = mesh.receive(peer) {
                assert_eq!(parcel, got, "order");
                got += 1;
            }
            while sent < PARCELS && mesh.send(peer, sent).is_ok() {
                sent += 1;
            }
            mesh.wake(|peer| {
                if let Some(thread) = threads[peer].get() {
                    thread.unpark();
                }
            });
            if (sent < PARCELS || got < PARCELS) && threads[peer].get().is_some() && mesh.fall_asleep() {
                let before = crate::clock::Clock::start();
                thread::park_timeout(std::time::Duration::from_secs(2));
                lost += u32::from(before.now_ns() > 1_900_000_000);
                mesh.wake_up();
            }
        }
        mesh.wake(|peer| {
            if let Some(thread) = threads[peer].get() {
                thread.unpark();
            }
        });
        lost
    };
    let other = {
        let threads = Arc::clone(&threads);
        thread::spawn(move || run(b, threads))
    };
    let lost = run(a, threads);
    assert_eq!(lost + other.join().unwrap(), 0);
}
