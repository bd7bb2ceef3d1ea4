//! Names and messages that tests use all the time.

use std::time::Duration;

use super::net::Net;
use crate::route::*;

/// A second.
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// `<app>-<uid>-<role>` of the `n`th user.
pub(crate) fn account(app: &str, n: u32, role: &str) -> String {
    format!("{app}-{n:024x}-{role}")
}

/// The `n`th user.
pub(crate) fn uid(n: u32) -> Uid {
    Uid::parse(&format!("{n:024x}")).unwrap()
}

/// A service without end.
pub(crate) fn service(app: &str) -> Service {
    Service {
        app: app.into(),
        expires_unix_ms: None,
    }
}

/// A message on a channel.
pub(crate) fn message<'a>(channel: &'a str, payload: &'a str, qos: Qos) -> ChannelMessage<'a> {
    ChannelMessage {
        channel,
        payload: payload.as_bytes(),
        attributes: &[],
        qos,
        retain: false,
        expires: None,
    }
}

/// A request to any worker of `etest`.
pub(crate) fn call<'a>(cmd: &'a str, label: &'a [u8]) -> ApiRequest<'a> {
    ApiRequest {
        app: "etest",
        cmd,
        resource: None,
        ownership: Ownership::Any,
        prioritize_mine: false,
        body: b"{\"n\":1}",
        label,
        label_is_unique: false,
        qos: Qos::AtMostOnce,
    }
}

/// A Direct message to a block of `etest`.
pub(crate) fn to<'a>(resource: &'a str, text: &'a str) -> Direct<'a> {
    Direct {
        app: "etest",
        resource,
        account: None,
        text,
        attributes: &[],
        qos: Qos::AtMostOnce,
    }
}

/// Runs a test with one, two and eight shards.
pub(crate) fn on_any_shards(test: impl Fn(Net)) {
    for shards in [1, 2, 8] {
        test(Net::new(shards));
    }
}
