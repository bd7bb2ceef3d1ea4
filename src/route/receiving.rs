//! Reading the letters of another shard.

use std::sync::Arc;

use super::asking::{Asking, Ended};
use super::channels::interest::ShardSet;
use super::directing::Going;
use super::letter::Letter;
use super::message::{ChannelMessage, SessionId, SessionKey};
use super::parcel::Parcel;
use super::port::Port;
use super::router::Router;
use crate::time::Now;

impl Router {
    /// Follows the letters of shard `from`, in order, and leaves the parcel empty: it is to be given back to
    /// [`Router::recycle`], here or there.
    pub fn parcel(&mut self, now: Now, port: &mut impl Port, from: u16, parcel: &mut Parcel) {
        let letters = parcel.take_letters();
        for letter in &letters {
            self.follow(now, port, from, parcel, letter);
        }
        parcel.restore(letters);
    }

    fn follow(&mut self, now: Now, port: &mut impl Port, from: u16, parcel: &Parcel, letter: &Letter) {
        let there = |key: SessionKey| SessionId { shard: from, key };
        match letter {
            Letter::Claim {
                address,
                session,
                damped,
            } => self.claim(now, port, *address, there(*session), *damped),
            Letter::Release { address, session } => self.release(port, *address, there(*session)),
            Letter::Away {
                address,
                session,
                away,
            } => self.heard_away(*address, there(*session), *away),
            Letter::LeaveBehind { address, left } => {
                self.left_behind(now.instant, *address, Arc::clone(left));
            }
            Letter::LeftBehind { session, left } => {
                self.found_left(port, from, *session, left);
            }
            Letter::FoundLeft { address } => self.left_is_found(*address),
            Letter::Granted { session } => self.granted(port, *session),
            Letter::Evict { session } => self.evicted(port, *session),
            Letter::Displaced { session } => self.displaced(port, *session),
            Letter::ClaimRefused { session, refusal } => self.claim_refused(port, *session, *refusal),
            Letter::WorkerUp { .. }
            | Letter::ListenerAdd { .. }
            | Letter::ListenerRemove { .. }
            | Letter::WorkerDown { .. }
            | Letter::Load { .. } => self.follow_directory(from, parcel, letter),
            Letter::InterestAdd { channel } => self.interest.add(*channel, from),
            Letter::InterestRemove { channel } => self.interest.remove(*channel, from),
            Letter::FilterAdd { filter } => self.interest.add_filter(parcel.text(*filter), from),
            Letter::FilterRemove { filter } => self.interest.remove_filter(parcel.text(*filter), from),
            Letter::Publish { .. } => self.follow_publish(now, port, from, parcel, letter),
            Letter::Published { publish, refused } => self.publish_answered(port, *publish, *refused),
            Letter::Keeps => self.keeping.add(ShardSet::of(from)),
            Letter::Restored | Letter::AllRestored => self.follow_restored(from, letter),
            Letter::KeptCount { account, more } => self.kept.count(*account, *more),
            Letter::Retain { message, awaited } => {
                let awaited = awaited.map(|waiter| (from, waiter));
                self.retained_elsewhere(now, port, message, awaited);
            }
            Letter::RoomEnter { .. }
            | Letter::RoomLeave { .. }
            | Letter::RoomNews { .. }
            | Letter::RoomSpeakerLeft { .. } => {
                self.follow_room(port, from, letter, parcel);
            }
            Letter::MemberUp { .. }
            | Letter::MemberDown { .. }
            | Letter::MemberState { .. }
            | Letter::MemberIs { .. }
            | Letter::ShareGive { .. }
            | Letter::ShareBack { .. }
            | Letter::ShareReturn { .. } => self.follow_shared(now, port, from, parcel, letter),
            Letter::Request { .. }
            | Letter::Settled { .. }
            | Letter::Refused { .. }
            | Letter::Reply { .. } => {
                self.follow_request(port, from, parcel, letter);
            }
            Letter::DirectUp(_)
            | Letter::DirectDown(_)
            | Letter::DirectSeek { .. }
            | Letter::DirectSeekAccount { .. }
            | Letter::DirectGive { .. }
            | Letter::DirectEnded { .. } => self.follow_direct(now, port, from, parcel, letter),
        }
    }

