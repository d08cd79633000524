//! Sizes, all in bytes, that decide between speed, memory and disk.

/// The defaults suit a small server; tests make everything smaller.
#[derive(Debug, Clone)]
pub struct Options {
    /// Text gathered before a block is written. Larger blocks compress better, and cost more to
    /// read for one line.
    pub block_bytes: usize,
    /// A segment ends with the block that makes it this large, compressed. Retention removes whole
    /// segments.
    pub segment_bytes: u64,
    /// A segment ends also when its lines span this many seconds, so that an app that says little
    /// does not keep lines for long past their time.
    pub segment_seconds: u32,
    /// Size of the write-ahead log at which it is begun anew.
    pub wal_bytes: u64,
    /// Blocks with less text than this are copied into the next write-ahead log instead of being
    /// written as tiny blocks.
    pub carry_bytes: usize,
    /// Text in blocks still filling, all apps together; beyond it the fullest is written early.
    pub open_bytes: usize,
    /// Text in full blocks that are not written yet; beyond it `append` waits.
    pub waiting_bytes: usize,
    /// zstd's: 1 is fastest.
    pub compression: i32,
    /// Space on the disk that is left to others, but no more than a twentieth of the disk: with less
    /// than that free nothing is stored, and below twice that the oldest lines go. 0: none.
    pub min_free_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            block_bytes: 512 << 10,
            segment_bytes: 8 << 20,
            segment_seconds: 24 * 60 * 60,
            wal_bytes: 32 << 20,
            carry_bytes: 64 << 10,
            open_bytes: 24 << 20,
            waiting_bytes: 16 << 20,
            compression: 1,
            min_free_bytes: 0,
        }
    }
}
