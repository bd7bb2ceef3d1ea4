//! CRC-32 (IEEE 802.3), which tells whether a row is still what was written: the pages of the database have no
//! checksums.

/// One for each byte of eight that are taken at a time.
const TABLES: [[u32; 256]; 8] = tables();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut place = 0;
    let mut number = 0;
    while place < 256 {
        let mut value: u32 = number;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                (value >> 1) ^ 0xEDB8_8320
            } else {
                value >> 1
            };
            bit += 1;
        }
        tables[0][place] = value;
        place += 1;
        number += 1;
    }
    let mut table = 1;
    while table < tables.len() {
        place = 0;
        while place < 256 {
            let before = tables[table - 1][place];
            tables[table][place] = (before >> 8) ^ tables[0][(before & 0xFF) as usize];
            place += 1;
        }
        table += 1;
    }
    tables
}

/// The checksum of all parts, one after the other.
pub(super) fn crc32(parts: &[&[u8]]) -> u32 {
    !parts.iter().fold(u32::MAX, |sum, part| {
        let (eights, rest) = part.as_chunks::<8>();
        rest.iter().fold(eights.iter().fold(sum, add_eight), add)
    })
}

fn add(sum: u32, byte: &u8) -> u32 {
    let [table, ..] = &TABLES;
    (sum >> 8) ^ term(table, sum.to_le_bytes()[0] ^ byte)
}

fn add_eight(sum: u32, &[a, b, c, d, e, f, g, h]: &[u8; 8]) -> u32 {
    let [one, two, three, four, five, six, seven, eight] = &TABLES;
    let [w, x, y, z] = sum.to_le_bytes();
    term(eight, a ^ w)
        ^ term(seven, b ^ x)
        ^ term(six, c ^ y)
        ^ term(five, d ^ z)
        ^ term(four, e)
        ^ term(three, f)
        ^ term(two, g)
        ^ term(one, h)
}

fn term(table: &[u32; 256], byte: u8) -> u32 {
    table.get(usize::from(byte)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_standard_one() {
        assert_eq!(crc32(&[b"123456789"]), 0xCBF4_3926);
        assert_eq!(crc32(&[b"1234", b"", b"56789"]), 0xCBF4_3926);
        assert_eq!(crc32(&[]), 0);
        let quick = b"The quick brown fox jumps over the lazy dog";
        for cut in 0..quick.len() {
            let (head, tail) = quick.split_at(cut);
            assert_eq!(crc32(&[head, tail]), 0x414F_A339);
        }
    }
}
