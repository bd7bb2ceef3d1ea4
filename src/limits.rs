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

// The machine.
/// Microseconds a shard looks for work before it blocks.
pub const SPIN_US: u32 = 20;

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
/// How long what a worker was asked waits for it to come back, if its session outlives its connection.
pub const WORKER_BACK_MS: u64 = 5_000;
/// How often another worker is chosen after one turned out to be full or gone.
pub const REQUEST_RETRIES_MAX: u8 = 2;
/// Ended requests whose late answers are told from guessed tokens, per shard; a power of two.
pub const ENDED_TOKENS: usize = 8_192;
/// A label that fits into this stays with its slot in the table of requests, so that it is not allocated anew.
pub const LABEL_KEPT_BYTES_MAX: usize = 256;
/// Listeners one worker may register.
pub const LISTENERS_PER_BLOCK_MAX: usize = 256;
/// How long an app with `direct = entitled` takes answers from a block that its worker has messaged.
pub const DIRECT_ANSWER_MS: u64 = 150_000;
/// How many such workers are remembered per block; the oldest is forgotten first.
pub const DIRECT_ANSWERERS_MAX: usize = 256;

/// Blocks found on one shard that a Direct message to a whole account goes to; for the others it is dropped.
pub const DIRECT_ACCOUNT_BLOCKS_MAX: usize = 256;

// Sessions that outlive their connections.
/// All of them.
pub const KEPT_SESSIONS_MAX: usize = 16_000_000;
/// Those of one account.
pub const KEPT_SESSIONS_PER_ACCOUNT_MAX: usize = 100_000;

// Channels.
/// Subscriptions of one session.
pub const SUBSCRIPTIONS_PER_BLOCK_MAX: usize = 1_024;
/// Bytes that the subscriptions and listeners of all sessions take in memory: filters, patterns of senders and commands, about
/// 160 for each on top, and for a filter with wildcards its text again and 100 for each level; divided evenly over the shards.
pub const SUBSCRIPTION_BYTES_MAX: usize = 1_024 * 1_024 * 1_024;
/// The name of a group that shares subscriptions.
pub const SHARE_NAME_BYTES_MAX: usize = 128;
/// Groups that the sessions of one shard are members of.
pub const SHARES_PER_SHARD_MAX: usize = 65_536;
/// Members of one group among the sessions of one shard.
pub const SHARE_MEMBERS_PER_SHARD_MAX: usize = 4_096;
/// Groups that one session may be a member of, within [`SUBSCRIPTIONS_PER_BLOCK_MAX`] or what an operator allows in its
/// place: they are sought one by one.
pub const SHARES_PER_SESSION_MAX: usize = 1_024;
/// Members that a message is offered to in vain; then it is dropped. Members known to be full are not counted: they are
/// passed over.
pub const SHARE_TRIES_MAX: usize = 3;
/// How long a member whose queue was found full is passed over while there are others.
pub const SHARE_FULL_MS: u64 = 100;
/// Retained messages, of the daemon.
pub const RETAINED_MAX: usize = 1_000_000;
/// Bytes that they take in memory: names, payloads and properties, about 100 for each message on top.
pub const RETAINED_BYTES_MAX: usize = 1_024 * 1_024 * 1_024;
/// Retained messages that came from one account.
pub const RETAINED_PER_ACCOUNT_MAX: usize = RETAINED_MAX / 10;
/// The same, in bytes.
pub const RETAINED_BYTES_PER_ACCOUNT_MAX: usize = RETAINED_BYTES_MAX / 10;
/// How long a shard remembers that a retained message was removed: something older may still be on its way to it.
pub const RETAINED_TOMBSTONE_MS: u64 = 10_000;
/// Removals remembered per shard; the oldest is forgotten first.
pub const RETAINED_TOMBSTONES_MAX: usize = 65_536;
/// Channels with retained messages that a shard looks at for one session in one turn; the rest of what new subscriptions
/// are owed follows at the next ticks.
pub const RETAINED_STEPS_PER_TURN: usize = 2_048;
/// The same for all sessions of a shard from one tick to the next.
pub const RETAINED_STEPS_PER_TICK: usize = 8_192;
/// Retained messages that have expired and are removed at one tick of a shard.
pub const RETAINED_EXPIRED_PER_TICK: usize = 1_024;
/// Subscriptions to `$SYS` of one turn of a shard that are told the values at once; others wait for the interval.
pub const SYSTEM_NEWCOMERS_MAX: usize = 256;
/// Seconds from one publication of `$SYS` to the next.
pub const SYSTEM_INTERVAL_S: u32 = 10;

