//! What the steps of a turn cost, in nanoseconds. "Measured" is a row of ARCHITECTURE.md, unless it says of what; "fitted" was
//! chosen so that such a row comes out; "estimated" and "assumed" have nothing better behind them.

/// Going round once: clock, ring, timers, entering the kernel. Assumed; it tells only where a turn has little to do.
pub(crate) const TURN: f64 = 1_000.0;
/// Blocking and being woken, in CPU. Fitted: an API round trip with 1 in flight costs 48.4 µs, which is two turns with a sleep.
pub(crate) const SLEEP: f64 = 17_000.0;
/// From the event that wakes a sleeping shard to its turn. Measured: a bell there and back takes 46 µs.
pub(crate) const WAKE: f64 = 18_000.0;
/// Receiving from one connection, in the kernel. Fitted: 5.76 µs a message at 1 in flight, less the others.
pub(crate) const RECV: f64 = 2_100.0;
/// One SEND. Fitted: a room of 100 at 1 in flight, 4.03 µs a delivery, nearly all of it; bursts of 64 to 1,000, 57 ns a delivery.
pub(crate) const SEND: f64 = 3_200.0;
/// Decoding, session, routing and encoding of a message. Fitted: 0.73 µs at 16 in flight.
pub(crate) const MESSAGE: f64 = 400.0;
/// The same for one of the two ways of an API request. Fitted: 2.53 µs a round trip at 64 in flight.
pub(crate) const CALL: f64 = 900.0;
/// One more delivery of a frame that is shared. Fitted with [`SEND`].
pub(crate) const SHARED: f64 = 8.0;
/// A look at one other shard in each turn, all passes over the rings together. Measured: 3.5 µs for 128 shards, 0.19 for
/// 8 (`mesh/idle_turn`).
pub(crate) const LOOK: f64 = 27.0;
/// Writing a letter, and reading it at the other end. The router takes 120 ns more than within a shard, both ends in one
/// thread (measured, `router/publish_remote`); the cache lines that move are estimated.
pub(crate) const LETTER_OUT: f64 = 80.0;
pub(crate) const LETTER_IN: f64 = 160.0;
/// A parcel's way through the ring and back, at either end. Measured: 0.68 µs for both, an empty one in a flood between
/// two threads on a busy machine (`mesh/one_way/two_threads`).
pub(crate) const PARCEL_OUT: f64 = 340.0;
pub(crate) const PARCEL_IN: f64 = 340.0;
/// A message to a sleeping ring, at the sender. Estimated from the bell's round trip.
pub(crate) const BELL: f64 = 2_000.0;
/// One exact filter that is told to another shard: writing the letter (estimated), and taking it in. Measured: 207 ns among
/// 100,000, 314 ns among a million, on a busy machine.
pub(crate) const TELL: f64 = 15.0;
pub(crate) const TOLD: f64 = 200.0;
/// What a login costs its shard besides the socket, and the one control thread. Measured: 34.2 µs over all threads, of which
/// the control thread has about a seventh.
pub(crate) const LOGIN: f64 = 23_000.0;
pub(crate) const CONTROL: f64 = 4_900.0;
/// From a delivery to the client's next message. Assumed: a client on the same machine.
pub(crate) const CLIENT: f64 = 20_000.0;
/// Connections served in one turn (`COMPLETIONS_PER_TURN_MAX`).
pub(crate) const TURN_MAX: usize = 1_024;
