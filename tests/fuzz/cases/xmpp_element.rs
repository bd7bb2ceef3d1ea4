//! Any bytes as one message: an element shows something or nothing but does not panic, and of a whole one quick-xml
//! reads the same.

use nexus::codec::xmpp::{Bounds, Element, Malformed, Piece, Text, frame_whole, write};

#[path = "../../../src/codec/xmpp/tests/oracle.rs"]
mod oracle;

/// Writes an element anew from what it means; namespaces are declared where they are used.
fn rewrite(tree: &oracle::Tree, out: &mut Vec<u8>) {
    let start = [
        Piece::Raw("<n:"),
        Piece::Raw(&tree.name),
        Piece::Raw(" xmlns:n='"),
        Piece::Attribute(&tree.namespace),
        Piece::Raw("' text='"),
        Piece::Attribute(&tree.text),
        Piece::Raw("'>"),
        Piece::Text(&tree.text),
    ];
    let before = out.len();
    write::put(&start, out);
    assert_eq!(out.len() - before, write::len(&start));
    for child in &tree.children {
        rewrite(child, out);
    }
    write::put(
        &[Piece::Raw("</n:"), Piece::Raw(&tree.name), Piece::Raw(">")],
        out,
    );
}

/// Whether two mean the same but for their attributes.
fn is_alike(one: &oracle::Tree, other: &oracle::Tree) -> bool {
    let parts = |tree: &oracle::Tree| (tree.namespace.clone(), tree.name.clone(), tree.text.clone());
    parts(one) == parts(other)
        && one.children.len() == other.children.len()
        && one
            .children
            .iter()
            .zip(&other.children)
            .all(|(one, other)| is_alike(one, other))
}

fn all_in_namespaces(tree: &oracle::Tree) -> bool {
    !tree.namespace.is_empty()
        && tree.namespace != "http://www.w3.org/XML/1998/namespace"
        && tree.children.iter().all(all_in_namespaces)
}

/// Whether it is about how much is taken: quick-xml takes any.
fn is_bound(malformed: Malformed) -> bool {
    use Malformed::{NameTooLong, TooDeep, TooLarge, TooManyAttributes, TooManyChildren, TooManyPrefixes};
    [
        NameTooLong,
        TooDeep,
        TooLarge,
        TooManyAttributes,
        TooManyChildren,
        TooManyPrefixes,
    ]
    .contains(&malformed)
}

/// # Panics
/// If `bytes` shows a fault.
pub(crate) fn run(bytes: &[u8]) {
    let element = Element::parse(bytes, "");
    let tree = element.as_ref().map(oracle::ours);
    match frame_whole(bytes, &Bounds::default()) {
        Ok(()) => {
            let tree = tree.unwrap();
            assert_eq!(Some(&tree), oracle::theirs(bytes).as_ref());
            let text = element.unwrap().text();
            assert!(text.is(&tree.text) && text.plain().is_none_or(|plain| plain == tree.text));
            if all_in_namespaces(&tree) {
                let mut written = Vec::new();
                rewrite(&tree, &mut written);
                // Prefixes that are declared anew at each level may be too many, and the whole too long.
                if frame_whole(&written, &Bounds::default()).is_ok() {
                    let again = oracle::ours(&Element::parse(&written, "").unwrap());
                    assert!(is_alike(&again, &tree), "{again:?} {tree:?}");
                }
            }
        }
        Err(malformed) => assert!(
            is_bound(malformed) || oracle::only_we_refuse(malformed) || oracle::theirs(bytes).is_none(),
            "{malformed:?}"
        ),
    }
}
