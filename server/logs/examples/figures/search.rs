//! What millions of lines take on disk, and how soon lines among them are found.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use flukedeploy_domain::log_entry::{Level, LogEntry, LogFilter};
use flukedeploy_domain::log_query::TextQuery;
use flukedeploy_logs::{LogStore, Options, Order, Paging, Query};

use crate::lines::{Random, entry};
use crate::{BATCH, Result, append, median, memory_mib, milliseconds, new_store, spread, tell};

const ROUNDS: usize = 5;

pub(crate) fn measure(directory: &Path, lines: u64) -> Result<()> {
    let asked = Asked::write(directory, lines)?;
    let begun = Instant::now();
    let store = LogStore::open(&directory.join("logs"), Options::default())?;
    let opened = format!(
        "{:.1} ms; memory {:.1} MiB",
        milliseconds(begun),
        memory_mib()
    );
    tell("opening all of it again", &opened, "")?;
    asked.of_an_app(&store)?;
    asked.texts(&store)?;
    asked.counts(&store)?;
    drop(store);
    Ok(fs::remove_dir_all(directory)?)
}

/// The lines, in the store and in a plain file, and what is looked for in them.
struct Asked {
    plain: PathBuf,
    /// A word of one line, a third of the way through.
    word: String,
    since: time::OffsetDateTime,
}

impl Asked {
    fn write(directory: &Path, lines: u64) -> Result<Self> {
        let store = new_store(&directory.join("logs"))?;
        let plain = directory.join("plain.log");
        let mut file = BufWriter::new(File::create(&plain)?);
        let mut random = Random::new();
        let (mut raw, mut sought) = (0, None);
        let mut batch: Vec<LogEntry> = Vec::with_capacity(BATCH);
        for number in 0..lines {
            let entry = entry(number, &mut random);
            writeln!(file, "{}", entry.message)?;
            raw += entry.message.len() + 1;
            if number == lines / 3 {
                sought = Some(entry.clone());
            }
            batch.push(entry);
            if batch.len() == BATCH || number + 1 == lines {
                append(&store, &batch, usize::try_from(number)?)?;
                batch.clear();
            }
        }
        file.flush()?;
        store.flush()?;
        let bytes: u64 = store.usage().iter().map(|usage| usage.bytes).sum();
        let (each, of) = (bytes as f64 / lines as f64, raw as f64 / lines as f64);
        let figure = format!("{:.3} ({each:.1} of {of:.1} bytes)", each / of);
        tell(&format!("disk, {lines} lines"), &figure, "<= 0.30")?;
        let sought = sought.ok_or("no lines")?;
        let message = &sought.message;
        let id = message
            .split_once("id=")
            .filter(|(_, rest)| rest.len() >= 16);
        let (_, id) = id.or(message.split_once("trace=")).ok_or("no id")?;
        Ok(Self {
            plain,
            word: id.chars().take(16).collect(),
            since: sought.timestamp,
        })
    }

    fn of_an_app(&self, store: &LogStore) -> Result<()> {
        let all = Query {
            filter: LogFilter {
                app_name: Some("shop-1".to_owned()),
                ..LogFilter::default()
            },
            ..Query::default()
        };
        let mut errors = all.clone();
        errors.filter.min_level = Some(Level::Error);
        errors.since = Some(self.since);
        let counted = counted();
        let cases = [
            ("last 100 of an app", &all, &Paging::default(), "<= 5 ms"),
            ("the same with its total", &all, &counted, ""),
            (
                "last 100 errors of an app since",
                &errors,
                &Paging::default(),
                "",
            ),
        ];
        for (what, query, paging, goal) in cases {
            let mut times = Vec::new();
            for _ in 0..ROUNDS {
                times.push(ask(store, query, paging)?.0);
            }
            tell(what, &format!("{} ms", spread(&mut times)), goal)?;
        }
        Ok(())
    }

