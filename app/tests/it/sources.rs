//! Deploying what has to be built first, and what a deployment's page tells of it.

use axum::body::Body;
use flukedeploy_domain::build::{BuildSource, GitSource, Instructions, Origin};
use flukedeploy_domain::check::Check;
use flukedeploy_domain::deployment::{
    Deployment, PhaseName, Preparation, SettingsPatch, Source, ValidationLevel,
};
use flukedeploy_domain::diagnosis::{Cause, Diagnosis, Evidence};
use flukedeploy_domain::job::{JobKind, JobRecord, JobStatus};
use flukedeploy_domain::log_entry::Level;
use flukedeploy_platform::ports::Store;
use http::{Request, StatusCode};
use time::Duration;

use crate::browser::{Browser, Page};
use crate::support::{End, Stand, settings};

const COMMIT: &str = "4bf0a1c2d3e4f5061728394a5b6c7d8e9f001122";

async fn deployed(stand: &Stand, page: &Page) -> Deployment {
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.html);
    let id = page.location().rsplit('/').next().unwrap();
    let id = id.parse().unwrap();
    stand.store.deployment(&id).await.unwrap().unwrap()
}

fn built(deployment: &Deployment) -> &BuildSource {
    match &deployment.source {
        Source::Build { build, .. } => build,
        other => panic!("nothing is built: {other:?}"),
    }
}

#[tokio::test]
async fn a_repository_is_deployed_as_the_form_says() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    let page = browser
        .post(
            "/apps/shop/deploy",
            &[
                ("source", "git"),
                // The fields of the other ways are sent and mean nothing.
                ("image", "not an image"),
                ("dockerfile", "FROM x"),
                ("repository", "ssh://git@git.example.com:2222/team/shop.git"),
                ("reference", "release/1.2"),
                ("subfolder", "services/web"),
                ("submodules", "true"),
                ("git_recipe", "dockerfile"),
                ("git_recipe_path", "docker/web"),
                ("validation_level", "strict"),
            ],
        )
        .await;
    let one = deployed(&stand, &page).await;
    assert_eq!(one.validation_level, ValidationLevel::Strict);
    let build = built(&one);
    let Origin::Git(git) = &build.origin else {
        panic!("{build:?}");
    };
    assert_eq!(git.repository.host(), "git.example.com");
    assert_eq!(git.reference.as_ref().unwrap().as_str(), "release/1.2");
    assert_eq!(git.subfolder.as_ref().unwrap().as_str(), "services/web");
    assert!(git.submodules);
    let path = "docker/web".parse().unwrap();
    assert_eq!(build.instructions, Instructions::DockerfileAt { path });

    browser
        .get(page.location())
        .await
        .has("ssh://git@git.example.com:2222/team/shop.git release/1.2");
    // The next time the form begins with the same repository.
    browser
        .get("/apps/shop/deploy")
        .await
        .has("id=\"source-git\" name=\"source\" value=\"git\" checked")
        .has("value=\"ssh://git@git.example.com:2222/team/shop.git\"")
        .has("value=\"release/1.2\"");
}

#[tokio::test]
async fn a_dockerfile_is_taken_as_it_was_typed() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    let page = browser
        .post(
            "/apps/shop/deploy",
            &[
                ("source", "dockerfile"),
                ("dockerfile", "FROM base\r\nRUN <<E\r\necho\r\nE\r\n"),
            ],
        )
        .await;
    let one = deployed(&stand, &page).await;
    assert_eq!(built(&one).origin, Origin::Nothing);
    let Instructions::Given { recipe } = &built(&one).instructions else {
        panic!("no recipe");
    };
    let recipe = serde_json::to_value(recipe).unwrap();
    assert_eq!(recipe["dockerfile"], "FROM base\nRUN <<E\necho\nE\n");
}

#[tokio::test]
async fn faults_of_a_source_stand_at_their_fields_and_nothing_typed_is_lost() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    let wrong = [
        ("source", "git"),
        ("repository", "--upload-pack=touch /tmp/x"),
        ("reference", "$(id)"),
        ("subfolder", "../etc"),
        ("git_recipe", "definition"),
        ("git_recipe_path", "/etc/passwd"),
        ("validation_level", "lax"),
        ("reason", "a <try>"),
        ("do", "plan"),
    ];
    let page = browser.post("/apps/shop/deploy", &wrong).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    for field in [
        "repository",
        "reference",
        "subfolder",
        "git_recipe_path",
        "validation_level",
    ] {
        page.has(&format!("id=\"{field}-fault\""));
    }
    page.has("value=\"git\" checked")
        .has("value=\"--upload-pack=touch /tmp/x\"")
        .has("value=\"$(id)\"")
        .has("value=\"../etc\"")
        .has("value=\"definition\" selected")
        .has("value=\"a &lt;try&gt;\"")
        .has("Branch, tag or commit may hold only")
        .lacks("The plan")
        .lacks("id=\"image-fault\"");

    // A password in an address is refused and not told again by the refusal.
    let page = browser
        .post(
            "/apps/shop/deploy",
            &[
                ("source", "git"),
                ("repository", "https://me:hunter2@git.example.com/x"),
            ],
        )
        .await;
    page.has("store it as a credential instead")
        .has("value=\"https://git.example.com/x\"");
    assert_eq!(page.html.matches("hunter2").count(), 0, "{}", page.html);

    for (source, field) in [
        ("upload", "upload"),
        ("dockerfile", "dockerfile"),
        ("image", "image"),
        ("elsewhere", "source"),
    ] {
        let page = browser
            .post("/apps/shop/deploy", &[("source", source)])
            .await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{source}");
        page.has(&format!("id=\"{field}-fault\""));
    }
    browser.get("/deployments").await.has("No deployments yet");
}