// Addresses.
/// Logins under one address that newer ones overtook while the end of its earlier session does not last yet.
pub const OVERTAKEN_MAX: usize = 64;
/// Take-overs of one address within [`CONFLICT_WINDOW_MS`]; beyond, a newcomer that is damped is refused.
pub const CONFLICTS_PER_WINDOW_MAX: u32 = 2;
/// From the first take-over of an address to the end of its count.
pub const CONFLICT_WINDOW_MS: u64 = 60_000;
/// Addresses whose take-overs are counted, per shard; the oldest is forgotten first.
pub const CONFLICTS_TRACKED_MAX: usize = 16_384;

// Revocation.
/// Sessions looked at per tick for a revoked account, secret or app: a million take under a second.
pub const SWEEP_SESSIONS_PER_TICK: u32 = 32_768;

// Before login: fixed budgets for a peer that has proven nothing yet.
/// Bytes buffered for a connection that has not logged in, whatever its protocol.
pub const PRELOGIN_BYTES_MAX: usize = 16 * 1_024;
/// A CONNECT may be as long as it declares up to this, from the shard's pool.
pub const CONNECT_BYTES_MAX: usize = 80 * 1_024;
/// The pool from which CONNECTs over [`PRELOGIN_BYTES_MAX`] are taken, per shard.
pub const CONNECT_POOL_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// The pool from which what packets and stanzas of blocks that are logged in announce over [`PRELOGIN_BYTES_MAX`] is taken
/// while they are unfinished, per shard.
pub const UNFINISHED_BYTES_MAX: usize = 512 * 1_024 * 1_024;
/// What of it one account may have.
pub const UNFINISHED_BYTES_PER_ACCOUNT_MAX: usize = UNFINISHED_BYTES_MAX / 4;
/// From accept to a successful login.
pub const PRELOGIN_MS_MAX: u64 = 10_000;

// Metrics and health.
/// Connections that are served at a time; the others wait in the kernel's queue.
pub const HTTP_CONNECTIONS_MAX: usize = 256;
/// Request line and header fields.
pub const HTTP_HEAD_BYTES_MAX: usize = 16 * 1_024;
/// From accept, or the answer before, to the end of a request's header.
pub const HTTP_HEAD_MS_MAX: u64 = 10_000;
/// How long one connection is served at all.
pub const HTTP_CONNECTION_MS_MAX: u64 = 300_000;

