//! What is refused, clause by clause, and what stands close to it and is taken.

use super::*;

#[test]
fn rfc6120_11_1_document_types_instructions_and_comments_are_refused() {
    is_refused("<!DOCTYPE a><a/>", Malformed::Doctype);
    is_refused("<a><!DOCTYPE a></a>", Malformed::Doctype);
    is_refused("<?php ?><a/>", Malformed::Instruction);
    is_refused("<a><?php ?></a>", Malformed::Instruction);
    is_refused("<!-- --><a/>", Malformed::Comment);
    is_refused("<a><!-- --></a>", Malformed::Comment);
    is_taken("<a>&lt;!-- &lt;?php <![CDATA[<!-- --><!DOCTYPE a><?php ?>]]></a>");
}

#[test]
fn rfc7395_3_3_3_an_xml_declaration_is_refused() {
    is_refused("<?xml version='1.0'?><a/>", Malformed::Instruction);
}

#[test]
fn rfc6120_11_1_only_predefined_entities_and_characters_are_referred_to() {
    is_taken("<a b='&lt;&gt;&amp;&apos;&quot;'>&lt;&gt;&amp;&apos;&quot;</a>");
    is_taken("<a b='&#9;&#x10FFFF;&#xfffd;'>&#65;&#x0000000000000041;&#10;&#13;</a>");
    for wrong in [
        "&nbsp;", "&", "& ", "&;", "&lt", "&lt ;", "&LT;", "&a&lt;", "&#;", "&#x;", "&#a;", "&#xg;",
        "&#X41;", "&#-1;", "&#+65;", "&#1_0;", "&%p;", "&\u{E9};",
    ] {
        is_refused(format!("<a>{wrong}</a>"), Malformed::Reference);
        is_refused(format!("<a b='{wrong}'/>"), Malformed::Reference);
        is_refused(format!("<a b=\"x{wrong}x\"/>"), Malformed::Reference);
    }
}

#[test]
fn rfc6120_11_6_what_is_not_utf_8_is_refused() {
    for wrong in [
        &b"\xFF"[..],
        b"\xC3",
        b"\xC3(",
        b"\xE2\x82",
        b"\xED\xA0\x80",
        b"\xC0\x80",
        b"\xF4\x90\x80\x80",
    ] {
        is_refused([b"<a>", wrong, b"</a>"].concat(), Malformed::Utf8);
        is_refused([b"<a>", wrong, b"&lt;</a>"].concat(), Malformed::Utf8);
        is_refused([b"<a><![CDATA[", wrong, b"]]></a>"].concat(), Malformed::Utf8);
        is_refused([b"<a b='", wrong, b"'/>"].concat(), Malformed::Utf8);
        is_refused([b"<", wrong, b"/>"].concat(), Malformed::Utf8);
    }
    is_taken(
        "<a b='\u{E9}\u{20AC}\u{10FFFF}'>\u{E9}\u{20AC}\u{10FFFF}]<![CDATA[\u{E9}]\u{20AC}]]\u{10FFFF}]]></a>",
    );
}

#[test]
fn rfc6120_11_6_a_byte_order_mark_is_text_before_the_element() {
    is_refused("\u{FEFF}<a/>", Malformed::Outside);
}

#[test]
fn xml_2_2_what_is_no_character_of_xml_is_refused() {
    for wrong in [
        "\0", "\u{1}", "\u{8}", "\u{B}", "\u{C}", "\u{E}", "\u{1F}", "\u{FFFE}", "\u{FFFF}",
    ] {
        is_refused(format!("<a>{wrong}</a>"), Malformed::Character);
        is_refused(
            format!("<a><![CDATA[\u{FFFD}{wrong}]]></a>"),
            Malformed::Character,
        );
        is_refused(format!("<a b='{wrong}'/>"), Malformed::Character);
        is_refused(format!("<a{wrong}/>"), Malformed::Character);
    }
    for number in [
        "0",
        "8",
        "11",
        "31",
        "xB",
        "x1F",
        "xD800",
        "xDFFF",
        "xFFFE",
        "xFFFF",
        "x110000",
        "99999999999",
    ] {
        is_refused(format!("<a>&#{number};</a>"), Malformed::Character);
        is_refused(format!("<a b='&#{number};'/>"), Malformed::Character);
    }
    is_taken("<a b=' \u{7F}\u{80}'>\t\r\n \u{7F}\u{85}\u{D7FF}\u{E000}\u{FFFD}\u{10000}\u{1FFFE}</a>");
}

