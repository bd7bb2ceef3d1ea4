//! WebSocket frames: headers read and written, payload unmasked in place. Informs P9 and the WebSocket rows of
//! P11: what WebSocket adds to a packet that it carries.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark: the entry points are the macros', a failed expectation is a failed run"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nexus::codec::ws::{Decoder, Opcode, apply_mask, put_header};
use nexus_bench::packets::masked;

const SIZES: [(&str, usize); 3] = [("100B", 100), ("1KiB", 1_024), ("64KiB", 65_536)];

fn headers(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec_ws/header");
    let mut out = Vec::with_capacity(16);
    for (name, size) in SIZES {
        let mut bytes = masked(&vec![0; size]);
        bytes.truncate(bytes.len() - size);
        group.bench_function(format!("decode/{name}"), |b| {
            b.iter(|| {
                let mut decoder = Decoder::default();
                let is_frame = decoder.decode(black_box(&mut bytes), u64::MAX).is_ok();
                black_box((is_frame, decoder.payload_left()))
            });
        });
        group.bench_function(format!("encode/{name}"), |b| {
            b.iter(|| {
                out.clear();
                put_header(&mut out, Opcode::Binary, black_box(size));
                black_box(out.len())
            });
        });
    }
    group.finish();
}

fn unmask(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec_ws/unmask");
    for (name, size) in SIZES {
        let mut payload = vec![0x55; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(name, |b| {
            b.iter(|| apply_mask(black_box(&mut payload), black_box([1, 2, 3, 4])));
        });
    }
    group.finish();
}

criterion_group!(benches, headers, unmask);
criterion_main!(benches);
