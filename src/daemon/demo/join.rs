//! How a person joins in: commands and snippets with the addresses and secrets of this demonstration in them.

use super::{Cast, Stage};

/// What is printed once all of it worked.
pub(super) fn how_to_join(stage: &Stage<'_>) -> String {
    [
        "\nAll of it worked. The daemon and both workers stay up; join in from another terminal.".to_owned(),
        mosquitto(stage),
        over_tls(stage),
        browser(stage),
        node(stage),
        format!(
            "\nREADME.md explains all of it. Metrics: http://{}/metrics. Ctrl-C ends it and forgets everything.",
            stage.at.http
        ),
    ]
    .join("\n")
}

fn mosquitto(stage: &Stage<'_>) -> String {
    let Cast { device, .. } = stage.cast;
    let login = |version: &str, resource: &str| {
        format!(
            "{version}-h {} -p {} -i {resource} -u {} -P {}",
            stage.at.mqtt.ip(),
            stage.at.mqtt.port(),
            device.account,
            device.secret
        )
    };
    format!(
        "\nWith mosquitto's clients: hear a channel, speak on it, ask worker w1
  mosquitto_sub {} -t 'plant/#' -F '%t %p %P'
  mosquitto_pub {} -t plant/7/status -m 22.5
  mosquitto_rr {} -t '$nexus/api/etest/multiply' -e my/replies -m '{{\"num1\":10,\"num2\":5}}'",
        login("-V mqttv5 ", "laptop"),
        login("", "probe"),
        login("-V mqttv5 ", "asker"),
    )
}

/// The certificate was made by the daemon, so the client is told to believe that one.
fn over_tls(stage: &Stage<'_>) -> String {
    let Cast { device, .. } = stage.cast;
    let Some(at) = stage.at.mqtts else {
        return String::new();
    };
    format!(
        "\nThe same over TLS
  mosquitto_pub -h {} -p {} --cafile {} -i sealed -u {} -P {} -t plant/7/status -m 23.5",
        at.ip(),
        at.port(),
        stage.certificate.display(),
        device.account,
        device.secret
    )
}

fn browser(stage: &Stage<'_>) -> String {
    let Cast { web, .. } = stage.cast;
    format!(
        "\nWith a browser: open docs/web-page.html and type in
  Address   ws://{}/ws
  Account   {}
  Secret    {}
  Resource  web2",
        stage.at.ws,
        web.account_at(stage.domain),
        web.secret
    )
}

fn node(stage: &Stage<'_>) -> String {
    let Cast { web, .. } = stage.cast;
    let Stage { at, domain, .. } = *stage;
    let (account, secret) = (&web.account, &web.secret);
    format!(
        "\nWith @xmpp/client: npm install @xmpp/client ws, and in a file ending in .mjs
  import {{ client, xml }} from '@xmpp/client'
  import WebSocket from 'ws'
  globalThis.WebSocket = WebSocket
  const xmpp = client({{ service: 'ws://{ws}/ws', domain: '{domain}', resource: 'page',
    username: '{account}', password: '{secret}' }})
  xmpp.on('error', console.error)
  xmpp.on('stanza', (stanza) => console.log(`${{stanza}}`))
  xmpp.on('online', () => xmpp.iqCaller.request(xml('iq', {{ type: 'set' }},
    xml('subscribe', {{ xmlns: 'urn:nexus:1', channel: 'plant/#' }}))))
  xmpp.start().catch(console.error)
\nWith mqtt.js, in a web page or Node.js
  const client = mqtt.connect('ws://{ws}/mqtt', {{ protocolVersion: 5, clientId: 'panel',
    username: '{account}', password: '{secret}' }})
  client.subscribe('plant/#')
  client.on('message', (topic, text, {{ properties }}) => console.log(topic, `${{text}}`, properties.userProperties))",
        ws = at.ws,
    )
}
