//! The outermost level of a stream's document (RFC 6120, 4.2 and 4.4): what is not an element there.

use super::tag::{self, Markup, slice};
use super::{Bounds, Malformed, frame_whole};
use crate::codec::Decode;
use crate::limits::{XMPP_DECLARATION_BYTES_MAX, XMPP_NAME_BYTES_MAX};

const DECLARATION: &[u8] = b"<?xml";

/// Reads the beginning of a stream: an XML declaration, if there is one, and the start tag of the root. `into` is
/// given that tag as an element without content, fit for [`super::Element::parse`].
///
/// # Errors
/// Anything else, as far as the bytes tell; a root that is closed at once; more bytes than `bounds` allow.
pub fn opening(bytes: &[u8], bounds: &Bounds, into: &mut Vec<u8>) -> Result<Decode<()>, Malformed> {
    let most = bounds.stanza_bytes_max;
    let need = || {
        if bytes.len() >= most {
            Err(Malformed::TooLarge)
        } else {
            Ok(Decode::Need(bytes.len() + 1))
        }
    };
    let Some(start) = declaration(bytes)? else {
        return need();
    };
    let start = tag::skip_space(bytes, start);
    match slice(bytes, start..bytes.len()) {
        [] | [b'<'] => return need(),
        [b'<', b'?', ..] => return Err(Malformed::Instruction),
        [b'<', b'/', ..] => return Err(Malformed::Mismatched),
        [b'<', b'!', b'D', ..] => return Err(Malformed::Doctype),
        [b'<', b'!', b'-', ..] => return Err(Malformed::Comment),
        [b'<', b'!'] => return need(),
        [b'<', b'!', ..] => return Err(Malformed::Tag),
        [b'<', ..] => {}
        _ => return Err(Malformed::Outside),
    }
    let Some((Markup::Start { is_empty }, end)) = tag::markup(bytes, start).filter(|(_, end)| *end <= most)
    else {
        return need();
    };
    if is_empty {
        return Err(Malformed::Unclosed);
    }
    into.clear();
    into.extend_from_slice(slice(bytes, start..end - 1));
    into.extend_from_slice(b"/>");
    frame_whole(into, &Bounds::new(most + 1))?;
    Ok(Decode::Frame { frame: (), len: end })
}

/// Where an XML declaration ends (XML 1.0, 2.8 [23]); 0 where there is none; `None` if more bytes have to tell.
fn declaration(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    if !bytes.starts_with(DECLARATION) {
        let may_become = bytes.len() < DECLARATION.len() && DECLARATION.starts_with(bytes);
        return Ok((!may_become).then_some(0));
    }
    let Some(end) = memchr::memmem::find(bytes, b"?>").map(|at| at + 2) else {
        return if bytes.len() > XMPP_DECLARATION_BYTES_MAX {
            Err(Malformed::Instruction)
        } else {
            Ok(None)
        };
    };
    let said = slice(bytes, DECLARATION.len()..end);
    if end > XMPP_DECLARATION_BYTES_MAX || !said.first().is_some_and(u8::is_ascii_whitespace) {
        return Err(Malformed::Instruction);
    }
    // RFC 6120, 11.6: nothing but UTF-8 is spoken.
    let said = said.to_ascii_lowercase();
    let encoding = memchr::memmem::find(&said, b"encoding");
    match encoding.and_then(|at| said.get(at..)) {
        Some(encoding) if memchr::memmem::find(encoding, b"utf-8").is_none() => Err(Malformed::Utf8),
        _ => Ok(Some(end)),
    }
}

