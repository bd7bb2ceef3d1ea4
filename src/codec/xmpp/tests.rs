//! XMPP's XML: split points, what is refused, and what is read.

use super::*;
use crate::codec::Decode;

#[test]
fn rfc7395_3_3_3_a_message_is_one_element_and_is_read_in_place() {
    let bytes = b" <iq type='set' id='c&amp;1' xmlns='jabber:client' xmlns:n='urn:nexus:1'><n:api app='etest' cmd='multiply'>\
        <json xmlns='urn:xmpp:json:0'>{\"num1\":10}</json></n:api>a&#x41;<![CDATA[<b>]]>\r\n</iq>\n";
    assert_eq!(frame_whole(bytes, &Bounds::default()), Ok(()));
    let iq = Element::parse(bytes, "").unwrap();
    assert!(iq.is("jabber:client", "iq"));
    assert!(iq.attribute("id").unwrap().is("c&1"));
    assert_eq!(iq.attribute("type").unwrap().plain(), Some("set"));
    let api = iq.child("urn:nexus:1", "api").unwrap();
    assert_eq!(api.attribute("app").unwrap().plain(), Some("etest"));
    let json = api.child("urn:xmpp:json:0", "json").unwrap();
    assert_eq!(json.text().plain(), Some("{\"num1\":10}"));
    let mut text = Vec::new();
    iq.text().append_to(&mut text);
    assert_eq!(text, b"aA<b>\n");
    assert!(iq.text().is("aA<b>\n"));
    assert_eq!(iq.declarations().collect::<Vec<_>>(), ["xmlns:n='urn:nexus:1'"]);
    for piece in 1..bytes.len() {
        let mut framer = Framer::default();
        for at in (0..bytes.len() - 1).step_by(piece) {
            assert_eq!(
                framer.scan(&bytes[..at], &Bounds::default()),
                Ok(Decode::Need(at + 1))
            );
        }
        assert_eq!(
            framer.scan(bytes, &Bounds::default()),
            Ok(Decode::Frame {
                frame: 1..bytes.len() - 1,
                len: bytes.len() - 1
            })
        );
    }
}
