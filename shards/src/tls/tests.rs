//! What fuzzing has kept of the target `tls`, run once more without a fuzzer.

use std::path::Path;

use super::handshakes;

#[test]
fn spoiled_handshakes_break_nothing_and_honest_ones_succeed() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/tls");
    let mut inputs = 0;
    for entry in corpus.read_dir().unwrap() {
        let input = std::fs::read(entry.unwrap().path()).unwrap();
        handshakes::run(&input);
        handshakes::run(&input[..input.len() / 2]);
        inputs += 1;
    }
    assert!(inputs >= 10, "{inputs} inputs");
}

#[test]
fn an_honest_client_is_let_in_whatever_pieces_it_comes_in() {
    for flags in 0..4 {
        for piece in [0, 1, 2, 3, 5, 7, 16, 100, 255] {
            handshakes::run(&[flags, piece, 0]);
        }
    }
}

#[test]
fn a_changed_byte_of_the_first_flight_lets_nobody_in_by_mistake() {
    for flags in 0..2 {
        for place in 0..300_u16 {
            let [high, low] = place.to_be_bytes();
            for by in [1, 0x80] {
                handshakes::run(&[flags, 61, 1, high, low, by]);
            }
        }
    }
}
