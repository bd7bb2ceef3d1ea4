//! Figures, not assertions: run by hand in release with `--ignored --nocapture`.

use std::path::Path;
use std::sync::Arc;

use crossbeam::channel::{Receiver, bounded};

use super::verdict;
use crate::daemon::clock::Clock;
use crate::daemon::control::{
    Control, ControlConfig, ControlHandle, ControlPort, OpenMode, Records, TokenKeys,
};
use crate::route::{Role, ScramHash, SessionId, SessionKey, Uid};
use crate::store::{LoginProof, LoginRequest, StoreKey, scram};
use crate::time::Instant;

const ACCOUNTS: u32 = 100_000;
const LOGINS: u32 = 400_000;
const SAMPLES: u32 = 10_000;

fn account(n: u32) -> String {
    format!("etest-{n:024x}-user")
}

fn request(slot: u32, account: &str, password: &str, peer: u32) -> LoginRequest {
    let proof = LoginProof::Password(password.as_bytes().into());
    LoginRequest {
        resource: Some("r".into()),
        ..unplaced(slot, account, proof, peer)
    }
}

/// A login whose resource follows.
fn unplaced(slot: u32, account: &str, proof: LoginProof, peer: u32) -> LoginRequest {
    LoginRequest {
        session: SessionId {
            shard: 0,
            key: SessionKey { slot, generation: 0 },
        },
        account: account.into(),
        resource: None,
        proof,
        peer: std::net::Ipv4Addr::from(0x7f00_0000 | peer).into(),
    }
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

fn populate(records: &mut Records, accounts: u32) -> Vec<String> {
    records
        .write(|w| {
            w.add_app("etest", None, None)?;
            (0..accounts)
                .map(|n| {
                    let uid = Uid::parse(&format!("{n:024x}")).unwrap();
                    let added = w.add_account("etest", uid, Role::User)?;
                    Ok(added.secret.expose().to_owned())
                })
                .collect()
        })
        .unwrap()
}

/// The control thread over a store, and what wakes the one shard.
fn start(dir: &Path) -> (ControlHandle, Receiver<()>) {
    let (wake, woken) = bounded(1);
    let handle = Control::start(ControlConfig {
        data_dir: dir.to_owned(),
        shards: 1,
        wake: Arc::new(move |_| {
            let _ = wake.try_send(());
        }),
        token_keys: TokenKeys::default(),
    })
    .unwrap();
    while handle.port().next(0).is_some() {}
    (handle, woken)
}

/// All of `logins`, at most `window` of them in flight: what each costs.
fn in_flight(
    port: &ControlPort,
    woken: &Receiver<()>,
    clock: Clock,
    (window, logins): (u32, u32),
    mut make: impl FnMut(u32) -> LoginRequest,
) -> String {
    let begun = clock.now().instant;
    let cpu = cpu_ms();
    let (mut asked, mut answered) = (0, 0);
    while answered < logins {
        while asked < logins && asked - answered < window {
            assert!(port.login(make(asked)).is_ok());
            port.wake();
            asked += 1;
        }
        match port.next(0) {
            Some(message) => {
                assert!(verdict(&message).unwrap().result.is_ok());
                answered += 1;
            }
            None => woken.recv().unwrap(),
        }
    }
    let elapsed = clock.now().instant - begun;
    format!(
        "{window:>5} in flight: {:>7.0} logins/s, {:.2} us of CPU a login, all threads",
        f64::from(logins) / elapsed.as_secs_f64(),
        (cpu_ms() - cpu) * 1_000.0 / f64::from(logins),
    )
}

/// One login at a time: nanoseconds from asking to the verdict.
fn one_at_a_time(
    port: &ControlPort,
    woken: &Receiver<()>,
    clock: Clock,
    samples: u32,
    mut make: impl FnMut(u32) -> LoginRequest,
) -> Vec<u64> {
    let mut times: Vec<u64> = (0..samples)
        .map(|n| {
            let request = make(n);
            let begun = clock.now().instant;
            assert!(port.login(request).is_ok());
            port.wake();
            let message = loop {
                if let Some(message) = port.next(0) {
                    break message;
                }
                woken.recv().unwrap();
            };
            assert!(verdict(&message).is_some());
            u64::try_from((clock.now().instant - begun).as_nanos()).unwrap()
        })
        .collect();
    times.sort_unstable();
    times
}

#[test]
#[ignore = "prints figures; run in release"]
fn logins_per_second_and_the_time_of_denials() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::start();
    let mut records = Records::open(dir.path(), OpenMode::Create).unwrap();
    let secrets = populate(&mut records, ACCOUNTS);
    println!(
        "{ACCOUNTS} accounts added in {:?}",
        clock.now().instant - Instant::default()
    );
    let (handle, woken) = start(dir.path());
    let port = handle.port();

    // A scattered order: neighbours in the database are not asked for one after the other.
    let scattered = |n: u32| n.wrapping_mul(2_654_435_761) % ACCOUNTS;
    for window in [1, 64, 4_096] {
        let logins = if window == 1 { LOGINS / 10 } else { LOGINS };
        let make = |asked: u32| {
            let n = scattered(asked);
            request(asked, &account(n), &secrets[n as usize], asked % 65_536)
        };
        println!("{}", in_flight(&port, &woken, clock, (window, logins), make));
    }

    let report = |name: &str, make: &mut dyn FnMut(u32) -> LoginRequest| {
        let times = one_at_a_time(&port, &woken, clock, SAMPLES, make);
        println!(
            "{name:>15}: p50 {:>6} ns, p90 {:>6} ns, p99 {:>7} ns",
            percentile(&times, 50),
            percentile(&times, 90),
            percentile(&times, 99)
        );
    };
    for _ in 0..3 {
        report("right secret", &mut |n| {
            let n = scattered(n);
            request(n, &account(n), &secrets[n as usize], n)
        });
        report("wrong secret", &mut |n| {
            request(n, &account(scattered(n)), &secrets[n as usize], n)
        });
        report("unknown account", &mut |n| {
            // Beside known ones in the database.
            let unknown = account(scattered(n)).replace("user", "partner");
            request(n, &unknown, &secrets[n as usize], n)
        });
    }
}

