//! Why a delivery failed, as the counters name it.

use super::message::Undelivered;
use crate::observe::DropReason;

pub(crate) const fn reason(undelivered: Undelivered) -> DropReason {
    match undelivered {
        Undelivered::Gone => DropReason::NoReceiver,
        Undelivered::QueueFull => DropReason::QueueFull,
        Undelivered::TooLarge => DropReason::TooLarge,
        Undelivered::NotText => DropReason::NotText,
        Undelivered::Expired => DropReason::Expired,
        Undelivered::NotStored => DropReason::NotStored,
    }
}
