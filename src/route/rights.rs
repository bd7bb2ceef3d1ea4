//! Who may call whom: services of the users that are online, and what apps allow.
//!
//! The words only come from outside (the control thread reads them from the database); this room keeps them
//! per shard and answers questions about them with the wall clock of the turn.

use super::identity::Uid;

/// The right of a user to call an app's workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The app.
    pub app: Box<str>,
    /// When it ends, in milliseconds since the Unix epoch.
    pub expires_unix_ms: Option<u64>,
}

/// From whom an app's workers take Direct messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DirectPolicy {
    /// From every block.
    #[default]
    Any,
    /// From who may call the app, or whom the receiver messaged a short time ago.
    Entitled,
}

/// What an app allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppPolicy {
    /// Everybody may call its workers.
    pub open: bool,
    /// Direct messages to its workers.
    pub direct: DirectPolicy,
}

/// A secret that logs in; revoking it closes the connections that used it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialId(pub u64);

impl CredentialId {
    /// No secret that is kept: the block showed a token. Never revoked by itself; the account may be.
    pub const NONE: Self = Self(0);
}

/// What a successful login brings along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    /// The secret that was shown.
    pub credential: CredentialId,
    /// The uid's services, live or not.
    pub services: Vec<Service>,
    /// When the session ends, in milliseconds since the Unix epoch; `None` unless a token logged in.
    pub expires_unix_ms: Option<u64>,
    /// The block was announced as a worker: it is one without any listener.
    pub announced: bool,
}

/// A change of rights while blocks are connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An app exists with this policy.
    App {
        /// Its name.
        name: Box<str>,
        /// What it allows.
        policy: AppPolicy,
    },
    /// An app is gone: its blocks are disconnected, nobody calls it any more.
    AppRemoved {
        /// Its name.
        name: Box<str>,
    },
    /// All the services a user now has.
    Services {
        /// The user.
        uid: Uid,
        /// All of them.
        services: Vec<Service>,
    },
    /// An account is revoked: its blocks are disconnected.
    AccountRevoked {
        /// `<app>-<uid>-<role>`.
        account: Box<str>,
    },
    /// Blocks are announced as workers; those that are connected become such.
    Announced {
        /// `<app>-<uid>-<role>`.
        account: Box<str>,
        /// None: every block of the account.
        resource: Option<Box<str>>,
    },
    /// A secret is revoked: the blocks that logged in with it are disconnected.
    CredentialRevoked {
        /// The secret.
        credential: CredentialId,
    },
}
