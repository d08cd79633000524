//! What is stored and searched: lines as web services write them, the same in every run.

use flukedeploy_domain::log_entry::{
    EventType, Level, LogEntry, LogMetadata, LogSource, SourceType,
};
use time::OffsetDateTime;

const APPS: u64 = 4;

/// A small generator with a good spread (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    /// The same lines in every run.
    pub(crate) fn new() -> Self {
        Self(1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// About 195 bytes, as web services write: a request with ids, or now and then something else.
pub(crate) fn entry(number: u64, random: &mut Random) -> LogEntry {
    let app = format!("shop-{}", random.below(APPS));
    let replica = random.below(3);
    let at =
        1_770_200_000_000_000_000 + i128::from(number) * 40_000 + i128::from(random.below(39_000));
    let at = OffsetDateTime::from_unix_timestamp_nanos(at).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (level, message) = match random.below(20) {
        0 => (
            Level::Error,
            format!(
                "upstream request failed: connection refused by 10.0.{}.{}:5432 after {} ms while handling POST \
                 /api/v1/orders/{}/payment for customer {} (attempt {} of 5), request_id={:016x}",
                random.below(4),
                random.below(250),
                random.below(3_000),
                random.below(900_000),
                random.below(50_000),
                random.below(5) + 1,
                random.next(),
            ),
        ),
        1 | 2 => (
            Level::Warn,
            format!(
                "slow query took {} ms: SELECT id, name, price FROM products WHERE category_id = {} AND active ORDER BY \
                 created_at DESC LIMIT 50 pool=main waiting={} trace={:016x}",
                random.below(5_000),
                random.below(300),
                random.below(20),
                random.next(),
            ),
        ),
        _ => (
            Level::Info,
            format!(
                "10.{}.{}.{} \"GET /api/v1/products/{}?page={} HTTP/1.1\" status=200 bytes={} duration_ms={} user={} \
                 request_id={:016x} agent=\"Mozilla/5.0 (X11; Linux x86_64) Firefox/{}.0\" cache=miss",
                random.below(256),
                random.below(256),
                random.below(256),
                random.below(40_000),
                random.below(40),
                random.below(60_000),
                random.below(900),
                random.below(50_000),
                random.next(),
                100 + random.below(30),
            ),
        ),
    };
    let source = LogSource {
        kind: SourceType::Container,
        container_name: format!("{app}.{replica}"),
        service_id: Some(format!("{app}-production-r7")),
        node_id: Some("x7v0k2n5q9w1e3r4t6y8u0i2o".to_owned()),
        task_id: Some(format!("{app}-task-{replica}-k2n5q9w1e3r4t6y8u")),
        stream: Some("stdout".to_owned()),
    };
    let metadata = LogMetadata {
        environment: Some("production".to_owned()),
        release: Some(7),
        ..LogMetadata::new(EventType::PostDeploy, app)
    };
    LogEntry::new(at, random.next(), level, message, source, metadata)
}
