//! The client protocol of NATS: lines of text, payloads by their length.
//!
//! There is no codec of it apart from whole clients, and it is a few lines: only what publishing, subscribing and
//! requests need is here. A request is a message with a subject for its reply.

use super::template::Template;
use super::{Malformed, Packet, Publish};

/// The longest line of a server; INFO is one.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// The largest payload accepted from a server.
const PAYLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What keeps a connection alive, and has the server say that it has done what came before.
pub const PING: &[u8] = b"PING\r\n";
/// What answers it.
pub const PONG: &[u8] = b"PONG\r\n";
/// Workers are members of this queue group: a request goes to one of them.
pub const WORKERS: &str = "workers";

/// The first line of a client.
pub fn connect(name: &str) -> Vec<u8> {
    let options = serde_json::json!({ "verbose": false, "pedantic": false, "name": name, "lang": "rust" });
    format!("CONNECT {options}\r\n").into_bytes()
}

/// Subscribes to a subject, as a member of `group` if that is given.
///
/// # Errors
/// [`Malformed`] for what is no subject.
pub fn subscribe(subject: &str, group: Option<&str>) -> Result<Vec<u8>, Malformed> {
    check(subject)?;
    let group = group.map_or_else(String::new, |group| format!("{group} "));
    Ok(format!("SUB {subject} {group}1\r\n").into_bytes())
}

/// The subjects of a client's replies.
pub fn inbox(name: &str) -> String {
    format!("_INBOX.{name}.*")
}

/// A message of `payload`.
///
/// # Errors
/// [`Malformed`] for what is no subject.
pub fn publish(subject: &str, payload: &[u8]) -> Result<Template, Malformed> {
    check(subject)?;
    let key = "PUB ".len().."PUB ".len() + subject.len();
    Ok(message(
        format!("PUB {subject} {}\r\n", payload.len()),
        key,
        payload,
    ))
}

/// A request whose key is the last token of its reply's subject, 16 digits.
///
/// # Errors
/// [`Malformed`] for what is no subject.
pub fn request(subject: &str, name: &str, body: &[u8]) -> Result<Template, Malformed> {
    check(subject)?;
    check(name)?;
    let head = format!("PUB {subject} _INBOX.{name}.{:016x}", 0);
    let key = head.len() - 16..head.len();
    Ok(message(format!("{head} {}\r\n", body.len()), key, body))
}

fn message(head: String, key: std::ops::Range<usize>, payload: &[u8]) -> Template {
    let mut frame = head.into_bytes();
    let from = frame.len();
    frame.extend_from_slice(payload);
    frame.extend_from_slice(b"\r\n");
    Template {
        frame,
        key,
        packet_id_at: None,
        payload: from..from + payload.len(),
    }
}

fn check(subject: &str) -> Result<(), Malformed> {
    let is_plain = |byte: u8| byte.is_ascii_graphic();
    if subject.is_empty() || !subject.bytes().all(is_plain) {
        return Err(Malformed(format!("`{subject}` is no subject of NATS")));
    }
    Ok(())
}

/// Takes the first message or line off `bytes`. Of a message the subject is its topic, and the subject for its reply,
/// if it has one, stands in place of properties.
///
/// # Errors
/// [`Malformed`] for bytes that no further bytes can turn into one.
pub fn next_packet(bytes: &[u8]) -> Result<Option<(Packet<'_>, usize)>, Malformed> {
    let Some(end) = bytes
        .windows(2)
        .take(LINE_BYTES_MAX)
        .position(|two| two == b"\r\n")
    else {
        if bytes.len() > LINE_BYTES_MAX {
            return Err(Malformed("NATS: a line without its end".into()));
        }
        return Ok(None);
    };
    let (line, used) = (bytes.get(..end).unwrap_or_default(), end + 2);
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let packet = match words.next().unwrap_or_default() {
        b"MSG" => return delivery(line, words, bytes, used),
        b"PING" => Packet::Ping,
        b"PONG" => Packet::Pong,
        b"-ERR" => Packet::Fault(text(line.get(5..).unwrap_or_default())?),
        b"INFO" | b"+OK" => Packet::Other,
        _ => return Err(Malformed(format!("NATS: {}", String::from_utf8_lossy(line)))),
    };
    Ok(Some((packet, used)))
}

