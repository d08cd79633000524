//! Measures the store: `figures DIRECTORY [LINES]`. Beside it, where `rg` is installed, `rg -j1`
//! over the same lines in a plain file.
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use flukedeploy_domain::log_entry::{
    EventType, Level, LogEntry, LogFilter, LogMetadata, LogSource, SourceType,
};
use flukedeploy_domain::log_query::TextQuery;
use flukedeploy_logs::{LogStore, Options, Order, Paging, Query};
use time::OffsetDateTime;

const BATCH: u64 = 5_000;
const APPS: u64 = 4;
const ROUNDS: usize = 5;

/// A small generator with a good spread (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// About 195 bytes, as web services write: a request with ids, or now and then something else.
fn entry(number: u64, random: &mut Random) -> LogEntry {
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

/// Milliseconds of the middle run.
fn median(mut run: impl FnMut() -> io::Result<()>) -> io::Result<f64> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[ROUNDS / 2])
}

fn memory_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

fn rg(arguments: &[&str], file: &Path) -> Option<f64> {
    median(|| {
        let mut rg = Command::new("rg");
        rg.args(["-j1", "-c"]).args(arguments).arg(file);
        rg.stdout(Stdio::null()).status().map(|_| ())
    })
    .ok()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let directory = Path::new(arguments.get(1).ok_or("a directory is needed")?);
    let lines = arguments
        .get(2)
        .map_or(Ok(1_000_000), |text| text.parse::<u64>())?;
    let mut out = io::stdout().lock();
    let plain = directory.join("plain.log");
    let logs = directory.join("logs");
    fs::create_dir_all(directory)?;
    let _ = fs::remove_dir_all(&logs);

    let mut raw = 0;
    let mut random = Random(1);
    let mut file = BufWriter::new(File::create(&plain)?);
    for number in 0..lines {
        let entry = entry(number, &mut random);
        writeln!(file, "{}", entry.message)?;
        raw += entry.message.len() + 1;
    }
    file.flush()?;
    file.get_ref().sync_all()?;
    let mut random = Random(1);
    let store = LogStore::open(&logs, Options::default())?;
    let (mut spent, mut slowest) = (0.0, 0.0_f64);
    for start in (0..lines).step_by(usize::try_from(BATCH)?) {
        let batch: Vec<LogEntry> = (start..start + BATCH)
            .map(|n| entry(n, &mut random))
            .collect();
        let begun = Instant::now();
        store.append(
            &batch,
            &[("reader".to_owned(), start.to_le_bytes().to_vec())],
        )?;
        let took = begun.elapsed().as_secs_f64();
        spent += took;
        slowest = slowest.max(took);
    }
    let begun = Instant::now();
    store.flush()?;
    let flush = begun.elapsed().as_secs_f64();
    let all = lines as f64;
    writeln!(
        out,
        "ingest, durable: {:.0} lines/s ({:.0} with all in segments); slowest append {:.1} ms",
        all / spent,
        all / (spent + flush),
        slowest * 1e3
    )?;
    let bytes: u64 = store.usage().iter().map(|usage| usage.bytes).sum();
    writeln!(
        out,
        "disk: {bytes} bytes, {:.1} a line of {:.1}: {:.3}; memory {:.1} MiB",
        bytes as f64 / all,
        raw as f64 / all,
        bytes as f64 / raw as f64,
        memory_mib()
    )?;

    drop(store);
    let begun = Instant::now();
    let store = LogStore::open(&logs, Options::default())?;
    writeln!(
        out,
        "open: {:.1} ms; memory {:.1} MiB",
        begun.elapsed().as_secs_f64() * 1e3,
        memory_mib()
    )?;

    let of_app = LogFilter {
        app_name: Some("shop-1".to_owned()),
        ..LogFilter::default()
    };
    let paging = Paging::default();
    let mut random = Random(1);
    let sample = (0..lines / 3)
        .map(|n| entry(n, &mut random))
        .last()
        .ok_or("no lines")?;
    let rare = sample
        .message
        .split_once("id=")
        .or(sample.message.split_once("trace="));
    let rare = rare.map_or("", |(_, rest)| &rest[..16]);
    let text = |text: &str| {
        TextQuery::parse(text).map(|text| Query {
            text: Some(text),
            ..Query::default()
        })
    };
    let rare_part = format!("\"{}\"", &rare[3..13]);
    let error_hour = Query {
        filter: LogFilter {
            min_level: Some(Level::Error),
            ..of_app.clone()
        },
        since: Some(sample.timestamp),
        ..Query::default()
    };
    let counted = Paging {
        total: true,
        ..Paging::default()
    };
    let cases: [(&str, Query, &Paging, Option<&[&str]>); 9] = [
        (
            "last 100 of an app",
            Query {
                filter: of_app.clone(),
                ..Query::default()
            },
            &paging,
            None,
        ),
        (
            "the same with its total",
            Query {
                filter: of_app.clone(),
                ..Query::default()
            },
            &counted,
            None,
        ),
        (
            "last 100 errors of an app in a time",
            error_hour,
            &paging,
            None,
        ),
        (
            "rare word",
            text(rare)?,
            &counted,
            Some(&["-w", "-F", rare]),
        ),
        (
            "a word that is nowhere",
            text("nowhere42")?,
            &counted,
            Some(&["-w", "-F", "nowhere42"]),
        ),
        (
            "any text, rare, all counted",
            text(&rare_part)?,
            &counted,
            Some(&["-F", &rare[3..13]]),
        ),
        ("common word, last 100", text("refused")?, &paging, None),
        (
            "common word, all counted",
            text("refused")?,
            &counted,
            Some(&["-w", "-F", "refused"]),
        ),
        (
            "regular expression, all counted",
            text("/orders\\/12[0-9]{4}\\/payment/")?,
            &counted,
            Some(&["orders/12[0-9]{4}/payment"]),
        ),
    ];
    for (name, query, paging, peer) in cases {
        let mut found = 0;
        let own = median(|| {
            let page = store.page(&query, paging).map_err(io::Error::other)?;
            found = page
                .total
                .map_or(page.lines.len() as u64, |total| total.lines);
            Ok(())
        })?;
        write!(out, "{name}: {own:.2} ms ({found} lines)")?;
        match peer.and_then(|arguments| rg(arguments, &plain)) {
            Some(peer) => writeln!(out, "; rg -j1 {peer:.1} ms: {:.3}", own / peer)?,
            None => writeln!(out)?,
        }
    }
    let begun = Instant::now();
    let histogram = store.histogram(&Query::default(), 100)?;
    let counted: u64 = histogram
        .buckets
        .iter()
        .map(|b| b.debug + b.info + b.warn + b.error)
        .sum();
    writeln!(
        out,
        "histogram: {:.1} ms ({counted} lines)",
        begun.elapsed().as_secs_f64() * 1e3
    )?;
    let begun = Instant::now();
    let exported = store
        .export(Query {
            filter: of_app,
            ..Query::default()
        })
        .count();
    writeln!(
        out,
        "export of an app: {:.0} lines/s; memory {:.1} MiB",
        exported as f64 / begun.elapsed().as_secs_f64(),
        memory_mib()
    )?;
    let oldest = Paging {
        order: Order::OldestFirst,
        ..Paging::default()
    };
    let own = median(|| {
        store
            .page(&Query::default(), &oldest)
            .map(|_| ())
            .map_err(io::Error::other)
    })?;
    writeln!(out, "first 100 of all apps: {own:.2} ms")?;
    Ok(())
}
