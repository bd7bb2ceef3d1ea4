//! XML as these tests read it: strictly, and by other code than the daemon's own.

use std::collections::HashMap;

/// An element with its namespace resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) namespace: String,
    attributes: Vec<(String, String)>,
    children: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Element(Element),
    Text(String),
}

impl Element {
    /// An attribute by its name as written.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether it is this element.
    pub(crate) fn is(&self, namespace: &str, name: &str) -> bool {
        self.namespace == namespace && self.name == name
    }

    /// The elements directly inside.
    pub(crate) fn elements(&self) -> Vec<&Self> {
        let elements = self.children.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        });
        elements.collect()
    }

    /// The first such element directly inside.
    pub(crate) fn child(&self, namespace: &str, name: &str) -> Option<&Self> {
        self.elements()
            .into_iter()
            .find(|child| child.is(namespace, name))
    }

    /// All such elements at any depth.
    pub(crate) fn descendants(&self, namespace: &str, name: &str) -> Vec<&Self> {
        let mut found = Vec::new();
        for child in self.elements() {
            if child.is(namespace, name) {
                found.push(child);
            }
            found.extend(child.descendants(namespace, name));
        }
        found
    }

    /// The character data directly inside.
    pub(crate) fn text(&self) -> String {
        let texts = self.children.iter().filter_map(|node| match node {
            Node::Text(text) => Some(text.as_str()),
            Node::Element(_) => None,
        });
        texts.collect()
    }
}

/// Exactly one element, which must be well-formed by itself.
#[track_caller]
pub(crate) fn parse(text: &str) -> Element {
    let mut reader = Reader { text, at: 0 };
    let scope = HashMap::from([(
        "xml".to_owned(),
        "http://www.w3.org/XML/1998/namespace".to_owned(),
    )]);
    let element = reader.element(&scope);
    assert_eq!(reader.at, text.len(), "nothing follows the element: {text}");
    element
}

/// Text as it must be written inside an element or an attribute.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', "&apos;")
        .replace('"', "&quot;")
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    #[track_caller]
    fn expect(&mut self, wanted: &str) {
        assert!(
            self.rest().starts_with(wanted),
            "{wanted:?} expected at {} of {}",
            self.at,
            self.text
        );
        self.at += wanted.len();
    }

    /// Up to the first of these characters, which must come.
    fn until(&mut self, ends: &[char]) -> &'a str {
        let rest = self.rest();
        let end = rest
            .find(ends)
            .unwrap_or_else(|| panic!("none of {ends:?} in {rest:?} of {}", self.text));
        self.at += end;
        &rest[..end]
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn element(&mut self, outer: &HashMap<String, String>) -> Element {
        self.expect("<");
        let qualified = self.until(&[' ', '\t', '\n', '\r', '/', '>']).to_owned();
        let mut scope = outer.clone();
        let mut attributes = Vec::new();
        loop {
            self.skip_space();
            if self.rest().starts_with(['/', '>']) {
                break;
            }
            let (name, value) = self.attribute();
            if name == "xmlns" {
                scope.insert(String::new(), value.clone());
            } else if let Some(prefix) = name.strip_prefix("xmlns:") {
                scope.insert(prefix.to_owned(), value.clone());
            }
            assert!(
                attributes.iter().all(|(key, _)| *key != name),
                "{name} twice in {}",
                self.text
            );
            attributes.push((name, value));
        }
        let (prefix, name) = qualified.split_once(':').unwrap_or(("", &qualified));
        let namespace = scope.get(prefix).cloned().unwrap_or_default();
        assert!(
            prefix.is_empty() || !namespace.is_empty(),
            "undeclared prefix of {qualified}"
        );
        let mut element = Element {
            name: name.to_owned(),
            namespace,
            attributes,
            children: Vec::new(),
        };
        if self.rest().starts_with("/>") {
            self.expect("/>");
            return element;
        }
        self.expect(">");
        while !self.rest().starts_with("</") {
            if self.rest().starts_with("<![CDATA[") {
                self.expect("<![CDATA[");
                let (raw, _) = self.rest().split_once("]]>").expect("the end of CDATA");
                self.at += raw.len() + "]]>".len();
                element.children.push(Node::Text(raw.to_owned()));
            } else if self.rest().starts_with('<') {
                element.children.push(Node::Element(self.element(&scope)));
            } else {
                let raw = self.until(&['<']);
                element.children.push(Node::Text(unescaped(raw)));
            }
        }
        self.expect(&format!("</{qualified}"));
        self.skip_space();
        self.expect(">");
        element
    }

    fn attribute(&mut self) -> (String, String) {
        let name = self.until(&['=', ' ', '>', '/']).to_owned();
        self.expect("=");
        let quote = self.rest().chars().next().expect("a quotation mark");
        assert!(matches!(quote, '\'' | '"'), "unquoted attribute in {}", self.text);
        self.at += 1;
        let raw = self.until(&[quote]);
        assert!(!raw.contains('<'), "`<` in an attribute of {}", self.text);
        self.at += 1;
        (name, unescaped(raw))
    }
}

fn unescaped(raw: &str) -> String {
    let mut text = String::new();
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('&') {
        text.push_str(before);
        let (reference, after) = after.split_once(';').expect("a reference that ends");
        text.push(match reference {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "apos" => '\'',
            "quot" => '"',
            number => {
                let number = number
                    .strip_prefix('#')
                    .expect("a reference that every parser knows");
                let code = number.strip_prefix('x').map_or_else(
                    || number.parse().expect("a number"),
                    |hex| u32::from_str_radix(hex, 16).expect("a number"),
                );
                char::from_u32(code).expect("a character")
            }
        });
        rest = after;
    }
    text.push_str(rest);
    text
}

#[test]
fn the_reader_of_these_tests_resolves_namespaces_and_references() {
    let element = parse(
        "<s:a xmlns:s='urn:s' xmlns='urn:d' x='&lt;&#x41;&apos;'>1<b/><c xmlns='urn:c'><s:b/>&amp;<![CDATA[<&>]]></c>2</s:a>",
    );
    assert!(element.is("urn:s", "a"));
    assert_eq!(element.attribute("x"), Some("<A'"));
    assert_eq!(element.text(), "12");
    assert!(element.child("urn:d", "b").is_some());
    assert_eq!(element.child("urn:c", "c").unwrap().text(), "&<&>");
    assert_eq!(element.descendants("urn:s", "b").len(), 1);
    for bad in [
        "<a>",
        "<a></b>",
        "<a b=1/>",
        "<a b='1' b='2'/>",
        "<x:a/>",
        "<a/> ",
        "<a>&nbsp;</a>",
    ] {
        assert!(std::panic::catch_unwind(|| parse(bad)).is_err(), "{bad}");
    }
}
