//! The tables the tests run over: client forms and shard counts.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use super::world::Net;

/// A third-party client library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    Paho,
    Mqttjs,
    XmppJs,
    Slixmpp,
    /// The release that QE's workers have.
    SlixmppDeployed,
    Aiomqtt,
    Rumqttc,
}

/// A protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V311,
    V5,
    Xmpp,
}

/// What carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Ws,
    Tls,
    Wss,
    /// TCP that turns to TLS.
    StartTls,
}

/// A way to speak to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) library: Library,
    pub(crate) version: Version,
    pub(crate) transport: Transport,
}

impl Form {
    /// Whether it speaks MQTT 5.0.
    pub(crate) fn is_5(self) -> bool {
        self.version == Version::V5
    }

    /// Whether it speaks XMPP.
    pub(crate) fn is_xmpp(self) -> bool {
        self.version == Version::Xmpp
    }
}

/// paho-mqtt, 5.0, TCP: the form for what only one client needs to show.
pub(crate) const PAHO_5: Form = Form {
    library: Library::Paho,
    version: Version::V5,
    transport: Transport::Tcp,
};
/// paho-mqtt, 3.1.1, TCP.
pub(crate) const PAHO_311: Form = Form {
    library: Library::Paho,
    version: Version::V311,
    transport: Transport::Tcp,
};
/// mqtt.js, 5.0, WebSocket.
pub(crate) const MQTTJS_5: Form = Form {
    library: Library::Mqttjs,
    version: Version::V5,
    transport: Transport::Ws,
};
/// mqtt.js, 3.1.1, WebSocket.
pub(crate) const MQTTJS_311: Form = Form {
    library: Library::Mqttjs,
    version: Version::V311,
    transport: Transport::Ws,
};

/// `@xmpp/client`, XMPP, WebSocket.
pub(crate) const XMPPJS: Form = Form {
    library: Library::XmppJs,
    version: Version::Xmpp,
    transport: Transport::Ws,
};

/// slixmpp, XMPP, TCP.
pub(crate) const SLIXMPP: Form = form(Library::Slixmpp, Version::Xmpp, Transport::Tcp);

/// The slixmpp that QE's workers have, which does not log in in clear.
pub(crate) const SLIXMPP_DEPLOYED: Form = form(Library::SlixmppDeployed, Version::Xmpp, Transport::StartTls);

/// Each protocol and version over TLS, bare and with WebSocket in it.
pub(crate) const OVER_TLS: [Form; 11] = [
    form(Library::Paho, Version::V5, Transport::Tls),
    form(Library::Paho, Version::V311, Transport::Wss),
    form(Library::Mqttjs, Version::V311, Transport::Tls),
    form(Library::Mqttjs, Version::V5, Transport::Wss),
    form(Library::Aiomqtt, Version::V5, Transport::Tls),
    form(Library::Aiomqtt, Version::V311, Transport::Wss),
    form(Library::XmppJs, Version::Xmpp, Transport::Wss),
    form(Library::Slixmpp, Version::Xmpp, Transport::Tls),
    form(Library::Slixmpp, Version::Xmpp, Transport::StartTls),
    form(Library::SlixmppDeployed, Version::Xmpp, Transport::Tls),
    form(Library::SlixmppDeployed, Version::Xmpp, Transport::StartTls),
];

/// aiomqtt and rumqttc: each version and transport that they have (rumqttc's WebSocket comes with TLS alone).
pub(crate) const SUITES: [Form; 6] = [
    form(Library::Aiomqtt, Version::V311, Transport::Tcp),
    form(Library::Aiomqtt, Version::V5, Transport::Tcp),
    form(Library::Aiomqtt, Version::V311, Transport::Ws),
    form(Library::Aiomqtt, Version::V5, Transport::Ws),
    form(Library::Rumqttc, Version::V311, Transport::Tcp),
    form(Library::Rumqttc, Version::V5, Transport::Tcp),
];

const fn form(library: Library, version: Version, transport: Transport) -> Form {
    Form {
        library,
        version,
        transport,
    }
}

/// The forms of MQTT that every behaviour of MQTT is shown in.
pub(crate) const FORMS: [Form; 4] = [PAHO_311, PAHO_5, MQTTJS_5, MQTTJS_311];

/// One form of each protocol, version and transport: the table in which the protocols meet.
pub(crate) const CROSS: [Form; 5] = [XMPPJS, SLIXMPP, PAHO_311, PAHO_5, MQTTJS_5];

/// The shard counts every behaviour is shown with.
pub(crate) const SHARD_COUNTS: [usize; 2] = [1, 2];

/// How many cases of one test run at a time.
const PARALLEL_MAX: usize = 8;

/// Runs `test` for each shard count.
pub(crate) fn each_shard_count(test: impl Fn(&Net) + Sync) {
    parallel(&SHARD_COUNTS, |&shards| test(&Net::shared(shards)));
}

/// Runs `test` for each shard count and form.
pub(crate) fn each_form(test: impl Fn(&Net, Form) + Sync) {
    for shards in SHARD_COUNTS {
        let net = Net::shared(shards);
        parallel(&FORMS, |&form| test(&net, form));
    }
}

/// Runs `test` for each shard count and pair of forms of MQTT.
pub(crate) fn each_pair(test: impl Fn(&Net, Form, Form) + Sync) {
    each_pair_of(&FORMS, test);
}

/// Runs `test` for each shard count and pair of protocols.
pub(crate) fn each_crossing(test: impl Fn(&Net, Form, Form) + Sync) {
    each_pair_of(&CROSS, test);
}

fn each_pair_of(forms: &[Form], test: impl Fn(&Net, Form, Form) + Sync) {
    let pairs: Vec<(Form, Form)> = forms
        .iter()
        .flat_map(|&one| forms.iter().map(move |&other| (one, other)))
        .collect();
    for shards in SHARD_COUNTS {
        let net = Net::shared(shards);
        parallel(&pairs, |&(one, other)| test(&net, one, other));
    }
}

/// Runs `test` for each case, a few at a time; names the case that fails.
pub(crate) fn parallel<C: Sync + std::fmt::Debug>(cases: &[C], test: impl Fn(&C) + Sync) {
    let test = &test;
    for batch in cases.chunks(PARALLEL_MAX) {
        let failures: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> = batch
                .iter()
                .map(|case| {
                    (
                        case,
                        scope.spawn(move || catch_unwind(AssertUnwindSafe(|| test(case)))),
                    )
                })
                .collect();
            running
                .into_iter()
                .filter_map(|(case, thread)| Some((case, thread.join().expect("a caught panic").err()?)))
                .collect()
        });
        for (case, _) in &failures {
            eprintln!("failed for {case:?}");
        }
        if let Some((_, panic)) = failures.into_iter().next() {
            resume_unwind(panic);
        }
    }
}
