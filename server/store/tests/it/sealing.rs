//! What is secret is sealed in the file, opens only where it was sealed, and only with the key.

use std::error::Error as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use flukedeploy_domain::app::{SecretFile, Settings, Variables};
use flukedeploy_domain::credential::{Credential, CredentialKind};
use flukedeploy_domain::deployment::{Deployment, Queue, SettingsPatch, Source};
use flukedeploy_domain::flukebase::{ProjectId, RemoteEnvironment, RemoteVariable};
use flukedeploy_domain::webhook::Webhook;
use flukedeploy_platform::ports::{
    FlukebaseEffect, FlukebaseMemory as _, FlukebaseSettings, Store, StoreError,
};
use flukedeploy_platform::secret::Secret;
use flukedeploy_store::{SqliteStore, schema};
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::support::*;

/// Each secret has a number behind it.
const CANARY: &str = "c4n4ry-s3cr3t-";

fn canary(number: u32) -> String {
    format!("{CANARY}{number}")
}

fn secretive() -> Settings {
    let mut settings = settings(&[]);
    let variables = [("API_THING", 1), ("OPEN", 2)];
    let variables = variables.map(|(name, number)| (name.to_owned(), canary(number)));
    settings.env_vars.0 = variables.into();
    settings.secret_env_vars.insert("API_THING".to_owned());
    let file = SecretFile::default();
    settings.secret_files.insert("API_THING".to_owned(), file);
    settings.shared = shared();
    let (args, secrets) = (&mut settings.build.args.0, &mut settings.build.secrets.0);
    args.insert("BUILD_THING".to_owned(), canary(3));
    secrets.insert("NPM_TOKEN".to_owned(), canary(4));
    settings
}

/// What a project shares.
fn shared() -> Variables {
    let mut shared = Variables::default();
    shared.values.0.insert("SHARED".to_owned(), canary(11));
    shared.secret.insert("SHARED".to_owned());
    let file = SecretFile {
        name: Some("shared.key".to_owned()),
        ..SecretFile::default()
    };
    shared.files.insert("SHARED".to_owned(), file);
    shared
}

fn secretive_deployment(app: &str, number: u32) -> Deployment {
    let mut wanted = deployment(app, number);
    let mut changes = SettingsPatch::default();
    changes.env_vars.0.insert("BROUGHT".to_owned(), canary(5));
    wanted.source = Source::Image {
        image: "shop:v2".parse().unwrap(),
        changes,
    };
    wanted.settings = secretive();
    wanted
}

fn credential() -> Credential {
    Credential {
        kind: CredentialKind::Registry,
        host: "registry.example.com".to_owned(),
        username: "bob".to_owned(),
        secret: canary(6),
        known_hosts: None,
        created_at: NOW,
    }
}

fn git_credential() -> Credential {
    Credential {
        kind: CredentialKind::GitKey,
        host: "git.example.com".to_owned(),
        username: "git".to_owned(),
        secret: canary(12),
        known_hosts: Some("git.example.com ssh-ed25519 AAAA".to_owned()),
        created_at: NOW,
    }
}

fn webhook() -> Webhook {
    Webhook {
        id: "wh-0123456789abcdef".parse().unwrap(),
        url: "https://hooks.example.com/c4n4ry-s3cr3t-10"
            .parse()
            .unwrap(),
        secret: canary(7),
        events: flukedeploy_domain::webhook::Events::All,
        app: None,
        active: true,
        created_at: NOW,
    }
}

fn flukebase() -> FlukebaseSettings {
    FlukebaseSettings {
        token: Some(Secret::new(canary(11))),
        ..FlukebaseSettings::default()
    }
}

fn remote_project() -> ProjectId {
    ProjectId::new(7).unwrap()
}

fn borrowed() -> Vec<RemoteVariable> {
    vec![RemoteVariable {
        key: "BORROWED".to_owned(),
        value: Some(canary(12)),
        is_secret: true,
        is_required: false,
    }]
}

