//! The session as the hub drives it: bytes, verdicts, deliveries and the time go in.

use std::time::Duration;

use super::left::Left;
use super::reason::{self, Reason};
use super::{Session, State, publish};
use crate::codec::Decode;
use crate::codec::mqtt::packet::Version;
use crate::codec::mqtt::{Context, Direction, undecoded};
use crate::journal::Journal;
use crate::limits;
use crate::observe::{Protocol, Transport};
use crate::route::{Bind, Certified, Completion, Delivery, Identity, Mark, Returned, Ticket, Undelivered};
use crate::session::{
    Disconnect, Due, Ending, Frames, Life, LoginFailure, Output, Proven, Scratch, Step, Will,
};
use crate::time::{Instant, MaybeInstant, Now};

impl crate::session::Session for Session {
    fn receive<'a, O: Output>(
        &mut self,
        now: Now,
        bytes: &'a mut [u8],
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Step<'a>, Disconnect> {
        let bytes: &'a [u8] = bytes;
        match self.state {
            State::Connecting => return self.first(bytes, scratch, out),
            State::LoggingIn => return Ok(Step::Hold),
            State::Ended | State::Offline if bytes.is_empty() => return Ok(Step::Need(1)),
            State::Ended | State::Offline => {
                return Ok(Step::Done {
                    used: bytes.len(),
                    command: None,
                });
            }
            State::Challenged | State::Attached => {}
        }
        let packet_bytes_max = if self.state == State::Challenged {
            limits::PRELOGIN_BYTES_MAX
        } else {
            usize::try_from(self.settings.packet_bytes_max).unwrap_or(usize::MAX)
        };
        let context = Context {
            version: Some(self.version),
            packet_bytes_max,
            direction: Direction::ToServer,
        };
        let (packet, used) = match undecoded(bytes, context) {
            Ok(Decode::Frame { frame, len }) => (frame, len),
            Ok(Decode::Need(len)) => return Ok(Step::Need(len)),
            Err(malformed) => return Err(self.quit(Reason::Malformed(malformed), out)),
        };
        if self.state == State::Challenged {
            let packet = packet.packet().map_err(Reason::Malformed);
            return match packet.and_then(|packet| self.challenged(&packet, scratch)) {
                Ok(command) => Ok(Step::Done {
                    used,
                    command: Some(command),
                }),
                Err(reason) => Err(self.quit(reason, out)),
            };
        }
        if self.is_held(packet.header()) {
            return Ok(Step::Hold);
        }
        self.heard = now.instant;
        // Answers are never dropped, so who only asks and never reads is not read any more.
        if out.queued() > limits::SEND_QUEUE_ANSWERS_BYTES_MAX {
            return Err(self.quit(Reason::SlowReceiver, out));
        }
        let asked = match &packet.publish() {
            Some(Ok(publish)) => self.publish(now, publish, scratch, out),
            Some(Err(malformed)) => Err(Reason::Malformed(*malformed)),
            None => self.packet(now, &packet, scratch, out),
        };
        // Answers fill the queue, too.
        self.is_blocked(now, out);
        match asked {
            Ok(command) => Ok(Step::Done { used, command }),
            Err(reason) => Err(self.quit(reason, out)),
        }
    }

    fn attached<O: Output>(&mut self, now: Now, verdict: Result<&Identity, LoginFailure>, out: &mut O) {
        if self.state != State::LoggingIn {
            return;
        }
        match verdict {
            Ok(identity) => {
                self.heard = now.instant;
                self.state = State::Attached;
                if let Some(will) = &mut self.will {
                    will.count(&self.settings.metrics);
                }
                self.welcome(identity, out);
                self.forget_welcome();
                if std::mem::take(&mut self.welcome.session_present) {
                    self.resume(now, out);
                }
            }
            Err(failure) => self.say_good_bye(reason::login_failure(failure), out),
        }
    }

    fn proven<O: Output>(
        &mut self,
        _now: Now,
        verdict: Result<Proven<'_>, LoginFailure>,
        out: &mut O,
    ) -> Result<Option<Bind<'_>>, Disconnect> {
        if let Err(reason) = self.decided(verdict, out) {
            return Err(self.quit(reason, out));
        }
        Ok(self.binds())
    }

    fn secured(&mut self, certified: Option<Box<Certified>>) {
        if certified.is_some() {
            self.rare.get_or_insert_default().certified = certified;
        }
    }

    fn completed<O: Output>(&mut self, _now: Now, ticket: Ticket, completion: &Completion, out: &mut O) {
        if self.state != State::Attached || publish::connection(ticket) != self.connection() {
            return self.completed_late(ticket, publish::outcome(completion), out);
        }
        match completion {
            Completion::Registered(results) => self.subscribed(ticket, results, out),
            Completion::Unregistered(results) => self.unsubscribed(ticket, results, out),
            Completion::Published(_)
            | Completion::Direct(_)
            | Completion::Requested
            | Completion::Answered
            | Completion::Resumable(_) => {
                let exactly_once = publish::packet_id(ticket).is_some_and(|(_, exactly_once)| exactly_once);
                if self.is_counted(exactly_once) {
                    self.unanswered = self.unanswered.saturating_sub(1);
                }
                self.acknowledge(ticket, publish::outcome(completion), out);
            }
        }
    }

    fn deliver<O: Output>(
        &mut self,
        now: Now,
        delivery: &Delivery<'_>,
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        if self.state != State::Attached {
            return Err(Undelivered::Gone);
        }
        self.delivery(now, delivery, frames, out)
    }

    fn timeout<O: Output>(&mut self, now: Now, out: &mut O) -> Result<(), Disconnect> {
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now.instant);
        match self.state {
            State::Ended | State::Offline => Ok(()),
            State::Connecting | State::LoggingIn | State::Challenged => {
                if passed(self.next_timeout()) {
                    return Err(self.quit(Reason::LoginTimeout, out));
                }
                Ok(())
            }
            State::Attached => {
                if out.queued() <= limits::SEND_QUEUE_BYTES_MAX {
                    self.blocked_since = MaybeInstant::NONE;
                }
                if passed(self.blocked_deadline()) {
                    return Err(self.quit(Reason::SlowReceiver, out));
                }
                if passed(self.keep_alive_deadline()) {
                    return Err(self.quit(Reason::KeepAliveTimeout, out));
                }
                Ok(())
            }
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Connecting | State::LoggingIn | State::Challenged => {
                Some(self.heard + Duration::from_millis(limits::PRELOGIN_MS_MAX))
            }
            State::Attached => match (self.keep_alive_deadline(), self.blocked_deadline()) {
                (Some(keep_alive), Some(blocked)) => Some(keep_alive.min(blocked)),
                (deadline, None) | (None, deadline) => deadline,
            },
            State::Offline => self.offline_deadline(),
            State::Ended => None,
        }
    }

    fn take_will(&mut self) -> Option<Box<Will>> {
        // A block that was never attached has not left anything yet.
        match self.state {
            State::Connecting | State::LoggingIn | State::Challenged => None,
            State::Attached | State::Offline | State::Ended => self.will.take().map(|will| will.into_will()),
        }
    }

    fn will_bytes(&self) -> u64 {
        self.will.as_deref().map_or(0, Left::counted_bytes)
    }

    fn will_fits(&self, freed: u64) -> bool {
        let Some(will) = self.will.as_deref() else {
            return true;
        };
        let others = self.settings.metrics.mqtt_will_bytes.get().saturating_sub(freed);
        others.saturating_add(will.len_bytes() as u64) <= self.settings.will_bytes_max
    }

    fn end<O: Output>(&mut self, _now: Now, ending: Ending, out: &mut O) {
        self.say_good_bye(Reason::Ending(ending), out);
    }

    fn protocol(&self) -> (Protocol, Transport) {
        let protocol = match self.version {
            Version::V311 => Protocol::Mqtt311,
            Version::V5 => Protocol::Mqtt5,
        };
        (protocol, Transport::Stream)
    }

    fn life(&self) -> Life {
        self.lasts()
    }

    fn keep_as(&mut self, number: u64) {
        self.keep(number);
    }

    fn number(&self) -> u64 {
        let kept = self.messages.as_ref().and_then(|messages| messages.kept.as_ref());
        kept.map_or(0, |kept| kept.number())
    }

    fn detach(&mut self, now: Now) -> Option<Self> {
        self.go_on_without(now)
    }

    fn inherit(&mut self, earlier: &mut Self) {
        self.take_up(earlier);
    }

    fn give_back(&mut self, now: Now) -> Vec<Returned> {
        self.returned(now)
    }

    fn keep_delivery(&mut self, now: Now, delivery: &Delivery<'_>) -> Result<(), Undelivered> {
        self.keep_delivery(now, delivery)
    }

    fn due(&mut self, now: Now) -> Option<Due> {
        self.what_is_due(now)
    }

    fn describe(&self, now: Now, into: &mut Vec<u8>) {
        self.description(now).encode_into(into);
    }

    fn drain_journal(&mut self, batch: u64, into: &mut Journal) -> bool {
        self.drain_journal(batch, into)
    }

    fn settled(&mut self, batch: u64) {
        self.settled(batch);
    }

    fn mark(&self, ticket: Ticket) -> Option<Mark> {
        self.mark_of(ticket)
    }

    fn missed(&mut self, ticket: Ticket, completion: &Completion) {
        self.completed_away(ticket, publish::outcome(completion));
    }

    fn committed<O: Output>(&mut self, now: Now, batch: u64, out: &mut O) {
        self.committed(now, batch, out);
    }
}
