//! XMPP's XML: a stanza found and checked, read, and written. Informs P6 and the WebSocket rows of P11: what a block
//! that speaks XMPP costs beside one that speaks MQTT. And floods, a mebibyte each: what a peer can make us do.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark: the entry points are the macros', a failed expectation is a failed run"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nexus::codec::xmpp::{Bounds, Element, Framer, Piece, frame_whole, is_xml_text, write};

const MEBIBYTE: usize = 1 << 20;

/// An API request with as many bytes of JSON.
fn request(json: usize) -> Vec<u8> {
    let json = format!("{{\"num1\":10,\"text\":\"{}\"}}", "x".repeat(json - 22));
    format!(
        "<iq type='set' id='c1' to='nexus.example' xmlns='jabber:client'>\
         <api xmlns='urn:nexus:1' app='etest' cmd='multiply'><json xmlns='urn:xmpp:json:0'>{json}</json></api></iq>"
    )
    .into_bytes()
}

const SIZES: [(&str, usize); 3] = [("100B", 100), ("1KiB", 1_024), ("64KiB", 65_536)];

/// What a session takes from a request: its id, what it asks for, and its body where it lies.
fn read(bytes: &[u8]) -> Option<(&str, &str, &str)> {
    let iq = Element::parse(bytes, "").ok()?;
    let api = iq.child("urn:nexus:1", "api")?;
    let json = api.child("urn:xmpp:json:0", "json")?;
    let (id, command) = (iq.attribute("id")?.plain()?, api.attribute("cmd")?.plain()?);
    Some((id, command, json.text().plain()?))
}

fn requests(c: &mut Criterion) {
    let bounds = Bounds::default();
    let mut group = c.benchmark_group("codec_xmpp/request");
    for (name, size) in SIZES {
        let bytes = request(size);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("frame/{name}"), |b| {
            b.iter(|| frame_whole(black_box(&bytes), &bounds).unwrap());
        });
        let (half, _) = bytes.split_at(bytes.len() / 2);
        group.bench_function(format!("frame_in_two_pieces/{name}"), |b| {
            b.iter(|| {
                let mut framer = Framer::default();
                let is_need = framer.scan(black_box(half), &bounds).is_ok();
                (is_need, framer.scan(black_box(&bytes), &bounds).is_ok())
            });
        });
        group.bench_function(format!("read/{name}"), |b| {
            b.iter(|| read(black_box(&bytes)).unwrap().2.len());
        });
    }
    group.finish();
}

fn deliveries(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec_xmpp/delivery");
    let mut out = Vec::with_capacity(2 * 65_536);
    for (name, size) in SIZES {
        let mut body = "{\"level\":17,\"on\":1} ".repeat(size / 20 + 1);
        body.truncate(size);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("write/{name}"), |b| {
            b.iter(|| {
                let pieces = [
                    Piece::Raw("<message xmlns='jabber:client' from='"),
                    Piece::Attribute(black_box("etest-665000000000000000000000-user@nexus.example/w1")),
                    Piece::Raw("' type='normal'><body>"),
                    Piece::Text(black_box(&body)),
                    Piece::Raw("</body><sender xmlns='urn:nexus:1' app='etest' code='"),
                    Piece::Number(black_box(0)),
                    Piece::Raw("'/></message>"),
                ];
                out.clear();
                out.reserve(write::len(&pieces));
                write::put(&pieces, &mut out);
                black_box(out.len())
            });
        });
        group.bench_function(format!("is_xml_text/{name}"), |b| {
            b.iter(|| is_xml_text(black_box(body.as_bytes())).is_some());
        });
    }
    group.finish();
}

/// `repeated` until there is a mebibyte, inside of one element.
fn flood(before: &str, repeated: &str) -> Vec<u8> {
    let mut bytes = before.as_bytes().to_vec();
    while bytes.len() + repeated.len() < MEBIBYTE - 8 {
        bytes.extend_from_slice(repeated.as_bytes());
    }
    bytes.extend_from_slice(b"</a>");
    bytes
}

fn floods(c: &mut Criterion) {
    let bounds = Bounds::default();
    let mut group = c.benchmark_group("codec_xmpp/flood");
    group
        .throughput(Throughput::Bytes(MEBIBYTE as u64))
        .sample_size(10);
    let declared: String = (0..16).map(|i| format!(" xmlns:n{i}='{i}'")).collect();
    let prefixed: String = (0..64).map(|i| format!(" n{}:a{}=''", i % 16, i / 16)).collect();
    let attributes: String = (10..74).map(|i| format!(" a{i}=''")).collect();
    for (name, before, repeated) in [
        ("elements", "<a>", "<b/>".to_owned()),
        ("references", "<a>", "&lt;".to_owned()),
        ("sections", "<a>", "<![CDATA[]]>".to_owned()),
        ("attributes", "<a>", format!("<b{attributes}/>")),
        (
            "prefixed_attributes",
            &format!("<a{declared}>"),
            format!("<b{prefixed}/>"),
        ),
        ("declarations", "<a>", format!("<b{declared}/>")),
        ("greater_than", "<a>", ">".to_owned()),
        ("fullwidth", "<a>", "\u{FF21}".to_owned()),
    ] {
        let bytes = flood(before, &repeated);
        group.bench_function(format!("frame/{name}"), |b| {
            b.iter(|| frame_whole(black_box(&bytes), &bounds).unwrap());
        });
        group.bench_function(format!("read/{name}"), |b| {
            b.iter(|| {
                let element = Element::parse(black_box(&bytes), "").unwrap();
                let is_there = element.child("urn:x", "x").is_some();
                (is_there, element.text().is_empty())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, requests, deliveries, floods);
criterion_main!(benches);
