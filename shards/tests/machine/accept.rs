//! Accepting: at one shard's listener, and when the process has no descriptors left.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use shards::{ConnId, Listener, Plane};
use socket2::{Domain, Socket, Type};

use crate::echo::Echo;
use crate::support::{PATIENCE, Tenant, config, connect, exchange, read, start, stop, until};

/// Says on which listener, and at which shard, a connection came.
struct Doorman;

impl Tenant for Doorman {
    type Parcel = ();

    fn opened(&mut self, plane: &mut Plane<()>, conn: ConnId, listener: usize, _: SocketAddr) -> u32 {
        let words = [listener, plane.shard()].map(|number| u8::try_from(number).unwrap());
        plane.buffer(conn).unwrap().extend_from_slice(&words);
        0
    }
}

#[test]
fn a_listener_of_one_shard_brings_its_connections_there() {
    let mut machine = config(2);
    for shard in 0..2 {
        machine.listeners.push(Listener {
            shard: Some(shard),
            ..Listener::new("127.0.0.1:0".parse().unwrap())
        });
    }
    let running = start(machine, |_| Doorman);
    for (listener, shard) in [(1, 0), (2, 1)] {
        for _ in 0..8 {
            let mut client = TcpStream::connect(running.addresses()[usize::from(listener)]).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            assert_eq!(read(&mut client, 2), [listener, shard]);
        }
    }
    stop(running);
}

/// Runs the other test of this module in a process of its own: the limit is the whole process's.
#[test]
fn running_out_of_files_is_counted_retried_by_the_tick_and_survived() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "accept::in_a_process_of_its_own",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

#[test]
#[ignore = "lowers the limit of open files; run by the test above"]
fn in_a_process_of_its_own() {
    const FILES: u64 = 200;
    // Before the accepts are armed: the kernel notes the limit then.
    set_file_limit(FILES);
    let running = start(config(1), |_| Echo::default());
    let mut early = connect(&running);
    assert_eq!(exchange(&mut early, b"early"), b"early");
    // The clients have theirs before nothing is left but two for the shard: it is the accepts that fail.
    let sockets: Vec<Socket> = (0..8)
        .map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap())
        .collect();
    let mut ballast: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    ballast.truncate(ballast.len() - 2);
    let mut clients: Vec<TcpStream> = sockets
        .into_iter()
        .map(|socket| {
            socket.connect(&running.addresses()[0].into()).unwrap();
            socket.into()
        })
        .collect();
    let stats = running.stats(0);
    until("an accept failed", || stats.accept_errors.get() > 0);
    let (ticks, errors, turns) = (stats.ticks.get(), stats.accept_errors.get(), stats.turns.get());
    until("time passes", || stats.ticks.get() > ticks + 20);
    let ticked = stats.ticks.get() - ticks;
    assert!(
        stats.accept_errors.get() - errors <= ticked + 2,
        "tried more often than it ticks"
    );
    assert!(stats.turns.get() - turns < 10 * ticked, "it spins");
    assert_eq!(exchange(&mut early, b"still here"), b"still here");

    drop(ballast);
    for client in &mut clients {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(exchange(client, b"late"), b"late");
    }
    drop((early, clients));
    stop(running);
}

fn set_file_limit(files: u64) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes into a local of the type it expects.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit.rlim_cur = files.min(limit.rlim_max);
    // SAFETY: the kernel reads a local of the type it expects.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(set, 0);
}
