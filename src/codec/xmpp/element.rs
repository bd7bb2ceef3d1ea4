//! Elements as they lie in the bytes.

use std::fmt;
use std::ops::Range;

use super::tag::{self, Attribute, Lexer, Markup, Prefixes, SPACE, slice};
use super::{Malformed, Text};

/// An element that a [`super::Framer`] found, or one inside it. Nothing is copied: names, text and what it contains
/// are read where they lie.
///
/// Of bytes that no framer let pass, it may say anything that stands in them.
#[derive(Clone, Copy)]
pub struct Element<'a> {
    /// The outermost element: where the prefixes in scope are declared.
    root: &'a str,
    /// The default namespace inside the element.
    default: &'a str,
    namespace: &'a str,
    /// Where the element begins in `root`.
    start: u32,
    /// Where its name ends.
    name_end: u32,
    /// Where the `>` or `/>` of its start tag begins.
    attributes_end: u32,
    inner_start: u32,
    inner_end: u32,
    end: u32,
    prefixes: Prefixes,
}

impl<'a> Element<'a> {
    /// The element in `frame`, white space around it left out. `inherited_namespace` is the default namespace where
    /// the element stands; nothing, where it stands alone (RFC 7395, 3.3.3).
    pub fn parse(frame: &'a [u8], inherited_namespace: &'a str) -> Result<Self, Malformed> {
        let root = std::str::from_utf8(frame)
            .map_err(|_| Malformed::Utf8)?
            .trim_matches(SPACE);
        // A framer has seen that the last end tag is its own.
        let end = |bytes: &[u8], inner_start| {
            let at = memchr::memrchr(b'<', bytes)?;
            let tag = slice(bytes, at..bytes.len());
            let is_end = at >= inner_start && tag.starts_with(b"</") && tag.ends_with(b">");
            is_end.then_some((at, bytes.len()))
        };
        Self::open(root, 0, inherited_namespace, &Prefixes::NONE, end)
    }

    /// The element that begins at `start`; `content_end` finds where its content and its end tag end.
    fn open(
        root: &'a str,
        start: usize,
        default: &'a str,
        prefixes: &Prefixes,
        content_end: impl Fn(&[u8], usize) -> Option<(usize, usize)>,
    ) -> Result<Self, Malformed> {
        let bytes = root.as_bytes();
        let (Markup::Start { is_empty }, inner_start) =
            tag::markup(bytes, start).ok_or(Malformed::Unclosed)?
        else {
            return Err(Malformed::Outside);
        };
        let attributes_end = inner_start - if is_empty { 2 } else { 1 };
        let (inner_end, end) = if is_empty {
            (inner_start, inner_start)
        } else {
            content_end(bytes, inner_start).ok_or(Malformed::Unclosed)?
        };
        let name_end = tag::name_end(slice(bytes, 0..attributes_end), start + 1);
        let offset = |at| u32::try_from(at).map_err(|_| Malformed::TooLarge);
        let mut element = Self {
            root,
            default,
            namespace: "",
            start: offset(start)?,
            name_end: offset(name_end)?,
            attributes_end: offset(attributes_end)?,
            inner_start: offset(inner_start)?,
            inner_end: offset(inner_end)?,
            end: offset(end)?,
            prefixes: *prefixes,
        };
        element.declare()?;
        Ok(element)
    }

    /// Takes the declarations of the start tag into scope.
    fn declare(&mut self) -> Result<(), Malformed> {
        for attribute in self.lexer() {
            let attribute = attribute?;
            let name = slice(self.root.as_bytes(), attribute.name.clone());
            if name == b"xmlns" {
                self.default = self.str(attribute.value);
            } else if name.starts_with(b"xmlns:") {
                self.prefixes.declare(attribute.name)?;
            }
        }
        self.namespace = match tag::split_name(self.qualified_name().as_bytes()).0 {
            b"" => self.default,
            b"xml" => tag::XML_NAMESPACE,
            prefix => {
                let namespace = self.prefixes.resolve(self.root.as_bytes(), prefix);
                self.str(namespace.ok_or(Malformed::Prefix)?)
            }
        };
        Ok(())
    }

