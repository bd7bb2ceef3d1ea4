//! A client whose session outlives its connections, and who judges what it hears: bytes in, bytes out, without a
//! socket or a clock, for the simulation and for the daemon that is killed.

mod client;
mod judge;
mod wire;

pub(crate) use client::{Client, Heard, Login};
pub(crate) use judge::Judge;
