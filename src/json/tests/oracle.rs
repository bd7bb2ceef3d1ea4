//! What serde_json makes of a body. A fuzz target shares this file.

/// How serde_json and we differ on `body`, if it is not a known way: a text for the failure's message. `ours` is
/// what we gave, none if we refused it; `too_deep` whether that was for its depth.
pub(crate) fn disagreement(body: &[u8], ours: Option<Option<i32>>, too_deep: bool) -> Option<String> {
    let parsed: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_slice(body);
    let agree = match (ours, &parsed) {
        (Some(code), Ok(object)) => {
            let theirs = object.get("code");
            // It takes -0 for a floating-point number.
            let negative_zero = theirs.and_then(serde_json::Value::as_f64) == Some(0.0)
                && theirs.is_some_and(serde_json::Value::is_f64);
            let theirs = theirs
                .and_then(serde_json::Value::as_i64)
                .and_then(|code| i32::try_from(code).ok());
            code == theirs || (code == Some(0) && negative_zero)
        }
        (None, Err(_)) => true,
        // Its bound on depth is 128.
        (None, Ok(_)) => too_deep,
        // It decodes strings, so it refuses lone surrogates; it converts numbers, so it refuses those that no
        // f64 holds.
        (Some(_), Err(error)) => {
            let error = error.to_string();
            [
                "lone leading surrogate",
                "unexpected end of hex escape",
                "number out of range",
            ]
            .iter()
            .any(|known| error.contains(known))
        }
    };
    (!agree).then(|| {
        format!(
            "{}: {ours:?} but serde_json {parsed:?}",
            String::from_utf8_lossy(body)
        )
    })
}
