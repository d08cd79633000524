//! The platform's port [`ports::LogStore`], on threads that may wait for the disk.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use flukedeploy_domain::log_entry::LogFilter;
use flukedeploy_platform::ports::{
    self, Context, Feed, FeedQuery, Histogram, LogBatch, LogPage, LogQuery, LogUsage, Paging,
    Retention, StoreError,
};

use crate::{Error, LogStore, Options};

/// Log entries in one directory. Clones share it.
#[derive(Debug, Clone)]
pub struct Logs {
    store: Arc<LogStore>,
}

impl Logs {
    /// Opens the directory, or makes it; its parent must exist.
    ///
    /// # Errors
    /// Another process has it open; the disk is full or cannot be read.
    pub async fn open(directory: &Path) -> Result<Self, StoreError> {
        Self::open_with(directory, Options::default()).await
    }

    /// [`open`](Self::open), with other sizes than the usual.
    ///
    /// # Errors
    /// As there.
    pub async fn open_with(directory: &Path, options: Options) -> Result<Self, StoreError> {
        let directory = directory.to_owned();
        let store = blocking("opening the log store", move || {
            LogStore::open(&directory, options)
        })
        .await?;
        Ok(Self {
            store: Arc::new(store),
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&LogStore) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = Arc::clone(&self.store);
        blocking(doing, move || work(&store)).await
    }
}

async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, StoreError> {
    let failed =
        |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Failed { doing, source };
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| failed(error.into())),
        Err(error) => Err(failed(error.into())),
    }
}

#[async_trait]
impl ports::LogStore for Logs {
    async fn append(&self, batch: Arc<LogBatch>) -> Result<u64, StoreError> {
        self.run("storing log entries", move |store| {
            store.check_space()?;
            store.append_batch(&batch)
        })
        .await
    }

    fn last_sequence(&self) -> u64 {
        self.store.next_sequence().saturating_sub(1)
    }

    async fn page(&self, query: &LogQuery, paging: &Paging) -> Result<LogPage, StoreError> {
        let (query, paging) = (query.clone(), paging.clone());
        self.run("searching log entries", move |store| {
            store.page(&query, &paging)
        })
        .await
    }

    async fn histogram(&self, query: &LogQuery, buckets: usize) -> Result<Histogram, StoreError> {
        let query = query.clone();
        self.run("counting log entries", move |store| {
            store.histogram(&query, buckets)
        })
        .await
    }

    async fn context(
        &self,
        query: &LogQuery,
        id: &str,
        count: usize,
    ) -> Result<Option<Context>, StoreError> {
        let (query, id) = (query.clone(), id.to_owned());
        self.run("looking around a log entry", move |store| {
            let Some(line) = store.line(&query, &id)? else {
                return Ok(None);
            };
            let app = line.entry.flukedeploy_metadata.app_name;
            store.context(&app, line.cursor, count)
        })
        .await
    }

    async fn positions(&self, prefix: &str) -> Result<HashMap<String, Vec<u8>>, StoreError> {
        let mut positions = self.store.positions();
        positions.retain(|key, _| key.starts_with(prefix));
        Ok(positions)
    }

    async fn forget_positions(&self, prefix: &str) -> Result<(), StoreError> {
        let prefix = prefix.to_owned();
        self.run("forgetting log readers", move |store| {
            let mut keys: Vec<String> = store.positions().into_keys().collect();
            keys.retain(|key| key.starts_with(&prefix));
            if keys.is_empty() {
                return Ok(());
            }
            store.forget_positions(&keys)
        })
        .await
    }

    async fn feed(&self, query: &FeedQuery) -> Result<Feed, StoreError> {
        let query = query.clone();
        self.run("reading log entries in their order", move |store| {
            store.feed(&query)
        })
        .await
    }

    async fn backlog(&self, filter: &LogFilter, after: u64) -> Result<u64, StoreError> {
        let filter = filter.clone();
        self.run("counting log entries that wait", move |store| {
            Ok(store.backlog(&filter, after))
        })
        .await
    }

    async fn newest(&self) -> Result<u64, StoreError> {
        Ok(self.store.newest())
    }

    async fn expire(&self, retention: &Retention) -> Result<u64, StoreError> {
        let retention = retention.clone();
        self.run("removing old log entries", move |store| {
            store.unread_after(retention.unread_after);
            let mut lines = 0;
            let mut outcome = Ok(());
            for usage in store.usage() {
                let keep = retention.of(&usage.app);
                match store.retain(&usage.app, Some(keep.since), Some(keep.bytes)) {
                    Ok(removed) => lines += removed.lines,
                    Err(error) => outcome = Err(error),
                }
            }
            match store.make_room() {
                Ok(removed) => lines += removed.lines,
                Err(error) => outcome = Err(error),
            }
            outcome.map(|()| lines)
        })
        .await
    }

    async fn usage(&self) -> Result<Vec<LogUsage>, StoreError> {
        let one = |usage: crate::Usage| LogUsage {
            app: usage.app,
            lines: usage.lines,
            bytes: usage.bytes,
        };
        Ok(self.store.usage().into_iter().map(one).collect())
    }
}
