//! The judge: what each client may hear, and what it must.

use nexus::codec::mqtt::topic;
use rand::Rng;

use crate::client::{Clients, FILTERS, TAILS, Talk, Tongue};
use crate::words::{DECLINED, Deed, Subject, Word};
use crate::world::World;

impl Clients {
    /// A session told its client that it is attached: nobody else holds its address.
    pub(crate) fn attached(&mut self, conn: usize) {
        let talk = self.talks.get_mut(&conn).unwrap();
        assert!(!talk.is_attached, "connection {conn} was attached twice");
        talk.is_attached = true;
        self.tally.logins += 1;
        let address = talk.persona.address();
        if let Some(other) = self.holders.insert(address.clone(), conn) {
            panic!("{address} is held by connection {other} and by connection {conn}");
        }
    }

    /// A hub closed or lost a connection: its address is free.
    pub(crate) fn ended(&mut self, now: u64, conn: usize) {
        let Some(talk) = self.talks.get_mut(&conn) else {
            return;
        };
        talk.is_closed = true;
        let address = talk.persona.address();
        if self.holders.get(&address) == Some(&conn) {
            self.holders.remove(&address);
        }
        self.promises.release(now, conn, None);
        self.promises.sender_ended(now, conn);
    }

    /// The client learns that its connection is gone.
    pub(crate) fn gone(&mut self, conn: usize) {
        if let Some(talk) = self.talks.get_mut(&conn) {
            talk.is_over = true;
        }
    }

    /// Connections to which messages get now, if what `wants` says of them holds.
    fn owed(&self, now: u64, wants: impl Fn(&Talk) -> bool) -> Vec<usize> {
        let settled = now.saturating_sub(self.promises.settle_ns);
        let open = self.talks.iter().filter(|(_, talk)| {
            let is_known = talk.attached_at.is_some_and(|at| at <= settled);
            is_known && !talk.is_over && !talk.is_closed
        });
        open.filter(|(_, talk)| wants(talk))
            .map(|(conn, _)| *conn)
            .collect()
    }

    /// Whether what a connection sends now reaches its session.
    fn is_heard(&self, conn: usize) -> bool {
        let talk = &self.talks[&conn];
        talk.attached_at.is_some() && !talk.is_closed
    }

    /// All subscribers that may are to hear it.
    pub(crate) fn owe_channel(&mut self, world: &World, from: usize, number: u64, channel: &'static str) {
        let now = world.elapsed_ns();
        if !self.is_heard(from) || !may_use(&self.talks[&from], channel) {
            return;
        }
        let settle_ns = self.promises.settle_ns;
        let owed = self.owed(now, |talk| {
            talk.wishes.iter().any(|(subject, wish)| {
                let Subject::Channel(filter) = subject else {
                    return false;
                };
                wish.must_hear(now, settle_ns) && topic::matches(filter, channel)
            })
        });
        self.promises.make(now, from, number, 'c', owed);
    }

    /// The block of that address is to hear it, or each of the account that wants what is sent to the account.
    pub(crate) fn owe_message(&mut self, world: &World, from: usize, number: u64, message: &Deed<'_>) {
        let now = world.elapsed_ns();
        let Deed::Message {
            account,
            resource,
            has_body,
            ..
        } = *message
        else {
            return;
        };
        if !self.is_heard(from) {
            return;
        }
        let settle_ns = self.promises.settle_ns;
        let owed = self.owed(now, |talk| {
            let wish = talk.wishes.get(&Subject::Account);
            let wants = wish.is_some_and(|wish| wish.must_hear(now, settle_ns))
                || (resource.is_some() && talk.tongue.is_xmpp());
            let is_named = resource.is_none_or(|resource| resource == talk.persona.resource);
            let is_told = has_body || talk.tongue.is_xmpp();
            wants && is_named && is_told && talk.persona.account == account
        });
        self.promises.make(now, from, number, 'd', owed);
    }

