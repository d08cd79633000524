//! Secrets that an app prints reach neither a file of the logs nor anybody who reads them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flukedeploy_domain::access::Actor;
use flukedeploy_domain::app::{EnvVars, Marks};
use flukedeploy_domain::build::{BuildSource, Instructions, Origin, Recipe};
use flukedeploy_domain::deployment::State;
use flukedeploy_domain::job::JobSettings;
use flukedeploy_domain::log_entry::{Level, LogEntry, LogFilter};
use flukedeploy_platform::apps::{ChangeApp, change_app};
use flukedeploy_platform::deployments::{Deploy, Wanted};
use flukedeploy_platform::logs::{self, ReadLogs};

use crate::bench::{
    Life, World, deploy_of, diagnosis, dying, impatient, name, production, settings, until,
};
use crate::shop::lock;

/// With characters that encodings change.
const SECRET: &str = "c0rrect/horse+\"battery&staple\"";
const BUILD_SECRET: &str = "bu1ld-0nly-s3cret";

/// Pieces that must be nowhere.
fn pieces() -> Vec<String> {
    let code = STANDARD.encode(SECRET);
    let shifted = STANDARD.encode(format!("u:{SECRET}"));
    let pieces = [
        "c0rrect",
        "battery",
        "bu1ld-0nly",
        "c0rrect%2F",
        &code[..12],
        &shifted[8..20],
    ];
    pieces.map(ToOwned::to_owned).to_vec()
}

/// Everything an app may do with its secret but keep it.
fn chatter() -> Vec<(bool, String)> {
    let json = serde_json::json!({"level": "error", "msg": "refused", "dsn": SECRET, "deep": {"list": [SECRET]}});
    let nested = serde_json::json!({"msg": json.to_string()});
    let pem = format!("{}12", "MIIEow1BAAKCAQEA".repeat(4));
    [
        (false, format!("connecting with {SECRET}")),
        (true, format!("ERROR cannot connect with {SECRET}")),
        (true, format!("java.lang.IllegalStateException: {SECRET}")),
        (true, "\tat com.shop.Db.open(Db.java:7)".to_owned()),
        (true, format!("Caused by: java.io.IOException: {SECRET}")),
        (true, "\tat com.shop.Db.read(Db.java:9)".to_owned()),
        (false, json.to_string()),
        (true, nested.to_string()),
        (
            false,
            format!(
                "level=warn msg=\"retry\" token=\"{}\"",
                SECRET.replace('"', "\\\"")
            ),
        ),
        (
            false,
            format!(
                "Authorization: Basic {}",
                STANDARD.encode(format!("u:{SECRET}"))
            ),
        ),
        (true, format!("blob {} end", STANDARD.encode(SECRET))),
        (
            false,
            "GET /?k=c0rrect%2Fhorse%2B%22battery%26staple%22 200".to_owned(),
        ),
        (
            false,
            format!("\u{1b}[31m{}\u{1b}[0m{}", &SECRET[..9], &SECRET[9..]),
        ),
        (false, "-----BEGIN RSA PRIVATE KEY-----".to_owned()),
        (false, pem[..64].to_owned()),
        (false, "-----END RSA PRIVATE KEY-----".to_owned()),
        (false, format!("{}{SECRET}", "x".repeat(16 * 1024 - 5))),
        (false, "the last of stdout".to_owned()),
        (true, "the last of stderr".to_owned()),
    ]
    .to_vec()
}

fn all(life: &Life<'_>) -> Vec<LogEntry> {
    let request = ReadLogs {
        filter: LogFilter::default(),
        limit: 5_000,
        order: flukedeploy_platform::ports::Order::OldestFirst,
        ..ReadLogs::default()
    };
    let page = life.run(logs::read_logs(&life.px, &Actor::system(), request));
    page.unwrap().entries
}

#[track_caller]
fn assert_nowhere(what: &str, text: &str) {
    for piece in pieces() {
        assert!(!text.contains(&piece), "{what} holds '{piece}'");
    }
    assert!(!text.contains("MIIEow1BAAKC"), "{what} holds the key");
}

