//! The options of every scenario, and what they amount to.

use std::path::PathBuf;

use clap::Args;

use super::{FilterKind, Protocol, read_accounts, resolve};
use crate::engine::{Endpoint, Range, Tls};
use crate::protocol::login::Continuity;
use crate::protocol::stamp::{Form, blank_payload};
use crate::protocol::{Version, Wire, mqtt};
use crate::scenario::flow::Places;
use crate::scenario::{Load, Settings, topic};

/// Options of every scenario.
#[derive(Args, Debug)]
pub struct Common {
    /// The server, host:port.
    #[arg(long)]
    pub server: String,
    /// File of lines `account secret`, used in turn as user name and password.
    #[arg(long, conflicts_with = "anonymous")]
    pub accounts: Option<PathBuf>,
    /// Connect without user name (the default where no accounts are given); over XMPP by SASL ANONYMOUS.
    #[arg(long)]
    pub anonymous: bool,
    /// What is spoken; of `api`, by the requesters.
    #[arg(long, value_enum, default_value_t = Protocol::Mqtt)]
    pub protocol: Protocol,
    /// The domain of XMPP.
    #[arg(long, default_value = "localhost")]
    pub domain: String,
    /// MQTT version: 3 (3.1.1) or 5.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=5))]
    pub version: u8,
    /// QoS of publishes and subscriptions: 0, 1 or 2.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Payload of a message, bytes; at least 24, over XMPP 48.
    #[arg(long, default_value_t = 100)]
    pub payload: usize,
    /// How subscribers name the topic.
    #[arg(long, value_enum, default_value_t = FilterKind::Plain)]
    pub filter: FilterKind,
    /// MQTT: the sessions outlive their connections.
    #[arg(long)]
    pub kept: bool,
    /// MQTT: the sessions are there from an earlier run with `--kept` and the same `--run`; one that is not ends the
    /// run. Nothing is subscribed to anew.
    #[arg(long, requires = "run")]
    pub returning: bool,
    /// XMPP: the sessions may be resumed (XEP-0198), and acknowledge what they are sent.
    #[arg(long)]
    pub resume: bool,
    /// Number of the run, which names its connections and topics; without it a random one.
    #[arg(long)]
    pub run: Option<u32>,
    /// MQTT over WebSocket.
    #[arg(long)]
    pub ws: bool,
    /// Path of the WebSocket; /mqtt or /ws by default.
    #[arg(long)]
    pub ws_path: Option<String>,
    /// Over TLS. The server's certificate is not looked at unless `--ca-file` is given.
    #[arg(long, group = "sealed")]
    pub tls: bool,
    /// XMPP over TCP: TLS after STARTTLS.
    #[arg(long, group = "sealed")]
    pub starttls: bool,
    /// The authorities that the server's certificate must be signed by, in PEM; over TCP, XMPP's is the domain's.
    #[arg(long, requires = "sealed")]
    pub ca_file: Option<PathBuf>,
    /// Resume sessions of TLS by the server's tickets.
    #[arg(long, requires = "sealed")]
    pub tls_resume: bool,
    /// `pairs`, `fanout`, `fanin` and `api` against a bare relay that knows connections by their order of arrival: no MQTT,
    /// the same bytes.
    #[arg(long)]
    pub raw: bool,
    /// Another listener of the server, host:port: groups of publishers and subscribers take the two in turn.
    #[arg(long)]
    pub other_server: Option<String>,
    /// The subscribers of a group connect to the other listener than its publishers.
    #[arg(long, requires = "other_server")]
    pub across: bool,
    /// Load threads.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Cores to pin the threads to, in turn: 1,2,3.
    #[arg(long, value_delimiter = ',')]
    pub cores: Vec<usize>,
    /// Never block: lower latency noise, a whole core per thread.
    #[arg(long)]
    pub spin: bool,
    /// Unix time of the first send, seconds: so that several generators begin together. Connections have to be ready
    /// by then.
    #[arg(long)]
    pub start_at: Option<f64>,
    /// Seconds before the measurement.
    #[arg(long, default_value_t = 1.0)]
    pub warmup: f64,
    /// Seconds of measurement.
    #[arg(long, default_value_t = 10.0)]
    pub duration: f64,
    /// Seconds to wait for what is still missing at the end.
    #[arg(long, default_value_t = 5.0)]
    pub drain: f64,
    /// Open loop: sends per second over all senders.
    #[arg(long, conflicts_with = "window")]
    pub rate: Option<f64>,
    /// Closed loop: messages in flight per sender.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub window: u64,
    /// Process id of the server: its CPU time and memory are reported.
    #[arg(long)]
    pub server_pid: Option<u32>,
    /// Keep Alive, seconds; 0: off.
    #[arg(long, default_value_t = 300)]
    pub keepalive: u16,
    /// Connections being opened at a time, per thread.
    #[arg(long, default_value_t = 64)]
    pub opening: usize,
    /// Loopback source addresses to connect from (127.0.0.2 and up); 0: the system's choice. By default as many as a
    /// run needs.
    #[arg(long, conflicts_with = "source")]
    pub sources: Option<u32>,
    /// Addresses of this machine to connect from, in turn: 10.0.0.5-10.0.0.9,10.0.1.1.
    #[arg(long, value_delimiter = ',')]
    pub source: Vec<Range>,
    /// Seconds all connections may take to become ready.
    #[arg(long, default_value_t = 60.0)]
    pub setup: f64,
    /// What is written besides the table.
    #[command(flatten)]
    pub files: Files,
    /// No progress lines.
    #[arg(long)]
    pub quiet: bool,
}

