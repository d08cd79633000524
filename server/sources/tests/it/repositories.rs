//! Repositories over HTTP, served by git itself on this machine.

use std::time::{Duration, Instant};

use base64::Engine as _;
use flukedeploy_domain::build::Origin;
use flukedeploy_platform::ports::Workshop as _;
use flukedeploy_sources::system_resolver;

use crate::support::{
    Bed, GitServer, TOKEN, commit, deployment, from_git, git, in_source, knows, repository, token,
    told,
};

const FILES: [(&str, &str); 3] = [
    ("Dockerfile", "FROM scratch\n"),
    ("app/main.txt", "one"),
    ("app/sub/deep.txt", "deep"),
];

#[tokio::test]
async fn a_branch_a_tag_a_commit_and_the_default_are_found() {
    let (bed, server) = (Bed::new(), GitServer::start().await);
    let folder = server.folder("shop");
    let first = repository(&folder, &FILES);
    git(&folder, &["tag", "-a", "v1", "-m", "x"]);
    let second = commit(&folder, &[("app/main.txt", "two")]);
    git(&folder, &["checkout", "--quiet", "-b", "feature/x", &first]);
    let third = commit(&folder, &[("app/main.txt", "three")]);
    git(&folder, &["checkout", "--quiet", "main"]);
    let url = server.url("open", "shop");
    for (number, (reference, expected, text)) in [
        (None, &second, "two"),
        (Some("main"), &second, "two"),
        (Some("feature/x"), &third, "three"),
        (Some("v1"), &first, "one"),
        (Some("refs/tags/v1"), &first, "one"),
        (Some(first.as_str()), &first, "one"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("r{number}");
        let origin = Origin::Git(from_git(&url, reference));
        let opened = bed.open(&name, &origin, None).await.unwrap();
        assert_eq!(opened.commit.as_ref(), Some(expected), "{reference:?}");
        assert_eq!(opened.files, 3);
        let main = "app/main.txt".parse().unwrap();
        let read = bed.workshop.read(&deployment(&name), &main, 100).await;
        assert_eq!(read.unwrap().as_deref(), Some(text), "{reference:?}");
        assert!(!bed.tree(&name).join(".git").exists());
    }
    let mut part = from_git(&url, None);
    part.subfolder = Some("./app/".parse().unwrap());
    let opened = bed
        .open("part", &Origin::Git(part.clone()), None)
        .await
        .unwrap();
    assert_eq!(opened.files, 2);
    assert_eq!(
        bed.workshop.top(&deployment("part")).await.unwrap(),
        ["main.txt", "sub/"]
    );
    for wrong in ["nothing", "Dockerfile"] {
        part.subfolder = Some(wrong.parse().unwrap());
        let text = told(bed.open("wrong", &Origin::Git(part.clone()), None).await);
        assert!(
            text.starts_with("NotFound") && text.contains("no folder"),
            "{text}"
        );
    }
    let absent = "0123456789012345678901234567890123456789";
    for (reference, says) in [("nope", "no branch and no tag nope"), (absent, "no commit")] {
        let origin = Origin::Git(from_git(&url, Some(reference)));
        let text = told(bed.open("none", &origin, None).await);
        assert!(
            text.starts_with("NotFound") && text.contains(says),
            "{text}"
        );
    }
    std::fs::create_dir_all(server.folder("empty")).unwrap();
    git(&server.folder("empty"), &["init", "--quiet"]);
    let origin = Origin::Git(from_git(&server.url("open", "empty"), None));
    let text = told(bed.open("empty", &origin, None).await);
    assert!(
        text.contains("is empty, or has no default branch"),
        "{text}"
    );
}

#[tokio::test]
async fn attributes_neither_leave_files_out_nor_rewrite_them() {
    let (bed, server) = (Bed::new(), GitServer::start().await);
    repository(
        &server.folder("shop"),
        &[
            (
                ".gitattributes",
                "hidden export-ignore\nrev export-subst\n* filter=evil\n",
            ),
            ("hidden", "still here"),
            ("rev", "$Format:%H$"),
        ],
    );
    let origin = Origin::Git(from_git(&server.url("open", "shop"), None));
    assert_eq!(bed.open("one", &origin, None).await.unwrap().files, 3);
    let text = std::fs::read_to_string(bed.tree("one").join("rev")).unwrap();
    assert_eq!(text, "$Format:%H$");
}

#[tokio::test]
async fn a_token_opens_what_is_private_and_its_lack_is_told() {
    let (bed, server) = (Bed::new(), GitServer::start().await);
    repository(&server.folder("shop"), &FILES);
    let origin = Origin::Git(from_git(&server.url("private", "shop"), None));
    let text = told(bed.open("none", &origin, None).await);
    assert!(
        text.starts_with("Denied")
            && text.contains("none are stored")
            && text.contains("git_token"),
        "{text}"
    );
    let mut wrong = token("127.0.0.1");
    wrong.secret = "canary-wrong-token".to_owned();
    let text = told(bed.open("wrong", &origin, Some(&wrong)).await);
    assert!(
        text.starts_with("Denied") && text.contains("refused the stored"),
        "{text}"
    );
    assert!(!text.contains("canary"), "{text}");
    let right = token("127.0.0.1");
    let opened = bed.open("right", &origin, Some(&right)).await.unwrap();
    assert_eq!(opened.files, 3);
    // Another host's credential is not shown, whoever handed it over.
    server.seen.lock().unwrap().clear();
    let text = told(
        bed.open("other", &origin, Some(&token("other.example")))
            .await,
    );
    assert!(text.starts_with("Denied"), "{text}");
    let shown = server.seen.lock().unwrap().clone();
    assert!(!shown.is_empty() && shown.iter().all(|(_, credentials)| credentials.is_none()));
    bed.workshop.discard(&deployment("right")).await.unwrap();
    bed.assert_nothing_left();
}

/// Command lines of all processes.
fn command_lines() -> Vec<String> {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .collect()
}

pub(crate) fn everything_below(path: &std::path::Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        all.extend_from_slice(entry.file_name().as_encoded_bytes());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            all.extend(everything_below(&entry.path()));
        } else if kind.is_file() {
            all.extend(std::fs::read(entry.path()).unwrap());
        }
    }
    all
}

