//! A network that fails: it carries connections to the daemon until they are cut, and may be late.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Carries whatever connects to it.
pub(crate) struct Relay {
    /// Where to connect.
    pub(crate) address: SocketAddr,
    carried: Arc<Mutex<Vec<TcpStream>>>,
    late: Arc<Mutex<Option<&'static str>>>,
}

impl Relay {
    /// To what listens there. Ends with the process.
    pub(crate) fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let relay = Self {
            address: listener.local_addr().unwrap(),
            carried: Arc::default(),
            late: Arc::default(),
        };
        let (carried, late) = (Arc::clone(&relay.carried), Arc::clone(&relay.late));
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(target) else {
                    return;
                };
                let (said, hears) = channel();
                let both = || (near.try_clone().unwrap(), far.try_clone().unwrap());
                let (from, to) = both();
                carry(from, to, move |_| _ = said.send(()));
                let (to, from) = both();
                let late = Arc::clone(&late);
                carry(from, to, move |bytes| wait_if_late(&late, bytes, &hears));
                carried.lock().unwrap().extend([near, far]);
            }
        });
        relay
    }

    /// Once, what the daemon says in these words reaches a client only after that has said something more.
    pub(crate) fn delay(&self, words: &'static str) {
        *self.late.lock().unwrap() = Some(words);
    }

    /// Cuts what it carries, without a good-bye.
    pub(crate) fn cut(&self) {
        for stream in self.carried.lock().unwrap().drain(..) {
            // One that has ended already needs no cut.
            let _ended = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Waits, if this is what is to be late, until the client `hears` of has said something more.
fn wait_if_late(late: &Mutex<Option<&'static str>>, bytes: &[u8], hears: &Receiver<()>) {
    let is_late = |words: &mut &str| bytes.windows(words.len()).any(|part| part == words.as_bytes());
    if late.lock().unwrap().take_if(is_late).is_none() {
        return;
    }
    while hears.try_recv().is_ok() {}
    // A client that says nothing fails its test by itself.
    let _patience = hears.recv_timeout(Duration::from_secs(60));
}

/// Carries bytes one way, showing them first.
fn carry(mut from: TcpStream, mut to: TcpStream, mut show: impl FnMut(&[u8]) + Send + 'static) {
    from.set_nodelay(true).unwrap();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1_024];
        // It ends with the connection, however that ends.
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            show(&buffer[..len]);
            if to.write_all(&buffer[..len]).is_err() {
                break;
            }
        }
        let _ended = to.shutdown(Shutdown::Both);
    });
}
