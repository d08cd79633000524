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
    hash_word_in(word, 0, word.len())
}

/// Of the word from `start` to `end` of a text.
#[inline]
fn hash_word_in(text: &[u8], start: usize, end: usize) -> u64 {
    let length = end - start;
    // Nearly all are short.
    if length <= 16
        && let Some(bytes) = text.get(start..).and_then(<[u8]>::first_chunk::<16>)
    {
        let both = u128::from_le_bytes(*bytes);
        let (first, second) = (lower_half(both), lower_half(both >> 64));
        if length <= 8 {
            return finish(mix(BEGUN[length], first & KEPT[length] | LOWER));
        }
        let hash = mix(BEGUN[length], first | LOWER);
        return finish(mix(hash, second & KEPT[length - 8] | LOWER));
    }
    let mut hash = mix(WORD, length as u64);
    let mut at = start;
    while at < end {
        hash = mix(hash, eight(text, at, end) | LOWER);
        at += 8;
    }
    finish(hash)
}

const LOWER: u64 = 0x2020_2020_2020_2020;
/// What the hash of a word of this length begins with.
const BEGUN: [u64; 17] = {
    let mut begun = [0; 17];
    let mut length = 0;
    while length < begun.len() {
        begun[length] = mix(WORD, length as u64);
        length += 1;
    }
    begun
};
/// Keeps so many of eight bytes.
const KEPT: [u64; 9] = {
    let mut kept = [u64::MAX; 9];
    let mut count = 0;
    while count < 8 {
        kept[count] = (1 << (8 * count)) - 1;
        count += 1;
    }
    kept
};

#[expect(
    clippy::cast_possible_truncation,
    reason = "the other half is not asked for"
)]
fn lower_half(both: u128) -> u64 {
    both as u64
}

/// Up to eight bytes from `at`, those from `end` on as zeros. Reads beyond `end` where the text
/// goes on: copying a few bytes by their number costs more than all the rest of hashing a word.
fn eight(text: &[u8], at: usize, end: usize) -> u64 {
    let Some(bytes) = text.get(at..).and_then(<[u8]>::first_chunk::<8>) else {
        return padded(&text[at..end]);
    };
    let value = u64::from_le_bytes(*bytes);
    if end - at < 8 {
        value & ((1 << (8 * (end - at))) - 1)
    } else {
        value
    }
}

/// One to seven bytes, as the lowest of a number. Pieces that overlap agree where they do.
fn padded(tail: &[u8]) -> u64 {
    let at = |place: usize| u64::from(tail[place]) << (8 * place);
    match (tail.first_chunk::<4>(), tail.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let last = u64::from(u32::from_le_bytes(*last)) << (8 * (tail.len() - 4));
            u64::from(u32::from_le_bytes(*first)) | last
        }
        _ => at(0) | at(tail.len() / 2) | at(tail.len() - 1),
    }
}

const fn mix(hash: u64, value: u64) -> u64 {
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
    /// All that are in the table, which is mostly free places.
    distinct: Vec<u64>,
}

