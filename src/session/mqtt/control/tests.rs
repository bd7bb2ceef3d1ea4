//! The grammar of control topics and filters.

use super::*;

const UID: &str = "0123456789abcdef01234567";
const TOKEN: &str = "00112233445566778899aabbccddeeff";

#[test]
fn nexus_3_publish_topics_mean_what_the_table_says() {
    let callee = Callee {
        app: "etest",
        cmd: "multiply",
        resource: None,
    };
    let named = Callee {
        resource: Some("w.1"),
        ..callee
    };
    assert!(is_channel("plant/7") && !is_channel("$nexus/api/etest/multiply"));
    assert_eq!(target("$nexus/api/etest/multiply"), Ok(Target::Api(callee)));
    assert_eq!(target("$nexus/api/etest/multiply/w.1"), Ok(Target::Api(named)));
    assert_eq!(
        target("$nexus/call/a-Z_9/etest/multiply"),
        Ok(Target::Call("a-Z_9", callee))
    );
    assert_eq!(
        target("$nexus/call/1/etest/multiply/w.1"),
        Ok(Target::Call("1", named))
    );
    assert_eq!(
        target(&format!("$nexus/answer/{TOKEN}")),
        Ok(Target::Answer(Token::parse(TOKEN).unwrap()))
    );
    assert_eq!(
        target("$nexus/direct/etest/w.1"),
        Ok(Target::Direct {
            app: "etest",
            resource: "w.1",
            account: None
        })
    );
}

#[test]
fn nexus_3_a_full_address_stands_in_for_app_and_resource() {
    let account = "etest-0123456789abcdef01234567-owner";
    let topic = format!("$nexus/direct/{account}@nexus.example/w.1");
    assert_eq!(
        target(&topic),
        Ok(Target::Direct {
            app: "etest",
            resource: "w.1",
            account: Some((account, "nexus.example"))
        })
    );
    let wrong = (Stage::Direct, Refusal::InvalidName);
    assert_eq!(target("$nexus/direct/etest@nexus.example/w.1"), Err(wrong));
}

/// Whoever can be told an outcome is told that the name is wrong (2.1, -2004): the router does.
#[test]
fn nexus_2_1_names_of_a_request_are_left_to_the_router() {
    for (text, app, cmd, resource) in [
        ("Etest/c", "Etest", "c", None),
        ("etest/c/", "etest", "c", Some("")),
        ("etest/c/r/x", "etest", "c", Some("r/x")),
    ] {
        let callee = Callee { app, cmd, resource };
        assert_eq!(target(&format!("$nexus/api/{text}")), Ok(Target::Api(callee)));
        assert_eq!(
            target(&format!("$nexus/call/1/{text}")),
            Ok(Target::Call("1", callee))
        );
    }
}

#[test]
fn nexus_3_publish_topics_with_wrong_grammar_are_invalid_names() {
    let long = format!("$nexus/call/{}/etest/c", "x".repeat(65));
    for (topic, stage) in [
        ("$nexus/api/etest", Stage::Request),
        ("$nexus/call/1/etest", Stage::Request),
        ("$nexus/call//etest/c", Stage::Request),
        ("$nexus/call/a.b/etest/c", Stage::Request),
        (&long, Stage::Request),
        ("$nexus/answer/xyz", Stage::Answer),
        ("$nexus/direct/etest", Stage::Direct),
        ("$nexus/direct/etest/r/x", Stage::Direct),
    ] {
        assert_eq!(target(topic), Err((stage, Refusal::InvalidName)), "{topic:?}");
    }
}

#[test]
fn nexus_3_anything_else_under_the_dollar_is_not_authorized() {
    for topic in [
        "$",
        "$SYS/x",
        "$nexus",
        "$nexus/",
        "$nexus/api",
        "$nexus/reply/1",
        "$nexus/listen/c",
        "$nexus/channel/a/b/c/d/e",
        "$share/g/x",
    ] {
        assert_eq!(
            target(topic),
            Err((Stage::Channel, Refusal::NotAuthorized)),
            "{topic}"
        );
    }
    for filter in [
        "$SYSTEM/#",
        "$SYS+",
        "$",
        "$nexus",
        "$nexus/",
        "$nexus/api/#",
        "$nexus/call/#",
        "$nexus/reply",
        "$other/#",
    ] {
        assert_eq!(wanted(filter), Err(Refusal::NotAuthorized), "{filter}");
    }
}