#[tokio::test]
async fn a_plan_of_a_build_lists_what_runs_once() {
    let stand = Stand::new().await;
    let mut wanted = settings(1);
    wanted.jobs = serde_json::from_value(serde_json::json!({
        "test": {"command": ["./test", "--all"]},
        "release": {"command": ["./manage", "migrate"]},
    }))
    .unwrap();
    stand.app("shop", wanted).await;
    let mut browser = Browser::signed_in(&stand).await;
    let typed = [
        ("source", "git"),
        ("repository", "https://git.example.com/shop.git"),
        ("git_recipe", "find"),
        ("do", "plan"),
    ];
    let page = browser.post("/apps/shop/deploy", &typed).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.html);
    page.has("The plan")
        .has("<code>https://git.example.com/shop.git</code>")
        .has("The image is built first")
        .has("Commands that run once")
        .has("Tests: <code>./test --all</code>")
        .has("Release command: <code>./manage migrate</code>")
        .has("value=\"https://git.example.com/shop.git\"")
        .has("value=\"git\" checked");
    browser.get("/deployments").await.has("No deployments yet");
}

fn upload(path: &str, field: &str, file_name: &str, content: &[u8]) -> Request<Body> {
    let head = format!(
        "--b0undary\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{file_name}\"\r\n\
         Content-Type: application/gzip\r\n\r\n"
    );
    let body = [head.as_bytes(), content, b"\r\n--b0undary--\r\n"].concat();
    Request::post(path)
        .header("content-type", "multipart/form-data; boundary=b0undary")
        .body(Body::from(body))
        .unwrap()
}

