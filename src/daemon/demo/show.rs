//! What the demonstration shows, exchange by exchange. Each is said, done over real sockets, and compared with what
//! must come of it.

use super::mqtt::{self, Version};
use super::xmpp::{self, Reply};
use super::{Cast, Patience, Stage, say};
use crate::daemon::Fault;

/// Who hears and speaks beside the workers: the customer's web page and device.
struct Players<'a> {
    cast: &'a Cast,
    web: xmpp::Client,
    device: mqtt::Client,
}

/// Connects the web page and the device, and shows the three methods going across the protocols.
pub(super) fn show(stage: &Stage<'_>) -> Result<(), Fault> {
    let Stage { cast, at, domain, .. } = *stage;
    let patience = Patience::TenSeconds;
    let mut players = Players {
        cast,
        web: xmpp::Client::connect(at.ws, domain, &cast.web, patience)?,
        device: mqtt::Client::connect(Version::V311, at.mqtt, &cast.device, patience)?,
    };
    players.device.subscribe("$nexus/direct/#")?;
    players
        .device
        .subscribe(&format!("$nexus/channel/+/+/+/+/{CHANNEL}"))?;
    players.web.subscribe(CHANNEL)?;
    players.api(domain)?;
    players.direct(domain)?;
    players.channel(domain)
}

const CHANNEL: &str = "plant/7/status";

impl Players<'_> {
    fn api(&mut self, domain: &str) -> Result<(), Fault> {
        say("\nAPI: a request to a worker of the app `etest`, and its reply")?;
        title("the web page (XMPP) asks worker w1 (MQTT 5.0)")?;
        let asked = r#"{"num1":10,"num2":5}"#;
        let reply = self.ask("multiply", asked)?;
        expect("the reply", &reply.text, r#"{"code":0,"result":50}"#)?;
        expect("the code", &reply.code, "0")?;
        expect("the answerer", &reply.sender, &self.cast.worker.address(domain))?;

        title("the device (MQTT 3.1.1) asks worker w1 (MQTT 5.0)")?;
        let asked = r#"{"num1":6,"num2":7}"#;
        let reply = self.publish("$nexus/call/r1/etest/multiply", asked)?;
        expect("the topic", &reply.topic, "$nexus/reply/r1")?;
        expect("the reply", &reply.text, r#"{"code":0,"result":42}"#)?;

        title("the device (MQTT 3.1.1) asks worker w2 (XMPP)")?;
        let asked = r#"{"num1":84,"num2":4}"#;
        let reply = self.publish("$nexus/call/r2/etest/divide", asked)?;
        expect("the topic", &reply.topic, "$nexus/reply/r2")?;
        expect("the reply", &reply.text, r#"{"code":0,"result":21}"#)?;

        title("the web page (XMPP) asks for what no worker listens to")?;
        let reply = self.ask("paint", "{}")?;
        expect("the code", &reply.code, "-500")?;
        expect("the reply", &reply.text, "not implemented.")
    }

    fn direct(&mut self, domain: &str) -> Result<(), Fault> {
        say(
            "\nDirect: a one-way string to one block, by app and resource; both workers send it back in capitals",
        )?;
        let [w1, w2, device, web] = self.cast.everybody();
        title("the web page (XMPP) to worker w1 (MQTT 5.0), and back")?;
        say("    -> <direct app='etest' resource='w1'>  hello worker")?;
        self.web.direct("etest", "w1", "hello worker")?;
        let back = self.heard_by_web()?;
        expect("the message", &back.text, "HELLO WORKER")?;
        expect("the sender", &back.sender, &w1.address(domain))?;

        title("the device (MQTT 3.1.1) to worker w2 (XMPP), and back")?;
        let back = self.publish("$nexus/direct/etest/w2", "pump ready")?;
        expect("the message", &back.text, "PUMP READY")?;
        expect("the topic", &back.topic, &w2.below("$nexus/direct"))?;

        title("the web page (XMPP) to the device (MQTT 3.1.1)")?;
        say("    -> <direct app='shop' resource='pump7'>  open the valve")?;
        self.web.direct("shop", &device.resource, "open the valve")?;
        let heard = self.heard_by_device()?;
        expect("the message", &heard.text, "open the valve")?;
        expect("the topic", &heard.topic, &web.below("$nexus/direct"))
    }

    fn channel(&mut self, domain: &str) -> Result<(), Fault> {
        say("\nChannel: named publish/subscribe; the web page and the device hear one channel")?;
        let [_, _, device, web] = self.cast.everybody();
        for (who, sender, text) in [
            ("device (MQTT 3.1.1)", device, "21.5"),
            ("web page (XMPP)", web, "fan on"),
        ] {
            title(&format!("the {who} publishes"))?;
            say(&format!("    -> {CHANNEL}  {text}"))?;
            if sender.resource == device.resource {
                self.device.publish(CHANNEL, text, None)?;
            } else {
                self.web.publish(CHANNEL, text)?;
            }
            let heard = self.heard_by_web()?;
            expect(
                "the channel",
                heard.channel.as_deref().unwrap_or_default(),
                CHANNEL,
            )?;
            expect("the message", &heard.text, text)?;
            expect("the sender", &heard.sender, &sender.address(domain))?;
            let heard = self.heard_by_device()?;
            expect("the message", &heard.text, text)?;
            let topic = format!("{}/{CHANNEL}", sender.below("$nexus/channel"));
            expect("the topic", &heard.topic, &topic)?;
        }
        Ok(())
    }

    /// A request of the web page.
    fn ask(&mut self, cmd: &str, body: &str) -> Result<Reply, Fault> {
        say(&format!("    -> <api app='etest' cmd='{cmd}'>  {body}"))?;
        let reply = self.web.call("etest", cmd, body)?;
        let from = Some(reply.sender.as_str()).filter(|sender| !sender.is_empty());
        say(&format!(
            "    <- code {}  {}  from {}",
            reply.code,
            reply.text,
            from.unwrap_or("the daemon")
        ))?;
        Ok(reply)
    }

    /// A message of the device, and what comes of it.
    fn publish(&mut self, topic: &str, text: &str) -> Result<mqtt::Message, Fault> {
        say(&format!("    -> {topic}  {text}"))?;
        self.device.publish(topic, text, None)?;
        self.heard_by_device()
    }

    fn heard_by_device(&mut self) -> Result<mqtt::Message, Fault> {
        let heard = self.device.message()?;
        say(&format!("    <- {}  {}", heard.topic, heard.text))?;
        Ok(heard)
    }

    fn heard_by_web(&mut self) -> Result<xmpp::Message, Fault> {
        let heard = self.web.message()?;
        let at = match &heard.channel {
            Some(channel) => format!("<publish channel='{channel}'>"),
            None => "<body>".to_owned(),
        };
        say(&format!("    <- {at}  {}  from {}", heard.text, heard.sender))?;
        Ok(heard)
    }
}

fn title(text: &str) -> Result<(), Fault> {
    say(&format!("  {text}"))
}

fn expect(what: &str, got: &str, wanted: &str) -> Result<(), Fault> {
    if got == wanted {
        Ok(())
    } else {
        Err(Fault::new(format!("{what} is {got:?}, expected {wanted:?}")))
    }
}
