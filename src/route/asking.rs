//! Requests: from the block that asks to the worker that is asked.
//!
//! Every request gets exactly one outcome: either [`Router::request`] gives it at once, or the request stands
//! in [`super::requests::Requests`] and whoever takes it out there gives it.

use super::failure::Failure;
use super::identity::{BUILT_IN_APP, Sender, check_app, check_resource};
use super::letter::{Declined, Letter, Wish};
use super::message::{ApiRequest, Delivery, Outcome, Ownership, Qos, SessionId, SessionKey, Token};
use super::parcel::Parcel;
use super::port::{Port, Receivers, RouteTimer};
use super::requests::RequestKey;
use super::router::Router;
use super::select::{Nobody, Query, listeners, select};
use super::{drops, message};
use crate::json::check_object;
use crate::limits;
use crate::observe::{ApiOutcome, DropReason, Stage};
use crate::time::Now;
use std::time::Duration;

/// A request without what only its requester's session needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking<'a> {
    pub(super) app: &'a str,
    pub(super) cmd: &'a str,
    pub(super) resource: Option<&'a str>,
    pub(super) ownership: Ownership,
    pub(super) prioritize_mine: bool,
    pub(super) body: &'a [u8],
    pub(super) qos: Qos,
}

/// Why a worker of this shard was not asked.
pub(super) enum NotAsked {
    /// Another one may be.
    Declined(Declined),
    /// No other would do better.
    Failed(Failure),
}

/// An outcome on its way to its requester.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended<'a> {
    pub(super) kind: ApiOutcome,
    pub(super) code: i32,
    pub(super) body: &'a [u8],
    pub(super) worker: Option<Sender<'a>>,
    pub(super) qos: Qos,
}

impl<'a> Asking<'a> {
    fn of(request: &ApiRequest<'a>) -> Self {
        Self {
            app: request.app,
            cmd: request.cmd,
            resource: request.resource,
            ownership: request.ownership,
            prioritize_mine: request.prioritize_mine,
            body: if request.body.is_empty() {
                b"{}"
            } else {
                request.body
            },
            qos: request.qos,
        }
    }

    /// Reads what came back from a shard that declined.
    pub(super) fn read(parcel: &'a Parcel, wish: &Wish) -> Self {
        Self {
            app: parcel.text(wish.app),
            cmd: parcel.text(wish.cmd),
            resource: wish.resource.map(|resource| parcel.text(resource)),
            ownership: wish.ownership,
            prioritize_mine: wish.prioritize_mine,
            body: parcel.bytes(wish.body),
            qos: wish.qos,
        }
    }

    /// Writes it into a parcel.
    pub(super) fn write(&self, parcel: &mut Parcel) -> Wish {
        Wish {
            app: parcel.put_text(self.app),
            cmd: parcel.put_text(self.cmd),
            resource: self.resource.map(|resource| parcel.put_text(resource)),
            ownership: self.ownership,
            prioritize_mine: self.prioritize_mine,
            body: parcel.put_bytes(self.body),
            qos: self.qos,
        }
    }

    fn len(&self) -> usize {
        self.app.len() + self.cmd.len() + self.resource.map_or(0, str::len) + self.body.len()
    }

    /// Names, size and body, in this order.
    fn check(&self) -> Result<(), Failure> {
        let names = check_app(self.app)
            .and_then(|_| check_resource(self.cmd))
            .and_then(|_| self.resource.map_or(Ok(""), check_resource));
        names.map_err(|error| Failure::BadRequest(error.0))?;
        if self.ownership == Ownership::Unknown {
            return Err(Failure::BadRequest(
                "ownership is mine or owner, prioritize_mine is true or false",
            ));
        }
        if self.body.len() > limits::API_BODY_BYTES_MAX {
            return Err(Failure::TooLarge);
        }
        check_object(self.body)
            .map(|_| ())
            .map_err(|error| Failure::BadRequest(error.as_str()))
    }
}

