//! A small scanner of Rust sources: blanks comments and literals, leaves test code out, finds functions.

/// The source with the contents of comments, strings and characters replaced by blanks; lines keep their
/// numbers and braces their meaning.
pub(crate) fn blanked(source: &str) -> String {
    let mut scanner = Scanner {
        rest: source,
        out: String::with_capacity(source.len()),
    };
    while let Some(next) = scanner.rest.chars().next() {
        scanner.step(next);
    }
    scanner.out
}

struct Scanner<'a> {
    rest: &'a str,
    out: String,
}

impl Scanner<'_> {
    fn step(&mut self, next: char) {
        let after_word = self
            .out
            .chars()
            .next_back()
            .is_some_and(|last| last.is_alphanumeric() || last == '_');
        if self.rest.starts_with("//") {
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.blank(end);
        } else if self.rest.starts_with("/*") {
            self.blank(block_comment(self.rest));
        } else if let Some(length) = (!after_word).then(|| raw_string(self.rest)).flatten() {
            self.blank(length);
        } else if next == '"' {
            self.blank(quoted(self.rest, '"'));
        } else if next == '\'' && is_character(self.rest) {
            self.blank(quoted(self.rest, '\''));
        } else {
            self.out.push(next);
            self.rest = &self.rest[next.len_utf8()..];
        }
    }

    fn blank(&mut self, length: usize) {
        let (gone, rest) = self.rest.split_at(length);
        self.out
            .extend(gone.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        self.rest = rest;
    }
}

/// The length of a block comment, which may hold others.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of `r"…"`, `r#"…"#`, `br…`, `cr…`, if that is what begins here.
fn raw_string(text: &str) -> Option<usize> {
    let hashes_from = ["r", "br", "cr"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix).map(|_| prefix.len()))?;
    let rest = &text[hashes_from..];
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let body = rest[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end)? + end.len();
    Some(hashes_from + hashes + 1 + length)
}

/// The length of a literal between `quote`s with escapes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

/// Whether a `'` begins a character and not a lifetime.
fn is_character(text: &str) -> bool {
    let mut after = text.chars().skip(1);
    match after.next() {
        Some('\\') => true,
        Some(_) => after.next() == Some('\''),
        None => false,
    }
}

/// The end of the item that begins at `from` in blanked text: after its `;` or its closing brace.
fn item_end(blanked: &str, from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, c) in blanked[from..].char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && c == '}' {
                    return from + at + 1;
                }
            }
            ';' if depth == 0 => return from + at + 1,
            _ => {}
        }
    }
    blanked.len()
}

/// Blanked text without the items that are only there for tests.
pub(crate) fn without_tests(blanked: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(blanked.len());
    let mut from = 0;
    while let Some(found) = blanked[from..].find(MARK) {
        let at = from + found;
        out.push_str(&blanked[from..at]);
        from = item_end(blanked, at + MARK.len());
    }
    out.push_str(&blanked[from..]);
    out
}

/// A function: its name, the line it begins on, how many lines it has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

/// The functions with a body in blanked text.
pub(crate) fn functions(blanked: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for at in words(blanked, "fn") {
        let name: String = blanked[at + 2..]
            .trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let end = item_end(blanked, at);
        // A type such as `fn(u8)` has no name; a declaration ends without a brace.
        if name.is_empty() || !blanked[..end].ends_with('}') {
            continue;
        }
        found.push(Function {
            name,
            line: blanked[..at].matches('\n').count() + 1,
            lines: blanked[at..end].matches('\n').count() + 1,
        });
    }
    found
}

/// Where `word` stands by itself.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        !text[..at].chars().next_back().is_some_and(is_part)
            && !text[at + word.len()..].chars().next().is_some_and(is_part)
    })
}

/// Paths below the crate's root that blanked text names, each as `room` or `room::item`.
pub(crate) fn crate_paths(blanked: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for at in words(blanked, "crate") {
        let Some(rest) = blanked[at..].strip_prefix("crate::") else {
            continue;
        };
        expand(rest, "", &mut paths);
    }
    paths
}

/// Adds what a path or a group of paths names, two levels deep.
fn expand(text: &str, prefix: &str, paths: &mut Vec<String>) {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        for member in members(group) {
            expand(member, prefix, paths);
        }
        return;
    }
    let name: String = text
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == '*')
        .collect();
    if name.is_empty() {
        return;
    }
    if prefix.is_empty() {
        match text[name.len()..].strip_prefix("::") {
            Some(rest) => expand(rest, &name, paths),
            None => paths.push(name),
        }
    } else {
        paths.push(format!("{prefix}::{name}"));
    }
}

/// The members of a group whose opening brace has been taken off.
fn members(group: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut depth, mut from) = (0_usize, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' => {
                found.push(&group[from..at]);
                break;
            }
            ',' if depth == 0 => {
                found.push(&group[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    found
}

#[test]
fn comments_and_literals_are_blank() {
    let source = "a /* { /* { */ } */ b // {\nc \"\\\"{\" r#\"{\"#  b\"{\" '{' '\\'' 'x: &'a str }";
    let blank = blanked(source);
    assert_eq!(blank.matches('{').count(), 0, "{blank}");
    assert_eq!(blank.matches('}').count(), 1, "{blank}");
    assert_eq!(blank.matches('\n').count(), 1);
    assert!(blank.contains("'a str"), "{blank}");
}

#[test]
fn functions_are_measured_and_test_items_left_out() {
    let source = "fn one() {\n}\ntrait T { fn two(); }\n#[cfg(test)]\nmod tests {\n    fn three() {}\n}\nfn four(f: fn(u8), x: [u8; 4]) -> u8 {\n    {}\n}\n";
    let found: Vec<(String, usize)> = functions(&without_tests(&blanked(source)))
        .into_iter()
        .map(|function| (function.name, function.lines))
        .collect();
    assert_eq!(found, [("one".to_owned(), 2), ("four".to_owned(), 3)]);
}

#[test]
fn paths_of_the_crate_are_found_in_groups_and_expressions() {
    let source = "use crate::route::{Qos, message::X};\nuse crate::{codec, session::{Ending, Will}};\nlet x = crate::limits::MAX;";
    assert_eq!(
        crate_paths(&blanked(source)),
        [
            "route::Qos",
            "route::message",
            "codec",
            "session::Ending",
            "session::Will",
            "limits::MAX"
        ]
    );
}
