//! A block's filter: says of a word "not in here" or "perhaps".
//!
//! Split into lines of 64 bytes; all bits of one word are in one line. So a question costs one read
//! of 64 bytes wherever the filter is, and filters need not be kept in memory. At 10 bits a word
//! about one answer in 80 is a needless "perhaps".

const LINE: usize = 64;
const BITS_PER_WORD: usize = 10;
const BITS_SET: u32 = 6;
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
/// Seeds keep words and features apart.
const WORD: u64 = 0x51ed_270b_3f2a_9d43;
const FEATURE: u64 = 0xc2b2_ae3d_27d4_eb4f;

/// Stable: filters on disk depend on it.
pub(crate) fn hash_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = mix(seed, bytes.len() as u64);
    let (chunks, tail) = bytes.as_chunks::<8>();
    for chunk in chunks {
        hash = mix(hash, u64::from_le_bytes(*chunk));
    }
    if !tail.is_empty() {
        hash = mix(hash, padded(tail));
    }
    hash
}

pub(crate) fn hash_feature(name: &[u8], value: &[u8]) -> u64 {
    finish(hash_bytes(hash_bytes(FEATURE, name), value))
}

/// Of an ASCII word, in any case: the bit 0x20 is what tells cases apart, and no other two
/// characters of words differ in it alone.
pub(crate) fn hash_word(word: &[u8]) -> u64 {
    const LOWER: u64 = 0x2020_2020_2020_2020;
    let mut hash = mix(WORD, word.len() as u64);
    let (chunks, tail) = word.as_chunks::<8>();
    for chunk in chunks {
        hash = mix(hash, u64::from_le_bytes(*chunk) | LOWER);
    }
    if !tail.is_empty() {
        hash = mix(hash, padded(tail) | LOWER);
    }
    finish(hash)
}

fn padded(tail: &[u8]) -> u64 {
    let mut chunk = [0; 8];
    chunk[..tail.len()].copy_from_slice(tail);
    u64::from_le_bytes(chunk)
}

fn mix(hash: u64, value: u64) -> u64 {
    let hash = (hash ^ value).wrapping_mul(MULTIPLIER);
    hash ^ hash >> 29
}

fn finish(hash: u64) -> u64 {
    let hash = hash.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^ hash >> 32
}

/// The distinct hashes of one block. Kept from block to block: clearing it is cheap.
#[derive(Debug)]
pub(crate) struct Hashes {
    /// Open addressing, 0 is free, a power of two long.
    table: Vec<u64>,
    used: usize,
}

impl Hashes {
    pub(crate) fn new() -> Self {
        Self {
            table: vec![0; 1 << 15],
            used: 0,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.table.fill(0);
        self.used = 0;
    }

    pub(crate) fn insert(&mut self, hash: u64) {
        let hash = hash.max(1);
        if self.used * 2 >= self.table.len() {
            let doubled = vec![0; self.table.len() * 2];
            let old = std::mem::replace(&mut self.table, doubled);
            for hash in old.into_iter().filter(|hash| *hash != 0) {
                let place = self.place_of(hash);
                self.table[place] = hash;
            }
        }
        let place = self.place_of(hash);
        if self.table[place] == 0 {
            self.table[place] = hash;
            self.used += 1;
        }
    }

    fn place_of(&self, hash: u64) -> usize {
        let mask = self.table.len() - 1;
        let mut place = low(hash) & mask;
        while self.table[place] != 0 && self.table[place] != hash {
            place = (place + 1) & mask;
        }
        place
    }

    /// Adds the words of a text: runs of letters, digits and `_`. Those with other than ASCII
    /// characters are left out; queries do not ask for them.
    pub(crate) fn insert_words(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let start = at;
            while at < bytes.len() && IS_WORD[bytes[at] as usize] {
                at += 1;
            }
            if at == bytes.len() || bytes[at].is_ascii() {
                if at > start {
                    self.insert(hash_word(&bytes[start..at]));
                }
                at += 1;
            } else {
                at = self.skip_foreign(text, start, at);
            }
        }
    }

    /// At a character that is not ASCII, with a word perhaps begun at `start`.
    fn skip_foreign(&mut self, text: &str, start: usize, at: usize) -> usize {
        let Some(c) = text[at..].chars().next() else {
            return text.len();
        };
        if !c.is_alphanumeric() {
            if at > start {
                self.insert(hash_word(&text.as_bytes()[start..at]));
            }
            return at + c.len_utf8();
        }
        text[at..]
            .find(|c: char| c != '_' && !c.is_alphanumeric())
            .map_or(text.len(), |length| at + length)
    }

    pub(crate) fn to_filter(&self) -> Vec<u8> {
        let lines = (self.used * BITS_PER_WORD).div_ceil(LINE * 8).max(1);
        let mut filter = vec![0; lines * LINE];
        for hash in self.table.iter().filter(|hash| **hash != 0) {
            let start = line_of(*hash, lines) * LINE;
            for bit in bits_of(*hash) {
                filter[start + bit / 8] |= 1 << (bit % 8);
            }
        }
        filter
    }
}

const IS_WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'_';
        byte += 1;
    }
    table
};

/// The lower bits; platforms have 64-bit addresses or do with fewer.
fn low(hash: u64) -> usize {
    usize::try_from(hash & u64::from(u32::MAX)).unwrap_or(0)
}

fn line_of(hash: u64, lines: usize) -> usize {
    let place = (u128::from(hash) * lines as u128) >> 64;
    usize::try_from(place).unwrap_or(0)
}

fn bits_of(hash: u64) -> impl Iterator<Item = usize> {
    let spread = hash.wrapping_mul(MULTIPLIER);
    (0..BITS_SET).map(move |n| low(spread >> (9 * n + 8)) & 511)
}

/// Where in a filter of this many bytes to look for a hash: 64 bytes from there.
pub(crate) fn line_offset(hash: u64, filter_bytes: usize) -> usize {
    line_of(hash.max(1), (filter_bytes / LINE).max(1)) * LINE
}

pub(crate) fn line_may_have(line: &[u8; LINE], hash: u64) -> bool {
    bits_of(hash.max(1)).all(|bit| line[bit / 8] & 1 << (bit % 8) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_have(filter: &[u8], hash: u64) -> bool {
        let start = line_offset(hash, filter.len());
        line_may_have(filter[start..start + LINE].try_into().unwrap(), hash)
    }

    #[test]
    fn every_word_is_found_and_few_others() {
        let mut hashes = Hashes::new();
        for number in 0..40_000 {
            hashes.insert_words(&format!(
                "Word{number} naïve{number} µ_{number}—plain{number}!"
            ));
        }
        assert_eq!(hashes.used, 80_000);
        let filter = hashes.to_filter();
        for number in 0..40_000 {
            assert!(may_have(
                &filter,
                hash_word(format!("word{number}").as_bytes())
            ));
            assert!(may_have(
                &filter,
                hash_word(format!("PLAIN{number}").as_bytes())
            ));
        }
        let wrong = (0..40_000)
            .filter(|n| may_have(&filter, hash_word(format!("other{n}").as_bytes())))
            .count();
        assert!(wrong < 1_000, "{wrong} of 40,000 were taken for known");
        hashes.clear();
        assert!(!may_have(&hashes.to_filter(), hash_word(b"word1")));
    }
}
