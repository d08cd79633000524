//! A block as bytes: header, filter, and three compressed sections that are read apart.
//!
//! | section | holds | read for |
//! | --- | --- | --- |
//! | header | length, times, sequence numbers, lines per level, lengths and checksums | opening; pruning; counting |
//! | filter | words and origins, see `bloom` | pruning, 64 bytes at a time |
//! | columns | times, sequence numbers, levels, origins, lengths of texts, the origins themselves | every query |
//! | texts | messages with stack traces and fields, one after the other | text queries; showing |
//! | extra | ids, durations, how texts divide | showing |

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

use crate::block::{Block, Columns, Extra, MAX_ROWS, ODD, Tail};
use crate::bloom::Hashes;
use crate::codec::{Malformed, Reader, put_bytes, put_varint, to_u32, unzigzag, zigzag};
use crate::origin::{Origin, Origins};

/// Bytes of a header; those of a block begin with it.
pub(crate) const HEADER_BYTES: usize = 112;
const MAGIC: u32 = u32::from_le_bytes(*b"FLB1");
/// Far more than any block has: a header that says more is not believed.
const MAX_SECTION_BYTES: u32 = 256 << 20;
/// Of the table in which compression looks for what came before: 16 KiB stay in the processor's
/// nearest memory beside the text. Four times that costs a twentieth of the time that storing
/// takes; it saves up to 7 % of the space where lines are prose, 2 % where they are system logs,
/// and nothing where they are requests.
const HASH_BITS: u32 = 12;
/// 36^9 is less than 2^48.
const ID_BYTES: usize = 6;
const ODD_ON_DISK: u64 = (1 << (8 * ID_BYTES)) - 1;

/// Where a compressed section is and what it must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) stored: u32,
    pub(crate) raw: u32,
    checksum: u32,
}

/// What is known of a block without reading it. Kept in memory for every block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// Of the whole block.
    pub(crate) length: u32,
    pub(crate) rows: u32,
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
    pub(crate) min_sequence: u64,
    pub(crate) max_sequence: u64,
    pub(crate) levels: [u32; 4],
    pub(crate) filter_bytes: u32,
    filter_checksum: u32,
    pub(crate) columns: Section,
    pub(crate) extra: Section,
    pub(crate) texts: Section,
}

