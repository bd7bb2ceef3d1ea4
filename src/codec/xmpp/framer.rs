//! Where an element ends, and whether it may be taken: everything XML 1.0 and Namespaces 1.0 ask of it.

use std::ops::Range;

use super::tag::{self, Prefixes, is_space, slice};
use super::text::whole_characters;
use super::{Malformed, start};
use crate::codec::Decode;
use crate::limits::{
    STANZA_BYTES_MAX, XMPP_ATTRIBUTES_MAX, XMPP_CHILDREN_MAX, XMPP_DEPTH_MAX, XMPP_NAME_BYTES_MAX,
};

/// What an element may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes, with the white space before it; an element has fewer than 4 GiB anyhow.
    pub stanza_bytes_max: usize,
    /// Elements inside one another, the outermost among them; at most [`XMPP_DEPTH_MAX`].
    pub depth_max: usize,
    /// Attributes of one element, declarations of namespaces among them; at most [`XMPP_ATTRIBUTES_MAX`].
    pub attributes_max: usize,
    /// Bytes of the name of an element or attribute, with its prefix.
    pub name_bytes_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self::new(STANZA_BYTES_MAX)
    }
}

impl Bounds {
    /// The bounds of [`crate::limits`], with another one for bytes.
    pub const fn new(stanza_bytes_max: usize) -> Self {
        Self {
            stanza_bytes_max,
            depth_max: XMPP_DEPTH_MAX,
            attributes_max: XMPP_ATTRIBUTES_MAX,
            name_bytes_max: XMPP_NAME_BYTES_MAX,
        }
    }
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing: no element has begun.
    #[default]
    Between,
    /// Character data.
    Text,
    /// A reference in character data.
    Reference,
    /// What begins with `<`, and too little of it to tell what it is.
    Markup,
    /// A start tag.
    Start,
    /// The value of an attribute in this quote.
    Value(u8),
    /// An end tag.
    End,
    /// A CDATA section.
    Section,
}

/// How a step ended.
enum Step {
    /// Another one can be made.
    On,
    /// More bytes are needed.
    Need,
    /// The element is complete.
    Complete,
}

/// The elements that are open, and the prefixes they declare.
#[derive(Clone, Debug)]
struct Open {
    starts: [u32; XMPP_DEPTH_MAX],
    depth: u8,
    /// Elements directly inside the outermost.
    children: u16,
    prefixes: Prefixes,
}

impl Open {
    const NONE: Self = Self {
        starts: [0; XMPP_DEPTH_MAX],
        depth: 0,
        children: 0,
        prefixes: Prefixes::NONE,
    };
}

/// Finds elements in bytes that come in pieces of any length; 32 bytes, and a box while an element breaks off
/// inside another.
///
/// What is found, and what is refused, does not depend on the pieces. A byte is looked at a few times at most.
/// After an error nothing more can be found.
#[derive(Debug, Default)]
pub struct Framer {
    open: Option<Box<Open>>,
    /// As far as the bytes are worked off.
    at: u32,
    /// Where the reference, tag or section begins that is not complete.
    token: u32,
    /// Where the element begins.
    start: u32,
    state: State,
}

impl Framer {
    /// Looks for the end of an element. `bytes` begin with the first one that no element took: the same as in
    /// the call before, and more, while the answer is `Need`.
    ///
    /// White space before the element belongs to `len` but not to the frame. `Need` asks for one byte more.
    pub fn scan(&mut self, bytes: &[u8], bounds: &Bounds) -> Result<Decode<Range<usize>>, Malformed> {
        let bytes_max = bounds.stanza_bytes_max.min(u32::MAX as usize);
        let mut boxed = self.open.take();
        let mut unboxed = Open::NONE;
        let mut scan = Scan {
            bytes: bytes.get(..bytes_max).unwrap_or(bytes),
            bounds,
            open: boxed.as_deref_mut().unwrap_or(&mut unboxed),
            at: self.at as usize,
            token: self.token as usize,
            start: self.start as usize,
            state: self.state,
        };
        if scan.run()? {
            let (start, end) = (scan.start, scan.at);
            *self = Self::default();
            return Ok(Decode::Frame {
                frame: start..end,
                len: end,
            });
        }
        if bytes.len() >= bytes_max {
            return Err(Malformed::TooLarge);
        }
        *self = Self {
            at: offset(scan.at),
            token: offset(scan.token),
            start: offset(scan.start),
            state: scan.state,
            open: None,
        };
        if unboxed.depth > 0 {
            boxed = Some(Box::new(unboxed));
        }
        self.open = boxed;
        Ok(Decode::Need(bytes.len() + 1))
    }

    /// Whether an element has begun and is not complete.
    pub fn in_element(&self) -> bool {
        self.state != State::Between
    }
}

