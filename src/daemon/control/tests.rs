//! The control thread's work with the time injected, and the thread itself where threads are the point.

mod bridge;
mod certificate;
mod engine;
mod recent;
mod scram;
mod speed;
mod steps;
mod store;
mod thread;
mod token;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::engine::Engine;
use super::files::{DataDir, OpenMode};
use super::outbox::Outbox;
use super::port::{ControlMessage, ControlPort};
use super::records::Records;
use super::slow::SlowPool;
use super::token::TokenKeys;
use super::{book, records};
use crate::route::{Change, Grants, Role, SessionId, SessionKey, Uid};
use crate::session::LoginFailure;
use crate::store::{Admitted, LoginProof, LoginRequest, LoginVerdict, Verified};
use crate::time::Now;

const UID: &str = "0123456789abcdef01234567";
const OWNER: &str = "etest-0123456789abcdef01234567-owner";

fn uid() -> Uid {
    Uid::parse(UID).unwrap()
}

/// A store with the app `etest`, and the owner's account and its secret.
fn populated(dir: &Path) -> (Records, String) {
    let mut records = Records::open(dir, OpenMode::Create).unwrap();
    let secret = records
        .write(|w| {
            w.add_app("etest", None, None)?;
            Ok(w.add_account("etest", uid(), Role::Owner)?
                .secret
                .expose()
                .to_owned())
        })
        .unwrap();
    (records, secret)
}

/// An engine without its thread, its store, and a clock that is moved by hand.
struct Desk {
    dir: TempDir,
    records: Records,
    secret: String,
    engine: Engine,
    port: Arc<ControlPort>,
    now: Now,
    woken: Arc<AtomicUsize>,
    next_slot: u32,
}

impl Desk {
    fn new() -> Self {
        Self::with(1, 64, TokenKeys::default())
    }

    fn with(shards: usize, inbox_max: usize, tokens: TokenKeys) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (records, secret) = populated(dir.path());
        let data_dir = DataDir::open(dir.path(), OpenMode::Existing).unwrap();
        let book = book::open(&data_dir).unwrap();
        let port = Arc::new(ControlPort::new(shards, 4_096, inbox_max));
        port.adopt(std::thread::current());
        let woken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&woken);
        let wake = Arc::new(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let tokens = Arc::new(tokens);
        let slow = SlowPool::start(&port, &tokens).unwrap();
        let outbox = Outbox::new(Arc::clone(&port), wake);
        let engine = Engine::new(book, Arc::clone(&port), outbox, slow, tokens, [1, 2, 3, 4]).unwrap();
        let now = Now {
            instant: crate::time::Instant::default() + Duration::from_secs(1),
            unix_ms: crate::daemon::clock::unix_ms(),
        };
        let mut desk = Self {
            dir,
            records,
            secret,
            engine,
            port,
            now,
            woken,
            next_slot: 0,
        };
        // The policies of `etest` and `nexus`.
        let told = desk.take_all(0);
        assert_eq!(told.len(), 2.min(inbox_max));
        desk
    }

    fn pass(&mut self, ms: u64) {
        self.now.instant = self.now.instant + Duration::from_millis(ms);
        self.now.unix_ms += ms;
    }

    fn turn(&mut self) -> Duration {
        self.engine.turn(self.now)
    }

    /// Queues a login for shard 0 and tells which session it is for.
    fn ask_with(
        &mut self,
        peer: &str,
        account: &str,
        resource: Option<&str>,
        proof: LoginProof,
    ) -> SessionId {
        let peer: IpAddr = peer.parse().unwrap();
        self.next_slot += 1;
        let session = SessionId {
            shard: 0,
            key: SessionKey {
                slot: self.next_slot,
                generation: 0,
            },
        };
        let request = LoginRequest {
            session,
            account: account.into(),
            resource: resource.map(Into::into),
            proof,
            peer,
        };
        assert!(self.port.login(request).is_ok());
        session
    }

    fn ask_from(&mut self, peer: &str, account: &str, resource: &str, password: &str) -> SessionId {
        let proof = LoginProof::Password(password.as_bytes().into());
        self.ask_with(peer, account, Some(resource), proof)
    }

    fn ask(&mut self, account: &str, resource: &str, password: &str) -> SessionId {
        self.ask_from("192.0.2.1", account, resource, password)
    }

    fn take_all(&mut self, shard: usize) -> Vec<ControlMessage> {
        std::iter::from_fn(|| self.port.next(shard)).collect()
    }

    /// Everything told to shard 0 after one turn.
    fn told(&mut self) -> Vec<ControlMessage> {
        self.turn();
        self.take_all(0)
    }

    fn changes(&mut self) -> Vec<Change> {
        self.told().iter().filter_map(change).collect()
    }

    /// The one verdict after one turn, if there is one.
    fn verified(&mut self) -> Option<Result<Verified, LoginFailure>> {
        let verdicts: Vec<LoginVerdict> = self.told().iter().filter_map(verdict).collect();
        assert!(verdicts.len() <= 1, "{verdicts:?}");
        verdicts.into_iter().next().map(|verdict| verdict.result)
    }

    fn verdict(&mut self) -> Option<Result<Grants, LoginFailure>> {
        self.verified().map(|result| result.map(admitted).map(granted))
    }

    fn login(&mut self, account: &str, resource: &str, password: &str) -> Result<Grants, LoginFailure> {
        self.ask(account, resource, password);
        self.verdict().expect("decided in one turn")
    }

    /// Waits for the one verdict of what the slow threads prove, with a deadline.
    fn settled(&mut self) -> Result<Verified, LoginFailure> {
        for _ in 0..10_000 {
            if let Some(verdict) = self.verified() {
                return verdict;
            }
            self.pass(1);
            std::thread::park_timeout(Duration::from_millis(1));
        }
        panic!("not decided within 10 s");
    }

    /// As [`Desk::login`], for what the slow threads prove.
    fn slow_login(&mut self, account: &str, resource: &str, password: &str) -> Result<Grants, LoginFailure> {
        self.ask(account, resource, password);
        self.settled().map(admitted).map(granted)
    }

    fn write<T>(
        &mut self,
        change: impl FnOnce(&records::Writer<'_>) -> Result<T, records::RecordError>,
    ) -> T {
        self.records.write(change).unwrap()
    }
}

fn admitted(verified: Verified) -> Admitted {
    match verified {
        Verified::Account(admitted) => *admitted,
        challenge @ Verified::Challenge { .. } => panic!("{challenge:?}"),
    }
}

fn granted(admitted: Admitted) -> Grants {
    admitted.grants
}

fn change(message: &ControlMessage) -> Option<Change> {
    match message {
        ControlMessage::Change(change) => Some(Change::clone(change)),
        ControlMessage::Verdict(_) => None,
    }
}

fn verdict(message: &ControlMessage) -> Option<LoginVerdict> {
    match message {
        ControlMessage::Verdict(verdict) => Some(verdict.clone()),
        ControlMessage::Change(_) => None,
    }
}