/// The first thing that is wrong is told, not the first that is looked for.
#[test]
fn of_two_things_wrong_the_first_is_told() {
    is_refused(b"<a>]]>\x01\xFF</a>", Malformed::SectionEnd);
    is_refused(b"<a>\x01]]>\xFF</a>", Malformed::Character);
    is_refused(b"<a>\xFF\x01]]></a>", Malformed::Utf8);
    is_refused(b"<a><![CDATA[\x01\xFF]]></a>", Malformed::Character);
    is_refused(b"<a>\xC3]]></a>", Malformed::Utf8);
}

#[test]
fn xml_2_4_the_end_of_a_section_may_not_stand_in_text() {
    is_refused("<a>]]></a>", Malformed::SectionEnd);
    is_refused("<a>x]]]>y</a>", Malformed::SectionEnd);
    is_refused("<a>&lt;]]></a>", Malformed::SectionEnd);
    is_taken("<a>]] > ]]&gt; ] ]> >]]</a>");
    is_taken("<a>]]<![CDATA[>]]></a>");
    is_taken("<a b=']]>'/>");
}

#[test]
fn xml_2_7_sections_are_taken_inside_of_elements() {
    is_taken("<a><![CDATA[]]></a>");
    is_taken("<a><![CDATA[]]]]><![CDATA[>]]></a>");
    is_taken("<a><![CDATA[</a>&]] ]>]]]]]></a>");
    is_refused("<![CDATA[]]><a/>", Malformed::Outside);
    is_refused("<a><![cdata[]]></a>", Malformed::Tag);
    is_refused("<a><![CDATA []]></a>", Malformed::Tag);
    is_refused("<a><!ELEMENT a></a>", Malformed::Tag);
    is_refused("<a><!></a>", Malformed::Tag);
    let open = read_in_all_pieces(b"<a><![CDATA[]]</a>", &Bounds::default());
    assert!(open.broke_off);
}

#[test]
fn xml_3_tags_are_closed_by_their_name() {
    is_taken("<a></a>");
    is_taken("<a\n></a \t\r\n>");
    is_taken("<a><a></a><b/></a>");
    for wrong in [
        "<a></b>",
        "<a></aa>",
        "<ab></a>",
        "<a></A>",
        "<a></ a>",
        "<a></>",
        "<a></a/>",
        "<a></a\u{C}>",
        "<a></a b='c'>",
        "<a b='c'></a b='c'>",
        "<a><b></a></b>",
        "<n:a xmlns:n='u' xmlns:m='u'></m:a>",
    ] {
        is_refused(wrong, Malformed::Mismatched);
    }
    is_refused("<a></a<b/>", Malformed::Tag);
    is_refused("</a>", Malformed::Outside);
    is_refused("<a/></a>", Malformed::Outside);
}

#[test]
fn xml_3_1_attributes_are_quoted_and_apart() {
    is_taken("<a b='\"' c = \"'\"\r\n\td\n=\t'>'/>");
    for wrong in [
        "<a b/>",
        "<a b=/>",
        "<a b=c/>",
        "<a b='c'd='e'/>",
        "<a b='c' d/>",
        "<a =''/>",
        "<a b='c'/ >",
        "<a b==''/>",
        "<a 'b'/>",
        "<a <b/>",
        "<a b='c'<>",
        "<a='b'/>",
        "<a b 'c'/>",
        "<a b='c'' />>'/>",
    ] {
        let found = read_in_all_pieces(wrong.as_bytes(), &Bounds::default()).refused;
        assert!(
            matches!(found, Some(Malformed::Tag | Malformed::Name)),
            "{wrong} {found:?}"
        );
    }
    is_refused("<a b='<'/>", Malformed::LessThan);
    is_refused("<a b=\"x<y\"/>", Malformed::LessThan);
}

