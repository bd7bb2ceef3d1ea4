//! quick-xml's reading of a message, and ours in the same form. A fuzz target shares this file.

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{PrefixDeclaration, ResolveResult};
use quick_xml::reader::NsReader;

use super::{Element, Malformed, Text};

/// All that an element means.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tree {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) text: String,
    pub(super) children: Vec<Tree>,
}

fn meant(text: Text<'_>) -> String {
    let mut bytes = Vec::new();
    text.append_to(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn ours(element: &Element<'_>) -> Tree {
    Tree {
        namespace: element.namespace().to_owned(),
        name: element.name().to_owned(),
        attributes: element
            .attributes()
            .map(|(name, value)| (name.to_owned(), meant(value)))
            .collect(),
        text: meant(element.text()),
        children: element.children().map(|child| ours(&child)).collect(),
    }
}

/// The one element that the bytes are to quick-xml, if they are one.
pub(super) fn theirs(bytes: &[u8]) -> Option<Tree> {
    // It leaves out a byte order mark, and by XML rightly; XMPP has none (RFC 6120, 11.6).
    let text = std::str::from_utf8(bytes).ok()?;
    if text.starts_with('\u{FEFF}') {
        return None;
    }
    let mut reader = NsReader::from_str(text);
    reader.config_mut().enable_all_checks(true);
    reader.config_mut().expand_empty_elements = true;
    let mut open = vec![Tree::default()];
    loop {
        let (namespace, event) = reader.read_resolved_event().ok()?;
        match event {
            Event::Start(start) => {
                let namespace = match namespace {
                    ResolveResult::Bound(namespace) => namespace.as_ref().to_owned(),
                    ResolveResult::Unbound => String::new(),
                    ResolveResult::Unknown(_) => return None,
                };
                open.push(their_start(&reader, namespace, &start)?);
            }
            Event::End(_) => {
                let child = open.pop()?;
                open.last_mut()?.children.push(child);
            }
            Event::Text(text) => open.last_mut()?.text.push_str(&text.xml10_content()),
            Event::CData(text) if open.len() > 1 => open.last_mut()?.text.push_str(&text.xml10_content()),
            Event::GeneralRef(reference) if open.len() > 1 => {
                let text = &mut open.last_mut()?.text;
                match reference.resolve_char_ref().ok()? {
                    Some(c) => text.push(c),
                    None => text.push_str(resolve_predefined_entity(&reference)?),
                }
            }
            Event::Eof => break,
            _ => return None,
        }
    }
    let mut around = open.pop()?;
    let is_one =
        open.is_empty() && around.text.chars().all(|c| " \t\r\n".contains(c)) && around.children.len() == 1;
    around.children.pop().filter(|_| is_one)
}

fn their_start(reader: &NsReader<&[u8]>, namespace: String, start: &BytesStart<'_>) -> Option<Tree> {
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.ok()?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?;
        match attribute.key.as_namespace_binding() {
            Some(PrefixDeclaration::Named(_) | PrefixDeclaration::Default) => continue,
            None => {}
        }
        if let (ResolveResult::Unknown(_), _) = reader.resolver().resolve_attribute(attribute.key) {
            return None;
        }
        attributes.push((attribute.key.as_ref().to_owned(), value.into_owned()));
    }
    Some(Tree {
        namespace,
        name: start.local_name().as_ref().to_owned(),
        attributes,
        ..Tree::default()
    })
}

/// Violations that quick-xml does not look for, or not always.
pub(super) const fn only_we_refuse(malformed: Malformed) -> bool {
    matches!(
        malformed,
        Malformed::Character
            | Malformed::Name
            | Malformed::SectionEnd
            | Malformed::LessThan
            | Malformed::Tag
            | Malformed::DuplicateAttribute
            | Malformed::Namespace
    )
}
