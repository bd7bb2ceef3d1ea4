//! The thread itself, with the real clock: waits are for events, with a deadline.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded};

use super::{OWNER, change, populated, uid, verdict};
use crate::daemon::clock::Clock;
use crate::daemon::control::{
    Control, ControlConfig, ControlHandle, ControlMessage, ControlPort, Records, ServiceKind, StoreFault,
    TokenKeys,
};
use crate::route::{Change, SessionId, SessionKey};
use crate::store::{LoginProof, LoginRequest};

/// "In under a second."
const DEADLINE: Duration = Duration::from_secs(1);

struct Running {
    handle: ControlHandle,
    port: Arc<ControlPort>,
    woken: Receiver<usize>,
}

fn start(dir: &Path) -> Running {
    let (wake, woken) = bounded(1_024);
    let config = ControlConfig {
        data_dir: dir.to_owned(),
        shards: 1,
        wake: Arc::new(move |shard| {
            // Full: the shard has been woken often enough.
            let _ = wake.try_send(shard);
        }),
        token_keys: TokenKeys::default(),
    };
    let handle = Control::start(config).unwrap();
    let port = handle.port();
    // The policies of the apps.
    while port.next(0).is_some() {}
    Running { handle, port, woken }
}

impl Running {
    /// The next message; fails after a second without one.
    fn next(&self) -> ControlMessage {
        let clock = Clock::start();
        loop {
            if let Some(message) = self.port.next(0) {
                return message;
            }
            let left = DEADLINE.saturating_sub(clock.now().instant - crate::time::Instant::default());
            self.woken.recv_timeout(left).expect("told within a second");
        }
    }

    fn ask(&self, password: &str) {
        let request = LoginRequest {
            session: SessionId {
                shard: 0,
                key: SessionKey {
                    slot: 7,
                    generation: 3,
                },
            },
            account: OWNER.into(),
            resource: Some("r".into()),
            proof: LoginProof::Password(password.as_bytes().into()),
            peer: "127.0.0.1".parse().unwrap(),
        };
        assert!(self.port.login(request).is_ok());
        self.port.wake();
    }
}

#[test]
fn a_login_is_answered_to_the_shard_that_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (_, secret) = populated(dir.path());
    let running = start(dir.path());
    running.ask(&secret);
    let verdict = verdict(&running.next()).unwrap();
    assert_eq!(
        verdict.session.key,
        SessionKey {
            slot: 7,
            generation: 3
        }
    );
    assert!(verdict.result.is_ok());
    assert!(running.port.is_healthy());
}

#[test]
fn grant_expiry_and_revocation_by_another_connection_are_told_within_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let (mut records, secret) = populated(dir.path());
    let running = start(dir.path());
    let expect = |records: &mut Records, expected: Option<Option<u64>>| {
        records
            .write(|w| match expected {
                Some(expires) => w
                    .grant_service(uid(), "etest", ServiceKind::Get, expires)
                    .map(|_| ()),
                None => w.revoke_service(uid(), "etest").map(|_| ()),
            })
            .unwrap();
        let Some(Change::Services { services, .. }) = change(&running.next()) else {
            panic!("no services");
        };
        let told = services.first().map(|service| service.expires_unix_ms);
        assert_eq!(told, expected);
    };
    expect(&mut records, Some(None));
    expect(&mut records, Some(Some(4_000_000_000_000)));
    expect(&mut records, None);
    records.write(|w| w.revoke_account(OWNER)).unwrap();
    let told = Change::AccountRevoked {
        account: OWNER.into(),
    };
    assert_eq!(change(&running.next()), Some(told));
    running.ask(&secret);
    assert!(verdict(&running.next()).unwrap().result.is_err());
}

#[test]
fn a_thread_that_was_stopped_takes_no_logins_and_frees_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (_, secret) = populated(dir.path());
    let running = start(dir.path());
    let taken = Control::start(ControlConfig {
        data_dir: dir.path().to_owned(),
        shards: 1,
        wake: Arc::new(|_| {}),
        token_keys: TokenKeys::default(),
    });
    assert!(matches!(taken, Err(StoreFault::Taken { .. })), "{taken:?}");
    let Running { handle, port, .. } = running;
    handle.stop();
    assert!(!port.is_healthy());
    let again = start(dir.path());
    again.ask(&secret);
    assert!(verdict(&again.next()).unwrap().result.is_ok());
    let request = LoginRequest {
        session: SessionId {
            shard: 0,
            key: SessionKey {
                slot: 0,
                generation: 0,
            },
        },
        account: OWNER.into(),
        resource: Some("r".into()),
        proof: LoginProof::Password(secret.into_bytes().into()),
        peer: "127.0.0.1".parse().unwrap(),
    };
    assert!(port.login(request).is_err(), "the first thread has ended");
}

#[test]
fn starting_makes_a_store_where_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("a/b");
    let running = start(&made);
    assert!(made.join("nexus.db").exists());
    running.ask("x");
    assert!(verdict(&running.next()).unwrap().result.is_err());
}
