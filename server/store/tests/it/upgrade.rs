//! A database that the first version of the schema wrote.

use flukedeploy_domain::app::{EnvVars, RunMode, Settings};
use flukedeploy_domain::deployment::rollout::Progress;
use flukedeploy_domain::deployment::{Status, Strategy, Wishes};
use flukedeploy_domain::health::{HealthGate, HealthProbe};
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_platform::ports::Store;
use flukedeploy_store::{SqliteStore, schema};
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::support::*;

const SETTINGS: &str = r#"{"container_port":8080,"replicas":2,
  "health":{"probe":{"kind":"http","path":"/health"},"deadline_seconds":90,"timeout_ms":1500},
  "env_vars":{"A":"1"},"domains":["shop.example.com"],"strategy":"blue_green"}"#;

const IMAGE: &str = r#"{"requested":"shop:v1","pinned":"sha256:ab","local_only":true,
  "architecture":"amd64","exposed_ports":[8080],"has_healthcheck":false,"user":""}"#;

const PHASE: &str = r#"{"status":"success","started_at":"2026-02-04T10:13:20.123Z",
  "completed_at":"2026-02-04T10:13:21.123Z","error":null}"#;

#[tokio::test]
async fn what_the_first_schema_holds_is_read_with_defaults() {
    let dir = Dir::new();
    let first = schema::CONTROL.iter().take(1).cloned().collect();
    let mut db = SqliteConnectOptions::new()
        .filename(dir.path())
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    Migrator::with_migrations(first)
        .run_direct(None, &mut db, false)
        .await
        .unwrap();
    let phases = [PHASE; 5].join(",");
    sqlx::raw_sql(AssertSqlSafe(format!(
        r#"INSERT INTO apps VALUES ('shop', 1770200000123);
        INSERT INTO environments VALUES ('shop', 'production', '{SETTINGS}', 4, 1, 1, 1770200000123);
        INSERT INTO deployments VALUES (1, 'dep-1770200000-abc123', 'shop', 'production', 'success', 1, 0,
          1770200000123, 1770200009123, 'v1', NULL, 'recreate', 2, 2, 'healthy', 'basic', 1, 'api',
          1, NULL, '{{"kind":"image","image":"shop:v1"}}',
          '{{"kind":"user","id":"a1","name":"ann","persona":null,"tier":"admin","door":"dashboard"}}',
          '{{"name":"success"}}', '[{phases}]', '{IMAGE}', '{SETTINGS}');
        INSERT INTO releases VALUES ('shop', 'production', 1, 'dep-1770200000-abc123', '{IMAGE}',
          '{SETTINGS}', 'v1', 1, 1770200001123);"#
    )))
    .execute(&mut db)
    .await
    .unwrap();
    db.close().await.unwrap();

    let store = SqliteStore::open(&dir.path()).await.unwrap();
    let (shop, production) = (name("shop"), production());
    let environment = store.environment(&shop, &production).await;
    let environment = environment.unwrap().unwrap();
    assert_eq!(environment.mode, RunMode::Running);
    assert_eq!((environment.standby, environment.probation), (None, None));
    assert_eq!(environment.active_release, Some(ReleaseNo(1)));
    let expected = Settings {
        container_port: 8080,
        replicas: 2,
        health: HealthGate {
            probe: HealthProbe::Http {
                path: "/health".to_owned(),
                expect_status: None,
            },
            deadline_seconds: 90,
            timeout_ms: 1_500,
            ..HealthGate::default()
        },
        env_vars: EnvVars([("A".to_owned(), "1".to_owned())].into()),
        domains: vec!["shop.example.com".parse().unwrap()],
        strategy: Strategy::BlueGreen,
        ..Settings::default()
    };
    assert_eq!(environment.settings, expected);

    let [deployment] = store
        .recent_deployments(9)
        .await
        .unwrap()
        .try_into()
        .unwrap();
    assert_eq!(deployment.wishes, Wishes::default());
    assert_eq!(deployment.progress, Progress::default());
    assert_eq!(deployment.receipt, None);
    assert_eq!(deployment.state.status(), Status::Success);
    assert_eq!(deployment.settings, expected);

    let release = store.release(&shop, &production, ReleaseNo(1)).await;
    let release = release.unwrap().unwrap();
    assert_eq!(release.settings, expected);
    assert!(release.is_stable());

    // Opened again, it is what it was.
    store.close().await;
    let store = SqliteStore::open(&dir.path()).await.unwrap();
    assert_eq!(store.recent_deployments(9).await.unwrap(), [deployment]);
}