impl Header {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend(MAGIC.to_le_bytes());
        out.extend([0; 4]);
        out.extend(self.length.to_le_bytes());
        out.extend(self.rows.to_le_bytes());
        out.extend(self.min_time.to_le_bytes());
        out.extend(self.max_time.to_le_bytes());
        out.extend(self.min_sequence.to_le_bytes());
        out.extend(self.max_sequence.to_le_bytes());
        for count in self.levels {
            out.extend(count.to_le_bytes());
        }
        out.extend(self.filter_bytes.to_le_bytes());
        out.extend(self.filter_checksum.to_le_bytes());
        for section in [self.columns, self.extra, self.texts] {
            out.extend(section.stored.to_le_bytes());
            out.extend(section.raw.to_le_bytes());
            out.extend(section.checksum.to_le_bytes());
        }
        out.resize(HEADER_BYTES, 0);
        let checksum = crc32fast::hash(&out[8..]);
        out[4..8].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let bytes = bytes.get(..HEADER_BYTES).ok_or(Malformed)?;
        let mut reader = Reader::new(bytes);
        if reader.u32()? != MAGIC || reader.u32()? != crc32fast::hash(&bytes[8..]) {
            return Err(Malformed);
        }
        let header = Self {
            length: reader.u32()?,
            rows: reader.u32()?,
            min_time: reader.u64()?.cast_signed(),
            max_time: reader.u64()?.cast_signed(),
            min_sequence: reader.u64()?,
            max_sequence: reader.u64()?,
            levels: [reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?],
            filter_bytes: reader.u32()?,
            filter_checksum: reader.u32()?,
            columns: read_section(&mut reader)?,
            extra: read_section(&mut reader)?,
            texts: read_section(&mut reader)?,
        };
        let sections = [header.columns, header.extra, header.texts];
        let together = HEADER_BYTES as u64
            + u64::from(header.filter_bytes)
            + sections.iter().map(|s| u64::from(s.stored)).sum::<u64>();
        let sound = together == u64::from(header.length)
            && header.rows as usize <= MAX_ROWS
            && header.filter_bytes >= 64
            && sections.iter().all(|s| s.raw <= MAX_SECTION_BYTES);
        sound.then_some(header).ok_or(Malformed)
    }

    /// Where the filter begins in the block; the sections follow in the order of the table above.
    pub(crate) fn columns_start(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.filter_bytes)
    }

    pub(crate) fn texts_start(&self) -> u64 {
        self.columns_start() + u64::from(self.columns.stored)
    }

    pub(crate) fn extra_start(&self) -> u64 {
        self.texts_start() + u64::from(self.texts.stored)
    }

    /// Whether the bytes of a whole block are those that were written.
    pub(crate) fn is_whole(&self, block: &[u8]) -> bool {
        let mut reader = Reader::new(block);
        let sums = [
            (to_u32(HEADER_BYTES), None),
            (self.filter_bytes, Some(self.filter_checksum)),
            (self.columns.stored, Some(self.columns.checksum)),
            (self.texts.stored, Some(self.texts.checksum)),
            (self.extra.stored, Some(self.extra.checksum)),
        ];
        sums.into_iter().all(|(length, sum)| {
            let bytes = reader.take(length as usize);
            bytes.is_ok_and(|bytes| sum.is_none_or(|sum| crc32fast::hash(bytes) == sum))
        })
    }
}

fn read_section(reader: &mut Reader<'_>) -> Result<Section, Malformed> {
    Ok(Section {
        stored: reader.u32()?,
        raw: reader.u32()?,
        checksum: reader.u32()?,
    })
}

/// Turns blocks into bytes; holds what can be used again.
pub(crate) struct Encoder {
    compressor: Compressor<'static>,
    hashes: Hashes,
    /// What sections are compressed into: fresh memory costs a fault per page.
    stored: [Vec<u8>; 3],
}

impl Encoder {
    pub(crate) fn new(level: i32) -> io::Result<Self> {
        let mut compressor = Compressor::new(level)?;
        compressor.set_parameter(CParameter::HashLog(HASH_BITS))?;
        Ok(Self {
            compressor,
            hashes: Hashes::new(),
            stored: Default::default(),
        })
    }

    /// The block by time, as bytes and what they begin with.
    pub(crate) fn encode(&mut self, block: &Block) -> io::Result<(Header, Vec<u8>)> {
        let block: Cow<'_, Block> = block.sorted();
        self.hashes.clear();
        self.hashes.insert_all(&block.texts, &block.columns.ends);
        for origin in block.columns.dictionary.list() {
            for feature in origin.features() {
                self.hashes.insert(feature);
            }
        }
        let filter = self.hashes.to_filter();
        let [columns_bytes, texts_bytes, extra_bytes] = &mut self.stored;
        let compressor = &mut self.compressor;
        let columns = section(compressor, &write_columns(&block.columns), columns_bytes)?;
        let texts = section(compressor, block.texts.as_bytes(), texts_bytes)?;
        let extra = section(compressor, &write_extra(&block.extra), extra_bytes)?;
        let parts = [&filter, columns_bytes, texts_bytes, extra_bytes];
        let length = HEADER_BYTES + parts.iter().map(|part| part.len()).sum::<usize>();
        let (min_time, max_time) = block.times().unwrap_or_default();
        let (min_sequence, max_sequence) = block.sequences().unwrap_or_default();
        let mut levels = [0; 4];
        for level in &block.columns.levels {
            levels[usize::from(level & 3)] += 1;
        }
        let header = Header {
            length: to_u32(length),
            rows: to_u32(block.rows()),
            min_time,
            max_time,
            min_sequence,
            max_sequence,
            levels,
            filter_bytes: to_u32(filter.len()),
            filter_checksum: crc32fast::hash(&filter),
            columns,
            extra,
            texts,
        };
        let mut bytes = header.to_bytes();
        bytes.reserve_exact(length - HEADER_BYTES);
        for part in parts {
            bytes.extend_from_slice(part);
        }
        Ok((header, bytes))
    }
}

