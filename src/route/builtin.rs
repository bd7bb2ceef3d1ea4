//! The app `nexus`, which the daemon itself answers for (PROTOCOL 2.5).

use std::borrow::Cow;

use serde::Deserialize;

use super::asking::Asking;
use super::failure::Failure;
use super::identity::{Sender, check_app, check_resource};
use super::message::{Ownership, SessionKey};
use super::port::Port;
use super::router::Router;
use super::select::{own, visible};
use crate::limits;
use crate::observe::ApiOutcome;
use crate::time::Now;

/// The body of `find`.
#[derive(Deserialize)]
struct Find<'a> {
    #[serde(borrow)]
    app: Cow<'a, str>,
    #[serde(borrow, default)]
    resource: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    ownership: Option<Cow<'a, str>>,
}

/// What a built-in command came to.
struct Answered {
    kind: ApiOutcome,
    code: i32,
    body: String,
}

impl Answered {
    fn ok(body: String) -> Self {
        Self {
            kind: ApiOutcome::Reply,
            code: 0,
            body,
        }
    }
}

impl Router {
    /// Answers a request to the app `nexus`.
    pub(super) fn answer_built_in(
        &mut self,
        now: Now,
        port: &mut impl Port,
        from: SessionKey,
        sender: &Sender<'_>,
        label: &[u8],
        asking: &Asking<'_>,
    ) -> Result<(), Failure> {
        let answered = match asking.cmd {
            "ping" => Answered::ok(r#"{"code":0,"pong":true}"#.into()),
            "whoami" => Answered::ok(self.whoami(sender)),
            "find" => self.find(now, sender, asking.body)?,
            _ => return Err(Failure::NotImplemented),
        };
        let Answered { kind, code, body } = answered;
        self.reply_at_once(port, from, label, kind, code, body.as_bytes());
        Ok(())
    }

    fn whoami(&self, sender: &Sender<'_>) -> String {
        let mut body = r#"{"code":0"#.to_owned();
        let members = [
            ("app", sender.app()),
            ("uid", sender.uid_hex()),
            ("role", sender.role().as_str()),
            ("resource", sender.resource()),
        ];
        for (name, value) in members {
            body.push_str(",\"");
            body.push_str(name);
            body.push_str("\":");
            push_json(&mut body, value);
        }
        body.push_str(",\"jid\":");
        push_json(&mut body, &self.jid(sender));
        body.push('}');
        body
    }

    fn jid(&self, sender: &Sender<'_>) -> String {
        format!("{}@{}/{}", sender.account(), self.domain, sender.resource())
    }

    fn find(&mut self, now: Now, sender: &Sender<'_>, body: &[u8]) -> Result<Answered, Failure> {
        let find: Find<'_> = serde_json::from_slice(body)
            .map_err(|_| Failure::BadRequest("find takes app, resource and ownership, all strings"))?;
        check_app(&find.app).map_err(|error| Failure::BadRequest(error.0))?;
        let resource = find.resource.as_deref().filter(|resource| !resource.is_empty());
        if let Some(resource) = resource {
            check_resource(resource).map_err(|error| Failure::BadRequest(error.0))?;
        }
        let ownership = match find.ownership.as_deref() {
            None | Some("") => Ownership::Any,
            Some("mine") => Ownership::Mine,
            Some("owner") => Ownership::Owner,
            Some(_) => return Err(Failure::BadRequest("ownership is mine or owner")),
        };
        if !self.entitlement.may_call(sender, &find.app, now.unix_ms) {
            return Ok(Self::none_found(Failure::NotEntitled));
        }
        let jids = self.find_jids(sender, &find.app, resource, ownership);
        if jids.is_empty() {
            return Ok(Self::none_found(Failure::NoWorker));
        }
        Ok(Answered::ok(format!(r#"{{"code":0,"jids":[{jids}]}}"#)))
    }

    fn none_found(failure: Failure) -> Answered {
        let mut body = Vec::new();
        failure.write_with(&mut body, r#","jids":[]"#);
        Answered {
            kind: failure.kind(),
            code: failure.code(),
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    /// The requester's own first, then the others beginning with another one each time; as many as a body may
    /// hold.
    fn find_jids(
        &mut self,
        sender: &Sender<'_>,
        app: &str,
        resource: Option<&str>,
        ownership: Ownership,
    ) -> String {
        let uid = sender.uid();
        self.rotation = self.rotation.wrapping_add(1);
        let pool = |group| self.directory.pool(app, None, resource, group);
        let mine = own(ownership, uid).into_iter().flatten().flat_map(pool);
        let is_other = |index: &&u32| {
            self.directory
                .known(**index)
                .is_some_and(|known| known.identity.sender().uid() != uid)
        };
        let others = visible(ownership, uid).into_iter().flatten().flat_map(|group| {
            let pool = pool(group);
            let start = self.rotation.checked_rem(pool.len()).unwrap_or(0);
            let (before, from) = pool.split_at(start);
            from.iter().chain(before)
        });
        let mut jids = String::new();
        for &index in mine.chain(others.filter(is_other)) {
            let Some(known) = self.directory.known(index) else {
                continue;
            };
            let jid = self.jid(&known.identity.sender());
            if jids.len() + 2 * jid.len() + 32 > limits::API_BODY_BYTES_MAX {
                break;
            }
            if !jids.is_empty() {
                jids.push(',');
            }
            push_json(&mut jids, &jid);
        }
        jids
    }
}

/// Appends a JSON string. Names hold no control characters: only quotes and backslashes need an escape.
fn push_json(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            json.push('\\');
        }
        json.push(c);
    }
    json.push('"');
}
