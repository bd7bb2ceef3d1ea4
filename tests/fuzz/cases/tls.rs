//! Handshakes of TLS that are spoiled on their way: changed bytes, other bytes in front, any pieces. No panic, nothing is
//! said before the end of the handshake or after a fault, little is kept, and an honest client is let in.

/// # Panics
/// If `data` shows a fault.
pub(crate) fn run(data: &[u8]) {
    shards::handshakes::run(data);
}