/// Compresses into a buffer that may have been used before.
fn section(
    compressor: &mut Compressor<'_>,
    raw: &[u8],
    stored: &mut Vec<u8>,
) -> io::Result<Section> {
    stored.clear();
    stored.reserve(zstd::zstd_safe::compress_bound(raw.len()));
    compressor.compress_to_buffer(raw, stored)?;
    Ok(Section {
        stored: to_u32(stored.len()),
        raw: to_u32(raw.len()),
        checksum: crc32fast::hash(stored),
    })
}

/// Turns sections back; holds what can be used again.
pub(crate) struct Decoder {
    decompressor: Decompressor<'static>,
}

impl Decoder {
    pub(crate) fn new() -> io::Result<Self> {
        let decompressor = Decompressor::new()?;
        Ok(Self { decompressor })
    }

    fn raw(&mut self, section: Section, stored: &[u8]) -> io::Result<Vec<u8>> {
        self.raw_into(section, stored, Vec::new())
    }

    /// Into a buffer that was used before: new ones cost as much as reading does.
    fn raw_into(
        &mut self,
        section: Section,
        stored: &[u8],
        mut raw: Vec<u8>,
    ) -> io::Result<Vec<u8>> {
        if crc32fast::hash(stored) != section.checksum {
            return Err(Malformed.into());
        }
        raw.clear();
        raw.reserve(section.raw as usize);
        let bytes = self.decompressor.decompress_to_buffer(stored, &mut raw)?;
        if bytes != section.raw as usize {
            return Err(Malformed.into());
        }
        Ok(raw)
    }

    pub(crate) fn columns(&mut self, header: &Header, stored: &[u8]) -> io::Result<Columns> {
        let raw = self.raw(header.columns, stored)?;
        let columns = read_columns(&raw, header.rows as usize)?;
        if columns.ends.last().copied().unwrap_or(0) != header.texts.raw {
            return Err(Malformed.into());
        }
        Ok(columns)
    }

    pub(crate) fn texts(
        &mut self,
        header: &Header,
        stored: &[u8],
        buffer: String,
    ) -> io::Result<String> {
        let raw = self.raw_into(header.texts, stored, buffer.into_bytes())?;
        String::from_utf8(raw).map_err(|_| Malformed.into())
    }

    pub(crate) fn extra(&mut self, header: &Header, stored: &[u8]) -> io::Result<Extra> {
        let raw = self.raw(header.extra, stored)?;
        Ok(read_extra(&raw, header.rows as usize)?)
    }
}

fn write_columns(columns: &Columns) -> Vec<u8> {
    let mut out = Vec::with_capacity(columns.rows() * 10);
    let mut before = 0_i64;
    for time in &columns.times {
        put_varint(&mut out, zigzag(time.wrapping_sub(before)));
        before = *time;
    }
    let mut before = 0_u64;
    for sequence in &columns.sequences {
        put_varint(
            &mut out,
            zigzag(sequence.wrapping_sub(before).cast_signed()),
        );
        before = *sequence;
    }
    out.extend_from_slice(&columns.levels);
    for origin in &columns.origins {
        put_varint(&mut out, u64::from(*origin));
    }
    let mut before = 0;
    for end in &columns.ends {
        put_varint(&mut out, u64::from(end - before));
        before = *end;
    }
    let origins = columns.dictionary.list();
    put_varint(&mut out, origins.len() as u64);
    for origin in origins {
        put_bytes(&mut out, &origin.json);
    }
    out
}

