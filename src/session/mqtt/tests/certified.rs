//! CONNECT on a connection whose certificate names the account.

use super::*;
use crate::route::{Certified, Login, Proof};

const EXPIRES_UNIX_MS: u64 = 9;

/// A client that has shown a certificate of [`account`], for this resource alone if one is named.
fn client(version: Version, resource: Option<&str>) -> Client {
    let mut client = Client::new(version, settings());
    client.peer.session.secured(Some(Box::new(Certified {
        account: account().into(),
        resource: resource.map(Into::into),
        expires_unix_ms: EXPIRES_UNIX_MS,
    })));
    client
}

/// A CONNECT without user name and password.
fn bare(version: Version, client_id: &str) -> Connect<'_> {
    Connect {
        client_id,
        user_name: None,
        password: None,
        ..connect(version)
    }
}

fn asked(mut client: Client, connect: Connect<'_>) -> Login<'static> {
    match client.ask(&Packet::Connect(connect)) {
        Command::Login(login) => login,
        other => panic!("no login: {other:?}"),
    }
}

fn assert_certified(login: &Login<'_>, bound: Option<&str>) {
    let Proof::Certificate {
        resource,
        expires_unix_ms,
    } = login.proof
    else {
        panic!("{login:?}");
    };
    assert_eq!(
        (login.account, resource, expires_unix_ms),
        (account(), bound, EXPIRES_UNIX_MS)
    );
}

#[test]
fn nexus_3_the_account_comes_from_the_certificate() {
    let with_domain = format!("{}@nexus.example", account());
    for version in BOTH {
        for user_name in [None, Some(""), Some(account()), Some(&*with_domain)] {
            let connect = Connect {
                user_name,
                ..bare(version, "w.1")
            };
            let login = asked(client(version, None), connect);
            assert_certified(&login, None);
            assert_eq!(login.resource, "w.1");
        }
    }
}

#[test]
fn nexus_3_a_user_name_that_is_not_the_certificates_is_refused() {
    let other = format!("etest-{UID}-user");
    for version in BOTH {
        for password in [None, Some(&b"secret"[..])] {
            let connect = Connect {
                user_name: Some(&other),
                password,
                ..bare(version, "w.1")
            };
            let (disconnect, told) = client(version, None).offend(&Packet::Connect(connect));
            assert_eq!(disconnect, Disconnect::BadCredentials);
            assert_eq!(code(&told[0]), if version == V5 { 0x86 } else { 4 });
        }
    }
}

#[test]
fn nexus_3_a_password_beside_a_certificate_has_to_be_right_too() {
    let login = asked(client(V5, None), connect(V5));
    assert_eq!(login.account, account());
    assert!(matches!(login.proof, Proof::Password(b"secret")));
    // 5.0, 3.1.2.9: a password may come without a user name.
    let connect = Connect {
        user_name: None,
        ..connect(V5)
    };
    let login = asked(client(V5, None), connect);
    assert_eq!(login.account, account());
    assert!(matches!(login.proof, Proof::Password(b"secret")));
}

#[test]
fn nexus_3_the_resource_of_a_certificate_is_the_only_client_identifier() {
    for version in BOTH {
        for client_id in ["pump7", ""] {
            let login = asked(client(version, Some("pump7")), bare(version, client_id));
            assert_certified(&login, Some("pump7"));
            assert_eq!(login.resource, "pump7");
        }
        for connect in [bare(version, "pump8"), connect(version)] {
            let (disconnect, told) = client(version, Some("pump7")).offend(&Packet::Connect(connect));
            assert_eq!(disconnect, Disconnect::BadCredentials);
            assert_eq!(code(&told[0]), if version == V5 { 0x86 } else { 4 });
        }
    }
}

#[test]
fn what_the_certificate_says_is_forgotten_once_the_client_is_in() {
    let mut client = client(V5, None);
    client.ask(&Packet::Connect(bare(V5, "w.1")));
    client.attach(&worker());
    assert!(client.peer.session.rare.is_none());
}
