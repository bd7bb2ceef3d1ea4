//! Floods: everything that could cost more than the bytes it takes.
//!
//! Each comes byte by byte, a mebibyte of it: work that grew with what is there already would not end.

use super::*;
use crate::limits::STANZA_BYTES_MAX;

/// What repeats until the bound is reached, or until it is refused.
#[track_caller]
fn flood(before: &str, repeated: &str, expected: Malformed) {
    let mut bytes = before.as_bytes().to_vec();
    while bytes.len() < STANZA_BYTES_MAX {
        bytes.extend_from_slice(repeated.as_bytes());
    }
    let bounds = Bounds::default();
    let whole = read(&bytes, [], &bounds);
    assert_eq!(
        (whole.refused, whole.elements.len()),
        (Some(expected), 0),
        "{repeated}"
    );
    assert_eq!(read(&bytes, 1..bytes.len(), &bounds), whole, "{repeated}");
}

#[test]
fn nesting_ends_at_its_bound() {
    flood("", "<a>", Malformed::TooDeep);
    flood("", "<a xmlns:n='u'>", Malformed::TooManyPrefixes);
}

#[test]
fn what_never_ends_is_refused_where_the_bound_is() {
    for (before, repeated) in [
        ("", " "),
        ("<a", " "),
        ("<", "a"),
        ("<a ", "b"),
        ("<a b='", "'"),
        ("<a b='", ">"),
        ("<a b='", "&lt;"),
        ("<a>", "x"),
        ("<a>", "]"),
        ("<a>", "\u{20AC}"),
        ("<a>", "&lt;"),
        ("<a>&", "l"),
        ("<a>&#x", "0"),
        ("<a><c>", "<b/>"),
        ("<a><c>", "<b></b>"),
        ("<a></", "a"),
        ("<a></a", " "),
        ("<a><![CDATA[", "]"),
        ("<a><![CDATA[", ">"),
        ("<a>", "<![CDATA[]]>"),
    ] {
        flood(before, repeated, Malformed::TooLarge);
    }
}

#[test]
fn children_end_at_their_bound_and_what_is_in_them_does_not_count() {
    let some = "<b><c/></b>".repeat(crate::limits::XMPP_CHILDREN_MAX);
    is_taken(&format!("<a>{some}</a>"));
    is_refused(format!("<a>{some}<b/></a>"), Malformed::TooManyChildren);
    flood("<a>", "<b/>", Malformed::TooManyChildren);
    is_taken(&format!("<a><b>{}</b></a>", "<c/>".repeat(1_000)));
}

/// A short prefix behind long ones: they are passed over by their length.
#[test]
fn a_prefix_is_found_among_long_ones() {
    let long: String = (0..15)
        .map(|i| format!(" xmlns:{}{i:02}='u'", "p".repeat(240)))
        .collect();
    let xml = format!("<x xmlns:a='urn:a'{long}><a:b/></x>");
    is_taken(&xml);
    let element = whole_element(&xml);
    assert!(element.child("urn:a", "b").is_some());
}

#[test]
fn attributes_and_names_end_at_their_bounds() {
    let bounds = Bounds::default();
    let many: String = (0..65).map(|i| format!(" a{i}=''")).collect();
    is_refused(format!("<a{many}/>"), Malformed::TooManyAttributes);
    let long = "n".repeat(STANZA_BYTES_MAX - 10);
    for xml in [format!("<{long}/>"), format!("<a {long}=''/>")] {
        assert_eq!(frame_whole(xml.as_bytes(), &bounds), Err(Malformed::NameTooLong));
    }
    is_taken(&format!("<{name} {name}=''></{name}>", name = "n".repeat(256)));
    is_refused(format!("<{}/>", "n".repeat(257)), Malformed::NameTooLong);
}

/// A start tag with as many attributes and prefixes as it may have, again and again.
#[test]
fn attributes_under_many_prefixes_cost_little() {
    let declared: String = (0..16).map(|i| format!(" xmlns:n{i}='{i}'")).collect();
    let many: String = (0..64).map(|i| format!(" n{}:a{}=''", i % 16, i / 16)).collect();
    let mut xml = format!("<a{declared}><c>");
    while xml.len() < STANZA_BYTES_MAX - 1_024 {
        xml.push_str("<n0:b");
        xml.push_str(&many);
        xml.push_str("/>");
    }
    xml.push_str("</c></a>");
    assert_eq!(frame_whole(xml.as_bytes(), &Bounds::default()), Ok(()));
    let element = Element::parse(xml.as_bytes(), "").unwrap();
    let element = element.children().next().unwrap();
    assert!(element.children().count() > 1_000);
    assert!(element.child("0", "c").is_none());
}

/// References make text shorter, never longer.
#[test]
fn references_do_not_expand() {
    let xml = format!("<a>{}</a>", "&#65;&amp;<![CDATA[&amp;]]>".repeat(10_000));
    let element = whole_element(&xml);
    assert_eq!(meant(element.text()), "A&&amp;".repeat(10_000));
}

fn whole_element(xml: &str) -> Element<'_> {
    assert_eq!(frame_whole(xml.as_bytes(), &Bounds::default()), Ok(()));
    Element::parse(xml.as_bytes(), "").unwrap()
}

#[test]
fn an_idle_connection_costs_nothing() {
    assert!(size_of::<Framer>() <= 32);
    assert!(!format!("{:?}", Framer::default()).contains("Some"));
}
