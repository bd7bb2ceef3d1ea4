//! Addresses (RFC 7622), and how a localpart is written that holds characters it may not (XEP-0106).

use std::fmt;

use crate::limits::JID_PART_BYTES_MAX;

/// An address in its parts, as they are written.
///
/// Localpart and resource are compared byte by byte: the daemon's own have one form only. Of RFC 7622 binds what
/// keeps an address unambiguous; the profiles of Unicode (PRECIS) are not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Jid<'a> {
    /// Before the `@`.
    pub local: Option<&'a str>,
    /// The domain, without a dot at its end.
    pub domain: &'a str,
    /// Behind the `/`.
    pub resource: Option<&'a str>,
}

/// Why text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JidError {
    /// A part that is empty, or longer than 1,023 bytes (RFC 7622, 3.2 to 3.4).
    Length,
    /// A character that its part may not have.
    Character,
}

impl<'a> Jid<'a> {
    /// Splits an address (RFC 7622, 3.1: first at the first `/`, then at the first `@`).
    pub fn parse(text: &'a str) -> Result<Self, JidError> {
        let (bare, resource) = match text.split_once('/') {
            Some((bare, resource)) => (bare, Some(resource)),
            None => (text, None),
        };
        let (local, domain) = match bare.split_once('@') {
            Some((local, domain)) => (Some(local), domain),
            None => (None, bare),
        };
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        if let Some(local) = local {
            check(local, |c| {
                c.is_control() || c.is_whitespace() || escaped(c).is_some_and(|_| c != '\\')
            })?;
        }
        check(domain, |c| {
            c.is_control() || c.is_whitespace() || matches!(c, '"' | '&' | '\'' | '<' | '>' | '@' | '\\')
        })?;
        if let Some(resource) = resource {
            check(resource, char::is_control)?;
        }
        Ok(Self {
            local,
            domain,
            resource,
        })
    }

    /// The same without its resource.
    pub const fn bare(self) -> Self {
        Self {
            resource: None,
            ..self
        }
    }

    /// Whether it is in this domain; letters of ASCII are compared without their case (RFC 7622, 3.2).
    pub const fn is_in(&self, domain: &str) -> bool {
        self.domain.eq_ignore_ascii_case(domain)
    }
}

impl fmt::Display for Jid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(local) = self.local {
            write!(f, "{local}@")?;
        }
        f.write_str(self.domain)?;
        match self.resource {
            Some(resource) => write!(f, "/{resource}"),
            None => Ok(()),
        }
    }
}

impl JidError {
    /// What is wrong, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Length => "empty or too long part",
            Self::Character => "forbidden character",
        }
    }
}

impl fmt::Display for JidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for JidError {}

fn check(part: &str, forbidden: impl Fn(char) -> bool) -> Result<(), JidError> {
    if part.is_empty() || part.len() > JID_PART_BYTES_MAX {
        Err(JidError::Length)
    } else if part.contains(forbidden) {
        Err(JidError::Character)
    } else {
        Ok(())
    }
}

/// What a localpart may not have (RFC 7622, 3.3.1), with the backslash, and how it is written (XEP-0106, 3).
const ESCAPES: [(char, &str); 10] = [
    (' ', "\\20"),
    ('"', "\\22"),
    ('&', "\\26"),
    ('\'', "\\27"),
    ('/', "\\2f"),
    (':', "\\3a"),
    ('<', "\\3c"),
    ('>', "\\3e"),
    ('@', "\\40"),
    ('\\', "\\5c"),
];

fn escaped(c: char) -> Option<&'static str> {
    ESCAPES
        .iter()
        .find_map(|&(escaped, sequence)| (escaped == c).then_some(sequence))
}

/// The character of the sequence that the text begins with.
fn sequence(text: &str) -> Option<char> {
    ESCAPES
        .iter()
        .find_map(|&(c, sequence)| text.starts_with(sequence).then_some(c))
}

/// Appends a name as a localpart: [`unescape_into`] gives it back. A backslash is escaped only where it would be
/// taken for a sequence (XEP-0106, 4).
pub fn escape_into(name: &str, out: &mut String) {
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        match escaped(c) {
            Some(sequenced) if c != '\\' || sequence(rest).is_some() => out.push_str(sequenced),
            _ => out.push(c),
        }
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
}

/// Appends what a localpart means: its sequences as the characters they stand for, all else as it is.
pub fn unescape_into(local: &str, out: &mut String) {
    let mut rest = local;
    while let Some((plain, after)) = rest.split_once('\\') {
        out.push_str(plain);
        let escape = rest.get(plain.len()..).unwrap_or_default();
        match sequence(escape) {
            Some(c) => {
                out.push(c);
                rest = escape.get(3..).unwrap_or_default();
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
}