    /// Bytes reached the client.
    pub(crate) fn heard(&mut self, world: &mut World, conn: usize, bytes: &[u8]) {
        let Some(talk) = self.talks.get_mut(&conn).filter(|talk| !talk.is_over) else {
            return;
        };
        let hearing = talk.tongue.hear(bytes, &mut world.random);
        if !hearing.answer.is_empty() {
            world.send(conn, hearing.answer);
        }
        for word in hearing.words {
            self.word(world, conn, word);
        }
    }

    fn word(&mut self, world: &mut World, conn: usize, word: Word) {
        let now = world.elapsed_ns();
        match word {
            Word::Attached => {
                let attached_at = &mut self.talks.get_mut(&conn).unwrap().attached_at;
                assert!(attached_at.replace(now).is_none(), "attached twice");
            }
            Word::Done { mark, granted } => {
                let wishes = &mut self.talks.get_mut(&conn).unwrap().wishes;
                let known = wishes.values_mut().any(|wish| wish.confirm(now, mark, granted));
                assert!(known, "connection {conn} never asked {mark}, or asked it earlier");
            }
            Word::Reply { id, code, body, from } => self.reply_heard(conn, id, code, &body, from),
            Word::Request {
                cmd,
                token,
                from,
                body,
            } => self.request_heard(world, conn, &cmd, &token, &from, &body),
            Word::Direct { from, text } => self.direct_heard(conn, &from, &text),
            Word::Channel { from, channel, text } => self.channel_heard(conn, &from, &channel, &text),
            Word::Ended { condition } => self.stream_ended(conn, &condition),
        }
    }

    /// A stream error of XMPP.
    fn stream_ended(&mut self, conn: usize, condition: &str) {
        let talk = &self.talks[&conn];
        if condition != "conflict" {
            // A login that could not be decided, and what it left behind.
            let known = ["policy-violation", "resource-constraint", "connection-timeout"];
            assert!(!talk.is_attached && known.contains(&condition), "{condition}");
            return;
        }
        let address = talk.persona.address();
        let rivals: Vec<&Talk> = self
            .talks
            .values()
            .filter(|other| other.persona.address() == address)
            .collect();
        assert!(rivals.len() > 1, "nobody else ever asked for {address}");
        if talk.attached_at.is_some() {
            return;
        }
        assert!(!talk.is_attached, "connection {conn} had its address");
        let claims = rivals
            .iter()
            .filter(|rival| matches!(&rival.tongue, Tongue::Xmpp(xmpp) if xmpp.has_bound));
        assert!(claims.count() > 2, "two take-overs of {address} are allowed");
        self.tally.conflicts += 1;
    }

    fn direct_heard(&mut self, conn: usize, from: &str, text: &str) {
        let to = self.in_order(conn, from, 'd', text);
        let talk = &self.talks[&conn];
        let persona = talk.persona;
        let to_block = to == persona.address() || to == format!("{}/{}", persona.app(), persona.resource);
        assert!(to_block || to == persona.account, "a stranger's message: {text}");
        assert!(
            talk.may_hear(Subject::Account) || (to_block && talk.tongue.is_xmpp()),
            "connection {conn} never asked for {text}"
        );
    }

    fn channel_heard(&mut self, conn: usize, from: &str, channel: &str, text: &str) {
        let to = self.in_order(conn, from, 'c', text);
        assert_eq!(to, channel);
        let talk = &self.talks[&conn];
        let mut matching = FILTERS.iter().filter(|filter| topic::matches(filter, channel));
        assert!(
            matching.any(|filter| talk.may_hear(Subject::Channel(filter))),
            "connection {conn} does not ask for {channel}"
        );
        assert!(may_use(talk, channel), "{channel} is private");
    }

