//! Names, accounts and identities.

use super::*;

const UID: &str = "0123456789abcdef01234567";

#[test]
fn account_has_exactly_three_parts() {
    let name = format!("etest-{UID}-owner");
    let account = Account::parse(&name).unwrap();
    assert_eq!(
        (account.app, account.uid.to_string().as_str(), account.role),
        ("etest", UID, Role::Owner)
    );
    for wrong in [
        "",
        "etest",
        "etest-",
        &format!("etest-{UID}"),
        &format!("etest-{UID}-owner-x"),
    ] {
        assert!(Account::parse(wrong).is_err(), "{wrong}");
    }
    assert!(Account::parse(&format!("Etest-{UID}-owner")).is_err());
    assert!(Account::parse(&format!("etest-{}-owner", UID.to_uppercase())).is_err());
}

#[test]
fn identity_yields_its_parts_without_copying() {
    let name = format!("etest-{UID}-user");
    let identity = Identity::new(&Account::parse(&name).unwrap(), "w1.Dir.dev").unwrap();
    let sender = identity.sender();
    assert_eq!(sender.app(), "etest");
    assert_eq!(sender.uid_hex(), UID);
    assert_eq!(sender.account(), name);
    assert_eq!(sender.resource(), "w1.Dir.dev");
    assert_eq!(Sender::parse(sender.address()).unwrap(), sender);
}

/// Names are looked at in chunks of [`WIDE`]: nothing hides at their edges, in the rest, or where two of them overlap.
#[test]
fn a_channel_is_refused_wherever_in_its_name_the_reason_is() {
    for len in 1..=3 * WIDE + 1 {
        let name = "x".repeat(len);
        assert_eq!(check_channel(&name), Ok(&*name));
        for at in 0..len {
            for bad in ["+", "#", "\u{0}", "\u{1f}", "\u{7f}"] {
                let mut name = name.clone();
                name.replace_range(at..=at, bad);
                assert!(check_channel(&name).is_err(), "{name:?}");
            }
            for good in [" ", "~", "/"] {
                let mut name = name.clone();
                name.replace_range(at..=at, good);
                assert_eq!(check_channel(&name), Ok(&*name));
            }
            let mut name = name.clone();
            name.insert(at, '\u{fdd0}');
            assert!(check_channel(&name).is_err(), "{name:?}");
            let name = name.replace('\u{fdd0}', "\u{fdcf}");
            assert_eq!(check_channel(&name), Ok(&*name));
        }
    }
}

#[test]
fn resource_grammar_refuses_separators_controls_and_noncharacters() {
    for good in ["a", "Web.1", "é", &"x".repeat(128)] {
        assert_eq!(check_resource(good), Ok(good));
    }
    for bad in [
        "",
        "a/b",
        "a+",
        "#",
        "a@b",
        "a\u{7f}",
        "a\u{85}",
        "\u{fdd0}",
        "\u{1ffff}",
        &"x".repeat(129),
    ] {
        assert!(check_resource(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn channel_grammar_bounds_length_levels_and_characters() {
    let levels = |n: usize| vec!["a"; n].join("/");
    for good in ["a", "/", "plant/7/alarm", "é", &"x".repeat(1_024), &levels(64)] {
        assert_eq!(check_channel(good), Ok(good));
        assert_eq!(check_channel_filter(good), Ok(good));
    }
    for bad in [
        "",
        "$SYS/x",
        "a\n",
        "a\u{9f}",
        "a\u{fdd0}",
        &"x".repeat(1_025),
        &levels(65),
    ] {
        assert!(check_channel(bad).is_err(), "{bad:?}");
        assert!(check_channel_filter(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn only_filters_have_wildcards_and_only_as_whole_levels() {
    for filter in ["#", "+", "+/+/#", "a/+/b", "/#"] {
        assert_eq!(check_channel_filter(filter), Ok(filter));
        assert!(check_channel(filter).is_err(), "{filter}");
    }
    for bad in ["#/a", "a#", "a+/b", "##", "a/#/b"] {
        assert!(check_channel_filter(bad).is_err(), "{bad}");
    }
}

#[test]
fn only_owners_of_the_built_in_app_are_operators() {
    let is = |account: &str| Sender::parse(&format!("{account}/r")).unwrap().is_operator();
    assert!(is(&format!("nexus-{UID}-owner")));
    assert!(!is(&format!("nexus-{UID}-partner")));
    assert!(!is(&format!("etest-{UID}-owner")));
}