// The QE bridge.
/// Connections that are served at a time; the others wait in the kernel's queue.
pub const BRIDGE_CONNECTIONS_MAX: usize = 256;
/// Request line and header fields.
pub const BRIDGE_HEAD_BYTES_MAX: usize = 16 * 1_024;
/// Body of a request.
pub const BRIDGE_BODY_BYTES_MAX: usize = 16 * 1_024;
/// From the beginning of a connection, or from the end of the response before, to the end of the header fields.
pub const BRIDGE_HEAD_MS_MAX: u64 = 10_000;
/// From the end of the header fields to the end of the body.
pub const BRIDGE_BODY_MS_MAX: u64 = 10_000;
/// What the store and the shards have to answer a request.
pub const BRIDGE_ANSWER_MS_MAX: u64 = 5_000;
/// What a client has to take a response and to send its next request.
pub const BRIDGE_CONNECTION_MS_MAX: u64 = 300_000;
/// Requests of one address (IPv6: one /64) in a second, over a time.
pub const BRIDGE_REQUESTS_PER_S: u32 = 100;
/// The same at once.
pub const BRIDGE_BURST_MAX: u32 = 200;
/// Addresses whose requests are counted; while all of them are busy, newcomers are refused.
pub const BRIDGE_ADDRESSES_MAX: usize = 16_384;
/// Requests that wait for the store.
pub const BRIDGE_STORE_QUEUE_MAX: usize = 256;
/// Questions of the bridge that wait for one shard.
pub const BRIDGE_SHARD_QUEUE_MAX: usize = 64;
/// Announced workers of an account; beyond, the one announced longest ago is forgotten.
pub const ANNOUNCED_PER_ACCOUNT_MAX: usize = 256;
/// Announced workers, the latest first, that are looked for among the live sessions: the requester's own, and as many
/// of others.
pub const ANNOUNCED_SOUGHT_MAX: usize = 256;
/// Live workers that a shard names to the bridge, and that the bridge names to a requester.
pub const BRIDGE_JIDS_MAX: usize = 1_024;
/// A worker that is announced again is written down again after this time.
pub const ANNOUNCED_FRESH_MS: u64 = 3_600_000;

// SASL.
/// A name in a message of PLAIN or SCRAM, as it is written: an account and a domain (RFC 7622 section 3.2).
pub const SASL_NAME_BYTES_MAX: usize = ACCOUNT_BYTES_MAX + 1 + 1_023;
/// The client's part of the nonce of SCRAM.
pub const SASL_NONCE_BYTES_MAX: usize = 256;
/// A message of SCRAM, decoded. What is signed is made of two of them, and signed for each secret that is tried.
pub const SASL_MESSAGE_BYTES_MAX: usize = 2 * 1_024;

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
/// Answers (acknowledgements, pings) are never dropped: beyond this, twice what deliveries can pile up, a client
/// that asks without reading is closed.
pub const SEND_QUEUE_ANSWERS_BYTES_MAX: usize = 4 * SEND_QUEUE_BYTES_MAX;
/// A connection whose send queue stays over its bound for this long is closed.
pub const SEND_BLOCKED_MS_MAX: u64 = 30_000;
/// QoS 1 and 2 messages sent to one session and not yet acknowledged (the client's Receive Maximum lowers it).
pub const INFLIGHT_PER_SESSION_MAX: u16 = 1_024;
/// QoS 1 and 2 messages waiting for a place among those in flight, or for the client to come back, per session.
pub const QUEUED_PER_SESSION_MAX: usize = 1_024;

/// Bytes of the messages that wait, and as many of those in flight that are kept to be sent again, per session.
pub const QUEUED_BYTES_PER_SESSION_MAX: usize = SEND_QUEUE_BYTES_MAX;
/// The same of all sessions of the daemon, divided evenly over its shards.
pub const QUEUED_BYTES_MAX: usize = 4 * 1_024 * 1_024 * 1_024;
/// Bytes of the wills of all clients, connected or not: names, payloads, properties, and about 100 for each on top;
/// divided evenly over the shards.
pub const WILL_BYTES_MAX: usize = 1_024 * 1_024 * 1_024;

