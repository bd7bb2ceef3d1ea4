//! What clients send: JSON, whatever the content type says. Members that are not known are passed over.

use serde_json::{Map, Value};

use super::Failure;
use crate::limits;
use crate::route::identity::{check_app, check_resource};
use crate::route::{Ownership, Uid};
use crate::store::token::is_token;

/// A request that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Credentials for a block, and it announced as a worker.
    Credentials {
        secret: String,
        resource: Option<String>,
        public: bool,
    },
    /// Live workers of an app.
    Workers {
        secret: String,
        app: String,
        resource: Option<String>,
        ownership: Ownership,
    },
    /// The service that a secret is of.
    ServiceBySecret { secret: String, uid: Uid },
    /// The service that a user has.
    LiveService { secret: String, uid: Uid },
}

/// An endpoint, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Credentials,
    Workers,
    ServiceBySecret,
    LiveService,
}

impl Endpoint {
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            "/api/bridge/worker/service" => Some(Self::Credentials),
            "/api/bridge/worker/findfreeresource" => Some(Self::Workers),
            "/api/service/getbysecret" => Some(Self::ServiceBySecret),
            "/api/service/hasaliveservice" => Some(Self::LiveService),
            _ => None,
        }
    }

    /// Reads the body of a request.
    pub(super) fn read(self, body: &[u8]) -> Result<Request, Failure> {
        let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
            return Err(Failure::BadRequest("the body is not a JSON object"));
        };
        let members = Members(&members);
        match self {
            Self::Credentials => Ok(Request::Credentials {
                secret: members.secret("secret")?,
                resource: members.resource()?,
                public: members.flag("public"),
            }),
            Self::Workers => {
                let app = members.text("app").unwrap_or_default();
                let app = check_app(app).map_err(|error| Failure::BadRequest(error.0))?;
                Ok(Request::Workers {
                    secret: members.secret("secret")?,
                    app: app.to_owned(),
                    resource: members.resource()?,
                    ownership: members.ownership()?,
                })
            }
            Self::ServiceBySecret => Ok(Request::ServiceBySecret {
                secret: members.secret("servicesecret")?,
                uid: members.uid()?,
            }),
            Self::LiveService => Ok(Request::LiveService {
                secret: members.secret("exploresecret")?,
                uid: members.uid()?,
            }),
        }
    }
}

struct Members<'a>(&'a Map<String, Value>);

impl<'a> Members<'a> {
    /// A string that is not empty.
    fn text(&self, name: &str) -> Option<&'a str> {
        let text = self.0.get(name)?.as_str()?;
        (!text.is_empty()).then_some(text)
    }

    fn secret(&self, name: &str) -> Result<String, Failure> {
        let secret = self
            .text(name)
            .ok_or(Failure::BadRequest("a secret is missing or no string"))?;
        if secret.len() > limits::SECRET_BYTES_MAX && !is_token(secret.as_bytes()) {
            return Err(Failure::NotEntitled);
        }
        Ok(secret.to_owned())
    }

    fn uid(&self) -> Result<Uid, Failure> {
        let uid = self.text("uid").unwrap_or_default();
        Uid::parse(uid).map_err(|error| Failure::BadRequest(error.0))
    }

    fn resource(&self) -> Result<Option<String>, Failure> {
        match self.0.get("resource") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => check_resource(text)
                .map(|resource| Some(resource.to_owned()))
                .map_err(|error| Failure::BadRequest(error.0)),
            Some(_) => Err(Failure::BadRequest("resource is no string")),
        }
    }

    /// Yes is `true`, as a boolean or in words, or 1; all else is no.
    fn flag(&self, name: &str) -> bool {
        match self.0.get(name) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => text == "true" || text == "1",
            Some(Value::Number(number)) => number.as_u64() == Some(1),
            _ => false,
        }
    }

    fn ownership(&self) -> Result<Ownership, Failure> {
        match self.text("ownership") {
            Some("mine") => Ok(Ownership::Mine),
            Some("owner") => Ok(Ownership::Owner),
            Some(_) => Err(Failure::BadRequest("ownership is mine or owner")),
            None if self.flag("onlymine") => Ok(Ownership::Mine),
            None if self.flag("onlyowner") => Ok(Ownership::Owner),
            None => Ok(Ownership::Any),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0123456789abcdef01234567";

    fn workers(members: &str) -> Result<(Option<String>, Ownership), Failure> {
        let body = format!(r#"{{"app":"etest","secret":"s"{members}}}"#);
        match Endpoint::Workers.read(body.as_bytes())? {
            Request::Workers {
                resource, ownership, ..
            } => Ok((resource, ownership)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ownership_is_a_word_or_one_of_two_flags() {
        for (members, ownership) in [
            ("", Ownership::Any),
            (r#","ownership":"mine""#, Ownership::Mine),
            (r#","ownership":"owner""#, Ownership::Owner),
            (r#","ownership":null,"onlymine":true"#, Ownership::Mine),
            (r#","ownership":"","onlyowner":"true""#, Ownership::Owner),
            (r#","onlymine":false,"onlyowner":1"#, Ownership::Owner),
            (r#","onlymine":"false","onlyowner":0"#, Ownership::Any),
        ] {
            assert_eq!(workers(members), Ok((None, ownership)), "{members}");
        }
        assert!(matches!(
            workers(r#","ownership":"yours""#),
            Err(Failure::BadRequest(_))
        ));
    }

    #[test]
    fn an_absent_resource_is_none_and_a_wrong_one_is_refused() {
        for absent in ["", r#","resource":null"#, r#","resource":"""#] {
            assert_eq!(workers(absent), Ok((None, Ownership::Any)), "{absent}");
        }
        let named = workers(r#","resource":"w.App.dev""#);
        assert_eq!(named, Ok((Some("w.App.dev".to_owned()), Ownership::Any)));
        for wrong in [r#","resource":"a/b""#, r#","resource":7"#] {
            assert!(matches!(workers(wrong), Err(Failure::BadRequest(_))), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused_with_what_is_wrong() {
        for (endpoint, body, wrong) in [
            (Endpoint::Credentials, "", "JSON object"),
            (Endpoint::Credentials, "[]", "JSON object"),
            (Endpoint::Credentials, "{}", "secret"),
            (Endpoint::Credentials, r#"{"secret":7}"#, "secret"),
            (Endpoint::Workers, r#"{"secret":"s"}"#, "app"),
            (Endpoint::Workers, r#"{"secret":"s","app":"E"}"#, "app"),
            (Endpoint::ServiceBySecret, r#"{"servicesecret":"s"}"#, "uid"),
            (
                Endpoint::LiveService,
                &format!(r#"{{"servicesecret":"s","uid":"{UID}"}}"#),
                "secret",
            ),
        ] {
            match endpoint.read(body.as_bytes()) {
                Err(Failure::BadRequest(text)) => assert!(text.contains(wrong), "{body}: {text}"),
                other => panic!("{body}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_secret_that_nobody_can_have_is_denied_unread() {
        let long = "s".repeat(limits::SECRET_BYTES_MAX + 1);
        let body = format!(r#"{{"secret":"{long}"}}"#);
        assert_eq!(
            Endpoint::Credentials.read(body.as_bytes()),
            Err(Failure::NotEntitled)
        );
    }

    #[test]
    fn other_paths_are_no_endpoints() {
        for path in ["/", "/metrics", "/api/bridge/worker/service/", "/api/service", ""] {
            assert_eq!(Endpoint::of(path), None, "{path}");
        }
    }
}
