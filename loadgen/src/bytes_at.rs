//! Checked access to byte slices: reading past an end yields `None`, writing past it does nothing.

/// The big-endian `u16` at `at`.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk::<2>()
        .map(|b| u16::from_be_bytes(*b))
}

/// The big-endian `u32` at `at`.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk::<4>()
        .map(|b| u32::from_be_bytes(*b))
}

/// The big-endian `u64` at `at`.
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..)?
        .first_chunk::<8>()
        .map(|b| u64::from_be_bytes(*b))
}

/// Overwrites `bytes[at..at + with.len()]`; false (and nothing written) where that does not fit.
pub fn patch(bytes: &mut [u8], at: usize, with: &[u8]) -> bool {
    let Some(place) = at.checked_add(with.len()).and_then(|end| bytes.get_mut(at..end)) else {
        return false;
    };
    place.copy_from_slice(with);
    true
}

/// `value` as 16 lower-case hexadecimal digits.
pub fn hex16(value: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    for (place, shift) in digits.iter_mut().zip((0..16).rev()) {
        let nibble = u8::try_from((value >> (shift * 4)) & 0xf).unwrap_or(0);
        *place = if nibble < 10 {
            b'0' + nibble
        } else {
            b'a' + (nibble - 10)
        };
    }
    digits
}

/// Reads 16 lower-case hexadecimal digits.
pub fn from_hex16(digits: &[u8]) -> Option<u64> {
    if digits.len() != 16 {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(nibble))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_goes_both_ways() {
        for value in [0, 1, 0xdead_beef_0102_0304, u64::MAX] {
            assert_eq!(from_hex16(&hex16(value)), Some(value));
        }
        assert_eq!(&hex16(0xab), b"00000000000000ab");
        assert_eq!(from_hex16(b"00000000000000aG"), None);
        assert_eq!(from_hex16(b"0"), None);
    }

    #[test]
    fn patch_never_writes_past_the_end() {
        let mut bytes = [0u8; 4];
        assert!(patch(&mut bytes, 2, &[1, 2]));
        assert!(!patch(&mut bytes, 3, &[9, 9]));
        assert_eq!(bytes, [0, 0, 1, 2]);
    }
}