/// Whether a message is one element and nothing else but white space around it (RFC 7395, 3.3.3).
pub fn frame_whole(bytes: &[u8], bounds: &Bounds) -> Result<(), Malformed> {
    match Framer::default().scan(bytes, bounds)? {
        Decode::Need(_) => Err(Malformed::Unclosed),
        Decode::Frame { len, .. } if tag::skip_space(bytes, len) < bytes.len() => Err(Malformed::Leftover),
        Decode::Frame { .. } => Ok(()),
    }
}

/// An offset into an element, which has fewer than 4 GiB.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// A call of [`Framer::scan`].
struct Scan<'a> {
    bytes: &'a [u8],
    bounds: &'a Bounds,
    open: &'a mut Open,
    at: usize,
    token: usize,
    start: usize,
    state: State,
}

impl Scan<'_> {
    /// Whether an element is complete, which ends at `at`.
    fn run(&mut self) -> Result<bool, Malformed> {
        loop {
            let step = match self.state {
                State::Between => self.between(),
                State::Text => self.text(),
                State::Reference => self.reference(),
                State::Markup => self.markup(),
                State::Start => self.start_tag(),
                State::Value(quote) => self.value(quote),
                State::End => self.end_tag(),
                State::Section => self.section(),
            };
            match step? {
                Step::On => {}
                Step::Need => return Ok(false),
                Step::Complete => return Ok(true),
            }
        }
    }

    fn rest(&self) -> &[u8] {
        slice(self.bytes, self.at..self.bytes.len())
    }

    /// Begins a token at `at`.
    fn begin(&mut self, state: State, len: usize) -> Step {
        self.token = self.at;
        self.at += len;
        self.state = state;
        Step::On
    }

    fn between(&mut self) -> Result<Step, Malformed> {
        self.at = tag::skip_space(self.bytes, self.at);
        match self.rest().first() {
            None => Ok(Step::Need),
            Some(b'<') => {
                self.start = self.at;
                Ok(self.begin(State::Markup, 1))
            }
            Some(_) => Err(Malformed::Outside),
        }
    }

    /// Character data up to the next `<` or `&` (XML 1.0, 2.4 [14]).
    fn text(&mut self) -> Result<Step, Malformed> {
        let rest = self.rest();
        let stop = memchr::memchr2(b'<', b'&', rest);
        let text = slice(rest, 0..stop.unwrap_or(rest.len()));
        let section_end = memchr::memchr_iter(b'>', text).find(|&at| slice(text, 0..at).ends_with(b"]]"));
        let text = slice(text, 0..section_end.unwrap_or(text.len()));
        let whole = whole_characters(text)?;
        if stop.is_none() && section_end.is_none() {
            self.at += whole.min(text.len() - brackets(text));
            return Ok(Step::Need);
        }
        if whole < text.len() {
            return Err(Malformed::Utf8);
        }
        if section_end.is_some() {
            return Err(Malformed::SectionEnd);
        }
        let is_tag = rest.get(whole) == Some(&b'<');
        self.at += whole;
        let state = if is_tag { State::Markup } else { State::Reference };
        Ok(self.begin(state, 1))
    }

    fn reference(&mut self) -> Result<Step, Malformed> {
        let rest = self.rest();
        let stop = rest
            .iter()
            .position(|&byte| !byte.is_ascii_alphanumeric() && byte != b'#');
        self.at += stop.unwrap_or(rest.len());
        if stop.is_none() {
            return Ok(Step::Need);
        }
        if self.bytes.get(self.at) != Some(&b';') {
            return Err(Malformed::Reference);
        }
        tag::referred(slice(self.bytes, self.token + 1..self.at))?;
        self.at += 1;
        self.state = State::Text;
        Ok(Step::On)
    }

    /// Tells what begins with `<`.
    fn markup(&mut self) -> Result<Step, Malformed> {
        const SECTION: &[u8] = b"<![CDATA[";
        let token = slice(self.bytes, self.token..self.bytes.len());
        let (state, len) = match token {
            [_] => return Ok(Step::Need),
            [_, b'?', ..] => return Err(Malformed::Instruction),
            [_, b'!', b'-', ..] => return Err(Malformed::Comment),
            [_, b'!', b'D', ..] => return Err(Malformed::Doctype),
            [_, b'!', ..] => {
                let len = token.len().min(SECTION.len());
                if !SECTION.starts_with(slice(token, 0..len)) {
                    return Err(Malformed::Tag);
                }
                if len < SECTION.len() {
                    return Ok(Step::Need);
                }
                if self.open.depth == 0 {
                    return Err(Malformed::Outside);
                }
                (State::Section, len)
            }
            [_, b'/', ..] if self.open.depth == 0 => return Err(Malformed::Outside),
            [_, b'/', ..] => (State::End, 2),
            _ => (State::Start, 1),
        };
        self.at = self.token + len;
        self.state = state;
        Ok(Step::On)
    }

    /// Looks for the end of a start tag outside of its attributes' values.
    fn start_tag(&mut self) -> Result<Step, Malformed> {
        let rest = self.rest();
        let stop = rest
            .iter()
            .position(|&byte| matches!(byte, b'>' | b'\'' | b'"' | b'<'));
        let Some((stop, &byte)) = stop.and_then(|stop| Some((stop, rest.get(stop)?))) else {
            self.at = self.bytes.len();
            return Ok(Step::Need);
        };
        self.at += stop + 1;
        match byte {
            b'>' => self.started(),
            b'<' => Err(Malformed::Tag),
            quote => {
                self.state = State::Value(quote);
                Ok(Step::On)
            }
        }
    }

    /// Looks for the end of an attribute's value (XML 1.0, 2.3 [10]).
    fn value(&mut self, quote: u8) -> Result<Step, Malformed> {
        let rest = self.rest();
        let Some(stop) = memchr::memchr2(quote, b'<', rest) else {
            self.at = self.bytes.len();
            return Ok(Step::Need);
        };
        if rest.get(stop) == Some(&b'<') {
            return Err(Malformed::LessThan);
        }
        self.at += stop + 1;
        self.state = State::Start;
        Ok(Step::On)
    }

    /// A start tag is complete, or that of an empty element (XML 1.0, 3.1 [40] and [44]).
    fn started(&mut self) -> Result<Step, Malformed> {
        let start = self.token;
        let depth = usize::from(self.open.depth);
        let is_empty = slice(self.bytes, start..self.at).ends_with(b"/>");
        let end = self.at - if is_empty { 2 } else { 1 };
        if depth >= self.bounds.depth_max {
            return Err(Malformed::TooDeep);
        }
        if depth == 1 {
            // They are looked through by name, so that many would be looked at again and again.
            self.open.children += 1;
            if usize::from(self.open.children) > XMPP_CHILDREN_MAX {
                return Err(Malformed::TooManyChildren);
            }
        }
        start::check(self.bytes, start..end, self.bounds, &mut self.open.prefixes)?;
        if is_empty {
            self.open.prefixes.leave(offset(start));
        } else {
            *self.open.starts.get_mut(depth).ok_or(Malformed::TooDeep)? = offset(start);
            self.open.depth += 1;
        }
        self.state = State::Text;
        Ok(self.after_tag())
    }

    fn after_tag(&self) -> Step {
        if self.open.depth == 0 {
            Step::Complete
        } else {
            Step::On
        }
    }

    /// An end tag must have the name of the start tag (XML 1.0, 3.1 [42]).
    fn end_tag(&mut self) -> Result<Step, Malformed> {
        let rest = self.rest();
        let Some(stop) = memchr::memchr2(b'>', b'<', rest) else {
            self.at = self.bytes.len();
            return Ok(Step::Need);
        };
        if rest.get(stop) == Some(&b'<') {
            return Err(Malformed::Tag);
        }
        let end = self.at + stop;
        let name_end = tag::name_end(slice(self.bytes, 0..end), self.token + 2);
        let name = slice(self.bytes, self.token + 2..name_end);
        let depth = usize::from(self.open.depth).saturating_sub(1);
        let start = self.open.starts.get(depth).copied().unwrap_or_default();
        let opened = slice(self.bytes, start as usize + 1..self.bytes.len());
        let after = opened.strip_prefix(name).and_then(<[u8]>::first);
        let same = after.is_some_and(|&byte| is_space(byte) || byte == b'>');
        if !same || tag::skip_space(self.bytes, name_end) != end {
            return Err(Malformed::Mismatched);
        }
        self.open.depth = self.open.depth.saturating_sub(1);
        self.open.prefixes.leave(start);
        self.at = end + 1;
        self.state = State::Text;
        Ok(self.after_tag())
    }

    /// A CDATA section up to its end (XML 1.0, 2.7).
    fn section(&mut self) -> Result<Step, Malformed> {
        let rest = self.rest();
        let stop = memchr::memmem::find(rest, b"]]>");
        let text = slice(rest, 0..stop.unwrap_or(rest.len()));
        let whole = whole_characters(text)?;
        if stop.is_none() {
            self.at += whole.min(text.len() - brackets(text));
            return Ok(Step::Need);
        }
        if whole < text.len() {
            return Err(Malformed::Utf8);
        }
        self.at += whole + 3;
        self.state = State::Text;
        Ok(Step::On)
    }
}

/// Brackets at the end of bytes that may begin `]]>`.
fn brackets(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rev()
        .take(2)
        .take_while(|&&byte| byte == b']')
        .count()
}
