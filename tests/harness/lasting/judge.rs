//! What has to arrive, and how often: every acknowledged message at everybody who had subscribed before, QoS 2 once,
//! each sender's in their order. QoS 0 never twice, in the same order, and only what a connection took with it is missed.

use std::collections::BTreeMap;

/// A message: who sent it, and its number among that sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Mark {
    pub(crate) from: usize,
    pub(crate) number: u64,
}

#[derive(Debug)]
struct Sent {
    topic: String,
    qos: u8,
    retain: bool,
    /// Who had subscribed, and with which QoS.
    owed: Vec<(usize, u8)>,
    acknowledged: bool,
    /// Refused, and not to be looked for.
    refused: bool,
    /// Of QoS 0: who may have lost it with a connection.
    missed: Vec<usize>,
    /// How often it arrived, by receiver.
    arrived: BTreeMap<usize, u32>,
}

/// Who sent what, and who heard it.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    sent: BTreeMap<Mark, Sent>,
    numbers: BTreeMap<usize, u64>,
    /// The last message heard first, by receiver and sender.
    last: BTreeMap<(usize, usize), u64>,
    /// What happened to the messages of each sender: for who has to find out why.
    history: Vec<String>,
    /// Messages that arrived where they were owed.
    pub(crate) kept: u64,
    /// Arrivals of QoS 1 beyond the first.
    pub(crate) repeated: u64,
}

impl Sent {
    /// Whether it arrived at a receiver, or need not.
    fn is_done_with(&self, receiver: usize) -> bool {
        self.arrived.contains_key(&receiver) || self.missed.contains(&receiver)
    }
}

impl Judge {
    /// A new message, to these receivers with the QoS of their subscriptions. Its mark and text.
    pub(crate) fn sends(
        &mut self,
        from: usize,
        topic: &str,
        qos: u8,
        retain: bool,
        owed: Vec<(usize, u8)>,
    ) -> (Mark, String) {
        let number = self.numbers.entry(from).or_default();
        *number += 1;
        let mark = Mark {
            from,
            number: *number,
        };
        let sent = Sent {
            topic: topic.to_owned(),
            qos,
            retain,
            owed,
            acknowledged: qos == 0,
            refused: false,
            missed: Vec::new(),
            arrived: BTreeMap::new(),
        };
        self.history
            .push(format!("{from} sends {mark:?} qos {qos} on {topic}"));
        self.sent.insert(mark, sent);
        (mark, format!("{from}:{number}", number = mark.number))
    }

    /// Whether a message was sent with QoS 2.
    pub(crate) fn is_exactly_once(&self, mark: Mark) -> bool {
        self.sent[&mark].qos == 2
    }

    /// Something happened that concerns all.
    pub(crate) fn note(&mut self, what: String) {
        self.history.push(what);
    }

    /// The end of the history of a sender and a receiver.
    fn history(&self, from: usize, receiver: usize) -> String {
        let own = |line: &&String| {
            line.starts_with(&format!("{from} "))
                || line.starts_with(&format!("{receiver}<{from} "))
                || line.starts_with('*')
        };
        let lines: Vec<_> = self.history.iter().filter(own).map(String::as_str).collect();
        lines[lines.len().saturating_sub(4_000)..].join("\n")
    }

    /// PUBACK or PUBREC, with its code.
    pub(crate) fn acknowledged(&mut self, mark: Mark, code: u8) {
        self.history.push(format!(
            "{} is acknowledged {} ({code:#x})",
            mark.from, mark.number
        ));
        let sent = self.sent.get_mut(&mark).unwrap();
        sent.acknowledged = true;
        sent.refused |= code >= 0x80;
    }

    /// A connection of a client has ended, or there is none: what is on its way from it or to it at QoS 0 may be lost.
    pub(crate) fn loses(&mut self, client: usize) {
        for (mark, sent) in self.sent.iter_mut().filter(|(_, sent)| sent.qos == 0) {
            for &(receiver, _) in &sent.owed {
                if (mark.from == client || receiver == client) && !sent.missed.contains(&receiver) {
                    sent.missed.push(receiver);
                }
            }
        }
    }

    /// A receiver has begun anew: nothing that was sent before is owed to it, and what is sent again is new.
    pub(crate) fn forgets(&mut self, receiver: usize) {
        for sent in self.sent.values_mut() {
            sent.owed.retain(|owed| owed.0 != receiver);
            sent.arrived.remove(&receiver);
        }
    }

    /// A sender has begun anew: what it is not told of may be sent twice.
    pub(crate) fn sender_forgets(&mut self, sender: usize) {
        let unknown = |(mark, sent): (&Mark, &mut Sent)| {
            if mark.from == sender && !sent.acknowledged {
                sent.qos = 1;
            }
        };
        self.sent.iter_mut().for_each(unknown);
    }

    /// A message came that is not one of those that were retained when the receiver subscribed.
    pub(crate) fn heard(&mut self, receiver: usize, topic: &str, qos: u8, text: &str) {
        let mark = read(text);
        self.history.push(format!(
            "{receiver}<{} hears {} qos {qos}",
            mark.from, mark.number
        ));
        let history = self.history(mark.from, receiver);
        let sent = self
            .sent
            .get_mut(&mark)
            .unwrap_or_else(|| panic!("nobody sent {text}"));
        assert_eq!(sent.topic, topic, "the topic of {text}");
        let times = sent.arrived.entry(receiver).or_default();
        *times += 1;
        let first = *times == 1;
        if sent.qos == 0 || sent.qos.min(qos) == 2 {
            assert!(first, "receiver {receiver} got {text}, QoS {qos}, {times} times");
        }
        if !first {
            self.repeated += 1;
            return;
        }
        // One from before the subscription may come behind later ones, when its sender repeats it.
        if sent.owed.iter().all(|owed| owed.0 != receiver) {
            return;
        }
        let last = self.last.entry((receiver, mark.from)).or_default();
        assert!(
            *last < mark.number,
            "receiver {receiver} got {text} after {last}:\n{history}"
        );
        *last = mark.number;
    }

    /// At the end: everything was acknowledged, and what was acknowledged has arrived.
    pub(crate) fn check(&mut self) {
        for (mark, sent) in &self.sent {
            assert!(sent.acknowledged, "{mark:?} was never acknowledged: {sent:?}");
            for (receiver, _) in sent.owed.iter().filter(|_| !sent.refused) {
                assert!(
                    sent.is_done_with(*receiver),
                    "{mark:?} never reached receiver {receiver}: {sent:?}:\n{}",
                    self.history(mark.from, *receiver)
                );
                self.kept += u64::from(sent.arrived.contains_key(receiver));
            }
        }
    }

    /// The last message that was retained on a topic, by the order it was sent in: one sender each.
    pub(crate) fn retained(&self, topic: &str) -> Option<String> {
        let mut sent = self.sent.iter().rev();
        let (mark, _) = sent.find(|(_, sent)| sent.retain && !sent.refused && sent.topic == topic)?;
        Some(format!("{}:{}", mark.from, mark.number))
    }

    /// Whether everything that is owed has arrived.
    pub(crate) fn is_satisfied(&self) -> bool {
        self.sent.values().all(|sent| {
            let mut owed = sent.owed.iter();
            sent.acknowledged && (sent.refused || owed.all(|owed| sent.is_done_with(owed.0)))
        })
    }
}

fn read(text: &str) -> Mark {
    let (from, number) = text.split_once(':').unwrap();
    Mark {
        from: from.parse().unwrap(),
        number: number.parse().unwrap(),
    }
}