/// The logs' files, as they are on disk. So few lines are in the write-ahead log, which is not
/// compressed; that they are is checked by what else was printed.
fn files_of_logs(world: &World) -> String {
    let mut text = String::new();
    for file in std::fs::read_dir(world.dir().join("logs")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            text.push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap()));
        }
    }
    assert!(
        text.contains("[redacted"),
        "nothing can be seen in the files"
    );
    text
}

#[test]
fn what_an_app_prints_of_its_secrets_is_nowhere() {
    let world = World::new();
    world.shop.file("Dockerfile", "FROM scratch\n");
    *world.swarm.prints.lock().unwrap() = vec![("shop".to_owned(), chatter())];
    *lock(&world.shop.says) = vec![format!("npm login {BUILD_SECRET}"), format!("and {SECRET}")];
    let life = world.boot();
    let mut reader = logs::subscribe(&life.px, &Actor::system()).unwrap();
    let mut settings = settings(1);
    settings
        .build
        .secrets
        .0
        .insert("NPM".to_owned(), BUILD_SECRET.to_owned());
    settings.jobs.release = Some(JobSettings {
        command: vec!["true".to_owned(), format!("--url={SECRET}")],
        image: None,
        timeout_seconds: 60,
    });
    life.create_app("shop", settings);
    let cmd = Deploy {
        what: Wanted::Build(BuildSource {
            origin: Origin::Nothing,
            instructions: Instructions::Given {
                recipe: Recipe::Inline {
                    dockerfile: "FROM scratch\n".to_owned(),
                },
            },
        }),
        env_vars: EnvVars([("SHOP_TOKEN".to_owned(), SECRET.to_owned())].into()),
        ..deploy_of("shop", "unused:v1")
    };
    let id = life.try_deploy(cmd).unwrap().deployment.deployment_id;
    let done = life.end(&id);
    assert_eq!(done.state, State::Success, "{:?}", done.state);
    until("the replica's lines", || {
        let of_replicas = |entry: &&LogEntry| {
            entry.message.starts_with("the last of std")
                && entry.flukedeploy_metadata.release == Some(1)
        };
        all(&life).iter().filter(of_replicas).count() == 2
    });
    let entries = all(&life);
    let told = serde_json::to_string(&entries).unwrap();
    assert_nowhere("the answer", &told);
    let count = |part: &str| told.matches(part).count();
    // Of the replica and of the job, each of them told.
    for part in [
        "connecting with [redacted:SHOP_TOKEN]",
        "java.lang.IllegalStateException: [redacted:SHOP_TOKEN]",
        "Authorization: Basic [redacted:SHOP_TOKEN]",
        "blob [redacted:SHOP_TOKEN] end",
        "\"list\":[\"[redacted:SHOP_TOKEN]\"]",
        "[redacted:private key]",
    ] {
        assert_eq!(count(part), 2, "{part}");
    }
    assert_eq!(count("npm login [redacted:NPM]"), 1);
    assert_eq!(count("and [redacted:SHOP_TOKEN]"), 1);
    assert!(count("--url=[redacted:SHOP_TOKEN]") >= 1);
    // The trace of the replica is one entry, with its meaning.
    let trace = entries.iter().find(|entry| {
        entry.flukedeploy_metadata.stack_trace.is_some()
            && entry.flukedeploy_metadata.release.is_some()
    });
    let trace = trace.unwrap();
    assert_eq!(
        trace.message,
        "ERROR cannot connect with [redacted:SHOP_TOKEN]"
    );
    assert_eq!(trace.level, Level::Error);
    let metadata = &trace.flukedeploy_metadata;
    assert_eq!(
        metadata.error_code.as_deref(),
        Some("java.lang.IllegalStateException")
    );
    assert_eq!(metadata.stack_trace.as_ref().unwrap().lines().count(), 5);
    let refused = entries
        .iter()
        .find(|entry| entry.message == "refused")
        .unwrap();
    assert_eq!(refused.level, Level::Error);
    assert_eq!(
        refused.flukedeploy_metadata.fields["dsn"],
        "[redacted:SHOP_TOKEN]"
    );
    while let Some(told) = reader.try_next() {
        for at in 0..told.entries().len() {
            assert_nowhere("the stream", &String::from_utf8_lossy(&told.json(at)));
        }
    }
    life.shut_down();
    let files = files_of_logs(&world);
    assert!(
        files.contains("[redacted:SHOP_TOKEN]"),
        "the files were not found"
    );
    assert_nowhere("a file", &files);
}

