//! `nexusd demo`: a throw-away daemon with a sample app, and sample clients that show API, Direct and Channel
//! going over real sockets.

mod client;

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::client::{Client, Login, Message, Transport, Version};
use super::Fault;
use super::control::{AccountSecret, OpenMode, Records, ServiceKind};
use super::serve::{Addresses, Daemon};
use crate::config::{Config, Listen};
use crate::route::{Role, Uid};

const OWNER: &str = "0123456789abcdef01234567";
const CUSTOMER: &str = "89abcdef0123456789abcdef";

/// The sample accounts: the app's owner runs the worker, a customer with a service has a web page and a device.
struct Cast {
    worker: Login,
    web: Login,
    device: Login,
}

/// Runs the demonstration. With `once` it ends after the exchange, else it stays up until SIGINT or SIGTERM.
/// The store goes away with it unless `keeps_store`.
pub fn demo(mut config: Config, keeps_store: bool, once: bool) -> Result<(), Fault> {
    let throw_away =
        tempfile::tempdir().map_err(|e| Fault::new(format!("cannot make a temporary folder: {e}")))?;
    if !keeps_store {
        config.data_dir = throw_away.path().join("store");
    }
    config.listen = free_addresses(config.listen);
    let mut signals =
        Signals::new([SIGINT, SIGTERM]).map_err(|e| Fault::new(format!("cannot watch for signals: {e}")))?;
    let cast = cast(&config.data_dir)?;
    let daemon = Daemon::start(&config)?;
    let at = daemon.addresses();
    let shown = show(&cast, at);
    if let Err(fault) = shown {
        daemon.stop()?;
        return Err(fault);
    }
    if !once {
        say(&how_to_join(&cast, at))?;
        if let Some(signal) = signals.forever().next() {
            say(&format!("\nSignal {signal}: stopping."))?;
        }
    }
    daemon.stop()
}

/// The configured addresses; where one is taken, any free port on it.
fn free_addresses(listen: Listen) -> Listen {
    let free = |address: SocketAddr| {
        if std::net::TcpListener::bind(address).is_ok() {
            address
        } else {
            SocketAddr::new(address.ip(), 0)
        }
    };
    Listen {
        mqtt: free(listen.mqtt),
        ws: free(listen.ws),
        http: free(listen.http),
    }
}

fn cast(data_dir: &Path) -> Result<Cast, Fault> {
    let fault = |e: &dyn std::fmt::Display| Fault::new(format!("cannot make the sample accounts: {e}"));
    let uid = |text: &str| Uid::parse(text).map_err(|e| fault(&e));
    let (owner, customer) = (uid(OWNER)?, uid(CUSTOMER)?);
    let mut records = Records::open(data_dir, OpenMode::Create).map_err(|e| fault(&e))?;
    let made = records.write(|writer| {
        writer.add_app("etest", None, None)?;
        writer.add_app("shop", None, None)?;
        writer.grant_service(customer, "etest", ServiceKind::Get, None)?;
        Ok((
            writer.add_account("etest", owner, Role::Owner)?,
            writer.add_account("shop", customer, Role::User)?,
        ))
    });
    let (owner, customer) = made.map_err(|e| fault(&e))?;
    let login = |of: &AccountSecret, resource: &str| Login {
        account: of.account.clone(),
        secret: of.secret.expose().to_owned(),
        resource: resource.to_owned(),
    };
    Ok(Cast {
        worker: login(&owner, "w1"),
        web: login(&customer, "web1"),
        device: login(&customer, "pump7"),
    })
}

