//! Images that are built, and what is found in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use flukedeploy_domain::app::EnvVars;
use flukedeploy_domain::credential::{Credential, CredentialKind};
use flukedeploy_domain::image::PinnedImage;
use flukedeploy_engine::SwarmEngine;
use flukedeploy_platform::ports::{
    BuildError, BuildLine, BuildSpec, Builder, Built, Engine, TaskState,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::registry::{PASSWORD, Registry};
use crate::support::{Bed, busybox_program, config, eventually, random_name};

/// What every build begins with. The name makes it one of its own: another one's steps are not
/// taken from the cache.
const START: &str =
    "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\nCOPY name /name\n";
/// The same for all builds here, since `BuildKit`'s builds share theirs.
const MEMORY_MB: u32 = 512;

/// A context in a file, which goes with it.
struct Context(PathBuf);

impl Context {
    fn new(bed: &Bed, dockerfile: &str, files: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("flukedeploy-context-{}", random_name()));
        let mut archive = tar::Builder::new(std::fs::File::create(&path).unwrap());
        let mut add = |name: &str, mode: u32, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_mode(mode);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, name, content).unwrap();
        };
        add("busybox", 0o755, &std::fs::read(busybox_program()).unwrap());
        add("name", 0o644, bed.instance.as_bytes());
        add(
            "Dockerfile",
            0o644,
            format!("{START}{dockerfile}").as_bytes(),
        );
        for (name, content) in files {
            add(name, 0o644, content.as_bytes());
        }
        archive.finish().unwrap();
        Self(path)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn spec(bed: &Bed, context: &Context) -> BuildSpec {
    BuildSpec {
        context: context.0.clone(),
        dockerfile: "Dockerfile".to_owned(),
        tag: format!("{}-built:v1", bed.instance).parse().unwrap(),
        args: EnvVars::default(),
        secrets: EnvVars::default(),
        labels: BTreeMap::new(),
        cpu_limit_milli: 2_000,
        memory_limit_mb: MEMORY_MB,
        push: false,
    }
}

fn one(name: &str, value: &str) -> EnvVars {
    EnvVars(BTreeMap::from([(name.to_owned(), value.to_owned())]))
}

fn run(script: &str) -> String {
    format!("RUN {}\n", serde_json::json!(["/bin/sh", "-c", script]))
}

/// Limits are one set for all builds of an engine: who takes everything has to be alone, or takes it
/// from the other tests' builds.
static ALONE: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

async fn build(
    engine: &SwarmEngine,
    spec: &BuildSpec,
) -> (Result<Built, BuildError>, Vec<BuildLine>) {
    let told = Mutex::new(Vec::new());
    let result = engine
        .build_image(spec, &|line| told.lock().unwrap().push(line))
        .await;
    (result, told.into_inner().unwrap())
}

