//! Elements out of a stream over TCP (RFC 6120, 4): where each ends is for `quick-xml` to say.

use super::Stanza;
use super::read::{Stop, Within, element};
use crate::protocol::Malformed;

/// How much is looked at for an element first; it has to be proven to be text.
const WINDOW_BYTES: usize = 2_048;
/// The largest element taken.
const ELEMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Takes the first element off `bytes`: it and its length, with the white space before it (RFC 6120, 4.6.1), or `None`
/// where more bytes are needed. The head of a stream counts as one, and so does its end.
///
/// # Errors
/// [`Malformed`] for what no more bytes make an element of.
pub fn next_element(bytes: &[u8]) -> Result<Option<(Stanza<'_>, usize)>, Malformed> {
    let rest = bytes.trim_ascii_start();
    let blank = bytes.len() - rest.len();
    if rest.starts_with(b"</") {
        let end = rest.iter().position(|byte| *byte == b'>');
        return Ok(end.map(|end| (Stanza::Close, blank + end + 1)));
    }
    let mut window = WINDOW_BYTES;
    while !rest.is_empty() {
        let text = text(rest.get(..window).unwrap_or(rest))?;
        match element(text, Within::Stream) {
            Ok((stanza, len)) => return Ok(Some((stanza, blank + len))),
            Err(Stop::Malformed(why)) => return Err(why),
            Err(Stop::Unfinished) if window < rest.len() => window *= 4,
            Err(Stop::Unfinished) if rest.len() > ELEMENT_BYTES_MAX => {
                return Err(Malformed(format!(
                    "an element of more than {ELEMENT_BYTES_MAX} bytes"
                )));
            }
            Err(Stop::Unfinished) => return Ok(None),
        }
    }
    Ok(None)
}

/// The text of `bytes`, but for a character that is cut off at their end.
fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) if error.error_len().is_none() => {
            let whole = bytes.get(..error.valid_up_to()).unwrap_or_default();
            Ok(std::str::from_utf8(whole).unwrap_or_default())
        }
        Err(error) => Err(Malformed(format!("the stream is no text: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::xmpp::{Message, Offers, stream_begin, stream_end};

    const SAID: &str = "<?xml version='1.0'?>\n<stream:stream xmlns='jabber:client' \
        xmlns:stream='http://etherx.jabber.org/streams' from='d' id='1' version='1.0'>\
        <stream:features><starttls xmlns='t'><required/></starttls><mechanisms xmlns='m'>\
        <mechanism>PLAIN</mechanism><mechanism>ANONYMOUS</mechanism></mechanisms></stream:features> \n\
        <proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>\
        <message from='a'><publish xmlns='urn:nexus:1' channel='c'>a&amp;b>ü</publish></message>\
        <r xmlns='urn:xmpp:sm:3'/></stream:stream>";

    fn expected() -> Vec<Stanza<'static>> {
        let offers = Offers {
            starttls: true,
            plain: true,
            anonymous: true,
            bind: false,
        };
        let message = Message {
            text: Some("a&amp;b>ü"),
            refused: None,
        };
        vec![
            Stanza::Open,
            Stanza::Features(offers),
            Stanza::Proceed,
            Stanza::Message(message),
            Stanza::AckWanted,
            Stanza::Close,
        ]
    }

    #[test]
    fn rfc6120_4_elements_are_the_same_wherever_the_stream_is_cut() {
        let bytes = SAID.as_bytes();
        for cut in 0..=bytes.len() {
            let mut found = Vec::new();
            let mut at = 0;
            for known in [&bytes[..cut], bytes] {
                while let Some((stanza, len)) = next_element(&known[at..]).unwrap() {
                    found.push(stanza);
                    at += len;
                }
            }
            assert_eq!(found, expected(), "cut at {cut}");
            assert_eq!(at, bytes.len());
        }
    }

    #[test]
    fn an_element_beyond_the_first_window_is_found() {
        let text = format!("<message><body>{}</body></message><r", "ü".repeat(10_000));
        let (stanza, len) = next_element(text.as_bytes()).unwrap().unwrap();
        assert!(matches!(stanza, Stanza::Message(_)));
        assert_eq!(&text[len..], "<r");
    }

    #[test]
    fn what_begins_and_ends_a_stream_is_read_again() {
        let begin = stream_begin("d");
        assert_eq!(next_element(&begin), Ok(Some((Stanza::Open, begin.len()))));
        let end = stream_end();
        assert_eq!(next_element(&end), Ok(Some((Stanza::Close, end.len()))));
    }

    #[test]
    fn what_no_stream_has_is_refused() {
        for text in [
            "<a></b>",
            "<!-- x --><a/>",
            "x<a/>",
            "<iq xmlns='other' type='get' id='1'/>",
            "<r/>",
        ] {
            assert!(next_element(text.as_bytes()).is_err(), "{text}");
        }
        assert!(next_element(b"<a>\xff</a>").is_err());
        assert_eq!(next_element(b" \n"), Ok(None));
    }
}