pub(crate) fn holds(all: &[u8], what: &str) -> bool {
    all.windows(what.len())
        .any(|window| window == what.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_in_no_argument_no_file_and_no_line() {
    let (bed, server) = (Bed::new(), GitServer::start().await);
    repository(&server.folder("canary"), &FILES);
    let url = server.url("slow", "canary");
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("git:{TOKEN}"));
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (watched, wanted) = (done.clone(), url.clone());
    let watching = std::thread::spawn(move || {
        let mut seen = Vec::new();
        while !watched.load(std::sync::atomic::Ordering::Relaxed) {
            seen.extend(
                command_lines()
                    .into_iter()
                    .filter(|line| line.contains(&wanted)),
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        seen
    });
    let origin = Origin::Git(from_git(&url, None));
    let credential = token("127.0.0.1");
    bed.open("canary", &origin, Some(&credential))
        .await
        .unwrap();
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    let seen = watching.join().unwrap();
    for program in ["ls-remote", "fetch", "remote-http"] {
        assert!(
            seen.iter().any(|line| line.contains(program)),
            "{program}: {seen:?}"
        );
    }
    bed.workshop
        .pack(&deployment("canary"), None, &in_source("Dockerfile"))
        .await
        .unwrap();
    let mut all = everything_below(&bed.directory.0);
    all.extend(seen.join("\n").into_bytes());
    all.extend(bed.progress.lock().unwrap().join("\n").into_bytes());
    assert!(
        holds(&all, "FROM scratch"),
        "the search finds what is there"
    );
    for secret in [TOKEN, encoded.as_str()] {
        assert!(!holds(&all, secret), "{secret}");
    }
}

#[tokio::test]
async fn a_redirect_is_refused_and_nobody_is_called() {
    let (bed, server) = (Bed::new(), GitServer::start().await);
    let origin = Origin::Git(from_git(&server.url("redirect", "shop"), None));
    let text = told(bed.open("redirect", &origin, None).await);
    assert!(
        text.starts_with("Refused") && text.contains("redirect"),
        "{text}"
    );
    bed.assert_nothing_left();
}

#[tokio::test]
async fn only_public_addresses_are_called_unless_allowed() {
    let server = GitServer::start().await;
    repository(&server.folder("shop"), &FILES);
    let port = server.address.port();
    let bed = Bed::with(
        &[],
        knows("internal.example", "127.0.0.1"),
        Duration::from_secs(20),
    );
    for host in [
        "127.0.0.1",
        "169.254.169.254",
        "10.0.0.1",
        "internal.example",
        "2130706433",
        "0x7f000001",
        "127.1",
        "internal.example.",
    ] {
        for url in [
            format!("https://{host}:{port}/open/shop/.git"),
            format!("ssh://git@{host}:{port}/shop"),
        ] {
            let origin = Origin::Git(from_git(&url, None));
            let text = told(bed.open("closed", &origin, None).await);
            assert!(text.starts_with("Refused"), "{url}: {text}");
        }
    }
    let text = told(
        bed.open(
            "gone",
            &Origin::Git(from_git("https://gone.example/x", None)),
            None,
        )
        .await,
    );
    assert!(text.starts_with("Unreachable"), "{text}");
    assert!(server.seen.lock().unwrap().is_empty());
    // Public, but not encrypted.
    let bed = Bed::with(
        &[],
        knows("open.example", "9.9.9.9"),
        Duration::from_secs(20),
    );
    let origin = Origin::Git(from_git("http://open.example/x.git", None));
    let text = told(bed.open("plain", &origin, None).await);
    assert!(
        text.starts_with("Refused") && text.contains("not encrypted"),
        "{text}"
    );
    bed.assert_nothing_left();
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_called() {
    let server = GitServer::start().await;
    repository(&server.folder("shop"), &FILES);
    // No name server knows this host: git can only have the address that was checked.
    let resolver = knows("git.pinned.invalid", "127.0.0.1");
    let bed = Bed::with(&["git.pinned.invalid"], resolver, Duration::from_secs(20));
    let port = server.address.port();
    let url = format!("http://git.pinned.invalid:{port}/open/shop/.git");
    let origin = Origin::Git(from_git(&url, None));
    assert_eq!(bed.open("pinned", &origin, None).await.unwrap().files, 3);
}

#[tokio::test]
async fn what_never_answers_is_stopped_with_all_its_processes() {
    let server = GitServer::start().await;
    let bed = Bed::with(&["127.0.0.1"], system_resolver(), Duration::from_secs(2));
    let url = server.url("hang", "hung-repository");
    let began = Instant::now();
    let text = told(
        bed.open("hang", &Origin::Git(from_git(&url, None)), None)
            .await,
    );
    assert!(
        text.starts_with("Unreachable") && text.contains("longer than allowed"),
        "{text}"
    );
    assert!(began.elapsed() < Duration::from_secs(10));
    // Given up from outside: the same.
    let bed = Bed::new();
    let opening = Origin::Git(from_git(&url, None));
    let opening = bed.open("dropped", &opening, None);
    assert!(
        tokio::time::timeout(Duration::from_secs(1), opening)
            .await
            .is_err()
    );
    let deadline = Instant::now() + Duration::from_secs(5);
    while command_lines().iter().any(|line| line.contains(&url)) {
        assert!(Instant::now() < deadline, "git still runs");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bed.assert_nothing_left();
}

#[tokio::test]
async fn hostile_repositories_are_refused() {
    let (bed, server) = (Bed::new(), GitServer::start().await);
    let out = server.folder("out");
    repository(&out, &FILES);
    std::os::unix::fs::symlink("/etc/passwd", out.join("app/link")).unwrap();
    commit(&out, &[]);
    // Ten folders that hold the same ten folders, and so on: 10^7 files from a few objects.
    let bomb = server.folder("bomb");
    repository(&bomb, &[("seed", "x")]);
    let mut object = git(&bomb, &["rev-parse", "HEAD:seed"]);
    let mut kind = "100644 blob";
    for _ in 0..7 {
        let lines: Vec<String> = (0..10)
            .map(|number| format!("{kind} {object}\tf{number}\n"))
            .collect();
        let list = bomb.join("list");
        std::fs::write(&list, lines.concat()).unwrap();
        let output = std::process::Command::new("git")
            .arg("mktree")
            .current_dir(&bomb)
            .stdin(std::fs::File::open(&list).unwrap())
            .output()
            .unwrap();
        object = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        kind = "040000 tree";
    }
    let top = git(&bomb, &["commit-tree", &object, "-m", "bomb"]);
    git(&bomb, &["update-ref", "refs/heads/main", &top]);
    // A folder that git itself would take for a repository.
    let dotgit = server.folder("dotgit");
    repository(&dotgit, &[("seed", "x")]);
    let seed = git(&dotgit, &["rev-parse", "HEAD^{tree}"]);
    std::fs::write(dotgit.join("list"), format!("040000 tree {seed}\t.GIT\n")).unwrap();
    let output = std::process::Command::new("git")
        .arg("mktree")
        .current_dir(&dotgit)
        .stdin(std::fs::File::open(dotgit.join("list")).unwrap())
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let top = git(&dotgit, &["commit-tree", &tree, "-m", "x"]);
    git(&dotgit, &["update-ref", "refs/heads/main", &top]);
    let mut large = server.folder("large");
    repository(&large, &FILES);
    large.push("noise");
    let mut noise = vec![0; 12 * 1024 * 1024];
    getrandom::fill(&mut noise).unwrap();
    std::fs::write(&large, noise).unwrap();
    large.pop();
    commit(&large, &[]);
    for (name, says) in [
        ("out", "leads out of the source"),
        ("bomb", "more than 1000 files"),
        ("dotgit", "not safe"),
        ("large", "more than 8 MiB"),
    ] {
        let origin = Origin::Git(from_git(&server.url("open", name), None));
        let text = told(bed.open(name, &origin, None).await);
        assert!(
            text.starts_with("Refused") && text.contains(says),
            "{name}: {text}"
        );
    }
    let origin = Origin::Git(from_git(&server.url("open", "absent"), None));
    let text = told(bed.open("absent", &origin, None).await);
    assert!(text.starts_with("NotFound"), "{text}");
    bed.assert_nothing_left();
}

#[tokio::test]
async fn submodules_come_along_under_the_same_rules() {
    let (bed, server) = (Bed::new(), GitServer::start().await);
    let inner = repository(&server.folder("inner"), &[("inner.txt", "inner")]);
    let add = |folder: &std::path::Path, path: &str, url: &str, commit: &str| {
        std::fs::write(
            folder.join(".gitmodules"),
            format!("[submodule \"x\"]\n\tpath = {path}\n\turl = {url}\n"),
        )
        .unwrap();
        let entry = format!("160000,{commit},{path}");
        git(folder, &["add", ".gitmodules"]);
        git(folder, &["update-index", "--add", "--cacheinfo", &entry]);
        git(folder, &["commit", "--quiet", "-m", "submodule"]);
        git(folder, &["rev-parse", "HEAD"])
    };
    let middle = server.folder("middle");
    repository(&middle, &[("middle.txt", "middle")]);
    // git's HTTP server here serves `<name>/.git`, hence the steps up.
    let middle_commit = add(&middle, "in", "../../inner/.git", &inner);
    let outer = server.folder("outer");
    repository(&outer, &FILES);
    add(
        &outer,
        "lib/middle",
        &server.url("open", "middle"),
        &middle_commit,
    );
    let mut source = from_git(&server.url("open", "outer"), None);
    bed.open("without", &Origin::Git(source.clone()), None)
        .await
        .unwrap();
    assert!(!bed.tree("without").join("lib/middle/middle.txt").exists());
    source.submodules = true;
    bed.open("with", &Origin::Git(source.clone()), None)
        .await
        .unwrap();
    let read = |path: &str| std::fs::read_to_string(bed.tree("with").join(path)).unwrap();
    assert_eq!(read("lib/middle/middle.txt"), "middle");
    assert_eq!(read("lib/middle/in/inner.txt"), "inner");
    assert!(!bed.tree("with").join("lib/middle/.git").exists());
    source.subfolder = Some("lib".parse().unwrap());
    bed.open("part", &Origin::Git(source), None).await.unwrap();
    assert!(bed.tree("part").join("middle/in/inner.txt").exists());
    // Addresses that must not be called, and things that are no address.
    for (number, (url, kind, says)) in [
        (
            "https://169.254.169.254/latest/meta-data",
            "Refused",
            "not a public address",
        ),
        (
            "https://x.example/y\n\tupdate = !touch /tmp/owned",
            "Refused",
            "gitmodulesUpdate",
        ),
        ("-oProxyCommand=touch /tmp/owned", "Refused", "not safe"),
        ("file:///etc", "Refused", "is not used here"),
        ("ext::sh -c id", "Refused", "is not used here"),
        (
            "https://user:canary-password@x.example/y",
            "Refused",
            "is not used here",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("bad{number}");
        let folder = server.folder(&name);
        repository(&folder, &FILES);
        add(&folder, "lib/x", url, &inner);
        let mut source = from_git(&server.url("open", &name), None);
        source.submodules = true;
        let text = told(bed.open(&name, &Origin::Git(source), None).await);
        assert!(
            text.starts_with(kind) && text.contains(says),
            "{url}: {text}"
        );
        assert!(!text.contains("canary"), "{text}");
    }
    assert!(!std::path::Path::new("/tmp/owned").exists());
}

#[tokio::test]
async fn a_submodule_elsewhere_never_sees_the_token() {
    let (bed, server, other) = (
        Bed::new(),
        GitServer::start().await,
        GitServer::start().await,
    );
    let inner = repository(&other.folder("inner"), &[("inner.txt", "inner")]);
    let outer = server.folder("outer");
    repository(&outer, &FILES);
    std::fs::write(
        outer.join(".gitmodules"),
        format!(
            "[submodule \"x\"]\n\tpath = x\n\turl = {}\n",
            other.url("open", "inner")
        ),
    )
    .unwrap();
    git(&outer, &["add", ".gitmodules"]);
    let entry = format!("160000,{inner},x");
    git(&outer, &["update-index", "--add", "--cacheinfo", &entry]);
    git(&outer, &["commit", "--quiet", "-m", "submodule"]);
    let mut source = from_git(&server.url("private", "outer"), None);
    source.submodules = true;
    // The credential names the host only; the other server is the same host at another port.
    bed.open("two", &Origin::Git(source), Some(&token("127.0.0.1")))
        .await
        .unwrap();
    assert!(bed.tree("two").join("x/inner.txt").exists());
    let seen = other.seen.lock().unwrap().clone();
    assert!(!seen.is_empty());
    assert!(
        seen.iter().all(|(_, credentials)| credentials.is_none()),
        "{seen:?}"
    );
}