fn output(lines: &[BuildLine]) -> Vec<&str> {
    lines
        .iter()
        .filter_map(|line| match line {
            BuildLine::Output(text) => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

fn steps(lines: &[BuildLine]) -> Vec<&str> {
    lines
        .iter()
        .filter_map(|line| match line {
            BuildLine::Step(text) => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

/// Whether a process with these words in its command line runs on this machine.
fn is_running(words: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .any(|line| String::from_utf8_lossy(&line).contains(words))
}

#[tokio::test]
async fn an_image_is_built_and_runs() {
    let Some(bed) = Bed::new().await else { return };
    let _turn = ALONE.read().await;
    let dockerfile = format!(
        "ARG GREETING\nENV GREETED=$GREETING\n{}EXPOSE 8080\nUSER 1000\n{}",
        run("echo said $GREETED; busybox printf 'no end'"),
        "CMD [\"/bin/sh\", \"-c\", \"while true; do busybox sleep 1; done\"]\n",
    );
    let context = Context::new(&bed, &dockerfile, &[]);
    let mut spec = spec(&bed, &context);
    spec.args = one("GREETING", "hello there");
    spec.labels = BTreeMap::from([("org.example.one".to_owned(), "two words".to_owned())]);
    let (built, lines) = build(&bed.engine, &spec).await;
    let built = built.unwrap();
    assert_eq!(built.builder, "buildkit");
    let image = &built.image;
    assert!(
        image.local_only && image.pinned.starts_with("sha256:"),
        "{image:?}"
    );
    assert_eq!(image.requested, spec.tag);
    assert_eq!(
        (image.exposed_ports.as_slice(), image.user.as_str()),
        (&[8080][..], "1000")
    );
    assert!(
        steps(&lines)
            .iter()
            .any(|step| step.contains("RUN [\"/bin/sh\"")),
        "{lines:?}"
    );
    assert_eq!(output(&lines), ["said hello there", "no end"], "{lines:?}");
    assert!(
        !lines.iter().any(|line| matches!(line, BuildLine::Note(_))),
        "{lines:?}"
    );

    let found = bed.docker.inspect_image(spec.tag.as_str()).await.unwrap();
    let labels = found.config.unwrap().labels.unwrap();
    assert_eq!(labels["org.example.one"], "two words");
    assert_eq!(labels["com.flukedeploy.instance"], bed.instance);
    let facts = bed.engine.image_facts(image).await.unwrap();
    assert_eq!(facts.env.0["GREETED"], "hello there");
    assert!(facts.has_command && facts.layers >= 3 && facts.size_bytes > 1_000_000);
    let of = |words: &str| facts.history.iter().position(|step| step.contains(words));
    assert!(
        of("COPY name").unwrap() < of("CMD").unwrap(),
        "{:?}",
        facts.history
    );

    let service = bed.service("built", image.clone());
    bed.engine.ensure_service(&service).await.unwrap();
    bed.task(&service.name, |task| task.state == TaskState::Running)
        .await;
}

#[tokio::test]
async fn a_step_that_fails_is_told_with_its_exit_code() {
    let Some(bed) = Bed::new().await else { return };
    let _turn = ALONE.read().await;
    let context = Context::new(&bed, &run("echo about to; exit 3"), &[]);
    let (built, lines) = build(&bed.engine, &spec(&bed, &context)).await;
    let Err(BuildError::Failed { message, exit_code }) = built else {
        panic!("{lines:?}");
    };
    assert_eq!(exit_code, Some(3), "{message}");
    assert_eq!(output(&lines), ["about to"], "{lines:?}");

    let mut absent = spec(&bed, &context);
    absent.dockerfile = "deploy/Dockerfile".to_owned();
    let (built, _) = build(&bed.engine, &absent).await;
    assert!(
        matches!(&built, Err(BuildError::Failed { message, exit_code: None }) if message.contains("Dockerfile")),
        "{:?}",
        built.err()
    );
    absent.context = "/nowhere/context.tar".into();
    let (built, _) = build(&bed.engine, &absent).await;
    assert!(
        matches!(built, Err(BuildError::Engine(_))),
        "{:?}",
        built.err()
    );
}

#[tokio::test]
async fn secrets_are_there_for_one_command_only() {
    let Some(bed) = Bed::new().await else { return };
    let _turn = ALONE.read().await;
    let read = "RUN --mount=type=secret,id=token [\"/bin/sh\", \"-c\", \
                \"busybox sha256sum /run/secrets/token\"]\n";
    let look = run("test -e /run/secrets/token && busybox cat /run/secrets/token || echo nothing");
    let context = Context::new(&bed, &format!("{read}{look}"), &[]);
    let mut wanted = spec(&bed, &context);
    wanted.secrets = one("token", "swordfish");
    let (built, lines) = build(&bed.engine, &wanted).await;
    let image = built.unwrap().image;
    let printed = output(&lines);
    // sha256 of "swordfish"
    assert!(
        printed[0].starts_with("b9f195c5cc7ef6afadbfbc42892ad47d3b24c6bc94bb510c4564a90a14e8b799"),
        "{printed:?}"
    );
    assert_eq!(printed[1], "nothing");
    let facts = bed.engine.image_facts(&image).await.unwrap();
    assert!(!facts.history.concat().contains("swordfish"));

    // Which is not given cannot be had.
    let other = format!(
        "RUN --mount=type=secret,id=other,required=true {}",
        &read[36..]
    );
    let context = Context::new(&bed, &other, &[]);
    let mut wanted = spec(&bed, &context);
    wanted.secrets = one("token", "swordfish");
    let (built, _) = build(&bed.engine, &wanted).await;
    assert!(
        matches!(&built, Err(BuildError::Failed { message, .. }) if message.contains("other")),
        "{:?}",
        built.err()
    );
}

#[tokio::test]
async fn a_build_that_is_dropped_ends() {
    let Some(bed) = Bed::new().await else { return };
    let _turn = ALONE.read().await;
    let words = format!("waits for {}", bed.instance);
    let context = Context::new(&bed, &run(&format!(": {words}; busybox sleep 600; :")), &[]);
    let spec = spec(&bed, &context);
    let engine = bed.engine.clone();
    let building = tokio::spawn(async move { build(&engine, &spec).await.0.map(|_| ()) });
    eventually("the command of the build", || async {
        is_running(&words).then_some(())
    })
    .await;
    building.abort();
    let gone = eventually("its end", || async { (!is_running(&words)).then_some(()) });
    tokio::time::timeout(Duration::from_secs(10), gone)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_takes_too_much_is_ended() {
    let Some(bed) = Bed::new().await else { return };
    let _turn = ALONE.write().await;
    // Twice what it may have, all in memory.
    let greedy = run("echo starts; busybox tail -c 1200000000 /dev/zero; exit $?");
    let context = Context::new(&bed, &greedy, &[]);
    let (built, lines) = build(&bed.engine, &spec(&bed, &context)).await;
    assert!(
        matches!(
            built,
            Err(BuildError::Failed {
                exit_code: Some(137),
                ..
            })
        ),
        "{:?} {lines:?}",
        built.err()
    );

    let many = run("while true; do busybox sleep 300 & done");
    let context = Context::new(&bed, &many, &[]);
    let mut wanted = spec(&bed, &context);
    wanted.memory_limit_mb = 2_048;
    let (built, lines) = build(&bed.engine, &wanted).await;
    assert!(
        matches!(
            built,
            Err(BuildError::Failed {
                exit_code: Some(_),
                ..
            })
        ),
        "{:?}",
        built.err()
    );
    assert!(
        output(&lines)
            .iter()
            .any(|line| line.contains("can't fork")),
        "{lines:?}"
    );
    let context = Context::new(&bed, &run("echo lives"), &[]);
    let (built, _) = build(&bed.engine, &spec(&bed, &context)).await;
    built.unwrap();
}

#[tokio::test]
async fn a_flood_of_output_is_passed_on_as_it_comes() {
    let Some(bed) = Bed::new().await else { return };
    let _turn = ALONE.read().await;
    let flood = run("busybox head -c 200000000 /dev/zero | busybox tr '\\0' x; echo; echo done");
    let context = Context::new(&bed, &flood, &[]);
    let mut wanted = spec(&bed, &context);
    wanted.tag = format!("{}-flood:v1", bed.instance).parse().unwrap();
    let before = resident_mb();
    let longest = Mutex::new((0, 0));
    let built = bed
        .engine
        .build_image(&wanted, &|line| {
            if let BuildLine::Output(text) = line {
                let mut longest = longest.lock().unwrap();
                *longest = (longest.0.max(text.len()), longest.1 + 1);
            }
        })
        .await;
    built.unwrap();
    let (longest, lines) = longest.into_inner().unwrap();
    assert!(
        longest <= 4_000 && (1..10_000).contains(&lines),
        "{longest} {lines}"
    );
    assert!(resident_mb() < before + 200, "{before}");
}

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
    kilobytes.parse::<u64>().unwrap() / 1024
}

#[tokio::test]
async fn files_that_look_like_secrets_are_found_though_they_were_deleted() {
    let Some(bed) = Bed::new().await else { return };
    let _turn = ALONE.read().await;
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n";
    let dockerfile = format!(
        "COPY id_rsa /root/.ssh/id_rsa\nCOPY env /app/.env\nCOPY empty /srv/.env\n{}",
        run("busybox rm /root/.ssh/id_rsa")
    );
    let files = [
        ("id_rsa", key),
        ("env", "API_TOKEN=x\n"),
        ("empty", "PORT=80\n"),
    ];
    let context = Context::new(&bed, &dockerfile, &files);
    let image = build(&bed.engine, &spec(&bed, &context))
        .await
        .0
        .unwrap()
        .image;
    let mut found = bed.engine.secret_files(&image).await.unwrap();
    found.sort();
    assert_eq!(found, ["/app/.env", "/root/.ssh/id_rsa"]);
    let gone = PinnedImage {
        pinned: format!("sha256:{}", "ab".repeat(32)),
        ..image
    };
    assert!(bed.engine.secret_files(&gone).await.is_err());
    assert!(bed.engine.image_facts(&gone).await.is_err());
}

fn stored(host: &str, password: &str) -> Vec<Credential> {
    vec![Credential {
        kind: CredentialKind::Registry,
        host: host.to_owned(),
        username: "ann".to_owned(),
        secret: password.to_owned(),
        known_hosts: None,
        created_at: time::OffsetDateTime::UNIX_EPOCH,
    }]
}

#[tokio::test]
async fn what_was_built_is_pushed_and_built_upon() {
    let Some(mut bed) = Bed::new().await else {
        return;
    };
    let _turn = ALONE.read().await;
    let registry = Registry::start(true).await;
    let context = Context::new(&bed, &run("echo base"), &[]);
    let mut wanted = spec(&bed, &context);
    wanted.push = true;
    wanted.tag = format!("{}/{}/base:v1", registry.host, bed.instance)
        .parse()
        .unwrap();
    bed.images.push(wanted.tag.to_string());
    for password in [None, Some("wr0ng")] {
        if let Some(password) = password {
            bed.engine.use_registries(stored(&registry.host, password));
        }
        let (built, _) = build(&bed.engine, &wanted).await;
        let Err(BuildError::PushFailed {
            registry: host,
            message,
        }) = built
        else {
            panic!("{:?}", built.err());
        };
        assert!(
            host == registry.host && !message.contains("wr0ng"),
            "{message}"
        );
    }
    bed.engine.use_registries(stored(&registry.host, PASSWORD));
    let base = build(&bed.engine, &wanted).await.0.unwrap().image;
    let exact = format!("{}@sha256:", wanted.tag.repository());
    assert!(
        !base.local_only && base.pinned.starts_with(&exact),
        "{base:?}"
    );
    bed.images.push(base.pinned.clone());

    // Forgotten here, the base image has to come from its registry, which wants the password.
    for name in [wanted.tag.as_str(), &base.pinned] {
        let _ = bed
            .docker
            .remove_image(
                name,
                None::<bollard::query_parameters::RemoveImageOptions>,
                None,
            )
            .await;
    }
    let dockerfile = format!(
        "FROM {}\nCOPY name /other\n{}",
        base.pinned,
        run("busybox cat /other")
    );
    let context = Context::new(&bed, &dockerfile, &[]);
    let (built, lines) = build(&bed.engine, &spec(&bed, &context)).await;
    assert!(built.is_ok(), "{:?}", built.err());
    assert!(output(&lines).contains(&bed.instance.as_str()), "{lines:?}");
}

/// The engine, but it says that it runs on Windows, where there is no `BuildKit`.
async fn without_buildkit(listener: UnixListener) {
    while let Ok((mut ours, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut head = vec![0; 64 * 1024];
            let length = ours.read(&mut head).await.unwrap();
            head.truncate(length);
            if head.starts_with(b"GET /version") {
                let about = r#"{"Version":"20.10.24","ApiVersion":"1.41","Arch":"amd64","Os":"windows","Components":[{"Name":"Engine"}]}"#;
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{about}",
                    about.len()
                );
                let _ = ours.write_all(answer.as_bytes()).await;
                return;
            }
            let mut engine = UnixStream::connect("/var/run/docker.sock").await.unwrap();
            engine.write_all(&head).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut ours, &mut engine).await;
        });
    }
}

#[tokio::test]
async fn without_buildkit_the_classic_builder_builds() {
    let Some(bed) = Bed::new().await else { return };
    let _turn = ALONE.read().await;
    let socket = std::env::temp_dir().join(format!("flukedeploy-{}.sock", random_name()));
    let standing_in = tokio::spawn(without_buildkit(UnixListener::bind(&socket).unwrap()));
    let mut config = config(&bed.instance);
    config.docker = Some(format!("unix://{}", socket.display()));
    let engine = SwarmEngine::new(config);
    let context = Context::new(&bed, &run("echo one; echo two >&2"), &[]);
    let mut wanted = spec(&bed, &context);
    let (built, lines) = build(&engine, &wanted).await;
    let built = built.unwrap();
    assert_eq!(built.builder, "classic");
    assert!(built.image.local_only && built.image.pinned.starts_with("sha256:"));
    assert!(
        output(&lines).contains(&"one") && output(&lines).contains(&"two"),
        "{lines:?}"
    );
    assert_eq!(steps(&lines).len(), 6, "{lines:?}");

    let failing = Context::new(
        &bed,
        &run("busybox tail -c 1200000000 /dev/zero; exit $?"),
        &[],
    );
    let (built, lines) = build(&engine, &spec(&bed, &failing)).await;
    assert!(
        matches!(
            built,
            Err(BuildError::Failed {
                exit_code: Some(137),
                ..
            })
        ),
        "{:?} {lines:?}",
        built.err()
    );

    let words = format!("waits for {}", bed.instance);
    let endless = Context::new(&bed, &run(&format!(": {words}; busybox sleep 600; :")), &[]);
    let endless_spec = spec(&bed, &endless);
    let other = engine.clone();
    let building = tokio::spawn(async move { build(&other, &endless_spec).await.0.map(|_| ()) });
    eventually("the command of the build", || async {
        is_running(&words).then_some(())
    })
    .await;
    building.abort();
    let gone = eventually("its end", || async { (!is_running(&words)).then_some(()) });
    tokio::time::timeout(Duration::from_secs(15), gone)
        .await
        .unwrap();

    wanted.secrets = one("token", "swordfish");
    let (built, _) = build(&engine, &wanted).await;
    assert!(matches!(built, Err(BuildError::NotPossible { .. })));
    standing_in.abort();
    let _ = std::fs::remove_file(Path::new(&socket));
}
