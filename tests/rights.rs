//! Grant, expiry, revocation and removal while blocks are connected: effective within one second, without a
//! reconnect (PROTOCOL 2.1, Entitlement; 7).

use std::time::Duration;

use crate::harness::clock::{CHANGE_MAX, Moment, unix_ms};
use crate::harness::matrix::{PAHO_5, PAHO_311};
use crate::harness::world::text;
use crate::harness::{
    Account, App, Call, Client, Connect, Deadline, FORMS, Form, Net, each_form, each_shard_count,
};

/// A worker of a new app and a block of a user without a service of it.
struct Scene<'a> {
    app: App<'a>,
    worker: Client,
    requester: Client,
    user: Account,
}

impl<'a> Scene<'a> {
    fn new(net: &'a Net, form: Form) -> Self {
        let app = net.app();
        let worker = net.connect(form, &app.account("owner"), "w1");
        worker.listen("cmd");
        let user = app.account("user");
        let requester = net.connect(form, &user, "r1");
        Self {
            app,
            worker,
            requester,
            user,
        }
    }

    fn code(&self) -> i64 {
        let call = Call::new(&self.app.name, "cmd");
        self.requester.call_served(&[&self.worker], &call).code
    }

    /// Calls until the outcome is `wanted`, which must come within `patience`; until then it is `before`.
    #[track_caller]
    fn becomes(&self, before: i64, wanted: i64, patience: Duration) {
        let deadline = Deadline::after(patience);
        loop {
            let late = deadline.passed();
            let code = self.code();
            if code == wanted {
                return;
            }
            assert_eq!(code, before);
            assert!(!late, "still {code} after {patience:?}");
        }
    }
}

#[test]
fn a_grant_works_within_one_second_without_a_reconnect() {
    each_form(|net, form| {
        let scene = Scene::new(net, form);
        assert_eq!(scene.code(), -3000);
        net.grant(&scene.user.uid, &scene.app.name, None);
        scene.becomes(-3000, 0, CHANGE_MAX);
    });
}

#[test]
fn a_revoked_service_stops_working_within_one_second() {
    each_form(|net, form| {
        let scene = Scene::new(net, form);
        net.grant(&scene.user.uid, &scene.app.name, None);
        scene.becomes(-3000, 0, CHANGE_MAX);
        net.daemon().cli_json(&[
            "service",
            "revoke",
            "--uid",
            &scene.user.uid,
            "--app",
            &scene.app.name,
        ]);
        scene.becomes(0, -3000, CHANGE_MAX);
    });
}

#[test]
fn a_service_that_expires_stops_working_within_one_second() {
    each_form(|net, form| {
        let scene = Scene::new(net, form);
        let lifetime = Duration::from_secs(3);
        let granted = Moment::now();
        net.grant(&scene.user.uid, &scene.app.name, Some(unix_ms() + 3000));
        scene.becomes(-3000, 0, CHANGE_MAX);
        scene.becomes(0, -3000, lifetime + CHANGE_MAX);
        let lasted = granted.elapsed();
        assert!(lasted >= lifetime - Duration::from_millis(50), "{lasted:?}");
        // Nor does it work for a block that connects after its end, on whichever shard.
        let again = net.connect(form, &scene.user, "r2");
        let later = Scene {
            requester: again,
            ..scene
        };
        later.becomes(0, -3000, CHANGE_MAX);
    });
}

#[test]
fn a_service_is_the_right_of_a_uid_under_all_its_accounts() {
    each_shard_count(|net| {
        let scene = Scene::new(net, PAHO_5);
        let other = net.app().account_of(&scene.user.uid, "owner");
        let elsewhere = net.connect(PAHO_311, &other, "r2");
        let call = Call::new(&scene.app.name, "cmd");
        assert_eq!(elsewhere.call(&call).code, -3000);
        net.grant(&scene.user.uid, &scene.app.name, None);
        scene.becomes(-3000, 0, CHANGE_MAX);
        assert_eq!(elsewhere.call_served(&[&scene.worker], &call).code, 0);
    });
}

#[test]
fn live_connections_of_a_revoked_account_are_closed_within_one_second() {
    each_shard_count(|net| {
        let app = net.app();
        let (revoked, other) = (app.account("user"), app.account("user"));
        let closed: Vec<Client> = connect_all(net, &revoked);
        let kept: Vec<Client> = connect_all(net, &other);
        net.daemon().cli_json(&["account", "revoke", &revoked.name]);
        let deadline = Deadline::after(CHANGE_MAX);
        for client in &closed {
            client.closed_within(deadline.left());
        }
        for client in &kept {
            assert_eq!(client.call(&Call::new("nexus", "ping")).code, 0);
        }
        for form in FORMS {
            assert_denied(net, form, &revoked.connect("again"));
        }
    });
}

#[test]
fn live_connections_of_a_revoked_secret_are_closed_within_one_second() {
    each_shard_count(|net| {
        let account = net.app().account("user");
        let made = net
            .daemon()
            .cli_json(&["secret", "add", &account.name, "--resource", "device"]);
        let device = Account {
            secret: text(&made, "secret"),
            ..account.clone()
        };
        let kept = net.connect(PAHO_5, &account, "page");
        for form in FORMS {
            // Each takes the address over from the one before.
            net.connect(form, &device, "device");
        }
        let closed = net.connect(PAHO_311, &device, "device");
        net.daemon().cli_json(&["secret", "revoke", &text(&made, "id")]);
        closed.closed_within(CHANGE_MAX);
        assert_eq!(kept.call(&Call::new("nexus", "ping")).code, 0);
        assert_denied(net, PAHO_5, &device.connect("device"));
        net.connect(PAHO_5, &account, "page2");
    });
}

#[test]
fn a_removed_app_is_called_no_more_and_nobody_logs_in_to_it() {
    each_form(|net, form| {
        let scene = Scene::new(net, form);
        let owner = scene.app.account("owner");
        let bystander = net.app().account("owner");
        net.grant(&bystander.uid, &scene.app.name, None);
        let caller = net.connect(form, &bystander, "b1");
        let call = Call::new(&scene.app.name, "cmd");
        assert_eq!(caller.call_served(&[&scene.worker], &call).code, 0);
        net.daemon().cli_json(&["app", "remove", &scene.app.name]);
        scene.worker.closed_within(CHANGE_MAX);
        let reply = caller.call(&call);
        assert!(matches!(reply.code, -3000 | -2000), "{reply:?}");
        assert_denied(net, form, &owner.connect("again"));
    });
}

#[test]
fn an_account_made_while_the_daemon_runs_logs_in_at_once() {
    each_form(|net, form| {
        let app = net.app();
        for _ in 0..10 {
            // Never "bad credentials" for what the command line has printed.
            net.connect(form, &app.account("partner"), "w1");
        }
    });
}

fn connect_all(net: &Net, account: &Account) -> Vec<Client> {
    FORMS
        .iter()
        .enumerate()
        .map(|(n, &form)| net.connect(form, account, &format!("r{n}")))
        .collect()
}

#[track_caller]
fn assert_denied(net: &Net, form: Form, connect: &Connect) {
    let (code, _, _) = net.open(form, connect).connack();
    let refusals: &[u8] = if form.is_5() { &[0x86, 0x87] } else { &[4, 5] };
    assert!(refusals.contains(&code), "{code:#x}");
}
