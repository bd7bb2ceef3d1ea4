//! Fuzzes `cases/mqtt_roundtrip.rs`.

#![no_main]

#[path = "../cases/mqtt_roundtrip.rs"]
mod case;

libfuzzer_sys::fuzz_target!(|data: &[u8]| case::run(data));
