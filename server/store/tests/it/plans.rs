//! No query reads a table that grows from end to end.

use flukedeploy_platform::ports::Store;
use flukedeploy_store::schema;
use sqlx::{AssertSqlSafe, Row};

use crate::support::*;

/// Tables with as many rows as there are apps, people or tokens; lists of those read them whole.
const SMALL: [&str; 19] = [
    "sealing",
    "apps",
    "environments",
    "e",
    "accounts",
    "tokens",
    // Few a year; read by hand.
    "invitations",
    "audit_head",
    "credentials",
    "leftover_volumes",
    "log_forwarders",
    "flukebase",
    "flukebase_bindings",
    // As many as there are projects; only ever removed whole.
    "flukebase_variables",
    "grants",
    "projects",
    "webhooks",
    "w",
    // A list inside of one row.
    "volume",
];

/// The plan of one query, a line a step.
async fn plan(db: &mut sqlx::SqliteConnection, sql: &str) -> Vec<String> {
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
    sqlx::raw_sql(explain)
        .fetch_all(db)
        .await
        .unwrap()
        .iter()
        .map(|step| step.get("detail"))
        .collect()
}

#[tokio::test]
async fn every_query_finds_its_rows_by_an_index() {
    let dir = Dir::new();
    schema::create_for_macros(&dir.path()).await.unwrap();
    let mut db = raw(&dir.path()).await;
    let offline = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.sqlx");
    let mut seen = 0;
    for file in std::fs::read_dir(offline).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let query: serde_json::Value = serde_json::from_str(&text).unwrap();
        let sql = query["query"].as_str().unwrap();
        let plan = plan(&mut db, sql).await;
        seen += 1;
        for step in &plan {
            // "SCAN table …" reads all of it; fine if the order is the table's own and a limit ends it.
            let scanned = step
                .strip_prefix("SCAN ")
                .and_then(|rest| rest.split(' ').next());
            let is_small = scanned.is_none_or(|table| {
                SMALL.contains(&table) || table == "CONSTANT" || table.starts_with('(')
            });
            let is_limited = sql.contains("LIMIT ?");
            assert!(is_small || is_limited, "{sql}\n{plan:#?}");
            assert!(!step.contains("TEMP B-TREE"), "{sql}\n{plan:#?}");
        }
    }
    assert!(seen > 50, "only {seen} queries in {offline}");
}

#[tokio::test]
async fn overviews_of_many_apps_take_one_index_step_for_each() {
    const APPS: u32 = 200;
    const EACH: u32 = 50;
    let (dir, store) = open().await;
    create_app(&store, "app-0", &[]).await;
    open_deployment(&store, "app-0", 0).await;
    let mut db = raw(&dir.path()).await;
    sqlx::raw_sql(
        "CREATE TEMP TABLE n AS
           WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)
           SELECT i FROM n;
         INSERT INTO apps (name, created_at) SELECT 'app-' || i, created_at FROM n, apps WHERE i BETWEEN 1 AND 199;
         INSERT INTO environments (app, name, settings, settings_version, created_at)
           SELECT 'app-' || i, name, json_set(settings, '$.env_vars', json('{}')), 1, created_at
           FROM n, environments
           WHERE i BETWEEN 1 AND 199;
         INSERT INTO deployments
           SELECT 2 + i, 'dep-' || i, 'app-' || (i % 200), environment, 'success', 1, 0,
             initiated_at, completed_at, version, reason, strategy, replicas, replicas_ready,
             health_status, validation_level, auto_rollback, initiated_by, release, from_release,
             source, initiated_as, '{\"name\":\"success\"}', phases, image,
             json_set(settings, '$.env_vars', json('{}')), wishes, progress, receipt, '{}', NULL,
             NULL
           FROM n, deployments",
    )
    .execute(&mut db)
    .await
    .unwrap();
    assert_eq!(
        store.completed_count().await.unwrap(),
        u64::from(APPS * EACH)
    );

    let overviews = store.app_overviews().await.unwrap();
    assert_eq!(overviews.len(), 200);
    for overview in &overviews {
        let number: u32 = overview.app.name.as_str()[4..].parse().unwrap();
        let newest = (EACH - 1) * APPS + number;
        let latest = overview.latest[0].as_ref().unwrap();
        assert_eq!(latest.id.as_str(), format!("dep-{newest}"));
    }

    let offline = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.sqlx");
    let sql = std::fs::read_dir(offline)
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .map(|text| serde_json::from_str::<serde_json::Value>(&text).unwrap())
        .find_map(|query| {
            let sql = query["query"].as_str().unwrap();
            let is_it = sql.contains("max(d.sequence)") && !sql.contains("e.app = ?");
            is_it.then(|| sql.to_owned())
        })
        .unwrap();
    let plan = plan(&mut db, &sql).await;
    assert!(
        plan.iter().any(|step| step
            == "SEARCH d USING COVERING INDEX deployments_by_environment (app=? AND environment=?)")
            && plan
                .iter()
                .any(|step| step == "SEARCH deployments USING INTEGER PRIMARY KEY (rowid=?)"),
        "{plan:#?}"
    );
}
