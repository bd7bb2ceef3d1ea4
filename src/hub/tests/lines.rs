//! A line protocol, for what the hub owes sessions whatever they speak.

use std::time::Duration;

use super::*;
use crate::observe::{Protocol, Transport};

/// One command a line: `login ACCOUNT RESOURCE`, `pub CHANNEL TEXT`, `keep CHANNEL TEXT`, `sub FILTER`, `hear FILTER`,
/// `sys FILTER`, `unsub FILTER`,
/// `will CHANNEL`, `bye`, `wrong`, `long`; in two steps `prove ACCOUNT`, `bind RESOURCE`, or, with `want RESOURCE`
/// before, in two steps without a break. `keep MS` and `fresh`, before the login: the session outlives its connection by
/// so long, and is not to go on where an earlier one stopped. `pub1` and `sub1` have QoS 1.
#[derive(Debug, Default)]
pub(super) struct Lines {
    will: Option<Box<Will>>,
    pub(super) deadline: Option<Instant>,
    wants: Option<String>,
    attached: bool,
    pub(super) kept: Kept,
}

/// What of it outlives its connection.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// How long it does, in milliseconds; 0 is not at all.
    pub(super) expiry_ms: u64,
    life: Option<Life>,
    pub(super) number: u64,
    journal: Journal,
    /// What came while there was no connection.
    queue: Vec<String>,
    /// To be said once the batch lasts; without a number it is not known yet which.
    unsaid: Vec<(Option<u64>, String)>,
    since: Instant,
    resumed: bool,
}

impl Lines {
    /// What a line asks for.
    fn command<'a, O: Output>(
        &mut self,
        now: Now,
        words: &[&'a str],
        out: &mut O,
    ) -> Result<Option<Command<'a>>, Disconnect> {
        match words[..] {
            ["login", account, resource] => Ok(Some(Command::Login(Login {
                account,
                resource,
                proof: Proof::Password(b"secret"),
            }))),
            ["prove", account] => Ok(Some(Command::Authenticate(Authenticate {
                account,
                proof: Proof::Password(b"secret"),
            }))),
            ["bind", resource] => Ok(Some(Command::Bind(Bind {
                resource,
                damped: true,
                renewable: false,
            }))),
            ["bye"] => {
                self.will = None;
                Ok(Some(Command::Leave))
            }
            _ if self.note(now, words) => Ok(None),
            _ => wish(words).map(Some).ok_or_else(|| {
                say(out, "what?");
                Disconnect::Malformed
            }),
        }
    }

    /// What is only to be known. False: it is something else.
    fn note(&mut self, now: Now, words: &[&str]) -> bool {
        let number = |text: &str| text.parse::<u64>().unwrap();
        match words {
            ["want", resource] => self.wants = Some((*resource).to_owned()),
            ["keep", ms] => {
                self.kept.expiry_ms = number(ms);
                self.kept.life.get_or_insert(Life::Kept { fresh: false });
            }
            ["fresh"] => self.kept.life = Some(Life::Kept { fresh: true }),
            ["will", channel] => {
                self.will = Some(Box::new(Will {
                    channel: (*channel).into(),
                    payload: Box::from(*b"gone"),
                    attributes: Box::default(),
                    qos: Qos::AtMostOnce,
                    retain: false,
                    expiry_s: None,
                    delay_s: 0,
                }));
            }
            ["delay", seconds] => self.will.as_mut().unwrap().delay_s = seconds.parse().unwrap(),
            ["timeout", ms] => self.deadline = Some(now.instant + Duration::from_millis(number(ms))),
            _ => return false,
        }
        true
    }
}

