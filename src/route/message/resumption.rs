//! How a session that lost its connection is named by the one that comes back for it.

use super::{SessionId, SessionKey, Token};

/// The name of a session that may be resumed: where it is to be looked for, which is a hint and no secret, and the secret
/// that shows whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previd {
    /// Where it was.
    pub session: SessionId,
    /// 128 random bits, good for as long as the session lasts.
    pub token: Token,
}

/// Hex digits of the shard, the slot and the generation.
const DIGITS: [usize; 3] = [4, 8, 8];

impl Previd {
    /// Its text: 52 lower-case hex digits.
    pub fn to_text(self) -> String {
        let SessionId { shard, key } = self.session;
        let token = self.token.to_text();
        let token = std::str::from_utf8(&token).unwrap_or_default();
        format!("{shard:04x}{:08x}{:08x}{token}", key.slot, key.generation)
    }

    /// Reads the text; anything else names no session.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if !text.bytes().all(is_digit) {
            return None;
        }
        let [shard, slot, generation] = DIGITS;
        let (shard, rest) = text.split_at_checked(shard)?;
        let (slot, rest) = rest.split_at_checked(slot)?;
        let (generation, token) = rest.split_at_checked(generation)?;
        let number = |digits| u32::from_str_radix(digits, 16).ok();
        Some(Self {
            session: SessionId {
                shard: u16::from_str_radix(shard, 16).ok()?,
                key: SessionKey {
                    slot: number(slot)?,
                    generation: number(generation)?,
                },
            },
            token: Token::parse(token)?,
        })
    }
}

/// A session is to go on over the connection of who names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Which.
    pub previd: Previd,
    /// How much its client has handled, as the session counts that.
    pub handled: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written_and_nothing_else_is_one() {
        for (shard, slot, generation) in [(0, 0, 0), (63, 4_096, 7), (u16::MAX, u32::MAX, u32::MAX)] {
            let previd = Previd {
                session: SessionId {
                    shard,
                    key: SessionKey { slot, generation },
                },
                token: Token(0x0123_4567_89ab_cdef_0011_2233_4455_6677),
            };
            let text = previd.to_text();
            assert_eq!((text.len(), Previd::parse(&text)), (52, Some(previd)));
            for len in 0..text.len() {
                assert_eq!(Previd::parse(&text[..len]), None);
            }
            assert_eq!(Previd::parse(&format!("{text}0")), None);
            assert_eq!(Previd::parse(&text.replacen('0', "+", 1)), None);
        }
        for wrong in ["", "é", &"F".repeat(52), &"é".repeat(26)] {
            assert_eq!(Previd::parse(wrong), None);
        }
    }
}
