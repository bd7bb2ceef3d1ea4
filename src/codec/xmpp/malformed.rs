//! What a client's XML may not be.

use std::fmt;

/// Why bytes are not, and cannot become, an element that is taken. All of it ends the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// Bytes that are not UTF-8 (RFC 6120, 11.6).
    Utf8,
    /// A character that XML 1.0 does not have (2.2), also by its number.
    Character,
    /// A document type declaration (RFC 6120, 11.1).
    Doctype,
    /// A processing instruction (RFC 6120, 11.1) or an XML declaration (RFC 7395, 3.3.3).
    Instruction,
    /// A comment (RFC 6120, 11.1).
    Comment,
    /// A reference to anything but one of the five predefined entities or a character (RFC 6120, 11.1).
    Reference,
    /// Something other than white space between elements (RFC 6120, 11.7).
    Outside,
    /// `]]>` in character data (XML 1.0, 2.4).
    SectionEnd,
    /// A tag or section that XML has not (XML 1.0, 2.7, 3.1).
    Tag,
    /// What is not a name that every parser knows, or not one of the form of namespaces (Namespaces 1.0, 4).
    Name,
    /// `<` in the value of an attribute (XML 1.0, 3.1).
    LessThan,
    /// An attribute that its element has already, also under another prefix (Namespaces 1.0, 6.3).
    DuplicateAttribute,
    /// A prefix that nothing declares (Namespaces 1.0, 5).
    Prefix,
    /// A declaration of a prefix or a namespace that must not be declared so (Namespaces 1.0, 3), or of a
    /// namespace that is written with references.
    Namespace,
    /// An end tag of another element than the one that is open (XML 1.0, 3).
    Mismatched,
    /// A message that ends before its element does (RFC 7395, 3.3.3).
    Unclosed,
    /// A message that goes on after its element (RFC 7395, 3.3.3).
    Leftover,
    /// More bytes than are taken.
    TooLarge,
    /// More elements inside one another than are taken.
    TooDeep,
    /// A name longer than is taken.
    NameTooLong,
    /// More attributes than are taken.
    TooManyAttributes,
    /// More prefixes than are taken.
    TooManyPrefixes,
    /// More elements directly inside the outermost than are taken.
    TooManyChildren,
}

impl Malformed {
    /// All values, in order.
    pub const ALL: &'static [Self] = &[
        Self::Utf8,
        Self::Character,
        Self::Doctype,
        Self::Instruction,
        Self::Comment,
        Self::Reference,
        Self::Outside,
        Self::SectionEnd,
        Self::Tag,
        Self::Name,
        Self::LessThan,
        Self::DuplicateAttribute,
        Self::Prefix,
        Self::Namespace,
        Self::Mismatched,
        Self::Unclosed,
        Self::Leftover,
        Self::TooLarge,
        Self::TooDeep,
        Self::NameTooLong,
        Self::TooManyAttributes,
        Self::TooManyPrefixes,
        Self::TooManyChildren,
    ];

    /// What is wrong, for people and for counters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 => "not UTF-8",
            Self::Character => "not a character of XML",
            Self::Doctype => "document type declaration",
            Self::Instruction => "processing instruction",
            Self::Comment => "comment",
            Self::Reference => "reference to an entity",
            Self::Outside => "text outside of an element",
            Self::SectionEnd => "end of a section in text",
            Self::Tag => "not a tag",
            Self::Name => "not a name",
            Self::LessThan => "less-than sign in an attribute",
            Self::DuplicateAttribute => "duplicate attribute",
            Self::Prefix => "undeclared prefix",
            Self::Namespace => "invalid namespace declaration",
            Self::Mismatched => "mismatched end tag",
            Self::Unclosed => "element not closed",
            Self::Leftover => "more than one element",
            Self::TooLarge => "element too large",
            Self::TooDeep => "element too deep",
            Self::NameTooLong => "name too long",
            Self::TooManyAttributes => "too many attributes",
            Self::TooManyPrefixes => "too many prefixes",
            Self::TooManyChildren => "too many children",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for Malformed {}