    /// Beside `rg`, in turns.
    fn texts(&self, store: &LogStore) -> Result<()> {
        let word = self.word.as_str();
        let part = &word[3..13];
        let (page, counted) = (Paging::default(), counted());
        let quoted = format!("\"{part}\"");
        let (rare, any) = ("<= 0.15 of rg -j1", "<= 5 times rg -j1");
        let orders = "orders/12[0-9]{4}/payment";
        let escaped = "/orders\\/12[0-9]{4}\\/payment/";
        let cases: [(&str, &str, &Paging, &[&str], &str); 6] = [
            ("rare word", word, &counted, &["-w", "-F", word], rare),
            (
                "a word that is nowhere",
                "nowhere42",
                &counted,
                &["-w", "-F", "nowhere42"],
                rare,
            ),
            (
                "any text, rare, all counted",
                &quoted,
                &counted,
                &["-F", part],
                any,
            ),
            (
                "common word, all counted",
                "refused",
                &counted,
                &["-w", "-F", "refused"],
                any,
            ),
            (
                "regular expression, all counted",
                escaped,
                &counted,
                &[orders],
                any,
            ),
            ("common word, last 100", "refused", &page, &[], ""),
        ];
        for (what, text, paging, arguments, goal) in cases {
            let query = Query {
                text: Some(TextQuery::parse(text)?),
                ..Query::default()
            };
            let (mut own, mut peer, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
            let mut found = 0;
            for _ in 0..ROUNDS {
                let (took, lines) = ask(store, &query, paging)?;
                found = lines;
                own.push(took);
                if let Some(theirs) = self.rg(arguments)? {
                    ratios.push(took / theirs);
                    peer.push(theirs);
                }
            }
            let own = median(&mut own);
            let what = format!("{what} ({found})");
            let figure = match (arguments, peer.is_empty()) {
                ([], _) => format!("{own:.1} ms"),
                (_, true) => format!("{own:.1} ms; rg: not measured"),
                (_, false) => {
                    let peer = median(&mut peer);
                    format!("{}: {own:.1} ms, rg {peer:.1}", spread(&mut ratios))
                }
            };
            tell(&what, &figure, goal)?;
        }
        Ok(())
    }

    fn counts(&self, store: &LogStore) -> Result<()> {
        let begun = Instant::now();
        let histogram = store.histogram(&Query::default(), 100)?;
        let took = milliseconds(begun);
        let counts = histogram.buckets.iter();
        let lines: u64 = counts.map(|b| b.debug + b.info + b.warn + b.error).sum();
        tell("histogram of all", &format!("{took:.1} ms ({lines})"), "")?;
        let begun = Instant::now();
        let query = Query {
            since: Some(self.since),
            ..Query::default()
        };
        let exported = store.export(query).take(500_000).count();
        let each = exported as f64 / begun.elapsed().as_secs_f64() / 1e3;
        let figure = format!("{each:.0} thousand lines/s; memory {:.1} MiB", memory_mib());
        tell("export", &figure, "")?;
        let oldest = Paging {
            order: Order::OldestFirst,
            ..Paging::default()
        };
        let (took, _) = ask(store, &Query::default(), &oldest)?;
        Ok(tell("first 100 of all apps", &format!("{took:.2} ms"), "")?)
    }

    /// Milliseconds, if it is installed and was asked for anything.
    fn rg(&self, arguments: &[&str]) -> Result<Option<f64>> {
        if arguments.is_empty() {
            return Ok(None);
        }
        let begun = Instant::now();
        let mut rg = Command::new("rg");
        rg.args(["-j1", "-c"]).args(arguments).arg(&self.plain);
        match rg.stdin(Stdio::null()).stdout(Stdio::null()).status() {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
            ran => {
                let code = ran?.code();
                // 1: nothing found.
                (matches!(code, Some(0 | 1)))
                    .then_some(())
                    .ok_or("rg failed")?;
                Ok(Some(milliseconds(begun)))
            }
        }
    }
}

fn counted() -> Paging {
    Paging {
        total: true,
        ..Paging::default()
    }
}

/// Milliseconds, and how many lines it found.
fn ask(store: &LogStore, query: &Query, paging: &Paging) -> Result<(f64, u64)> {
    let begun = Instant::now();
    let page = store.page(query, paging)?;
    let took = milliseconds(begun);
    let shown = page.lines.len() as u64;
    Ok((took, page.total.map_or(shown, |total| total.lines)))
}