/// Files that a report is written to.
#[derive(Args, Clone, Debug, Default)]
pub struct Files {
    /// Write the report as JSON to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Write the latency distribution in HdrHistogram's text format to this file.
    #[arg(long)]
    pub hgrm: Option<PathBuf>,
    /// Draw the latency percentiles into this SVG file.
    #[arg(long)]
    pub svg: Option<PathBuf>,
}

impl Common {
    /// The listener that all but workers connect to.
    pub(super) fn endpoint(&self, wire: Wire) -> Result<Endpoint, String> {
        let path = || {
            self.ws_path
                .clone()
                .unwrap_or_else(|| self.protocol.ws_path().into())
        };
        Ok(Endpoint {
            server: resolve("--server", &self.server)?,
            wire,
            ws_path: (self.ws || self.protocol == Protocol::Xmpp).then(path),
            tls: self.tls_to(self.protocol, &self.server)?,
        })
    }

    /// The other listener of `--other-server`.
    pub(super) fn other_endpoint(&self, wire: Wire, server: &str) -> Result<Endpoint, String> {
        Ok(Endpoint {
            server: resolve("--other-server", server)?,
            ..self.endpoint(wire)?
        })
    }

    /// Where groups of publishers and subscribers connect, the usual subscribers at `subscribers_at`.
    pub fn places(&self, subscribers_at: usize) -> Places {
        match self.other_server {
            Some(_) => Places::InTurn { across: self.across },
            None => Places::Subscribers(subscribers_at),
        }
    }

    /// TLS to a server, host:port, if it is spoken.
    fn tls_to(&self, protocol: Protocol, server: &str) -> Result<Option<Tls>, String> {
        let host = match protocol {
            Protocol::XmppTcp => &self.domain,
            _ => server.rsplit_once(':').map_or(server, |(host, _)| host),
        };
        let tls = || Tls::new(host, self.ca_file.as_deref(), self.tls_resume);
        let spoken = self.tls || (self.starttls && protocol == Protocol::XmppTcp);
        spoken.then(tls).transpose()
    }

    /// The listener that workers of `protocol` connect to; `None`: the requesters'.
    pub(super) fn worker_endpoint(
        &self,
        protocol: Protocol,
        server: Option<&str>,
    ) -> Result<Option<Endpoint>, String> {
        let Some(server) = server else {
            return if protocol == self.protocol {
                Ok(None)
            } else {
                Err("workers of another protocol need --worker-server".into())
            };
        };
        Ok(Some(Endpoint {
            server: resolve("--worker-server or --web-server", server)?,
            wire: self.wire(protocol),
            ws_path: (self.ws || protocol == Protocol::Xmpp).then(|| protocol.ws_path().into()),
            tls: self.tls_to(protocol, server)?,
        }))
    }

