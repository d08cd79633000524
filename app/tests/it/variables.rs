//! Variables that are marked secret: set, marked, unmarked, and never put into a page.

use axum::http::StatusCode;
use flukedeploy_domain::app::Settings;
use flukedeploy_domain::names::EnvironmentName;
use flukedeploy_platform::ports::Store as _;

use crate::browser::Browser;
use crate::support::{Stand, settings};

const SECRET: &str = "hunter2-and-more";

async fn stored(stand: &Stand) -> Settings {
    let production = EnvironmentName::production();
    let found = stand
        .store
        .environment(&"shop".parse().unwrap(), &production)
        .await;
    found.unwrap().unwrap().settings
}

/// The form of an app's settings with these fields more.
pub(crate) fn settings_form(
    more: &[(&'static str, &'static str)],
) -> Vec<(&'static str, &'static str)> {
    let mut fields = vec![
        ("container_port", "8080"),
        ("replicas", "1"),
        ("health_probe", "tcp"),
        ("strategy", "rolling"),
        ("domains", ""),
    ];
    fields.extend(more);
    fields
}

fn change(
    version: &'static str,
    more: &[(&'static str, &'static str)],
) -> Vec<(&'static str, &'static str)> {
    let mut fields = settings_form(more);
    fields.push(("settings_version", version));
    fields
}

#[tokio::test]
async fn a_variable_is_marked_and_its_value_never_comes_back() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    browser
        .get("/apps/shop")
        .await
        .has("name=\"secret_env_vars\"")
        .has("name=\"mark_env_vars\" value=\"DATABASE_URL\"")
        .lacks("s3cret");

    let secrets = change(
        "1",
        &[
            ("secret_env_vars", "API_THING=hunter2-and-more"),
            ("mark_env_vars", "DATABASE_URL"),
        ],
    );
    let page = browser.post("/apps/shop", &secrets).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    let now = stored(&stand).await;
    assert!(now.is_marked_secret("API_THING") && now.is_marked_secret("DATABASE_URL"));
    assert!(!now.is_marked_secret("LOG_LEVEL"));
    assert_eq!(now.env_vars.0["API_THING"], SECRET);
    assert_eq!(now.env_vars.0["DATABASE_URL"], "postgres://s3cret");
    browser
        .get("/apps/shop")
        .await
        .has("name=\"open_env_vars\" value=\"API_THING\"")
        .has("name=\"mark_env_vars\" value=\"LOG_LEVEL\"")
        .lacks("hunter2")
        .lacks("s3cret");

    // Not without a new value; and what was typed for a secret does not come back either.
    let bare = change(
        "2",
        &[
            ("open_env_vars", "DATABASE_URL"),
            ("env_vars", "API_THING=hunter3\r\nMORE=seen"),
        ],
    );
    let page = browser.post("/apps/shop", &bare).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("eeds a new value to be no longer secret")
        .has("MORE=seen")
        .lacks("hunter");
    assert_eq!(stored(&stand).await, now);

    let open = change(
        "2",
        &[
            ("open_env_vars", "DATABASE_URL"),
            ("env_vars", "DATABASE_URL=sqlite:new\r\nAPI_THING=12345"),
        ],
    );
    let page = browser.post("/apps/shop", &open).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    let now = stored(&stand).await;
    assert!(now.is_marked_secret("API_THING") && !now.is_marked_secret("DATABASE_URL"));
    // A new value keeps the mark; and one that logs cannot be searched for is told of.
    browser
        .get("/apps/shop")
        .await
        .has("API_THING is marked secret, but its value is too short")
        .lacks("12345");

    let gone = change("3", &[("remove_env_vars", "API_THING")]);
    browser.post("/apps/shop", &gone).await;
    assert!(stored(&stand).await.secret_env_vars.is_empty());
}

#[tokio::test]
async fn secrets_come_with_a_new_app_an_environment_and_a_deployment() {
    let stand = Stand::new().await;
    let mut browser = Browser::signed_in(&stand).await;
    let new = [
        ("app_name", "shop"),
        ("container_port", "8080"),
        ("replicas", "1"),
        ("health_probe", "tcp"),
        ("strategy", "rolling"),
        ("env_vars", "A=1"),
        ("secret_env_vars", "B=hunter2-and-more\r\nA=2"),
    ];
    let page = browser.post("/apps/new", &new).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("id=\"secret_env_vars-fault\"")
        .has("must not name 'A'")
        .has("Type it again")
        .lacks("hunter2");
    let mut right = new;
    right[6].1 = "B=hunter2-and-more";
    let page = browser.post("/apps/new", &right).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    assert_eq!(
        stored(&stand).await.secret_env_vars,
        ["B".to_owned()].into()
    );

    let staging = [
        ("name", "staging"),
        ("secret_env_vars", "C=hunter2-and-more"),
    ];
    let page = browser.post("/apps/shop/environments/new", &staging).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    let found = stand
        .store
        .environment(&"shop".parse().unwrap(), &"staging".parse().unwrap())
        .await;
    let found = found.unwrap().unwrap().settings;
    assert!(found.is_marked_secret("B") && found.is_marked_secret("C"));

    let deploy = [
        ("source", "image"),
        ("image", "shop:v1"),
        ("secret_env_vars", "D=hunter2-and-more"),
    ];
    let page = browser.post("/apps/shop/deploy", &deploy).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    let opened = &stand.store.recent_deployments(1).await.unwrap()[0];
    assert!(opened.settings.is_marked_secret("D"));
}
