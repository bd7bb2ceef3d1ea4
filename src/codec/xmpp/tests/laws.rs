//! What holds for any bytes.

use proptest::prelude::*;

use super::*;

/// Looks at everything an element shows.
fn walk(element: &Element<'_>, depth: usize) {
    let _ = (element.name(), element.namespace(), element.default_namespace());
    let outer = element.outer();
    assert!(outer.contains(element.inner()));
    for (_, value) in element.attributes() {
        let _ = meant(value);
    }
    assert!(
        element
            .declarations()
            .all(|declaration| outer.contains(declaration))
    );
    let text = element.text();
    assert!(text.is(&meant(text)));
    assert!(text.plain().is_none_or(|plain| plain == meant(text)));
    if depth > 0 {
        element.children().for_each(|child| walk(&child, depth - 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn what_is_found_does_not_depend_on_the_pieces(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            generate::nearly(),
            generate::jumble(),
            prop::collection::vec(generate::nearly(), 2..4).prop_map(|several| several.concat()),
        ],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        bytes_max in prop_oneof![Just(1 << 20), 1_usize..200],
    ) {
        let bounds = Bounds::new(bytes_max);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = read(&bytes, [], &bounds);
        prop_assert_eq!(&read(&bytes, cuts, &bounds), &whole);
        prop_assert_eq!(&read(&bytes, 1..bytes.len(), &bounds), &whole);
    }

    #[test]
    fn what_a_framer_found_is_an_element(bytes in generate::nearly()) {
        for found in read(&bytes, [], &Bounds::default()).elements {
            prop_assert_eq!(frame_whole(&found, &Bounds::default()), Ok(()));
            let element = Element::parse(&found, "jabber:client").unwrap();
            prop_assert_eq!(element.outer().as_bytes(), &found);
            walk(&element, 32);
        }
    }

    /// Without a framer before it, an element shows something or nothing, but in any case it ends.
    #[test]
    fn any_bytes_are_an_element_or_not(
        bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..64), generate::nearly(), generate::jumble()],
    ) {
        if let Ok(element) = Element::parse(&bytes, "") {
            walk(&element, 32);
        }
    }

    #[test]
    fn what_is_written_is_read_again(
        text in any::<String>().prop_filter("text of XML", |text| is_xml_text(text.as_bytes()).is_some()),
        number in any::<i64>(),
    ) {
        let pieces = [
            Piece::Raw("<a b='"), Piece::Attribute(&text), Piece::Raw("' c=\""), Piece::Attribute(&text),
            Piece::Bytes(b"\" d='"), Piece::Number(number), Piece::Raw("'>"), Piece::Text(&text), Piece::Raw("</a>"),
        ];
        let mut out = Vec::new();
        write::put(&pieces, &mut out);
        prop_assert_eq!(out.len(), write::len(&pieces));
        prop_assert_eq!(frame_whole(&out, &Bounds::default()), Ok(()));
        let element = Element::parse(&out, "").unwrap();
        prop_assert!(element.text().is(&text));
        prop_assert_eq!(meant(element.text()), text.as_str());
        prop_assert!(element.attribute("b").unwrap().is(&text) && element.attribute("c").unwrap().is(&text));
        let digits = number.to_string();
        prop_assert_eq!(element.attribute("d").unwrap().plain(), Some(digits.as_str()));
    }
}