impl Router {
    /// Asks a worker, or the daemon itself (app `nexus`). Exactly one outcome comes as [`Delivery::Reply`] to
    /// `from`, unless it leaves before; from within this call, or later. A second request with a unique label
    /// that is in flight is dropped and counted.
    pub fn request(&mut self, now: Now, port: &mut impl Port, from: SessionKey, request: &ApiRequest<'_>) {
        self.metrics.requests_in.increment();
        if request.label_is_unique && self.requests.has_label(from, request.label) {
            self.metrics.dropped(Stage::Request, DropReason::DuplicateId);
            return;
        }
        let asked = self.with_sender(from, |router, sender| {
            let asking = Asking::of(request);
            let taken = router.take(now, port, from, sender, request, &asking);
            if let Err(failure) = taken {
                router.fail_at_once(port, from, request.label, failure);
            }
        });
        if asked.is_none() {
            self.metrics.dropped(Stage::Request, DropReason::NotAuthorized);
        }
    }

    fn take(
        &mut self,
        now: Now,
        port: &mut impl Port,
        from: SessionKey,
        sender: &Sender<'_>,
        request: &ApiRequest<'_>,
        asking: &Asking<'_>,
    ) -> Result<(), Failure> {
        if request.label.len() > limits::LABEL_BYTES_MAX {
            return Err(Failure::TooLarge);
        }
        asking.check()?;
        if asking.app == BUILT_IN_APP {
            return self.answer_built_in(now, port, from, sender, request.label, asking);
        }
        if !self.entitlement.may_call(sender, asking.app, now.unix_ms) {
            return Err(Failure::NotEntitled);
        }
        let own = self.own_listener_to_avoid(from, asking.cmd);
        let worker = self.choose(sender, asking, own, own.is_some())?;
        if self.requests.len() >= self.limits.requests_per_shard_max {
            return Err(Failure::Overloaded);
        }
        let Some(entry) = self.sessions.attached_mut(from) else {
            return Ok(());
        };
        let extra = entry.extra();
        if extra.requests as usize >= self.limits.requests_per_block_max {
            return Err(Failure::Overloaded);
        }
        let deadline = now.instant + Duration::from_millis(limits::API_TIMEOUT_MS);
        let key = self.requests.insert(
            from,
            extra,
            (request.label, request.label_is_unique),
            worker,
            now.instant,
            |timer| port.arm(deadline, timer),
        );
        self.place(port, key, sender, asking, worker);
        Ok(())
    }

    /// The requester itself, if it listens to the command but not to its own messages (No Local).
    fn own_listener_to_avoid(&self, from: SessionKey, cmd: &str) -> Option<SessionId> {
        let listener = self.sessions.attached(from)?.worker()?.listener(cmd)?;
        listener.options.no_local.then_some(SessionId {
            shard: self.shard,
            key: from,
        })
    }

    fn choose(
        &mut self,
        sender: &Sender<'_>,
        asking: &Asking<'_>,
        avoid: Option<SessionId>,
        is_own: bool,
    ) -> Result<SessionId, Nobody> {
        let query = Query {
            app: asking.app,
            cmd: asking.cmd,
            resource: asking.resource,
            ownership: asking.ownership,
            prioritize_mine: asking.prioritize_mine,
            uid: sender.uid(),
            avoid,
            load_max: self.worker_load_max(),
        };
        let chosen = select(&self.directory, &mut self.rng, &query);
        // Where the requester itself is the only one, and does not listen to itself, nobody listens.
        match chosen {
            Err(Nobody::Overloaded) if is_own && listeners(&self.directory, &query) == 1 => {
                Err(Nobody::NotImplemented)
            }
            _ => chosen,
        }
    }

    fn worker_load_max(&self) -> u32 {
        u32::try_from(self.limits.requests_per_worker_max).unwrap_or(u32::MAX)
    }

    /// Hands a request that stands in the table to a worker, and to another one where that one declines.
    pub(super) fn place(
        &mut self,
        port: &mut impl Port,
        key: RequestKey,
        sender: &Sender<'_>,
        asking: &Asking<'_>,
        mut worker: SessionId,
    ) {
        loop {
            let token = self.token();
            let Some(request) = self.requests.get_mut(key) else {
                return;
            };
            (request.worker, request.token) = (worker, token);
            if worker.shard != self.shard {
                self.pass_request(port, key, sender, asking, worker, token);
                return;
            }
            let declined = match self.give(port, (worker.key, token), (self.shard, key), sender, asking) {
                Ok(()) => return,
                Err(NotAsked::Failed(failure)) => return self.fail(port, key, failure),
                Err(NotAsked::Declined(declined)) => declined,
            };
            match self.choose_again(key, sender, asking, declined) {
                Ok(other) => worker = other,
                Err(failure) => return self.fail(port, key, failure),
            }
        }
    }