/// One of everything that is secret.
async fn fill(store: &SqliteStore, app_name: &str) -> Deployment {
    let (app, mut environment) = app(app_name, &[]);
    environment.settings = secretive();
    store
        .create_app(&app, &environment, &audit("create"))
        .await
        .unwrap();
    let wanted = secretive_deployment(app_name, 1);
    let key = Some(("a-key", "c4n4ry-s3cr3t-8"));
    store
        .open_deployment(&wanted, Queue::Wait, key, &audit("deploy"))
        .await
        .unwrap();
    let mut release = new_release(&wanted);
    release.settings = secretive();
    store.create_release(&release).await.unwrap();
    store
        .put_credential(&credential(), &audit("credential"))
        .await
        .unwrap();
    store
        .put_credential(&git_credential(), &audit("credential"))
        .await
        .unwrap();
    let project = "office".parse().unwrap();
    store
        .set_project(&name(app_name), Some(&project), &audit("project"))
        .await
        .unwrap();
    store
        .share_variables(&project, 1, &shared(), &audit("share"))
        .await
        .unwrap();
    store
        .create_webhook(&webhook(), &audit("webhook"))
        .await
        .unwrap();
    store.remember("ingress.token", &canary(9)).await.unwrap();
    let effect = FlukebaseEffect::default();
    let none = std::collections::BTreeMap::new();
    store
        .put_flukebase(&flukebase(), effect, &none, None)
        .await
        .unwrap();
    store
        .keep_flukebase_variables(
            remote_project(),
            RemoteEnvironment::Production,
            &borrowed(),
            NOW,
        )
        .await
        .unwrap();
    wanted
}

/// All of it is as it was stored.
async fn assert_filled(store: &SqliteStore, app: &str, wanted: &Deployment) {
    let (app, production) = (name(app), production());
    let environment = store.environment(&app, &production).await.unwrap().unwrap();
    assert_eq!(environment.settings, secretive());
    let overview = store.app_overview(&app).await.unwrap().unwrap();
    assert_eq!(overview.environments, [environment]);
    assert_eq!(overview.latest, [Some(wanted.clone())]);
    let releases = store.releases(&app, &production, 9).await.unwrap();
    assert_eq!(releases[0].settings, secretive());
    let credentials = [git_credential(), credential()];
    assert_eq!(store.credentials().await.unwrap(), credentials);
    let project = store.project_of(&app).await.unwrap().unwrap();
    assert_eq!((project.variables, project.version), (shared(), 2));
    assert_eq!(store.webhooks().await.unwrap(), [webhook()]);
    assert_eq!(store.flukebase_settings().await.unwrap(), flukebase());
    let kept = store.flukebase_variables(remote_project(), RemoteEnvironment::Production);
    assert_eq!(kept.await.unwrap().unwrap().variables, borrowed());
    let replayed = store.replayed("t1", ("a-key", "c4n4ry-s3cr3t-8"), wanted.initiated_at);
    assert_eq!(replayed.await.unwrap().unwrap().id, wanted.id);
    let other = store.replayed("t1", ("a-key", "another"), wanted.initiated_at);
    assert!(matches!(other.await, Err(StoreError::KeyReused)));
    let token = store.remembered("ingress.token").await.unwrap();
    assert_eq!(token, Some(canary(9)));
}

fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

fn assert_nothing_open(dir: &Dir) {
    for (file, bytes) in files(dir.path().parent().unwrap()) {
        assert!(!holds(&bytes, CANARY), "{file} holds a secret");
    }
}

fn key_file(dir: &Dir) -> std::path::PathBuf {
    dir.path().with_file_name("secret.key")
}

fn keys(dir: &Dir) -> Vec<String> {
    let text = std::fs::read_to_string(key_file(dir)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(ToOwned::to_owned).collect()
}

fn cause(error: &StoreError) -> String {
    error.source().unwrap().to_string()
}

#[tokio::test]
async fn no_secret_is_in_any_file_and_all_of_them_come_back() {
    let (dir, store) = open().await;
    let wanted = fill(&store, "shop").await;
    assert_filled(&store, "shop", &wanted).await;
    assert_nothing_open(&dir);
    // With what waits in the write-ahead log, and without.
    store.close().await;
    assert_nothing_open(&dir);
    let all = files(dir.path().parent().unwrap());
    let database = &all.iter().find(|(name, _)| name == "test.db").unwrap().1;
    for name in ["API_THING", "NPM_TOKEN", "BROUGHT", "sealed1."] {
        assert!(holds(database, name), "names stay readable: {name}");
    }
    let mode = std::fs::metadata(key_file(&dir)).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);

    let store = SqliteStore::open(&dir.path()).await.unwrap();
    assert_filled(&store, "shop", &wanted).await;
    let shown = format!("{store:?}");
    for key in keys(&dir) {
        let secret = key.split(' ').nth(1).unwrap().to_owned();
        assert!(!shown.contains(&secret));
    }
}

