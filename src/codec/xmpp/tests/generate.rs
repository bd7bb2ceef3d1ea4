//! Elements to try things with: well formed, and with a few tokens put in or taken out.

use proptest::prelude::*;

/// What makes and breaks XML.
const TOKENS: &[&str] = &[
    "<",
    ">",
    "/",
    "</",
    "/>",
    "&",
    ";",
    "&lt;",
    "&#65;",
    "&#0;",
    "&nbsp;",
    "'",
    "\"",
    "=",
    " ",
    "\t",
    "\r\n",
    "]]>",
    "]",
    "<![CDATA[",
    "<!--",
    "-->",
    "<!DOCTYPE a>",
    "<?xml version='1.0'?>",
    "<a>",
    "</a>",
    "<b/>",
    "<n:a>",
    "</n:a>",
    "a",
    "n:",
    ":",
    "xmlns='u'",
    " xmlns=''",
    " xmlns:n='u'",
    " xmlns:m='u'",
    " xmlns:n=''",
    " n:a='1'",
    " m:a='2'",
    " a='3'",
    " xml:lang='de'",
    "xmlns:xml='u'",
    "\u{E9}",
    "\u{20AC}",
    "\u{10FFFF}",
    "\u{FFFF}",
    "\0",
    "\u{B7}",
    "-",
    "1",
];

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["a", "b", "ab", "n:a", "m:b", "xml:a", "_\u{E9}.1-"][..])
}

fn attribute() -> impl Strategy<Value = String> {
    let known = prop::sample::select(
        &[
            "a='1'",
            "b=\"'&quot;>\"",
            "ab = '&lt;&#x41;\t\r\n'",
            "n:a='1'",
            "m:a=''",
            "xmlns='u'",
            "xmlns=''",
            "xmlns:n='u'",
            "xmlns:m=\"u\"",
            "xmlns:m='v'",
            "xml:lang='de'",
            "\u{E9}='\u{20AC}'",
        ][..],
    );
    (known, prop::sample::select(&[" ", "\n", " \t"][..]))
        .prop_map(|(attribute, space)| format!("{space}{attribute}"))
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z{}\":, \u{E9}\u{20AC}]{0,12}".boxed(),
        prop::sample::select(
            &[
                "",
                "&lt;",
                "&amp;",
                "&#x20AC;",
                "&#13;",
                "]]&gt;",
                "]",
                "\r\n",
                "\r",
                "\n\t",
                "<![CDATA[<b>&]] ]>]]]>",
                "<![CDATA[]]>",
                ">",
                "'\"",
            ][..]
        )
        .prop_map(str::to_owned),
    ]
}

fn start() -> impl Strategy<Value = (&'static str, String)> {
    (name(), prop::collection::vec(attribute(), 0..4))
        .prop_map(|(name, attributes)| (name, attributes.concat()))
}

/// An element, well formed but perhaps for its namespaces: they are declared on the outermost.
pub(super) fn element() -> impl Strategy<Value = String> {
    let leaf = start().prop_map(|(name, attributes)| format!("<{name}{attributes}/>"));
    let inside = leaf.prop_recursive(4, 24, 4, |inner| {
        let content = prop::collection::vec(prop_oneof![inner, text()], 0..5);
        (start(), content).prop_map(|((name, attributes), content)| {
            format!("<{name}{attributes}>{}</{name}>", content.concat())
        })
    });
    (name(), prop::collection::vec(prop_oneof![inside, text()], 0..4))
        .prop_map(|(name, content)| format!("<{name} xmlns:n='u' xmlns:m='v'>{}</{name}>", content.concat()))
}

/// Bytes that are nearly an element: with tokens put in, bytes taken out, or a part of it in another place.
pub(super) fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let place = any::<prop::sample::Index>;
    let change = (place(), place(), 0_usize..5, prop::sample::select(TOKENS));
    (element(), prop::collection::vec(change, 0..4)).prop_map(|(element, changes)| {
        let mut bytes = element.into_bytes();
        for (at, from, kind, token) in changes {
            let (at, from) = (at.index(bytes.len() + 1), from.index(bytes.len() + 1));
            let (removed, put) = match kind {
                3 => (3, Vec::new()),
                4 => (0, bytes[from..(from + 12).min(bytes.len())].to_vec()),
                removed => (removed, token.into()),
            };
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, put);
        }
        bytes
    })
}

/// A jumble of what XML is made of.
pub(super) fn jumble() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(TOKENS), 0..24).prop_map(|tokens| tokens.concat().into_bytes())
}