// MQTT.
/// QoS 2 exchanges of one 3.1.1 client between PUBLISH and PUBREL. 3.1.1 has no way to announce a bound, and
/// stock clients send a burst of any length before they read the first PUBREC.
pub const QOS2_EXCHANGES_PER_SESSION_MAX: usize = 16_384;
/// Topics of one connection that the daemon gives an alias to (the client's Topic Alias Maximum lowers it).
pub const OUTBOUND_ALIASES_MAX: u16 = 16;
/// The longest that a session lasts without its connection, in seconds; this is for ever.
pub const SESSION_EXPIRY_S_MAX: u32 = u32::MAX;
/// A topic that an alias is kept for: the longest channel, and the longest control topic is shorter.
pub const ALIASED_TOPIC_BYTES_MAX: usize = CHANNEL_BYTES_MAX;
/// Filters under `$nexus/reply/` that one session may hold.
pub const REPLY_FILTERS_PER_SESSION_MAX: usize = 16;
/// A filter under `$nexus/reply/`.
pub const REPLY_FILTER_BYTES_MAX: usize = 256;
/// The longest CONNACK with success, without an Assigned Client Identifier. A client whose Maximum Packet Size is
/// below it is not served.
pub const CONNACK_BYTES_MAX: usize = 64;
/// What Authentication Method and Data (the longest signature of a server) add to it.
pub const CONNACK_AUTH_BYTES_MAX: usize = 3 + 13 + 3 + 46;

// What outlives the daemon.
/// Starts of the daemon that are remembered: from which of them on sessions have no connection that were never back.
pub const STARTS_MAX: usize = 64;
/// Messages that ended sessions left and nobody could store, per shard, that are offered again; beyond, they are dropped.
pub const LEFT_AGAIN_MAX: usize = 65_536;
/// When such a message is offered again.
pub const LEFT_AGAIN_MS: u64 = 1_000;
/// How many are, in one tick of a shard.
pub const LEFT_AGAIN_PER_TICK: usize = 1_024;
/// Changes of one shard that wait for the storage thread to take them; beyond, what is new is refused.
pub const JOURNAL_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Empty journals kept for use again, per shard.
pub const SPARE_JOURNALS_MAX: usize = 64;

// XMPP.
/// A stanza of a block that has logged in.
pub const STANZA_BYTES_MAX: usize = PACKET_BYTES_MAX;
/// Elements open inside one another, the stanza among them.
pub const XMPP_DEPTH_MAX: usize = 32;
/// Attributes of one element, its namespace declarations among them.
pub const XMPP_ATTRIBUTES_MAX: usize = 64;
/// The name of an element or an attribute, with its prefix.
pub const XMPP_NAME_BYTES_MAX: usize = 256;
/// What begins a stream over TCP: the XML declaration and the start tag of the root.
pub const XMPP_HEADER_BYTES_MAX: usize = 4 * 1_024;
/// The XML declaration alone.
pub const XMPP_DECLARATION_BYTES_MAX: usize = 128;
/// Prefixes declared by an element and those around it.
pub const XMPP_PREFIXES_MAX: usize = 16;
/// Elements directly inside a stanza; what is inside them counts in bytes alone.
pub const XMPP_CHILDREN_MAX: usize = 256;
/// The id of a stanza, which is repeated in the answer.
pub const XMPP_ID_BYTES_MAX: usize = 1_024;
/// An address that is repeated in an answer: three parts and what is between them.
pub const XMPP_ADDRESS_BYTES_MAX: usize = 3 * JID_PART_BYTES_MAX + 2;
/// Senders that a block remembers to have been shown in its rooms.
pub const XMPP_INTRODUCED_MAX: usize = 256;
/// A client's capabilities (XEP-0115) as the others in its rooms are shown them; longer ones are not passed on.
pub const XMPP_CAPS_BYTES_MAX: usize = 512;
/// Occupants of a room up to whom all are shown to one another.
pub const ROOM_PRESENCE_MAX: usize = 200;
/// The most that an operator may allow.
pub const ROOM_PRESENCE_CEILING: usize = 65_536;
/// The rooms of a block that ended without leaving them wait for its next session so long, in seconds.
pub const XMPP_REJOIN_S: u32 = 300;
/// What a block leaves behind so; rooms beyond are not remembered.
pub const LEFT_BEHIND_BYTES_MAX: usize = 16 * 1_024;
/// Blocks of whom something waits on their home shard; the oldest is forgotten for a new one.
pub const LEFT_BEHIND_BLOCKS_MAX: usize = 65_536;
/// All that waits on a shard; the same.
pub const LEFT_BEHIND_BYTES_PER_SHARD_MAX: usize = 64 * 1_024 * 1_024;
/// The lists of the occupants of all rooms at home on a shard; whoever comes beyond is in its room, and shown to nobody;
/// capabilities that take more than was there are not shown.
pub const ROOM_OCCUPANT_BYTES_MAX: usize = 64 * 1_024 * 1_024;
/// Answers that may wait to be sent to a client that has not logged in.
pub const PRELOGIN_ANSWERS_BYTES_MAX: usize = 64 * 1_024;
/// A part of an address (RFC 7622 section 3).
pub const JID_PART_BYTES_MAX: usize = 1_023;
/// Failed attempts to log in on one connection (RFC 6120, 6.4.5 asks for two to five).
pub const XMPP_ATTEMPTS_MAX: u8 = 3;
/// A client of which nothing was heard for this long is pinged (XEP-0199), in seconds.
pub const XMPP_PING_S: u32 = 120;
/// How long it may take to say anything then.
pub const XMPP_PING_WAIT_MS: u64 = 30_000;

