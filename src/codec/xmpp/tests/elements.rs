//! What is read from elements, and where it lies.

use super::*;

const REQUEST: &str = "<iq type='set' id='c1' to='nexus.example' xmlns='jabber:client'>\
    <api xmlns='urn:nexus:1' app='etest' cmd='multiply'>\
    <json xmlns='urn:xmpp:json:0'>{\"num1\":10,\"num2\":5}</json></api></iq>";

#[test]
fn rfc7395_3_3_3_a_request_is_read_where_it_lies() {
    let iq = element(REQUEST);
    assert!(iq.is("jabber:client", "iq") && !iq.is("jabber:server", "iq") && !iq.is("jabber:client", "i"));
    assert_eq!(iq.attribute("type").unwrap().plain(), Some("set"));
    assert!(iq.attribute("from").is_none());
    let api = iq.child("urn:nexus:1", "api").unwrap();
    assert_eq!(api.attribute("cmd").unwrap().plain(), Some("multiply"));
    assert!(iq.child("jabber:client", "api").is_none());
    let json = api.child("urn:xmpp:json:0", "json").unwrap();
    let text = json.text().plain().unwrap();
    assert_eq!(text, "{\"num1\":10,\"num2\":5}");
    assert!(REQUEST.as_bytes().as_ptr_range().contains(&text.as_ptr()));
    assert_eq!(api.inner(), json.outer());
    assert_eq!(iq.outer(), REQUEST);
    assert_eq!(iq.text().plain(), None);
    assert!(iq.text().is_empty());
}

#[test]
fn white_space_around_a_message_is_not_part_of_its_element() {
    let message = element("\r\n <message>x</message>\t");
    assert_eq!(message.outer(), "<message>x</message>");
    assert_eq!(message.inner(), "x");
}

#[test]
fn rfc6120_4_8_2_the_default_namespace_of_the_stream_is_inherited() {
    let message = Element::parse(b"<message><body/><x xmlns='urn:x'/></message>", "jabber:client").unwrap();
    assert_eq!(message.namespace(), "jabber:client");
    assert!(message.child("jabber:client", "body").is_some());
    assert!(message.child("urn:x", "x").is_some());
}

#[test]
fn names6_2_namespaces_are_those_in_scope() {
    let root = element(
        "<a xmlns='u' xmlns:n='v'><n:b><c/></n:b><b xmlns=''><n:c/><c/></b><b xmlns:n='w'><n:c/></b><n:d/><xml:e/></a>",
    );
    let names: Vec<_> = root
        .children()
        .map(|child| (child.namespace(), child.name()))
        .collect();
    let xml = "http://www.w3.org/XML/1998/namespace";
    assert_eq!(names, [("v", "b"), ("", "b"), ("u", "b"), ("v", "d"), (xml, "e")]);
    let inner: Vec<_> = root
        .children()
        .flat_map(|child| child.children())
        .map(|child| (child.namespace(), child.default_namespace(), child.name()))
        .collect();
    assert_eq!(
        inner,
        [("u", "u", "c"), ("v", "", "c"), ("", "", "c"), ("w", "u", "c")]
    );
}

#[test]
fn declarations_of_prefixes_can_be_passed_on() {
    let root = element("<a xmlns='u' b='1' xmlns:n = \"v\" xml:lang='de' xmlns:m='w'><n:b m:c=''/></a>");
    assert_eq!(
        root.declarations().collect::<Vec<_>>(),
        ["xmlns:n = \"v\"", "xmlns:m='w'"]
    );
    let attributes: Vec<_> = root
        .attributes()
        .map(|(name, value)| (name, value.raw()))
        .collect();
    assert_eq!(attributes, [("b", "1"), ("xml:lang", "de")]);
    assert_eq!(root.attribute("xml:lang").unwrap().plain(), Some("de"));
    let declarations: Vec<_> = root.declarations().collect();
    let passed_on = format!("<message {}>{}</message>", declarations.join(" "), root.inner());
    assert_eq!(
        element(&passed_on)
            .child("v", "b")
            .unwrap()
            .attribute("m:c")
            .unwrap()
            .raw(),
        ""
    );
}

#[test]
fn an_attribute_without_a_prefix_is_not_found_by_another_ones_local_name() {
    let root = element("<a xmlns:n='u' n:id='1'/>");
    assert!(root.attribute("id").is_none());
    assert_eq!(root.attribute("n:id").unwrap().plain(), Some("1"));
}

#[test]
fn xml_2_4_references_and_sections_mean_characters() {
    let root = element(
        "<a b='&lt;&#x20AC;&amp;lt;'>1 &lt; 2 &amp;amp; <![CDATA[&lt;]] ]>]]]]>\u{20AC}&#x10FFFF;</a>",
    );
    let text = "1 < 2 &amp; &lt;]] ]>]]\u{20AC}\u{10FFFF}";
    assert_eq!(meant(root.text()), text);
    assert!(root.text().is(text));
    assert!(!root.text().is(&text[..text.len() - 4]) && !root.text().is(&format!("{text}x")));
    assert_eq!(root.text().plain(), None);
    let value = root.attribute("b").unwrap();
    assert_eq!((value.plain(), meant(value)), (None, "<\u{20AC}&lt;".to_owned()));
    assert!(value.is("<\u{20AC}&lt;") && !value.is("<"));
}

#[test]
fn xml_2_11_line_ends_are_one_line_feed() {
    let root = element("<a>1\r\n2\r3\n4\r\r\n5<![CDATA[\r\n\r]]>&#13;\n</a>");
    assert_eq!(meant(root.text()), "1\n2\n3\n4\n\n5\n\n\r\n");
    assert_eq!(element("<a>1\n2\t3</a>").text().plain(), Some("1\n2\t3"));
}

#[test]
fn xml_3_3_3_white_space_in_an_attribute_is_a_space() {
    let root = element("<a b='1\r\n2\r3\n4\t5 6' c='&#13;&#10;&#9;'/>");
    assert_eq!(meant(root.attribute("b").unwrap()), "1 2 3 4 5 6");
    assert_eq!(meant(root.attribute("c").unwrap()), "\r\n\t");
}

#[test]
fn text_is_what_lies_directly_inside() {
    let root = element("<a>1<b c='>' d='/>'>x<c/>&lt;<![CDATA[</b>]]></b>2<e/><![CDATA[<f>]]>3</a>");
    assert_eq!(meant(root.text()), "12<f>3");
    assert!(root.text().is("12<f>3"));
    assert_eq!(meant(root.child("", "b").unwrap().text()), "x<</b>");
    assert_eq!(
        root.children().map(|child| child.name()).collect::<Vec<_>>(),
        ["b", "e"]
    );
}

#[test]
fn an_element_may_be_empty_in_two_ways() {
    for xml in ["<a/>", "<a></a>", "<a />", "<a\n></a\n>"] {
        let root = element(xml);
        assert_eq!(
            (root.inner(), root.text().plain(), root.outer()),
            ("", Some(""), xml)
        );
        assert!(root.text().is_empty() && root.children().next().is_none());
    }
}

#[test]
fn what_is_no_element_is_not_one() {
    for (wrong, expected) in [
        (&b""[..], Malformed::Unclosed),
        (b"x", Malformed::Unclosed),
        (b"<a>", Malformed::Unclosed),
        (b"</a>", Malformed::Outside),
        (b"<n:a/>", Malformed::Prefix),
        (b"<a b/>", Malformed::Tag),
        (b"\xFF", Malformed::Utf8),
    ] {
        assert_eq!(
            Element::parse(wrong, "").map(|found| found.outer().to_owned()),
            Err(expected)
        );
    }
}
