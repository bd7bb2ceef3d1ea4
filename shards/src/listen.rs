//! Listening sockets: one per listener and shard that accepts there.
//!
//! Invariant: an address somebody else listens on is refused, even where sharing the port would be possible;
//! all shards that accept at a listener do so on the same port.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Listener;
use crate::error::LaunchError;

/// What was bound: the address of each listener, and each shard's sockets in the same order; none where it does not accept.
pub(crate) struct Bound {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) sockets: Vec<Vec<Option<Socket>>>,
}

/// Binds all listeners for `shards` shards.
pub(crate) fn bind(listeners: &[Listener], shards: usize) -> Result<Bound, LaunchError> {
    let mut bound = Bound {
        addresses: Vec::with_capacity(listeners.len()),
        sockets: std::iter::repeat_with(Vec::new).take(shards).collect(),
    };
    for listener in listeners {
        let failed = |source| LaunchError::Listen {
            address: listener.address,
            source,
        };
        let address = claim(listener).map_err(failed)?;
        for (shard, sockets) in bound.sockets.iter_mut().enumerate() {
            let accepts = listener.shard.is_none_or(|only| only == shard);
            let socket = accepts.then(|| open(listener, address)).transpose();
            sockets.push(socket.map_err(failed)?);
        }
        bound.addresses.push(address);
    }
    Ok(bound)
}

/// How often an address that is taken is tried, and how long it is waited between.
const CLAIM_TRIES_MAX: u32 = 50;
const CLAIM_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// Makes sure that nobody listens there, and learns the port. A socket that does not share its port cannot be
/// bound beside one that listens.
fn claim(listener: &Listener) -> io::Result<SocketAddr> {
    let socket = new_socket(listener.address)?;
    // The kernel closes the listeners of a process that was killed a moment after its end: they are its ring's.
    let mut tries = CLAIM_TRIES_MAX;
    while let Err(error) = socket.bind(&listener.address.into()) {
        tries -= 1;
        if error.kind() != io::ErrorKind::AddrInUse || tries == 0 {
            return Err(error);
        }
        std::thread::park_timeout(CLAIM_PAUSE);
    }
    let bound = socket.local_addr()?.as_socket();
    bound.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

fn open(listener: &Listener, address: SocketAddr) -> io::Result<Socket> {
    let socket = new_socket(address)?;
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit these.
    socket.set_tcp_nodelay(true)?;
    if let Some(bytes) = listener.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = listener.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(&address.into())?;
    socket.listen(listener.backlog)?;
    Ok(socket)
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> Listener {
        Listener::new("127.0.0.1:0".parse().unwrap())
    }

    #[test]
    fn all_shards_listen_on_the_port_that_was_found() {
        let bound = bind(&[any(), any()], 3).unwrap();
        assert_ne!(bound.addresses[0].port(), 0);
        assert_ne!(bound.addresses[0], bound.addresses[1]);
        for sockets in &bound.sockets {
            for (socket, address) in sockets.iter().zip(&bound.addresses) {
                let local = socket.as_ref().unwrap().local_addr().unwrap();
                assert_eq!(local.as_socket(), Some(*address));
            }
        }
    }

    #[test]
    fn a_listener_of_one_shard_is_opened_by_it_alone() {
        let own = Listener {
            shard: Some(1),
            ..any()
        };
        let bound = bind(&[any(), own], 3).unwrap();
        let opened = |shard: usize| {
            bound.sockets[shard]
                .iter()
                .map(Option::is_some)
                .collect::<Vec<_>>()
        };
        assert_eq!(opened(0), [true, false]);
        assert_eq!(opened(1), [true, true]);
        assert_eq!(opened(2), [true, false]);
    }

    #[test]
    fn an_address_in_use_is_refused_and_named() {
        let first = bind(&[any()], 1).unwrap();
        let again = Listener::new(first.addresses[0]);
        let error = bind(&[again], 1).err().unwrap().to_string();
        assert!(
            error.starts_with(&format!("cannot listen on {}", first.addresses[0])),
            "{error}"
        );
    }
}
