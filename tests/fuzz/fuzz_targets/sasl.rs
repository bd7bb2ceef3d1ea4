//! Fuzzes `cases/sasl.rs`.

#![no_main]

#[path = "../cases/sasl.rs"]
mod case;

libfuzzer_sys::fuzz_target!(|data: &[u8]| case::run(data));