    fn pass_request(
        &mut self,
        port: &mut impl Port,
        key: RequestKey,
        sender: &Sender<'_>,
        asking: &Asking<'_>,
        worker: SessionId,
        token: Token,
    ) {
        if !self
            .mesh
            .has_room(worker.shard, sender.address().len() + asking.len())
        {
            self.metrics.dropped(Stage::Mesh, DropReason::MeshFull);
            return self.fail(port, key, Failure::Overloaded);
        }
        self.directory.sent(worker);
        if let Some(request) = self.requests.get_mut(key) {
            request.sent = true;
        }
        self.mesh.write(worker.shard, |parcel| Letter::Request {
            request: key,
            worker: worker.key,
            token,
            sender: parcel.put_sender(sender),
            wish: asking.write(parcel),
        });
    }

    /// After a worker declined: another one, a bounded number of times.
    pub(super) fn choose_again(
        &mut self,
        key: RequestKey,
        sender: &Sender<'_>,
        asking: &Asking<'_>,
        declined: Declined,
    ) -> Result<SessionId, Failure> {
        let gave_up = match declined {
            Declined::Full => Failure::Overloaded,
            Declined::Gone => Failure::WorkerGone,
        };
        let request = self.requests.get_mut(key).ok_or(gave_up)?;
        request.declined += 1;
        let (count, avoid) = (request.declined, request.worker);
        if count > limits::REQUEST_RETRIES_MAX {
            return Err(gave_up);
        }
        self.choose(sender, asking, Some(avoid), false)
            .map_err(|nobody| match (declined, nobody) {
                // It was there when it was chosen.
                (Declined::Gone, Nobody::NoWorker) => Failure::WorkerGone,
                (_, nobody) => nobody.into(),
            })
    }

    /// Asks a worker of this shard on behalf of a request of `origin`, if it can take it. The shard that was
    /// declined takes the worker for full until it hears of its load: so it is told at the next tick, changed or
    /// not.
    pub(super) fn give(
        &mut self,
        port: &mut impl Port,
        (worker, token): (SessionKey, Token),
        (origin, request): (u16, RequestKey),
        sender: &Sender<'_>,
        asking: &Asking<'_>,
    ) -> Result<(), NotAsked> {
        let load_max = self.worker_load_max();
        let gone = NotAsked::Declined(Declined::Gone);
        let Some(known) = self
            .sessions
            .attached_mut(worker)
            .and_then(|entry| entry.worker_mut())
        else {
            return Err(gone);
        };
        let Some(listener) = known.listener(asking.cmd).filter(|_| !self.draining) else {
            return Err(gone);
        };
        if known.in_flight >= load_max {
            self.load_changed(worker);
            return Err(NotAsked::Declined(Declined::Full));
        }
        let delivery = Delivery::Request {
            token,
            cmd: asking.cmd,
            body: asking.body,
            sender: *sender,
            qos: asking.qos,
            options: listener.options,
        };
        port.begin_message(Receivers::One);
        if let Err(reason) = port.deliver(worker, &delivery) {
            self.metrics.dropped(Stage::Request, drops::reason(reason));
            self.load_changed(worker);
            return Err(match reason {
                message::Undelivered::Gone => gone,
                message::Undelivered::QueueFull
                | message::Undelivered::Expired
                | message::Undelivered::NotStored => NotAsked::Declined(Declined::Full),
                message::Undelivered::TooLarge => NotAsked::Failed(Failure::TooLarge),
                message::Undelivered::NotText => NotAsked::Failed(Failure::BadRequest(
                    "body cannot be carried by the worker's protocol",
                )),
            });
        }
        self.metrics.requests_out.increment();
        self.asked.insert(token, (worker, known), origin, request);
        self.load_changed(worker);
        Ok(())
    }