/// A stream that was lost may be resumed for so long (XEP-0198), in seconds.
pub const XMPP_RESUME_S: u32 = 300;
/// Stanzas that a session which may be resumed remembers until they are acknowledged.
pub const XMPP_UNACKED_MAX: usize = 1_024;
/// Their bytes.
pub const XMPP_UNACKED_BYTES_MAX: usize = 128 * 1_024;
/// Those of all sessions of a shard.
pub const XMPP_UNACKED_BYTES_PER_SHARD_MAX: u64 = 256 * 1_024 * 1_024;
/// Those of them that are of one account's sessions: others keep room, however many of its clients never acknowledge.
pub const XMPP_UNACKED_BYTES_PER_ACCOUNT_MAX: u64 = XMPP_UNACKED_BYTES_PER_SHARD_MAX / 4;
/// Sums by which a shard holds accounts to that; accounts are spread over them by a seeded hash.
pub const XMPP_UNACKED_PLACES: usize = 4_096;
/// Sessions of a shard that wait to be resumed.
pub const XMPP_SUSPENDED_MAX: usize = 100_000;
/// Those of them that are one account's.
pub const XMPP_SUSPENDED_PER_ACCOUNT_MAX: usize = 10_000;
/// Digits of a number of stanzas; what is longer is none.
pub const XMPP_NUMBER_BYTES_MAX: usize = 10;

// Mesh: what one shard may have waiting for another.
/// Parcels in the ring of one ordered pair of shards.
pub const MESH_RING_PARCELS: usize = 1_024;
/// Bytes in the parcel being filled while the ring is full; beyond, droppable letters are dropped, requests
/// are answered with -2002.
pub const MESH_BACKLOG_BYTES_MAX: usize = 8 * 1_024 * 1_024;
/// The same for the bodies of replies; beyond, the requester is told -2002 instead.
pub const MESH_RESERVED_BYTES_MAX: usize = 64 * 1_024 * 1_024;
/// Empty parcels kept for use again, per shard.
pub const MESH_SPARE_PARCELS_MAX: usize = 256;
/// Shards of one daemon: a set of them is one word.
pub const SHARDS_MAX: usize = 64;

// Control thread.
/// Logins waiting for the control thread, over all shards.
pub const LOGIN_QUEUE_MAX: usize = 65_536;

