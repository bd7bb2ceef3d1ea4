//! Direct messages: sender's shard, then the home of the receiver's name, then the receiver's shard. Always by
//! this way, so that messages of one sender to one receiver stay in order.

use super::direct::Held;
use super::drops;
use super::hashes::AddressKey;
use super::identity::{Account, Sender, check_app, check_resource};
use super::letter::{DirectSpans, Letter};
use super::message::{
    Completion, Delivery, Direct, DirectOutcome, Notice, Qos, Refusal, SessionId, SessionKey,
    SubscriptionOptions, Ticket, Undelivered,
};
use super::parcel::Parcel;
use super::port::{Port, Receivers};
use super::router::Router;
use super::sessions::{Answerable, State};
use crate::limits;
use crate::observe::{DropReason, Stage};
use crate::time::Now;
use smallvec::SmallVec;
use std::time::Duration;

/// A Direct message on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Going<'a> {
    pub(super) sender: Sender<'a>,
    pub(super) text: &'a str,
    pub(super) attributes: &'a [u8],
    /// It goes to every block of this account.
    pub(super) to_account: Option<&'a str>,
    pub(super) qos: Qos,
    /// The sender may call the receiver's app.
    pub(super) entitled: bool,
    /// Keys of the addresses the sender may answer to.
    pub(super) answering: &'a [u8],
    /// The sender's shard.
    pub(super) origin: u16,
    pub(super) waiter: Option<(SessionKey, Ticket)>,
}

impl<'a> Going<'a> {
    pub(super) fn read(parcel: &'a Parcel, origin: u16, spans: &DirectSpans) -> Self {
        Self {
            sender: parcel.sender(spans.sender),
            text: parcel.text(spans.text),
            attributes: parcel.bytes(spans.attributes),
            to_account: spans.to_account.map(|account| parcel.text(account)),
            qos: spans.qos,
            entitled: spans.entitled,
            answering: parcel.bytes(spans.answering),
            origin,
            waiter: spans.waiter,
        }
    }

    fn write(&self, parcel: &mut Parcel) -> DirectSpans {
        DirectSpans {
            sender: parcel.put_sender(&self.sender),
            text: parcel.put_text(self.text),
            attributes: parcel.put_bytes(self.attributes),
            to_account: self.to_account.map(|account| parcel.put_text(account)),
            qos: self.qos,
            entitled: self.entitled,
            answering: parcel.put_bytes(self.answering),
            waiter: self.waiter,
        }
    }

    fn len(&self) -> usize {
        let account = self.to_account.map_or(0, str::len);
        self.sender.address().len() + self.text.len() + self.attributes.len() + account + self.answering.len()
    }
}

impl Router {
    /// Sends a Direct message of a local block. `None`: its end is not known yet;
    /// [`Completion::Direct`] follows if there is a ticket.
    pub fn direct(
        &mut self,
        now: Now,
        port: &mut impl Port,
        from: SessionKey,
        direct: &Direct<'_>,
        ticket: Option<Ticket>,
    ) -> Option<DirectOutcome> {
        self.metrics.direct_in.increment();
        let names = check_app(direct.app).and_then(|_| check_resource(direct.resource));
        let account = direct.account.map(Account::parse).transpose();
        if names.is_err() || account.is_err() {
            self.metrics.dropped(Stage::Direct, DropReason::Invalid);
            return Some(DirectOutcome::NoReceiver);
        }
        let mut answering = std::mem::take(&mut self.body_scratch);
        let outcome = self.with_sender(from, |router, sender| {
            let name = router.placement.direct(direct.app, direct.resource);
            let entitled = !router.entitlement.direct_is_restricted(direct.app)
                || router.entitlement.may_call(sender, direct.app, now.unix_ms);
            answering.clear();
            if !entitled {
                router.collect_answerable(now, from, Some(name), &mut answering);
            }
            let going = Going {
                sender: *sender,
                text: direct.text,
                attributes: direct.attributes,
                to_account: None,
                qos: direct.qos,
                entitled,
                answering: &answering,
                origin: router.shard,
                waiter: ticket.map(|ticket| (from, ticket)),
            };
            let home = router.placement.home(name);
            if home == router.shard {
                return router.seek(now, port, name, direct.account, &going);
            }
            if !router.mesh.has_room(home, going.len()) {
                router.metrics.dropped(Stage::Mesh, DropReason::MeshFull);
                return Some(DirectOutcome::Dropped);
            }
            router.mesh.write(home, |parcel| Letter::DirectSeek {
                name,
                account: direct.account.map(|account| parcel.put_text(account)),
                message: going.write(parcel),
            });
            None
        });
        self.body_scratch = answering;
        outcome.unwrap_or_else(|| {
            self.metrics.dropped(Stage::Direct, DropReason::NotAuthorized);
            Some(DirectOutcome::NoReceiver)
        })
    }

