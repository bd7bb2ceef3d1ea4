//! A JWT in the place of an account's secret.

use serde_json::{Value, json};

use super::{BY_SECRET, CREDENTIALS, FIND, LIVE, ask, find_until};
use crate::harness::clock::unix_ms;
use crate::harness::native::full_jid;
use crate::harness::world::new_uid;
use crate::harness::xmpp::XmppSocket;
use crate::harness::{Account, Net, Options};
use crate::xmpp::login::token;

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn a_jwt_is_a_secret_of_its_account_at_each_endpoint_that_takes_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    std::fs::write(&file, KEY).unwrap();
    // The names of a test's apps are not known before its daemon runs: this one is added by hand.
    let net = Net::start(&Options::shards(2).config(&format!(
        "[listen]\nbridge = \"127.0.0.1:0\"\n[[tokens]]\napp = \"jwtapp\"\nalgorithm = \"HS256\"\nkey_file = {:?}\n",
        file.to_str().unwrap()
    )));
    net.daemon().cli_json(&["app", "add", "jwtapp"]);
    let owner = net.account_of("jwtapp", &new_uid(), "owner");
    let expires = unix_ms() / 1000 + 300;
    let claims = json!({"app": owner.app, "uid": owner.uid, "role": owner.role, "exp": expires});
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        token(KEY, &claims)
    };
    let good = token(KEY, &claims);
    // The password is the token itself: one that ends does not become a secret that stays.
    let given = ask(
        &net,
        CREDENTIALS,
        &json!({"secret": good, "resource": "w", "public": true}),
    );
    let expected = json!({
        "code": 0, "app": owner.app, "uid": owner.uid, "role": "owner", "user": owner.name, "password": good
    });
    assert_eq!(given, expected);
    let by_token = Account {
        secret: good.clone(),
        ..owner.clone()
    };
    let _worker = XmppSocket::login(net.daemon().ws, &by_token, "w");
    find_until(
        &net,
        &json!({"app": owner.app, "secret": good}),
        &[full_jid(&owner, "w")],
    );
    // Bound to a resource: good for that one, and for it where none is named.
    let bound = with("resource", "only".into());
    for (resource, code) in [(json!("only"), 0), (json!("w"), -3000), (Value::Null, 0)] {
        let members = json!({"secret": bound, "resource": resource});
        assert_eq!(ask(&net, CREDENTIALS, &members)["code"], code, "{resource}");
    }
    let denied = |secret: &str| {
        assert_eq!(
            ask(&net, CREDENTIALS, &json!({ "secret": secret }))["code"],
            -3000,
            "{secret}"
        );
        assert_eq!(
            ask(&net, FIND, &json!({"secret": secret, "app": owner.app}))["code"],
            -3000
        );
    };
    denied(&with("exp", (unix_ms() / 1000 - 1).into()));
    denied(&with("nbf", expires.into()));
    denied(&with("app", "other".into()));
    denied(&with("uid", new_uid().into()));
    denied(&with("role", "user".into()));
    denied(&with("resource", "a/b".into()));
    denied(&token(b"another key that is also long enough", &claims));
    denied("eyJhbGciOiJub25lIn0.e30.");
    denied("ey.ey.ey");
    // What names services by a secret of a service or of an app takes no token.
    let members = json!({"exploresecret": good, "servicesecret": good, "uid": owner.uid});
    for endpoint in [LIVE, BY_SECRET] {
        assert_eq!(ask(&net, endpoint, &members)["code"], -3000, "{endpoint}");
    }
    net.daemon().cli_json(&["account", "revoke", &owner.name]);
    denied(&good);
}
