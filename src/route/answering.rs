//! Answers: from the worker that was asked back to the block that asks.

use super::asked::Question;
use super::asking::{Asking, Ended, NotAsked};
use super::failure::Failure;
use super::identity::Sender;
use super::letter::{Declined, Letter, Wish};
use super::message::{Answer, Qos, SessionKey, Token};
use super::parcel::Parcel;
use super::port::Port;
use super::requests::RequestKey;
use super::router::Router;
use crate::json::check_object;
use crate::limits;
use crate::observe::{ApiOutcome, DropReason, Stage};
use crate::time::Now;

impl Router {
    /// Takes a worker's answer: from the session that was asked alone, once, and only while its requester waits
    /// for it. Anything else is dropped and counted.
    pub fn answer(&mut self, _now: Now, port: &mut impl Port, from: SessionKey, answer: &Answer<'_>) {
        let token = answer.token;
        let Some(question) = self.asked.find(token) else {
            let late = self.asked.has_ended(token);
            let reason = if late {
                DropReason::Late
            } else {
                DropReason::UnknownToken
            };
            self.metrics.dropped(Stage::Answer, reason);
            return;
        };
        if question.worker != from {
            self.metrics.dropped(Stage::Answer, DropReason::WrongSession);
            return;
        }
        self.with_sender(from, |router, worker| {
            if let Some(question) = router.settled(token) {
                router.judge(port, &question, worker, answer);
            }
        });
    }

    /// What an answer is to the requester.
    fn judge(&mut self, port: &mut impl Port, question: &Question, worker: &Sender<'_>, answer: &Answer<'_>) {
        let verdict = match answer.failure {
            Some(code) => Err(Failure::ByWorker(code)),
            None if answer.body.len() > limits::API_BODY_BYTES_MAX => Err(Failure::TooLarge),
            None if answer.body.is_empty() => Ok((0, &b"{}"[..])),
            None => check_object(answer.body)
                .map(|code| (code.unwrap_or(0), answer.body))
                .map_err(|error| Failure::BadRequest(error.as_str())),
        };
        let mut scratch = std::mem::take(&mut self.body_scratch);
        let (kind, code, body) = match verdict {
            Ok((code, body)) => (ApiOutcome::Reply, code, body),
            Err(failure) => {
                failure.write(&mut scratch);
                (failure.kind(), failure.code(), scratch.as_slice())
            }
        };
        let ended = Ended {
            kind,
            code,
            body,
            worker: Some(*worker),
            qos: answer.qos,
        };
        self.send_outcome(port, question.origin, question.request, &ended);
        self.body_scratch = scratch;
    }

    /// Brings an outcome to the requester's shard.
    fn send_outcome(&mut self, port: &mut impl Port, origin: u16, request: RequestKey, ended: &Ended<'_>) {
        if origin == self.shard {
            if !self.finish(port, request, ended) {
                self.metrics.dropped(Stage::Answer, DropReason::Late);
            }
            return;
        }
        let mut ended = *ended;
        let mut small = Vec::new();
        if !self.mesh.has_reserved_room(origin, ended.body.len()) {
            self.metrics.dropped(Stage::Mesh, DropReason::MeshFull);
            Failure::Overloaded.write(&mut small);
            ended = Ended {
                kind: Failure::Overloaded.kind(),
                code: Failure::Overloaded.code(),
                body: &small,
                worker: None,
                qos: Qos::AtLeastOnce,
            };
        }
        self.mesh.write(origin, |parcel| Letter::Reply {
            request,
            kind: ended.kind,
            code: ended.code,
            body: parcel.put_bytes(ended.body),
            worker: ended.worker.map(|worker| parcel.put_sender(&worker)),
            qos: ended.qos,
        });
    }

    /// Ends what a worker of this shard was asked: the token is good for nothing any more.
    pub(super) fn settled(&mut self, token: Token) -> Option<Question> {
        let key = self.asked.find(token)?.worker;
        let worker = self.sessions.get_mut(key)?.worker_mut()?;
        let question = self.asked.remove(token, worker);
        self.load_changed(key);
        question
    }

    /// A session leaves: it is no worker any more, and what it was asked ends as -2001.
    pub(super) fn leave_work(&mut self, _now: Now, port: &mut impl Port, key: SessionKey) {
        self.retract_work(key);
        self.give_up_work(port, key);
    }

