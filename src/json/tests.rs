//! Which bodies are one JSON object, and which code they carry.

use proptest::prelude::*;

use super::*;

mod oracle;

fn check(body: &str) -> Result<Option<i32>, JsonError> {
    check_object(body.as_bytes())
}

#[test]
fn rfc8259_4_objects_and_nothing_else() {
    for good in [
        "{}",
        " \t\r\n{ \t\r\n} \t\r\n",
        r#"{"":{}}"#,
        r#"{"a":[],"b":[[],{}],"c":[1,"x",null,true,false]}"#,
        r#"{"a":1,"a":2}"#,
    ] {
        assert_eq!(check(good), Ok(None), "{good}");
    }
    for bad in ["", " ", "[]", "1", "\"x\"", "null", "\u{FEFF}{}", "}"] {
        assert_eq!(check(bad), Err(JsonError::NotAnObject), "{bad}");
    }
    for bad in [
        "{",
        r#"{"a"#,
        r#"{"a""#,
        r#"{"a":"#,
        r#"{"a":1"#,
        r#"{"a":1,"#,
        r#"{"a":tru"#,
        r#"{"a":[1"#,
    ] {
        assert_eq!(check(bad), Err(JsonError::Truncated), "{bad}");
    }
    for bad in ["{}{}", "{} x", "{}\0", "{},"] {
        assert_eq!(check(bad), Err(JsonError::TrailingBytes), "{bad}");
    }
    for bad in [
        "{,}",
        r#"{"a"}"#,
        r#"{"a",1}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{"a":1]"#,
        r#"{"a":[1}"#,
        r#"{"a":[1,]}"#,
        r#"{"a":[,1]}"#,
        r#"{"a":[}]}"#,
        r#"{a:1}"#,
        r#"{"a":1 2}"#,
        r#"{"a":True}"#,
        r#"{"a":NaN}"#,
        "{\u{A0}}",
        r#"{"a":]}"#,
        r#"{]"#,
        r#"{"a":'x'}"#,
        r#"{/**/}"#,
        "{\u{C}}",
        r#"{"a":1,]"#,
    ] {
        assert_eq!(check(bad), Err(JsonError::Unexpected), "{bad}");
    }
}

