//! The adapter against the real engine.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bollard::models::{ServiceSpec as DockerService, TaskSpec, TaskSpecContainerSpec};
use bollard::query_parameters::{InspectServiceOptions, UpdateServiceOptionsBuilder};
use flukedeploy_domain::image::PinnedImage;
use flukedeploy_platform::ports::{
    Engine, EngineError, EngineEvent, LineSpan, RawLines, ReadTo, ResolveError, Task, TaskState,
};
use futures_util::StreamExt;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};

use crate::support::{Bed, SOON, eventually};

const SERVE: &str = "trap 'exit 0' TERM; while true; do sleep 1 & wait $!; done";

fn running(task: &Task) -> bool {
    task.state == TaskState::Running
}

#[tokio::test]
async fn preparing_twice_gives_the_same() {
    let Some(bed) = Bed::new().await else { return };
    let first = bed.engine.prepare().await.unwrap();
    assert_eq!(bed.engine.prepare().await.unwrap(), first);
    assert!(first.host_address.is_ipv4());
    let info = bed.engine.info().await.unwrap();
    assert!(
        info.swarm_active && info.is_manager && info.nodes >= 1,
        "{info:?}"
    );
    assert!(info.node_id.is_some() && !info.version.is_empty() && !info.node_name.is_empty());
    assert!(info.api_version.starts_with("1."));
}

#[tokio::test]
async fn a_service_lives_and_dies() {
    let Some(bed) = Bed::new().await else { return };
    let image = bed.pinned("web", SERVE).await;
    let spec = bed.service("web", image);
    bed.engine.ensure_service(&spec).await.unwrap();
    let task = bed.task(&spec.name, running).await;
    assert!(
        task.wanted && task.address.is_some() && task.container_id.is_some(),
        "{task:?}"
    );
    assert_eq!(
        (task.service.as_str(), task.slot, task.exit_code),
        (spec.name.as_str(), 1, None)
    );
    assert_eq!(task.node_id, bed.engine.info().await.unwrap().node_id);
    assert!(bed.engine.all_tasks().await.unwrap().contains(&task));

    let version = bed.version(&spec.name).await;
    bed.engine.ensure_service(&spec).await.unwrap();
    assert_eq!(
        bed.version(&spec.name).await,
        version,
        "the same again changes nothing"
    );

    bed.engine.scale_service(&spec.name, 2).await.unwrap();
    bed.task(&spec.name, |task| running(task) && task.slot == 2)
        .await;
    let services = bed.engine.services().await.unwrap();
    assert_eq!(services.len(), 1);
    assert_eq!(
        (services[0].wanted_replicas, services[0].name.as_str()),
        (2, spec.name.as_str())
    );
    assert_eq!(services[0].labels["com.flukedeploy.app"], "web");
    assert_eq!(services[0].labels["com.flukedeploy.instance"], bed.instance);
    let still = bed.task(&spec.name, |found| found.id == task.id).await;
    assert!(running(&still), "scaling leaves what runs alone: {still:?}");

    bed.engine.remove_service(&spec.name).await.unwrap();
    bed.engine.remove_service(&spec.name).await.unwrap();
    // Tasks that still run are told of, though their service is gone.
    eventually("tasks that nobody wants", || async {
        let tasks = bed.engine.tasks(&spec.name).await.unwrap();
        tasks.iter().all(|task| !task.wanted).then_some(())
    })
    .await;
    eventually("the end of all tasks", || async {
        let tasks = bed.engine.tasks(&spec.name).await.unwrap();
        tasks.iter().all(|task| !running(task)).then_some(())
    })
    .await;
    assert!(bed.engine.services().await.unwrap().is_empty());
    let absent = bed.engine.scale_service(&spec.name, 3).await;
    assert!(
        matches!(absent, Err(EngineError::NotFound { .. })),
        "{absent:?}"
    );
}

#[tokio::test]
async fn a_changed_wish_changes_the_service() {
    let Some(bed) = Bed::new().await else { return };
    let image = bed.pinned("web", SERVE).await;
    let mut spec = bed.service("web", image);
    bed.engine.ensure_service(&spec).await.unwrap();
    let version = bed.version(&spec.name).await;
    spec.env.0.insert("MORE".to_owned(), "1".to_owned());
    bed.engine.ensure_service(&spec).await.unwrap();
    assert!(bed.version(&spec.name).await > version);
    let found = bed
        .docker
        .inspect_service(&spec.name, None::<InspectServiceOptions>)
        .await
        .unwrap();
    let env = found
        .spec
        .unwrap()
        .task_template
        .unwrap()
        .container_spec
        .unwrap()
        .env
        .unwrap();
    assert_eq!(env, ["GREETING=hello there", "MORE=1"]);
}

