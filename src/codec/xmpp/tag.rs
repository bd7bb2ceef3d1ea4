//! Inside of tags: names, attributes, prefixes, references. All in offsets into the bytes that the element begins
//! with, so that what is known of an element survives the move of a buffer.

use std::ops::Range;

use super::Malformed;
use super::text::is_character;
use crate::limits::XMPP_PREFIXES_MAX;

/// The namespace of the prefix `xml` (Namespaces 1.0, 3).
pub(super) const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";
/// The namespace of the prefix `xmlns` (Namespaces 1.0, 3).
const XMLNS_NAMESPACE: &str = "http://www.w3.org/2000/xmlns/";
/// White space (XML 1.0, 2.3 [3]).
pub(super) const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// Whether a byte is white space (XML 1.0, 2.3 [3]).
pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Where the white space that begins at `at` ends.
pub(super) fn skip_space(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest
        .iter()
        .position(|&byte| !is_space(byte))
        .unwrap_or(rest.len())
}

/// Where the name that begins at `at` ends: at white space, `=`, or the end of `bytes`.
pub(super) fn name_end(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest
        .iter()
        .position(|&byte| byte == b'=' || is_space(byte))
        .unwrap_or(rest.len())
}

/// The bytes of a range that lies in them.
pub(super) fn slice(bytes: &[u8], range: Range<usize>) -> &[u8] {
    bytes.get(range).unwrap_or_default()
}

/// Where an attribute stands.
#[derive(Clone, Debug)]
pub(super) struct Attribute {
    pub(super) name: Range<usize>,
    /// Without its quotes.
    pub(super) value: Range<usize>,
}

/// The attributes of a start tag, in order (XML 1.0, 3.1). Ends after an error.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'a> {
    /// Ends where the tag's `>` or `/>` begins.
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    /// From the end of the tag's name on, up to where its `>` or `/>` begins.
    pub(super) fn new(bytes: &'a [u8], at: usize, end: usize) -> Self {
        Self {
            bytes: bytes.get(..end).unwrap_or(bytes),
            at,
        }
    }

    fn attribute(&self, at: usize) -> Option<Attribute> {
        let name = at..name_end(self.bytes, at);
        let equals = skip_space(self.bytes, name.end);
        let quote = skip_space(self.bytes, equals + 1);
        let value = quote + 1;
        let (&b'=', &mark @ (b'\'' | b'"')) = (self.bytes.get(equals)?, self.bytes.get(quote)?) else {
            return None;
        };
        let len = memchr::memchr(mark, self.bytes.get(value..)?)?;
        Some(Attribute {
            name,
            value: value..value + len,
        })
    }
}

impl Iterator for Lexer<'_> {
    type Item = Result<Attribute, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = skip_space(self.bytes, self.at);
        if at >= self.bytes.len() {
            return None;
        }
        // White space stands before each.
        let attribute = if at > self.at { self.attribute(at) } else { None };
        self.at = attribute
            .as_ref()
            .map_or(self.bytes.len(), |attribute| attribute.value.end + 1);
        Some(attribute.ok_or(Malformed::Tag))
    }
}

/// Splits a name into its prefix, or nothing, and its local part (Namespaces 1.0, 4 [7]).
pub(super) fn split_name(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().position(|&byte| byte == b':') {
        Some(colon) => (slice(name, 0..colon), slice(name, colon + 1..name.len())),
        None => (&[], name),
    }
}

/// What a reference between its `&` and its `;` stands for (XML 1.0, 4.1 and 4.6).
pub(super) fn referred(name: &[u8]) -> Result<char, Malformed> {
    match name {
        b"lt" => Ok('<'),
        b"gt" => Ok('>'),
        b"amp" => Ok('&'),
        b"apos" => Ok('\''),
        b"quot" => Ok('"'),
        [b'#', b'x', digits @ ..] => numbered(digits, 16),
        [b'#', digits @ ..] => numbered(digits, 10),
        _ => Err(Malformed::Reference),
    }
}

fn numbered(digits: &[u8], radix: u32) -> Result<char, Malformed> {
    if digits.is_empty() {
        return Err(Malformed::Reference);
    }
    let mut number = 0_u32;
    for &digit in digits {
        let digit = char::from(digit).to_digit(radix).ok_or(Malformed::Reference)?;
        number = number.saturating_mul(radix).saturating_add(digit);
    }
    char::from_u32(number)
        .filter(|&c| is_character(c))
        .ok_or(Malformed::Character)
}

/// Checks the references in an attribute's value.
pub(super) fn check_value(mut value: &[u8]) -> Result<(), Malformed> {
    while let Some(at) = memchr::memchr(b'&', value) {
        let reference = slice(value, at + 1..value.len());
        let end = memchr::memchr(b';', reference).ok_or(Malformed::Reference)?;
        referred(slice(reference, 0..end))?;
        value = slice(reference, end + 1..reference.len());
    }
    Ok(())
}

