//! A filter held against channels in their order: from one that does not match straight to the next that may.

/// What to do after a channel was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The filter matches it; go on with the next one.
    Match,
    /// Go on with the next one.
    Next,
    /// Nothing before what was written to `seek` matches.
    Seek,
    /// Nothing behind it matches.
    End,
}

/// Holds `filter` (checked) against `channel`, in the order of bytes. Levels are split by `/`, and some characters stand before it
/// (`a`, `a-b`, `a/b` are in order), so that a level's own subtree does not always follow it at once.
pub(super) fn step(filter: &str, channel: &str, seek: &mut String) -> Step {
    // Where the level begins that is compared; behind the end of the channel if there is none left.
    let mut start = 0;
    // Where the last level ends that a `+` took.
    let mut plus = None;
    let mut was_plus = false;
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level == "#" {
            return Step::Match;
        }
        let Some(rest) = channel.get(start..) else {
            // It ends too early. Where `+` took its last level, other levels may stand before its own subtree.
            return if was_plus {
                Step::Next
            } else {
                to(seek, &[channel, "/"])
            };
        };
        let found = rest.split('/').next().unwrap_or_default();
        let end = start + found.len();
        was_plus = level == "+";
        if was_plus {
            plus = Some(end);
        } else if level != found {
            let above = channel.get(..start).unwrap_or_default();
            let is_before = |seek: &String| channel < seek.as_str();
            to(seek, &[above, level]);
            if is_before(seek) {
                return Step::Seek;
            }
            to(seek, &[above, level, "/"]);
            if levels.peek().is_some() && is_before(seek) {
                return Step::Seek;
            }
            return beyond(channel, plus, seek);
        }
        start = end + 1;
    }
    if start > channel.len() {
        return Step::Match;
    }
    beyond(channel, plus, seek)
}

/// Nothing below the level that `+` took last matches any more.
fn beyond(channel: &str, plus: Option<usize>, seek: &mut String) -> Step {
    match plus.and_then(|end| channel.get(..end)) {
        // `0` is the byte after `/`.
        Some(taken) => to(seek, &[taken, "0"]),
        None => Step::End,
    }
}

fn to(seek: &mut String, pieces: &[&str]) -> Step {
    seek.clear();
    seek.extend(pieces.iter().copied());
    Step::Seek
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// What a walk finds, and how many channels it looked at.
    fn walk(filter: &str, channels: &BTreeSet<String>) -> (Vec<String>, usize) {
        let (mut found, mut looked_at) = (Vec::new(), 0);
        let (mut from, mut seek) = (String::new(), String::new());
        while let Some(channel) = channels.range(from.clone()..).next() {
            looked_at += 1;
            from = match step(filter, channel, &mut seek) {
                Step::Seek => {
                    assert!(seek > *channel, "{filter} at {channel}: back to {seek}");
                    seek.clone()
                }
                Step::End => break,
                step => {
                    if step == Step::Match {
                        found.push(channel.clone());
                    }
                    format!("{channel}\0")
                }
            };
        }
        (found, looked_at)
    }

    /// MQTT 5.0 section 4.7.1, written as plainly as possible.
    fn matches(filter: &str, name: &str) -> bool {
        let (mut filter, mut name) = (filter.split('/'), name.split('/'));
        loop {
            match (filter.next(), name.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(_)) => {}
                (Some(wanted), Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn mqtt5_4_7_1_2_the_parent_is_found_apart_from_its_subtree() {
        let channels = set(&["a", "a b/c", "a-b", "a/b", "a/b/c", "a0", "b"]);
        assert_eq!(walk("a/#", &channels).0, ["a", "a/b", "a/b/c"]);
        assert_eq!(walk("+/c", &channels).0, ["a b/c"]);
        assert_eq!(walk("#", &channels).0.len(), channels.len());
        assert_eq!(walk("+", &channels).0, ["a", "a-b", "a0", "b"]);
    }

    #[test]
    fn what_cannot_match_is_passed_over() {
        let mut channels = BTreeSet::new();
        for device in 0..10 {
            channels.extend((0..1_000).map(|n| format!("plant/{device}/log/{n}")));
            channels.insert(format!("plant/{device}/temperature"));
        }
        for (filter, found, looked_at_max) in [
            ("plant/+/temperature", 10, 40),
            ("plant/7/temperature", 1, 4),
            ("plant/7/#", 1_001, 1_003),
            ("+/+/log/77", 10, 50),
            ("x/#", 0, 2),
            ("plant/+/none", 0, 40),
        ] {
            let (matching, looked_at) = walk(filter, &channels);
            assert_eq!(matching.len(), found, "{filter}");
            assert!(looked_at <= looked_at_max, "{filter}: {looked_at}");
        }
    }

    fn levels(choices: &'static [&'static str]) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(choices), 1..5).prop_map(|levels| levels.join("/"))
    }

    proptest! {
        #[test]
        fn finds_what_the_plain_rule_finds(
            filter in levels(&["a", "b", "", "+", "a-"]),
            ends in any::<bool>(),
            channels in prop::collection::btree_set(levels(&["a", "b", "", "a-", "a0", "a ", "c"]), 0..60),
        ) {
            let filter = if ends { format!("{filter}/#") } else { filter };
            let expected: Vec<_> = channels.iter().filter(|name| matches(&filter, name)).cloned().collect();
            prop_assert_eq!(walk(&filter, &channels).0, expected);
        }
    }
}
