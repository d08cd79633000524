//! Secrets as files and what projects share, by forms; nothing of either is put into a page.

use axum::http::StatusCode;
use flukedeploy_domain::names::EnvironmentName;
use flukedeploy_platform::ports::Store as _;

use crate::browser::Browser;
use crate::support::{Stand, settings};
use crate::variables::settings_form as change;

#[tokio::test]
async fn a_secret_becomes_a_file_and_a_variable_again() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let stored = async || {
        let production = EnvironmentName::production();
        let shop = "shop".parse().unwrap();
        let found = stand.store.environment(&shop, &production).await;
        found.unwrap().unwrap().settings
    };
    let mut browser = Browser::signed_in(&stand).await;
    let file = change(&[
        ("file_variable", "TLS_KEY"),
        ("file_name", "tls.key"),
        ("file_uid", "1000"),
        ("file_content", "hunter2\r\nline two\r\n"),
        ("file_env_vars", "DATABASE_URL"),
    ]);
    let page = browser.post("/apps/shop", &file).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.html);
    let now = stored().await;
    assert_eq!(now.env_vars.0["TLS_KEY"], "hunter2\nline two\n");
    assert_eq!(now.secret_files["TLS_KEY"].uid, Some(1000));
    assert!(now.is_marked_secret("TLS_KEY") && now.is_marked_secret("DATABASE_URL"));
    assert!(now.secret_files.contains_key("DATABASE_URL"));
    browser
        .get("/apps/shop")
        .await
        .has("/run/secrets/tls.key")
        .has("of user 1000")
        .has("/run/secrets/DATABASE_URL")
        .has("name=\"no_file_env_vars\" value=\"TLS_KEY\"")
        .lacks("hunter2")
        .lacks("s3cret");

    // With a fault the form comes back, without what the secret holds.
    let fault = change(&[
        ("file_variable", "NEW"),
        ("file_name", "../x"),
        ("file_content", "hunter3"),
    ]);
    let page = browser.post("/apps/shop", &fault).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("must have a file name of")
        .has("Type it again")
        .lacks("hunter3");
    let nameless = change(&[("file_content", "hunter3")]);
    let page = browser.post("/apps/shop", &nameless).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("id=\"file_variable-fault\"").lacks("hunter3");

    let again = change(&[("no_file_env_vars", "TLS_KEY")]);
    browser.post("/apps/shop", &again).await;
    let now = stored().await;
    assert!(now.is_marked_secret("TLS_KEY") && !now.secret_files.contains_key("TLS_KEY"));
}

#[tokio::test]
async fn a_project_is_made_and_its_variables_are_shared_by_forms() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    browser.get("/apps").await.has("href=\"/projects\"");
    browser.get("/projects").await.has("No projects yet");
    let put = [("app", "shop"), ("project", "office")];
    let page = browser.post("/projects", &put).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    assert_eq!(page.headers["location"], "/projects/office");
    browser
        .get("/projects")
        .await
        .has("href=\"/projects/office\"")
        .has("shop");
    browser
        .get("/projects/office")
        .await
        .has("href=\"/apps/shop\"")
        .has("Save variables");

    let variables = [
        ("version", "1"),
        ("env_vars", "LOG_LEVEL=slow\nREGION=north-canary"),
        ("secret_env_vars", "TOKEN=hunter2-and-more"),
        ("file_variable", "CERT"),
        ("file_content", "hunter3"),
    ];
    let page = browser.post("/projects/office", &variables).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.html);
    for path in ["/projects/office", "/projects", "/apps/shop"] {
        browser
            .get(path)
            .await
            .lacks("hunter")
            .lacks("north-canary");
    }
    browser
        .get("/projects/office?saved=1")
        .await
        .has("/run/secrets/CERT")
        .has("The variables are saved");
    // LOG_LEVEL is the app's own too.
    let page = browser.get("/apps/shop").await;
    page.has("Overridden by this app")
        .has("From the project")
        .has("href=\"/projects/office\"");

    // What somebody else changed meanwhile is not overwritten unseen.
    let page = browser.post("/projects/office", &variables).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    page.lacks("hunter").has("name=\"version\" value=\"2\"");
    let gone = [("version", "2"), ("remove_env_vars", "TOKEN")];
    browser.post("/projects/office", &gone).await;
    browser.get("/projects/office").await.lacks("TOKEN");

    let page = browser.get("/projects/nowhere").await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
}