    /// How much load.
    pub fn load(&self) -> Load {
        let window = self.window;
        self.rate
            .map_or(Load::Closed { window }, |rate_hz| Load::Open { rate_hz })
    }

    fn version(&self) -> Version {
        if self.version == 5 {
            Version::V5
        } else {
            Version::V3
        }
    }

    fn wire(&self, protocol: Protocol) -> Wire {
        match protocol {
            Protocol::Mqtt => Wire::Mqtt(self.version()),
            Protocol::Xmpp => Wire::Xmpp,
            Protocol::XmppTcp => Wire::XmppStream {
                starttls: self.starttls,
            },
            Protocol::Nats => Wire::Nats,
        }
    }

    /// The settings of the scenarios.
    ///
    /// # Errors
    /// A sentence, for options that do not go together or an unreadable file.
    pub fn settings(&self, run: u32) -> Result<Settings, String> {
        if self.version == 4 {
            return Err("--version 3 stands for MQTT 3.1.1, 5 for MQTT 5.0; there is no 4".into());
        }
        let wire = if self.raw {
            self.raw_wire(run)?
        } else {
            self.wire(self.protocol)
        };
        let least = wire.stamp_form().bytes();
        if self.payload < least {
            return Err(format!(
                "--payload {}: at least {least} bytes are needed",
                self.payload
            ));
        }
        if self.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            return Err("--rate must be above 0".into());
        }
        if self.raw && (self.threads != 1 || self.ws || self.qos != 0) {
            return Err("--raw needs --threads 1, --qos 0 and no --ws".into());
        }
        if self.protocol == Protocol::Nats {
            let other =
                self.raw || self.qos != 0 || self.filter != FilterKind::Plain || self.kept || self.returning;
            if other || self.ws || self.tls || self.accounts.is_some() {
                return Err("--protocol nats has no options of MQTT, no --ws, --tls or --accounts".into());
            }
        }
        if self.protocol.is_xmpp() {
            if self.raw || self.qos != 0 || self.filter != FilterKind::Plain || self.kept || self.returning {
                return Err("--protocol xmpp has no --raw, --qos, --filter, --kept or --returning".into());
            }
            if self.accounts.is_none() && !self.anonymous {
                return Err(
                    "--protocol xmpp needs --accounts, or --anonymous where the server takes that".into(),
                );
            }
            if self.protocol == Protocol::XmppTcp && self.ws {
                return Err("--protocol xmpp-tcp goes without --ws; xmpp is over WebSocket".into());
            }
        }
        if self.resume && !self.protocol.is_xmpp() {
            return Err("--resume needs --protocol xmpp".into());
        }
        let filter_prefix = match self.filter {
            FilterKind::Plain | FilterKind::Wild => String::new(),
            FilterKind::Sender => "$nexus/channel/+/+/+/+/".into(),
        };
        Ok(Settings {
            wire,
            endpoint: 0,
            domain: self.domain.clone(),
            run,
            logins: self.accounts.as_deref().map_or(Ok(Vec::new()), read_accounts)?,
            load: self.load(),
            qos: self.qos,
            payload_bytes: self.payload,
            filter_prefix,
            keepalive_s: self.keepalive,
            concurrency: self.opening.max(1),
            filter_suffix: if self.filter == FilterKind::Wild { "/+" } else { "" }.into(),
            continuity: match (self.returning, self.kept || self.resume) {
                (true, _) => Continuity::Returning,
                (false, true) => Continuity::Kept,
                (false, false) => Continuity::Clean,
            },
        })
    }

    /// Raw messages have the length of the PUBLISH they stand for.
    fn raw_wire(&self, run: u32) -> Result<Wire, String> {
        let payload = blank_payload(Form::Binary, self.payload);
        let template =
            mqtt::publish(self.version(), &topic(run, 0), 0..0, 0, &payload).map_err(|error| error.0)?;
        Ok(Wire::Raw {
            frame_bytes: template.frame().len(),
            payload_bytes: self.payload,
        })
    }
}
