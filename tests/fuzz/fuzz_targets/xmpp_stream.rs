//! Fuzzes `cases/xmpp_stream.rs`.

#![no_main]

#[path = "../cases/xmpp_stream.rs"]
mod case;
#[path = "../cases/support/mod.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| case::run(data));
