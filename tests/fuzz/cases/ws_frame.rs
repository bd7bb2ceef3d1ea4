//! Any bytes as a client's WebSocket frames: no panic, whatever pieces they come in they say the same, and what
//! they say is what an independent reading of the same frames says.

use nexus::codec::Decode;
use nexus::codec::ws::{CONTROL_BYTES_MAX, CloseFrame, Decoder, Frame, Kind, Malformed};

const PAYLOAD_BYTES_MAX: u64 = 1 << 12;

#[derive(Debug, Default, PartialEq)]
struct Read {
    /// (kind, payload) of each complete message.
    messages: Vec<(Kind, Vec<u8>)>,
    /// (opcode, payload) of each control frame.
    controls: Vec<(u8, Vec<u8>)>,
    refused: Option<Malformed>,
}

/// Reads `bytes` in pieces of `piece` bytes, as a session does.
fn read(bytes: &[u8], piece: usize) -> Read {
    let (mut read, mut decoder) = (Read::default(), Decoder::default());
    let (mut buffer, mut message): (Vec<u8>, Option<(Kind, Vec<u8>)>) = Default::default();
    let mut need = 1;
    for chunk in bytes.chunks(piece) {
        buffer.extend_from_slice(chunk);
        while buffer.len() >= need {
            let have = buffer.len();
            let used = if decoder.payload_left() > 0 {
                decoder.payload(&mut buffer).inspect(|&used| {
                    message.as_mut().unwrap().1.extend_from_slice(&buffer[..used]);
                })
            } else {
                match decoder.decode(&mut buffer, PAYLOAD_BYTES_MAX) {
                    Ok(Decode::Need(wanted)) => {
                        assert!(wanted > have);
                        need = wanted;
                        break;
                    }
                    Ok(Decode::Frame { frame, len }) => {
                        assert!(len <= have);
                        match frame {
                            Frame::Data { kind, first, len, .. } => {
                                assert!(len <= PAYLOAD_BYTES_MAX && first == message.is_none());
                                message.get_or_insert((kind, Vec::new()));
                            }
                            Frame::Ping(payload) => read.controls.push((9, payload.to_vec())),
                            Frame::Pong(payload) => read.controls.push((10, payload.to_vec())),
                            Frame::Close(close) => {
                                let mut echo = Vec::new();
                                CloseFrame::echo(close).put(&mut echo);
                                assert!(echo.len() <= 2 + CONTROL_BYTES_MAX);
                                read.controls.push((8, echo));
                                return read;
                            }
                        }
                        Ok(len)
                    }
                    Err(malformed) => Err(malformed),
                }
            };
            match used {
                Ok(used) => drop(buffer.drain(..used)),
                Err(malformed) => {
                    read.refused = Some(malformed);
                    return read;
                }
            }
            need = 1;
            if !decoder.in_message() {
                read.messages.extend(message.take());
            }
        }
    }
    read
}

/// The messages of well-formed frames, read byte by byte as RFC 6455, 5.2 draws them.
fn by_the_drawing(mut rest: &[u8]) -> Vec<Vec<u8>> {
    let (mut messages, mut message) = (Vec::new(), Vec::new());
    while let &[first, second, ..] = rest {
        let (at, len) = match second & 0x7F {
            126 if rest.len() >= 4 => (4, u64::from(u16::from_be_bytes([rest[2], rest[3]]))),
            127 if rest.len() >= 10 => (10, u64::from_be_bytes(rest[2..10].try_into().unwrap())),
            126 | 127 => break,
            len => (2, u64::from(len)),
        };
        let end = usize::try_from(len).unwrap().saturating_add(at + 4);
        if rest.len() < end || first & 0x0F == 8 {
            break;
        }
        if first & 0x08 == 0 {
            let (key, payload) = rest[at..end].split_at(4);
            message.extend(payload.iter().zip(0..).map(|(byte, i)| byte ^ key[i % 4]));
            if first & 0x80 != 0 {
                messages.push(std::mem::take(&mut message));
            }
        }
        rest = &rest[end..];
    }
    messages
}

/// # Panics
/// If `data` shows a fault.
pub(crate) fn run(data: &[u8]) {
    let Some((&piece, bytes)) = data.split_first() else {
        return;
    };
    let whole = read(bytes, bytes.len().max(1));
    assert_eq!(whole, read(bytes, usize::from(piece).max(1)));
    for (kind, payload) in &whole.messages {
        assert!(*kind == Kind::Binary || std::str::from_utf8(payload).is_ok());
    }
    if whole.refused.is_none() {
        let payloads: Vec<_> = whole.messages.into_iter().map(|(_, payload)| payload).collect();
        assert_eq!(payloads, by_the_drawing(bytes));
    }
}
