//! Every bound of the machine, with its unit in its name. Those a daemon may change are the defaults of
//! [`Config`](crate::Config); the others are part of the design.

// Rings.
/// Entries of a shard's submission queue.
pub const SUBMISSION_ENTRIES: u32 = 1_024;
/// Entries of a shard's completion queue; never below [`SUBMISSION_ENTRIES`].
pub const COMPLETION_ENTRIES: u32 = 8_192;
/// Completions taken in one turn; what is left waits for the next.
pub const COMPLETIONS_PER_TURN_MAX: usize = 1_024;
/// Provided receive buffers of one shard; a power of two.
pub const RECEIVE_BUFFERS: u16 = 1_024;
/// How many of them a shard begins with; more as it runs out of them.
pub const RECEIVE_BUFFERS_FIRST: u16 = 64;
/// Bytes of one provided receive buffer.
pub const RECEIVE_BUFFER_BYTES: u32 = 2_048;
/// Memory each glommio ring registers. glommio takes it three times.
pub const EXECUTOR_IO_MEMORY_BYTES: usize = 65_536;
/// Entries of each glommio ring.
pub const EXECUTOR_RING_ENTRIES: usize = 128;

// Connections.
/// Connections of one shard.
pub const CONNECTIONS_MAX: usize = 1 << 20;
/// Slots a connection's number can name: 24 bits of the user data of an operation.
pub const CONNECTION_SLOTS_MAX: usize = 1 << 24;
/// Listeners one daemon may have.
pub const LISTENERS_MAX: usize = 64 + SHARDS_MAX;
/// Connections waiting to be accepted, per listener and shard.
pub const LISTEN_BACKLOG: i32 = 4_096;
/// Bytes of an unfinished frame one connection may have waiting.
pub const SPILL_BYTES_MAX: usize = 1_024 * 1_024 + 64;
/// Bytes one held connection may have waiting; beyond, receiving stops until it is resumed.
pub const HELD_BYTES_MAX: usize = 64 * 1_024;
/// From a connection's end to the moment its socket is closed whatever is left to send.
pub const LINGER_MS: u64 = 5_000;
/// Bytes that a peer may still send after its connection ended here: what was on its way when it was told, which is as much
/// as the kernel holds for it at both ends. A reset before all of that is there would take from it what it was told.
pub const LINGER_BYTES_MAX: usize = 16 * 1_024 * 1_024;

// TLS.
/// Bytes of ciphertext kept until a record or a handshake message is whole: the largest record with its header, and
/// one receive buffer.
pub const TLS_INCOMING_BYTES_MAX: usize = 16_384 + 2_048 + 5 + RECEIVE_BUFFER_BYTES as usize;
/// Connections whose handshake goes on in one turn: each may cost a signature. The others wait in the order of
/// coming.
pub const HANDSHAKES_PER_TURN_MAX: usize = 2;

// Output.
/// A send queue over this many bytes is to be announced when it has drained.
pub const HIGH_WATER_BYTES: usize = 256 * 1_024;
/// ... below this many.
pub const LOW_WATER_BYTES: usize = 64 * 1_024;
/// A queue of several pieces is copied into one up to this many bytes; beyond, it goes out as a vector.
pub const GATHER_BYTES_MAX: usize = 4_096;
/// Bytes of one send: a slow reader's progress shows at least that often.
pub const SEND_BYTES_MAX: usize = 128 * 1_024;
/// Pieces of one vectored send.
pub const SEND_PIECES_MAX: usize = 64;
/// Shared pieces one queue refers to; beyond, frames are copied, so that a slow receiver of few bytes cannot
/// keep whole chunks from being used again.
pub const SHARED_PIECES_MAX: usize = 16;
/// Bytes of one chunk of shared frames.
pub const CHUNK_BYTES: usize = 64 * 1_024;
/// A frame of at least this many bytes gets a chunk of its own.
pub const OWN_CHUNK_BYTES_MIN: usize = CHUNK_BYTES / 4;
/// Chunks kept for reuse.
pub const CHUNKS_KEPT_MAX: usize = 64;
/// Chunks looked at, oldest first, for one nobody refers to.
pub const CHUNKS_SEARCHED_MAX: usize = 8;
/// Private buffers kept for reuse.
pub const BUFFERS_KEPT_MAX: usize = 4_096;
/// Bytes of all private buffers kept for reuse.
pub const BUFFERS_KEPT_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// A private buffer larger than this is not kept.
pub const BUFFER_KEPT_BYTES_MAX: usize = 64 * 1_024;
/// From this many bytes on the next frame begins a buffer of its own: none outgrows what is kept, and neither growing nor
/// giving back costs pages, as long as frames are no larger than the rest.
pub const PRIVATE_PIECE_BYTES: usize = BUFFER_KEPT_BYTES_MAX * 3 / 4;
/// A private buffer begins with this many bytes.
pub const BUFFER_BYTES_MIN: usize = 512;
/// Bytes a spill may be reserved ahead of what has arrived.
pub const SPILL_STEP_BYTES: usize = 4_096;

// Turns.
/// Period of the tick, and the resolution of the timer wheel.
pub const TICK_MS: u64 = 10;
/// Ticks without a task other than the shard's after which the executor counts as quiet.
pub const EXECUTOR_QUIET_TICKS: u32 = 100;
/// A quiet executor gets a turn with every tick of that number only, so a glommio timer may be as many late.
pub const EXECUTOR_QUIET_STRIDE_TICKS: u32 = 4;
/// Timers fired in one turn; what is left waits for the next.
pub const TIMERS_PER_TURN_MAX: usize = 4_096;

/// Blocks that go by without a look for work where fewer than half of the looks find some.
pub const LOOKS_SKIPPED: u32 = 32;
/// How far looks that found work make up for those that did not.
pub const CREDIT_MAX: u32 = 8;
/// Ticks from one look at how long a shard's thread has waited for its core to the next.
pub const CROWDING_CHECK_TICKS: u32 = 10;
/// Time waited between two of them, above which the core is shared: a twentieth. A core of one's own comes to a fiftieth.
pub const CROWDING_WAITED_NS_MAX: u64 = CROWDING_CHECK_TICKS as u64 * TICK_MS * 1_000_000 / 20;
/// How often that has to be less before the shard looks for work again.
pub const CROWDED_CHECKS: u32 = 10;

// Mesh.
/// Parcels in the ring of one ordered pair of shards.
pub const MESH_RING_PARCELS: usize = 1_024;
/// Connections on their way from one shard to another, per ordered pair; beyond, they wait where they are.
pub const HAND_OVER_RING_CONNECTIONS: usize = 64;
/// Shards of one daemon.
pub const SHARDS_MAX: usize = 256;

// What the machine must have.
/// Limit of locked memory below which glommio starts no executor, whatever the rights of the process.
pub const MEMLOCK_BYTES_MIN: u64 = 512 * 1_024;
/// Memory a shard may pin: its rings with their buffers, and those of its executor. Counted by the kernel for all
/// processes of a user that has no right to pin without limit.
pub const MEMLOCK_PER_SHARD_BYTES: u64 = 1_024 * 1_024;
/// Open files below which a daemon is of little use.
pub const OPEN_FILES_MIN: u64 = 4_096;
/// The first kernel with everything that is used: multishot receive, deferred task work, messages between
/// rings with flags.
pub const KERNEL_MIN: (u32, u32) = (6, 4);
/// How long a stopping shard waits for the kernel to give its operations back.
pub const QUIESCE_MS_MAX: u64 = 5_000;
