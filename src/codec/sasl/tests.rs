//! The examples of the RFCs, what is refused, and laws that hold for any message.

use proptest::prelude::*;

use super::*;

const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                     p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SIGNATURE: &str = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn first(message: &str) -> Result<ScramFirst<'_>, SaslError> {
    ScramFirst::parse(message)
}

#[test]
fn rfc4616_4_examples_are_read() {
    let expect = |message: &[u8], authzid, authcid, password: &str| {
        let read = plain(message).unwrap();
        let password = password.as_bytes();
        assert_eq!(
            read,
            Plain {
                authzid,
                authcid,
                password
            }
        );
    };
    expect(b"\0tim\0tanstaaftanstaaf", "", "tim", "tanstaaftanstaaf");
    expect(b"Ursel\0Kurt\0xipj3plmq", "Ursel", "Kurt", "xipj3plmq");
}

#[test]
fn rfc4616_2_what_breaks_the_grammar_is_malformed() {
    for message in [
        &b""[..],
        b"\0",
        b"tim",
        b"\0tim",
        b"\0tim\0",
        b"\0\0secret",
        b"tim\0\0secret",
        b"\0tim\0secret\0",
        b"\0tim\0sec\0ret",
        b"\0tim\0\xff",
        b"\0\xc3\x28\0secret",
    ] {
        assert_eq!(plain(message), Err(SaslError::Malformed), "{message:?}");
    }
}

#[test]
fn the_parts_of_plain_are_bounded() {
    let name = "n".repeat(limits::SASL_NAME_BYTES_MAX);
    let password = "p".repeat(limits::PASSWORD_BYTES_MAX);
    assert!(plain(format!("{name}\0{name}\0{password}").as_bytes()).is_ok());
    for long in [
        format!("{name}x\0a\0b"),
        format!("\0{name}x\0b"),
        format!("\0a\0{password}x"),
        "x".repeat(100_000),
    ] {
        assert_eq!(plain(long.as_bytes()), Err(SaslError::TooLong));
    }
}

#[test]
fn debug_shows_neither_password_nor_proof() {
    let shown = format!("{:?}", plain(b"\0tim\0tanstaaf").unwrap());
    assert!(shown.contains("tim") && !shown.contains("116"), "{shown}");
    let shown = format!("{:?}", ScramFinal::parse(FINAL).unwrap());
    assert!(shown.contains("biws") && !shown.contains("dHzb"), "{shown}");
}