/// `MSG <subject> <sid> [reply-to] <bytes>`.
fn delivery<'a>(
    line: &'a [u8],
    mut words: impl Iterator<Item = &'a [u8]>,
    bytes: &'a [u8],
    used: usize,
) -> Result<Option<(Packet<'a>, usize)>, Malformed> {
    let broken = || Malformed(format!("NATS: {}", String::from_utf8_lossy(line)));
    let (topic, _) = (words.next().ok_or_else(broken)?, words.next().ok_or_else(broken)?);
    let (reply, len) = match (words.next().ok_or_else(broken)?, words.next()) {
        (reply, Some(len)) => (reply, len),
        (len, None) => (Default::default(), len),
    };
    let len: usize = text(len)?.parse().map_err(|_| broken())?;
    if len > PAYLOAD_BYTES_MAX {
        return Err(broken());
    }
    let Some(rest) = bytes.get(used..used + len + 2) else {
        return Ok(None);
    };
    let (payload, end) = rest.split_at(len);
    if end != b"\r\n" {
        return Err(broken());
    }
    let publish = Publish {
        qos: 0,
        packet_id: 0,
        topic,
        properties: reply,
        payload,
    };
    Ok(Some((Packet::Publish(publish), used + len + 2)))
}

fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|error| Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Option<(Packet<'_>, usize)> {
        next_packet(bytes).unwrap()
    }

    #[test]
    fn lines_and_messages_are_read_when_they_are_whole() {
        assert_eq!(read(b""), None);
        assert_eq!(read(b"INFO {}\r"), None);
        assert_eq!(read(b"INFO {\"a\":1}\r\nPING\r\n"), Some((Packet::Other, 14)));
        assert_eq!(read(b"PING\r\n"), Some((Packet::Ping, 6)));
        assert_eq!(read(b"PONG\r\n"), Some((Packet::Pong, 6)));
        let fault = Packet::Fault("'Authorization Violation'");
        assert_eq!(read(b"-ERR 'Authorization Violation'\r\n"), Some((fault, 32)));
        let whole = b"MSG a/b 1 4\r\n1\r\n2\r\nMSG";
        for len in 0..19 {
            assert_eq!(read(&whole[..len]), None, "{len}");
        }
        let Some((Packet::Publish(publish), 19)) = read(whole) else {
            panic!()
        };
        assert_eq!((publish.topic, publish.payload), (&b"a/b"[..], &b"1\r\n2"[..]));
        let Some((Packet::Publish(publish), _)) = read(b"MSG cmd 1 _INBOX.x.0 2\r\n{}\r\n") else {
            panic!()
        };
        assert_eq!(
            (publish.properties, publish.payload),
            (&b"_INBOX.x.0"[..], &b"{}"[..])
        );
        for broken in ["MSG a\r\n", "MSG a 1 x\r\n", "HELLO\r\n", "MSG a 1 2\r\n{}xx"] {
            assert!(next_packet(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn keys_and_payloads_lie_where_they_are_patched() {
        let mut request = request("cmd", "n", b"{}").unwrap();
        request.set_key(b"00000000000000ab");
        request.payload_mut().copy_from_slice(b"[]");
        assert_eq!(request.frame(), b"PUB cmd _INBOX.n.00000000000000ab 2\r\n[]\r\n");
        let mut answer = publish("_INBOX.n.0", b"{}").unwrap();
        answer.set_key(b"_INBOX.n.1");
        assert_eq!(answer.frame(), b"PUB _INBOX.n.1 2\r\n{}\r\n");
        assert_eq!(subscribe("a", Some(WORKERS)).unwrap(), b"SUB a workers 1\r\n");
        assert_eq!(subscribe(&inbox("n"), None).unwrap(), b"SUB _INBOX.n.* 1\r\n");
        assert!(subscribe("a b", None).is_err());
        assert!(publish("", b"").is_err());
    }
}