#[tokio::test]
async fn a_row_edited_or_moved_by_sql_is_named_and_opens_nothing() {
    let (dir, store) = open().await;
    fill(&store, "shop").await;
    create_app(&store, "other", &[]).await;
    let shop = name("shop");
    let was: (String, String) =
        sqlx::query_as("SELECT settings, sealed FROM environments WHERE app = 'shop'")
            .fetch_one(&mut raw(&dir.path()).await)
            .await
            .unwrap();
    let moved = "(SELECT sealed FROM environments WHERE app = 'other')";
    let of_release = "(SELECT sealed FROM releases)";
    for (edit, says) in [
        (format!("sealed = {moved}"), "moved here from another row"),
        (
            format!("sealed = {of_release}"),
            "moved here from another row",
        ),
        ("sealed = substr(sealed, 1, 60)".to_owned(), "edited"),
        ("sealed = 'sealed1.'".to_owned(), "not sealed"),
        (format!("sealed = '{CANARY}'"), "not sealed"),
        ("sealed = 'sealed1.k.###'".to_owned(), "with the key 'k'"),
        ("sealed = NULL".to_owned(), "other names"),
        (
            "settings = replace(settings, 'API_THING', 'API_THINK')".to_owned(),
            "other names",
        ),
        (
            "settings = json_remove(settings, '$.build.secrets')".to_owned(),
            "other names",
        ),
    ] {
        let edit = format!("UPDATE environments SET {edit} WHERE app = 'shop'");
        sqlx::query(AssertSqlSafe(edit.clone()))
            .execute(&mut raw(&dir.path()).await)
            .await
            .unwrap();
        let error = store.environment(&shop, &production()).await.unwrap_err();
        let told = error.to_string();
        assert_eq!(
            told,
            "the stored environments shop/production cannot be read"
        );
        let why = cause(&error);
        assert!(why.contains(says), "{edit}: {why}");
        assert!(!format!("{error:?}{why}").contains(CANARY), "{edit}");
        // Other rows are none the worse.
        let other = store.environment(&name("other"), &production()).await;
        assert!(other.unwrap().is_some());
        sqlx::query("UPDATE environments SET settings = ?, sealed = ? WHERE app = 'shop'")
            .bind(&was.0)
            .bind(&was.1)
            .execute(&mut raw(&dir.path()).await)
            .await
            .unwrap();
    }
    assert!(
        store
            .environment(&shop, &production())
            .await
            .unwrap()
            .is_some()
    );

    for (edit, told) in [
        (
            "UPDATE credentials SET host = 'evil.example.com' WHERE kind = 'registry'",
            "credentials registry/evil",
        ),
        ("UPDATE webhooks SET secret = 'mine'", "webhooks wh-"),
        (
            "UPDATE projects SET sealed = (SELECT sealed FROM releases)",
            "projects office",
        ),
        (
            "UPDATE remembered SET value = 'mine'",
            "remembered ingress.token",
        ),
        (
            "UPDATE deployments SET source_sealed = sealed",
            "deployments dep-",
        ),
    ] {
        sqlx::query(edit)
            .execute(&mut raw(&dir.path()).await)
            .await
            .unwrap();
        let error = match told.split(' ').next().unwrap() {
            "credentials" => store.credentials().await.err(),
            "projects" => store.project_list().await.err(),
            "webhooks" => store.webhooks().await.err(),
            "remembered" => store.remembered("ingress.token").await.err(),
            _ => store.recent_deployments(9).await.err(),
        };
        let error = error.unwrap().to_string();
        assert!(error.contains(told), "{edit}: {error}");
    }
}

