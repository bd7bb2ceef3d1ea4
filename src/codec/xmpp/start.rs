//! Start tags: what XML 1.0 and Namespaces 1.0 ask of names and attributes.

use std::ops::Range;

use smallvec::SmallVec;

use super::names::is_ncname;
use super::tag::{self, Lexer, Prefixes, slice};
use super::text::whole_characters;
use super::{Bounds, Malformed};
use crate::limits::XMPP_ATTRIBUTES_MAX;

/// A name in its parts; the prefix is empty where there is none.
#[derive(Clone, Copy)]
struct Name<'a> {
    prefix: &'a [u8],
    local: &'a [u8],
}

impl<'a> Name<'a> {
    /// Checks that a name has the form of namespaces (4 [7]), and not too many bytes.
    fn check(name: &'a [u8], bytes_max: usize) -> Result<Self, Malformed> {
        if name.len() > bytes_max {
            return Err(Malformed::NameTooLong);
        }
        let (prefix, local) = tag::split_name(name);
        let is_prefixed = local.len() < name.len();
        if is_ncname(local) && (!is_prefixed || is_ncname(prefix)) {
            Ok(Self { prefix, local })
        } else {
            Err(Malformed::Name)
        }
    }
}

/// An attribute that has been looked at.
struct Seen<'a> {
    name: Name<'a>,
    /// Length and end of the local part: most names are told apart by it.
    key: u64,
    namespace: &'a [u8],
}

type AllSeen<'a> = SmallVec<[Seen<'a>; XMPP_ATTRIBUTES_MAX]>;

/// Checks a start tag from its `<` to where its `>` or `/>` begins, and declares its prefixes.
pub(super) fn check(
    bytes: &[u8],
    tag: Range<usize>,
    bounds: &Bounds,
    prefixes: &mut Prefixes,
) -> Result<(), Malformed> {
    let whole = slice(bytes, tag.clone());
    if whole_characters(whole)? < whole.len() {
        return Err(Malformed::Utf8);
    }
    let has_references = memchr::memchr(b'&', whole).is_some();
    let name = tag.start + 1..tag::name_end(slice(bytes, 0..tag.end), tag.start + 1);
    let attributes = Lexer::new(bytes, name.end, tag.end);
    let name = Name::check(slice(bytes, name), bounds.name_bytes_max)?;
    let mut seen = AllSeen::new();
    let mut has_prefixes = false;
    for attribute in attributes {
        let attribute = attribute?;
        if seen.len() >= bounds.attributes_max.min(XMPP_ATTRIBUTES_MAX) {
            return Err(Malformed::TooManyAttributes);
        }
        let at = attribute.name.clone();
        let (name, value) = (slice(bytes, attribute.name), slice(bytes, attribute.value));
        let name = Name::check(name, bounds.name_bytes_max)?;
        if has_references {
            tag::check_value(value)?;
        }
        let key = key(name.local);
        if seen.iter().any(|other| {
            other.key == key && other.name.local == name.local && other.name.prefix == name.prefix
        }) {
            return Err(Malformed::DuplicateAttribute);
        }
        match (name.prefix, name.local) {
            (b"xmlns", prefix) => {
                tag::check_declaration(prefix, value)?;
                prefixes.declare(at)?;
            }
            (b"", b"xmlns") => tag::check_declaration(b"", value)?,
            (b"", _) => {}
            _ => has_prefixes = true,
        }
        seen.push(Seen {
            name,
            key,
            namespace: b"",
        });
    }
    if name.prefix == b"xmlns" {
        return Err(Malformed::Prefix);
    }
    namespace(bytes, name.prefix, prefixes)?;
    if has_prefixes {
        resolve(bytes, &mut seen, prefixes)?;
    }
    Ok(())
}

fn key(local: &[u8]) -> u64 {
    local
        .iter()
        .rev()
        .take(7)
        .fold(local.len() as u64, |key, &byte| key << 8 | u64::from(byte))
}

/// Checks the prefixes of attributes: each is declared, and no attribute stands there twice (Namespaces 1.0, 6.3).
fn resolve<'a>(bytes: &'a [u8], seen: &mut AllSeen<'a>, prefixes: &Prefixes) -> Result<(), Malformed> {
    // An attribute without a prefix is in no namespace; a declaration is none that could be meant otherwise.
    seen.retain(|attribute| !matches!(attribute.name.prefix, b"" | b"xmlns"));
    for at in 0..seen.len() {
        let Some((attribute, before)) = seen.get_mut(..=at).and_then(<[_]>::split_last_mut) else {
            break;
        };
        attribute.namespace = namespace(bytes, attribute.name.prefix, prefixes)?;
        if before.iter().any(|other| {
            other.key == attribute.key
                && other.name.local == attribute.name.local
                && other.namespace == attribute.namespace
        }) {
            return Err(Malformed::DuplicateAttribute);
        }
    }
    Ok(())
}

/// The namespace of a prefix that is declared; none is nobody's.
fn namespace<'a>(bytes: &'a [u8], prefix: &[u8], prefixes: &Prefixes) -> Result<&'a [u8], Malformed> {
    match prefix {
        b"" => Ok(b""),
        b"xml" => Ok(tag::XML_NAMESPACE.as_bytes()),
        _ => prefixes
            .resolve(bytes, prefix)
            .map(|namespace| slice(bytes, namespace))
            .ok_or(Malformed::Prefix),
    }
}
