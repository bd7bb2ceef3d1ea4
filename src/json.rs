//! Checks the body of an API request or reply: one JSON object (RFC 8259), in one pass.
//!
//! Accepted is what the grammar of RFC 8259 accepts, in UTF-8 without a byte order mark (8.1), nested no deeper
//! than [`JSON_DEPTH_MAX`]: numbers of any size (6), duplicate names (4), and `\u` escapes of lone surrogates
//! (8.2), which the grammar allows and which are ASCII on the wire; what to make of them is the reader's.
//! Nothing is decoded, built or copied; the body travels on byte for byte.

use std::fmt;

use crate::limits::JSON_DEPTH_MAX;

/// Why a body is not a JSON object that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JsonError {
    /// Something else than `{` at the start.
    NotAnObject,
    /// The body ends inside of the object.
    Truncated,
    /// Something else than white space after the object.
    TrailingBytes,
    /// Nested deeper than [`JSON_DEPTH_MAX`].
    TooDeep,
    /// A byte that cannot stand there (2).
    Unexpected,
    /// Not a number of the grammar (6).
    Number,
    /// Not an escape of the grammar (7).
    Escape,
    /// An unescaped control character in a string (7).
    ControlCharacter,
    /// A string that is not UTF-8 (8.1).
    Utf8,
}

impl JsonError {
    /// What is wrong, in a few words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAnObject => "body is not a JSON object",
            Self::Truncated => "JSON ends too early",
            Self::TrailingBytes => "bytes after the JSON object",
            Self::TooDeep => "JSON nested too deep",
            Self::Unexpected => "unexpected character in JSON",
            Self::Number => "bad number in JSON",
            Self::Escape => "bad escape in JSON",
            Self::ControlCharacter => "unescaped control character in JSON",
            Self::Utf8 => "JSON is not UTF-8",
        }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for JsonError {}

/// What is expected next.
#[derive(Clone, Copy)]
enum State {
    /// A name; `}` as well if the object has no member yet.
    Name { first: bool },
    /// A value; `]` as well if it is the first of an array.
    Value { or_end: bool },
    /// `,` or the end of the container.
    AfterValue,
}

/// Checks that `body` is one JSON object. Gives the value of its member `code` if that is an integer (written
/// without fraction and exponent) that fits 32 bits; of several members `code` the last one counts.
pub fn check_object(body: &[u8]) -> Result<Option<i32>, JsonError> {
    let mut scanner = Scanner { rest: body };
    if scanner.next() != Some(b'{') {
        return Err(JsonError::NotAnObject);
    }
    let mut containers = Containers::object();
    let mut state = State::Name { first: true };
    let mut code = None;
    // Whether the value to come is that of the outermost `code`.
    let mut is_code = false;
    while !containers.is_empty() {
        let byte = scanner.next().ok_or(JsonError::Truncated)?;
        state = match (state, byte) {
            (State::Name { .. }, b'"') => {
                let name = scanner.string()?;
                is_code = containers.depth == 1 && is_name_code(name);
                match scanner.next() {
                    Some(b':') => State::Value { or_end: false },
                    Some(_) => return Err(JsonError::Unexpected),
                    None => return Err(JsonError::Truncated),
                }
            }
            (State::Value { .. }, _) if byte != b']' => {
                let integer = match byte {
                    b'{' | b'[' => None,
                    _ => scanner.scalar(byte)?,
                };
                if is_code && containers.depth == 1 {
                    code = integer;
                }
                match byte {
                    b'{' => {
                        containers.open(true)?;
                        State::Name { first: true }
                    }
                    b'[' => {
                        containers.open(false)?;
                        State::Value { or_end: true }
                    }
                    _ => State::AfterValue,
                }
            }
            (State::AfterValue, b',') if containers.is_in_object() => State::Name { first: false },
            (State::AfterValue, b',') => State::Value { or_end: false },
            (State::Name { first: true }, b'}') => containers.close(),
            (State::AfterValue, b'}') if containers.is_in_object() => containers.close(),
            (State::Value { or_end: true }, b']') => containers.close(),
            (State::AfterValue, b']') if !containers.is_in_object() => containers.close(),
            _ => return Err(JsonError::Unexpected),
        };
    }
    match scanner.next() {
        None => Ok(code),
        Some(_) => Err(JsonError::TrailingBytes),
    }
}

/// Whether a name, as it stands between its quotes, is `code`; escapes count as what they stand for.
fn is_name_code(name: &[u8]) -> bool {
    // The shortest way to write it with an escape is `\u0063ode`.
    if name.len() < 9 {
        return name == b"code";
    }
    let mut rest = name;
    for expected in *b"code" {
        let byte = match rest {
            [b'\\', b'u', digits @ ..] => {
                let Some((digits, tail)) = digits.split_first_chunk::<4>() else {
                    return false;
                };
                rest = tail;
                let Ok(digits) = std::str::from_utf8(digits) else {
                    return false;
                };
                u8::from_str_radix(digits, 16).ok()
            }
            [byte, tail @ ..] => {
                rest = tail;
                Some(*byte)
            }
            [] => None,
        };
        if byte != Some(expected) {
            return false;
        }
    }
    rest.is_empty()
}

/// The containers that are open, outermost first: a bit each, set for an object, the innermost lowest.
struct Containers {
    objects: u64,
    depth: usize,
}

const _: () = assert!(JSON_DEPTH_MAX <= 64, "one bit for each container");

impl Containers {
    const fn object() -> Self {
        Self { objects: 1, depth: 1 }
    }