    /// What another shard says of its workers.
    fn follow_directory(&mut self, from: u16, parcel: &Parcel, letter: &Letter) {
        let there = |key: SessionKey| SessionId { shard: from, key };
        match letter {
            Letter::WorkerUp { worker, identity } => {
                self.directory.up(there(*worker), &parcel.sender(*identity));
            }
            Letter::ListenerAdd { worker, cmd } => self.directory.listen(there(*worker), parcel.text(*cmd)),
            Letter::ListenerRemove { worker, cmd } => {
                self.directory.unlisten(there(*worker), parcel.text(*cmd));
            }
            Letter::WorkerDown { worker } => self.directory.down(there(*worker)),
            Letter::Load { worker, in_flight } => self.directory.heard_load(there(*worker), *in_flight),
            _ => {}
        }
    }

    fn follow_publish(
        &mut self,
        now: Now,
        port: &mut impl Port,
        from: u16,
        parcel: &Parcel,
        letter: &Letter,
    ) {
        if let Letter::Publish {
            sender,
            channel,
            payload,
            attributes,
            qos,
            retain,
            expires,
            awaited,
        } = letter
        {
            let message = ChannelMessage {
                channel: parcel.text(*channel),
                payload: parcel.bytes(*payload),
                attributes: parcel.bytes(*attributes),
                qos: *qos,
                retain: *retain,
                expires: *expires,
            };
            let awaited = awaited.map(|waiter| (from, waiter));
            self.published_elsewhere(now, port, parcel.sender(*sender), message, awaited);
        }
    }

    fn follow_request(&mut self, port: &mut impl Port, from: u16, parcel: &Parcel, letter: &Letter) {
        match letter {
            Letter::Request {
                request,
                worker,
                token,
                sender,
                wish,
            } => {
                let asking = Asking::read(parcel, wish);
                let sender = parcel.sender(*sender);
                self.asked_from_elsewhere(port, (from, *request), (*worker, *token), &sender, &asking);
            }
            Letter::Settled { token } => drop(self.settled(*token)),
            Letter::Refused {
                request,
                reason,
                wish,
            } => self.declined_elsewhere(port, *request, *reason, parcel, wish),
            Letter::Reply {
                request,
                kind,
                code,
                body,
                worker,
                qos,
            } => {
                let ended = Ended {
                    kind: *kind,
                    code: *code,
                    body: parcel.bytes(*body),
                    worker: worker.map(|worker| parcel.sender(worker)),
                    qos: *qos,
                };
                self.answered_elsewhere(port, *request, &ended);
            }
            _ => {}
        }
    }

    fn follow_direct(&mut self, now: Now, port: &mut impl Port, from: u16, parcel: &Parcel, letter: &Letter) {
        match letter {
            Letter::DirectUp(held) => self.direct_index.up(held),
            Letter::DirectDown(held) => self.direct_index.down(held),
            Letter::DirectSeek {
                name,
                account,
                message,
            } => {
                let going = Going::read(parcel, from, message);
                let account = account.map(|account| parcel.text(account));
                if let Some(outcome) = self.seek(now, port, *name, account, &going) {
                    self.direct_ended(port, from, going.waiter, outcome);
                }
            }
            Letter::DirectSeekAccount { message } => {
                let going = Going::read(parcel, from, message);
                self.seek_account(now, port, &going);
            }
            Letter::DirectGive { to, origin, message } => {
                let going = Going::read(parcel, *origin, message);
                let outcome = self.hand_over(now, port, *to, &going);
                self.direct_ended(port, *origin, going.waiter, outcome);
            }
            Letter::DirectEnded {
                waiter,
                ticket,
                outcome,
            } => self.direct_ended(port, self.shard, Some((*waiter, *ticket)), *outcome),
            _ => {}
        }
    }
}