#[tokio::test]
async fn without_its_key_a_database_does_not_open_and_says_what_to_do() {
    let (dir, store) = open().await;
    let wanted = fill(&store, "shop").await;
    store.close().await;
    let file = key_file(&dir);
    let right = std::fs::read_to_string(&file).unwrap();
    let refused = async |says: &str| {
        let error = SqliteStore::open(&dir.path()).await.unwrap_err();
        let why = cause(&error);
        assert!(why.contains(says), "{why}");
        assert!(why.contains("secret.key"), "{why}");
    };

    std::fs::remove_file(&file).unwrap();
    refused("is missing").await;
    assert!(
        !file.exists(),
        "no new key is made where the old one is needed"
    );

    let (elsewhere, other) = open().await;
    other.close().await;
    std::fs::copy(key_file(&elsewhere), &file).unwrap();
    refused("another database").await;

    // The right name with another key.
    let foreign = keys(&elsewhere)[0].split(' ').nth(1).unwrap().to_owned();
    let own = right.lines().last().unwrap().split(' ').next().unwrap();
    std::fs::write(&file, format!("{own} {foreign}\n")).unwrap();
    refused("does not open").await;

    std::fs::write(&file, "what is this?\n").unwrap();
    refused("line 1").await;
    std::fs::write(&file, "# nothing\n").unwrap();
    refused("cannot be understood").await;
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(key_file(&elsewhere), &file).unwrap();
    refused("no plain file").await;
    std::fs::remove_file(&file).unwrap();

    // Found again, by somebody careless.
    std::fs::write(&file, right).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = SqliteStore::open(&dir.path()).await.unwrap();
    assert_filled(&store, "shop", &wanted).await;
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

const OLD_SETTINGS: &str = r#"{"container_port":8080,"replicas":2,
  "env_vars":{"A":"c4n4ry-s3cr3t-1","B":""},"build":{"args":{"C":"c4n4ry-s3cr3t-3"},
  "secrets":{"D":"c4n4ry-s3cr3t-4"}},"domains":[],"strategy":"recreate"}"#;

