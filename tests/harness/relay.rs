//! A network that fails: it carries connections to the daemon until they are cut.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Carries whatever connects to it.
pub(crate) struct Relay {
    /// Where to connect.
    pub(crate) address: SocketAddr,
    carried: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    /// To what listens there. Ends with the process.
    pub(crate) fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let relay = Self {
            address: listener.local_addr().unwrap(),
            carried: Arc::default(),
        };
        let carried = Arc::clone(&relay.carried);
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(target) else {
                    return;
                };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    carry(from.try_clone().unwrap(), to.try_clone().unwrap());
                }
                carried.lock().unwrap().extend([near, far]);
            }
        });
        relay
    }

    /// Cuts what it carries, without a good-bye.
    pub(crate) fn cut(&self) {
        for stream in self.carried.lock().unwrap().drain(..) {
            // One that has ended already needs no cut.
            let _ended = stream.shutdown(Shutdown::Both);
        }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    from.set_nodelay(true).unwrap();
    thread::spawn(move || {
        // It ends with the connection, however that ends.
        let _ended = io::copy(&mut from, &mut to);
        let _ended = to.shutdown(Shutdown::Both);
    });
}
