//! What the builder gets.

use std::collections::BTreeMap;
use std::path::Path;

use flukedeploy_platform::ports::{ContextDockerfile, Workshop as _};

use crate::support::{Bed, archive, deployment, file, in_source, link, told};

/// Names, and what is behind each: text, `-> target`, or nothing for a folder.
fn entries(context: &Path) -> BTreeMap<String, String> {
    use std::io::Read as _;
    let mut archive = tar::Archive::new(std::fs::File::open(context).unwrap());
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut text = String::new();
            if let Some(target) = entry.link_name().unwrap() {
                text = format!("-> {}", target.display());
            } else {
                entry.read_to_string(&mut text).unwrap();
            }
            (name, text)
        })
        .collect()
}

fn names(context: &Path) -> Vec<String> {
    entries(context).into_keys().collect()
}

#[tokio::test]
async fn a_context_holds_the_tree_without_git_and_is_the_same_each_time() {
    let bed = Bed::new();
    let tree = archive(&[
        file("b/two", "2"),
        file("Dockerfile", "FROM scratch\n"),
        file(".git/config", "secret"),
        file("sub/.git", "gitdir: x"),
        link("a", "b/two"),
    ]);
    bed.upload("one", tree.clone()).await.unwrap();
    bed.upload("two", tree).await.unwrap();
    let first = bed
        .workshop
        .pack(&deployment("one"), None, &in_source("Dockerfile"))
        .await
        .unwrap();
    let second = bed
        .workshop
        .pack(&deployment("two"), None, &in_source("Dockerfile"))
        .await
        .unwrap();
    assert_eq!(names(&first), ["Dockerfile", "a", "b/", "b/two", "sub/"]);
    assert_eq!(entries(&first)["a"], "-> b/two");
    assert_eq!(
        std::fs::read(&first).unwrap(),
        std::fs::read(&second).unwrap()
    );
    let folder = "b".parse().unwrap();
    let part = bed
        .workshop
        .pack(&deployment("one"), Some(&folder), &in_source("Dockerfile"))
        .await
        .unwrap();
    assert_eq!(names(&part), ["two"]);
    let none = "c".parse().unwrap();
    let text = told(
        bed.workshop
            .pack(&deployment("one"), Some(&none), &in_source("Dockerfile"))
            .await,
    );
    assert!(text.starts_with("NotFound"), "{text}");
    bed.workshop.discard(&deployment("one")).await.unwrap();
    assert!(!first.exists() && !part.exists() && second.exists());
}

#[tokio::test]
async fn dockerignore_is_heeded_and_what_docker_needs_is_kept() {
    let bed = Bed::new();
    let tree = archive(&[
        file(
            ".dockerignore",
            "# everything\n*\n!src\nsrc/**/*.log\n!keep/this\n",
        ),
        file("Dockerfile", "FROM scratch\n"),
        file("README.md", ""),
        file("src/main.c", ""),
        file("src/a/b/x.log", ""),
        file("keep/this", ""),
        file("keep/that", ""),
        file("other/x", ""),
        file("docker/Dockerfile", "FROM scratch\n"),
    ]);
    bed.upload("ignore", tree).await.unwrap();
    let context = bed
        .workshop
        .pack(&deployment("ignore"), None, &in_source("Dockerfile"))
        .await
        .unwrap();
    assert_eq!(
        names(&context),
        [
            ".dockerignore",
            "Dockerfile",
            "keep/",
            "keep/this",
            "src/",
            "src/a/",
            "src/a/b/",
            "src/main.c",
        ]
    );
    // One that is excluded and named otherwise goes along all the same, and may have its own list.
    let tree = archive(&[
        file(".dockerignore", "*"),
        file("docker/web.build", "FROM scratch\n"),
        file("docker/web.build.dockerignore", "docker\nnotes\n"),
        file("docker/other", ""),
        file("notes", ""),
        file("site/index.html", ""),
    ]);
    bed.upload("own", tree).await.unwrap();
    let context = bed
        .workshop
        .pack(&deployment("own"), None, &in_source("docker/web.build"))
        .await
        .unwrap();
    assert_eq!(
        names(&context),
        [
            ".dockerignore",
            "docker/",
            "docker/web.build",
            "docker/web.build.dockerignore",
            "site/",
            "site/index.html",
        ]
    );
    bed.upload("bad", archive(&[file(".dockerignore", "a[")]))
        .await
        .unwrap();
    let text = told(
        bed.workshop
            .pack(&deployment("bad"), None, &in_source("Dockerfile"))
            .await,
    );
    assert!(text.contains("not understood"), "{text}");
}

