//! UTF-8 that arrives in pieces (RFC 3629; RFC 6455, 8.1).

/// What is known of the character that the bytes so far break off in. Three bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utf8 {
    /// Bytes the character still lacks; 0 between characters.
    lacks: u8,
    /// The least value the next of them may have.
    min: u8,
    /// The greatest value the next of them may have.
    max: u8,
}

/// Bytes that no continuation can make UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUtf8;

impl Default for Utf8 {
    fn default() -> Self {
        Self::BETWEEN
    }
}

impl Utf8 {
    const BETWEEN: Self = Self {
        lacks: 0,
        min: 0x80,
        max: 0xBF,
    };

    /// Whether the bytes so far end with a whole character.
    pub const fn is_complete(self) -> bool {
        self.lacks == 0
    }

    /// Takes further bytes. Fails with the first byte that cannot belong to any UTF-8 text.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), NotUtf8> {
        let mut rest = bytes;
        while self.lacks > 0 {
            let Some((&byte, after)) = rest.split_first() else {
                return Ok(());
            };
            *self = self.next(byte)?;
            rest = after;
        }
        let Err(error) = std::str::from_utf8(rest) else {
            return Ok(());
        };
        if error.error_len().is_some() {
            return Err(NotUtf8);
        }
        // Cut off inside its last character: at most three bytes.
        for &byte in rest.get(error.valid_up_to()..).unwrap_or_default() {
            *self = self.next(byte)?;
        }
        Ok(())
    }

    /// One byte on, by the table of RFC 3629, 4.
    const fn next(self, byte: u8) -> Result<Self, NotUtf8> {
        if self.lacks > 0 {
            if byte < self.min || byte > self.max {
                return Err(NotUtf8);
            }
            return Ok(Self {
                lacks: self.lacks - 1,
                ..Self::BETWEEN
            });
        }
        let (lacks, min, max) = match byte {
            0x00..=0x7F => (0, 0x80, 0xBF),
            0xC2..=0xDF => (1, 0x80, 0xBF),
            0xE0 => (2, 0xA0, 0xBF),
            0xE1..=0xEC | 0xEE..=0xEF => (2, 0x80, 0xBF),
            0xED => (2, 0x80, 0x9F),
            0xF0 => (3, 0x90, 0xBF),
            0xF1..=0xF3 => (3, 0x80, 0xBF),
            0xF4 => (3, 0x80, 0x8F),
            _ => return Err(NotUtf8),
        };
        Ok(Self { lacks, min, max })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every character in every cut, and every byte after every valid beginning, against the standard library.
    #[test]
    fn rfc3629_4_every_character_in_every_cut() {
        for c in ['\0'..='\u{D7FF}', '\u{E000}'..='\u{10FFFF}']
            .into_iter()
            .flatten()
        {
            let mut buffer = [0; 4];
            let text = c.encode_utf8(&mut buffer).as_bytes();
            let mut utf8 = Utf8::default();
            for (i, byte) in text.iter().enumerate() {
                assert_eq!(utf8.is_complete(), i == 0);
                utf8.push(std::slice::from_ref(byte)).unwrap();
            }
            assert!(utf8.is_complete());
        }
    }

    #[test]
    fn rfc3629_3_surrogates_overlong_forms_and_what_lies_above_10ffff_are_refused() {
        for wrong in [
            &b"\xC0\x80"[..],
            b"\xC1\xBF",
            b"\xE0\x9F\xBF",
            b"\xED\xA0\x80",
            b"\xF0\x8F\xBF\xBF",
            b"\xF4\x90\x80\x80",
            b"\xF5",
            b"\xFF",
            b"\x80",
            b"\xC3\x28",
        ] {
            assert_eq!(Utf8::default().push(wrong), Err(NotUtf8), "{wrong:x?}");
            let mut bytewise = Utf8::default();
            assert!(wrong.chunks(1).any(|byte| bytewise.push(byte).is_err()));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_cut_are_judged_as_the_standard_library_does(
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), Just(0xE0), Just(0xED), Just(0xF0), Just(0xF4), 0x80_u8..=0xBF], 0..12),
            cuts in prop::collection::vec(1_usize..5, 0..12),
        ) {
            let mut utf8 = Utf8::default();
            let mut rest = &bytes[..];
            let mut verdict = Ok(());
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                verdict = verdict.and_then(|()| utf8.push(piece));
                rest = after;
            }
            match std::str::from_utf8(&bytes) {
                Ok(_) => prop_assert!(verdict.is_ok() && utf8.is_complete()),
                Err(error) if error.error_len().is_none() => {
                    prop_assert!(verdict.is_ok() && !utf8.is_complete());
                }
                Err(_) => prop_assert!(verdict.is_err()),
            }
        }
    }
}
