//! The sample workers: one of MQTT 5.0, one of XMPP. Each answers one command and sends every Direct message back in
//! capitals, until the daemon ends its connection.

use std::thread::JoinHandle;

use super::mqtt::{self, Version};
use super::xmpp::{self, Event};
use super::{Patience, Stage};
use crate::daemon::Fault;

/// The threads of the sample workers.
pub(super) struct Workers(Vec<JoinHandle<Result<(), Fault>>>);

impl Workers {
    /// Connects both workers and has them listen.
    pub(super) fn start(stage: &Stage<'_>) -> Result<Self, Fault> {
        let Stage { cast, at, domain, .. } = *stage;
        let patience = Patience::Endless;
        let mut w1 = mqtt::Client::connect(Version::V5, at.mqtt, &cast.worker, patience)?;
        w1.subscribe("$nexus/listen/multiply")?;
        w1.subscribe("$nexus/direct")?;
        let mut w2 = xmpp::Client::connect(at.ws, domain, &cast.web_worker, patience)?;
        w2.listen("divide")?;
        Ok(Self(vec![
            spawn("sample worker w1", move || serve_mqtt(&mut w1))?,
            spawn("sample worker w2", move || serve_xmpp(&mut w2))?,
        ]))
    }

    /// Why a worker ended, if one did.
    pub(super) fn fault(self) -> Option<Fault> {
        let ended = self.0.into_iter().find(JoinHandle::is_finished)?;
        match ended.join() {
            Ok(result) => result.err(),
            Err(_) => Some(Fault::new("a sample worker panicked")),
        }
    }
}

fn spawn(
    name: &str,
    work: impl FnOnce() -> Result<(), Fault> + Send + 'static,
) -> Result<JoinHandle<Result<(), Fault>>, Fault> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|e| Fault::new(format!("cannot start a sample worker: {e}")))
}

fn serve_mqtt(worker: &mut mqtt::Client) -> Result<(), Fault> {
    loop {
        let message = worker.message()?;
        let sender = message
            .sender()
            .ok_or_else(|| Fault::new("a message came without its sender"))?;
        if let Some(answer) = &message.response_topic {
            let reply = calculate(&message.text, i64::checked_mul);
            worker.publish(answer, &reply, None)?;
        } else {
            let (account, resource) = sender.split_once('/').unwrap_or_default();
            let app = account.split('-').next().unwrap_or_default();
            let back = format!("$nexus/direct/{app}/{resource}");
            worker.publish(&back, &message.text.to_uppercase(), None)?;
        }
    }
}

fn serve_xmpp(worker: &mut xmpp::Client) -> Result<(), Fault> {
    loop {
        match worker.event()? {
            Event::Request(request) => {
                let reply = calculate(&request.body, i64::checked_div);
                worker.answer(&request, &reply)?;
            }
            Event::Message(message) => {
                worker.direct(&message.app, &message.resource, &message.text.to_uppercase())?;
            }
        }
    }
}

/// The reply to a request that names two numbers.
fn calculate(body: &str, operation: fn(i64, i64) -> Option<i64>) -> String {
    let numbers = serde_json::from_str::<serde_json::Value>(body).ok();
    let number = |name: &str| numbers.as_ref()?.get(name)?.as_i64();
    match number("num1")
        .zip(number("num2"))
        .and_then(|(a, b)| operation(a, b))
    {
        Some(result) => serde_json::json!({ "code": 0, "result": result }).to_string(),
        None => serde_json::json!({ "code": -1, "error": "num1 and num2 are needed" }).to_string(),
    }
}