    /// A timer has come back: the request it stands for, if still in flight, ends as -408.
    pub fn timer(&mut self, _now: Now, port: &mut impl Port, timer: RouteTimer) {
        let key = RequestKey::of_timer(timer);
        if let Some(request) = self.requests.get(key) {
            let (worker, token) = (request.worker, request.token);
            self.settle(worker, token);
            self.fail(port, key, Failure::Timeout);
        }
    }

    /// Tells the worker's shard that an answer is no longer wanted.
    fn settle(&mut self, worker: SessionId, token: Token) {
        if worker.shard == self.shard {
            self.settled(token);
        } else {
            self.mesh.write(worker.shard, |_| Letter::Settled { token });
        }
    }

    /// Ends a request in flight with an outcome that the daemon gives.
    pub(super) fn fail(&mut self, port: &mut impl Port, key: RequestKey, failure: Failure) {
        let mut body = std::mem::take(&mut self.body_scratch);
        failure.write(&mut body);
        let ended = Ended {
            kind: failure.kind(),
            code: failure.code(),
            body: &body,
            worker: None,
            qos: Qos::AtLeastOnce,
        };
        self.finish(port, key, &ended);
        self.body_scratch = body;
    }

    /// Gives a request in flight its outcome. `false` if it has had one, or its requester left.
    pub(super) fn finish(&mut self, port: &mut impl Port, key: RequestKey, ended: &Ended<'_>) -> bool {
        let Some(requester) = self.requests.get(key).map(|request| request.requester) else {
            return false;
        };
        let Some((request, label)) = self.forget(port, requester, key) else {
            return false;
        };
        let took = port.now().saturating_since(request.since);
        self.metrics.api_latency.record(took);
        self.reply(port, request.requester, &label, ended);
        self.requests.keep_label(key, label);
        true
    }

    fn forget(
        &mut self,
        port: &mut impl Port,
        requester: SessionKey,
        key: RequestKey,
    ) -> Option<(super::requests::InFlight, Vec<u8>)> {
        let extra = self
            .sessions
            .get_mut(requester)
            .and_then(|entry| entry.extra.as_deref_mut());
        let (request, label) = self.requests.remove(key, extra)?;
        port.cancel(request.timer);
        if request.sent {
            self.directory.ended(request.worker);
        }
        Some((request, label))
    }

    /// Ends all the session's requests without an outcome: nobody is there to hear it.
    pub(super) fn leave_requests(&mut self, port: &mut impl Port, key: SessionKey) {
        while let Some(extra) = self.sessions.get(key).and_then(|entry| entry.extra.as_deref())
            && let Some(latest) = self.requests.latest(extra)
        {
            let Some((request, label)) = self.forget(port, key, latest) else {
                return;
            };
            self.requests.keep_label(latest, label);
            self.settle(request.worker, request.token);
        }
    }

    fn fail_at_once(&mut self, port: &mut impl Port, to: SessionKey, label: &[u8], failure: Failure) {
        let mut body = std::mem::take(&mut self.body_scratch);
        failure.write(&mut body);
        self.reply_at_once(port, to, label, failure.kind(), failure.code(), &body);
        self.body_scratch = body;
    }

    /// Gives an outcome of the daemon's own to a request that was never in flight.
    pub(super) fn reply_at_once(
        &mut self,
        port: &mut impl Port,
        to: SessionKey,
        label: &[u8],
        kind: ApiOutcome,
        code: i32,
        body: &[u8],
    ) {
        let ended = Ended {
            kind,
            code,
            body,
            worker: None,
            qos: Qos::AtLeastOnce,
        };
        self.reply(port, to, label, &ended);
    }

    fn reply(&self, port: &mut impl Port, to: SessionKey, label: &[u8], ended: &Ended<'_>) {
        self.metrics.ended(ended.kind);
        let delivery = Delivery::Reply {
            label,
            outcome: Outcome {
                code: ended.code,
                body: ended.body,
                sender: ended.worker,
            },
            qos: ended.qos,
        };
        port.begin_message(Receivers::One);
        if let Err(reason) = port.deliver(to, &delivery) {
            self.metrics.dropped(Stage::Reply, drops::reason(reason));
        }
    }
}