    /// Sends a Direct message of a local block to every block of an account. By way of all indexes, since each holds
    /// some of the blocks, and so that it stays behind what the sender sent to one of them before.
    pub fn direct_to_account(
        &mut self,
        now: Now,
        port: &mut impl Port,
        from: SessionKey,
        account: &str,
        text: &str,
        attributes: &[u8],
    ) {
        let Ok(parsed) = Account::parse(account) else {
            self.metrics.dropped(Stage::Direct, DropReason::Invalid);
            return;
        };
        let mut answering = std::mem::take(&mut self.body_scratch);
        let sent = self.with_sender(from, |router, sender| {
            let entitled = !router.entitlement.direct_is_restricted(parsed.app)
                || router.entitlement.may_call(sender, parsed.app, now.unix_ms);
            answering.clear();
            if !entitled {
                router.collect_answerable(now, from, None, &mut answering);
            }
            let going = Going {
                sender: *sender,
                text,
                attributes,
                to_account: Some(account),
                qos: Qos::AtMostOnce,
                entitled,
                answering: &answering,
                origin: router.shard,
                waiter: None,
            };
            for home in 0..router.mesh.shards() {
                if home == router.shard {
                    router.seek_account(now, port, &going);
                } else if router.mesh.has_room(home, going.len()) {
                    router.mesh.write(home, |parcel| Letter::DirectSeekAccount {
                        message: going.write(parcel),
                    });
                } else {
                    router.metrics.dropped(Stage::Mesh, DropReason::MeshFull);
                }
            }
        });
        self.body_scratch = answering;
        if sent.is_none() {
            self.metrics.dropped(Stage::Direct, DropReason::NotAuthorized);
        }
    }

    /// At every index: sends a message to an account on to its blocks that are found here.
    pub(super) fn seek_account(&mut self, now: Now, port: &mut impl Port, going: &Going<'_>) {
        let Some(Ok(account)) = going.to_account.map(Account::parse) else {
            return;
        };
        let mut found = self.direct_index.of_account(account.uid, account.role);
        let receivers: SmallVec<[SessionId; 8]> =
            found.by_ref().take(limits::DIRECT_ACCOUNT_BLOCKS_MAX).collect();
        for _ in found {
            self.metrics.direct_in.increment();
            self.metrics.dropped(Stage::Direct, DropReason::QueueFull);
        }
        for receiver in receivers {
            self.metrics.direct_in.increment();
            if receiver.shard == self.shard {
                self.hand_over(now, port, receiver.key, going);
            } else if self.mesh.has_room(receiver.shard, going.len()) {
                self.mesh.write(receiver.shard, |parcel| Letter::DirectGive {
                    to: receiver.key,
                    origin: going.origin,
                    message: going.write(parcel),
                });
            } else {
                self.metrics.dropped(Stage::Mesh, DropReason::MeshFull);
            }
        }
    }

    /// At the name's home: finds the receiver. `None`: its shard decides what comes of it.
    pub(super) fn seek(
        &mut self,
        now: Now,
        port: &mut impl Port,
        name: u64,
        account: Option<&str>,
        going: &Going<'_>,
    ) -> Option<DirectOutcome> {
        let found = match account.map(Account::parse) {
            Some(Ok(account)) => self.direct_index.find_account(name, &account),
            Some(Err(_)) => None,
            None => self.direct_index.find(name, going.sender.uid()),
        };
        let Some(receiver) = found else {
            self.metrics.dropped(Stage::Direct, DropReason::NoReceiver);
            return Some(DirectOutcome::NoReceiver);
        };
        if receiver.shard == self.shard {
            return Some(self.hand_over(now, port, receiver.key, going));
        }
        if !self.mesh.has_room(receiver.shard, going.len()) {
            self.metrics.dropped(Stage::Mesh, DropReason::MeshFull);
            return Some(DirectOutcome::Dropped);
        }
        self.mesh.write(receiver.shard, |parcel| Letter::DirectGive {
            to: receiver.key,
            origin: going.origin,
            message: going.write(parcel),
        });
        None
    }

