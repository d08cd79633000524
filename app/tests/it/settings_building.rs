//! The parts of the settings form about building, jobs and checks.

use flukedeploy_platform::apps::get_app;
use flukedeploy_platform::ports::Store;
use http::StatusCode;

use crate::browser::Browser;
use crate::settings::form;
use crate::support::{Stand, admin, settings};

const KEY: &str = "-----BEGIN PUBLIC KEY-----\r\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\r\n-----END PUBLIC KEY-----\r\n";

#[tokio::test]
async fn building_jobs_and_checks_are_kept_and_values_never_shown() {
    let stand = Stand::new().await;
    let environment = stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    let wanted = form(&[
        ("build_args", "NODE=22\r\nMODE=a=b"),
        ("build_secrets", "NPM_TOKEN=hunter2"),
        ("variables_as_args", "true"),
        ("build_cpu", "1.5"),
        ("build_memory", "512"),
        ("build_timeout", "900"),
        ("job_test_command", "./test\r\n--all"),
        ("job_test_timeout", "60"),
        ("job_release_command", "[\"/bin/sh\", \"-c\", \"a\\nb\"]"),
        ("job_release_image", "tools:v1"),
        ("signature_key", KEY),
        ("checks_ignore", "runs_as_root\r\nimage_tag"),
    ]);
    let page = browser.post("/apps/shop", &wanted).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.html);
    let stored = async || {
        let found = stand.store.environment(&environment.app, &environment.name);
        found.await.unwrap().unwrap().settings
    };
    let now = stored().await;
    assert_eq!(now.build.args.0["MODE"], "a=b");
    assert_eq!(now.build.secrets.0["NPM_TOKEN"], "hunter2");
    assert!(now.build.variables_as_args);
    assert_eq!(
        (now.build.cpu_limit_milli, now.build.memory_limit_mb),
        (1_500, 512)
    );
    let test = now.jobs.test.as_ref().unwrap();
    assert_eq!(
        (test.command.as_slice(), test.timeout_seconds),
        (&["./test".to_owned(), "--all".to_owned()][..], 60)
    );
    let release = now.jobs.release.as_ref().unwrap();
    assert_eq!(release.command, ["/bin/sh", "-c", "a\nb"]);
    assert_eq!(release.image.as_ref().unwrap().as_str(), "tools:v1");
    assert_eq!(release.timeout_seconds, 600);
    assert!(now.jobs.pre_build.is_none() && now.jobs.post_deploy.is_none());
    assert!(!now.checks.signature_key.as_ref().unwrap().contains('\r'));
    assert_eq!(now.checks.ignore, ["runs_as_root", "image_tag"]);

    let page = browser.get("/apps/shop").await;
    page.has("1.5 CPU, 512 MiB, 900 s")
        .has("<code>NPM_TOKEN</code>")
        .has("<code>MODE</code>")
        .has("tests, release command")
        .has("./test\n--all")
        .has("[\"/bin/sh\",\"-c\",\"a\\nb\"]")
        .has("value=\"tools:v1\"")
        .has("signature wanted, 2 ignored")
        .has("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE")
        .lacks("hunter2")
        .lacks("a=b");

    // What is not named stays; what is ticked goes; an emptied command is no job any more.
    let next = form(&[
        ("remove_build_args", "NODE"),
        ("build_args", "LEVEL=9"),
        ("job_test_command", "./test"),
        ("job_test_timeout", ""),
        ("job_release_command", " "),
    ]);
    let page = browser.post("/apps/shop", &next).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.html);
    let now = stored().await;
    assert_eq!(
        now.build.args.names().collect::<Vec<_>>(),
        ["LEVEL", "MODE"]
    );
    assert_eq!(now.build.secrets.0["NPM_TOKEN"], "hunter2");
    assert!(!now.build.variables_as_args);
    assert_eq!(now.build.cpu_limit_milli, 1_000);
    assert_eq!(now.jobs.test.as_ref().unwrap().timeout_seconds, 600);
    assert!(now.jobs.release.is_none() && now.checks.signature_key.is_none());
    let app = get_app(&stand.px, &admin(), &"shop".parse().unwrap())
        .await
        .unwrap();
    assert!(app.checks.ignore.is_empty());
}

#[tokio::test]
async fn faults_open_their_part_and_secrets_are_asked_for_again() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    let wrong = form(&[
        ("build_args", "no equals sign"),
        ("build_secrets", "TOKEN=hunter2"),
        ("build_cpu", "0.05"),
        ("build_timeout", "0"),
        ("job_pre_build_image", "tools:v1"),
        ("job_post_deploy_timeout", "99999"),
        ("job_test_command", "./test\r\n<b>"),
    ]);
    let page = browser.post("/apps/shop", &wrong).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    for field in [
        "build_args",
        "build_secrets",
        "build_cpu",
        "build_timeout",
        "job_pre_build_command",
        "job_post_deploy_timeout",
    ] {
        page.has(&format!("id=\"{field}-fault\""));
    }
    page.has("id=\"part-building\" open")
        .has("id=\"part-jobs\" open")
        .has("Must be 0.1 to 1024 processors")
        .has("Must be given where an image is.")
        .has("Type it again")
        .has("no equals sign")
        .has("./test\r\n&lt;b&gt;")
        .lacks("hunter2");

    // What only the settings as a whole can tell.
    let wrong = form(&[
        ("build_secrets", "9X=hunter2"),
        ("signature_key", "no key"),
        ("checks_ignore", "what is this?"),
    ]);
    let page = browser.post("/apps/shop", &wrong).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    for field in ["build_secrets", "signature_key", "checks_ignore"] {
        page.has(&format!("id=\"{field}-fault\""));
    }
    page.has(
        "Build secrets &#x27;9X&#x27;"
            .replace("&#x27;", "'")
            .as_str(),
    )
    .has("id=\"part-checks\" open")
    .lacks("hunter2");
}