fn show(cast: &Cast, at: Addresses) -> Result<(), Fault> {
    say(&format!(
        "nexusd listens: MQTT on {}, WebSocket on ws://{}/mqtt, metrics on http://{}/metrics\n",
        at.mqtt, at.ws, at.http
    ))?;
    say(&format!(
        "  worker  {}/{} (MQTT 5.0 over TCP)",
        cast.worker.account, cast.worker.resource
    ))?;
    say(&format!(
        "  web     {}/{} (MQTT 5.0 over WebSocket)",
        cast.web.account, cast.web.resource
    ))?;
    say(&format!(
        "  device  {}/{} (MQTT 3.1.1 over TCP)\n",
        cast.device.account, cast.device.resource
    ))?;
    let worker = Client::connect(Version::V5, Transport::Tcp(at.mqtt), &cast.worker)?;
    let worker = start_worker(worker)?;
    let mut web = Client::connect(Version::V5, Transport::WebSocket(at.ws), &cast.web)?;
    let mut device = Client::connect(Version::V311, Transport::Tcp(at.mqtt), &cast.device)?;
    show_api(&mut web, &mut device)?;
    show_direct(cast, &mut web, &mut device)?;
    show_channel(cast, &mut web, &mut device)?;
    web.publish("$nexus/direct/etest/w1", "stop", None)?;
    match worker.join() {
        Ok(result) => result,
        Err(_) => Err(Fault::new("the sample worker panicked")),
    }
}

/// The sample worker: multiplies, sends every Direct message back in capitals, ends when told `stop`.
fn start_worker(mut worker: Client) -> Result<JoinHandle<Result<(), Fault>>, Fault> {
    worker.subscribe("$nexus/listen/multiply")?;
    worker.subscribe("$nexus/direct")?;
    let work = move || loop {
        let message = worker.message()?;
        let sender = message
            .sender()
            .ok_or_else(|| Fault::new("a message came without its sender"))?;
        match &message.response_topic {
            Some(answer) => {
                let reply = multiply(&message.text);
                worker.publish(answer, &reply, None)?;
            }
            None if message.text == "stop" => return Ok(()),
            None => {
                let (account, resource) = sender.split_once('/').unwrap_or_default();
                let app = account.split('-').next().unwrap_or_default();
                let back = format!("$nexus/direct/{app}/{resource}");
                worker.publish(&back, &message.text.to_uppercase(), None)?;
            }
        }
    };
    std::thread::Builder::new()
        .name("sample worker".to_owned())
        .spawn(work)
        .map_err(|e| Fault::new(format!("cannot start the sample worker: {e}")))
}

fn multiply(body: &str) -> String {
    let numbers = serde_json::from_str::<serde_json::Value>(body).ok();
    let number = |name: &str| numbers.as_ref()?.get(name)?.as_i64();
    match number("num1")
        .zip(number("num2"))
        .and_then(|(a, b)| a.checked_mul(b))
    {
        Some(result) => serde_json::json!({ "code": 0, "result": result }).to_string(),
        None => serde_json::json!({ "code": -1, "error": "num1 and num2 are needed" }).to_string(),
    }
}

