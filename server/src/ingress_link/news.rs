//! What ingresses tell by themselves, on its way to the platform.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use flukedeploy_domain::request_record::{LeftOut, RequestRecord};
use flukedeploy_domain::routing::ControlFrame;
use flukedeploy_platform::ports::{IngressNews, RequestBatch};
use tokio::sync::{mpsc, oneshot};

use super::{Inner, Line, MAX_INGRESSES, lock};

/// What is told to the platform. Not more than one batch of requests an ingress waits here: the next
/// comes when that is taken.
pub(super) struct News {
    send: mpsc::UnboundedSender<IngressNews>,
    told: tokio::sync::Mutex<mpsc::UnboundedReceiver<IngressNews>>,
    /// The last batch of requests that was taken from each ingress.
    taken: Mutex<HashMap<String, u64>>,
}

impl Default for News {
    fn default() -> Self {
        let (send, told) = mpsc::unbounded_channel();
        Self {
            send,
            told: told.into(),
            taken: Mutex::default(),
        }
    }
}

impl News {
    /// Never fails as long as both ends live here.
    pub(super) fn tell(&self, news: IngressNews) {
        let _ = self.send.send(news);
    }

    pub(super) async fn next(&self) -> IngressNews {
        match self.told.lock().await.recv().await {
            Some(news) => news,
            // The other end lives as long as this one.
            None => std::future::pending().await,
        }
    }
}

/// Hands a batch of requests to the platform, once, and tells the ingress when it has them.
pub(super) fn take_requests(
    line: &Arc<Line>,
    inner: &Arc<Inner>,
    id: u64,
    (requests, left_out): (Vec<RequestRecord>, Vec<LeftOut>),
) {
    let Some((ingress, _)) = line.from.get() else {
        return;
    };
    if lock(&inner.news.taken).get(ingress) == Some(&id) {
        // The word that it was taken got lost with the last line.
        let _ = line.send.send(ControlFrame::RequestsTaken { id });
        return;
    }
    if lock(&line.taking).replace(id).is_some() {
        // It must not send more before that one is taken.
        line.close.notify_one();
        return;
    }
    let (taken, is_taken) = oneshot::channel();
    inner.news.tell(IngressNews::Requests(RequestBatch {
        requests,
        left_out,
        taken,
    }));
    let (line, inner, ingress) = (Arc::clone(line), Arc::clone(inner), ingress.clone());
    tokio::spawn(async move {
        if is_taken.await.is_err() {
            return;
        }
        {
            let mut taken = lock(&inner.news.taken);
            if taken.len() > 2 * MAX_INGRESSES {
                // Of ingresses that are long gone, most of them.
                taken.clear();
            }
            taken.insert(ingress, id);
        }
        *lock(&line.taking) = None;
        // Fails only when the line is gone: then it comes again, and is known.
        let _ = line.send.send(ControlFrame::RequestsTaken { id });
    });
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use flukedeploy_domain::routing::IngressFrame;
    use flukedeploy_platform::ports::Traffic as _;
    use flukedeploy_platform::secret::Secret;
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

    use super::super::IngressLink;
    use super::*;

    struct Ingress(
        tokio_tungstenite::WebSocketStream<
            tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>,
        >,
    );

    impl Ingress {
        async fn connect(port: u16) -> Self {
            let url = format!("ws://127.0.0.1:{port}/ingress");
            let mut request = url.into_client_request().unwrap();
            let shown = "Bearer let-me-in".parse().unwrap();
            request.headers_mut().insert("authorization", shown);
            let (socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
            let mut ingress = Self(socket);
            let hello = IngressFrame::Hello {
                ingress_id: "ingress-1".to_owned(),
                node: "node-1".to_owned(),
                epoch: None,
                version: None,
            };
            ingress.send(&hello).await;
            ingress
        }

        async fn send(&mut self, frame: &IngressFrame) {
            let text = serde_json::to_string(frame).unwrap();
            self.0.send(Message::text(text)).await.unwrap();
        }

        async fn send_batch(&mut self, id: u64) {
            let left_out = LeftOut {
                app: "shop".parse().unwrap(),
                environment: "production".parse().unwrap(),
                count: id,
            };
            let frame = IngressFrame::Requests {
                id,
                requests: Vec::new(),
                left_out: vec![left_out],
            };
            self.send(&frame).await;
        }

        /// The number of the batch that was taken.
        async fn taken(&mut self) -> u64 {
            loop {
                if let Message::Text(text) = within(self.0.next()).await.unwrap().unwrap()
                    && let ControlFrame::RequestsTaken { id } = serde_json::from_str(&text).unwrap()
                {
                    return id;
                }
            }
        }
    }

    async fn within<T>(work: impl Future<Output = T>) -> T {
        let limit = Duration::from_secs(20);
        tokio::time::timeout(limit, work).await.unwrap()
    }

    async fn next_batch(link: &IngressLink) -> RequestBatch {
        match within(link.news()).await {
            IngressNews::Requests(batch) => batch,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_batch_is_taken_once_and_known_again() {
        let link = IngressLink::default();
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let token = Secret::new("let-me-in".to_owned());
        let port = link.listen(here, None, &token).await.unwrap();
        let mut ingress = Ingress::connect(port).await;
        let came = within(link.news()).await;
        assert!(
            matches!(&came, IngressNews::Connected { node } if node == "node-1"),
            "{came:?}"
        );

        ingress.send_batch(7).await;
        let batch = next_batch(&link).await;
        assert_eq!(batch.left_out[0].count, 7);
        // It is taken only now.
        batch.taken.send(()).unwrap();
        assert_eq!(ingress.taken().await, 7);
        drop(ingress);
        let gone = within(link.news()).await;
        assert!(matches!(gone, IngressNews::Gone { .. }), "{gone:?}");

        // The word got lost: it comes again, and is not told again.
        let mut ingress = Ingress::connect(port).await;
        assert!(matches!(
            within(link.news()).await,
            IngressNews::Connected { .. }
        ));
        ingress.send_batch(7).await;
        assert_eq!(ingress.taken().await, 7);
        ingress.send_batch(8).await;
        let batch = next_batch(&link).await;
        assert_eq!(batch.left_out[0].count, 8);

        // Whoever sends more than that is not listened to.
        ingress.send_batch(9).await;
        let gone = within(link.news()).await;
        assert!(matches!(gone, IngressNews::Gone { .. }), "{gone:?}");
    }
}