impl Hashes {
    pub(crate) fn new() -> Self {
        Self {
            table: vec![0; 1 << 15],
            distinct: Vec::new(),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.table.fill(0);
        self.distinct.clear();
    }

    pub(crate) fn insert(&mut self, hash: u64) {
        let hash = hash.max(1);
        let place = self.place_of(hash);
        if self.table[place] != hash {
            self.table[place] = hash;
            self.distinct.push(hash);
            if self.distinct.len() * 2 > self.table.len() {
                self.grow();
            }
        }
    }

    #[cold]
    fn grow(&mut self) {
        self.table = vec![0; self.table.len() * 2];
        for hash in &self.distinct {
            let place = self.place_of(*hash);
            self.table[place] = *hash;
        }
    }

    fn place_of(&self, hash: u64) -> usize {
        let mask = self.table.len() - 1;
        let mut place = low(hash) & mask;
        while self.table[place] != hash && self.table[place] != 0 {
            place = (place + 1) & mask;
        }
        place
    }

    /// Adds the words of `texts[start..end]`: runs of letters, digits and `_`. Those with other
    /// than ASCII characters are left out; queries do not ask for them.
    pub(crate) fn insert_words(&mut self, texts: &str, start: usize, end: usize) {
        let Some(text) = texts.get(start..end) else {
            return;
        };
        if text.is_ascii() {
            self.insert_ascii_words(texts.as_bytes(), start, end);
        } else {
            self.insert_mixed_words(text);
        }
    }

    /// The same for every part of a text, each ending where `ends` says.
    pub(crate) fn insert_all(&mut self, texts: &str, ends: &[u32]) {
        let is_ascii = texts.is_ascii();
        let mut start = 0;
        for end in ends {
            let end = (*end as usize).min(texts.len());
            if is_ascii {
                self.insert_ascii_words(texts.as_bytes(), start, end);
            } else {
                self.insert_words(texts, start, end);
            }
            start = end;
        }
    }

    /// 64 bytes at a time become a bit each; words begin and end where bits change.
    fn insert_ascii_words(&mut self, texts: &[u8], start: usize, end: usize) {
        // Where a word began that goes on in the next 64 bytes.
        let mut begun = None;
        for base in (start..end).step_by(64) {
            let words = words_in(texts, base, end);
            let before = words << 1 | u64::from(begun.is_some());
            let (mut starts, mut ends) = (words & !before, !words & before);
            if let Some(from) = begun {
                if ends == 0 {
                    continue;
                }
                self.insert(hash_word_in(texts, from, base + first_bit(&mut ends)));
                begun = None;
            }
            while starts != 0 {
                let from = base + first_bit(&mut starts);
                if ends == 0 {
                    begun = Some(from);
                    break;
                }
                self.insert(hash_word_in(texts, from, base + first_bit(&mut ends)));
            }
        }
        if let Some(from) = begun {
            self.insert(hash_word_in(texts, from, end));
        }
    }

    fn insert_mixed_words(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let start = at;
            while at < bytes.len() && IS_WORD[bytes[at] as usize] {
                at += 1;
            }
            if at == bytes.len() || bytes[at].is_ascii() {
                if at > start {
                    self.insert(hash_word_in(bytes, start, at));
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
        let lines = (self.distinct.len() * BITS_PER_WORD)
            .div_ceil(LINE * 8)
            .max(1);
        let mut filter = vec![0; lines * LINE];
        for hash in &self.distinct {
            let start = line_of(*hash, lines) * LINE;
            for bit in bits_of(*hash) {
                filter[start + bit / 8] |= 1 << (bit % 8);
            }
        }
        filter
    }
}

/// Takes the lowest bit that is set.
fn first_bit(bits: &mut u64) -> usize {
    let place = bits.trailing_zeros() as usize;
    *bits &= bits.wrapping_sub(1);
    place
}

/// Which of 64 bytes from `base` on can be in a word: a bit each, the first byte's the lowest. Those
/// from `end` on cannot.
fn words_in(texts: &[u8], base: usize, end: usize) -> u64 {
    let mut last = [0; 64];
    let whole = texts.get(base..).and_then(<[u8]>::first_chunk::<64>);
    let bytes = whole.unwrap_or_else(|| {
        last[..end - base].copy_from_slice(&texts[base..end]);
        &last
    });
    let words = word_bits(bytes);
    if end - base < 64 {
        words & ((1 << (end - base)) - 1)
    } else {
        words
    }
}

/// Which of 64 bytes can be in a word. The compiler makes vector code of the first part.
fn word_bits(bytes: &[u8; 64]) -> u64 {
    let mut flags = [0; 64];
    for (flag, byte) in flags.iter_mut().zip(bytes) {
        let is_letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        let is_digit = byte.wrapping_sub(b'0') < 10;
        *flag = u8::from(is_letter) | u8::from(is_digit) | u8::from(*byte == b'_');
    }
    let (rows, _) = flags.as_chunks::<8>();
    let mut turned = 0;
    for (row, flags) in rows.iter().enumerate() {
        turned |= u64::from_le_bytes(*flags) << row;
    }
    transposed(turned)
}

/// Eight rows of eight bits, mirrored along their diagonal.
fn transposed(mut rows: u64) -> u64 {
    for (distance, swapped) in [
        (7, 0x00aa_00aa_00aa_00aa),
        (14, 0x0000_cccc_0000_cccc),
        (28, 0x0000_0000_f0f0_f0f0),
    ] {
        let differ = (rows ^ (rows >> distance)) & swapped;
        rows ^= differ ^ (differ << distance);
    }
    rows
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
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const KNOWN: [(&str, u64); 6] = [
        ("a", 0xe984_3ce6_ad2e_1d0f),
        ("refused", 0xceda_1191_b403_d325),
        ("eightlet", 0x0954_7e8a_2e4a_00a7),
        ("ninechars", 0x70db_f391_2656_598a),
        ("c0ffee00c0ffee00", 0x64f4_8092_9f92_1e7f),
        ("_x_17", 0x8d0b_3b59_2c75_10aa),
    ];

    fn may_have(filter: &[u8], hash: u64) -> bool {
        let start = line_offset(hash, filter.len());
        line_may_have(filter[start..start + LINE].try_into().unwrap(), hash)
    }

    /// The hashes of a text's words, in the plainest way.
    fn plain_hashes(text: &str) -> BTreeSet<u64> {
        let is_word = |c: char| c == '_' || c.is_alphanumeric();
        text.split(|c: char| !is_word(c))
            .filter(|word| !word.is_empty() && word.is_ascii())
            .map(|word| hash_word(word.to_ascii_lowercase().as_bytes()).max(1))
            .collect()
    }

    proptest! {
        /// Also of a part in the middle: what stands around it does not matter.
        #[test]
        fn words_are_the_same_however_they_are_found(
            before in "[a-z_ é]{0,9}",
            text in prop_oneof!["[ -~]{0,200}", "[ -~éµ—\t]{0,90}", "[a-zA-Z0-9_]{0,150}"],
            after in "[a-z_ é]{0,9}",
        ) {
            let mut hashes = Hashes::new();
            let all = format!("{before}{text}{after}");
            hashes.insert_words(&all, before.len(), before.len() + text.len());
            let found: BTreeSet<u64> = hashes.distinct.iter().copied().collect();
            prop_assert_eq!(found, plain_hashes(&text));
            hashes.clear();
            let ends = [before.len(), before.len() + text.len(), all.len()];
            hashes.insert_all(&all, &ends.map(|end| u32::try_from(end).unwrap()));
            let found: BTreeSet<u64> = hashes.distinct.iter().copied().collect();
            let parts = [before, text, after];
            prop_assert_eq!(found, parts.iter().flat_map(|part| plain_hashes(part)).collect());
        }
    }

    #[test]
    fn hashes_on_disk_stay_what_they_are() {
        // Filters that are stored were made with these.
        for (word, hash) in KNOWN {
            assert_eq!(hash_word(word.as_bytes()), hash, "{word}");
        }
    }

    #[test]
    fn every_character_is_told_apart() {
        for byte in 0..=u8::MAX {
            let is = u64::from(IS_WORD[usize::from(byte)]);
            for place in [0, 1, 8, 13, 63] {
                let mut bytes = [b' '; 64];
                (bytes[place], bytes[7]) = (byte, b'a');
                assert_eq!(word_bits(&bytes), is << place | 1 << 7, "{byte}");
            }
            assert_eq!(word_bits(&[byte; 64]), is * u64::MAX, "{byte}");
        }
    }

    #[test]
    fn every_word_is_found_and_few_others() {
        let mut hashes = Hashes::new();
        for number in 0..40_000 {
            let text = format!("Word{number} naïve{number} µ_{number}—plain{number}!");
            hashes.insert_words(&text, 0, text.len());
        }
        assert_eq!(hashes.distinct.len(), 80_000);
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
