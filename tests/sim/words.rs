//! What blocks do and hear, whatever they speak: the simulated clients put these words into their protocol.

/// Who a client can be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Persona {
    pub account: &'static str,
    pub resource: &'static str,
}

impl Persona {
    /// `<app>/<uid>/<role>/<resource>` as it stands in topics.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.account.replace('-', "/"), self.resource)
    }

    pub(crate) fn address(&self) -> String {
        format!("{}/{}", self.account, self.resource)
    }

    pub(crate) fn app(&self) -> &'static str {
        self.account.split('-').next().unwrap()
    }
}

/// What a client may want to hear, or not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// Channels that match this filter.
    Channel(&'static str),
    /// Requests for this command.
    Listen(&'static str),
    /// What is sent to the account; over MQTT all Direct messages, over XMPP the others come in any case.
    Account,
}

/// What a client does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed<'a> {
    /// Begins or ceases to hear.
    Want(Subject, bool),
    Publish {
        channel: &'a str,
        text: &'a str,
    },
    /// Direct to an app's resource.
    Direct {
        app: &'a str,
        resource: &'a str,
        text: &'a str,
    },
    /// Direct to an account or to one block of it; XMPP has words for that, MQTT has none.
    Message {
        account: &'a str,
        resource: Option<&'a str>,
        text: &'a str,
        /// The text is its body; else it is something that MQTT does not carry.
        has_body: bool,
    },
    /// A request to a worker of `etest`.
    Call {
        id: u64,
        cmd: &'a str,
        body: &'a str,
    },
    /// A worker's answer.
    Answer {
        token: &'a str,
        body: &'a str,
    },
    /// A worker's refusal, in its protocol's own form if it has one.
    Decline {
        token: &'a str,
    },
    /// Good-bye.
    Leave,
}

/// The code a worker declines with.
pub(crate) const DECLINED: i64 = -7;

/// What a client hears. Senders are paths, see [`Persona::path`].
#[derive(Debug)]
pub(crate) enum Word {
    /// It is logged in.
    Attached,
    /// What it asked for with this mark was done, or refused.
    Done {
        mark: u64,
        granted: bool,
    },
    /// The outcome of a request of its own.
    Reply {
        id: u64,
        code: i64,
        body: String,
        /// The worker that answered, where the protocol tells.
        from: Option<String>,
    },
    /// A request it is to answer.
    Request {
        cmd: String,
        token: String,
        from: String,
        body: String,
    },
    Direct {
        from: String,
        text: String,
    },
    Channel {
        from: String,
        channel: String,
        text: String,
    },
    /// The server ends the stream, and this is why.
    Ended {
        condition: String,
    },
}

/// What came of bytes from the server.
#[derive(Debug, Default)]
pub(crate) struct Hearing {
    pub words: Vec<Word>,
    /// What the protocol has the client say at once.
    pub answer: Vec<u8>,
}