#[test]
fn xml_3_1_an_attribute_stands_once() {
    is_refused("<a b='' c='' b=''/>", Malformed::DuplicateAttribute);
    is_refused("<a xmlns='u' xmlns='u'/>", Malformed::DuplicateAttribute);
    is_refused("<a xmlns:n='u' xmlns:n='v'/>", Malformed::DuplicateAttribute);
    is_taken("<a b='' B=''/>");
}

#[test]
fn names6_3_an_attribute_stands_once_under_any_prefix() {
    is_refused(
        "<a xmlns:n='u' xmlns:m='u' n:b='' m:b=''/>",
        Malformed::DuplicateAttribute,
    );
    is_refused(
        "<a xmlns:n='u'><b xmlns:m='u' m:b='' c='' n:b=''/></a>",
        Malformed::DuplicateAttribute,
    );
    is_taken("<a xmlns='u' xmlns:n='u' b='' n:b=''/>");
    is_taken("<a xmlns:n='u' xmlns:m='v' n:b='' m:b=''/>");
    is_taken("<a xmlns:n='u' xmlns:m='u'><b xmlns:m='v' n:b='' m:b=''/></a>");
    is_taken("<a xmlns:n='u' xmlns:m='v' n:n='' m:m=''/>");
}

#[test]
fn xml_2_3_names_are_names() {
    is_taken("<_a.b-1 c\u{B7}='' \u{E9}t\u{E9}=''/>");
    is_taken("<\u{4E00}/>");
    for wrong in [
        "<1/>",
        "<-a/>",
        "<.a/>",
        "<\u{B7}a/>",
        // Of the fifth edition alone.
        "<\u{10000}/>",
        "<\u{20AC}/>",
        "<a\u{D7}/>",
        "<a a!=''/>",
        "<a\u{2000}/>",
        "< a/>",
        "</ >",
        "<>",
        "</>",
        "<//>",
        "<a 1=''/>",
        "<a\u{A0}b=''/>",
        "<@/>",
    ] {
        let found = read_in_all_pieces(wrong.as_bytes(), &Bounds::default()).refused;
        let expected = if wrong.starts_with("</") {
            Malformed::Outside
        } else {
            Malformed::Name
        };
        assert_eq!(found, Some(expected), "{wrong}");
    }
}

#[test]
fn names4_a_name_has_at_most_one_colon_inside() {
    for wrong in [
        "<:a/>",
        "<a:/>",
        "<:/>",
        "<a:b:c/>",
        "<a b:=''/>",
        "<a :b=''/>",
        "<a xmlns:=''/>",
        "<a xmlns:b:c=''/>",
        "<a:1 xmlns:a='u'/>",
    ] {
        is_refused(wrong, Malformed::Name);
    }
}

#[test]
fn names5_prefixes_are_declared_in_scope() {
    is_taken("<n:a xmlns:n='u'><n:b n:c=''/></n:a>");
    is_taken("<a xml:lang='de'><xml:b/></a>");
    is_taken("<a n:b='' xmlns:n='u'/>");
    is_taken("<a><b xmlns:n='u'><n:c/></b><b xmlns:n='u'/></a>");
    for wrong in [
        "<n:a/>",
        "<a n:b=''/>",
        "<a><b xmlns:n='u'/><n:b/></a>",
        "<a><b xmlns:n='u'></b><n:b/></a>",
        "<a xmlns:nn='u'><n:b/></a>",
        "<a xmlns:n='u'><nn:b/></a>",
        "<a xmlns:n='u'><N:b/></a>",
        "<xmlns:a/>",
    ] {
        is_refused(wrong, Malformed::Prefix);
    }
    // The next element inherits nothing.
    is_refused("<a xmlns:n='u'/><n:b/>", Malformed::Prefix);
}

#[test]
fn names3_reserved_prefixes_and_namespaces_are_declared_as_they_are_or_not_at_all() {
    is_taken("<a xmlns:xml='http://www.w3.org/XML/1998/namespace'/>");
    is_taken("<a xmlns=''><b xmlns='u'><c xmlns=''/></b></a>");
    is_taken("<a xmlns:XML='u' xmlns:xmlfoo='v'/>");
    for wrong in [
        "<a xmlns:xml='u'/>",
        "<a xmlns:xmlns='u'/>",
        "<a xmlns:xmlns='http://www.w3.org/2000/xmlns/'/>",
        "<a xmlns:n='http://www.w3.org/XML/1998/namespace'/>",
        "<a xmlns='http://www.w3.org/XML/1998/namespace'/>",
        "<a xmlns:n='http://www.w3.org/2000/xmlns/'/>",
        "<a xmlns='http://www.w3.org/2000/xmlns/'/>",
        "<a xmlns:n=''/>",
    ] {
        is_refused(wrong, Malformed::Namespace);
    }
}