#[tokio::test]
async fn a_given_dockerfile_is_added_and_never_replaces_one() {
    let bed = Bed::new();
    let given = ContextDockerfile {
        path: "given.Dockerfile".to_owned(),
        text: Some("FROM scratch\nCOPY . /\n".to_owned()),
    };
    bed.upload(
        "given",
        archive(&[file("x", "y"), file(".dockerignore", "*")]),
    )
    .await
    .unwrap();
    let context = bed
        .workshop
        .pack(&deployment("given"), None, &given)
        .await
        .unwrap();
    assert_eq!(names(&context), [".dockerignore", "given.Dockerfile"]);
    bed.upload("taken", archive(&[link("given.Dockerfile", "x")]))
        .await
        .unwrap();
    let text = told(bed.workshop.pack(&deployment("taken"), None, &given).await);
    assert!(text.starts_with("Refused"), "{text}");
    // Without any source, a Dockerfile is enough.
    let alone = bed
        .workshop
        .pack(&deployment("none"), None, &given)
        .await
        .unwrap();
    assert_eq!(names(&alone), ["given.Dockerfile"]);
    let text = told(
        bed.workshop
            .pack(&deployment("none"), None, &in_source("Dockerfile"))
            .await,
    );
    assert!(text.starts_with("NotFound"), "{text}");
}

/// A folder of this test's own.
struct Folder(std::path::PathBuf);

impl Folder {
    fn of(name: &str, files: &[(&str, &str)]) -> Self {
        let top = std::env::temp_dir().join(format!("fd-pack-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = top.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self(top)
    }

    fn packed(&self, needed: &[&str]) -> Result<Vec<u8>, String> {
        let mut archive = Vec::new();
        flukedeploy_sources::pack_folder(&self.0, needed, &mut archive)
            .map(|()| archive)
            .map_err(|error| error.to_string())
    }

    fn names(&self, needed: &[&str]) -> Vec<String> {
        let archive = self.packed(needed).unwrap();
        let mut archive = tar::Archive::new(archive.as_slice());
        let mut names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_folder_is_sent_without_git_and_what_is_ignored_but_with_what_builds_it() {
    let folder = Folder::of(
        "sent",
        &[
            (".dockerignore", "*\n!www\n"),
            (".git/config", "secret"),
            (".env", "SECRET=1"),
            ("Dockerfile", "FROM scratch\n"),
            ("ops/captain-definition", "{}"),
            ("www/index", "hello"),
        ],
    );
    assert_eq!(
        folder.names(&["Dockerfile", "ops/captain-definition"]),
        [
            ".dockerignore",
            "Dockerfile",
            "ops/",
            "ops/captain-definition",
            "www/",
            "www/index"
        ]
    );
}

#[test]
fn links_within_the_folder_are_kept_and_links_out_of_it_refused() {
    use std::os::unix::fs::symlink;
    let folder = Folder::of("links", &[("a/file", "x"), ("b/c/file", "y")]);
    symlink("../../a/file", folder.0.join("b/c/near")).unwrap();
    symlink("nowhere", folder.0.join("b/dangling")).unwrap();
    let names = folder.names(&["Dockerfile"]);
    assert!(
        names.contains(&"b/c/near".to_owned()) && names.contains(&"b/dangling".to_owned()),
        "{names:?}"
    );
    let own = folder.0.join("a/file");
    for target in [
        "/etc/passwd",
        "../../etc/passwd",
        "../a/../../nowhere",
        own.to_str().unwrap(),
    ] {
        let link = folder.0.join("b/out");
        symlink(target, &link).unwrap();
        let refused = folder.packed(&["Dockerfile"]).unwrap_err();
        assert!(
            refused.contains("'b/out' leads out of the folder"),
            "{target}: {refused}"
        );
        std::fs::remove_file(&link).unwrap();
    }
    // By its words it stays inside, and by another link it does not.
    symlink(".", folder.0.join("b/c/here")).unwrap();
    symlink("c/here/../../..", folder.0.join("b/out")).unwrap();
    assert!(folder.packed(&["Dockerfile"]).is_err());
}
