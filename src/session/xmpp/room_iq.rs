//! What clients ask of rooms (XEP-0045, XEP-0030, XEP-0410).

use super::Session;
use super::condition::StanzaError;
use super::iq::{Asked, write_error, write_result};
use super::names::{DISCO_INFO, DISCO_ITEMS, MUC_ADMIN, MUC_OWNER, PING};
use super::rooms::RoomAddress;
use crate::codec::xmpp::{Element, JidError, Piece};
use crate::route::identity::check_channel;
use crate::session::Output;

/// What a room says of itself: it needs nobody's leave, shows addresses, and is not listed.
const INFO: &str = "<query xmlns='http://jabber.org/protocol/disco#info'>\
                    <identity category='conference' type='text'/>\
                    <feature var='http://jabber.org/protocol/disco#info'/>\
                    <feature var='http://jabber.org/protocol/disco#items'/>\
                    <feature var='http://jabber.org/protocol/muc'/>\
                    <feature var='http://jabber.org/protocol/muc#self-ping-optimization'/>\
                    <feature var='http://jabber.org/protocol/muc#stable_id'/>\
                    <feature var='muc_hidden'/><feature var='muc_nonanonymous'/><feature var='muc_open'/>\
                    <feature var='muc_persistent'/><feature var='muc_unmoderated'/>\
                    <feature var='muc_unsecured'/>\
                    <feature var='urn:xmpp:ping'/></query>";

impl Session {
    /// An iq of type get or set to a room, or to an occupant of one.
    pub(super) fn room_iq<O: Output>(
        &self,
        address: Result<RoomAddress<'_>, JidError>,
        kind: &str,
        payload: &Element<'_>,
        asked: Asked<'_>,
        out: &mut O,
    ) {
        let refuse = |error, out: &mut O| write_error(out, asked.to, asked.id, error);
        let Some(address) = address
            .ok()
            .filter(|address| check_channel(&address.channel()).is_ok())
        else {
            return refuse(StanzaError::JID_MALFORMED, out);
        };
        let has_node = payload.attribute("node").is_some();
        let answer = match (kind, payload.namespace(), payload.name(), address.nick) {
            (_, MUC_OWNER | MUC_ADMIN, _, None) => return refuse(StanzaError::FORBIDDEN, out),
            ("get", PING, "ping", nick) => match nick.map(|nick| self.is_here(&address, nick)) {
                Some(false) => return refuse(StanzaError::NOT_ACCEPTABLE, out),
                Some(true) | None => "",
            },
            ("get", DISCO_INFO | DISCO_ITEMS, "query", None) if has_node => {
                return refuse(StanzaError::ITEM_NOT_FOUND, out);
            }
            ("get", DISCO_INFO, "query", None) => INFO,
            // Nobody is told who is in a room.
            ("get", DISCO_ITEMS, "query", None) => "<query xmlns='http://jabber.org/protocol/disco#items'/>",
            _ => return refuse(StanzaError::SERVICE_UNAVAILABLE, out),
        };
        write_result(out, asked, &[Piece::Raw(answer)]);
    }

    /// XEP-0410, 3: whether the block is in the room under this nick.
    fn is_here(&self, address: &RoomAddress<'_>, nick: &str) -> bool {
        self.occupied(address)
            .is_some_and(|room| self.is_own_nick(room, nick))
    }
}