    const fn is_empty(&self) -> bool {
        self.depth == 0
    }

    const fn is_in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    fn open(&mut self, object: bool) -> Result<(), JsonError> {
        if self.depth == JSON_DEPTH_MAX {
            return Err(JsonError::TooDeep);
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u64::from(object);
        Ok(())
    }

    const fn close(&mut self) -> State {
        self.depth -= 1;
        self.objects >>= 1;
        State::AfterValue
    }
}

/// What is left of the body.
struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    /// The next byte that is not white space (2), taken from the front.
    #[inline]
    fn next(&mut self) -> Option<u8> {
        loop {
            let byte = self.take()?;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
        }
    }

    #[inline]
    fn take(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn skip(&mut self, len: usize) {
        self.rest = self.rest.get(len..).unwrap_or_default();
    }

    /// A string, number or literal that begins with `first`, which has been taken. Gives an integer's value.
    fn scalar(&mut self, first: u8) -> Result<Option<i32>, JsonError> {
        match first {
            b'"' => self.string().map(|_| None),
            b'-' | b'0'..=b'9' => self.number(first),
            b't' => self.literal(b"rue"),
            b'f' => self.literal(b"alse"),
            b'n' => self.literal(b"ull"),
            b'+' | b'.' => Err(JsonError::Number),
            _ => Err(JsonError::Unexpected),
        }
    }

    /// The rest of `true`, `false` or `null`.
    fn literal(&mut self, rest: &[u8]) -> Result<Option<i32>, JsonError> {
        if let Some(after) = self.rest.strip_prefix(rest) {
            self.rest = after;
            Ok(None)
        } else if rest.starts_with(self.rest) {
            Err(JsonError::Truncated)
        } else {
            Err(JsonError::Unexpected)
        }
    }

    /// A string whose opening quote has been taken; what stands between the quotes.
    fn string(&mut self) -> Result<&'a [u8], JsonError> {
        let start = self.rest;
        let mut is_ascii = true;
        loop {
            let plain = plain_run(self.rest);
            is_ascii &= plain.is_ascii;
            self.skip(plain.len);
            match self.take().ok_or(JsonError::Truncated)? {
                b'"' => break,
                b'\\' => self.escape()?,
                _ => return Err(JsonError::ControlCharacter),
            }
        }
        let len = start.len() - self.rest.len() - 1;
        let content = start.get(..len).unwrap_or_default();
        if is_ascii || std::str::from_utf8(content).is_ok() {
            Ok(content)
        } else {
            Err(JsonError::Utf8)
        }
    }

    /// An escape whose backslash has been taken.
    fn escape(&mut self) -> Result<(), JsonError> {
        match self.take().ok_or(JsonError::Truncated)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => (0..4).try_for_each(|_| match self.take() {
                Some(digit) if digit.is_ascii_hexdigit() => Ok(()),
                Some(_) => Err(JsonError::Escape),
                None => Err(JsonError::Truncated),
            }),
            _ => Err(JsonError::Escape),
        }
    }

    /// A number that begins with `first`, which has been taken; its value if it is an integer of 32 bits.
    fn number(&mut self, first: u8) -> Result<Option<i32>, JsonError> {
        let negative = first == b'-';
        let first = if negative {
            self.take().ok_or(JsonError::Truncated)?
        } else {
            first
        };
        if !first.is_ascii_digit() {
            return Err(JsonError::Number);
        }
        let mut value = i64::from(first - b'0');
        while let Some(digit @ b'0'..=b'9') = self.rest.first() {
            // No digit may follow a leading zero.
            if first == b'0' {
                return Err(JsonError::Number);
            }
            value = value.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
            self.skip(1);
        }
        let mut is_integer = true;
        if self.rest.first() == Some(&b'.') {
            is_integer = false;
            self.skip(1);
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.rest.first() {
            is_integer = false;
            self.skip(1);
            if let Some(b'+' | b'-') = self.rest.first() {
                self.skip(1);
            }
            self.digits()?;
        }
        let value = if negative { -value } else { value };
        Ok(i32::try_from(value).ok().filter(|_| is_integer))
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), JsonError> {
        match self.rest.first() {
            Some(b'0'..=b'9') => {}
            Some(_) => return Err(JsonError::Number),
            None => return Err(JsonError::Truncated),
        }
        let len = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.skip(len);
        Ok(())
    }
}

/// Bytes of a string that are neither `"` nor `\` nor control characters.
struct PlainRun {
    len: usize,
    /// False if a byte of the run is not ASCII; may be false also if one shortly after it is not.
    is_ascii: bool,
}

/// The run at the front. Eight bytes at a time: in each of `special`'s bytes the highest bit is set if it ends
/// the run; a bit can be set wrongly, by a borrow, only above the first right one.
fn plain_run(bytes: &[u8]) -> PlainRun {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let below = |word: u64, bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word;
    let (words, tail) = bytes.as_chunks::<8>();
    let mut len = 0;
    let mut seen = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
        let special = (below(word, 0x20) | quote | backslash) & HIGHS;
        seen |= word;
        if special != 0 {
            return PlainRun {
                len: len + (special.trailing_zeros() / 8) as usize,
                is_ascii: seen & HIGHS == 0,
            };
        }
        len += 8;
    }
    let plain = |&byte: &u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    let rest = tail.iter().position(|byte| !plain(byte)).unwrap_or(tail.len());
    PlainRun {
        len: len + rest,
        is_ascii: seen & HIGHS == 0 && tail.is_ascii(),
    }
}

#[cfg(test)]
mod tests;