fn read_columns(raw: &[u8], rows: usize) -> Result<Columns, Malformed> {
    let mut reader = Reader::new(raw);
    let mut columns = Columns::default();
    let mut time = 0_i64;
    columns.times.reserve_exact(rows);
    for _ in 0..rows {
        time = time.wrapping_add(unzigzag(reader.varint()?));
        columns.times.push(time);
    }
    let mut sequence = 0_u64;
    columns.sequences.reserve_exact(rows);
    for _ in 0..rows {
        sequence = sequence.wrapping_add(unzigzag(reader.varint()?).cast_unsigned());
        columns.sequences.push(sequence);
    }
    columns.levels = reader.take(rows)?.to_vec();
    columns.origins.reserve_exact(rows);
    for _ in 0..rows {
        columns.origins.push(reader.small()?);
    }
    let mut end = 0_u32;
    columns.ends.reserve_exact(rows);
    for _ in 0..rows {
        end = end.checked_add(reader.small()?).ok_or(Malformed)?;
        columns.ends.push(end);
    }
    columns.dictionary = read_origins(&mut reader)?;
    let known = columns.dictionary.list().len();
    let sound = columns
        .origins
        .iter()
        .all(|origin| (*origin as usize) < known);
    (sound && reader.is_empty())
        .then_some(columns)
        .ok_or(Malformed)
}

pub(crate) fn read_origins(reader: &mut Reader<'_>) -> Result<Origins, Malformed> {
    let mut origins = Origins::default();
    for _ in 0..reader.count()? {
        origins.push(Arc::new(Origin::from_json(reader.bytes()?)?));
    }
    Ok(origins)
}

fn write_extra(extra: &Extra) -> Vec<u8> {
    let mut out = Vec::with_capacity(extra.ids.len() * ID_BYTES + 16);
    for id in &extra.ids {
        out.extend_from_slice(&id.to_le_bytes()[..ID_BYTES]);
    }
    put_varint(&mut out, extra.odd_ids.len() as u64);
    for (row, id) in &extra.odd_ids {
        put_varint(&mut out, u64::from(*row));
        put_bytes(&mut out, id.as_bytes());
    }
    put_varint(&mut out, extra.durations.len() as u64);
    for (row, duration) in &extra.durations {
        put_varint(&mut out, u64::from(*row));
        put_varint(&mut out, *duration);
    }
    put_varint(&mut out, extra.tails.len() as u64);
    for (row, tail) in &extra.tails {
        put_varint(&mut out, u64::from(*row));
        put_varint(&mut out, u64::from(tail.message_bytes));
        put_varint(
            &mut out,
            tail.trace_bytes.map_or(0, |bytes| u64::from(bytes) + 1),
        );
    }
    out
}

fn read_extra(raw: &[u8], rows: usize) -> Result<Extra, Malformed> {
    let mut reader = Reader::new(raw);
    let mut extra = Extra::default();
    let (ids, _) = reader.take(rows * ID_BYTES)?.as_chunks::<ID_BYTES>();
    extra.ids = ids
        .iter()
        .map(|id| {
            let mut bytes = [0; 8];
            bytes[..ID_BYTES].copy_from_slice(id);
            match u64::from_le_bytes(bytes) {
                ODD_ON_DISK => ODD,
                number => number,
            }
        })
        .collect();
    for _ in 0..reader.count()? {
        let row = reader.small()?;
        extra.odd_ids.push((row, reader.text()?.to_owned()));
    }
    for _ in 0..reader.count()? {
        extra.durations.push((reader.small()?, reader.varint()?));
    }
    for _ in 0..reader.count()? {
        let row = reader.small()?;
        let tail = Tail {
            message_bytes: reader.small()?,
            trace_bytes: reader.small()?.checked_sub(1),
        };
        extra.tails.push((row, tail));
    }
    Ok(extra)
}
