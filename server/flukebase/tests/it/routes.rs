//! One story for each route.

use flukedeploy_domain::flukebase::{
    Capability, Lesson, LessonKind, PlannedRoute, RemoteEnvironment, TaskNews, TaskStatus,
    TaskUpdate,
};
use flukedeploy_platform::ports::{AgentCard, Flukebase as _, FlukebaseError};
use serde_json::json;

use crate::stand_in::{Mood, SECRET_VALUE, StandIn, TOKEN};
use crate::{access, access_with, client, foreign, project};

fn news(status: TaskStatus) -> TaskNews {
    TaskNews {
        deployment: "dep-1770200000000-9f3c1a7e".parse().unwrap(),
        app: "shop".parse().unwrap(),
        environment: "production".parse().unwrap(),
        version: Some("v2".to_owned()),
        image: Some("shop@sha256:1".to_owned()),
        status,
        note: None,
    }
}

const TASK: &str = "DEPLOY-dep-1770200000000-9f3c1a7e";
const PAGE: &str = "https://deploy.example/deployments/dep-1770200000000-9f3c1a7e";

#[tokio::test]
async fn a_token_is_checked_and_sent_in_a_header_alone() {
    let there = StandIn::start(0).await;
    let facts = client().validate(&access(&there)).await.unwrap();
    assert_eq!(
        (facts.prefix.as_str(), facts.name.as_str()),
        ("fbk_0123", "deploys")
    );
    assert!(facts.scopes.contains("*"));
    let asked = &there.asked()[0];
    assert_eq!(asked.what, "GET /auth/validate");
    assert_eq!(asked.headers["authorization"], format!("Bearer {TOKEN}"));
    assert_eq!(asked.headers["accept"], "application/json");
    let wrong = access_with(&there, "fbk_wrong");
    assert_eq!(
        client().validate(&wrong).await,
        Err(FlukebaseError::TokenRefused)
    );
}

#[tokio::test]
async fn projects_are_found_by_number_and_by_repository() {
    let there = StandIn::start(0).await;
    let (client, access) = (client(), access(&there));
    let found = client.project(&access, project()).await.unwrap();
    assert_eq!(found.name, "Shop");
    let gone = client.project(&access, foreign()).await;
    assert_eq!(gone, Err(FlukebaseError::NotFound));
    let found = client.find_project(&access, "acme/shop").await.unwrap();
    assert_eq!(found.unwrap().id, project());
    assert_eq!(
        client.find_project(&access, "acme/other?a=b").await,
        Ok(None)
    );
}

#[tokio::test]
async fn a_task_is_made_wrapped_and_changed_under_its_version() {
    let there = StandIn::start(0).await;
    let (client, access) = (client(), access(&there));
    assert_eq!(client.task(&access, project(), TASK).await, Ok(None));
    let news = news(TaskStatus::Pending);
    let made = client
        .create_task(&access, project(), &news, PAGE)
        .await
        .unwrap();
    assert_eq!((made.version, made.status), (0, Some(TaskStatus::Pending)));
    let stored = there.task(TASK).unwrap();
    assert_eq!(stored["description"], "Deploy shop v2");
    assert_eq!(stored["scope"], "flukebase-ecosystem");
    assert_eq!(stored["external_id"], "dep-1770200000000-9f3c1a7e");
    assert_eq!(stored["tags"], json!(["deployment", "flukedeploy", "shop"]));
    assert_eq!(
        (&stored["remote_url"], &stored["artifact_path"]),
        (&json!(PAGE), &json!("shop@sha256:1"))
    );

    let twice = client.create_task(&access, project(), &news, PAGE).await;
    assert!(
        matches!(twice, Err(FlukebaseError::Refused { status: 422, .. })),
        "{twice:?}"
    );

    let update = TaskUpdate {
        status: Some(TaskStatus::InProgress),
        note: Some("it began".to_owned()),
        ..TaskUpdate::default()
    };
    let changed = client
        .update_task(&access, project(), TASK, &update)
        .await
        .unwrap();
    assert_eq!(changed.version, 1);
    assert!(changed.report.contains("[flukedeploy]: it began"));
    client
        .update_task(&access, project(), TASK, &update)
        .await
        .unwrap();

    let stale = TaskUpdate {
        version: 1,
        ..update
    };
    let conflict = client.update_task(&access, project(), TASK, &stale).await;
    let Err(FlukebaseError::Conflict(server)) = conflict else {
        panic!("{conflict:?}")
    };
    assert_eq!(server.version, 2);
}