/// What is asked of the router.
fn wish<'a>(words: &[&'a str]) -> Option<Command<'a>> {
    let ticket = Ticket(1);
    let options = SubscriptionOptions::default();
    let publish = |channel, text: &'a str, qos, retain| Command::Publish {
        message: ChannelMessage {
            qos,
            retain,
            ..message(channel, text.as_bytes())
        },
        ticket: Some(ticket),
    };
    Some(match *words {
        ["pub", channel, text] => publish(channel, text, Qos::AtMostOnce, false),
        ["pub1", channel, text] => publish(channel, text, Qos::AtLeastOnce, false),
        ["keep", channel, text] => publish(channel, text, Qos::AtMostOnce, true),
        ["sub", filter] => subscribe(filter, Qos::AtMostOnce, false, ticket),
        ["sub1", filter] => subscribe(filter, Qos::AtLeastOnce, false, ticket),
        ["hear", filter] => subscribe(filter, Qos::AtMostOnce, true, ticket),
        ["sys", filter] => Command::Register {
            wanted: vec![Registration::System { filter, options }],
            ticket,
        },
        ["unsub", filter] => Command::Unregister {
            unwanted: vec![Unregistration::Channel {
                filter,
                from: Default::default(),
                form: 0,
            }],
            ticket,
        },
        _ => return None,
    })
}