    fn lexer(&self) -> Lexer<'a> {
        let (start, end) = (self.name_end as usize, self.attributes_end as usize);
        Lexer::new(self.root.as_bytes(), start, end)
    }

    fn str(&self, range: Range<usize>) -> &'a str {
        self.root.get(range).unwrap_or_default()
    }

    fn qualified_name(&self) -> &'a str {
        self.str(self.start as usize + 1..self.name_end as usize)
    }

    /// The name without its prefix.
    pub fn name(&self) -> &'a str {
        let name = self.qualified_name();
        name.split_once(':').map_or(name, |(_, local)| local)
    }

    /// The namespace it is in.
    pub const fn namespace(&self) -> &'a str {
        self.namespace
    }

    /// The namespace of names without a prefix inside it.
    pub const fn default_namespace(&self) -> &'a str {
        self.default
    }

    /// Whether it is the element of this name in this namespace.
    pub fn is(&self, namespace: &str, name: &str) -> bool {
        self.name() == name && self.namespace == namespace
    }

    /// The value of the attribute of this name; one with a prefix as it is written, like `xml:lang`.
    pub fn attribute(&self, name: &str) -> Option<Text<'a>> {
        self.attributes()
            .find_map(|(other, value)| (other == name).then_some(value))
    }

    /// The attributes, as they are written and without declarations of namespaces.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes {
            root: self.root,
            lexer: self.lexer(),
        }
    }

    /// The declarations of prefixes in its start tag, as they are written: `xmlns:x='…'`.
    pub fn declarations(&self) -> Declarations<'a> {
        Declarations {
            root: self.root,
            lexer: self.lexer(),
        }
    }

    /// The elements directly inside it.
    pub const fn children(&self) -> Children<'a> {
        Children {
            parent: *self,
            at: self.inner_start as usize,
        }
    }

    /// The first element of this name directly inside it.
    pub fn child(&self, namespace: &str, name: &str) -> Option<Self> {
        self.children().find(|child| child.is(namespace, name))
    }

    /// The character data directly inside it.
    pub fn text(&self) -> Text<'a> {
        Text::of_element(self.inner())
    }

    /// All that is between its tags, as it is written.
    pub fn inner(&self) -> &'a str {
        self.str(self.inner_start as usize..self.inner_end as usize)
    }

    /// The element as it is written.
    pub fn outer(&self) -> &'a str {
        self.str(self.start as usize..self.end as usize)
    }
}

impl fmt::Debug for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Element")
            .field("namespace", &self.namespace)
            .field("outer", &self.outer())
            .finish_non_exhaustive()
    }
}

/// The elements directly inside another, in order.
#[derive(Clone, Debug)]
pub struct Children<'a> {
    parent: Element<'a>,
    at: usize,
}

impl<'a> Children<'a> {
    fn find_next(&self) -> Option<Element<'a>> {
        let (root, end) = (self.parent.root, self.parent.inner_end as usize);
        let bytes = root.as_bytes().get(..end)?;
        let mut at = self.at;
        loop {
            at += memchr::memchr(b'<', bytes.get(at..)?)?;
            let (markup, end) = tag::markup(bytes, at)?;
            match markup {
                Markup::Section => at = end,
                Markup::End => return None,
                Markup::Start { .. } => break,
            }
        }
        Element::open(
            root,
            at,
            self.parent.default,
            &self.parent.prefixes,
            tag::content_end,
        )
        .ok()
    }
}

impl<'a> Iterator for Children<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let child = self.find_next();
        self.at = child.map_or(self.parent.inner_end, |child| child.end) as usize;
        child
    }
}

/// The attributes of an element in order: names as they are written, and values.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    root: &'a str,
    lexer: Lexer<'a>,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (&'a str, Text<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Attribute { name, value } = self.lexer.next()?.ok()?;
            let name = self.root.get(name)?;
            if name != "xmlns" && !name.starts_with("xmlns:") {
                return Some((name, Text::of_attribute(self.root.get(value)?)));
            }
        }
    }
}

/// The declarations of prefixes in a start tag, in order.
#[derive(Clone, Debug)]
pub struct Declarations<'a> {
    root: &'a str,
    lexer: Lexer<'a>,
}

impl<'a> Iterator for Declarations<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Attribute { name, value } = self.lexer.next()?.ok()?;
            let attribute = self.root.get(name.start..value.end + 1)?;
            if attribute.starts_with("xmlns:") {
                return Some(attribute);
            }
        }
    }
}