fn show_api(web: &mut Client, device: &mut Client) -> Result<(), Fault> {
    say("API: a request to a worker of the app `etest`, and its reply")?;
    let body = r#"{"num1":10,"num2":5}"#;
    web.publish("$nexus/api/etest/multiply", body, Some("my/replies"))?;
    let reply = web.message()?;
    report("web", "$nexus/api/etest/multiply", body, &reply)?;
    expect("the reply", &reply.text, r#"{"code":0,"result":50}"#)?;
    let body = r#"{"num1":6,"num2":7}"#;
    device.publish("$nexus/call/r1/etest/multiply", body, None)?;
    let reply = device.message()?;
    report("device", "$nexus/call/r1/etest/multiply", body, &reply)?;
    expect("the reply", &reply.text, r#"{"code":0,"result":42}"#)?;
    web.publish("$nexus/api/etest/divide", "{}", Some("my/replies"))?;
    let reply = web.message()?;
    report("web", "$nexus/api/etest/divide", "{}", &reply)?;
    expect(
        "the reply",
        &reply.text,
        r#"{"code":-500,"error":"not implemented."}"#,
    )
}

fn show_direct(cast: &Cast, web: &mut Client, device: &mut Client) -> Result<(), Fault> {
    say(
        "\nDirect: a one-way string to one worker by app and resource; this worker sends it back in capitals",
    )?;
    web.subscribe("$nexus/direct")?;
    device.subscribe("$nexus/direct/#")?;
    web.publish("$nexus/direct/etest/w1", "hello worker", None)?;
    let back = web.message()?;
    report("web", "$nexus/direct/etest/w1", "hello worker", &back)?;
    expect("the message", &back.text, "HELLO WORKER")?;
    device.publish("$nexus/direct/etest/w1", "pump ready", None)?;
    let back = device.message()?;
    report("device", "$nexus/direct/etest/w1", "pump ready", &back)?;
    let worker = cast.worker.account.replace('-', "/");
    expect("the topic", &back.topic, &format!("$nexus/direct/{worker}/w1"))
}

fn show_channel(cast: &Cast, web: &mut Client, device: &mut Client) -> Result<(), Fault> {
    say("\nChannel: named publish/subscribe; every delivery names its sender")?;
    web.subscribe("plant/+/temperature")?;
    device.subscribe("$nexus/channel/+/+/+/+/plant/7/command")?;
    device.publish("plant/7/temperature", "21.5", None)?;
    let heard = web.message()?;
    report("device", "plant/7/temperature", "21.5", &heard)?;
    let device_address = format!("{}/{}", cast.device.account, cast.device.resource);
    expect("the sender", &heard.sender().unwrap_or_default(), &device_address)?;
    web.publish("plant/7/command", "fan on", None)?;
    let heard = device.message()?;
    report("web", "plant/7/command", "fan on", &heard)?;
    let web_path = cast.web.account.replace('-', "/");
    expect(
        "the topic",
        &heard.topic,
        &format!("$nexus/channel/{web_path}/web1/plant/7/command"),
    )
}

fn report(who: &str, topic: &str, sent: &str, got: &Message) -> Result<(), Fault> {
    let sender = got
        .sender()
        .map(|sender| format!(" from {sender}"))
        .unwrap_or_default();
    say(&format!(
        "  {who} -> {topic}  {sent}\n      <- {}  {}{sender}",
        got.topic, got.text
    ))
}

fn expect(what: &str, got: &str, wanted: &str) -> Result<(), Fault> {
    if got == wanted {
        Ok(())
    } else {
        Err(Fault::new(format!("{what} is {got:?}, expected {wanted:?}")))
    }
}

fn how_to_join(cast: &Cast, at: Addresses) -> String {
    let Cast { web, device, .. } = cast;
    format!(
        "\nAll of it worked. The daemon stays up; join in from another terminal:\n
  mosquitto_sub -V mqttv5 -h {mqtt_ip} -p {mqtt_port} -i laptop -u {device} -P {device_secret} -t 'plant/#' -F '%t %p %P'
  mosquitto_pub -h {mqtt_ip} -p {mqtt_port} -i probe -u {device} -P {device_secret} -t plant/7/temperature -m 22.5
\nor from a web page or Node.js with mqtt.js:\n
  const client = mqtt.connect('ws://{ws}/mqtt', {{ protocolVersion: 5, clientId: 'page',
    username: '{web}', password: '{web_secret}' }})
  client.subscribe('plant/#'); client.on('message', (topic, text, packet) => console.log(topic, `${{text}}`, packet.properties.userProperties))
\nMetrics: http://{http}/metrics. Ctrl-C ends it and forgets everything.",
        mqtt_ip = at.mqtt.ip(),
        mqtt_port = at.mqtt.port(),
        ws = at.ws,
        http = at.http,
        device = device.account,
        device_secret = device.secret,
        web = web.account,
        web_secret = web.secret,
    )
}

fn say(text: &str) -> Result<(), Fault> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|e| Fault::new(format!("cannot print: {e}")))
}
