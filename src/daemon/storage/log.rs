//! Looks at the write-ahead log before SQLite does: SQLite drops what is incomplete or damaged at its end without a
//! word.
//!
//! Form (<https://www.sqlite.org/fileformat2.html#walformat>): a header of 32 bytes, then frames of 24 bytes and a page.
//! Frames of an earlier use of the file may follow; their salts differ.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const HEADER_BYTES: usize = 32;
const FRAME_BYTES: usize = 24;
const PAGE_BYTES_MAX: u32 = 65_536;
/// Checksums over little-endian words; one more: over big-endian words.
const MAGIC: u32 = 0x377F_0682;

/// What SQLite will not take over from a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    /// Nothing, or only what an earlier use left behind.
    Nothing,
    /// Pages behind the last whole commit.
    Pages(u64),
    /// All of its bytes: its header does not hold.
    All(u64),
}

/// What SQLite will drop of the log in `path`; nothing if there is none.
pub(super) fn look(path: &Path) -> io::Result<Dropped> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Dropped::Nothing),
        Err(error) => return Err(error),
    };
    let len = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(256 * 1_024, file);
    let mut header = [0; HEADER_BYTES];
    if fill(&mut reader, &mut header)? < HEADER_BYTES {
        return Ok(if len > 0 {
            Dropped::All(len)
        } else {
            Dropped::Nothing
        });
    }
    let Some(header) = Header::read(&header) else {
        return Ok(Dropped::All(len));
    };
    let pages = dropped_pages(&mut reader, header)?;
    Ok(if pages > 0 {
        Dropped::Pages(pages)
    } else {
        Dropped::Nothing
    })
}

struct Header {
    is_big_endian: bool,
    page_bytes: usize,
    salts: [u8; 8],
    sum: (u32, u32),
}

impl Header {
    fn read(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let (summed, rest) = bytes.split_at_checked(24)?;
        let magic = word(bytes, 0)?;
        let is_big_endian = match magic {
            MAGIC => false,
            _ if magic == MAGIC + 1 => true,
            _ => return None,
        };
        let page_bytes = word(bytes, 8)?;
        let sum = add((0, 0), summed, is_big_endian);
        let is_right = (512..=PAGE_BYTES_MAX).contains(&page_bytes)
            && page_bytes.is_power_of_two()
            && sum == (word(rest, 0)?, word(rest, 4)?);
        is_right.then_some(Self {
            is_big_endian,
            page_bytes: usize::try_from(page_bytes).ok()?,
            salts: bytes.get(16..24)?.try_into().ok()?,
            sum,
        })
    }
}

/// Frames of this use of the log that no whole commit covers.
fn dropped_pages(reader: &mut impl Read, header: Header) -> io::Result<u64> {
    let mut frame = vec![0; FRAME_BYTES + header.page_bytes];
    let mut sum = header.sum;
    let (mut is_intact, mut dropped) = (true, 0);
    loop {
        let len = fill(reader, &mut frame)?;
        let is_ours = frame.get(8..16) == Some(&header.salts[..]);
        if len < frame.len() {
            // Too little is left to tell whose it is; behind frames of ours it is ours.
            let is_ours = if len < 16 { len > 0 && is_intact } else { is_ours };
            return Ok(dropped + u64::from(is_ours));
        }
        if !is_ours {
            is_intact = false;
            continue;
        }
        dropped += 1;
        if let (Some(head), Some(page), true) = (frame.get(..8), frame.get(FRAME_BYTES..), is_intact) {
            sum = add(add(sum, head, header.is_big_endian), page, header.is_big_endian);
        }
        is_intact = is_intact && (word(&frame, 16), word(&frame, 20)) == (Some(sum.0), Some(sum.1));
        // The size of the database after a commit; 0 in all but a commit's last frame.
        if is_intact && word(&frame, 4).is_some_and(|pages| pages > 0) {
            dropped = 0;
        }
    }
}

fn add(sum: (u32, u32), bytes: &[u8], is_big_endian: bool) -> (u32, u32) {
    let word = |bytes: [u8; 4]| {
        if is_big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    };
    let (pairs, _) = bytes.as_chunks::<8>();
    pairs
        .iter()
        .fold(sum, |(first, second), &[a, b, c, d, e, f, g, h]| {
            let first = first.wrapping_add(word([a, b, c, d])).wrapping_add(second);
            let second = second.wrapping_add(word([e, f, g, h])).wrapping_add(first);
            (first, second)
        })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

/// Reads until `place` is full or the file ends. Tells how many bytes were read.
fn fill(reader: &mut impl Read, place: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while let Some(rest) = place.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}
