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
