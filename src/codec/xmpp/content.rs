//! Text as it is meant: references resolved, sections unwrapped, line ends and white space as a parser reports them.

use std::fmt;

use super::tag;

/// Where text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the value of an attribute, where white space is a space (XML 1.0, 3.3.3).
    Attribute,
    /// In an element, perhaps beside others (XML 1.0, 2.4 and 2.11).
    Element,
}

/// The value of an attribute, or the character data directly inside an element.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    raw: &'a str,
    place: Place,
}

impl<'a> Text<'a> {
    pub(super) const fn of_attribute(raw: &'a str) -> Self {
        Self {
            raw,
            place: Place::Attribute,
        }
    }

    pub(super) const fn of_element(raw: &'a str) -> Self {
        Self {
            raw,
            place: Place::Element,
        }
    }

    /// As it is written: between the quotes, or between the tags with all that is there.
    pub const fn raw(&self) -> &'a str {
        self.raw
    }

    /// The text where it lies, if it is written as it is meant: without references, sections, elements and white
    /// space that a parser changes.
    pub fn plain(&self) -> Option<&'a str> {
        let bytes = self.raw.as_bytes();
        let changed = match self.place {
            Place::Element => memchr::memchr3(b'<', b'&', b'\r', bytes).is_some(),
            Place::Attribute => bytes
                .iter()
                .any(|byte| matches!(byte, b'&' | b'\t' | b'\n' | b'\r')),
        };
        (!changed).then_some(self.raw)
    }

    /// Appends the text as it is meant.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match self.plain() {
            Some(plain) => out.extend_from_slice(plain.as_bytes()),
            None => self
                .chunks()
                .for_each(|chunk| out.extend_from_slice(chunk.as_str(&mut [0; 4]).as_bytes())),
        }
    }

    /// Whether the text means `other`.
    pub fn is(&self, other: &str) -> bool {
        if let Some(plain) = self.plain() {
            return plain == other;
        }
        let mut rest = other;
        for chunk in self.chunks() {
            match rest.strip_prefix(chunk.as_str(&mut [0; 4])) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        rest.is_empty()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.is("")
    }

    fn chunks(&self) -> Chunks<'a> {
        Chunks {
            rest: self.raw,
            place: self.place,
            depth: 0,
            in_section: false,
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Text").field(&self.raw).finish()
    }
}

/// A part of text.
enum Chunk<'a> {
    /// As it is written.
    Written(&'a str),
    /// A character written otherwise.
    Meant(char),
}

impl<'a> Chunk<'a> {
    fn as_str<'b>(&self, buffer: &'b mut [u8; 4]) -> &'b str
    where
        'a: 'b,
    {
        match *self {
            Self::Written(text) => text,
            Self::Meant(c) => c.encode_utf8(buffer),
        }
    }
}

/// The parts of text in order.
struct Chunks<'a> {
    rest: &'a str,
    place: Place,
    /// Elements that are open: their text is left out.
    depth: usize,
    in_section: bool,
}

impl<'a> Chunks<'a> {
    /// Takes as many bytes off the front, or all.
    fn take(&mut self, len: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    /// Text up to the next byte that means something else.
    fn written(&mut self) -> Chunk<'a> {
        let special = |byte: u8| match byte {
            b'\r' => true,
            b'<' | b'&' => !self.in_section,
            b'\n' | b'\t' => self.place == Place::Attribute,
            b']' => self.in_section,
            _ => false,
        };
        let len = self.rest.bytes().skip(1).position(special);
        Chunk::Written(self.take(len.map_or(self.rest.len(), |len| len + 1)))
    }

    /// A line end is one LF (XML 1.0, 2.11), white space in an attribute a space.
    fn white_space(&mut self) -> Chunk<'a> {
        let len = if self.rest.starts_with("\r\n") { 2 } else { 1 };
        self.take(len);
        Chunk::Meant(if self.place == Place::Attribute { ' ' } else { '\n' })
    }

    fn reference(&mut self) -> Option<Chunk<'a>> {
        let end = self.rest.find(';').unwrap_or(self.rest.len());
        let reference = self.take(end + 1).strip_prefix('&')?.strip_suffix(';')?;
        tag::referred(reference.as_bytes()).ok().map(Chunk::Meant)
    }

    /// Steps over what begins with `<`: into a section, or in or out of an element.
    fn markup(&mut self) -> Option<()> {
        let (markup, len) = tag::markup(self.rest.as_bytes(), 0)?;
        match markup {
            tag::Markup::Section => {
                self.in_section = self.depth == 0;
                self.take(if self.in_section { tag::SECTION.len() } else { len });
            }
            tag::Markup::Start { is_empty } => {
                self.depth += usize::from(!is_empty);
                self.take(len);
            }
            tag::Markup::End => {
                self.depth = self.depth.checked_sub(1)?;
                self.take(len);
            }
        }
        Some(())
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        loop {
            if self.in_section && self.rest.starts_with("]]>") {
                self.take(3);
                self.in_section = false;
            }
            if self.depth > 0 {
                let markup = memchr::memchr(b'<', self.rest.as_bytes())?;
                self.take(markup);
            }
            match *self.rest.as_bytes().first()? {
                b'<' if !self.in_section => self.markup()?,
                b'&' if !self.in_section => return self.reference(),
                b'\r' => return Some(self.white_space()),
                b'\n' | b'\t' if self.place == Place::Attribute => return Some(self.white_space()),
                b']' if self.in_section && self.rest.starts_with("]]>") => {}
                _ => return Some(self.written()),
            }
        }
    }
}