impl Session for Lines {
    fn receive<'a, O: Output>(
        &mut self,
        now: Now,
        bytes: &'a mut [u8],
        _: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Step<'a>, Disconnect> {
        let Some(end) = bytes.iter().position(|b| *b == b'\n') else {
            return Ok(Step::Need(if bytes.starts_with(b"long") {
                60_000
            } else {
                bytes.len() + 1
            }));
        };
        let bytes: &'a [u8] = bytes;
        let line = std::str::from_utf8(&bytes[..end]).unwrap();
        let words: Vec<&'a str> = line.split(' ').collect();
        let command = self.command(now, &words, out)?;
        Ok(Step::Done {
            used: end + 1,
            command,
        })
    }

    fn attached<O: Output>(&mut self, _: Now, verdict: Result<&Identity, LoginFailure>, out: &mut O) {
        match verdict {
            Ok(identity) => {
                self.attached = true;
                let again = if self.kept.resumed { " again" } else { "" };
                say(out, &format!("you are {}{again}", identity.sender().address()));
                for line in std::mem::take(&mut self.kept.queue) {
                    say(out, &line);
                    self.kept.journal.delete(Table::Outbound, line.as_bytes());
                }
            }
            Err(failure) => say(out, &format!("no: {failure:?}")),
        }
    }

    fn proven<O: Output>(
        &mut self,
        _: Now,
        verdict: Result<Proven<'_>, LoginFailure>,
        out: &mut O,
    ) -> Result<Option<Bind<'_>>, Disconnect> {
        match (verdict, &self.wants) {
            (Ok(Proven::Challenge { nonce, .. }), _) => say(out, &format!("proven: Ok(Challenge {nonce})")),
            _ => say(out, &format!("proven: {verdict:?}")),
        }
        match (verdict, &self.wants) {
            (Ok(Proven::Account { .. }), Some(resource)) if !self.attached => Ok(Some(Bind {
                resource,
                damped: false,
                renewable: true,
            })),
            (Err(_), Some(_)) => Err(Disconnect::BadCredentials),
            _ => Ok(None),
        }
    }

    fn completed<O: Output>(&mut self, _: Now, _: Ticket, completion: &Completion, out: &mut O) {
        say(out, &format!("{completion:?}"));
    }

    fn deliver<O: Output>(
        &mut self,
        _: Now,
        delivery: &Delivery<'_>,
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        let Delivery::Channel { message, sender, .. } = delivery else {
            return Err(Undelivered::NotText);
        };
        let text = String::from_utf8_lossy(message.payload);
        let line = format!("{}: {text} from {}\n", message.channel, sender.address());
        if self.kept.number != 0 && message.qos != Qos::AtMostOnce {
            self.kept.journal.put(Table::Outbound, line.as_bytes(), b"");
        }
        let frame = frames.get_or_encode(0, || {
            out.share(line.len(), |to| to.extend_from_slice(line.as_bytes()))
        });
        out.push(&frame);
        Ok(())
    }

    fn timeout<O: Output>(&mut self, _: Now, out: &mut O) -> Result<(), Disconnect> {
        say(out, "too late");
        Err(Disconnect::TimedOut)
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    fn take_will(&mut self) -> Option<Box<Will>> {
        self.will.take()
    }

    fn end<O: Output>(&mut self, _: Now, ending: Ending, out: &mut O) {
        say(out, &format!("end: {ending:?}"));
    }

    fn protocol(&self) -> (Protocol, Transport) {
        (Protocol::Mqtt5, Transport::Stream)
    }

    fn life(&self) -> Life {
        self.kept.life.unwrap_or(Life::Connection)
    }

    fn keep_as(&mut self, number: u64) {
        self.kept.number = number;
    }

    fn number(&self) -> u64 {
        self.kept.number
    }

    fn detach(&mut self, now: Now) -> Option<Self> {
        if self.kept.expiry_ms == 0 {
            return None;
        }
        let mut kept = std::mem::take(&mut self.kept);
        kept.since = now.instant;
        let will = self.will.take_if(|will| will.delay_s > 0);
        let over = now.instant + Duration::from_millis(kept.expiry_ms);
        let due = |will: &Will| now.instant + Duration::from_secs(will.delay_s.into());
        Some(Self {
            deadline: Some(will.as_deref().map_or(over, |will| due(will).min(over))),
            will,
            kept,
            ..Self::default()
        })
    }

    fn inherit(&mut self, earlier: &mut Self) {
        let life = (self.kept.expiry_ms, self.kept.life);
        self.kept = std::mem::take(&mut earlier.kept);
        (self.kept.expiry_ms, self.kept.life) = life;
        self.kept.resumed = true;
    }

    fn keep_delivery(&mut self, _: Now, delivery: &Delivery<'_>) -> Result<(), Undelivered> {
        let Delivery::Channel { message, .. } = delivery else {
            return Err(Undelivered::Gone);
        };
        if message.qos == Qos::AtMostOnce {
            return Err(Undelivered::Gone);
        }
        let line = format!("kept {}", String::from_utf8_lossy(message.payload));
        self.kept.journal.put(Table::Outbound, line.as_bytes(), b"");
        self.kept.queue.push(line);
        Ok(())
    }

    fn due(&mut self, now: Now) -> Option<Due> {
        let over = self.kept.since + Duration::from_millis(self.kept.expiry_ms);
        if over <= now.instant {
            return Some(Due::End);
        }
        if self.deadline.is_none_or(|due| due > now.instant) {
            return None;
        }
        self.deadline = Some(over);
        self.will.take().map(Due::Will)
    }

    fn describe(&self, _: Now, into: &mut Vec<u8>) {
        into.push(u8::from(self.attached));
    }

    fn drain_journal(&mut self, batch: u64, into: &mut Journal) -> bool {
        let wrote = !self.kept.journal.is_empty();
        into.append(&mut self.kept.journal);
        for (waits, _) in &mut self.kept.unsaid {
            waits.get_or_insert(batch);
        }
        wrote
    }

    fn committed<O: Output>(&mut self, _: Now, batch: u64, out: &mut O) {
        let lasts = |(waits, _): &mut (Option<u64>, String)| waits.is_some_and(|waits| waits <= batch);
        for (_, line) in self.kept.unsaid.extract_if(.., lasts) {
            say(out, &line);
        }
    }
}

fn message<'a>(channel: &'a str, payload: &'a [u8]) -> ChannelMessage<'a> {
    let (attributes, qos) = (&[][..], Qos::AtMostOnce);
    ChannelMessage {
        channel,
        payload,
        attributes,
        qos,
        retain: false,
        expires: None,
    }
}

/// `hear` wants what is retained, too.
fn subscribe(filter: &str, qos: Qos, retained: bool, ticket: Ticket) -> Command<'_> {
    let mut options = SubscriptionOptions {
        qos,
        ..SubscriptionOptions::default()
    };
    if retained {
        options.retained = RetainHandling::Always;
    }
    Command::Register {
        wanted: vec![Registration::Channel {
            filter,
            from: Default::default(),
            options,
        }],
        ticket,
    }
}

fn say<O: Output>(out: &mut O, line: &str) {
    out.write(line.len() + 1, |to| {
        to.extend_from_slice(line.as_bytes());
        to.push(b'\n');
    });
}
