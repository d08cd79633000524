//! Commands that run once.

use std::collections::BTreeMap;
use std::time::Duration;

use flukedeploy_domain::app::{EnvVars, Resources};
use flukedeploy_domain::image::PinnedImage;
use flukedeploy_platform::ports::{Engine, JobSpec, ReadTo, Task, TaskState, VolumeMount};
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::support::{Bed, eventually};

const SERVE: &str = "trap 'exit 0' TERM; while true; do sleep 1 & wait $!; done";

pub(crate) fn job(bed: &Bed, name: &str, image: PinnedImage, script: &str) -> JobSpec {
    let name = format!("fd-{}-{name}-job-1", bed.instance);
    JobSpec {
        image,
        command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        env: EnvVars(BTreeMap::from([(
            "GREETING".to_owned(),
            "hello there".to_owned(),
        )])),
        labels: BTreeMap::from([("com.flukedeploy.job".to_owned(), name.clone())]),
        name,
        resources: Resources::default(),
        placement: Vec::new(),
        mounts: Vec::new(),
        secrets: Vec::new(),
    }
}

fn has_ended(task: &Task) -> bool {
    !task.state.may_run()
}

#[tokio::test]
async fn a_job_ends_once_and_is_no_release() {
    let Some(bed) = Bed::new().await else { return };
    let image = bed.pinned("job", SERVE).await;
    let well = job(&bed, "well", image.clone(), "echo $GREETING");
    let ill = job(&bed, "ill", image, "echo one; echo two >&2; exit 3");
    bed.engine.start_job(&well).await.unwrap();
    bed.engine.start_job(&ill).await.unwrap();

    let task = bed.task(&well.name, has_ended).await;
    assert_eq!(
        (task.state, task.exit_code),
        (TaskState::Completed, Some(0)),
        "{task:?}"
    );
    let task = bed.task(&ill.name, has_ended).await;
    assert_eq!(
        (task.state, task.exit_code),
        (TaskState::Failed, Some(3)),
        "{task:?}"
    );
    let failure = bed.engine.examine(&task).await.unwrap();
    assert_eq!(failure.last_lines.len(), 2, "{failure:?}");

    let mut logs = bed.engine.follow_logs(&ill.name, &ReadTo::default());
    let mut lines = Vec::new();
    while lines.len() < 2 {
        let batch = timeout(Duration::from_secs(10), logs.next()).await.unwrap();
        lines.extend(batch.unwrap().unwrap().lines);
    }
    lines.sort_by_key(|line| line.stderr);
    assert_eq!((lines[0].text.as_str(), lines[0].stderr), ("one", false));
    assert_eq!((lines[1].text.as_str(), lines[1].stderr), ("two", true));

    // Again is once.
    let version = bed.version(&ill.name).await;
    bed.engine.start_job(&ill).await.unwrap();
    assert_eq!(bed.version(&ill.name).await, version);
    assert_eq!(bed.engine.tasks(&ill.name).await.unwrap().len(), 1);

    assert!(bed.engine.services().await.unwrap().is_empty());
    assert!(bed.engine.all_tasks().await.unwrap().is_empty());
    let jobs = bed.engine.jobs().await.unwrap();
    let mut names: Vec<_> = jobs.iter().map(|job| job.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, [ill.name.as_str(), well.name.as_str()]);
    assert!(
        jobs.iter()
            .all(|job| job.labels["com.flukedeploy.job"] == job.name)
    );

    bed.engine.remove_service(&ill.name).await.unwrap();
    let over = timeout(Duration::from_secs(10), logs.next()).await.unwrap();
    assert!(over.is_none(), "{over:?}");
}

#[tokio::test]
async fn a_job_that_never_ends_is_removed() {
    let Some(bed) = Bed::new().await else { return };
    let image = bed.pinned("job", SERVE).await;
    let endless = job(&bed, "endless", image.clone(), SERVE);
    bed.engine.start_job(&endless).await.unwrap();
    bed.task(&endless.name, |task| task.state == TaskState::Running)
        .await;
    bed.engine.remove_service(&endless.name).await.unwrap();
    eventually("the job's end", || async {
        let tasks = bed.engine.tasks(&endless.name).await.unwrap();
        tasks.iter().all(has_ended).then_some(())
    })
    .await;
    assert!(bed.engine.jobs().await.unwrap().is_empty());

    let other = job(&bed, "other", image, SERVE);
    bed.engine.start_job(&other).await.unwrap();
    bed.task(&other.name, |task| task.state == TaskState::Running)
        .await;
    bed.engine.stop_all().await.unwrap();
    assert!(bed.engine.jobs().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_job_without_its_image_is_rejected() {
    let Some(bed) = Bed::new().await else { return };
    let image = PinnedImage {
        pinned: format!("sha256:{}", "ab".repeat(32)),
        ..bed.pinned("job", SERVE).await
    };
    let missing = job(&bed, "missing", image, "exit 0");
    bed.engine.start_job(&missing).await.unwrap();
    let task = bed.task(&missing.name, has_ended).await;
    assert_eq!(task.state, TaskState::Rejected, "{task:?}");
    assert!(
        task.message
            .as_deref()
            .is_some_and(|words| words.contains("No such image")),
        "{task:?}"
    );
}

#[tokio::test]
async fn volumes_go_when_nobody_uses_them() {
    let Some(bed) = Bed::new().await else { return };
    let image = bed.pinned("job", SERVE).await;
    let volume = format!("fd-{}-shop-production-data", bed.instance);
    let mut user = job(&bed, "user", image, SERVE);
    user.mounts = vec![VolumeMount {
        volume: volume.clone(),
        path: "/data".to_owned(),
    }];
    bed.engine.start_job(&user).await.unwrap();
    bed.task(&user.name, |task| task.state == TaskState::Running)
        .await;
    let exists = || async { bed.docker.inspect_volume(&volume).await.is_ok() };
    let names = [volume.clone(), "fd-never-was".to_owned()];
    bed.engine.remove_volumes(&names).await.unwrap();
    assert!(exists().await, "it is in use");
    bed.engine.remove_service(&user.name).await.unwrap();
    eventually("the volume's end", || async {
        bed.engine.remove_volumes(&names).await.unwrap();
        (!exists().await).then_some(())
    })
    .await;

    let foreign = format!("other-{volume}");
    let options = bollard::models::VolumeCreateRequest {
        name: Some(foreign.clone()),
        ..Default::default()
    };
    bed.docker.create_volume(options).await.unwrap();
    bed.engine
        .remove_volumes(std::slice::from_ref(&foreign))
        .await
        .unwrap();
    assert!(
        bed.docker.inspect_volume(&foreign).await.is_ok(),
        "not ours"
    );
    let options = None::<bollard::query_parameters::RemoveVolumeOptions>;
    bed.docker.remove_volume(&foreign, options).await.unwrap();
}
