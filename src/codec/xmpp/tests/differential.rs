//! quick-xml 0.42 as the oracle: what it reads of a whole message, we read; what we refuse, it refuses, but for what
//! it does not look for.
//!
//! Known disagreements, each in [`only_we_refuse`] and with an example below:
//! - It takes any character and, as a name, anything without white space; more than one colon too.
//! - It takes `]]>` in text, `<` in an attribute, and attributes that nothing separates.
//! - It takes an attribute twice if the prefixes are different.
//! - It takes an empty namespace for a prefix, and namespaces written with references as they are written.
//! - A document has comments, instructions, a declaration and a type to it; here, as in XMPP, it may not.
//! - It leaves out a byte order mark before the element, which [`theirs`] refuses for it.
//! - It knows no bounds but one for namespaces.

use proptest::prelude::*;

use super::oracle::{only_we_refuse, ours, theirs};
use super::*;

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
