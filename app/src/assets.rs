//! Stylesheet, scripts and icon: built, hashed and compressed by `build.rs`, served from memory.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, StatusCode};

pub(crate) struct Asset {
    name: &'static str,
    url: &'static str,
    plain: &'static [u8],
    brotli: &'static [u8],
    gzip: &'static [u8],
}

mod embedded {
    use super::Asset;
    include!(concat!(env!("OUT_DIR"), "/assets.rs"));
}

/// The address of an asset by its name in `style/` or `public/`.
///
/// # Panics
/// If there is no such asset: the name is written in this crate, and a test asks for all of them.
pub(crate) fn url(name: &'static str) -> &'static str {
    embedded::ASSETS
        .iter()
        .find(|asset| asset.name == name)
        .map(|asset| asset.url)
        .expect("the asset is embedded")
}

/// `GET /assets/{file}`: names change with the content, so an answer is good for ever.
pub(crate) async fn serve(Path(file): Path<String>, headers: HeaderMap) -> Response {
    let found = embedded::ASSETS
        .iter()
        .find(|asset| asset.url.strip_prefix("/assets/") == Some(&*file));
    let Some(asset) = found else {
        return (StatusCode::NOT_FOUND, "There is no such file.\n").into_response();
    };
    let (bytes, encoding) = match accepted(&headers) {
        Some("br") => (asset.brotli, Some("br")),
        Some(_) => (asset.gzip, Some("gzip")),
        None => (asset.plain, None),
    };
    let mut response = (
        [
            (CONTENT_TYPE, content_type(asset.name)),
            (CACHE_CONTROL, "public, max-age=31536000, immutable"),
            (VARY, "accept-encoding"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ],
        bytes,
    )
        .into_response();
    if let Some(encoding) = encoding {
        response
            .headers_mut()
            .insert(CONTENT_ENCODING, http::HeaderValue::from_static(encoding));
    }
    response
}

/// The best encoding that the client names and does not refuse with `q=0`.
fn accepted(headers: &HeaderMap) -> Option<&'static str> {
    let header = headers.get(ACCEPT_ENCODING)?.to_str().ok()?;
    let offers = |wanted: &str| {
        header.split(',').any(|offer| {
            let mut parts = offer.split(';').map(str::trim);
            parts
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case(wanted))
                && !parts.any(|part| {
                    part.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()) == Some(0.0)
                })
        })
    };
    ["br", "gzip"].into_iter().find(|encoding| offers(encoding))
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(file: &str, accept: &'static str) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, accept.parse().unwrap());
        serve(Path(file.to_owned()), headers).await
    }

    #[tokio::test]
    async fn assets_are_immutable_and_compressed_as_asked() {
        for name in [
            "main.css",
            "app.js",
            "deployment.js",
            "logs.js",
            "favicon.svg",
        ] {
            let file = url(name).strip_prefix("/assets/").unwrap();
            for (accept, wanted) in [
                ("br, gzip", Some("br")),
                ("gzip;q=1.0", Some("gzip")),
                ("br;q=0, gzip", Some("gzip")),
                ("identity", None),
            ] {
                let response = get(file, accept).await;
                assert_eq!(response.status(), StatusCode::OK);
                let encoding = response
                    .headers()
                    .get(CONTENT_ENCODING)
                    .map(|v| v.to_str().unwrap());
                assert_eq!(encoding, wanted, "{name} for {accept}");
                assert!(
                    response.headers()[CACHE_CONTROL]
                        .to_str()
                        .unwrap()
                        .contains("immutable")
                );
            }
        }
        assert_eq!(get("main.css", "br").await.status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn everything_together_is_small() {
        let compressed: usize = embedded::ASSETS
            .iter()
            .map(|asset| asset.brotli.len())
            .sum();
        assert!(compressed < 60 * 1024, "{compressed} bytes");
    }

    #[test]
    fn modules_import_each_other_by_their_hashed_names() {
        let app = embedded::ASSETS
            .iter()
            .find(|asset| asset.name == "app.js")
            .unwrap();
        let text = std::str::from_utf8(app.plain).unwrap();
        let stream = url("stream.js").replace("/assets/", "./");
        assert!(text.contains(&stream) && !text.contains("\"./stream.js\""));
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        for asset in embedded::ASSETS
            .iter()
            .filter(|asset| asset.name != "favicon.svg")
        {
            let text = std::str::from_utf8(asset.plain).unwrap();
            assert!(
                !text.contains("http://") && !text.contains("https://"),
                "{}",
                asset.name
            );
        }
    }
}
