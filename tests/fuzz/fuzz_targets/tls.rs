//! Fuzzes `cases/tls.rs`.

#![no_main]

#[path = "../cases/tls.rs"]
mod case;

libfuzzer_sys::fuzz_target!(|data: &[u8]| case::run(data));
