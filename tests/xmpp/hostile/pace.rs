//! Clients that take their time: before login, after it, and in the middle of a stanza.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use nexus::limits;

use super::super::tcp::{Raw, auth, header};
use crate::harness::bystanders::Bystanders;
use crate::harness::clock::{Moment, PATIENCE};
use crate::harness::{Net, Options, http, parallel};

/// Between two bytes.
const PAUSE: Duration = Duration::from_millis(150);

/// Sends a byte and waits for what comes, until the stream is closed; how long that took and what came.
fn trickle(raw: Raw<TcpStream>, bytes: &[u8], most: Duration) -> (Duration, String) {
    use std::io::Write;
    let begun = Moment::now();
    let mut came = raw.read;
    let mut stream = raw.stream;
    stream.set_read_timeout(Some(PAUSE)).unwrap();
    for byte in bytes.iter().cycle() {
        assert!(begun.elapsed() < most, "not closed; came: {came}");
        let _closed = stream.write_all(&[*byte]);
        let mut buffer = [0; 4_096];
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => came.push_str(std::str::from_utf8(&buffer[..len]).unwrap()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(_) => {}
        }
    }
    (begun.elapsed(), came)
}

#[test]
fn who_trickles_before_login_is_closed_when_the_time_for_it_is_over() {
    let net = Net::start(&Options::shards(1));
    let account = net.app().account("owner");
    let bystanders = Bystanders::new(&net, &account);
    let before = http::metric(net.daemon().http, "nexus_disconnects_total{reason=\"timed_out\"}");
    let name = "n".repeat(200);
    let long_header = header().replace(" to=", &format!(" id='{name}' to="));
    let stages = ["nothing", "space", "header", "open", "auth", "proven"];
    parallel(&stages, |stage| {
        let mut raw = Raw::connect(net.daemon().address("xmpp"));
        let begun = Moment::now();
        let bytes = match *stage {
            "nothing" => {
                // Not a byte: only the end comes.
                let rest = raw.rest();
                assert!(rest.contains("connection-timeout"), "{rest}");
                return;
            }
            "space" => " ".to_owned(),
            "header" => long_header.clone(),
            "open" => {
                raw.open();
                format!("<auth xmlns='{name}' ")
            }
            "auth" => {
                raw.open();
                "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned()
            }
            _ => {
                raw.open();
                raw.send(&auth(&account));
                raw.until("</success>");
                raw.open();
                "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>rrrrrrrrr"
                    .to_owned()
            }
        };
        let most = Duration::from_millis(limits::PRELOGIN_MS_MAX + 3_000);
        let (_, came) = trickle(raw, bytes.as_bytes(), most);
        assert!(came.contains("connection-timeout"), "{stage}: {came}");
        assert!(
            begun.elapsed() > Duration::from_millis(limits::PRELOGIN_MS_MAX - 1_000),
            "{stage}: closed early"
        );
    });
    let timed_out = http::metric(net.daemon().http, "nexus_disconnects_total{reason=\"timed_out\"}");
    assert_eq!(timed_out - before, stages.len() as u64);
    bystanders.undisturbed("slow logins");
}

#[test]
fn bytes_that_never_make_a_stanza_keep_no_block_alive() {
    let config = "[xmpp]\nping_s = 1\n";
    let net = Net::start(&Options::shards(1).config(config));
    let account = net.app().account("owner");
    let bystanders = Bystanders::new(&net, &account);
    let most = Duration::from_millis(1_000 + limits::XMPP_PING_WAIT_MS) + PATIENCE;
    let begun = [
        "<message to='",
        "<message><body>",
        "<!",
        "<iq type='get' id='x'><a ",
    ];
    parallel(&begun, |begun| {
        let mut raw = Raw::connect(net.daemon().address("xmpp"));
        raw.log_in(&account, &format!("hostile{}", begun.len()));
        raw.send(begun);
        let (took, came) = trickle(raw, b"x", most);
        if *begun == "<!" {
            // No stanza can begin so.
            assert!(
                came.contains("restricted-xml") || came.contains("not-well-formed"),
                "{came}"
            );
            return;
        }
        assert!(
            came.contains("urn:xmpp:ping") && came.contains("connection-timeout"),
            "{came}"
        );
        assert!(
            took > Duration::from_millis(limits::XMPP_PING_WAIT_MS),
            "{took:?}"
        );
    });
    bystanders.undisturbed("slow stanzas");
}
