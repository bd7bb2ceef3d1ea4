//! 4.7 topic names and topic filters, 4.8.2 shared subscriptions.

use proptest::prelude::*;

use crate::codec::mqtt::topic::{
    Share, TopicError, check_topic_filter, check_topic_name, levels, matches, split_share,
};

#[test]
fn mqtt5_4_7_1_where_wildcards_may_stand() {
    for good in [
        "#",
        "+",
        "a",
        "/",
        "//",
        "a/#",
        "+/#",
        "/#",
        "a/+",
        "+/a",
        "+/+",
        "/+",
        "a/+/b",
        "é/+/日本",
        " ",
        "$SYS/#",
        "a b",
    ] {
        assert_eq!(check_topic_filter(good), Ok(good));
    }
    for bad in [
        "a#", "#a", "##", "a/#/b", "#/", "#/#", "a+", "+a", "++", "a/+b/c", "a/b#", "é+", "+é",
    ] {
        assert_eq!(check_topic_filter(bad), Err(TopicError::Wildcard), "{bad}");
    }
    for name in ["#", "+", "a/+", "a+b", "é#"] {
        assert_eq!(check_topic_name(name), Err(TopicError::Wildcard), "{name}");
    }
    for name in ["a", "/", "a//b/", "é/日本", "$share/g/a", " "] {
        assert_eq!(check_topic_name(name), Ok(name));
    }
}

#[test]
fn mqtt5_4_7_3_length_and_nul() {
    let longest = "x".repeat(65_535);
    let too_long = "x".repeat(65_536);
    for check in [check_topic_name, check_topic_filter] {
        assert_eq!(check(""), Err(TopicError::Empty));
        assert_eq!(check("a\0/b"), Err(TopicError::Nul));
        assert_eq!(check(&longest), Ok(&*longest));
        assert_eq!(check(&too_long), Err(TopicError::TooLong));
    }
}

#[test]
fn mqtt5_4_7_1_2_multi_level_wildcard() {
    for topic in [
        "sport/tennis/player1",
        "sport/tennis/player1/ranking",
        "sport/tennis/player1/score/x",
    ] {
        assert!(matches("sport/tennis/player1/#", topic));
    }
    assert!(matches("sport/#", "sport"));
    assert!(matches("#", "a") && matches("#", "/") && matches("#", "a/b"));
    assert!(!matches("sport/#", "sports"));
    assert!(!matches("sport/tennis/#", "sport"));
    assert!(matches("sport/#", "sport/"));
}

#[test]
fn mqtt5_4_7_1_3_single_level_wildcard() {
    assert!(matches("sport/tennis/+", "sport/tennis/player1"));
    assert!(!matches("sport/tennis/+", "sport/tennis/player1/ranking"));
    assert!(!matches("sport/+", "sport"));
    assert!(matches("sport/+", "sport/"));
    assert!(matches("+/+", "/finance") && matches("/+", "/finance") && !matches("+", "/finance"));
    assert!(matches("+/tennis/#", "a/tennis"));
}

#[test]
fn mqtt5_4_7_2_1_names_with_a_dollar_are_not_matched_by_wildcards_at_the_first_level() {
    assert!(!matches("#", "$SYS/x") && !matches("+/x", "$SYS/x") && !matches("+/#", "$SYS/x"));
    assert!(matches("$SYS/#", "$SYS/x") && matches("$SYS/+", "$SYS/x"));
    assert!(matches("a/+", "a/$x") && matches("a/#", "a/$x"));
}

#[test]
fn mqtt5_4_7_3_levels_are_compared_as_they_are() {
    assert!(!matches("ACCOUNTS", "Accounts"));
    assert!(!matches("/finance", "finance"));
    assert!(matches("é/+", "é/x") && matches("+/x", "é/x") && !matches("e\u{301}", "é"));
    assert!(!matches("a", "a/") && !matches("a/", "a"));
    assert!(levels("/a//é").eq(["", "a", "", "é"]));
}

#[test]
fn mqtt5_4_8_2_shared_subscriptions() {
    assert_eq!(
        split_share("$share/g/a/+"),
        Ok(Some(Share {
            name: "g",
            filter: "a/+"
        }))
    );
    assert_eq!(
        split_share("$share/é//"),
        Ok(Some(Share {
            name: "é",
            filter: "/"
        }))
    );
    for plain in ["a", "$share", "$Share/g/a", "$shared/g/a", "#"] {
        assert_eq!(split_share(plain), Ok(None), "{plain}");
    }
    for bad in [
        "$share/",
        "$share/g",
        "$share//a",
        "$share/g/",
        "$share/a+/b",
        "$share/#/b",
    ] {
        assert_eq!(split_share(bad), Err(TopicError::Share), "{bad}");
    }
    assert_eq!(split_share("$share/g/a#"), Err(TopicError::Wildcard));
}

/// The definition, level by level.
fn matches_by_definition(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => matches_by_definition(filter, topic),
        ([a, filter @ ..], [b, topic @ ..]) if a == b => matches_by_definition(filter, topic),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_000,
        failure_persistence: None,
        rng_seed: prop::test_runner::RngSeed::Fixed(0x6E65_7875_7300_0003),
        ..ProptestConfig::default()
    })]

    #[test]
    fn matching_is_as_defined(
        mut filter in prop::collection::vec(prop::sample::select(&["a", "b", "", "é", "+", "$"][..]), 1..5),
        rest in any::<bool>(),
        topic in prop::collection::vec(prop::sample::select(&["a", "b", "", "é", "$"][..]), 1..5),
    ) {
        if rest {
            filter.push("#");
        }
        let (filter, topic) = (filter.join("/"), topic.join("/"));
        prop_assume!(check_topic_filter(&filter).is_ok());
        let filter_levels: Vec<_> = filter.split('/').collect();
        let topic_levels: Vec<_> = topic.split('/').collect();
        let hidden = topic.starts_with('$') && matches!(filter_levels[0], "+" | "#");
        let expected = !hidden && matches_by_definition(&filter_levels, &topic_levels);
        prop_assert_eq!(matches(&filter, &topic), expected, "{} {}", filter, topic);
    }

    #[test]
    fn any_text_is_matched_and_checked_without_a_panic(filter in any::<String>(), topic in any::<String>()) {
        let _ = (check_topic_filter(&filter), check_topic_name(&topic), split_share(&filter));
        let _ = matches(&filter, &topic);
        if check_topic_name(&topic).is_ok() {
            prop_assert!(matches(&topic, &topic));
        }
    }
}
