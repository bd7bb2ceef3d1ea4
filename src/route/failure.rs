//! The outcomes that the daemon itself gives to requests (PROTOCOL 2.1), and their bodies.

use std::io::Write;

use super::select::Nobody;
use crate::observe::ApiOutcome;

/// Why a request got no reply from a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    NoWorker,
    NotImplemented,
    NotEntitled,
    WorkerGone,
    Overloaded,
    TooLarge,
    /// What is wrong, without characters that JSON would escape.
    BadRequest(&'static str),
    Timeout,
    /// The worker answered with its protocol's error.
    ByWorker(i32),
}

impl Failure {
    pub(crate) const fn code(self) -> i32 {
        match self {
            Self::NoWorker => -2000,
            Self::NotImplemented => -500,
            Self::NotEntitled => -3000,
            Self::WorkerGone => -2001,
            Self::Overloaded => -2002,
            Self::TooLarge => -2003,
            Self::BadRequest(_) => -2004,
            Self::Timeout => -408,
            Self::ByWorker(code) => code,
        }
    }

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::NoWorker => "no free worker found.",
            Self::NotImplemented => "not implemented.",
            Self::NotEntitled => "you dont have active service.",
            Self::WorkerGone => "worker disconnected.",
            Self::Overloaded => "too many requests in flight.",
            Self::TooLarge => "too large.",
            Self::BadRequest(wrong) => wrong,
            Self::Timeout => "timeout",
            Self::ByWorker(_) => "the worker failed.",
        }
    }

    /// Under which name it is counted.
    pub(crate) const fn kind(self) -> ApiOutcome {
        match self {
            Self::NoWorker => ApiOutcome::NoWorker,
            Self::NotImplemented => ApiOutcome::NotImplemented,
            Self::NotEntitled => ApiOutcome::NotEntitled,
            Self::WorkerGone => ApiOutcome::WorkerGone,
            Self::Overloaded => ApiOutcome::Overloaded,
            Self::TooLarge => ApiOutcome::TooLarge,
            Self::BadRequest(_) => ApiOutcome::BadRequest,
            Self::Timeout => ApiOutcome::Timeout,
            Self::ByWorker(_) => ApiOutcome::Reply,
        }
    }

    /// Writes `{"code":N,"error":"text"}` in the place of what is in `body`.
    pub(crate) fn write(self, body: &mut Vec<u8>) {
        self.write_with(body, "");
    }

    /// The same with more members, each with a comma before.
    pub(crate) fn write_with(self, body: &mut Vec<u8>, more: &str) {
        body.clear();
        // Writing to a Vec does not fail.
        let _ = write!(
            body,
            r#"{{"code":{},"error":"{}"{more}}}"#,
            self.code(),
            self.text()
        );
    }
}

impl From<Nobody> for Failure {
    fn from(nobody: Nobody) -> Self {
        match nobody {
            Nobody::NoWorker => Self::NoWorker,
            Nobody::NotImplemented => Self::NotImplemented,
            Nobody::Overloaded => Self::Overloaded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p2_1_failures_have_the_same_body_on_every_face() {
        let table = [
            (Failure::NoWorker, -2000, "no free worker found."),
            (Failure::NotImplemented, -500, "not implemented."),
            (Failure::NotEntitled, -3000, "you dont have active service."),
            (Failure::WorkerGone, -2001, "worker disconnected."),
            (Failure::Overloaded, -2002, "too many requests in flight."),
            (Failure::TooLarge, -2003, "too large."),
            (Failure::BadRequest("what is wrong"), -2004, "what is wrong"),
            (Failure::Timeout, -408, "timeout"),
        ];
        let mut body = Vec::new();
        for (failure, code, text) in table {
            failure.write(&mut body);
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(value, serde_json::json!({"code": code, "error": text}));
        }
        Failure::NoWorker.write_with(&mut body, r#","jids":[]"#);
        assert_eq!(
            body,
            br#"{"code":-2000,"error":"no free worker found.","jids":[]}"#
        );
    }
}