    /// A worker is offered to nobody any more. What it was asked stays.
    pub(super) fn retract_work(&mut self, key: SessionKey) {
        let Some(worker) = self.sessions.attached(key).and_then(|entry| entry.worker()) else {
            return;
        };
        if worker.is_one() && !self.draining {
            self.directory.down(self.id(key));
            self.mesh.broadcast(|_| Letter::WorkerDown { worker: key });
        }
    }

    /// Ends what a worker was asked and will not answer.
    pub(super) fn give_up_work(&mut self, port: &mut impl Port, key: SessionKey) {
        if self.sessions.get(key).and_then(|entry| entry.worker()).is_none() {
            return;
        }
        let mut body = std::mem::take(&mut self.body_scratch);
        Failure::WorkerGone.write(&mut body);
        let ended = Ended {
            kind: Failure::WorkerGone.kind(),
            code: Failure::WorkerGone.code(),
            body: &body,
            worker: None,
            qos: Qos::AtLeastOnce,
        };
        while let Some(worker) = self.sessions.get(key).and_then(|entry| entry.worker())
            && let Some(token) = self.asked.latest(worker)
            && let Some(question) = self.settled(token)
        {
            self.send_outcome(port, question.origin, question.request, &ended);
        }
        self.body_scratch = body;
    }

    /// A request of another shard for a worker of this one.
    pub(super) fn asked_from_elsewhere(
        &mut self,
        port: &mut impl Port,
        (origin, request): (u16, RequestKey),
        (worker, token): (SessionKey, Token),
        sender: &Sender<'_>,
        asking: &Asking<'_>,
    ) {
        match self.give(port, (worker, token), (origin, request), sender, asking) {
            Ok(()) => {}
            Err(NotAsked::Declined(reason)) => self.mesh.write(origin, |parcel| Letter::Refused {
                request,
                reason,
                wish: asking.write(parcel),
            }),
            Err(NotAsked::Failed(failure)) => {
                let mut body = std::mem::take(&mut self.body_scratch);
                failure.write(&mut body);
                let ended = Ended {
                    kind: failure.kind(),
                    code: failure.code(),
                    body: &body,
                    worker: None,
                    qos: Qos::AtLeastOnce,
                };
                self.send_outcome(port, origin, request, &ended);
                self.body_scratch = body;
            }
        }
    }

    /// A worker of another shard declined a request of this one.
    pub(super) fn declined_elsewhere(
        &mut self,
        port: &mut impl Port,
        request: RequestKey,
        reason: Declined,
        parcel: &Parcel,
        wish: &Wish,
    ) {
        let Some(in_flight) = self.requests.get_mut(request) else {
            return;
        };
        in_flight.sent = false;
        let (requester, worker) = (in_flight.requester, in_flight.worker);
        self.directory.ended(worker);
        if reason == Declined::Full {
            // Until its shard tells better.
            self.directory.heard_load(worker, u32::MAX);
        }
        let asking = Asking::read(parcel, wish);
        self.with_sender(requester, |router, sender| {
            match router.choose_again(request, sender, &asking, reason) {
                Ok(other) => router.place(port, request, sender, &asking, other),
                Err(failure) => router.fail(port, request, failure),
            }
        });
    }

    /// An outcome from the worker's shard.
    pub(super) fn answered_elsewhere(
        &mut self,
        port: &mut impl Port,
        request: RequestKey,
        ended: &Ended<'_>,
    ) {
        if !self.finish(port, request, ended) && ended.worker.is_some() {
            self.metrics.dropped(Stage::Answer, DropReason::Late);
        }
    }

    /// What a local worker has to do changed: its own shard knows at once, the others at the next tick.
    pub(super) fn load_changed(&mut self, key: SessionKey) {
        let id = self.id(key);
        let Some(worker) = self.sessions.get_mut(key).and_then(|entry| entry.worker_mut()) else {
            return;
        };
        self.directory.heard_load(id, worker.in_flight);
        if !worker.stale && self.mesh.shards() > 1 {
            worker.stale = true;
            self.stale_loads.push(key);
        }
    }

    /// Tells the other shards what the workers here have to do, where that changed.
    pub(super) fn tell_loads(&mut self) {
        let mut stale = std::mem::take(&mut self.stale_loads);
        for key in stale.drain(..) {
            let Some(worker) = self.sessions.get_mut(key).and_then(|entry| entry.worker_mut()) else {
                continue;
            };
            worker.stale = false;
            let in_flight = worker.in_flight;
            self.mesh.broadcast(|_| Letter::Load {
                worker: key,
                in_flight,
            });
        }
        self.stale_loads = stale;
    }
}