#[test]
fn nexus_3_filters_mean_what_the_table_says() {
    assert_eq!(
        wanted("$nexus/listen/multiply"),
        Ok(Wanted::Listen("multiply", FORM_PLAIN))
    );
    assert_eq!(
        wanted("$nexus/listen/multiply/#"),
        Ok(Wanted::Listen("multiply", FORM_SENDER))
    );
    assert_eq!(wanted("$nexus/direct"), Ok(Wanted::Direct(FORM_PLAIN)));
    assert_eq!(wanted("$nexus/direct/#"), Ok(Wanted::Direct(FORM_SENDER)));
    for filter in ["$nexus/reply/#", "$nexus/reply/+", "$nexus/reply/1"] {
        assert_eq!(wanted(filter), Ok(Wanted::Reply));
    }
}

#[test]
fn nexus_3_sys_filters_are_left_to_the_router() {
    for filter in ["$SYS", "$SYS/#", "$SYS/+/uptime", "$SYS/a#"] {
        assert_eq!(wanted(filter), Ok(Wanted::System(filter)), "{filter}");
    }
    assert_eq!(
        target("$SYS/broker/uptime"),
        Err((Stage::Channel, Refusal::NotAuthorized))
    );
}

#[test]
fn nexus_3_filters_with_wrong_grammar_are_invalid() {
    for filter in [
        "$nexus/#",
        "$nexus/+/x",
        "$nexus/listen/#",
        "$nexus/listen/+",
        "$nexus/listen",
        "$nexus/listen/c/+",
        "$nexus/listen/c/x/#",
        "$nexus/direct/+",
        "$nexus/direct/x/#",
        "$nexus/channel",
        "$nexus/channel/+/+/+/+",
        "$nexus/channel/+/+/+/+/",
        "$nexus/channel/+/+/+/+/$SYS",
        "$nexus/channel/Etest/+/+/+/x",
        "$nexus/channel/+/0123/+/+/x",
        "$nexus/channel/+/+/boss/+/x",
        "$share/g/$nexus/listen/c",
        "$share/g/$nexus/direct",
        "$share/g/$nexus/direct/#",
        "a\u{7f}",
    ] {
        assert_eq!(wanted(filter), Err(Refusal::InvalidName), "{filter:?}");
    }
}

#[test]
fn mqtt5_4_8_2_shared_filters_are_those_of_channels() {
    let share = Share {
        name: "g",
        filter: "a/+",
        from: SenderPattern::default(),
        form: FORM_PLAIN,
    };
    assert_eq!(wanted("$share/g/a/+"), Ok(Wanted::Shared(share)));
    let empty = Share { filter: "/", ..share };
    assert_eq!(wanted("$share/g//"), Ok(Wanted::Shared(empty)));
    let by_sender = Share {
        filter: "x/#",
        from: SenderPattern {
            app: Some("etest"),
            ..SenderPattern::default()
        },
        form: FORM_SENDER,
        ..share
    };
    let filter = "$share/g/$nexus/channel/etest/+/+/+/x/#";
    assert_eq!(wanted(filter), Ok(Wanted::Shared(by_sender)));
    let long = format!("$share/{}/a", "g".repeat(limits::SHARE_NAME_BYTES_MAX + 1));
    for filter in [
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//a",
        "$share/g+/a",
        "$share/#/a",
        "$share/g/$SYS/#",
        "$share/g/$other",
        "$share/g/$nexus/reply/#",
        "$share/g/$nexus/listen/c/#",
        "$share/g/$share/h/a",
        "$share/g/$nexus/channel/Etest/+/+/+/x",
        &long,
    ] {
        assert_eq!(wanted(filter), Err(Refusal::InvalidName), "{filter}");
    }
    // Without a group it is a name under the dollar like others.
    assert_eq!(wanted("$share"), Err(Refusal::NotAuthorized));
}

#[test]
fn nexus_3_channel_filters_may_name_the_sender() {
    let all = Wanted::Channel {
        filter: "#",
        from: SenderPattern::default(),
        form: FORM_SENDER,
    };
    assert_eq!(wanted("$nexus/channel/#"), Ok(all));
    assert_eq!(wanted("$nexus/channel/+/+/+/+/#"), Ok(all));
    let filter = format!("$nexus/channel/etest/{UID}/user/w.1/plant/+/alarm");
    let from = SenderPattern {
        app: Some("etest"),
        uid: Some(Uid::parse(UID).unwrap()),
        role: Some(Role::User),
        resource: Some("w.1"),
    };
    let filter = wanted(&filter).unwrap();
    assert_eq!(
        filter,
        Wanted::Channel {
            filter: "plant/+/alarm",
            from,
            form: FORM_SENDER
        }
    );
}

#[test]
fn nexus_3_replies_come_on_channels_or_under_reply_alone() {
    for topic in ["my/replies", "$nexus/reply/7"] {
        assert!(takes_replies(topic), "{topic}");
    }
    for topic in ["$nexus/listen/c", "$SYS/x", "$nexus/direct", "a\u{1}", ""] {
        assert!(!takes_replies(topic), "{topic:?}");
    }
}
