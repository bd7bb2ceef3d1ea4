//! What a session wants to hear, and what of it the other shards are told.

use super::channels::footprint;
use super::channels::subscriptions::{Transition, has_wildcard};
use super::identity::{check_channel_filter, check_resource};
use super::letter::Letter;
use super::message::{
    Qos, Refusal, Registration, RetainHandling, SenderPattern, SessionKey, SubscriptionOptions,
    Unregistration,
};
use super::port::Port;
use super::router::{RootWildcard, Router};
use super::sessions::{Entry, Listener, State, Worker};
use super::system::is_system;
use crate::limits;
use crate::time::Now;

impl Router {
    /// Registers what a session wants to hear. What it is granted is what it asked for.
    ///
    /// # Errors
    /// [`Refusal::InvalidName`] for a name outside its grammar, [`Refusal::NotAuthorized`] for a filter that is
    /// not for this block, [`Refusal::QuotaExceeded`] if it has as many registrations as it may, or all of
    /// this shard take as many bytes as they may.
    pub fn register(
        &mut self,
        _now: Now,
        port: &mut impl Port,
        key: SessionKey,
        registration: &Registration<'_>,
    ) -> Result<Qos, Refusal> {
        match registration {
            Registration::Channel {
                filter,
                from,
                options,
            } => self.subscribe(key, filter, from, options),
            Registration::Room {
                channel,
                options,
                note,
                list,
            } => self.enter_room(port, key, channel, options, (note, *list)),
            Registration::Shared { share, options } => self.join_group(key, share, options),
            Registration::Listen { cmd, options } => self.listen(key, cmd, options),
            Registration::Direct { options } => self.listen_direct(key, options),
            Registration::System { filter, options } => self.subscribe_system(key, filter, options),
            Registration::Decided(result) => *result,
        }
    }

    /// Ends a registration; `Ok(false)` if there was none.
    ///
    /// # Errors
    /// What the session itself decided ([`Unregistration::Decided`]).
    pub fn unregister(
        &mut self,
        _now: Now,
        port: &mut impl Port,
        key: SessionKey,
        unregistration: &Unregistration<'_>,
    ) -> Result<bool, Refusal> {
        match unregistration {
            Unregistration::Channel { filter, from, form } => Ok(self.unsubscribe(key, filter, from, *form)),
            Unregistration::Room { channel, form } => Ok(self.leave_room(port, key, channel, *form)),
            Unregistration::Shared { share } => Ok(self.leave_group(key, share)),
            Unregistration::Listen { cmd } => Ok(self.unlisten(key, cmd)),
            Unregistration::Direct => Ok(self.leave_direct(key)),
            Unregistration::System { filter, form } => {
                Ok(self.unsubscribe(key, filter, &SenderPattern::default(), *form))
            }
            Unregistration::Decided(result) => *result,
        }
    }

    pub(super) fn subscribe(
        &mut self,
        key: SessionKey,
        filter: &str,
        from: &SenderPattern<'_>,
        options: &SubscriptionOptions,
    ) -> Result<Qos, Refusal> {
        self.check_subscriber(key, filter)?;
        let (transition, is_new) = self.add_subscription(key, filter, from, options)?;
        if transition == Transition::Edge {
            self.tell_interest(filter);
        }
        let owed = match options.retained {
            RetainHandling::Always => true,
            RetainHandling::IfNew => is_new,
            RetainHandling::Never => false,
        };
        if owed && !self.retained.is_empty() {
            self.scans.begin(key, filter, from, options.form);
        }
        Ok(options.qos)
    }

    /// Whether a session may hear the channels of a filter.
    pub(super) fn check_subscriber(&self, key: SessionKey, filter: &str) -> Result<(), Refusal> {
        let entry = self.sessions.present(key).ok_or(Refusal::NotAuthorized)?;
        check_channel_filter(filter).map_err(|_| Refusal::InvalidName)?;
        if self.has_too_many_levels(filter) {
            return Err(Refusal::InvalidName);
        }
        let sender = entry.identity.sender();
        let first = filter.split('/').next().unwrap_or_default();
        let is_root_wildcard = matches!(first, "+" | "#");
        if is_root_wildcard && self.root_wildcard == RootWildcard::Operators && !sender.is_operator() {
            return Err(Refusal::NotAuthorized);
        }
        if first.strip_prefix('~').is_some_and(|app| app != sender.app()) {
            return Err(Refusal::NotAuthorized);
        }
        Ok(())
    }

    /// Subscribes, and counts what is new. Whether it is.
    pub(super) fn add_subscription(
        &mut self,
        key: SessionKey,
        filter: &str,
        from: &SenderPattern<'_>,
        options: &SubscriptionOptions,
    ) -> Result<(Transition, bool), Refusal> {
        let count = |router: &Self| {
            let entry = router.sessions.get(key);
            entry.map_or(0, Entry::subscription_count)
        };
        let before = count(self);
        let transition = self
            .subscriptions
            .subscribe(&mut self.sessions, key, filter, from, options)?;
        let is_new = count(self) > before;
        if is_new {
            self.metrics.subscriptions.increment();
        }
        Ok((transition, is_new))
    }

    pub(super) fn unsubscribe(
        &mut self,
        key: SessionKey,
        filter: &str,
        from: &SenderPattern<'_>,
        form: u8,
    ) -> bool {
        let ended = self
            .subscriptions
            .unsubscribe(&mut self.sessions, key, filter, from, form);
        if ended.is_some() {
            self.metrics.subscriptions.decrement();
            self.scans.end(key, filter, from, form);
        }
        if ended == Some(Transition::Edge) {
            self.tell_no_interest(filter);
        }
        ended.is_some()
    }