#[tokio::test]
async fn a_foreign_project_is_forbidden_for_tasks_and_absent_for_variables() {
    let there = StandIn::start(0).await;
    let (client, access) = (client(), access(&there));
    let task = client.task(&access, foreign(), TASK).await;
    assert!(matches!(&task, Err(FlukebaseError::Forbidden { why }) if why == "Access denied"));
    let production = RemoteEnvironment::Production;
    let variables = client.variables(&access, foreign(), production).await;
    assert_eq!(variables, Err(FlukebaseError::NotFound));
}

#[tokio::test]
async fn a_missing_scope_is_named() {
    let there = StandIn::start(0).await;
    there.inside().scopes = ["read:projects", "read:tasks"].map(str::to_owned).into();
    let (client, access) = (client(), access(&there));
    let news = news(TaskStatus::Pending);
    let refused = client.create_task(&access, project(), &news, PAGE).await;
    let Err(FlukebaseError::Forbidden { why }) = refused else {
        panic!("{refused:?}")
    };
    assert!(why.contains("write:tasks"), "{why}");
}

#[tokio::test]
async fn variables_come_with_their_marks_and_a_sync_is_recorded() {
    let there = StandIn::start(0).await;
    there.inside().variables = vec![
        ("API_KEY".into(), Some(SECRET_VALUE.into()), true),
        ("MODE".into(), Some("fast".into()), false),
        ("NEEDED".into(), None, false),
    ];
    let (client, access) = (client(), access(&there));
    let production = RemoteEnvironment::Production;
    let found = client
        .variables(&access, project(), production)
        .await
        .unwrap();
    assert_eq!(found.len(), 3);
    assert!(found[0].is_secret && !found[1].is_secret && found[2].is_required);
    assert!(!format!("{found:?}").contains(SECRET_VALUE));
    let staging = RemoteEnvironment::Staging;
    assert_eq!(
        client.variables(&access, project(), staging).await,
        Ok(Vec::new())
    );
    client
        .note_sync(&access, project(), production)
        .await
        .unwrap();
    assert_eq!(there.inside().syncs, ["production"]);
}

#[tokio::test]
async fn lessons_are_remembered() {
    let there = StandIn::start(0).await;
    let lesson = Lesson {
        memory_type: LessonKind::Gotcha,
        deployment: "dep-1".parse().unwrap(),
        app: "shop".parse().unwrap(),
        key: "flukedeploy:shop:production:never_listens".to_owned(),
        content: "It never listens on 80.".to_owned(),
    };
    client()
        .remember(&access(&there), project(), &lesson)
        .await
        .unwrap();
    let memory = there.inside().memories[0].clone();
    assert_eq!(memory["memory_type"], "gotcha");
    assert_eq!(
        (&memory["external_id"], &memory["tags"][2]),
        (&json!("dep-1"), &json!("shop"))
    );
}

#[tokio::test]
async fn an_agent_registers_and_its_heart_beats() {
    let there = StandIn::start(0).await;
    let (client, access) = (client(), access(&there));
    let card = AgentCard {
        agent_id: "flukedeploy-main".to_owned(),
        version: "0.0.0".to_owned(),
    };
    let id = client
        .register_agent(&access, project(), &card)
        .await
        .unwrap();
    client.heart_beat(&access, project(), &id).await.unwrap();
    assert_eq!(there.inside().agents["flukedeploy-main"], 1);
    let body = &there.asked()[1].body;
    assert!(body.get("metadata").is_none());
    let unknown = client.heart_beat(&access, project(), "32").await;
    assert_eq!(unknown, Err(FlukebaseError::NotFound));
}

#[tokio::test]
async fn planned_routes_are_found_out_with_an_empty_object() {
    let there = StandIn::start(0).await;
    let (client, access) = (client(), access(&there));
    for route in PlannedRoute::ALL {
        let found = client.probe(&access, route).await.unwrap();
        assert_eq!(found, Capability::Absent, "{route:?}");
    }
    assert!(there.asked().iter().all(|asked| asked.body == json!({})));
    there.inside().has_planned = true;
    let found = client
        .probe(&access, PlannedRoute::Deployments)
        .await
        .unwrap();
    assert_eq!(found, Capability::Present);
    let summary = json!({"deployment_id": "dep-1"});
    client.tell_end(&access, &summary).await.unwrap();
    assert_eq!(there.inside().ends, [summary]);
    // A session-protected page of errors, and a 401 where the token is good.
    there.will("/deployments", Mood::Redirects("/users/sign_in".into()), 1);
    there.will("/deployments", Mood::Says(401), 1);
    for _ in 0..2 {
        let found = client
            .probe(&access, PlannedRoute::Deployments)
            .await
            .unwrap();
        assert_eq!(found, Capability::Absent);
    }
    there.will("/deployments", Mood::Busy(3), 1);
    assert!(
        client
            .probe(&access, PlannedRoute::Deployments)
            .await
            .is_err()
    );
}
