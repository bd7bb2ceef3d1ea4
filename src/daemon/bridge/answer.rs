//! From a request that was read to the members that clients read of its answer.

use std::cell::RefCell;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::desk::Desk;
use super::find::{Rotations, live};
use super::rate::Rates;
use super::request::{Endpoint, Request};
use super::{BridgeConfig, BridgeMetrics, Failure};
use crate::daemon::clock::Clock;
use crate::daemon::control::{Announcement, Given, TokenHolder, Wanted};
use crate::limits;
use crate::route::{Account, Ownership, Uid};

/// What all connections share.
pub(super) struct Answers {
    desk: Desk,
    config: BridgeConfig,
    clock: Clock,
    rates: RefCell<Rates>,
    rotations: RefCell<Rotations>,
}

impl Answers {
    pub(super) fn new(desk: Desk, config: BridgeConfig) -> Self {
        Self {
            desk,
            config,
            clock: Clock::start(),
            rates: RefCell::new(Rates::new(limits::BRIDGE_ADDRESSES_MAX)),
            rotations: RefCell::default(),
        }
    }

    pub(super) fn metrics(&self) -> &BridgeMetrics {
        &self.config.metrics
    }

    /// Whether one more request of `peer` is within its rate.
    pub(super) fn admits(&self, peer: IpAddr) -> bool {
        let now = self.clock.now().instant;
        self.rates.borrow_mut().admits(now, peer)
    }

    /// The members of the answer but for `code`, which is 0.
    pub(super) async fn answer(&self, endpoint: Endpoint, body: &[u8]) -> Result<Value, Failure> {
        match endpoint.read(body)? {
            Request::Credentials {
                secret,
                resource,
                public,
            } => self.credentials(secret, resource, public).await,
            Request::Workers {
                secret,
                app,
                resource,
                ownership,
            } => self.workers(secret, app, resource, ownership).await,
            Request::ServiceBySecret { secret, uid } => {
                let found = self
                    .desk
                    .ask(move |store, _| store.service_by_secret(&secret, uid));
                Ok(json!({ "code": 0, "servid": found.await? }))
            }
            Request::LiveService { secret, uid } => self.live_service(secret, uid).await,
        }
    }

    async fn credentials(
        &self,
        secret: String,
        resource: Option<String>,
        public: bool,
    ) -> Result<Value, Failure> {
        let token = self.token_of(&secret);
        let found = self.desk.ask(move |store, may_write| {
            let resource = resource.as_deref();
            let announcement = Announcement { resource, public };
            store.bridge_credentials(given(&secret, token.as_ref()), announcement, may_write)
        });
        let credentials = found.await?;
        let account = Account::parse(&credentials.account).map_err(|_| Failure::NotEntitled)?;
        Ok(json!({
            "code": 0,
            "app": account.app,
            "uid": account.uid.to_string(),
            "role": account.role.as_str(),
            "user": account.name,
            "password": credentials.password,
        }))
    }

    async fn workers(
        &self,
        secret: String,
        app: String,
        resource: Option<String>,
        ownership: Ownership,
    ) -> Result<Value, Failure> {
        let wanted_app = app.clone();
        let token = self.token_of(&secret);
        let found = self.desk.ask(move |store, _| {
            let wanted = Wanted {
                app: &wanted_app,
                resource: resource.as_deref(),
                ownership,
            };
            store.bridge_workers(given(&secret, token.as_ref()), &wanted)
        });
        let workers = found.await?;
        let live = live(&self.config.enquiries, &workers.announced).await?;
        if live.is_empty() {
            return Err(Failure::NoWorker);
        }
        let domain = &self.config.domain;
        let jids = self.rotations.borrow_mut().order(&app, domain, &workers, &live);
        Ok(json!({ "code": 0, "jids": jids }))
    }

    /// Whom a token stands for; nothing if it is none, or no good.
    fn token_of(&self, secret: &str) -> Option<TokenHolder> {
        let now = self.clock.now();
        self.config.token_keys.holder(secret, now.unix_ms)
    }

    async fn live_service(&self, secret: String, uid: Uid) -> Result<Value, Failure> {
        let found = self
            .desk
            .ask(move |store, may_write| store.live_service(&secret, uid, may_write));
        let service = found.await?;
        Ok(json!({ "code": 0, "servid": service.id, "secret": service.secret }))
    }

    /// The body that tells a failure, counted. Clients go through `jids` without looking whether it is there.
    pub(super) fn failed(&self, endpoint: Option<Endpoint>, failure: Failure) -> Value {
        let metrics = self.metrics();
        match failure {
            Failure::NotEntitled => metrics.denied.increment(),
            Failure::NoWorker => {}
            Failure::Undecided => metrics.undecided.increment(),
            _ => metrics.refused.increment(),
        }
        if endpoint == Some(Endpoint::Workers) {
            json!({ "code": failure.code(), "error": failure.text(), "jids": [] })
        } else {
            json!({ "code": failure.code(), "error": failure.text() })
        }
    }
}

const fn given<'a>(secret: &'a str, token: Option<&'a TokenHolder>) -> Given<'a> {
    match token {
        Some(holder) => Given::Token(secret, holder),
        None => Given::Secret(secret),
    }
}
