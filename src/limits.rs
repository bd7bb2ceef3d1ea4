//! Every bound in the system, in one place, with its unit in its name. Those an operator may change are the
//! defaults of [`crate::config`]; the others are part of the protocol or of the design.

// Names (PROTOCOL: the grammar of identities).
/// An app's name.
pub const APP_NAME_BYTES_MAX: usize = 32;
/// A uid as text: 24 hex digits.
pub const UID_BYTES: usize = 24;
/// `<app>-<uid>-<role>`: 32 + 1 + 24 + 1 + 7.
pub const ACCOUNT_BYTES_MAX: usize = APP_NAME_BYTES_MAX + 1 + UID_BYTES + 1 + 7;
/// A resource, and the name of an API command.
pub const RESOURCE_BYTES_MAX: usize = 128;
/// A channel's name or a channel filter.
pub const CHANNEL_BYTES_MAX: usize = 1_024;
/// Levels of a channel's name or filter, separated by `/`.
pub const CHANNEL_LEVELS_MAX: usize = 64;
/// `<id>` of `$nexus/call/<id>/…`.
pub const CALL_ID_BYTES_MAX: usize = 64;

// Messages.
/// Depth of nesting in a JSON body.
pub const JSON_DEPTH_MAX: usize = 64;
/// An API request's or reply's body.
pub const API_BODY_BYTES_MAX: usize = 256 * 1_024;
/// What a session may attach to a request to find its way back (response topic and correlation data, ...).
pub const LABEL_BYTES_MAX: usize = 2_048;
/// A packet or stanza of a block that has logged in.
pub const PACKET_BYTES_MAX: usize = 1_024 * 1_024;

// API.
/// From the moment the daemon took a request to its outcome.
pub const API_TIMEOUT_MS: u64 = 30_000;
/// Requests in flight that one block may have sent.
pub const REQUESTS_PER_BLOCK_MAX: usize = 1_024;
/// Requests in flight that one worker may have been given.
pub const REQUESTS_PER_WORKER_MAX: usize = 4_096;
/// Requests in flight that the blocks of one shard may have sent.
pub const REQUESTS_PER_SHARD_MAX: usize = 1_048_576;
/// Listeners one worker may register.
pub const LISTENERS_PER_BLOCK_MAX: usize = 256;
/// How long an app with `direct = entitled` takes answers from a block that its worker has messaged.
pub const DIRECT_ANSWER_MS: u64 = 150_000;
/// How many such blocks are remembered per worker; the oldest is forgotten first.
pub const DIRECT_ANSWERERS_MAX: usize = 256;

// Channels.
/// Subscriptions of one session.
pub const SUBSCRIPTIONS_PER_BLOCK_MAX: usize = 1_024;

// Before login: fixed budgets for a peer that has proven nothing yet.
/// Bytes buffered for a connection that has not logged in, whatever its protocol.
pub const PRELOGIN_BYTES_MAX: usize = 16 * 1_024;
/// A CONNECT may be as long as it declares up to this, from the shard's pool.
pub const CONNECT_BYTES_MAX: usize = 80 * 1_024;
/// The pool from which CONNECTs over [`PRELOGIN_BYTES_MAX`] are taken, per shard.
pub const CONNECT_POOL_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// From accept to a successful login.
pub const PRELOGIN_MS_MAX: u64 = 10_000;

// WebSocket.
/// The opening handshake: request line and header fields.
pub const WS_REQUEST_BYTES_MAX: usize = 8 * 1_024;
/// Payload of one data frame. It is read as it comes and may hold many packets.
pub const WS_FRAME_BYTES_MAX: u64 = 16 * 1_024 * 1_024;
/// A data frame with less payload than this counts as overhead, like a control frame.
pub const WS_SMALL_FRAME_BYTES: u64 = 512;
/// Overhead frames that a packet may take within [`WS_OVERHEAD_MS`]; the count begins anew after each packet.
pub const WS_OVERHEAD_FRAMES_MAX: u16 = 256;
/// After this time the count of overhead frames begins anew.
pub const WS_OVERHEAD_MS: u64 = 10_000;

// Receivers.
/// Bytes that may wait to be sent to one connection; beyond, QoS 0, Direct and Channel drop the newest.
pub const SEND_QUEUE_BYTES_MAX: usize = 1_024 * 1_024;
/// A connection whose send queue stays over its bound for this long is closed.
pub const SEND_BLOCKED_MS_MAX: u64 = 30_000;
/// QoS 1 messages sent to one session and not yet acknowledged (the client's Receive Maximum lowers it).
pub const INFLIGHT_PER_SESSION_MAX: u16 = 1_024;
/// QoS 1 messages waiting for a place among those in flight, per session.
pub const QUEUED_PER_SESSION_MAX: usize = 1_024;

// Mesh: what one shard may have waiting for another.
/// Parcels in the ring of one ordered pair of shards.
pub const MESH_RING_PARCELS: usize = 1_024;
/// Bytes in the parcel being filled while the ring is full; beyond, droppable letters are dropped, requests
/// are answered with -2002.
pub const MESH_BACKLOG_BYTES_MAX: usize = 8 * 1_024 * 1_024;

// Control thread.
/// Logins waiting for the control thread, over all shards.
pub const LOGIN_QUEUE_MAX: usize = 65_536;
