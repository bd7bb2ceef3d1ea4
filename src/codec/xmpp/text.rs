//! Characters of XML 1.0 (2.2) in UTF-8.

use super::Malformed;

/// The bytes as text, if they are UTF-8 and every character may stand in XML 1.0 (2.2).
pub fn is_xml_text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    only_characters(bytes).then_some(text)
}

/// Whether XML 1.0 has the character (2.2 [2]).
pub(super) const fn is_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..)
}

/// How many bytes at the front are whole characters of XML; the rest, if any, is the beginning of one.
pub(super) fn whole_characters(bytes: &[u8]) -> Result<usize, Malformed> {
    let (whole, is_utf8) = match std::str::from_utf8(bytes) {
        Ok(_) => (bytes.len(), true),
        Err(error) => (error.valid_up_to(), error.error_len().is_none()),
    };
    // What is wrong first is told, in whatever pieces the bytes come.
    if !only_characters(bytes.get(..whole).unwrap_or_default()) {
        Err(Malformed::Character)
    } else if is_utf8 {
        Ok(whole)
    } else {
        Err(Malformed::Utf8)
    }
}

/// Whether UTF-8 has no character that XML 1.0 has not: controls, U+FFFE and U+FFFF.
fn only_characters(utf8: &[u8]) -> bool {
    // No early exit: so the compiler makes it wide.
    let control = utf8.iter().fold(false, |control, &byte| {
        control | (byte < b' ' && byte != b'\t' && byte != b'\n' && byte != b'\r')
    });
    !control
        && memchr::memchr_iter(0xEF, utf8)
            .all(|at| !matches!(utf8.get(at + 1..at + 3), Some([0xBF, 0xBE | 0xBF])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_2_2_characters_are_those_of_the_production() {
        for c in ['\0'..='\u{D7FF}', '\u{E000}'..='\u{10FFFF}']
            .into_iter()
            .flatten()
        {
            let number = u32::from(c);
            let by_production = matches!(number,
                0x9 | 0xA | 0xD | 0x20..=0xD7FF | 0xE000..=0xFFFD | 0x1_0000..=0x10_FFFF);
            assert_eq!(is_character(c), by_production, "{number:x}");
            let mut buffer = [0; 4];
            let text = c.encode_utf8(&mut buffer);
            assert_eq!(
                is_xml_text(text.as_bytes()),
                by_production.then_some(&*text),
                "{number:x}"
            );
        }
    }

    #[test]
    fn text_of_xml_is_utf_8() {
        assert_eq!(is_xml_text(b""), Some(""));
        assert_eq!(
            is_xml_text("\u{EF}\u{BF}\u{BE}".as_bytes()),
            Some("\u{EF}\u{BF}\u{BE}")
        );
        assert_eq!(is_xml_text("plain\u{FFFE}".as_bytes()), None);
        for wrong in [&b"\xFF"[..], b"a\xC3", b"\xED\xA0\x80", b"\xEF\xBF"] {
            assert_eq!(is_xml_text(wrong), None);
        }
    }

    #[test]
    fn what_breaks_off_is_not_wrong_yet() {
        let text = "a\u{20AC}\u{FFFF}".as_bytes();
        let found: Vec<_> = (0..=text.len())
            .map(|end| whole_characters(&text[..end]))
            .collect();
        assert_eq!(
            found,
            [
                Ok(0),
                Ok(1),
                Ok(1),
                Ok(1),
                Ok(4),
                Ok(4),
                Ok(4),
                Err(Malformed::Character)
            ]
        );
    }
}