// Credentials.
/// A secret that a person chose, unless it is declared weak.
pub const SECRET_CHARS_MIN: usize = 32;
/// A secret that a person chose.
pub const SECRET_BYTES_MAX: usize = 1_024;
/// What a peer shows as its password (a token is the longest); longer is denied, and no more is hashed.
pub const PASSWORD_BYTES_MAX: usize = 4_096;
/// Secrets that one password or proof is compared with.
pub const SECRETS_TRIED_MAX: usize = 8;
/// Services of one user.
pub const SERVICES_PER_UID_MAX: usize = 1_024;
/// Failed logins of one account from one address within [`THROTTLE_WINDOW_MS`]; then answers are delayed.
pub const LOGIN_FAILURES_PER_WINDOW_MAX: u32 = 10;
/// From the first failed login to the end of its count.
pub const THROTTLE_WINDOW_MS: u64 = 60_000;
/// From one answer to the next while throttled.
pub const THROTTLE_SPACING_MS: u64 = 1_000;
/// The longest delay of an answer, well before [`PRELOGIN_MS_MAX`]; beyond, a login is not decided.
pub const THROTTLE_DELAY_MS_MAX: u64 = 8_000;
/// Pairs of account and address whose failures are remembered; the oldest is forgotten first.
pub const THROTTLE_ENTRIES_MAX: usize = 262_144;
/// Where a slow hash may be part of a denial (SCRAM always, a password while any weak secret exists), it is answered at
/// the next multiple of this after the login was taken up, so that its time does not tell what was computed.
pub const DENIAL_MS: u64 = 50;
/// Derived SCRAM keys that are remembered, the oldest forgotten first: about 10 MiB.
pub const SCRAM_KEYS_MAX: usize = 65_536;
/// Secrets that were right lately, and users whose services were looked up lately, the oldest forgotten first: about
/// 20 MiB.
pub const RECENT_LOGINS_MAX: usize = 65_536;

// The store and its control thread.
/// How long a command waits for another one to finish writing.
pub const DATABASE_BUSY_MS: u64 = 5_000;
/// How long the control thread waits for anybody.
pub const CONTROL_BUSY_MS: u64 = 20;
/// Pages that the control thread keeps in memory.
pub const DATABASE_CACHE_KIB: i64 = 64 * 1_024;
/// From a change in the database to its being noticed, at most.
pub const CHANGE_POLL_MS: u64 = 200;
/// Changes read at once.
pub const CHANGES_PER_BATCH_MAX: usize = 1_024;
/// How long changes stay in their log after they were told.
pub const CHANGE_KEPT_MS: u64 = 600_000;
/// From one pruning of that log to the next.
pub const CHANGE_PRUNE_MS: u64 = 10_000;
/// Rows that one pruning removes.
pub const CHANGES_PRUNED_MAX: usize = 2_048;
/// Logins decided in one snapshot of the database.
pub const LOGINS_PER_BATCH_MAX: usize = 256;
/// Messages from the control thread that one shard has not taken yet.
pub const CONTROL_INBOX_MAX: usize = 8_192;
/// Messages held back for one shard whose inbox is full; beyond, nothing more is decided or read.
pub const CONTROL_HELD_MAX: usize = 8_192;
/// From one attempt to hand over what is held back to the next.
pub const CONTROL_RETRY_MS: u64 = 2;
/// Logins whose answer is delayed (throttle); beyond, they are not decided.
pub const LOGINS_DELAYED_MAX: usize = 65_536;
/// Threads that verify weak secrets, derived ones that are shown by SCRAM, and tokens.
pub const SLOW_THREADS: usize = 2;
/// Logins handed to those threads and not yet done: what keeps them busy, and no more, since the throttle is asked
/// once more before a login is handed over.
pub const SLOW_UNDER_WAY_MAX: usize = 8;
/// Logins waiting for those threads; beyond, they are not decided.
pub const SLOW_QUEUE_MAX: usize = 4_096;
/// Keys for tokens that one app may have (two while one takes over from the other).
pub const TOKEN_KEYS_PER_APP_MAX: usize = 4;
/// The secret of an HS256 key: as long as its hash (RFC 7518 section 3.2).
pub const TOKEN_SECRET_BYTES_MIN: usize = 32;