/// What a client that knows `secret` proves.
fn proof(key: &StoreKey, hash: ScramHash, account: &str, secret: &str) -> LoginProof {
    let auth_message = b"n=user,r=abc,r=abcdef,s=QSXCR+Q6sek8bf92,i=4096,c=biws,r=abcdef";
    let salt = key.salt(account);
    let proof = scram::client_proof(hash, secret.as_bytes(), &salt, scram::ITERATIONS, auth_message);
    LoginProof::Scram {
        hash,
        auth_message: auth_message.as_slice().into(),
        client_proof: proof.into(),
    }
}

#[test]
#[ignore = "prints figures; run in release"]
fn scram_logins_per_second_and_the_time_of_denials() {
    const MANY: u32 = 4_000;
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::start();
    let mut records = Records::open(dir.path(), OpenMode::Create).unwrap();
    let secrets = populate(&mut records, MANY);
    let account_of = |n: u32| account(n % MANY);
    for hash in [ScramHash::Sha256, ScramHash::Sha1] {
        let proofs: Vec<LoginProof> = (0..MANY)
            .map(|n| proof(&records.key, hash, &account_of(n), &secrets[n as usize]))
            .collect();
        let right = |n: u32| unplaced(n, &account_of(n), proofs[(n % MANY) as usize].clone(), n);
        let (handle, woken) = start(dir.path());
        let port = handle.port();
        let first = in_flight(&port, &woken, clock, (64, MANY), right);
        println!("{hash:?}, derived:    {first}");
        let again = in_flight(&port, &woken, clock, (64, 20 * MANY), right);
        println!("{hash:?}, remembered: {again}");
        let begin = |n| unplaced(n, &account_of(n), LoginProof::ScramFirst(hash), n);
        let begun = in_flight(&port, &woken, clock, (64, 20 * MANY), begin);
        println!("{hash:?}, challenged: {begun}");
        let wrong = |n: u32| unplaced(n, &account_of(n), proofs[((n + 1) % MANY) as usize].clone(), n);
        let nobody = |n: u32| unplaced(n, &account_of(n).replace("user", "partner"), proofs[0].clone(), n);
        let report = |name: &str, samples: u32, make: &dyn Fn(u32) -> LoginRequest| {
            let times = one_at_a_time(&port, &woken, clock, samples, make);
            let at = |percent| percentile(&times, percent);
            println!(
                "{name:>15}: p50 {:>8} ns, p90 {:>8} ns, p99 {:>8} ns",
                at(50),
                at(90),
                at(99)
            );
        };
        report("remembered", SAMPLES, &right);
        for _ in 0..2 {
            report("wrong proof", 200, &wrong);
            report("unknown account", 200, &nobody);
        }
        drop(handle);
        let (handle, woken) = start(dir.path());
        let times = one_at_a_time(&handle.port(), &woken, clock, 500, right);
        println!(
            "{:>15}: p50 {:>8} ns, p99 {:>8} ns",
            "derived",
            percentile(&times, 50),
            percentile(&times, 99)
        );
    }
}

/// CPU time of this process so far, in milliseconds.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = [11, 12]
        .iter()
        .map(|field| fields[*field].parse::<f64>().unwrap())
        .sum();
    ticks * 10.0
}
