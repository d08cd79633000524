//! Takes what the ingresses tell by themselves: that they came or went, and which requests there were.

use flukedeploy_domain::log_entry::Level;

use crate::platform::Platform;
use crate::ports::{IngressNews, RequestBatch};
use crate::system::note;

/// Ends when the platform stops.
pub(crate) async fn run(px: Platform) {
    loop {
        let news = tokio::select! {
            () = px.stopping().cancelled() => return,
            news = px.parts().traffic.news() => news,
        };
        match news {
            IngressNews::Connected { node } => {
                let text = format!("The ingress on node {node} is connected");
                note(&px, Level::Info, text);
            }
            IngressNews::Gone { node, why } => {
                let text = format!(
                    "The ingress on node {node} is not connected any more: {why}. It serves on with the routes it has"
                );
                note(&px, Level::Warn, text);
            }
            IngressNews::Requests(batch) => {
                let RequestBatch {
                    requests,
                    left_out,
                    taken,
                } = batch;
                crate::request_entries::record(&px, requests, &left_out);
                // The ingress may be gone by now.
                let _ = taken.send(());
            }
        }
    }
}