#[tokio::test]
async fn two_at_once_make_one_service() {
    let Some(bed) = Bed::new().await else { return };
    let image = bed.pinned("web", SERVE).await;
    let spec = bed.service("web", image);
    let (one, other) = tokio::join!(
        bed.engine.ensure_service(&spec),
        bed.engine.ensure_service(&spec)
    );
    one.unwrap();
    other.unwrap();
    assert_eq!(bed.engine.services().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_belongs_to_others_is_not_touched() {
    let Some(bed) = Bed::new().await else { return };
    let image = bed.pinned("web", SERVE).await;
    let spec = bed.service("web", image.clone());
    let foreign = DockerService {
        name: Some(spec.name.clone()),
        task_template: Some(TaskSpec {
            container_spec: Some(TaskSpecContainerSpec {
                image: Some(image.pinned),
                ..TaskSpecContainerSpec::default()
            }),
            ..TaskSpec::default()
        }),
        ..DockerService::default()
    };
    bed.docker.create_service(foreign, None).await.unwrap();
    let results = [
        bed.engine.ensure_service(&spec).await,
        bed.engine.scale_service(&spec.name, 2).await,
        bed.engine.remove_service(&spec.name).await,
    ];
    let still_there = bed.docker.delete_service(&spec.name).await;
    for result in results {
        assert!(
            matches!(result, Err(EngineError::Refused { .. })),
            "{result:?}"
        );
    }
    still_there.unwrap();
}

#[tokio::test]
async fn an_image_that_is_not_there_is_rejected() {
    let Some(bed) = Bed::new().await else { return };
    let image = PinnedImage {
        requested: "ghost:v1".parse().unwrap(),
        pinned: format!("sha256:{}", "0123".repeat(16)),
        local_only: true,
        architecture: None,
        exposed_ports: Vec::new(),
        has_healthcheck: false,
        user: String::new(),
    };
    assert!(!bed.engine.image_available(&image).await.unwrap());
    let spec = bed.service("ghost", image);
    bed.engine.ensure_service(&spec).await.unwrap();
    let task = bed
        .task(&spec.name, |task| task.state == TaskState::Rejected)
        .await;
    assert!(
        task.message
            .as_deref()
            .is_some_and(|words| words.contains("No such image")),
        "{task:?}"
    );
    assert_eq!((task.exit_code, task.address), (None, task.address));
}

#[tokio::test]
async fn a_crash_can_be_examined() {
    let Some(bed) = Bed::new().await else { return };
    let image = bed
        .pinned(
            "crash",
            "for i in $(seq 30); do echo line $i; done; sleep 1; echo bye >&2; exit 3",
        )
        .await;
    let spec = bed.service("crash", image);
    bed.engine.ensure_service(&spec).await.unwrap();
    let task = bed
        .task(&spec.name, |task| task.state == TaskState::Failed)
        .await;
    assert_eq!(task.exit_code, Some(3));
    assert_eq!(task.message.as_deref(), Some("task: non-zero exit (3)"));
    let failure = bed.engine.examine(&task).await.unwrap();
    assert_eq!((failure.exit_code, failure.oom_killed), (Some(3), false));
    assert_eq!(failure.last_lines.len(), 20, "{failure:?}");
    assert!(failure.last_lines.contains(&"line 30".to_owned()));
    assert!(failure.last_lines.contains(&"bye".to_owned()));
    assert!(failure.listening_ports.is_empty());
}

#[tokio::test]
async fn listening_ports_are_found_but_not_those_on_loopback() {
    let Some(bed) = Bed::new().await else { return };
    let script = "httpd -f -p 8085 & httpd -f -p 127.0.0.1:8086 & while true; do sleep 1; done";
    let image = bed.pinned("listen", script).await;
    let spec = bed.service("listen", image);
    bed.engine.ensure_service(&spec).await.unwrap();
    let task = bed.task(&spec.name, running).await;
    let failure = eventually("a listening port", || async {
        let failure = bed.engine.examine(&task).await.unwrap();
        (!failure.listening_ports.is_empty()).then_some(failure)
    })
    .await;
    assert_eq!(failure.listening_ports, [8085]);
    assert_eq!(failure.exit_code, None);
}

#[tokio::test]
async fn a_local_image_is_pinned_by_its_id_and_fast() {
    let Some(bed) = Bed::new().await else { return };
    let image = bed
        .image(
            "local",
            SERVE,
            &[
                "EXPOSE 8080",
                "USER 1000",
                r#"HEALTHCHECK CMD ["/bin/true"]"#,
            ],
        )
        .await;
    let started_at = Instant::now();
    let resolved = bed.engine.resolve_image(&image, &|_| {}).await.unwrap();
    let took = started_at.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(resolved.notes.is_empty(), "{resolved:?}");
    let pinned = resolved.image;
    assert!(
        pinned.local_only && pinned.pinned.starts_with("sha256:"),
        "{pinned:?}"
    );
    assert_eq!(pinned.exposed_ports, [8080]);
    assert!(pinned.has_healthcheck);
    assert_eq!(pinned.user, "1000");
    assert!(bed.engine.image_available(&pinned).await.unwrap());
    let by_id = bed
        .engine
        .resolve_image(&pinned.pinned.parse().unwrap(), &|_| {})
        .await
        .unwrap();
    assert_eq!(by_id.image.pinned, pinned.pinned);
    let unknown = format!("sha256:{}", "45".repeat(32)).parse().unwrap();
    let unknown = bed.engine.resolve_image(&unknown, &|_| {}).await;
    assert!(
        matches!(unknown, Err(ResolveError::NotFound { .. })),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn the_sample_image_is_made_once() {
    let Some(bed) = Bed::new().await else { return };
    let image = bed.engine.ensure_sample_image().await.unwrap();
    assert_eq!(bed.engine.ensure_sample_image().await.unwrap(), image);
    assert_eq!(image.repository(), format!("fd-{}/sample", bed.instance));
    let resolved = bed.engine.resolve_image(&image, &|_| {}).await.unwrap();
    assert!(resolved.image.local_only, "{resolved:?}");
    assert_eq!(resolved.image.exposed_ports, [8080]);
    assert_eq!(resolved.image.user, "65534:65534");
    let found = bed.docker.inspect_image(image.as_str()).await.unwrap();
    let entrypoint = found.config.unwrap().entrypoint.unwrap();
    assert_eq!(entrypoint, ["/flukedeploy", "sample-app"]);
}

#[tokio::test]
async fn events_arrive() {
    let Some(bed) = Bed::new().await else { return };
    let image = bed.pinned("web", SERVE).await;
    let spec = bed.service("web", image);
    let mut events = bed.engine.watch();
    let name = spec.name.clone();
    let watching = tokio::spawn(async move {
        let (mut service, mut task) = (false, false);
        while !(service && task) {
            match events.next().await.unwrap() {
                EngineEvent::Service { service: found } => service |= found == name,
                EngineEvent::Task { service: found, .. } => task |= found == name,
                EngineEvent::Missed => {}
            }
        }
    });
    // The stream is opened when first polled; what comes before that is not seen.
    tokio::time::sleep(Duration::from_millis(500)).await;
    bed.engine.ensure_service(&spec).await.unwrap();
    timeout(SOON, watching)
        .await
        .expect("both events within the time")
        .unwrap();
}

/// One line and where it is from.
#[derive(Debug, Clone)]
struct Line {
    task_id: String,
    node_id: String,
    at: OffsetDateTime,
    stderr: bool,
    text: String,
    span: Option<LineSpan>,
}

async fn lines(
    stream: &mut (impl futures_util::Stream<Item = Result<RawLines, EngineError>> + Unpin),
    enough: impl Fn(&[Line]) -> bool,
) -> Vec<Line> {
    let mut lines = Vec::new();
    let reading = async {
        while !enough(&lines) {
            let batch = stream.next().await.expect("the stream goes on").unwrap();
            let (task_id, node_id) = (batch.task_id.unwrap(), batch.node_id.unwrap());
            assert!(!batch.lines.is_empty());
            lines.extend(batch.lines.into_iter().map(|line| Line {
                task_id: task_id.clone(),
                node_id: node_id.clone(),
                at: line.at,
                stderr: line.stderr,
                text: line.text,
                span: line.span,
            }));
        }
    };
    let in_time = timeout(SOON, reading).await.is_ok();
    let newest: Vec<&str> = lines
        .iter()
        .rev()
        .take(5)
        .map(|line| line.text.as_str())
        .collect();
    assert!(
        in_time,
        "not all lines came, but {}; the newest: {newest:?}",
        lines.len()
    );
    lines
}

#[tokio::test]
async fn logs_are_followed_from_all_replicas_and_resumed() {
    let Some(bed) = Bed::new().await else { return };
    let script = "echo $GREETING; echo oops >&2; head -c 40000 /dev/zero | tr '\\0' x; echo; \
                  printf '\\377\\n'; i=0; while true; do i=$((i+1)); echo tick $i; sleep 1; done";
    let image = bed.pinned("talk", script).await;
    let mut spec = bed.service("talk", image);
    bed.engine.ensure_service(&spec).await.unwrap();
    let mut stream = bed.engine.follow_logs(&spec.name, &ReadTo::default());
    let has = |lines: &[Line], text: &str| lines.iter().any(|line| line.text == text);
    let first = lines(&mut stream, |lines| {
        has(lines, "tick 2") && has(lines, "oops")
    })
    .await;
    assert!(has(&first, "hello there"), "{first:?}");
    assert!(has(&first, "\u{fffd}"));
    assert!(
        first
            .iter()
            .any(|line| line.text.len() == 40_000 && line.text.bytes().all(|byte| byte == b'x'))
    );
    for line in &first {
        assert_eq!(line.stderr, line.text == "oops");
        assert!(!line.node_id.is_empty(), "{line:?}");
    }

    spec.replicas = 2;
    bed.engine.scale_service(&spec.name, 2).await.unwrap();
    let task_id = first[0].task_id.clone();
    lines(&mut stream, |lines| {
        lines.iter().any(|line| line.task_id != task_id)
    })
    .await;

    let since = first.iter().map(|line| line.at).max().unwrap();
    // Each replica goes on where it was read to; of the other one nothing was.
    let mut read = ReadTo::default();
    for stderr in [false, true] {
        read.insert(task_id.clone(), stderr, since);
    }
    let mut resumed = bed.engine.follow_logs(&spec.name, &read);
    let next = lines(&mut resumed, |lines| {
        let of_others = |line: &Line| line.task_id != task_id && line.text == "oops";
        lines.len() >= 2 && lines.iter().any(of_others)
    })
    .await;
    let own: Vec<&Line> = next.iter().filter(|line| line.task_id == task_id).collect();
    assert!(
        own.iter()
            .all(|line| line.text.starts_with("tick") && line.at > since),
        "{own:?}"
    );

    bed.engine.remove_service(&spec.name).await.unwrap();
    let mut late = bed.engine.follow_logs(&spec.name, &ReadTo::default());
    for stream in [&mut stream, &mut late] {
        let ending = async {
            while let Some(line) = stream.next().await {
                line.unwrap();
            }
        };
        let ended = timeout(SOON, ending).await;
        ended.expect("the stream ends when the service is gone");
    }
}

#[tokio::test]
async fn no_line_of_many_is_lost_or_told_twice() {
    const REPLICAS: usize = 3;
    const LINES: usize = 20_000;
    let Some(bed) = Bed::new().await else { return };
    let image = bed
        .pinned(
            "flood",
            &format!("seq {LINES}; while true; do sleep 1; done"),
        )
        .await;
    let mut spec = bed.service("flood", image);
    spec.replicas = u32::try_from(REPLICAS).unwrap();
    bed.engine.ensure_service(&spec).await.unwrap();
    let mut stream = bed.engine.follow_logs(&spec.name, &ReadTo::default());
    let all = lines(&mut stream, |lines| lines.len() >= REPLICAS * LINES).await;
    let mut last: HashMap<String, usize> = HashMap::new();
    for line in all {
        let count = last.entry(line.task_id).or_default();
        *count += 1;
        assert_eq!(line.text, count.to_string());
    }
    assert_eq!(last.len(), REPLICAS);
}

#[tokio::test]
async fn logs_are_bounded_and_lose_nothing_when_they_are_rotated() {
    const LINES: usize = 30_000;
    let Some(bed) = Bed::new().await else { return };
    let script = format!("seq {LINES}; while true; do sleep 1; done");
    let mut spec = bed.service("rotate", bed.pinned("rotate", &script).await);
    spec.replicas = 0;
    bed.engine.ensure_service(&spec).await.unwrap();
    let found = bed
        .docker
        .inspect_service(&spec.name, None::<InspectServiceOptions>)
        .await
        .unwrap();
    let mut changed = found.spec.unwrap();
    let task = changed.task_template.as_mut().unwrap();
    let driver = task.log_driver.as_mut().expect("logs are bounded");
    assert_eq!(driver.name.as_deref(), Some("json-file"));
    let options = driver.options.as_mut().unwrap();
    assert_eq!(options["max-size"], "50m");
    // Some thirty files.
    options.insert("max-size".to_owned(), "64k".to_owned());
    options.insert("max-file".to_owned(), "100".to_owned());
    let version = i32::try_from(found.version.unwrap().index.unwrap()).unwrap();
    let update = UpdateServiceOptionsBuilder::default()
        .version(version)
        .build();
    bed.docker
        .update_service(&spec.name, changed, update, None)
        .await
        .unwrap();
    let differences = bed.engine.differences(&spec).await.unwrap();
    assert_eq!(differences, Some(Vec::new()), "no reason to replace tasks");
    bed.engine.scale_service(&spec.name, 1).await.unwrap();

    let mut stream = bed.engine.follow_logs(&spec.name, &ReadTo::default());
    let all = lines(&mut stream, |lines| lines.len() >= LINES).await;
    for (line, number) in all.iter().zip(1..) {
        assert_eq!(line.text, number.to_string());
    }
    if let Some(span) = all[12_344].span {
        // It goes on at that very line, in a file that was renamed since.
        let files: HashSet<i64> = all.iter().map(|line| line.span.unwrap().end.file).collect();
        assert!(files.len() > 10, "{files:?}");
        let mut read = ReadTo::default();
        for stderr in [false, true] {
            read.insert_place(all[0].task_id.as_str(), stderr, span.end);
        }
        let mut resumed = bed.engine.follow_logs(&spec.name, &read);
        let rest = lines(&mut resumed, |lines| lines.len() >= LINES - 12_345).await;
        assert_eq!(rest[0].text, "12346");
    } else {
        eprintln!("the engine's files cannot be read here: places in them are not tested");
    }
}

#[tokio::test]
async fn a_silent_service_is_followed_too() {
    let Some(bed) = Bed::new().await else { return };
    let image = bed.pinned("silent", SERVE).await;
    let spec = bed.service("silent", image);
    bed.engine.ensure_service(&spec).await.unwrap();
    let mut stream = bed.engine.follow_logs(&spec.name, &ReadTo::default());
    let early = timeout(Duration::from_secs(13), stream.next()).await;
    assert!(
        early.is_err(),
        "nothing was said, and that is no failure: {early:?}"
    );
}

#[tokio::test]
async fn stopping_keeps_the_services_and_purging_removes_all() {
    let Some(bed) = Bed::new().await else { return };
    let image = bed.pinned("web", SERVE).await;
    let spec = bed.service("web", image.clone());
    bed.engine.ensure_service(&spec).await.unwrap();
    bed.task(&spec.name, running).await;
    bed.engine.stop_all().await.unwrap();
    assert_eq!(bed.engine.services().await.unwrap()[0].wanted_replicas, 0);
    assert!(
        bed.engine
            .all_tasks()
            .await
            .unwrap()
            .iter()
            .all(|task| !running(task))
    );
    bed.engine.ensure_service(&spec).await.unwrap();
    bed.task(&spec.name, |task| running(task) && task.wanted)
        .await;
    bed.engine.purge().await.unwrap();
    assert!(bed.engine.services().await.unwrap().is_empty());
    assert!(!bed.engine.image_available(&image).await.unwrap());
    let network = format!("fd-{}-net", bed.instance);
    assert!(bed.docker.inspect_network(&network, None).await.is_err());
    bed.engine.purge().await.unwrap();
    // An engine that still knows the old network must notice that it is gone.
    let image = bed.pinned("web", SERVE).await;
    bed.engine
        .ensure_service(&bed.service("web", image))
        .await
        .unwrap();
    bed.task(&spec.name, running).await;
}