/// Ours: a namespace is compared where it lies.
#[test]
fn a_namespace_written_with_references_is_refused() {
    is_refused("<a xmlns='u&amp;v'/>", Malformed::Namespace);
    is_refused("<a xmlns:n='&#117;'/>", Malformed::Namespace);
    is_refused("<a xmlns:n='u\n'/>", Malformed::Namespace);
}

#[test]
fn rfc6120_11_7_only_white_space_stands_between_elements() {
    let found = read_in_all_pieces(b" \t<a/>\r\n<b>x</b><c/> ", &Bounds::default());
    let expected = [&b"<a/>"[..], b"<b>x</b>", b"<c/>"];
    assert_eq!(
        (found.elements, found.refused, found.broke_off),
        (expected.map(<[u8]>::to_vec).to_vec(), None, false)
    );
    is_refused("x<a/>", Malformed::Outside);
    is_refused("<a/>x", Malformed::Outside);
    is_refused("<a/>&lt;", Malformed::Outside);
    is_refused("<a/>\0", Malformed::Outside);
}

#[test]
fn rfc7395_3_3_3_a_message_is_one_whole_element() {
    let whole = |xml: &str| frame_whole(xml.as_bytes(), &Bounds::default());
    assert_eq!(whole("<a/>"), Ok(()));
    assert_eq!(whole(" \r\n<a/>\t "), Ok(()));
    for unclosed in [
        "",
        " ",
        "<",
        "<a",
        "<a b='",
        "<a>",
        "<a>x",
        "<a><b/>",
        "<a>&lt",
        "<a></a",
        "<a><![CDATA[]]",
    ] {
        assert_eq!(whole(unclosed), Err(Malformed::Unclosed), "{unclosed}");
    }
    for leftover in ["<a/><b/>", "<a></a> x", "<a/></a>", "<a/>\0"] {
        assert_eq!(whole(leftover), Err(Malformed::Leftover), "{leftover}");
    }
}

#[test]
fn bounds_are_reached_but_not_passed() {
    let bounds = Bounds {
        stanza_bytes_max: 40,
        depth_max: 3,
        attributes_max: 2,
        name_bytes_max: 4,
    };
    for (taken, refused, malformed) in [
        (
            "<a><b><c/></b></a>",
            "<a><b><c><d/></c></b></a>",
            Malformed::TooDeep,
        ),
        (
            "<a b='' c=''/>",
            "<a b='' c='' d=''/>",
            Malformed::TooManyAttributes,
        ),
        ("<abcd efgh=''/>", "<abcde/>", Malformed::NameTooLong),
        (
            "<a b='12345678901234567890123456789'/>",
            "<a efghi=''/>",
            Malformed::NameTooLong,
        ),
        (
            "  <a>1234567890123456789012345678901</a>",
            "   <a>1234567890123456789012345678901</a>",
            Malformed::TooLarge,
        ),
    ] {
        assert_eq!(
            read_in_all_pieces(taken.as_bytes(), &bounds).elements.len(),
            1,
            "{taken}"
        );
        assert_eq!(
            read_in_all_pieces(refused.as_bytes(), &bounds).refused,
            Some(malformed),
            "{refused}"
        );
    }
    let prefixes = |count: u32| {
        let declared: String = (0..count).map(|i| format!(" xmlns:n{i}='u{i}'")).collect();
        format!("<a><b{declared}/><c{declared}></c></a>")
    };
    is_taken(&prefixes(16));
    is_refused(prefixes(17), Malformed::TooManyPrefixes);
}

#[test]
fn every_refusal_has_a_name_of_its_own() {
    let names: std::collections::HashSet<_> = Malformed::ALL
        .iter()
        .map(|malformed| malformed.as_str())
        .collect();
    assert_eq!(names.len(), Malformed::ALL.len());
}
