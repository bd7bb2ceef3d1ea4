//! What fuzzing has kept, run once more: `fuzz/corpus/<target>/` through `fuzz/cases/<target>.rs`, without a fuzzer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "test code: a failed expectation is a failed test"
)]

use std::path::Path;

#[path = "fuzz/cases/json.rs"]
mod json;
#[path = "fuzz/cases/mqtt_decode.rs"]
mod mqtt_decode;
#[path = "fuzz/cases/mqtt_roundtrip.rs"]
mod mqtt_roundtrip;
#[path = "fuzz/cases/mqtt_session.rs"]
mod mqtt_session;
#[path = "fuzz/cases/sasl.rs"]
mod sasl;
#[path = "fuzz/cases/support/mod.rs"]
mod support;
#[path = "fuzz/cases/ws_frame.rs"]
mod ws_frame;
#[path = "fuzz/cases/xmpp_element.rs"]
mod xmpp_element;
#[path = "fuzz/cases/xmpp_frame.rs"]
mod xmpp_frame;
#[path = "fuzz/cases/xmpp_stream.rs"]
mod xmpp_stream;

/// The bytes a target's inputs may have together: a corpus that is read and run at each test stays small.
const CORPUS_BYTES_MAX: usize = 128 * 1_024;

/// Runs all inputs of `target`, and each cut off at its half.
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 10, "{target} has {} inputs", files.len());
    let mut bytes = 0;
    for file in files {
        let input = std::fs::read(&file).unwrap();
        bytes += input.len();
        println!("{}", file.display());
        run(&input);
        run(&input[..input.len() / 2]);
    }
    assert!(bytes <= CORPUS_BYTES_MAX, "{target} has {bytes} bytes");
}

macro_rules! replay {
    ($($target:ident),*) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target), super::$target::run);
            }
        )*
    };
}

mod kept {
    use super::*;

    replay!(
        json,
        mqtt_decode,
        mqtt_roundtrip,
        mqtt_session,
        sasl,
        ws_frame,
        xmpp_element,
        xmpp_frame,
        xmpp_stream
    );
}
