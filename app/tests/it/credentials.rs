//! What is stored for registries and repositories, and that no page ever holds it.

use flukedeploy_domain::credential::CredentialKind;
use flukedeploy_platform::credentials::list_credentials;
use flukedeploy_platform::ports::Store;
use http::StatusCode;

use crate::browser::Browser;
use crate::support::{Stand, admin};

const SECRET: &str = "hunter2-never-shown";
const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\r\nhunter2-never-shown\r\n-----END OPENSSH PRIVATE KEY-----";

#[tokio::test]
async fn credentials_are_stored_listed_and_removed_without_showing_them() {
    let stand = Stand::new().await;
    let mut browser = Browser::signed_in(&stand).await;
    browser.get("/credentials").await.has("No credentials yet");
    let page = browser
        .post(
            "/credentials",
            &[
                ("kind", "registry"),
                ("credential_host", " Registry.example.com:5000"),
                ("username", "ci"),
                ("secret", SECRET),
                ("secret_key", KEY),
                ("known_hosts", "ignored"),
            ],
        )
        .await;
    assert_eq!(
        (page.status, page.location()),
        (StatusCode::SEE_OTHER, "/credentials?stored=1"),
        "{}",
        page.html
    );
    let page = browser
        .post(
            "/credentials",
            &[
                ("kind", "git_key"),
                ("credential_host", "git.example.com"),
                ("username", "ignored"),
                ("secret_key", KEY),
                ("known_hosts", "git.example.com ssh-ed25519 AAAA\r\n"),
            ],
        )
        .await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.html);
    let stored = stand.store.credentials().await.unwrap();
    let key = stored
        .iter()
        .find(|one| one.kind == CredentialKind::GitKey)
        .unwrap();
    assert!(!key.secret.contains('\r') && key.username.is_empty());
    assert_eq!(
        key.known_hosts.as_deref(),
        Some("git.example.com ssh-ed25519 AAAA\n")
    );
    let registry = stored
        .iter()
        .find(|one| one.kind == CredentialKind::Registry)
        .unwrap();
    assert_eq!(registry.secret, SECRET);
    assert!(registry.known_hosts.is_none());

    let page = browser.get("/credentials?stored=1").await;
    page.has("The credential is stored.")
        .has("registry.example.com:5000")
        .has("git.example.com")
        .has("Image registry")
        .lacks("hunter2");

    let path = "/credentials/registry/registry.example.com%3A5000/remove";
    page.has(&format!("href=\"{path}\""));
    browser
        .get(path)
        .await
        .has("<h1>Remove registry.example.com:5000</h1>")
        .lacks("hunter2");
    let page = browser.post(path, &[]).await;
    assert_eq!(
        (page.status, page.location()),
        (StatusCode::SEE_OTHER, "/credentials"),
        "{}",
        page.html
    );
    let left = list_credentials(&stand.px, &admin()).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(browser.get(path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(browser.post(path, &[]).await.status, StatusCode::NOT_FOUND);
    let page = browser.get("/credentials/rootkit/x/remove").await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_refused_credential_keeps_everything_but_its_secret() {
    let stand = Stand::new().await;
    let mut browser = Browser::signed_in(&stand).await;
    let page = browser
        .post(
            "/credentials",
            &[
                ("kind", "git_token"),
                ("credential_host", "https://git.example.com"),
                ("username", "me:you"),
                ("secret", SECRET),
            ],
        )
        .await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("id=\"credential_host-fault\"")
        .has("id=\"username-fault\"")
        .has("value=\"https://git.example.com\"")
        .has("value=\"me:you\"")
        .has("value=\"git_token\" checked")
        .has("Type it again: a secret is not put back into the page.")
        .lacks("hunter2");

    let page = browser
        .post(
            "/credentials",
            &[
                ("kind", "git_key"),
                ("credential_host", "git.example.com"),
                ("secret_key", "hunter2, but no key"),
            ],
        )
        .await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("id=\"secret_key-fault\"")
        .has("id=\"known_hosts-fault\"")
        .has("Must be a private key in OpenSSH or PEM form.")
        .lacks("hunter2");
    let page = browser
        .post(
            "/credentials",
            &[("credential_host", "a.example"), ("secret", SECRET)],
        )
        .await;
    page.has("id=\"kind-fault\"").lacks("hunter2");
    assert!(stand.store.credentials().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_secret_does_not_survive_an_ended_session() {
    let stand = Stand::new().await;
    let mut browser = Browser::signed_in(&stand).await;
    browser.forget_cookies();
    let page = browser
        .post(
            "/credentials",
            &[
                ("kind", "registry"),
                ("credential_host", "a.example"),
                ("secret", SECRET),
            ],
        )
        .await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    page.has("a.example").lacks("hunter2");
}