#[test]
fn a_control_plane_that_starts_anew_knows_the_secrets_of_what_runs() {
    let world = World::new();
    let life = world.boot();
    let mut of_old = settings(1);
    of_old
        .env_vars
        .0
        .insert("SHOP_TOKEN".to_owned(), SECRET.to_owned());
    life.create_app("shop", of_old);
    life.ship("shop", "shop:v1");
    // The release that runs has it still.
    life.change_settings("shop", |settings| settings.env_vars.0.clear());
    life.crash();
    *world.swarm.prints.lock().unwrap() = vec![("shop".to_owned(), chatter())];
    let life = world.boot();
    until("the replica's lines", || {
        life.told("shop", "the last of stderr")
    });
    until("all of them", || life.told("shop", "the last of stdout"));
    let told = serde_json::to_string(&all(&life)).unwrap();
    assert!(told.contains("connecting with [redacted:SHOP_TOKEN]"));
    assert_nowhere("the answer", &told);
    life.shut_down();
    assert_nowhere("a file", &files_of_logs(&world));
}

#[test]
fn what_is_marked_while_it_runs_is_taken_out_from_then_on() {
    let world = World::new();
    let life = world.boot();
    let mut first = settings(1);
    let thing = |value: &str| ("THING".to_owned(), value.to_owned());
    first.env_vars.0.extend([thing(SECRET)]);
    life.create_app("shop", first);
    life.ship("shop", "shop:v1");
    // The release that runs has the value from before.
    let marks = Marks {
        secret: ["THING".to_owned()].into(),
        ..Marks::default()
    };
    let change = ChangeApp {
        set_env_vars: EnvVars([thing("another-value")].into()),
        marks,
        ..ChangeApp::default()
    };
    let (actor, shop, environment) = (Actor::system(), name("shop"), production());
    let changed = change_app(&life.px, &actor, &shop, &environment, change);
    let changed = life.run(changed).unwrap();
    assert!(changed.env_vars[0].is_secret);
    *world.swarm.prints.lock().unwrap() = vec![("shop".to_owned(), chatter())];
    life.crash();
    let life = world.boot();
    until("all lines", || {
        life.told("shop", "the last of stderr") && life.told("shop", "the last of stdout")
    });
    let told = serde_json::to_string(&all(&life)).unwrap();
    assert!(told.contains("connecting with [redacted:THING]"), "{told}");
    assert_nowhere("the answer", &told);
    life.shut_down();
    assert_nowhere("a file", &files_of_logs(&world));
}

#[test]
fn evidence_shows_what_happened_without_the_secret() {
    let world = World::new();
    world.swarm.image("shop:v1", dying());
    *world.swarm.last_words.lock().unwrap() = vec![
        format!("cannot log in with {SECRET}"),
        // Cut by the limit of a line, if it were cut first.
        format!("{}{SECRET}{}", "x".repeat(240), "y".repeat(400)),
        "goodbye".to_owned(),
    ];
    let life = world.boot();
    let mut settings = impatient(1);
    settings
        .env_vars
        .0
        .insert("SHOP_TOKEN".to_owned(), SECRET.to_owned());
    life.create_app("shop", settings);
    let failed = life.end(&life.deploy("shop", "shop:v1"));
    let evidence = &diagnosis(&failed).evidence;
    assert_eq!(evidence.untrusted_output.len(), 3);
    assert_eq!(
        evidence.untrusted_output[0],
        "cannot log in with [redacted:SHOP_TOKEN]"
    );
    assert_nowhere(
        "the diagnosis",
        &serde_json::to_string(diagnosis(&failed)).unwrap(),
    );
    assert_nowhere("the log", &serde_json::to_string(&all(&life)).unwrap());
}
