//! Clients that others' floods are no business of: they go on getting their messages, from a daemon that stays small.

use std::time::Duration;

use super::clock::{Moment, eventually};
use super::matrix::{PAHO_5, XMPPJS};
use super::{Account, Client, Net};

/// How long a message between bystanders may take while others flood: a debug build on a busy machine has to hold it.
const DELIVERY_MAX: Duration = Duration::from_secs(2);
/// What the daemon may have grown by when a flood is over. Memory that was given back stays with the allocator for a
/// while; what a flood could hoard without a bound is several times as much.
const GROWTH_BYTES_MAX: u64 = 48 * 1_024 * 1_024;

/// A page that speaks and a device that listens, and how large their daemon was before.
pub(crate) struct Bystanders {
    net: Net,
    page: Client,
    device: Client,
    resident_bytes: u64,
}

impl Bystanders {
    /// Of the account, under resources that nobody else has.
    #[track_caller]
    pub(crate) fn new(net: &Net, account: &Account) -> Self {
        let page = net.connect(XMPPJS, account, "bystander that speaks");
        let device = net.connect(PAHO_5, account, "bystander that listens");
        device.hear_channel("bystanders");
        let mut this = Self {
            net: net.clone(),
            page,
            device,
            resident_bytes: 0,
        };
        this.served("before");
        this.resident_bytes = net.daemon().resident_bytes();
        this
    }

    /// A message still gets from one to the other in time; to be asked while others flood, too.
    #[track_caller]
    pub(crate) fn served(&self, what: &str) {
        let begun = Moment::now();
        self.page.say("bystanders", what);
        assert_eq!(self.device.next_on_channel().2.text(), what);
        let took = begun.elapsed();
        assert!(took < DELIVERY_MAX, "{what}: a message took {took:?}");
    }

    /// They are served, got nothing that was not for them, and the daemon is not much larger than before.
    #[track_caller]
    pub(crate) fn undisturbed(&self, what: &str) {
        self.served(what);
        for client in [&self.page, &self.device] {
            let unmatched = client.take_unmatched();
            assert!(unmatched.is_empty(), "{what}: {unmatched:?}");
        }
        let most = self.resident_bytes + GROWTH_BYTES_MAX;
        eventually("the daemon is small again", || {
            self.net.daemon().resident_bytes() < most
        });
    }
}
