//! Fuzzes `cases/xmpp_element.rs`.

#![no_main]

#[path = "../cases/xmpp_element.rs"]
mod case;

libfuzzer_sys::fuzz_target!(|data: &[u8]| case::run(data));