/// Reads the end tag of the root `name`, at whose `</` the bytes begin.
///
/// # Errors
/// Another end tag, or none.
pub fn closing(bytes: &[u8], name: &str) -> Result<Decode<()>, Malformed> {
    match memchr::memchr(b'>', bytes) {
        Some(end) => {
            let said = slice(bytes, 2..end).trim_ascii_end();
            if said == name.as_bytes() {
                Ok(Decode::Frame {
                    frame: (),
                    len: end + 1,
                })
            } else {
                Err(Malformed::Mismatched)
            }
        }
        None if bytes.len() > XMPP_NAME_BYTES_MAX => Err(Malformed::NameTooLong),
        None => Ok(Decode::Need(bytes.len() + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "<stream:stream to='a.example' xmlns='jabber:client' \
                          xmlns:stream='http://etherx.jabber.org/streams' version='1.0' q='>'>";

    fn read(text: &str) -> Result<Decode<()>, Malformed> {
        opening(text.as_bytes(), &Bounds::new(512), &mut Vec::new())
    }

    #[test]
    fn a_stream_begins_with_its_root_after_a_declaration_and_white_space_or_without() {
        for before in [
            "",
            "\n ",
            "<?xml version='1.0'?>",
            "<?xml version=\"1.0\" encoding='UTF-8' ?>\r\n",
        ] {
            let text = format!("{before}{STREAM}<auth");
            let mut into = b"old".to_vec();
            let read = opening(text.as_bytes(), &Bounds::new(512), &mut into).unwrap();
            let len = before.len() + STREAM.len();
            assert_eq!(read, Decode::Frame { frame: (), len }, "{before}");
            assert_eq!(into, format!("{}/>", &STREAM[..STREAM.len() - 1]).into_bytes());
            for cut in 0..len {
                let part = &text.as_bytes()[..cut];
                let read = opening(part, &Bounds::new(512), &mut into);
                assert_eq!(read, Ok(Decode::Need(cut + 1)), "{:?}", &text[..cut]);
            }
        }
    }

    #[test]
    fn what_is_no_beginning_is_refused_as_soon_as_it_shows() {
        for (text, why) in [
            ("GET / HTTP/1.1", Malformed::Outside),
            ("<?php ", Malformed::Instruction),
            ("<?xmlish?>", Malformed::Instruction),
            ("<?xml version='1.0' encoding='latin1'?>", Malformed::Utf8),
            (
                "<?xml version='1.0'?><?xml version='1.0'?>",
                Malformed::Instruction,
            ),
            ("<!DOCTYPE", Malformed::Doctype),
            ("<!--", Malformed::Comment),
            ("<![CDATA[", Malformed::Tag),
            ("</stream:stream>", Malformed::Mismatched),
            ("<stream:stream xmlns:stream='s'/>", Malformed::Unclosed),
            ("<stream:stream>", Malformed::Prefix),
            ("<a b='1' b='2'>", Malformed::DuplicateAttribute),
        ] {
            assert_eq!(read(text), Err(why), "{text}");
        }
        let endless = format!("<stream:stream x='{}", "y".repeat(512));
        assert_eq!(read(&endless), Err(Malformed::TooLarge));
        let endless = format!("<?xml {}", "y".repeat(XMPP_DECLARATION_BYTES_MAX));
        assert_eq!(read(&endless), Err(Malformed::Instruction));
        assert_eq!(read(&" ".repeat(512)), Err(Malformed::TooLarge));
    }

    #[test]
    fn a_stream_ends_with_the_end_tag_of_its_root_alone() {
        let read = |text: &str| closing(text.as_bytes(), "stream:stream");
        assert_eq!(
            read("</stream:stream>x"),
            Ok(Decode::Frame { frame: (), len: 16 })
        );
        assert_eq!(
            read("</stream:stream \n>"),
            Ok(Decode::Frame { frame: (), len: 18 })
        );
        assert_eq!(read("</stream:str"), Ok(Decode::Need(13)));
        assert_eq!(read("</stream>"), Err(Malformed::Mismatched));
        assert_eq!(
            read(&format!("</{}", "a".repeat(XMPP_NAME_BYTES_MAX))),
            Err(Malformed::NameTooLong)
        );
    }
}
