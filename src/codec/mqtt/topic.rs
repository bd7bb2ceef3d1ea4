//! Topic names, topic filters and how they match (4.7, 4.8.2).
//!
//! Levels are compared byte for byte (4.7.3: no normalisation), and every separator and wildcard is ASCII, so
//! cutting UTF-8 at them always yields UTF-8.

use std::fmt;

/// Why a text is no topic name or no topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopicError {
    /// \[MQTT-4.7.3-1\]: not one character.
    Empty,
    /// \[MQTT-4.7.3-3\]: over 65,535 bytes.
    TooLong,
    /// \[MQTT-4.7.3-2\]: U+0000.
    Nul,
    /// \[MQTT-3.3.2-2\] in a name; \[MQTT-4.7.1-1\] and \[MQTT-4.7.1-2\] in a filter: a wildcard that is not a
    /// level of its own, or a `#` that is not the last level.
    Wildcard,
    /// \[MQTT-4.8.2-1\], \[MQTT-4.8.2-2\]: `$share/` without a share name or without a filter.
    Share,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a topic has at least one character",
            Self::TooLong => "a topic has at most 65535 bytes",
            Self::Nul => "a topic has no U+0000",
            Self::Wildcard => "a wildcard stands where none may be",
            Self::Share => "a shared subscription is $share/<name>/<filter>",
        })
    }
}

impl std::error::Error for TopicError {}

/// Checks a topic name (4.7.1, 4.7.3): 1..=65535 bytes without U+0000 and without wildcards.
pub fn check_topic_name(name: &str) -> Result<&str, TopicError> {
    check_length(name)?;
    let special = |byte: u8| matches!(byte, 0 | b'+' | b'#');
    // One scan without an early exit, which the compiler turns into wide compares; the reason is looked for
    // only when there is one.
    if !name
        .as_bytes()
        .iter()
        .fold(false, |found, &byte| found | special(byte))
    {
        return Ok(name);
    }
    Err(if name.contains('\0') {
        TopicError::Nul
    } else {
        TopicError::Wildcard
    })
}

/// Checks a topic filter (4.7.1, 4.7.3). `$share/` is nothing special here; see [`split_share`].
pub fn check_topic_filter(filter: &str) -> Result<&str, TopicError> {
    check_length(filter)?;
    let mut open = true;
    for level in levels(filter) {
        // Only `#` closes a filter, so a level after it finds it misplaced.
        if !open {
            return Err(TopicError::Wildcard);
        }
        match level {
            "#" => open = false,
            "+" => {}
            _ => {
                check_plain_level(level)?;
            }
        }
    }
    Ok(filter)
}

fn check_plain_level(level: &str) -> Result<(), TopicError> {
    level.bytes().try_for_each(|byte| match byte {
        0 => Err(TopicError::Nul),
        b'+' | b'#' => Err(TopicError::Wildcard),
        _ => Ok(()),
    })
}

const fn check_length(topic: &str) -> Result<(), TopicError> {
    match topic.len() {
        0 => Err(TopicError::Empty),
        1..=65_535 => Ok(()),
        _ => Err(TopicError::TooLong),
    }
}

/// A shared subscription (4.8.2), taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share<'a> {
    /// The share name: at least one character, none of `/ + #`.
    pub name: &'a str,
    /// The topic filter, itself checked.
    pub filter: &'a str,
}

/// Takes a shared subscription apart: `None` for a filter that does not begin with `$share/`.
pub fn split_share(filter: &str) -> Result<Option<Share<'_>>, TopicError> {
    let Some(rest) = filter.strip_prefix("$share/") else {
        return Ok(None);
    };
    let (name, filter) = rest.split_once('/').ok_or(TopicError::Share)?;
    if name.is_empty() || name.contains(['+', '#']) || filter.is_empty() {
        return Err(TopicError::Share);
    }
    Ok(Some(Share {
        name,
        filter: check_topic_filter(filter)?,
    }))
}

/// The levels of a topic name or filter (4.7.1.1), empty ones included.
pub fn levels(topic: &str) -> std::str::Split<'_, char> {
    topic.split('/')
}

/// Whether a topic filter matches a topic name (4.7). A filter that begins with a wildcard never matches a name
/// that begins with `$` \[MQTT-4.7.2-1\]. A shared subscription is matched by its [`Share::filter`].
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let separator = |byte: &u8| *byte == b'/';
    let mut names = topic.as_bytes().split(separator);
    for level in filter.as_bytes().split(separator) {
        // `a/#` matches `a` as well: the multi-level wildcard includes the parent level (4.7.1.2).
        if level == b"#" {
            return true;
        }
        match names.next() {
            Some(name) if level == b"+" || level == name => {}
            _ => return false,
        }
    }
    names.next().is_none()
}