/// Checks a declaration of a namespace (Namespaces 1.0, 2.2 and 3) without its `xmlns`: the prefix is empty where
/// the default namespace is declared.
///
/// A namespace with references is refused so that names are compared where they lie. None of XMPP needs one.
pub(super) fn check_declaration(prefix: &[u8], namespace: &[u8]) -> Result<(), Malformed> {
    let is_xml = namespace == XML_NAMESPACE.as_bytes();
    let allowed = match prefix {
        b"xml" => is_xml,
        b"xmlns" => false,
        _ => {
            !is_xml && namespace != XMLNS_NAMESPACE.as_bytes() && (prefix.is_empty() || !namespace.is_empty())
        }
    };
    // A namespace is a URI (Namespaces 1.0, 2.1), and parsers of receivers rely on what none has in it (RFC 3986, 2).
    let written_plainly = !namespace.iter().any(|&byte| {
        matches!(
            byte,
            b'&' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0..=b' ' | 0x7F
        )
    });
    if allowed && written_plainly {
        Ok(())
    } else {
        Err(Malformed::Namespace)
    }
}

/// What the name of a declaration begins with.
const DECLARES: &str = "xmlns:";

/// The prefixes in scope: where the attributes stand that declare them, the innermost last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefixes {
    at: [u32; XMPP_PREFIXES_MAX],
    /// Bytes of each prefix, so that none is looked at that cannot be meant.
    bytes: [u16; XMPP_PREFIXES_MAX],
    len: u8,
}

impl Prefixes {
    pub(super) const NONE: Self = Self {
        at: [0; XMPP_PREFIXES_MAX],
        bytes: [0; XMPP_PREFIXES_MAX],
        len: 0,
    };

    fn known(&self) -> &[u32] {
        self.at.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Adds the declaration whose name, `xmlns:…`, stands there.
    pub(super) fn declare(&mut self, name: Range<usize>) -> Result<(), Malformed> {
        let place = usize::from(self.len);
        let (Some(at), Some(bytes)) = (self.at.get_mut(place), self.bytes.get_mut(place)) else {
            return Err(Malformed::TooManyPrefixes);
        };
        *at = u32::try_from(name.start).map_err(|_| Malformed::TooLarge)?;
        let len = name.len().saturating_sub(DECLARES.len());
        *bytes = u16::try_from(len).map_err(|_| Malformed::NameTooLong)?;
        self.len += 1;
        Ok(())
    }

    /// Forgets what the element that begins at `start` declared.
    pub(super) fn leave(&mut self, start: u32) {
        while self.known().last().is_some_and(|&at| at > start) {
            self.len -= 1;
        }
    }

    /// Where the namespace of a prefix stands in `bytes`; not for `xml`.
    pub(super) fn resolve(&self, bytes: &[u8], prefix: &[u8]) -> Option<Range<usize>> {
        self.known()
            .iter()
            .zip(&self.bytes)
            .rev()
            .find_map(|(&at, &len)| {
                let (at, len) = (at as usize, usize::from(len));
                let name = at + DECLARES.len();
                if len != prefix.len() || slice(bytes, name..name + len) != prefix {
                    return None;
                }
                Lexer { bytes, at }
                    .attribute(at)
                    .map(|declaration| declaration.value)
            })
    }
}

/// How a CDATA section begins (XML 1.0, 2.7 [19]).
pub(super) const SECTION: &[u8] = b"<![CDATA[";

/// What begins with `<` in an element that was found well formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Markup {
    Start { is_empty: bool },
    End,
    Section,
}

/// The kind of what begins with `<` at `at`, and where it ends.
pub(super) fn markup(bytes: &[u8], at: usize) -> Option<(Markup, usize)> {
    let rest = bytes.get(at..)?;
    match rest {
        [b'<', b'/', ..] => Some((Markup::End, at + memchr::memchr(b'>', rest)? + 1)),
        [b'<', b'!', ..] => Some((Markup::Section, at + memchr::memmem::find(rest, b"]]>")? + 3)),
        [b'<', ..] => {
            let mut end = at + 1;
            loop {
                let rest = bytes.get(end..)?;
                let stop = rest
                    .iter()
                    .position(|&byte| matches!(byte, b'>' | b'\'' | b'"'))?;
                end += stop + 1;
                match *rest.get(stop)? {
                    b'>' => break,
                    quote => end += memchr::memchr(quote, bytes.get(end..)?)? + 1,
                }
            }
            let is_empty = slice(bytes, at..end).ends_with(b"/>");
            Some((Markup::Start { is_empty }, end))
        }
        _ => None,
    }
}

/// Where the content ends that begins at `at`, inside of an element, and where its end tag ends.
pub(super) fn content_end(bytes: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let mut depth = 0_usize;
    loop {
        let start = at + memchr::memchr(b'<', bytes.get(at..)?)?;
        let (markup, end) = markup(bytes, start)?;
        match markup {
            Markup::Start { is_empty } => depth += usize::from(!is_empty),
            Markup::Section => {}
            Markup::End if depth == 0 => return Some((start, end)),
            Markup::End => depth -= 1,
        }
        at = end;
    }
}
