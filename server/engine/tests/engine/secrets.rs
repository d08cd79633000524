//! Secrets that tasks find as files.

use std::collections::BTreeMap;

use flukedeploy_platform::ports::{Engine, EngineError, SecretMount, Task};

use crate::support::Bed;

const SERVE: &str = "trap 'exit 0' TERM; while true; do sleep 1 & wait $!; done";
/// As many bytes as Swarm takes.
const MOST: usize = 500 * 1024 - 1;

fn secret(bed: &Bed, name: &str, value: &str) -> SecretMount {
    SecretMount {
        secret: format!("fd-{}-shop-production-s-{name}", bed.instance),
        file: format!("{name}.key"),
        uid: 1000,
        gid: 1001,
        value: value.to_owned(),
        labels: BTreeMap::from([("com.flukedeploy.variable".to_owned(), name.to_owned())]),
    }
}

async fn names(bed: &Bed) -> Vec<String> {
    let all = bed.docker.list_secrets(None).await.unwrap();
    let names = all.into_iter().filter_map(|secret| secret.spec?.name);
    let own = format!("fd-{}-", bed.instance);
    let mut names: Vec<String> = names.filter(|name| name.starts_with(&own)).collect();
    names.sort();
    names
}

fn has_ended(task: &Task) -> bool {
    !task.state.may_run()
}

#[tokio::test]
async fn a_secret_is_made_once_and_goes_when_no_service_uses_it() {
    let Some(bed) = Bed::new().await else { return };
    let engine = &bed.engine;
    let (one, two) = (secret(&bed, "one", "hunter2"), secret(&bed, "two", "x"));
    let large = secret(&bed, "large", &"x".repeat(MOST));
    let all = [one.clone(), two.clone(), large.clone()];
    engine.ensure_secrets(&all).await.unwrap();
    engine.ensure_secrets(&all).await.unwrap();
    let expected = [&large, &one, &two].map(|secret| secret.secret.clone());
    assert_eq!(names(&bed).await, expected);

    let image = bed.pinned("serve", SERVE).await;
    let mut spec = bed.service("shop", image);
    spec.secrets = vec![one.clone()];
    engine.ensure_service(&spec).await.unwrap();
    assert_eq!(engine.differences(&spec).await.unwrap(), Some(Vec::new()));
    let version = bed.version(&spec.name).await;
    engine.ensure_service(&spec).await.unwrap();
    assert_eq!(bed.version(&spec.name).await, version, "it was as wanted");
    let mut other = spec.clone();
    other.secrets[0].file = "other.key".to_owned();
    let found = engine.differences(&other).await.unwrap().unwrap();
    assert_eq!(found, ["secrets"]);

    let mut removed = engine.remove_unused_secrets().await.unwrap();
    removed.sort();
    assert_eq!(removed, [large.secret, two.secret]);
    assert_eq!(names(&bed).await, std::slice::from_ref(&one.secret));
    engine.remove_service(&spec.name).await.unwrap();
    let removed = engine.remove_unused_secrets().await.unwrap();
    assert_eq!(removed, [one.secret]);
    assert!(engine.remove_unused_secrets().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_job_finds_its_secret_and_nobody_else_may_read_it() {
    let Some(bed) = Bed::new().await else { return };
    let one = secret(&bed, "one", "hunter2");
    bed.engine
        .ensure_secrets(std::slice::from_ref(&one))
        .await
        .unwrap();
    let image = bed.pinned("job", SERVE).await;
    let script = "test \"$(cat /run/secrets/one.key)\" = hunter2 && \
         test \"$(busybox stat -c '%a %u %g' /run/secrets/one.key)\" = '400 1000 1001'";
    let mut job = crate::jobs::job(&bed, "job", image, script);
    job.secrets = vec![one];
    bed.engine.start_job(&job).await.unwrap();
    let task = bed.task(&job.name, has_ended).await;
    assert_eq!(task.exit_code, Some(0), "{task:?}");
}

#[tokio::test]
async fn what_is_not_there_or_not_ours_is_refused() {
    let Some(bed) = Bed::new().await else { return };
    let Some(other) = Bed::new().await else {
        return;
    };
    let theirs = secret(&other, "one", "hunter2");
    let mine = std::slice::from_ref(&theirs);
    other.engine.ensure_secrets(mine).await.unwrap();
    // Neither taken for one's own, nor removed.
    let error = bed.engine.ensure_secrets(mine).await.unwrap_err();
    assert!(
        error.to_string().contains("not of this instance"),
        "{error}"
    );
    assert!(bed.engine.remove_unused_secrets().await.unwrap().is_empty());
    assert_eq!(names(&other).await, std::slice::from_ref(&theirs.secret));

    let image = bed.pinned("serve", SERVE).await;
    let mut spec = bed.service("shop", image);
    spec.secrets = vec![theirs];
    let error = bed.engine.ensure_service(&spec).await.unwrap_err();
    assert!(
        matches!(
            error,
            EngineError::Refused { .. } | EngineError::NotFound { .. }
        ),
        "{error}"
    );
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let large = secret(&bed, "large", &"x".repeat(MOST + 1));
    let error = bed.engine.ensure_secrets(&[large]).await.unwrap_err();
    assert!(matches!(error, EngineError::Refused { .. }), "{error}");
}
