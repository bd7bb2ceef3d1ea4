//! What arguments are read as. A value that breaks its grammar is wrong usage.

use std::net::SocketAddr;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::daemon::control::ServiceKind;
use crate::route::identity::{check_app, check_resource};
use crate::route::{Account, CredentialId, DirectPolicy, NameError, Role, Uid};

/// An address to listen on.
pub(super) fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse()
        .map_err(|_| "it is an IP address with a port, such as 127.0.0.1:1883")
}

pub(super) fn app(text: &str) -> Result<String, NameError> {
    check_app(text).map(str::to_owned)
}

pub(super) fn account(text: &str) -> Result<String, NameError> {
    Account::parse(text).map(|account| account.name.to_owned())
}

pub(super) fn resource(text: &str) -> Result<String, NameError> {
    check_resource(text).map(str::to_owned)
}

pub(super) fn uid(text: &str) -> Result<Uid, NameError> {
    Uid::parse(text)
}

pub(super) fn role(text: &str) -> Result<Role, NameError> {
    Role::parse(text)
}

pub(super) fn direct(text: &str) -> Result<DirectPolicy, &'static str> {
    match text {
        "any" => Ok(DirectPolicy::Any),
        "entitled" => Ok(DirectPolicy::Entitled),
        _ => Err("it is any or entitled"),
    }
}

pub(super) fn kind(text: &str) -> Result<ServiceKind, &'static str> {
    match text {
        "get" => Ok(ServiceKind::Get),
        "purchase" => Ok(ServiceKind::Purchase),
        _ => Err("it is get or purchase"),
    }
}

pub(super) fn credential(text: &str) -> Result<CredentialId, &'static str> {
    // What the database can number.
    let id = text
        .parse()
        .ok()
        .filter(|id| i64::try_from(*id).is_ok_and(|id| id > 0));
    id.map(CredentialId)
        .ok_or("it is a number as 'secret list' shows it")
}

/// A point in time (RFC 3339), in milliseconds since the Unix epoch.
pub(super) fn moment(text: &str) -> Result<u64, &'static str> {
    let moment = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "it is a time as in RFC 3339, such as 2030-12-31T23:59:59Z")?;
    u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).map_err(|_| "it is a time after 1970")
}

/// A point in time as RFC 3339 writes it, in UTC.
pub(super) fn show_moment(unix_ms: u64) -> Value {
    let nanos = i128::from(unix_ms) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .map_or(Value::Null, Value::String)
}

/// A point in time, if there is one.
pub(super) fn show_optional_moment(unix_ms: Option<u64>) -> Value {
    unix_ms.map_or(Value::Null, show_moment)
}
