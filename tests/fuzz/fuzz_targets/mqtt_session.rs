//! Fuzzes `cases/mqtt_session.rs`.

#![no_main]

#[path = "../cases/mqtt_session.rs"]
mod case;
#[path = "../cases/support/mod.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| case::run(data));
