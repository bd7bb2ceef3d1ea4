//! What the cases are played on: the hubs under virtual time, or a daemon behind sockets.

/// What carries MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// A stream of bytes.
    Tcp,
    /// WebSocket.
    WebSocket,
}

/// What came of waiting for a server.
#[derive(Clone, Debug)]
pub(crate) enum Heard {
    /// Bytes.
    Bytes(Vec<u8>),
    /// The end of the connection.
    End,
    /// Nothing, for longer than anything can take.
    Nothing,
}

/// Who logs in.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    /// The user name.
    pub(crate) name: String,
    /// The password.
    pub(crate) secret: String,
}

/// A server, and connections to it.
pub(crate) trait Net {
    /// Opens a connection.
    fn open(&mut self, transport: Transport) -> usize;

    /// Sends bytes; the server may have closed already.
    fn write(&mut self, conn: usize, bytes: &[u8]);

    /// Waits for whatever comes next on a connection.
    fn read(&mut self, conn: usize) -> Heard;

    /// Breaks a connection off.
    fn hang_up(&mut self, conn: usize);

    /// Lets time pass, if it can be made to.
    fn advance(&mut self, ms: u64);

    /// Whether the next case is played on the same server.
    const IS_KEPT: bool;

    /// The account of that name in the cases: `device` (which the others default to), `stranger` (of another app),
    /// `operator`.
    fn account(&self, who: &str) -> Account;
}
