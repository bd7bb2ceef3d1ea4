//! How a shard is woken from outside its thread.
//!
//! Invariants: a ring that comes after the shard took the last one is always seen: the ringer writes its data,
//! then raises the flag; the shard lowers the flag, then looks at the data. Any number of rings in between are
//! one. The eventfd stays open as long as anybody holds a bell, so its number never means another file.
#![expect(unsafe_code, reason = "eventfd has no safe wrapper in the standard library")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug)]
struct Inner {
    event: OwnedFd,
    rung: AtomicBool,
}

/// Rings one shard from any thread. Cheap to clone; useless, but harmless, after the shard has ended.
#[derive(Clone, Debug)]
pub struct Bell(Arc<Inner>);

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no pointers are involved.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(Arc::new(Inner {
            // SAFETY: the descriptor was just opened and belongs to nobody else.
            event: unsafe { OwnedFd::from_raw_fd(fd) },
            rung: AtomicBool::new(false),
        })))
    }

    /// Has the shard call [`App::rung`](crate::App::rung) soon. What the caller wrote before is visible there.
    /// Never blocks; costs a system call only if the bell is not ringing already.
    pub fn ring(&self) {
        if !self.0.rung.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Wakes the shard without ringing.
    pub(crate) fn wake(&self) {
        let one = 1u64;
        // SAFETY: eight bytes are read from a local. The write cannot block: the counter would have to reach
        // 2^64 - 2 first.
        unsafe {
            libc::write(
                self.0.event.as_raw_fd(),
                (&raw const one).cast(),
                size_of::<u64>(),
            )
        };
    }

    /// Takes the rings so far. Called by the shard before it tells its app.
    pub(crate) fn answer(&self) -> bool {
        self.0.rung.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0.event.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_until_the_answer_are_one() {
        let bell = Bell::new().unwrap();
        assert!(!bell.answer());
        bell.ring();
        bell.clone().ring();
        let mut count = 0u64;
        // SAFETY: eight bytes are written to a local.
        unsafe { libc::read(bell.fd(), (&raw mut count).cast(), size_of::<u64>()) };
        assert_eq!(count, 1, "one write for two rings");
        assert!(bell.answer());
        assert!(!bell.answer());
    }
}
