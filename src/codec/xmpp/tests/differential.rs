//! quick-xml 0.42 as the oracle: what it reads of a whole message, we read; what we refuse, it refuses, but for what
//! it does not look for.
//!
//! Known disagreements, each in [`only_we_refuse`] or at its test:
//! - It takes any character and, as a name, anything without white space; more than one colon too.
//! - It takes `]]>` in text, `<` in an attribute, and attributes that nothing separates.
//! - It takes an attribute twice if the prefixes are different.
//! - It takes an empty namespace for a prefix, and namespaces written with references as they are written.
//! - A document has comments, instructions, a declaration and a type to it; here, as in XMPP, it may not.
//! - It knows no bounds but one for namespaces.

use proptest::prelude::*;
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{PrefixDeclaration, ResolveResult};
use quick_xml::reader::NsReader;

use super::*;

/// All that an element means.
#[derive(Debug, Default, PartialEq)]
struct Tree {
    namespace: String,
    name: String,
    attributes: Vec<(String, String)>,
    text: String,
    children: Vec<Tree>,
}

fn ours(element: &Element<'_>) -> Tree {
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
fn theirs(bytes: &[u8]) -> Option<Tree> {
    let mut reader = NsReader::from_str(std::str::from_utf8(bytes).ok()?);
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
const fn only_we_refuse(malformed: Malformed) -> bool {
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

fn agrees(bytes: &[u8]) -> Result<(), TestCaseError> {
    let verdict = frame_whole(bytes, &Bounds::default());
    let theirs = theirs(bytes);
    match verdict {
        Ok(()) => {
            let element = Element::parse(bytes, "").unwrap();
            prop_assert_eq!(Some(ours(&element)), theirs);
        }
        Err(malformed) => prop_assert!(
            theirs.is_none() || only_we_refuse(malformed),
            "{malformed:?} {theirs:?}"
        ),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8_192))]

    #[test]
    fn quick_xml_reads_the_same(bytes in prop_oneof![
        generate::element().prop_map(String::into_bytes),
        generate::nearly(),
        generate::jumble(),
    ]) {
        agrees(&bytes)?;
    }
}

#[test]
fn quick_xml_takes_what_it_does_not_look_for() {
    for (xml, malformed) in [
        ("<a>\u{1}</a>", Malformed::Character),
        ("<a>&#1;</a>", Malformed::Character),
        ("<1/>", Malformed::Name),
        ("<a b!=''/>", Malformed::Name),
        ("<a:b:c xmlns:a='u'/>", Malformed::Name),
        ("<a>]]></a>", Malformed::SectionEnd),
        ("<a b='<'/>", Malformed::LessThan),
        ("<a b=''c=''/>", Malformed::Tag),
        (
            "<a xmlns:n='u' xmlns:m='u' n:b='' m:b=''/>",
            Malformed::DuplicateAttribute,
        ),
        ("<a xmlns='u&amp;v'/>", Malformed::Namespace),
    ] {
        assert_eq!(
            frame_whole(xml.as_bytes(), &Bounds::default()),
            Err(malformed),
            "{xml}"
        );
        assert!(theirs(xml.as_bytes()).is_some(), "{xml}");
        assert!(only_we_refuse(malformed));
    }
}
