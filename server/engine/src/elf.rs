//! As much of an ELF file as it takes to carry a program elsewhere: its loader, and the name
//! under which a library is asked for.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;
const MAX_HEADERS: u16 = 512;
const MAX_DYNAMIC: u64 = 256 * 1024;
const MAX_STRING: u64 = 4096;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Elf {
    /// Absent in a static program.
    pub(crate) interpreter: Option<PathBuf>,
    pub(crate) soname: Option<String>,
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

pub(crate) fn read<F: Read + Seek>(file: &mut F) -> io::Result<Elf> {
    let mut header = [0; 64];
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut header)?;
    if &header[..4] != b"\x7fELF" {
        return Err(invalid("not an ELF file"));
    }
    if header[4..6] != [2, 1] {
        return Err(invalid("not a 64-bit little-endian ELF file"));
    }
    let (table, size, count) = (number(&header, 32), short(&header, 54), short(&header, 56));
    if size < 56 || count > MAX_HEADERS {
        return Err(invalid("an ELF file with odd program headers"));
    }
    let mut segments = Vec::with_capacity(count.into());
    for index in 0..count {
        let mut entry = [0; 56];
        let place = u64::from(index) * u64::from(size);
        file.seek(SeekFrom::Start(
            table.checked_add(place).ok_or_else(too_far)?,
        ))?;
        file.read_exact(&mut entry)?;
        segments.push(Segment {
            kind: u32::try_from(number(&entry, 0) & 0xffff_ffff).unwrap_or_default(),
            offset: number(&entry, 8),
            address: number(&entry, 16),
            size: number(&entry, 32),
        });
    }
    let interpreter = match segments.iter().find(|segment| segment.kind == PT_INTERP) {
        Some(segment) => Some(PathBuf::from(string(file, segment.offset)?)),
        None => None,
    };
    let soname = match segments.iter().find(|segment| segment.kind == PT_DYNAMIC) {
        Some(dynamic) => soname(file, dynamic, &segments)?,
        None => None,
    };
    Ok(Elf {
        interpreter,
        soname,
    })
}

fn soname<F: Read + Seek>(
    file: &mut F,
    dynamic: &Segment,
    segments: &[Segment],
) -> io::Result<Option<String>> {
    let mut table = Vec::new();
    file.seek(SeekFrom::Start(dynamic.offset))?;
    file.take(dynamic.size.min(MAX_DYNAMIC))
        .read_to_end(&mut table)?;
    let entries = || {
        table
            .chunks_exact(16)
            .map(|entry| (number(entry, 0), number(entry, 8)))
    };
    let value = |tag| {
        entries()
            .find(|(found, _)| *found == tag)
            .map(|(_, value)| value)
    };
    let (Some(strings), Some(name)) = (value(DT_STRTAB), value(DT_SONAME)) else {
        return Ok(None);
    };
    let home = segments.iter().find(|segment| {
        segment.kind == PT_LOAD
            && strings >= segment.address
            && strings - segment.address < segment.size
    });
    let Some(home) = home else {
        return Ok(None);
    };
    let place = (strings - home.address)
        .checked_add(home.offset)
        .and_then(|place| place.checked_add(name));
    string(file, place.ok_or_else(too_far)?).map(Some)
}

fn string<F: Read + Seek>(file: &mut F, offset: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.take(MAX_STRING).read_to_end(&mut bytes)?;
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .ok_or_else(|| invalid("an endless string"))?;
    bytes.truncate(end);
    String::from_utf8(bytes).map_err(|_| invalid("a name that is not UTF-8"))
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn too_far() -> io::Error {
    invalid("an offset beyond all files")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Cursor;

    #[test]
    fn this_program_has_a_loader_that_has_a_name() {
        let this = read(&mut File::open("/proc/self/exe").unwrap()).unwrap();
        assert_eq!(this.soname, None);
        // A statically linked test program has none, and that is fine too.
        if let Some(path) = this.interpreter {
            let loader = read(&mut File::open(&path).unwrap()).unwrap();
            assert_eq!(loader.interpreter, None);
            assert_eq!(
                loader.soname.as_deref(),
                path.file_name().and_then(|name| name.to_str())
            );
        }
    }

    #[test]
    fn other_files_are_refused_without_harm() {
        let whole = std::fs::read("/proc/self/exe").unwrap();
        assert!(read(&mut Cursor::new(b"#!/bin/sh\n".repeat(20))).is_err());
        assert!(read(&mut Cursor::new(&whole[..40])).is_err());
        for at in 0..64 {
            let mut odd = whole[..64 * 1024].to_vec();
            odd[at] = 0xff;
            let _ = read(&mut Cursor::new(odd));
        }
    }
}
