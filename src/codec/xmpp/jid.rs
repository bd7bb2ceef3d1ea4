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
    /// A part, or a label of the domain, that is empty, or a part longer than 1,023 bytes (RFC 7622, 3.2 to 3.4).
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
        if domain.split('.').any(str::is_empty) {
            return Err(JidError::Length);
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escape(name: &str) -> String {
        let mut out = String::new();
        escape_into(name, &mut out);
        out
    }

    fn unescape(local: &str) -> String {
        let mut out = String::new();
        unescape_into(local, &mut out);
        out
    }

    #[test]
    fn rfc7622_3_1_an_address_is_split_at_the_first_slash_then_at_the_first_at() {
        for (text, local, domain, resource) in [
            ("nexus.example", None, "nexus.example", None),
            ("a@nexus.example", Some("a"), "nexus.example", None),
            ("a@nexus.example/r", Some("a"), "nexus.example", Some("r")),
            ("nexus.example/a@b/c", None, "nexus.example", Some("a@b/c")),
            ("a@b/c@d/e f", Some("a"), "b", Some("c@d/e f")),
            (
                "\u{E9}@\u{FC}.example/\u{20AC} \u{1F600}",
                Some("\u{E9}"),
                "\u{FC}.example",
                Some("\u{20AC} \u{1F600}"),
            ),
            ("a@[2001:db8::1]/r", Some("a"), "[2001:db8::1]", Some("r")),
            ("a\\20b@127.0.0.1", Some("a\\20b"), "127.0.0.1", None),
        ] {
            let jid = Jid {
                local,
                domain,
                resource,
            };
            assert_eq!(Jid::parse(text), Ok(jid));
            assert_eq!(jid.to_string(), text);
            assert_eq!(jid.bare().resource, None);
        }
    }

    #[test]
    fn rfc7622_3_1_a_part_is_not_empty_and_at_most_1023_bytes_long() {
        for text in [
            "", "@", "/", "@b", "a@", "a@b/", "b/", "a@/r", "/r", ".", "a..b", ".b", "b..",
        ] {
            assert_eq!(Jid::parse(text), Err(JidError::Length), "{text}");
        }
        let (most, more) = ("x".repeat(1_023), "x".repeat(1_024));
        assert!(Jid::parse(&format!("{most}@{most}/{most}")).is_ok());
        for text in [
            format!("{more}@b"),
            more.clone(),
            format!("b/{more}"),
            format!("{}@b", "\u{E9}".repeat(512)),
        ] {
            assert_eq!(Jid::parse(&text), Err(JidError::Length));
        }
    }

    #[test]
    fn rfc7622_3_2_a_domain_ends_without_its_dot_and_has_no_case() {
        assert_eq!(
            Jid::parse("a@nexus.example./r").map(|jid| jid.domain),
            Ok("nexus.example")
        );
        assert!(Jid::parse("Nexus.EXAMPLE").unwrap().is_in("nexus.example"));
        assert!(!Jid::parse("nexus.example").unwrap().is_in("example"));
        for text in ["a@b@c", "b c", "b\tc", "b<c", "b\0"] {
            assert_eq!(Jid::parse(text), Err(JidError::Character), "{text}");
        }
    }

    #[test]
    fn rfc7622_3_3_1_a_localpart_has_none_of_eight_characters_nor_white_space() {
        for c in "\"&':<> \t\n\0\u{7F}\u{A0}\u{2003}\u{3000}".chars() {
            assert_eq!(Jid::parse(&format!("a{c}@b")), Err(JidError::Character), "{c:?}");
        }
        assert_eq!(
            Jid::parse("!#$%()*+,-.;=?[\\]^_`{|}~09azAZ@b").map(|jid| jid.domain),
            Ok("b")
        );
    }

    #[test]
    fn rfc7622_3_4_a_resource_has_no_controls() {
        for c in "\0\t\n\u{7F}\u{85}".chars() {
            assert_eq!(
                Jid::parse(&format!("a@b/r{c}")),
                Err(JidError::Character),
                "{c:?}"
            );
        }
        assert_eq!(
            Jid::parse("a@b/\"&'/:<>@ \\").map(|jid| jid.resource),
            Ok(Some("\"&'/:<>@ \\"))
        );
    }

    /// The examples of XEP-0106, sections 4 and 5, and those of its table.
    #[test]
    fn xep0106_4_escaped_as_its_examples_are() {
        for (name, local) in [
            ("space cadet", "space\\20cadet"),
            ("call me \"ishmael\"", "call\\20me\\20\\22ishmael\\22"),
            ("at&t guy", "at\\26t\\20guy"),
            ("d'artagnan", "d\\27artagnan"),
            ("/.fanboy", "\\2f.fanboy"),
            ("::foo::", "\\3a\\3afoo\\3a\\3a"),
            ("<foo>", "\\3cfoo\\3e"),
            ("user@host", "user\\40host"),
            ("c:\\net", "c\\3a\\net"),
            ("c:\\\\net", "c\\3a\\\\net"),
            ("c:\\cool stuff", "c\\3a\\cool\\20stuff"),
            ("c:\\5commas", "c\\3a\\5c5commas"),
            ("\\3and\\2is\\5cool", "\\5c3and\\2is\\5c5cool"),
            ("plant/7/alarm", "plant\\2f7\\2falarm"),
        ] {
            assert_eq!(escape(name), local);
            assert_eq!(unescape(local), name);
        }
    }

    #[test]
    fn xep0106_4_what_is_no_sequence_is_not_unescaped() {
        for local in [
            "\\",
            "a\\",
            "\\2",
            "\\21",
            "\\2F",
            "\\3A",
            "\\\\",
            "\\5",
            "\\\u{E9}0",
        ] {
            assert_eq!(unescape(local), local);
        }
        assert_eq!(unescape("\\\\20"), "\\ ");
        assert_eq!(unescape("\\5c20"), "\\20");
    }

    proptest! {
        #[test]
        fn a_name_is_a_localpart_and_back(
            name in prop_oneof![
                any::<String>(),
                prop::collection::vec(
                    prop::sample::select(&["\\", "2", "0", "5", "c", "f", "\\5c", "\\20", "/", " ", "@", "\u{E9}"][..]), 1..12)
                    .prop_map(|parts| parts.concat()),
            ],
        ) {
            let local = escape(&name);
            prop_assert_eq!(unescape(&local), name.as_str());
            let plain = !name.is_empty() && !name.contains(|c: char| c.is_control() || (c.is_whitespace() && c != ' '));
            if plain && local.len() <= JID_PART_BYTES_MAX {
                let address = format!("{local}@b");
                prop_assert_eq!(Jid::parse(&address).map(|jid| jid.local), Ok(Some(local.as_str())));
            }
        }

        #[test]
        fn an_address_is_what_is_written_of_it(text in "[a-c@/. \\\\\u{E9}]{0,12}|\\PC{0,12}") {
            if let Ok(jid) = Jid::parse(&text) {
                let written = jid.to_string();
                prop_assert_eq!(Jid::parse(&written), Ok(jid));
                prop_assert!(written.len() + 1 >= text.len());
            }
        }
    }
}
