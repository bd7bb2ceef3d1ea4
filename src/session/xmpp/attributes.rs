//! What a plain message takes along to receivers of its own kind: its id, type and children (PROTOCOL section 4,
//! "Plain messages"), as the sender wrote them.
//!
//! Layout: for each of type, id (both unescaped: the quotes around them may be others) and namespace declarations (as
//! they stood in the start tag, quotes included) a length (2 bytes, big endian) and the text; then the raw children.
//! A length of `ABSENT` is an attribute that was not there.

/// The length that stands for an attribute that was not there.
const ABSENT: u16 = u16::MAX;

/// The parts of a message that are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept<'a> {
    /// The value of `type`.
    pub(super) kind: Option<&'a str>,
    /// The value of `id`.
    pub(super) id: Option<&'a str>,
    /// Raw declarations of prefixes, as in the start tag.
    pub(super) declarations: &'a str,
    /// The raw children.
    pub(super) children: &'a str,
}

impl<'a> Kept<'a> {
    /// Reads what [`put_head`] and the caller wrote.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = take(bytes)?;
        let (id, rest) = take(rest)?;
        let (declarations, children) = take(rest)?;
        Some(Self {
            kind,
            id,
            declarations: declarations.unwrap_or_default(),
            children: std::str::from_utf8(children).ok()?,
        })
    }
}

/// Appends the encoding but for the children, which the caller appends after it; false if a part is too long.
pub(super) fn put_head<'d>(
    kind: Option<&str>,
    id: Option<&str>,
    declarations: impl Iterator<Item = &'d str> + Clone,
    to: &mut Vec<u8>,
) -> bool {
    if !put(kind, to) || !put(id, to) {
        return false;
    }
    // Each stands behind a space, as in a start tag.
    let len: usize = declarations.clone().map(|one| 1 + one.len()).sum();
    let Some(len) = u16::try_from(len).ok().filter(|len| *len != ABSENT) else {
        return false;
    };
    to.extend_from_slice(&len.to_be_bytes());
    for one in declarations {
        to.push(b' ');
        to.extend_from_slice(one.as_bytes());
    }
    true
}

fn put(value: Option<&str>, to: &mut Vec<u8>) -> bool {
    let len = match value {
        None => ABSENT,
        Some(value) => match u16::try_from(value.len()) {
            Ok(len) if len != ABSENT => len,
            _ => return false,
        },
    };
    to.extend_from_slice(&len.to_be_bytes());
    to.extend_from_slice(value.unwrap_or_default().as_bytes());
    true
}

fn take(bytes: &[u8]) -> Option<(Option<&str>, &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    let len = u16::from_be_bytes(*len);
    if len == ABSENT {
        return Some((None, rest));
    }
    let (value, rest) = rest.split_at_checked(usize::from(len))?;
    Some((Some(std::str::from_utf8(value).ok()?), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_as_it_went() {
        let all = Kept {
            kind: Some("chat"),
            id: Some("a&amp;b"),
            declarations: " xmlns:x='urn:x' xmlns:y='urn:y'",
            children: "<body>é</body>",
        };
        for kept in [
            all,
            Kept::default(),
            Kept { kind: None, ..all },
            Kept { id: Some(""), ..all },
        ] {
            let mut bytes = Vec::new();
            let declarations = kept.declarations.split(' ').skip(1);
            assert!(put_head(kept.kind, kept.id, declarations, &mut bytes));
            bytes.extend_from_slice(kept.children.as_bytes());
            assert_eq!(Kept::read(&bytes), Some(kept));
        }
    }

    #[test]
    fn an_attribute_that_is_too_long_is_refused_and_garbage_is_none() {
        let id = "i".repeat(usize::from(u16::MAX));
        let none = std::iter::empty();
        assert!(!put_head(None, Some(&id), none, &mut Vec::new()));
        let declaration = format!("xmlns:x='{id}'");
        assert!(!put_head(
            None,
            None,
            [&*declaration].into_iter(),
            &mut Vec::new()
        ));
        for wrong in [&[][..], &[0], &[0, 1], &[0, 0, 0, 0, 0, 0, 0xFF]] {
            assert_eq!(Kept::read(wrong), None);
        }
    }
}
