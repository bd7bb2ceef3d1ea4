//! What sessions ask for, carried out.

use smallvec::SmallVec;

use super::Hub;
use super::io::Io;
use super::table::State;
use crate::route::{
    Certified, Command, Completion, Lasting, Refusal, Registration, SessionKey, Ticket, Unregistration,
};
use crate::session::{Disconnect, Session};
use crate::time::Now;

impl<C: Copy + PartialEq + std::fmt::Debug, S: Clone, P: Session> Hub<C, S, P> {
    /// Does what a session asks for; it `wrote` something down with it that has to outlive the daemon.
    pub(super) fn execute<I>(
        &mut self,
        io: &mut I,
        now: Now,
        key: SessionKey,
        command: &Command<'_>,
        wrote: bool,
    ) where
        I: Io<Conn = C, Shared = S>,
    {
        let (ticket, completion) = match command {
            Command::Login(login) => return self.login(io, now, key, login),
            Command::Authenticate(claim) => return self.authenticate(io, now, key, claim),
            Command::Bind(bind) => return self.bind(io, now, key, bind),
            Command::Resume(resume) => return self.resume(io, now, key, *resume),
            Command::AllowResumption { ticket } => return self.allow_resumption(io, now, key, *ticket),
            Command::DirectToAccount {
                account,
                text,
                attributes,
            } => {
                return self.route(io, now, |router, port| {
                    router.direct_to_account(now, port, key, account, text, attributes);
                });
            }
            Command::StartTls => return self.start_tls(io, now, key),
            Command::Leave => return self.good_bye(io, now, key),
            Command::Publish { message, ticket } => {
                let lasting = Lasting {
                    wrote,
                    mark: ticket.and_then(|ticket| self.table.get_mut(key)?.session.mark(ticket)),
                };
                let ended = self.route(io, now, |router, port| {
                    router.publish(now, port, key, message, *ticket, lasting)
                });
                let Some(taken) = ended else { return };
                (*ticket, Completion::Published(taken))
            }
            Command::Direct { direct, ticket } => {
                let ended = self.route(io, now, |router, port| {
                    router.direct(now, port, key, direct, *ticket)
                });
                let Some(outcome) = ended else { return };
                (*ticket, Completion::Direct(outcome))
            }
            Command::Request { request, ticket } => {
                // Taken before its outcome is known: the acknowledgement precedes the reply.
                self.complete(io, now, key, *ticket, &Completion::Requested);
                return self.route(io, now, |router, port| router.request(now, port, key, request));
            }
            Command::Answer { answer, ticket } => {
                self.route(io, now, |router, port| router.answer(now, port, key, answer));
                (*ticket, Completion::Answered)
            }
            Command::Register { wanted, ticket } => return self.register(io, now, key, wanted, *ticket),
            Command::Unregister { unwanted, ticket } => {
                return self.unregister(io, now, key, unwanted, *ticket);
            }
        };
        self.complete(io, now, key, ticket, &completion);
    }

    /// The session has told its peer that it may begin TLS.
    fn start_tls<I>(&mut self, io: &mut I, now: Now, key: SessionKey)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let conn = self.table.get_mut(key).map(|entry| entry.conn);
        if !conn.is_some_and(|conn| io.start_tls(conn)) {
            self.disconnect(io, now, key, Disconnect::Unavailable);
        }
    }

    /// A connection speaks TLS from now on; its peer has shown a certificate that names an account, if it is `certified`.
    pub fn secured(&mut self, slot: u32, conn: C, certified: Option<Box<Certified>>) {
        if let Some(entry) = self.key_of(slot, conn).and_then(|key| self.table.get_mut(key)) {
            entry.session.secured(certified);
        }
    }

    pub(super) fn register<I>(
        &mut self,
        io: &mut I,
        now: Now,
        key: SessionKey,
        wanted: &[Registration<'_>],
        ticket: Ticket,
    ) where
        I: Io<Conn = C, Shared = S>,
    {
        let is_refused = self.batch.is_full() && self.table.get_mut(key).is_some_and(|entry| entry.kept);
        let results: SmallVec<_> = wanted
            .iter()
            .map(|one| match one {
                Registration::Decided(result) => *result,
                // It could not be made to last. What is there already stays.
                _ if is_refused => Err(Refusal::QuotaExceeded),
                _ => self.route(io, now, |router, port| router.register(now, port, key, one)),
            })
            .collect();
        let refused = results
            .iter()
            .filter(|result: &&Result<_, Refusal>| result.is_err())
            .count();
        self.metrics.subscriptions_refused.add(refused as u64);
        let lasting = self.write_registered(now, key, wanted, &results);
        let completion = Completion::Registered(results);
        if lasting {
            return self.batch.complete(key, ticket, completion);
        }
        self.registered(io, now, key, ticket, completion);
    }

    /// What came of registrations lasts where it has to: the session is told, once all shards have been.
    pub(super) fn registered<I>(
        &mut self,
        io: &mut I,
        now: Now,
        key: SessionKey,
        ticket: Ticket,
        completion: Completion,
    ) where
        I: Io<Conn = C, Shared = S>,
    {
        if let Some(completion) = self.router.hold_registered(key, ticket, completion) {
            self.complete(io, now, key, Some(ticket), &completion);
            self.deliver_retained(io, now, key);
        }
    }

    pub(super) fn unregister<I>(
        &mut self,
        io: &mut I,
        now: Now,
        key: SessionKey,
        unwanted: &[Unregistration<'_>],
        ticket: Ticket,
    ) where
        I: Io<Conn = C, Shared = S>,
    {
        let results: SmallVec<_> = unwanted
            .iter()
            .map(|one| self.route(io, now, |router, port| router.unregister(now, port, key, one)))
            .collect();
        let lasting = self.write_unregistered(key, unwanted, &results);
        let completion = Completion::Unregistered(results);
        if lasting {
            return self.batch.complete(key, ticket, completion);
        }
        self.complete(io, now, key, Some(ticket), &completion);
    }

    /// What is retained follows the acknowledgement of a subscription.
    pub(super) fn deliver_retained<I>(&mut self, io: &mut I, now: Now, key: SessionKey)
    where
        I: Io<Conn = C, Shared = S>,
    {
        if self.router.has_retained_newcomers() {
            self.route(io, now, |router, port| router.deliver_retained(now, port, key));
        }
    }

    pub(super) fn complete<I>(
        &mut self,
        io: &mut I,
        now: Now,
        key: SessionKey,
        ticket: Option<Ticket>,
        completion: &Completion,
    ) where
        I: Io<Conn = C, Shared = S>,
    {
        let Some(ticket) = ticket else { return };
        let Some(entry) = self.table.get_mut(key) else {
            return;
        };
        let out = if entry.state == State::Attached {
            io.output(entry.conn)
        } else {
            None
        };
        match out {
            Some(mut out) => entry.session.completed(now, ticket, completion, &mut out),
            None => entry.session.missed(ticket, completion),
        }
        self.batch.drain(key, entry);
    }
}
