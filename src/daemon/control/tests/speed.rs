//! Figures, not assertions: run by hand in release with `--ignored --nocapture`.

use std::sync::Arc;

use crossbeam::channel::bounded;

use super::verdict;
use crate::daemon::clock::Clock;
use crate::daemon::control::{Control, ControlConfig, ControlPort, OpenMode, Records, TokenKeys};
use crate::route::{Role, SessionId, SessionKey, Uid};
use crate::store::{LoginProof, LoginRequest};
use crate::time::Instant;

const ACCOUNTS: u32 = 100_000;
const LOGINS: u32 = 400_000;
const SAMPLES: u32 = 10_000;

fn account(n: u32) -> String {
    format!("etest-{n:024x}-user")
}

fn request(slot: u32, account: &str, password: &str, peer: u32) -> LoginRequest {
    LoginRequest {
        session: SessionId {
            shard: 0,
            key: SessionKey { slot, generation: 0 },
        },
        account: account.into(),
        resource: Some("r".into()),
        proof: LoginProof::Password(password.as_bytes().into()),
        peer: std::net::Ipv4Addr::from(0x7f00_0000 | peer).into(),
    }
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

fn populate(records: &mut Records) -> Vec<String> {
    records
        .write(|w| {
            w.add_app("etest", None, None)?;
            (0..ACCOUNTS)
                .map(|n| {
                    let uid = Uid::parse(&format!("{n:024x}")).unwrap();
                    let added = w.add_account("etest", uid, Role::User)?;
                    Ok(added.secret.expose().to_owned())
                })
                .collect()
        })
        .unwrap()
}

/// One login at a time: nanoseconds from asking to the verdict.
fn one_at_a_time(
    port: &ControlPort,
    woken: &crossbeam::channel::Receiver<()>,
    clock: Clock,
    mut make: impl FnMut(u32) -> LoginRequest,
) -> Vec<u64> {
    let mut times: Vec<u64> = (0..SAMPLES)
        .map(|n| {
            let request = make(n);
            let begun = clock.now().instant;
            assert!(port.login(request).is_ok());
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
    let secrets = populate(&mut records);
    println!(
        "{ACCOUNTS} accounts added in {:?}",
        clock.now().instant - Instant::default()
    );
    let (wake, woken) = bounded(1);
    let handle = Control::start(ControlConfig {
        data_dir: dir.path().to_owned(),
        shards: 1,
        wake: Arc::new(move |_| {
            let _ = wake.try_send(());
        }),
        token_keys: TokenKeys::default(),
    })
    .unwrap();
    let port = handle.port();
    while port.next(0).is_some() {}

    // A scattered order: neighbours in the database are not asked for one after the other.
    let scattered = |n: u32| n.wrapping_mul(2_654_435_761) % ACCOUNTS;
    for window in [1, 64, 4_096] {
        let begun = clock.now().instant;
        let cpu = cpu_ms();
        let (mut asked, mut answered) = (0, 0);
        let logins = if window == 1 { LOGINS / 10 } else { LOGINS };
        while answered < logins {
            while asked < logins && asked - answered < window {
                let n = scattered(asked);
                assert!(
                    port.login(request(asked, &account(n), &secrets[n as usize], asked % 65_536))
                        .is_ok()
                );
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
        println!(
            "{window:>5} in flight: {:>7.0} logins/s, {:.2} us of CPU a login, all threads",
            f64::from(logins) / elapsed.as_secs_f64(),
            (cpu_ms() - cpu) * 1_000.0 / f64::from(logins),
        );
    }

    let report = |name: &str, make: &mut dyn FnMut(u32) -> LoginRequest| {
        let times = one_at_a_time(&port, &woken, clock, make);
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