#[test]
fn rfc7677_3_example_is_read_and_written() {
    let first = first(FIRST).unwrap();
    assert_eq!(
        (first.gs2_header, first.authzid, &*first.user),
        ("n,,", "", "user")
    );
    assert_eq!(first.nonce, "rOprNGfwEbeRWgbNEkqO");
    assert_eq!(first.bare, "n=user,r=rOprNGfwEbeRWgbNEkqO");
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let server_first = first.challenge(SERVER_NONCE, &salt, 4_096);
    assert_eq!(server_first, SERVER_FIRST);
    let last = ScramFinal::parse(FINAL).unwrap();
    assert_eq!(last.channel_binding, b"n,,");
    assert_eq!(
        last.check("n,,", &format!("{}{SERVER_NONCE}", first.nonce)),
        Ok(())
    );
    assert_eq!(
        auth_message(first.bare, &server_first, last.without_proof),
        "n=user,r=rOprNGfwEbeRWgbNEkqO,\
         r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
         c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    );
    assert_eq!(
        STANDARD.encode(&last.proof),
        "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    let signature = STANDARD.decode(SIGNATURE).unwrap();
    assert_eq!(server_final(&signature), format!("v={SIGNATURE}"));
}

#[test]
fn rfc5802_7_both_flags_without_channel_binding_are_taken() {
    for header in ["n,,", "y,,", "n,a=user@nexus.example,", "y,a=a=2Cb,"] {
        let message = format!("{header}n=user,r=x");
        let read = first(&message).unwrap();
        assert_eq!(read.gs2_header, header);
        assert_eq!(read.bare, "n=user,r=x");
        assert_eq!(
            format!("{header:.1},a={},", read.authzid).replace("a=,", ","),
            header
        );
    }
}

#[test]
fn rfc5802_6_channel_binding_has_an_error_of_its_own() {
    for message in ["p=tls-exporter,,n=user,r=x", "p=tls-unique,a=b,n=user,r=x"] {
        assert_eq!(first(message), Err(SaslError::ChannelBindingUnsupported));
    }
}

#[test]
fn rfc5802_5_1_mandatory_extensions_are_refused_wherever_they_stand() {
    for message in ["n,,m=x,n=user,r=x", "n,,n=user,m=x,r=x", "n,,n=user,r=x,m=x"] {
        assert_eq!(first(message), Err(SaslError::ExtensionUnsupported), "{message}");
    }
    for message in ["m=x,c=biws,r=x,p=eA==", "c=biws,r=x,m=x,p=eA==", "c=biws,r=x,m=x"] {
        let refused = ScramFinal::parse(message);
        assert_eq!(refused, Err(SaslError::ExtensionUnsupported), "{message}");
    }
}

#[test]
fn rfc5802_5_1_other_extensions_are_ignored_and_signed() {
    let read = first("n,,n=user,r=x,x=1,Z=a=b").unwrap();
    assert_eq!(read.bare, "n=user,r=x,x=1,Z=a=b");
    let read = ScramFinal::parse("c=biws,r=x,x=1,p=eA==").unwrap();
    assert_eq!(read.without_proof, "c=biws,r=x,x=1");
}

#[test]
fn rfc5802_5_1_names_are_unescaped_and_other_equals_signs_are_refused() {
    for (written, meant) in [
        ("user", "user"),
        ("a=2Cb=3Dc", "a,b=c"),
        ("=3D2C", "=2C"),
        ("=2C=2C", ",,"),
        ("ü=3D", "ü="),
    ] {
        let message = format!("n,,n={written},r=x");
        assert_eq!(first(&message).unwrap().user, meant);
    }
    assert!(matches!(first(FIRST).unwrap().user, Cow::Borrowed(_)));
    for wrong in ["a=b", "a=", "=2c", "=3d", "=2", "=C2", ""] {
        let message = format!("n,,n={wrong},r=x");
        assert_eq!(first(&message), Err(SaslError::Malformed), "{wrong}");
        let message = format!("n,a={wrong},n=user,r=x");
        assert_eq!(first(&message), Err(SaslError::Malformed), "{wrong}");
    }
}

#[test]
fn rfc5802_7_what_breaks_the_grammar_of_the_first_message_is_malformed() {
    for message in [
        "",
        "n",
        "n,",
        "n,,",
        "n,,n=user",
        "n,,n=user,",
        "n,,n=user,r=",
        "n,,n=user,r=a b",
        "n,,n=user,r=\u{7f}",
        "n,,n=user,r=ü",
        "n,,r=x,n=user",
        "n,,n=us\0er,r=x",
        "n,n=user,r=x",
        "n,x,n=user,r=x",
        "x,,n=user,r=x",
        "N,,n=user,r=x",
        "p,,n=user,r=x",
        "n=user,r=x",
        "n,,n=user,r=x,",
        "n,,n=user,r=x,x",
        "n,,n=user,r=x,x=",
        "n,,n=user,r=x,1=x",
        "n,,n=user,r=x,n=other",
        "n,,n=user,r=x,r=y",
    ] {
        assert_eq!(first(message), Err(SaslError::Malformed), "{message}");
    }
}

#[test]
fn rfc5802_7_what_breaks_the_grammar_of_the_final_message_is_malformed() {
    for message in [
        "",
        "p=eA==",
        "c=biws,p=eA==",
        "r=x,c=biws,p=eA==",
        "c=biws,r=x",
        "c=biws,r=x,p=",
        "c=biws,r=x,p=eA",
        "c=biws,r=x,p=eB==",
        "c=biws,r=x,p=eA==,x=1",
        "c=bi_s,r=x,p=eA==",
        "c=biws=,r=x,p=eA==",
        "c=biws,r=,p=eA==",
        "c=biws,r=x,p=eA==,p=eA==",
        "c=biws,r=x,c=biws,p=eA==",
    ] {
        assert_eq!(ScramFinal::parse(message), Err(SaslError::Malformed), "{message}");
    }
}

#[test]
fn the_end_belongs_to_the_exchange_it_began_with() {
    let read = |binding: &str| {
        let message = format!("c={},r=abc,p=eA==", STANDARD.encode(binding));
        ScramFinal::parse(&message).unwrap().check("y,,", "abc")
    };
    assert_eq!(read("y,,"), Ok(()));
    // RFC 5802, 6: whoever takes the flag out on the way is found out here.
    for other in ["n,,", "y,", "y,a=x,", "y,,\0", "p=tls-unique,,data", ""] {
        assert_eq!(read(other), Err(SaslError::ChannelBindingMismatch), "{other}");
    }
    let message = ScramFinal::parse("c=eSws,r=abd,p=eA==").unwrap();
    assert_eq!(message.check("y,,", "abc"), Err(SaslError::NonceMismatch));
    assert_eq!(message.check("y,,", "ab"), Err(SaslError::NonceMismatch));
}

#[test]
fn the_parts_of_scram_are_bounded() {
    let name = "n".repeat(limits::SASL_NAME_BYTES_MAX);
    let nonce = "r".repeat(limits::SASL_NONCE_BYTES_MAX);
    assert!(first(&format!("n,,n={name},r={nonce}")).is_ok());
    for long in [
        format!("n,,n={name}x,r=x"),
        format!("n,a={name}x,n=user,r=x"),
        format!("n,,n=user,r={nonce}x"),
        format!("n,,n=user,r=x,x={}", "x".repeat(limits::SASL_MESSAGE_BYTES_MAX)),
    ] {
        assert_eq!(first(&long), Err(SaslError::TooLong));
    }
    let with_proof = |bytes: usize| format!("c=biws,r=x,p={}", STANDARD.encode(vec![0; bytes]));
    assert!(ScramFinal::parse(&with_proof(PROOF_BYTES_MAX)).is_ok());
    for bytes in [PROOF_BYTES_MAX + 1, PROOF_BYTES_MAX + 2, 1_000] {
        let refused = ScramFinal::parse(&with_proof(bytes)).unwrap_err();
        assert_eq!(refused, SaslError::TooLong);
    }
}

fn escaped(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = plain(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = ScramFirst::parse(&text);
        let _ = ScramFinal::parse(&text);
    }

    #[test]
    fn any_attributes_are_read_without_a_panic(
        text in "([nyp](=[a-z]{0,3})?,)?,?([nrcpmx]=[a-zA-Z0-9=+/é\0]{0,6},?){0,6}",
    ) {
        if let Ok(read) = ScramFirst::parse(&text) {
            prop_assert_eq!(format!("{}{}", read.gs2_header, read.bare), text.clone());
        }
        if let Ok(read) = ScramFinal::parse(&text) {
            prop_assert!(text.starts_with(read.without_proof));
        }
    }

    #[test]
    fn what_is_written_is_read_back(
        authzid in "[^\0]{0,40}",
        user in "[^\0]{1,40}",
        nonce in "[!-+\\--~]{1,40}",
        more in "[!-+\\--~]{1,40}",
        proof in prop::collection::vec(any::<u8>(), 1..=PROOF_BYTES_MAX),
        salt in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut header = String::from("n,");
        if !authzid.is_empty() {
            header.push_str("a=");
            header.push_str(&escaped(&authzid));
        }
        header.push(',');
        let message = format!("{header}n={},r={nonce}", escaped(&user));
        let read = ScramFirst::parse(&message).unwrap();
        prop_assert_eq!(read.gs2_header, &header);
        prop_assert_eq!(read.authzid, &escaped(&authzid));
        prop_assert_eq!(&*read.user, &user);
        prop_assert_eq!(read.nonce, &nonce);

        let challenge = read.challenge(&more, &salt, 4_096);
        let whole = format!("{nonce}{more}");
        let expected = format!("r={whole},s={},i=4096", STANDARD.encode(&salt));
        prop_assert_eq!(&challenge, &expected);

        let without = format!("c={},r={whole}", STANDARD.encode(&header));
        let message = format!("{without},p={}", STANDARD.encode(&proof));
        let read = ScramFinal::parse(&message).unwrap();
        prop_assert_eq!(read.check(&header, &whole), Ok(()));
        prop_assert_eq!(read.proof.as_slice(), proof.as_slice());
        prop_assert_eq!(read.without_proof, &without);
        prop_assert_eq!(server_final(&proof), format!("v={}", STANDARD.encode(&proof)));
    }

    #[test]
    fn plain_is_read_back(authzid in "[^\0]{0,40}", authcid in "[^\0]{1,40}", password in "[^\0]{1,40}") {
        let message = format!("{authzid}\0{authcid}\0{password}");
        let read = plain(message.as_bytes()).unwrap();
        prop_assert_eq!(read.authzid, &authzid);
        prop_assert_eq!(read.authcid, &authcid);
        prop_assert_eq!(read.password, password.as_bytes());
    }
}
