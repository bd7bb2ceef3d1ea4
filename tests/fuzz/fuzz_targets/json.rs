//! Fuzzes `cases/json.rs`.

#![no_main]

#[path = "../cases/json.rs"]
mod case;

libfuzzer_sys::fuzz_target!(|data: &[u8]| case::run(data));