    /// Ends all the session's channel subscriptions.
    pub(super) fn leave_channels(&mut self, key: SessionKey) {
        self.scans.leave(key);
        while let Some(entry) = self.sessions.get_mut(key)
            && let Some(subscription) = entry.take_subscription()
        {
            self.metrics.subscriptions.decrement();
            if let Some(filter) = self.subscriptions.remove(&mut self.sessions, subscription) {
                self.tell_no_interest(&filter);
            }
        }
    }

    pub(super) fn tell_interest(&mut self, filter: &str) {
        if has_wildcard(filter) {
            self.mesh.broadcast(|parcel| Letter::FilterAdd {
                filter: parcel.put_text(filter),
            });
        } else {
            let channel = self.placement.channel(filter);
            self.mesh.broadcast(|_| Letter::InterestAdd { channel });
        }
    }

    pub(super) fn tell_no_interest(&mut self, filter: &str) {
        if is_system(filter) {
            self.system.filters -= 1;
        } else if has_wildcard(filter) {
            self.mesh.broadcast(|parcel| Letter::FilterRemove {
                filter: parcel.put_text(filter),
            });
        } else {
            let channel = self.placement.channel(filter);
            self.mesh.broadcast(|_| Letter::InterestRemove { channel });
        }
    }

    fn listen(&mut self, key: SessionKey, cmd: &str, options: &SubscriptionOptions) -> Result<Qos, Refusal> {
        let draining = self.draining;
        let entry = self.sessions.present_mut(key).ok_or(Refusal::NotAuthorized)?;
        check_resource(cmd).map_err(|_| Refusal::InvalidName)?;
        let is_offered = entry.state == State::Attached && !draining;
        // What was kept over a restart has been granted before.
        let was_granted = entry.state == State::Suspended;
        let worker = entry.extra().worker.get_or_insert_with(Worker::default);
        if let Some(listener) = worker.listeners.iter_mut().find(|known| &*known.cmd == cmd) {
            listener.options = *options;
            return Ok(options.qos);
        }
        if worker.listeners.len() >= limits::LISTENERS_PER_BLOCK_MAX {
            return Err(Refusal::QuotaExceeded);
        }
        let bytes = footprint::listener(cmd);
        if !was_granted {
            self.subscriptions.footprint.check(bytes)?;
        }
        self.subscriptions.footprint.take(bytes);
        let is_first = !worker.is_one();
        worker.listeners.push(Listener {
            cmd: cmd.into(),
            options: *options,
        });
        if is_offered {
            if is_first {
                self.tell_worker(key);
            }
            self.tell_listener(key, cmd);
        }
        Ok(options.qos)
    }

    /// Has all shards know that a session is a worker.
    fn tell_worker(&mut self, key: SessionKey) {
        let id = self.id(key);
        let Some(entry) = self.sessions.get(key) else {
            return;
        };
        let sender = entry.identity.sender();
        self.directory.up(id, &sender);
        self.mesh.broadcast(|parcel| Letter::WorkerUp {
            worker: key,
            identity: parcel.put_sender(&sender),
        });
    }

    /// Has all shards know that a worker listens to a command.
    fn tell_listener(&mut self, key: SessionKey, cmd: &str) {
        self.directory.listen(self.id(key), cmd);
        self.mesh.broadcast(|parcel| Letter::ListenerAdd {
            worker: key,
            cmd: parcel.put_text(cmd),
        });
    }

    /// Offers a session that is back as the worker it was.
    pub(super) fn offer_work(&mut self, key: SessionKey) {
        let worker = self.sessions.get(key).and_then(|entry| entry.worker());
        let Some(worker) = worker.filter(|worker| worker.is_one() && !self.draining) else {
            return;
        };
        let cmds: Vec<_> = worker
            .listeners
            .iter()
            .map(|listener| listener.cmd.clone())
            .collect();
        self.tell_worker(key);
        for cmd in cmds {
            self.tell_listener(key, &cmd);
        }
        self.load_changed(key);
    }

    /// A session was announced as a worker; the shards are told as soon as it has its address.
    pub(super) fn announce(&mut self, key: SessionKey) {
        let Some(entry) = self.sessions.get_mut(key) else {
            return;
        };
        let is_attached = entry.state == State::Attached;
        let worker = entry.extra().worker.get_or_insert_with(Worker::default);
        let was_one = worker.is_one();
        worker.announced = true;
        if is_attached && !was_one {
            self.offer_work(key);
        }
    }

    /// Requests it was given before may still be answered; with its last listener a block is no worker any
    /// more, unless it was announced.
    fn unlisten(&mut self, key: SessionKey, cmd: &str) -> bool {
        let id = self.id(key);
        let Some(worker) = self.sessions.get_mut(key).and_then(|entry| entry.worker_mut()) else {
            return false;
        };
        let Some(at) = worker.listeners.iter().position(|known| &*known.cmd == cmd) else {
            return false;
        };
        worker.listeners.swap_remove(at);
        self.subscriptions.footprint.free(footprint::listener(cmd));
        if self.draining {
            return true;
        }
        if !worker.is_one() {
            self.directory.down(id);
            self.mesh.broadcast(|_| Letter::WorkerDown { worker: key });
        } else {
            self.directory.unlisten(id, cmd);
            self.mesh.broadcast(|parcel| Letter::ListenerRemove {
                worker: key,
                cmd: parcel.put_text(cmd),
            });
        }
        true
    }
}