#[test]
fn rfc8259_6_numbers() {
    for good in [
        "0",
        "-0",
        "10",
        "1.0",
        "0.10",
        "1e3",
        "1E+03",
        "1e-0",
        "-1.5e300",
        "1e999",
        "123456789012345678901",
    ] {
        assert!(check(&format!(r#"{{"a":{good}}}"#)).is_ok(), "{good}");
    }
    for bad in [
        "01", "-01", "00", "-", "+1", ".5", "1.", "1.e1", "1e", "1e+", "--1", "-a", "1.5.", "0x1",
    ] {
        let error = check(&format!(r#"{{"a":{bad}}}"#)).unwrap_err();
        assert!(
            matches!(error, JsonError::Number | JsonError::Unexpected),
            "{bad}: {error}"
        );
    }
    assert_eq!(check(r#"{"a":01}"#), Err(JsonError::Number));
    assert_eq!(check(r#"{"a":-}"#), Err(JsonError::Number));
}

#[test]
fn rfc8259_7_strings_and_escapes() {
    for good in [
        r#"\"\\\/\b\f\n\r\t"#,
        r"\u0000\uabCD",
        r"\ud800",
        r"\udc00\ud800",
        "é日本\u{1F600}\u{7F}\u{FFFF}",
    ] {
        assert!(check(&format!(r#"{{"{good}":"{good}"}}"#)).is_ok(), "{good}");
    }
    for bad in [r"\x", r"\'", r"\u12", r"\u12g4", r"\U0041", r"\ "] {
        assert_eq!(
            check(&format!(r#"{{"a":"{bad}"}}"#)),
            Err(JsonError::Escape),
            "{bad}"
        );
    }
    for at in 0..20 {
        for control in 0..0x20_u8 {
            let text = format!("{{\"a\":\"{}{}\"}}", "x".repeat(at), char::from(control));
            assert_eq!(check(&text), Err(JsonError::ControlCharacter));
        }
    }
}

#[test]
fn rfc8259_8_1_strings_are_utf8() {
    for bad in [
        &b"\xFF"[..],
        b"\xC3",
        b"\xED\xA0\x80",
        b"\xC0\x80",
        b"\xF4\x90\x80\x80",
        b"abcdefgh\x80",
    ] {
        let body = [b"{\"a\":\"", bad, b"\"}"].concat();
        assert_eq!(check_object(&body), Err(JsonError::Utf8), "{bad:?}");
    }
    assert_eq!(check_object(b"{\xC3\xA9}"), Err(JsonError::Unexpected));
}

#[test]
fn depth_is_bounded() {
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{{\"a\":{}1{}}}", open.repeat(depth - 1), close.repeat(depth - 1))
    };
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"code":7},"#, "]")] {
        assert_eq!(check(&nested(open, close, JSON_DEPTH_MAX - 1)), Ok(None));
    }
    assert_eq!(check(&nested("[", "]", JSON_DEPTH_MAX)), Ok(None));
    assert_eq!(
        check(&nested("[", "]", JSON_DEPTH_MAX + 1)),
        Err(JsonError::TooDeep)
    );
    assert_eq!(
        check(&nested(r#"{"a":"#, "}", JSON_DEPTH_MAX + 1)),
        Err(JsonError::TooDeep)
    );
    assert_eq!(check(&r#"{"a":"#.repeat(1_000_000)), Err(JsonError::TooDeep));
}

#[test]
fn code_is_the_last_outermost_integer_of_that_name() {
    for (body, code) in [
        (r#"{"code":0}"#, Some(0)),
        (r#"{"code":-0}"#, Some(0)),
        (r#"{"code" : -2000 ,"error":"x"}"#, Some(-2000)),
        (r#"{"code":2147483647}"#, Some(i32::MAX)),
        (r#"{"code":-2147483648}"#, Some(i32::MIN)),
        (r#"{"code":2147483648}"#, None),
        (r#"{"code":18446744073709551617}"#, None),
        (r#"{"code":1.0}"#, None),
        (r#"{"code":1e0}"#, None),
        (r#"{"code":"1"}"#, None),
        (r#"{"code":null}"#, None),
        (r#"{"code":[1]}"#, None),
        (r#"{"code":{"code":1}}"#, None),
        (r#"{"a":{"code":1}}"#, None),
        (r#"{"a":[{"code":1}]}"#, None),
        (r#"{"code":1,"code":2}"#, Some(2)),
        (r#"{"code":1,"code":"x"}"#, None),
        (r#"{"code":1,"code":{}}"#, None),
        (r#"{"code":5,"a":[6],"b":7}"#, Some(5)),
        (r#"{"Code":1}"#, None),
        (r#"{"code ":1}"#, None),
        (r#"{"\u0063ode":3}"#, Some(3)),
        (r#"{"\u0063\u006F\u0064\u0065":3}"#, Some(3)),
        (r#"{"\u0063odes":3}"#, None),
        (r#"{"\u0163ode":3}"#, None),
        (r#"{"\u0063od\u00e9":3}"#, None),
        (r#"{"codecodecode":3}"#, None),
    ] {
        assert_eq!(check(body), Ok(code), "{body}");
    }
}

/// Text that is mostly JSON.
fn json(depth: u32) -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<i16>().prop_map(|value| value.to_string()),
        any::<f64>()
            .prop_filter("JSON has no NaN", |value| value.is_finite())
            .prop_map(|value| format!("{value:e}")),
        prop::sample::select(
            &[
                "0",
                "-0",
                "0.5",
                "1e5",
                "1E-7",
                "00",
                "1.",
                "\"\\u00e9\"",
                "\"\\q\"",
                "\"\t\""
            ][..]
        )
        .prop_map(str::to_owned),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    let name = prop::sample::select(
        &[
            "code",
            "\\u0063ode",
            "a",
            "",
            "é",
            "co\\u0064e",
            "\\\"",
            "code\\u0000",
        ][..],
    );
    scalar.prop_recursive(depth, 64, 6, move |inner| {
        let space = prop::sample::select(&["", "", " ", "\n\t"][..]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(","))),
            (prop::collection::vec((name.clone(), inner), 0..5), space).prop_map(|(members, space)| {
                let members: Vec<_> = members
                    .iter()
                    .map(|(name, value)| format!("\"{name}\"{space}:{space}{value}"))
                    .collect();
                format!("{{{}}}", members.join(&format!("{space},{space}")))
            }),
        ]
    })
}

/// An object around generated values, with bytes changed.
fn document() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec(
        (
            any::<prop::sample::Index>(),
            prop::sample::select(&b"{}[]\",:\\ 0-e.u\x80\xC3\x1F"[..]),
            0..4_u8,
        ),
        0..3,
    );
    (
        prop::collection::vec((prop::sample::select(&["code", "x"][..]), json(4)), 0..3),
        changes,
    )
        .prop_map(|(members, changes)| {
            let members: Vec<_> = members
                .iter()
                .map(|(name, value)| format!("\"{name}\":{value}"))
                .collect();
            let mut bytes = format!("{{{}}}", members.join(",")).into_bytes();
            for (at, value, how) in changes {
                let at = at.index(bytes.len() + 1);
                match how {
                    0 if at < bytes.len() => bytes[at] = value,
                    1 => bytes.insert(at, value),
                    2 => bytes.truncate(at),
                    _ => {}
                }
            }
            bytes
        })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_000,
        failure_persistence: None,
        rng_seed: prop::test_runner::RngSeed::Fixed(0x6E65_7875_7300_0002),
        ..ProptestConfig::default()
    })]

    #[test]
    fn agrees_with_serde_json(body in document()) {
        let ours = check_object(&body);
        let too_deep = ours == Err(JsonError::TooDeep);
        prop_assert_eq!(oracle::disagreement(&body, ours.ok(), too_deep), None);
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = check_object(&[b"{\"code\":", &body[..]].concat());
        let _ = check_object(&body);
    }

    #[test]
    fn plain_runs_end_at_the_first_special_byte(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
        let expected = bytes.iter().position(special).unwrap_or(bytes.len());
        let run = plain_run(&bytes);
        prop_assert_eq!(run.len, expected);
        prop_assert!(!run.is_ascii || bytes[..expected].is_ascii());
        let mut plain = bytes.clone();
        plain.retain(|byte| !special(byte));
        let run = plain_run(&plain);
        prop_assert_eq!((run.len, run.is_ascii), (plain.len(), plain.is_ascii()));
    }
}
