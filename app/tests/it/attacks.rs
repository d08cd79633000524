//! What somebody could try at the dashboard: each is a way in that others had.

use std::time::Duration;

use axum::body::Body;
use flukedeploy_app::{FORM_ADDRESSES, page_addresses};
use http::header::{CONTENT_TYPE, HOST, LOCATION};
use http::{Request, StatusCode};

use crate::browser::{Browser, PASSWORD};
use crate::support::{Stand, settings};

/// `/apps/{name}` with something in place of what is variable.
fn filled(path: &str, with: &str) -> String {
    let mut rest = path;
    let mut all = String::new();
    while let Some((before, after)) = rest.split_once('{') {
        let (_, end) = after.split_once('}').unwrap();
        all.push_str(before);
        all.push_str(with);
        rest = end;
    }
    all + rest
}

/// A page that let its name point to us would be the same origin for the browser.
#[tokio::test]
async fn under_a_foreign_name_there_is_nothing_here() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let browser = Browser::signed_in(&stand).await;
    let ask = async |host: &str, path: &str| {
        let mut twin = browser.twin();
        twin.named(host);
        twin.get(path).await
    };
    for host in [
        "evil.example.com",
        "127.0.0.1.evil.example.com:3000",
        "localhost.evil.example.com",
        "evil@127.0.0.2.example.com",
        "a b",
    ] {
        for path in ["/", "/apps/shop", "/sign-in"] {
            let page = ask(host, path).await;
            assert_eq!(
                page.status,
                StatusCode::MISDIRECTED_REQUEST,
                "{host} {path}"
            );
            page.lacks("shop").lacks("evil");
        }
    }
    for host in [
        "127.0.0.1:3000",
        "localhost",
        "LOCALHOST:3000",
        "[::1]:3000",
        "192.0.2.7",
    ] {
        assert_eq!(
            ask(host, "/apps/shop").await.status,
            StatusCode::OK,
            "{host}"
        );
    }
}

/// What only JSON or text is can be sent by a page of others without being asked (a form with
/// `text/plain`), so forms are not read from it.
#[tokio::test]
async fn a_form_is_not_read_from_what_is_none() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    // Signing out takes no fields.
    for path in FORM_ADDRESSES.iter().filter(|path| **path != "/sign-out") {
        let to = filled(path, "shop");
        for (kind, body) in [
            ("application/json", r#"{"confirm":"shop","name":"admin"}"#),
            ("text/plain", "confirm=shop&name=admin"),
        ] {
            let request = Request::post(&to)
                .header(CONTENT_TYPE, kind)
                .body(Body::from(body))
                .unwrap();
            let page = browser.send(request).await;
            assert!(
                page.status.is_client_error(),
                "{path} from {kind}: {} to {}",
                page.status,
                page.location()
            );
        }
    }
    assert_eq!(browser.get("/apps/shop").await.status, StatusCode::OK);
}

/// There is no directory behind any address.
#[tokio::test]
async fn no_address_leads_to_a_file() {
    let stand = Stand::new().await;
    let mut browser = Browser::signed_in(&stand).await;
    let ways = [
        "..%2f..%2f..%2f..%2fetc%2fpasswd",
        "..%5c..%5cetc%5cpasswd",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "....%2f%2fetc%2fpasswd",
        "%2fetc%2fpasswd",
        "..%252f..%252fetc%252fpasswd",
        "Cargo.toml",
        "..%2fCargo.toml%00.css",
        "..%c0%af..%c0%afetc%c0%afpasswd",
    ];
    let mut addresses = page_addresses();
    addresses
        .extend(["/assets/{file}", "/{file}", "/style/{file}", "/.git/{file}"].map(Into::into));
    for path in addresses.iter().filter(|path| path.contains('{')) {
        for way in ways {
            let page = browser.get(&filled(path, way)).await;
            assert!(
                page.status.is_client_error(),
                "{path} with {way}: {}",
                page.status
            );
            page.lacks("root:x:")
                .lacks("[package]")
                .lacks("[workspace]");
        }
    }
    for path in [
        "/../Cargo.toml",
        "/./server/src/main.rs",
        "//etc/passwd",
        "/app/../../etc/passwd",
    ] {
        let page = browser.get(path).await;
        assert!(!page.status.is_success(), "{path}: {}", page.status);
        page.lacks("root:x:").lacks("[workspace]");
    }
}

/// Line ends in what is typed stay in what is typed.
#[tokio::test]
async fn nothing_typed_becomes_a_header() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    let planted = "x\r\nSet-Cookie: planted=1\r\nLocation: https://evil.example.com/";
    for path in FORM_ADDRESSES.iter().filter(|path| **path != "/sign-out") {
        let fields = [
            "name",
            "next",
            "to",
            "from",
            "back",
            "carried_to",
            "theme",
            "reason",
            "app",
            "how",
            "mode",
            "image",
            "environment",
        ]
        .map(|field| (field, planted));
        for to in [
            filled(path, "shop"),
            filled(path, "x%0d%0aSet-Cookie:%20planted=1"),
        ] {
            let page = browser.post(&to, &fields).await;
            let headers = format!("{:?}", page.headers);
            assert!(!headers.contains("planted"), "{path}: {headers}");
            assert!(!headers.contains("evil.example.com"), "{path}: {headers}");
            assert!(!page.status.is_server_error(), "{path}: {}", page.status);
        }
    }
}

/// After signing in one comes to a page of ours, whatever the address asks for.
#[tokio::test]
async fn signing_in_leads_nowhere_else() {
    let stand = Stand::new().await;
    let signed_in = Browser::signed_in(&stand).await;
    drop(signed_in);
    for next in [
        "https://evil.example.com/",
        "//evil.example.com/",
        "/\\evil.example.com",
        "/\t/evil.example.com",
        "\\\\evil.example.com",
        "javascript:alert(1)",
        "%2f%2fevil.example.com",
        "/apps/../..//evil.example.com",
    ] {
        let mut browser = Browser::new(&stand);
        let fields = [("name", "admin"), ("password", PASSWORD), ("next", next)];
        let page = browser.post("/sign-in", &fields).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{next}");
        let to = page.headers[LOCATION].to_str().unwrap();
        let is_own = to.starts_with('/') && !to.starts_with("//") && !to.starts_with("/\\");
        assert!(is_own && !to.contains(['\t', '\\']), "{next} leads to {to}");
    }
    // Nor does a Referer lead a button's answer elsewhere.
    let mut browser = Browser::signed_in(&stand).await;
    let request = Request::post("/theme")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("referer", "https://evil.example.com/page")
        .header(HOST, "127.0.0.1:3000")
        .body(Body::from("theme=dark"))
        .unwrap();
    let page = browser.send(request).await;
    assert!(page.location().starts_with('/') && !page.location().contains("evil"));
}

/// No page tells an account that exists from one that does not, in words or by leaving one out.
#[tokio::test]
async fn no_page_tells_which_accounts_there_are() {
    let stand = Stand::new().await;
    drop(Browser::signed_in(&stand).await);
    let mut pages = Vec::new();
    for name in ["admin", "nobody"] {
        let mut browser = Browser::new(&stand);
        let fields = [("name", name), ("password", "a wrong password it is")];
        let page = browser.post("/sign-in", &fields).await;
        pages.push((page.status, page.html.replace(name, "NAME")));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(pages[0], pages[1]);
}
