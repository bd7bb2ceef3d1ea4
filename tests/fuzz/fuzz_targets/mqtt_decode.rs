//! Fuzzes `cases/mqtt_decode.rs`.

#![no_main]

#[path = "../cases/mqtt_decode.rs"]
mod case;

libfuzzer_sys::fuzz_target!(|data: &[u8]| case::run(data));
