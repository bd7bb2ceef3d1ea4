//! Variable Byte Integers (1.5.5): seven bits a byte, the least significant first.

/// The largest value four bytes hold.
pub const VARINT_MAX: u32 = 268_435_455;

/// What stands at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VarInt {
    /// A whole integer.
    Whole {
        /// The value, at most [`VARINT_MAX`].
        value: u32,
        /// Bytes it takes, 1 to 4.
        len: usize,
    },
    /// The bytes end before the integer.
    Partial,
    /// The fourth byte says that a fifth follows.
    TooLong,
}

/// Reads the integer at the front of `bytes`; also one that is longer than needed ([`len`] tells).
#[inline]
pub fn read(bytes: &[u8]) -> VarInt {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return VarInt::Whole { value, len: at + 1 };
        }
    }
    if bytes.len() < 4 {
        VarInt::Partial
    } else {
        VarInt::TooLong
    }
}

/// Bytes of the shortest form of `value`. Values over [`VARINT_MAX`] have none; they count as four bytes.
#[inline]
pub const fn len(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// The shortest form of `value`: bytes and how many of them count. `value` is at most [`VARINT_MAX`].
#[inline]
pub fn encode(value: u32) -> ([u8; 4], usize) {
    debug_assert!(value <= VARINT_MAX, "{value} is no variable byte integer");
    // In one register: bytes that are written one by one and read together make the processor wait.
    let spread =
        (value & 0x7F) | (value & 0x3F80) << 1 | (value & 0x1F_C000) << 2 | (value & 0xFE0_0000) << 3;
    let len = len(value);
    let more: u32 = match len {
        1 => 0,
        2 => 0x80,
        3 => 0x8080,
        _ => 0x80_8080,
    };
    ((spread | more).to_le_bytes(), len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mqtt5_1_5_5_the_edges_of_each_length() {
        for (value, expected) in [
            (0, &[0x00][..]),
            (127, &[0x7F]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xFF, 0x7F]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xFF, 0xFF, 0x7F]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (VARINT_MAX, &[0xFF, 0xFF, 0xFF, 0x7F]),
        ] {
            let (bytes, len) = encode(value);
            assert_eq!(&bytes[..len], expected);
            assert_eq!(read(expected), VarInt::Whole { value, len });
            for cut in 0..len {
                assert_eq!(read(&expected[..cut]), VarInt::Partial);
            }
        }
        assert_eq!(read(&[0x80; 4]), VarInt::TooLong);
        assert_eq!(read(&[0xFF, 0xFF, 0xFF, 0xFF, 0x01]), VarInt::TooLong);
        assert_eq!(read(&[0x81, 0x00]), VarInt::Whole { value: 1, len: 2 });
    }
}