#[tokio::test]
async fn what_stood_in_the_open_is_sealed_at_the_first_start_and_leaves_no_trace() {
    let dir = Dir::new();
    let before = schema::CONTROL.iter().filter(|step| step.version < 7);
    let mut db = SqliteConnectOptions::new()
        .filename(dir.path())
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
        .connect()
        .await
        .unwrap();
    Migrator::with_migrations(before.cloned().collect())
        .run_direct(None, &mut db, false)
        .await
        .unwrap();
    let source =
        r#"{"kind":"image","image":"shop:v1","changes":{"env_vars":{"E":"c4n4ry-s3cr3t-5"}}}"#;
    let actor =
        r#"{"kind":"token","id":"t1","name":"t","persona":null,"tier":"admin","door":"rest"}"#;
    let phase = r#"{"status":"pending","started_at":null,"completed_at":null,"error":null}"#;
    let phases = [phase; 5].join(",");
    let image = r#"{"requested":"shop:v1","pinned":"sha256:ab","local_only":true,
      "architecture":"amd64","exposed_ports":[8080],"has_healthcheck":false,"user":""}"#;
    sqlx::raw_sql(AssertSqlSafe(format!(
        r#"INSERT INTO apps VALUES ('shop', 1), ('gone', 1), ('plain', 1);
        INSERT INTO environments (app, name, settings, settings_version, created_at) VALUES
          ('shop', 'production', '{OLD_SETTINGS}', 1, 1),
          ('plain', 'production', '{{"container_port":80,"replicas":1}}', 1, 1),
          ('gone', 'production', '{OLD_SETTINGS}', 1, 1);
        DELETE FROM apps WHERE name = 'gone';
        INSERT INTO deployments (sequence, id, app, environment, status, is_final, cancel_requested,
          initiated_at, strategy, replicas, replicas_ready, health_status, validation_level,
          auto_rollback, initiated_by, source, initiated_as, state, phases, settings) VALUES
          (1, 'dep-1770200000-abc123', 'shop', 'production', 'pending', 0, 0, 1770200000123,
           'recreate', 2, 0, 'starting', 'basic', 1, 'api', '{source}', '{actor}',
           '{{"name":"pending"}}', '[{phases}]', '{OLD_SETTINGS}');
        INSERT INTO releases (app, environment, number, deployment, image, settings, was_healthy,
          created_at) VALUES ('shop', 'production', 1, 'dep-1770200000-abc123', '{image}',
          '{OLD_SETTINGS}', 1, 1);
        INSERT INTO credentials VALUES ('registry', 'r.example.com', 'bob', 'c4n4ry-s3cr3t-6', NULL, 1);
        INSERT INTO webhooks VALUES ('wh-0123456789abcdef', 'https://h.example.com/c4n4ry-s3cr3t-10', 'c4n4ry-s3cr3t-7',
          '["*"]', NULL, 0, 0, 1);
        INSERT INTO remembered VALUES ('ingress.token', 'c4n4ry-s3cr3t-9');
        INSERT INTO idempotency_keys VALUES ('t1', 'a-key', 'c4n4ry-s3cr3t-8', 'dep-1770200000-abc123',
          1770200000123);"#
    )))
    .execute(&mut db)
    .await
    .unwrap();
    db.close().await.unwrap();
    let there = files(dir.path().parent().unwrap());
    assert!(there.iter().any(|(_, bytes)| holds(bytes, CANARY)));

    let store = SqliteStore::open(&dir.path()).await.unwrap();
    assert_nothing_open(&dir);
    let (shop, production) = (name("shop"), production());
    let expected: Settings = serde_json::from_str(OLD_SETTINGS).unwrap();
    let environment = store.environment(&shop, &production).await;
    assert_eq!(environment.unwrap().unwrap().settings, expected);
    let releases = store.releases(&shop, &production, 9).await.unwrap();
    assert_eq!(releases[0].settings, expected);
    let deployment = &store.recent_deployments(9).await.unwrap()[0];
    assert_eq!(deployment.settings, expected);
    let Source::Image { changes, .. } = &deployment.source else {
        panic!("another source")
    };
    assert_eq!(changes.env_vars.0["E"], canary(5));
    assert_eq!(store.credentials().await.unwrap()[0].secret, canary(6));
    assert_eq!(store.webhooks().await.unwrap()[0].secret, canary(7));
    let token = store.remembered("ingress.token").await.unwrap();
    assert_eq!(token, Some(canary(9)));
    let at = deployment.initiated_at;
    let replayed = store.replayed("t1", ("a-key", "c4n4ry-s3cr3t-8"), at).await;
    assert!(replayed.unwrap().is_some());
    assert_eq!(store.environments().await.unwrap().len(), 2);
    store.close().await;
    assert_nothing_open(&dir);
    // And it is done once.
    let store = SqliteStore::open(&dir.path()).await.unwrap();
    let environment = store.environment(&shop, &production).await;
    assert_eq!(environment.unwrap().unwrap().settings, expected);
}

#[tokio::test]
async fn an_old_row_that_cannot_be_understood_is_named_and_nothing_is_changed() {
    let dir = Dir::new();
    let store = SqliteStore::open(&dir.path()).await.unwrap();
    create_app(&store, "shop", &[]).await;
    store.close().await;
    let mut db = raw(&dir.path()).await;
    sqlx::query("DELETE FROM sealing")
        .execute(&mut db)
        .await
        .unwrap();
    let error = SqliteStore::open(&dir.path()).await.unwrap_err();
    let told = format!("{error}: {}", cause(&error));
    assert!(told.contains("stored sealing"), "{told}");
    sqlx::query("UPDATE environments SET settings = '{\"env_vars\":{\"A\":5}}', sealed = NULL")
        .execute(&mut db)
        .await
        .unwrap();
    let error = SqliteStore::open(&dir.path()).await.unwrap_err();
    let told = format!("{error}: {}", cause(&error));
    assert!(told.contains("environments shop/production"), "{told}");
    let noted: i64 = sqlx::query_scalar("SELECT count(*) FROM sealing")
        .fetch_one(&mut db)
        .await
        .unwrap();
    assert_eq!(noted, 0);
}

