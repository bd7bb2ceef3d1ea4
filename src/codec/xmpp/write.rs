//! XML as a server writes it, with its length known before.

/// A part of what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// XML as it is.
    Raw(&'a str),
    /// XML as it is.
    Bytes(&'a [u8]),
    /// Character data. What is written would also be text in an attribute between apostrophes, but for its line
    /// ends and tabs. It must be text of XML ([`super::is_xml_text`]).
    Text(&'a str),
    /// The value of an attribute, whatever its quotes are. It must be text of XML.
    Attribute(&'a str),
    /// A number in decimal.
    Number(i64),
}

/// Bytes that the pieces take together.
pub fn len(pieces: &[Piece<'_>]) -> usize {
    pieces
        .iter()
        .map(|piece| match *piece {
            Piece::Raw(xml) => xml.len(),
            Piece::Bytes(xml) => xml.len(),
            Piece::Text(text) => escaped_len(text, in_text),
            Piece::Attribute(text) => escaped_len(text, in_attribute),
            Piece::Number(number) => Digits::of(number).as_bytes().len(),
        })
        .sum()
}

/// Appends the pieces: [`len`] bytes.
pub fn put(pieces: &[Piece<'_>], out: &mut Vec<u8>) {
    for piece in pieces {
        match *piece {
            Piece::Raw(xml) => out.extend_from_slice(xml.as_bytes()),
            Piece::Bytes(xml) => out.extend_from_slice(xml),
            Piece::Text(text) => escape(text, in_text, out),
            Piece::Attribute(text) => escape(text, in_attribute, out),
            Piece::Number(number) => out.extend_from_slice(Digits::of(number).as_bytes()),
        }
    }
}

/// What is written otherwise in character data (XML 1.0, 2.4), CR because a parser would make it LF (2.11).
const fn in_text(byte: u8) -> bool {
    matches!(byte, b'&' | b'<' | b'>' | b'\'' | b'\r')
}

/// The same in an attribute's value, where a parser would make a space of other white space (XML 1.0, 3.3.3).
const fn in_attribute(byte: u8) -> bool {
    in_text(byte) || matches!(byte, b'"' | b'\t' | b'\n')
}

/// How it is written.
const fn escaped(byte: u8) -> &'static str {
    match byte {
        b'&' => "&amp;",
        b'<' => "&lt;",
        b'>' => "&gt;",
        b'\'' => "&apos;",
        b'"' => "&quot;",
        b'\t' => "&#x9;",
        b'\n' => "&#xA;",
        b'\r' => "&#xD;",
        _ => "",
    }
}

/// Where the first such byte is. Most text has none for long: that is found out for many bytes at once.
fn find(text: &[u8], is_special: impl Fn(u8) -> bool) -> Option<usize> {
    let (chunks, _) = text.as_chunks::<32>();
    let plain = chunks
        .iter()
        .take_while(|chunk| !chunk.iter().fold(false, |any, &byte| any | is_special(byte)))
        .count()
        * 32;
    let rest = text.get(plain..)?;
    Some(plain + rest.iter().position(|&byte| is_special(byte))?)
}

fn escaped_len(text: &str, is_special: impl Fn(u8) -> bool) -> usize {
    let (mut len, mut rest) = (text.len(), text.as_bytes());
    while let Some((_, special, after)) = split(rest, &is_special) {
        len += escaped(special).len() - 1;
        rest = after;
    }
    len
}

fn escape(text: &str, is_special: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let Some((plain, special, after)) = split(rest, &is_special) {
        out.extend_from_slice(plain);
        out.extend_from_slice(escaped(special).as_bytes());
        rest = after;
    }
    out.extend_from_slice(rest);
}

/// What stands before the first special byte, the byte, and what follows.
fn split(text: &[u8], is_special: impl Fn(u8) -> bool) -> Option<(&[u8], u8, &[u8])> {
    let (plain, rest) = text.split_at_checked(find(text, is_special)?)?;
    let (&special, after) = rest.split_first()?;
    Some((plain, special, after))
}

/// A number in decimal: at most 20 characters.
struct Digits {
    digits: [u8; 20],
    start: usize,
}

impl Digits {
    fn of(number: i64) -> Self {
        let mut digits = [0; 20];
        let (mut left, mut start) = (number.unsigned_abs(), digits.len());
        for place in digits.iter_mut().rev() {
            *place = b'0' + u8::try_from(left % 10).unwrap_or_default();
            (left, start) = (left / 10, start - 1);
            if left == 0 {
                break;
            }
        }
        if number < 0
            && let Some(place) = start.checked_sub(1).and_then(|at| digits.get_mut(at))
        {
            *place = b'-';
            start -= 1;
        }
        Self { digits, start }
    }

    fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pieces: &[Piece<'_>]) -> String {
        let mut out = b"before".to_vec();
        put(pieces, &mut out);
        assert_eq!(out.len(), "before".len() + len(pieces));
        String::from_utf8(out.split_off("before".len())).unwrap()
    }

    #[test]
    fn xml_2_4_text_is_escaped_where_it_would_be_something_else() {
        assert_eq!(
            written(&[Piece::Text("a<b>&amp;'c'\"]]>\r\n\t")]),
            "a&lt;b&gt;&amp;amp;&apos;c&apos;\"]]&gt;&#xD;\n\t"
        );
        assert_eq!(
            written(&[Piece::Text("{\"num1\":10}\u{E9}\u{1F600}")]),
            "{\"num1\":10}\u{E9}\u{1F600}"
        );
    }

    #[test]
    fn xml_3_3_3_white_space_in_an_attribute_is_written_by_number() {
        assert_eq!(
            written(&[Piece::Attribute("\t\r\n <\"'>&")]),
            "&#x9;&#xD;&#xA; &lt;&quot;&apos;&gt;&amp;"
        );
    }

    #[test]
    fn what_is_xml_already_is_not_escaped() {
        assert_eq!(
            written(&[Piece::Raw("<a b='"), Piece::Bytes(b"&lt;"), Piece::Raw("'/>")]),
            "<a b='&lt;'/>"
        );
        assert_eq!(written(&[]), "");
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 1, -1, 9, 10, -2_000, 2_147_483_648, i64::MAX, i64::MIN] {
            assert_eq!(written(&[Piece::Number(number)]), number.to_string());
        }
    }
}
