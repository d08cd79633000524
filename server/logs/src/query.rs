//! What can be asked, and the answers: the port's words, shorter.

pub use flukedeploy_platform::ports::{
    Bucket, Context, Cursor, Feed, FeedQuery, Histogram, LogPage as Page, LogQuery as Query,
    MAX_REACH, Order, Paging, StoredLine, Total,
};

use crate::block::to_ns;

/// Times of a query: from the first to before the second.
pub(crate) fn range_of(query: &Query) -> (i64, i64) {
    let since = query.since.map_or(i64::MIN, to_ns);
    let until = query.until.map_or(i64::MAX, to_ns);
    (since, until)
}