#[tokio::test]
async fn an_archive_is_sent_first_and_deployed_after() {
    const PAGE: &str = "/apps/shop/deploy/upload";
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    browser
        .get(PAGE)
        .await
        .has("enctype=\"multipart/form-data\"")
        .has("type=\"file\"");

    // Larger than a form may be.
    let content: Vec<u8> = (0..2_500_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let sent = browser
        .send(upload(PAGE, "archive", "shop.tar.gz", &content))
        .await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.html);
    let (path, id) = sent.location().split_once("?upload=").unwrap();
    assert_eq!(path, "/apps/shop/deploy");
    assert_eq!(std::fs::read(stand.directory.join(id)).unwrap(), content);
    browser
        .get(sent.location())
        .await
        .has("The archive is here.")
        .has("value=\"upload\" checked")
        .has(&format!("value=\"{id}\""));

    let fields = [("source", "upload"), ("upload", id)];
    let page = browser.post("/apps/shop/deploy", &fields).await;
    let one = deployed(&stand, &page).await;
    let id = id.parse().unwrap();
    assert_eq!(built(&one).origin, Origin::Upload { id });

    for (request, says) in [
        (upload(PAGE, "archive", "", b""), "Must be chosen."),
        (upload(PAGE, "other", "x.tar", b"x"), "Must be chosen."),
        (upload(PAGE, "archive", "x.tar", b""), "Must not be empty."),
        (
            upload(PAGE, "archive", "x.tar", &vec![0; 4_000_000]),
            "more than 3 MiB; leave out",
        ),
    ] {
        let page = browser.send(request).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
        page.has(says).has("id=\"archive-fault\"");
    }
    let cut = Request::post(PAGE)
        .header("content-type", "multipart/form-data; boundary=b0undary")
        .body(Body::from(
            "--b0undary\r\nContent-Disposition: form-data; name=\"archive\"; filename=\"x\"\r\n\r\nhalf",
        ))
        .unwrap();
    browser.send(cut).await.has("did not arrive whole");
    assert_eq!(
        browser.post(PAGE, &[]).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let ghost = upload("/apps/%3Cx%3E/deploy/upload", "archive", "x.tar", b"x");
    assert_eq!(browser.send(ghost).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn archives_of_strangers_and_other_sites_are_not_taken() {
    const PAGE: &str = "/apps/shop/deploy/upload";
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    let kept = || {
        let files = std::fs::read_dir(&stand.directory).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("up-")).count()
    };
    let page = browser
        .from("cross-site")
        .send(upload(PAGE, "archive", "x.tar", b"x"))
        .await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    browser.from("same-origin").forget_cookies();
    let page = browser.send(upload(PAGE, "archive", "x.tar", b"x")).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    page.has("Your session ended")
        .has("send the file once more")
        .has("value=\"/apps/shop/deploy/upload\"");
    assert_eq!(kept(), 0);
}

fn job(kind: JobKind, status: JobStatus, at: time::OffsetDateTime) -> JobRecord {
    JobRecord {
        kind,
        command: vec!["./run".to_owned(), "<b>".to_owned()],
        status,
        exit_code: None,
        started_at: at,
        completed_at: Some(at + Duration::milliseconds(4_200)),
        service: "job".to_owned(),
        note: None,
    }
}

#[tokio::test]
async fn a_deployment_tells_what_was_built_checked_and_run() {
    let stand = Stand::new().await;
    let app = stand.app("shop", settings(1)).await;
    let source = Source::Build {
        build: BuildSource {
            origin: Origin::Git(GitSource {
                repository: "https://git.example.com/shop.git".parse().unwrap(),
                reference: Some("main".parse().unwrap()),
                subfolder: None,
                submodules: false,
            }),
            instructions: Instructions::Find,
        },
        changes: SettingsPatch::default(),
    };
    let found = Diagnosis {
        code: Cause::TestsFailed,
        phase: PhaseName::PreDeploy,
        message: "the tests ended with exit code 3".to_owned(),
        evidence: Evidence {
            exit_code: Some(3),
            untrusted_output: vec!["1 of 4 failed".to_owned()],
            ..Evidence::default()
        },
        next: Vec::new(),
    };
    let mut one = stand
        .act(
            &app,
            "shop:built",
            source,
            Duration::minutes(1),
            End::Failed(Box::new(found)),
        )
        .await;
    let mut failed = job(JobKind::Test, JobStatus::Failed, one.initiated_at);
    failed.exit_code = Some(3);
    let mut not_run = job(JobKind::PreBuild, JobStatus::NotRun, one.initiated_at);
    not_run.note = Some("nothing serves yet".to_owned());
    one.preparation = Preparation {
        commit: Some(COMMIT.to_owned()),
        builder: Some("buildkit".to_owned()),
        checks: vec![
            Check::pass("architecture", "docker", "it fits <all> nodes"),
            Check::warning("runs_as_root", "security", "it runs as root", "add a USER"),
            Check::fail("signature", "security", "it is not signed", "sign it"),
            Check::not_run("security_scan", "security", "no command is configured"),
        ],
        jobs: vec![not_run, failed],
    };
    stand.store.save_deployment(&one).await.unwrap();
    stand.line(&one, Level::Info, "only of this one").await;
    let mut browser = Browser::signed_in(&stand).await;
    let page = browser.get(&format!("/deployments/{}", one.id)).await;
    page.has("https://git.example.com/shop.git main")
        .has(&format!("title=\"{COMMIT}\">4bf0a1c2d3e4<"))
        .has(&format!("data-copy=\"{COMMIT}\""))
        .has("BuildKit")
        .has("Its tests failed.")
        .has("The last lines that the tests printed")
        .has("1 failed, 1 with a warning, 1 not run, 1 passed")
        .has("It runs as root.")
        .has("Add a USER.")
        .has("Not run: no command is configured.")
        .has("it fits &lt;all&gt; nodes".replacen("it", "It", 1).as_str())
        .has("1 check passed")
        .has("data-job=\"test\" data-status=\"failed\"")
        .has("Nothing serves yet.")
        .has("./run &lt;b&gt;")
        .has("4.2 s")
        .has("href=\"#lines-pre_deploy\"")
        .lacks("<all>");
    // What was not run is said to be so, not passed.
    let finding = page.html.find("data-check=\"security_scan\"").unwrap();
    let end = page.html[finding..].find("</li>").unwrap();
    let finding = &page.html[finding..finding + end];
    assert!(
        finding.contains("Not run") && !finding.contains("Passed"),
        "{finding}"
    );
    for live in ["source", "checks", "jobs"] {
        page.has(&format!("<div id=\"{live}\" data-live=\"replace\">"));
    }

    let other = stand
        .deployment(&app, "shop:v9", Duration::minutes(1), End::Success)
        .await;
    stand.line(&other, Level::Info, "of another one").await;
    let all = format!("/apps/shop/logs?deployment={}", one.id);
    page.has(&format!("href=\"{all}\""));
    browser
        .get(&all)
        .await
        .has("only of this one")
        .lacks("of another one")
        .has(&format!("name=\"deployment\" value=\"{}\"", one.id))
        .has("Show all entries");
    browser
        .get("/apps/shop/logs?deployment=%3Cx%3E")
        .await
        .has("of another one")
        .lacks("Show all entries");
}