    /// On the receiver's shard: what the receiving app allows, and the delivery.
    pub(super) fn hand_over(
        &mut self,
        now: Now,
        port: &mut impl Port,
        to: SessionKey,
        going: &Going<'_>,
    ) -> DirectOutcome {
        let registered = self.sessions.attached(to).and_then(|entry| {
            let options = entry.direct()?;
            Some((options, entry.identity.sender()))
        });
        let Some((options, receiver)) = registered else {
            self.metrics.dropped(Stage::Direct, DropReason::NoReceiver);
            return DirectOutcome::NoReceiver;
        };
        if !going.entitled && self.entitlement.direct_is_restricted(receiver.app()) {
            let address = self.placement.address(receiver.address()).to_bytes();
            if !going
                .answering
                .chunks_exact(address.len())
                .any(|key| key == address)
            {
                self.metrics.dropped(Stage::Direct, DropReason::NotAuthorized);
                return DirectOutcome::NotEntitled;
            }
        }
        let of_account = going
            .to_account
            .is_none_or(|account| account == receiver.account());
        if !of_account {
            // A namesake of another app: it was only thought of.
            self.metrics.dropped(Stage::Direct, DropReason::NoReceiver);
            return DirectOutcome::NoReceiver;
        }
        let delivery = Delivery::Direct {
            text: going.text,
            attributes: going.attributes,
            to_account: going.to_account.is_some(),
            sender: going.sender,
            qos: going.qos,
            options,
        };
        port.begin_message(Receivers::One);
        if let Err(reason) = port.deliver(to, &delivery) {
            self.metrics.dropped(Stage::Direct, drops::reason(reason));
            return match reason {
                Undelivered::Gone => DirectOutcome::NoReceiver,
                _ => DirectOutcome::Dropped,
            };
        }
        self.metrics.direct_out.increment();
        if self.entitlement.direct_is_restricted(going.sender.app()) {
            self.remember_sender(now, to, &going.sender);
        }
        DirectOutcome::Delivered
    }

    /// Tells the sender's session, wherever it is, what came of its message.
    pub(super) fn direct_ended(
        &mut self,
        port: &mut impl Port,
        origin: u16,
        waiter: Option<(SessionKey, Ticket)>,
        outcome: DirectOutcome,
    ) {
        let Some((waiter, ticket)) = waiter else { return };
        if origin == self.shard {
            if self.sessions.attached(waiter).is_some() {
                port.notify(waiter, Notice::Completed(ticket, Completion::Direct(outcome)));
            }
        } else {
            self.mesh.write(origin, |_| Letter::DirectEnded {
                waiter,
                ticket,
                outcome,
            });
        }
    }

    /// The receiver may answer the sender for a while, though the sender's app is restricted. Kept where the
    /// answer will start, before it can: so no letter between shards can come too late for it.
    fn remember_sender(&mut self, now: Now, receiver: SessionKey, sender: &Sender<'_>) {
        let answerable = Answerable {
            name: self.placement.direct(sender.app(), sender.resource()),
            address: self.placement.address(sender.address()),
            until: now.instant + Duration::from_millis(limits::DIRECT_ANSWER_MS),
        };
        if let Some(entry) = self.attached_entry(receiver) {
            let list = &mut entry.extra().answerable;
            list.retain(|known| known.address != answerable.address && known.until > now.instant);
            if list.len() >= limits::DIRECT_ANSWERERS_MAX {
                list.pop_front();
            }
            list.push_back(answerable);
        }
    }

    /// The addresses (under `name`, if one is given) that messaged `from` a short time ago.
    fn collect_answerable(&self, now: Now, from: SessionKey, name: Option<u64>, keys: &mut Vec<u8>) {
        let extra = self.sessions.get(from).and_then(|entry| entry.extra.as_ref());
        let known = extra.into_iter().flat_map(|extra| &extra.answerable);
        for answerable in
            known.filter(|known| name.is_none_or(|name| known.name == name) && known.until > now.instant)
        {
            let key: AddressKey = answerable.address;
            keys.extend_from_slice(&key.to_bytes());
        }
    }

    /// Registers the direct listener; a second one replaces the first.
    pub(super) fn listen_direct(
        &mut self,
        key: SessionKey,
        options: &SubscriptionOptions,
    ) -> Result<Qos, Refusal> {
        let entry = self.sessions.present_mut(key).ok_or(Refusal::NotAuthorized)?;
        let is_offline = entry.state == State::Suspended;
        if !entry.take_direct(*options) && !is_offline {
            self.tell_direct(key, true);
        }
        Ok(options.qos)
    }

    /// Ends the direct listener. Whether there was one.
    pub(super) fn leave_direct(&mut self, key: SessionKey) -> bool {
        let Some(entry) = self.sessions.get_mut(key) else {
            return false;
        };
        let is_told = entry.state != State::Suspended;
        let had = entry.leave_direct();
        if had && is_told {
            self.tell_direct(key, false);
        }
        had
    }

    /// Has the index know that a session takes Direct messages, or does not any more.
    pub(super) fn tell_direct(&mut self, key: SessionKey, takes: bool) {
        let Some(held) = self.held(key) else { return };
        let home = self.placement.home(held.name);
        match (home == self.shard, takes) {
            (true, true) => self.direct_index.up(&held),
            (true, false) => self.direct_index.down(&held),
            (false, true) => self.mesh.write(home, |_| Letter::DirectUp(held)),
            (false, false) => self.mesh.write(home, |_| Letter::DirectDown(held)),
        }
    }

    /// What a session stands in the index with: the same for as long as it lives.
    fn held(&self, key: SessionKey) -> Option<Held> {
        let entry = self.sessions.get(key)?;
        let sender = entry.identity.sender();
        Some(Held {
            session: self.id(key),
            name: self.placement.direct(sender.app(), sender.resource()),
            uid: sender.uid(),
            role: sender.role(),
            since: entry.since,
        })
    }
}