#[tokio::test]
async fn a_changed_key_opens_everything_and_the_old_one_is_gone() {
    let (dir, store) = open().await;
    let wanted = fill(&store, "shop").await;
    let digest = store.digest(&["shop", "value"]);
    assert_ne!(digest, store.digest(&["shopv", "alue"]));
    store.close().await;
    let old = keys(&dir);
    let rotated = SqliteStore::rotate_key(&dir.path()).await.unwrap();
    let new = keys(&dir);
    assert_eq!((old.len(), new.len()), (1, 1));
    assert_ne!(old, new);
    assert!(new[0].starts_with(&rotated.key));
    // Settings of environment, release and deployment, the source, the project's variables, what FlukeBase
    // lent, and eight texts, the key of digests among them.
    assert_eq!(rotated.count, 14);
    let name_of_old = old[0].split(' ').next().unwrap();
    for (file, bytes) in files(dir.path().parent().unwrap()) {
        assert!(!holds(&bytes, name_of_old), "{file} knows the old key");
        assert!(!holds(&bytes, CANARY), "{file} holds a secret");
    }
    let store = SqliteStore::open(&dir.path()).await.unwrap();
    assert_filled(&store, "shop", &wanted).await;
    assert_eq!(store.digest(&["shop", "value"]), digest);
    store.close().await;
    let again = SqliteStore::rotate_key(&dir.path()).await.unwrap();
    assert_ne!(again.key, rotated.key);
    let store = SqliteStore::open(&dir.path()).await.unwrap();
    assert_filled(&store, "shop", &wanted).await;
}

#[tokio::test]
async fn a_key_is_not_changed_while_a_row_does_not_open() {
    let (dir, store) = open().await;
    let wanted = fill(&store, "shop").await;
    create_app(&store, "other", &[]).await;
    store.close().await;
    let mut db = raw(&dir.path()).await;
    sqlx::query("UPDATE environments SET sealed = 'x' WHERE app = 'other'")
        .execute(&mut db)
        .await
        .unwrap();
    let old = keys(&dir);
    let error = SqliteStore::rotate_key(&dir.path()).await.unwrap_err();
    let told = format!("{error}: {}", cause(&error));
    assert!(told.contains("environments other/production"), "{told}");
    let store = SqliteStore::open(&dir.path()).await.unwrap();
    assert_eq!(keys(&dir), old);
    assert_filled(&store, "shop", &wanted).await;

    let nowhere = dir.path().with_file_name("none.db");
    let error = SqliteStore::rotate_key(&nowhere).await.unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    assert!(!nowhere.exists());
}

#[tokio::test]
#[ignore = "measures; meant for an optimised build"]
async fn how_long_opening_takes() {
    let (_dir, store) = open().await;
    for number in 0..200 {
        let (app, mut environment) = app(&format!("app-{number}"), &[]);
        for variable in 0..20 {
            environment
                .settings
                .env_vars
                .0
                .insert(format!("VARIABLE_{variable}"), "x".repeat(40));
        }
        store
            .create_app(&app, &environment, &audit("create"))
            .await
            .unwrap();
    }
    let mut least = std::time::Duration::MAX;
    for _ in 0..50 {
        let began = std::time::Instant::now();
        let all = store.environments().await.unwrap();
        least = least.min(began.elapsed());
        assert_eq!(all.len(), 200);
    }
    // Beside what reading them would take if they stood in the open.
    let all = store.environments().await.unwrap();
    let open: Vec<String> = all
        .iter()
        .map(|environment| serde_json::to_string(&environment.settings).unwrap())
        .collect();
    let mut parsing = std::time::Duration::MAX;
    for _ in 0..50 {
        let began = std::time::Instant::now();
        for text in &open {
            std::hint::black_box(serde_json::from_str::<Settings>(text).unwrap());
        }
        parsing = parsing.min(began.elapsed());
    }
    println!("200 environments of 21 variables: {least:?}; parsing alone, not sealed: {parsing:?}");
}
