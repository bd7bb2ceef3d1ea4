//! Fuzzes `cases/ws_frame.rs`.

#![no_main]

#[path = "../cases/ws_frame.rs"]
mod case;

libfuzzer_sys::fuzz_target!(|data: &[u8]| case::run(data));
