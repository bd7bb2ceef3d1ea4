//! Masking (RFC 6455, 5.3): each byte of the payload is combined with one of the key's four bytes in turn.

/// Masks or unmasks `bytes` in place and returns the key as the byte after them needs it, so that a payload
/// can be worked off in pieces of any length.
pub fn apply(bytes: &mut [u8], key: [u8; 4]) -> [u8; 4] {
    let len = bytes.len();
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, tail) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
    let mut next = key;
    next.rotate_left(len % 4);
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6455_5_3_octet_i_is_combined_with_octet_i_mod_4_of_the_key() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for len in 0..70 {
            let plain: Vec<u8> = (0..len).collect();
            let by_definition: Vec<u8> = plain.iter().zip(0..).map(|(b, i)| b ^ key[i % 4]).collect();
            let mut whole = plain.clone();
            apply(&mut whole, key);
            assert_eq!(whole, by_definition);
            for cut in 0..=plain.len() {
                let mut pieces = plain.clone();
                let (first, second) = pieces.split_at_mut(cut);
                let next = apply(first, key);
                apply(second, next);
                assert_eq!(pieces, by_definition, "{len} bytes cut at {cut}");
            }
        }
    }
}
