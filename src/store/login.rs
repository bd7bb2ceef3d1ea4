//! Logins on their way to the control thread and back.

use std::net::IpAddr;

use crate::route::{Grants, SessionId};
use crate::session::LoginFailure;

/// A claim to be an account, on its way to the control thread.
#[derive(Clone)]
pub struct LoginRequest {
    /// Who waits for the verdict.
    pub session: SessionId,
    /// The account's name as the peer gave it (at most `ACCOUNT_BYTES_MAX` bytes, domain cut off); its grammar
    /// is not yet checked.
    pub account: Box<str>,
    /// The resource the block will have (checked, never empty: one is made up before, where none was asked).
    pub resource: Box<str>,
    /// The secret or JWT as it came.
    pub password: Box<[u8]>,
    /// Where it came from, for the throttle.
    pub peer: IpAddr,
}

/// The control thread's verdict.
#[derive(Clone, Debug)]
pub struct LoginVerdict {
    /// Who waits for it.
    pub session: SessionId,
    /// What the login brings along, or why it failed.
    pub result: Result<Grants, LoginFailure>,
}