// Storage: what one shard may have waiting for the disk.
/// Batches of one shard submitted to the storage thread and not taken up yet.
pub const STORAGE_QUEUE_BATCHES_MAX: usize = 4_096;
/// Bytes of the batches of one shard that are submitted and not yet durable; a larger batch passes alone.
pub const STORAGE_QUEUE_BYTES_MAX: usize = 32 * 1_024 * 1_024;
/// Bytes of batches after which a group is committed; one batch may go beyond.
pub const STORAGE_GROUP_BYTES_MAX: usize = 8 * 1_024 * 1_024;
/// Emptied journals kept for use again, per shard.
pub const STORAGE_SPARE_JOURNALS_MAX: usize = 64;
/// A journal that held more is not kept.
pub const STORAGE_SPARE_BYTES_MAX: usize = 256 * 1_024;
/// From a commit that failed to the next try, at first; doubled each time.
pub const STORAGE_RETRY_MS_MIN: u64 = 100;
/// The same at most.
pub const STORAGE_RETRY_MS_MAX: u64 = 5_000;
/// Commits that may fail after the daemon was asked to stop; then what waits is lost.
pub const STORAGE_STOP_TRIES_MAX: u32 = 5;
/// From one line in the log that says commits fail to the next.
pub const STORAGE_LOG_MS: u64 = 10_000;
/// Places of a damaged table that are skipped while it is salvaged; what lies behind is given up.
pub const STORAGE_GAPS_MAX: usize = 1_024;
/// Damaged databases that are kept aside, each with its log; the oldest go.
pub const STORAGE_DAMAGED_MAX: usize = 3;
/// Pages that the storage thread keeps in memory.
pub const STORAGE_CACHE_KIB: i64 = 64 * 1_024;
/// The write-ahead log is folded into the database when it has as many bytes.
pub const STORAGE_LOG_BYTES: i64 = 64 * 1_024 * 1_024;
/// Less free space than this is warned of: the write-ahead log may grow to twice its size before it is folded.
pub const STORAGE_FREE_BYTES_MIN: u64 = 128 * 1_024 * 1_024;
/// What a shard takes in at a time of what was kept over a restart.
pub const RESTORE_PORTION_BYTES: usize = 256 * 1_024;
/// Portions that wait for a shard; the reader waits beyond.
pub const RESTORE_PORTIONS_MAX: usize = 4;

// The configuration.
/// The most sessions that outlive their connections that an operator may allow.
pub const KEPT_SESSIONS_CEILING: usize = 1_000_000_000;
/// The most subscriptions of one session that an operator may allow.
pub const SUBSCRIPTIONS_CEILING: usize = 65_536;
/// The most bytes that an operator may allow for those of all sessions.
pub const SUBSCRIPTION_BYTES_CEILING: usize = 1_024 * SUBSCRIPTION_BYTES_MAX;
/// The largest MQTT packet an operator may allow: the protocol's own ceiling.
pub const MQTT_PACKET_BYTES_CEILING: usize = 268_435_455;
/// The most messages in flight towards one client that an operator may allow: packet identifiers are sought among them.
pub const MQTT_INFLIGHT_CEILING: u16 = 16_384;
/// The longest queue of one session that an operator may allow, in messages.
pub const MQTT_QUEUED_MESSAGES_CEILING: usize = 1_048_576;
/// The same in bytes.
pub const MQTT_QUEUED_BYTES_CEILING: usize = 1_024 * 1_024 * 1_024;
/// The same of all sessions.
pub const MQTT_QUEUED_BYTES_TOTAL_CEILING: usize = 1_024 * QUEUED_BYTES_MAX;
/// The most bytes of wills that an operator may allow.
pub const MQTT_WILL_BYTES_CEILING: usize = 1_024 * WILL_BYTES_MAX;
/// The most retained messages an operator may allow.
pub const RETAINED_CEILING: usize = 1_000_000_000;
/// The most bytes for them.
pub const RETAINED_BYTES_CEILING: usize = 1_024 * RETAINED_BYTES_MAX;