    /// The mark of a message names its sender truly and grows from message to message. Returns what it is for.
    fn in_order<'t>(&mut self, conn: usize, path: &str, method: char, text: &'t str) -> &'t str {
        let mut parts = text.splitn(4, ':');
        let mut part = || parts.next().unwrap();
        let (from, number): (usize, u64) = (part().parse().unwrap(), part().parse().unwrap());
        let (what_for, tail) = (part(), part());
        assert!(TAILS.contains(&tail), "{text:?} is not what was sent");
        assert_eq!(
            self.talks[&from].persona.path(),
            path,
            "the sender stamped on {text}"
        );
        let heard = &mut self.talks.get_mut(&conn).unwrap().heard;
        let last = heard.insert((from, method), number).unwrap_or(0);
        assert!(
            last < number,
            "connection {conn} heard {number} of {from} ({method}) after {last}"
        );
        self.promises.keep(from, number, conn);
        self.tally.deliveries += 1;
        what_for
    }

    fn reply_heard(&mut self, conn: usize, id: u64, code: i64, body: &str, from: Option<String>) {
        let text = body;
        let body: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(body["code"].as_i64(), Some(code));
        let talk = self.talks.get_mut(&conn).unwrap();
        let outcome = talk
            .outcomes
            .get_mut(&id)
            .expect("a reply to a request that was never made");
        assert_eq!(
            *outcome, None,
            "connection {conn} got a second outcome of request {id}: {text}"
        );
        *outcome = Some(code);
        self.tally.outcomes += 1;
        if code == 0 {
            assert!(body.get("cheat").is_none(), "a cheater's answer came through");
            let asked = (body["conn"].as_u64(), body["id"].as_u64());
            assert_eq!(asked, (Some(conn as u64), Some(id)), "a reply to another request");
            let worker = usize::try_from(body["worker"].as_u64().unwrap()).unwrap();
            let path = self.talks[&worker].persona.path();
            assert!(
                from.is_none_or(|from| from == path),
                "the worker stamped on {text}"
            );
        } else {
            let known = [DECLINED, -2000, -500, -3000, -2001, -2002, -408];
            assert!(known.contains(&code) && body["error"].is_string(), "{text}");
        }
    }

    fn request_heard(
        &mut self,
        world: &mut World,
        conn: usize,
        cmd: &str,
        token: &str,
        path: &str,
        text: &str,
    ) {
        self.tally.deliveries += 1;
        let body: serde_json::Value = serde_json::from_str(text).unwrap();
        let from = usize::try_from(body["conn"].as_u64().unwrap()).unwrap();
        assert_eq!(
            self.talks[&from].persona.path(),
            path,
            "the requester stamped on {text}"
        );
        let talk = self.talks.get_mut(&conn).unwrap();
        assert_eq!(talk.persona.app(), "etest");
        let mut listened = talk.wishes.iter().filter(|(_, wish)| wish.may_hear());
        let listens = listened.any(|(subject, _)| matches!(subject, Subject::Listen(known) if *known == cmd));
        assert!(listens, "connection {conn} does not listen to {cmd}");
        assert!(talk.tokens.insert(token.to_owned()), "a token was used twice");
        self.tokens.push(token.to_owned());
        if cmd == "never" {
            return;
        }
        let body = &format!("{{\"code\":0,\"worker\":{conn},{}", &text[1..]);
        let times = if world.random.random_bool(0.1) { 2 } else { 1 };
        for _ in 0..times {
            self.say(world, conn, &Deed::Answer { token, body });
        }
    }

    /// At the end, when every request has had its time: each one that could has exactly one outcome, and what had to
    /// arrive has.
    pub(crate) fn check(&self) {
        for (conn, talk) in &self.talks {
            if talk.is_over || !talk.is_attached {
                continue;
            }
            for (id, outcome) in &talk.outcomes {
                assert!(
                    outcome.is_some(),
                    "request {id} of connection {conn} never had an outcome"
                );
            }
            assert!(
                talk.attached_at.is_some(),
                "connection {conn} was never told that it is attached"
            );
        }
        self.promises.check();
    }
}

/// Whether a channel is open to the app of this block.
fn may_use(talk: &Talk, channel: &str) -> bool {
    !channel.starts_with("~etest/") || talk.persona.app() == "etest"
}
