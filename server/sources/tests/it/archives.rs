//! What somebody sends: folders as they should be, and everything that they should not.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::{Duration, Instant};

use flukedeploy_domain::build::{Origin, UploadId};
use flukedeploy_platform::ports::Workshop as _;
use futures_util::StreamExt as _;
use tar::EntryType;

use crate::support::{Bed, Entry, MIB, archive, block, deployment, file, gzip, link, told};

const DOCKERFILE: &str = "FROM scratch\n";

fn plain() -> Vec<Entry<'static>> {
    vec![
        Entry {
            name: "./",
            kind: EntryType::Directory,
            ..Entry::default()
        },
        file("./Dockerfile", DOCKERFILE),
        Entry {
            mode: 0o6755,
            ..file("bin/run", "#!")
        },
        link("latest", "bin/run"),
        link("bin/up", "../Dockerfile"),
        Entry {
            name: "copy",
            kind: EntryType::Link,
            link: "./Dockerfile",
            ..Entry::default()
        },
    ]
}

#[tokio::test]
async fn a_folder_arrives_as_tar_or_as_gzip_and_stays_until_it_is_discarded() {
    let bed = Bed::new();
    for (name, bytes) in [("tar", archive(&plain())), ("gz", gzip(&archive(&plain())))] {
        let opened = bed.upload(name, bytes).await.unwrap();
        assert_eq!((opened.files, opened.commit.clone()), (3, None));
        let id = deployment(name);
        let read = |path: &str| {
            let path = path.parse().unwrap();
            let (bed, id) = (&bed, &id);
            async move { bed.workshop.read(id, &path, 1_000).await.unwrap() }
        };
        for path in ["Dockerfile", "./Dockerfile", "copy", "bin/up"] {
            assert_eq!(read(path).await.as_deref(), Some(DOCKERFILE), "{path}");
        }
        assert_eq!(read("nothing").await, None);
        assert_eq!(read("bin").await, None);
        assert_eq!(
            bed.workshop.top(&id).await.unwrap(),
            ["Dockerfile", "bin/", "copy", "latest"]
        );
        let about = bed.tree(name).join("bin/run").metadata().unwrap();
        assert_eq!(about.permissions().mode() & 0o7777, 0o755, "no setuid bit");
        assert_ne!(about.uid(), 4_242, "the archive's owner is not taken over");
        let limit = bed
            .workshop
            .read(&id, &"Dockerfile".parse().unwrap(), 5)
            .await;
        assert!(told(limit).contains("more than 5 bytes"));
        // Once more, as after a crash: what is ready is not made again.
        std::fs::write(bed.tree(name).join("mark"), "").unwrap();
        let upload: UploadId = format!("up-1-{name}").parse().unwrap();
        let again = bed.open(name, &Origin::Upload { id: upload }, None).await;
        assert_eq!(again.unwrap(), opened);
        assert!(bed.tree(name).join("mark").exists());
        bed.workshop.discard(&id).await.unwrap();
        bed.workshop.discard(&id).await.unwrap();
        assert!(!bed.tree(name).exists());
    }
}

#[tokio::test]
async fn nothing_is_written_outside_and_nothing_but_files_folders_and_links() {
    let bed = Bed::new();
    let outside = bed.directory.0.join("outside");
    let outside = outside.to_str().unwrap();
    let deep = "a/".repeat(49) + "f";
    let special = |kind: EntryType| Entry {
        name: "odd",
        kind,
        ..Entry::default()
    };
    let hard = |name: &'static str, target: &'static str| Entry {
        name,
        kind: EntryType::Link,
        link: target,
        ..Entry::default()
    };
    let long = "n".repeat(90_000);
    let cases: Vec<(&str, Vec<Entry<'_>>)> = vec![
        ("'..'", vec![file("../outside", "x")]),
        ("'..'", vec![file("a/../../outside", "x")]),
        ("'..'", vec![file("a/b/../c", "x")]),
        ("absolute name", vec![file(outside, "x")]),
        ("leads out", vec![link("a", "/etc/passwd")]),
        ("leads out", vec![link("a/b", "../../outside")]),
        // Each is inside if read as text; both together are not.
        (
            "leads out",
            vec![link("a", "."), link("d/b", ".."), link("x", "d/b/../y")],
        ),
        ("leads out", vec![link("a", "b"), link("b", "a")]),
        (
            "is a link in the same source",
            vec![link("a", "b"), file("a/x", "x")],
        ),
        (
            "is a link in the same source",
            vec![link("a", "."), file("a", "x")],
        ),
        ("is below a file", vec![file("a", "x"), file("a/b", "x")]),
        (
            "a folder and a file",
            vec![file("a/b", "x"), file("a", "x")],
        ),
        (
            "a folder and a link",
            vec![file("a/b", "x"), link("a", "c")],
        ),
        ("no file that came before", vec![hard("a", "/etc/passwd")]),
        ("absolute name", vec![hard("/a", "b")]),
        (
            "no file that came before",
            vec![file("b", "x"), hard("a", "../outside")],
        ),
        (
            "no file that came before",
            vec![link("l", "b"), hard("a", "l")],
        ),
        ("is a device", vec![special(EntryType::Char)]),
        ("is a device", vec![special(EntryType::Block)]),
        ("is a named pipe", vec![special(EntryType::Fifo)]),
        ("neither a file", vec![special(EntryType::new(b's'))]),
        ("sparse", vec![special(EntryType::GNUSparse)]),
        (
            "described by more than",
            vec![Entry {
                data: long.as_bytes(),
                ..special(EntryType::GNULongName)
            }],
        ),
        (
            "two different sizes",
            vec![
                Entry {
                    data: b"9 size=7\n",
                    ..special(EntryType::XHeader)
                },
                file("a", "x"),
            ],
        ),
        (
            "NUL byte",
            vec![
                Entry {
                    data: b"12 path=a\0b\n",
                    ..special(EntryType::XHeader)
                },
                file("a", "x"),
            ],
        ),
        (
            "'..'",
            vec![
                Entry {
                    data: b"15 path=../out\n",
                    ..special(EntryType::XHeader)
                },
                file("a", "x"),
            ],
        ),
        (
            "damaged",
            vec![Entry {
                size: Some(1_000_000),
                ..file("a", "x")
            }],
        ),
    ];
    for (number, (says, entries)) in cases.into_iter().enumerate() {
        let text = told(bed.upload(&format!("n{number}"), archive(&entries)).await);
        assert!(
            text.starts_with("Refused") && text.contains(says),
            "{number}: {says}: {text}"
        );
    }
    let many = [file(&deep, "x"), file("n/f", "x")];
    bed.upload("deep", archive(&many)).await.unwrap();
    bed.workshop.discard(&deployment("deep")).await.unwrap();
    assert!(!bed.directory.0.join("outside").exists());
    bed.assert_nothing_left();
}

#[tokio::test]
async fn names_that_are_too_deep_or_too_many_are_refused() {
    let bed = Bed::new();
    let deep = "d/".repeat(120) + "f";
    let entries = [
        Entry {
            name: "long",
            kind: EntryType::GNULongName,
            data: deep.as_bytes(),
            ..Entry::default()
        },
        file("f", "x"),
    ];
    let text = told(bed.upload("deep", archive(&entries)).await);
    assert!(text.contains("in too many folders"), "{text}");
    let wide = "w".repeat(300);
    let entries = [
        Entry {
            name: "long",
            kind: EntryType::GNULongName,
            data: wide.as_bytes(),
            ..Entry::default()
        },
        file("f", "x"),
    ];
    let text = told(bed.upload("wide", archive(&entries)).await);
    assert!(text.contains("name that is too long"), "{text}");
    let names: Vec<String> = (0..1_001).map(|number| format!("f{number}")).collect();
    let entries: Vec<Entry<'_>> = names.iter().map(|name| file(name, "")).collect();
    let text = told(bed.upload("many", archive(&entries)).await);
    assert!(text.contains("more than 1000 files"), "{text}");
    // Folders that nobody named count as well.
    let names: Vec<String> = (0..300).map(|number| format!("{number}/a/b/c")).collect();
    let entries: Vec<Entry<'_>> = names.iter().map(|name| file(name, "")).collect();
    let text = told(bed.upload("implied", archive(&entries)).await);
    assert!(text.contains("more than 1000 files"), "{text}");
    bed.assert_nothing_left();
}

/// 10 GiB of zeros in some 10 MiB: a gzip of many parts is a gzip.
fn zeros(first: &[u8], each: &[u8]) -> Vec<u8> {
    let mut bytes = gzip(first);
    let part = gzip(each);
    for _ in 0..10 * 1024 {
        bytes.extend_from_slice(&part);
    }
    assert!((bytes.len() as u64) < 16 * MIB);
    bytes
}

#[tokio::test]
async fn bombs_end_early_and_leave_nothing() {
    let bed = Bed::new();
    let mebi = vec![0; 1024 * 1024];
    let hidden = |kind: EntryType| {
        let header = Entry {
            name: "hidden",
            kind,
            size: Some(10 * 1024 * MIB),
            ..Entry::default()
        };
        zeros(&block(&header), &mebi)
    };
    let one = Entry {
        name: "zeros",
        data: &mebi,
        ..Entry::default()
    };
    let began = Instant::now();
    for (name, bytes) in [
        ("one-file", hidden(EntryType::Regular)),
        ("many-files", zeros(&[], &block(&one))),
        ("in-a-folder", hidden(EntryType::Directory)),
        ("in-a-name", hidden(EntryType::GNULongName)),
        ("in-a-record", hidden(EntryType::XHeader)),
    ] {
        let text = told(bed.upload(name, bytes).await);
        let expected = if name.starts_with("in-a-n") || name.starts_with("in-a-r") {
            "described by more than"
        } else {
            "when unpacked"
        };
        assert!(
            text.starts_with("Refused") && text.contains(expected),
            "{name}: {text}"
        );
    }
    assert!(
        began.elapsed() < Duration::from_mins(1),
        "{:?}",
        began.elapsed()
    );
    // Hard links to one file are copies, and count.
    let large = vec![b'x'; 3 * 1024 * 1024];
    let first = Entry {
        name: "large",
        data: &large,
        ..Entry::default()
    };
    let again = |name| Entry {
        name,
        kind: EntryType::Link,
        link: "large",
        ..Entry::default()
    };
    let text = told(
        bed.upload("links", archive(&[first, again("a"), again("b")]))
            .await,
    );
    assert!(text.contains("more than 8 MiB"), "{text}");
    bed.assert_nothing_left();
}

#[tokio::test]
async fn what_is_no_archive_is_said_to_be_none() {
    let bed = Bed::new();
    let cut = {
        let mut whole = gzip(&archive(&plain()));
        whole.truncate(whole.len() / 2);
        whole
    };
    for (name, bytes, says) in [
        ("zip", b"PK\x03\x04".repeat(200), "a zip archive"),
        ("text", b"hello".to_vec(), "no archive"),
        ("noise", vec![b'x'; 4_096], "damaged"),
        ("cut", cut, "damaged"),
        ("end", vec![0; 1_024], "is empty"),
        ("nothing", Vec::new(), "is empty"),
    ] {
        let text = told(bed.upload(name, bytes).await);
        assert!(
            text.starts_with("Refused") && text.contains(says),
            "{name}: {text}"
        );
    }
    let missing = Origin::Upload {
        id: "up-1-gone".parse().unwrap(),
    };
    let text = told(bed.open("missing", &missing, None).await);
    assert!(text.starts_with("NotFound"), "{text}");
    bed.assert_nothing_left();
}

#[tokio::test]
async fn an_upload_without_end_is_stopped_and_removed() {
    let bed = Bed::new();
    let id: UploadId = "up-1-endless".parse().unwrap();
    let endless = futures_util::stream::repeat_with(|| Ok(bytes::Bytes::from(vec![7; 100_000])));
    let text = told(bed.workshop.receive(&id, endless.boxed()).await);
    assert!(text.contains("more than 16 MiB"), "{text}");
    let broken = futures_util::stream::iter([
        Ok(bytes::Bytes::from_static(b"begin")),
        Err(std::io::ErrorKind::ConnectionReset.into()),
    ]);
    let text = told(bed.workshop.receive(&id, broken.boxed()).await);
    assert!(text.contains("before it was complete"), "{text}");
    let left = std::fs::read_dir(bed.place("uploads")).unwrap().count();
    assert_eq!(left, 0);
    let whole = futures_util::stream::iter([Ok(bytes::Bytes::from_static(b"abc"))]);
    let received = bed.workshop.receive(&id, whole.boxed()).await.unwrap();
    assert_eq!(received.bytes, 3);
    assert!(
        received.sha256.starts_with("ba7816bf8f01cfea"),
        "{received:?}"
    );
}

#[tokio::test]
async fn tidying_removes_the_old_and_the_finished_only() {
    let bed = Bed::new();
    bed.upload("old", archive(&plain())).await.unwrap();
    bed.upload("new", archive(&plain())).await.unwrap();
    bed.upload("young", archive(&plain())).await.unwrap();
    let old = bed.place("uploads/up-1-old");
    let long_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    std::fs::File::options()
        .write(true)
        .open(&old)
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    for name in ["old", "new"] {
        let mut tree = bed.tree(name);
        // Whatever of it lies directly in the directory of trees.
        while tree.parent().and_then(|up| up.file_name()) != Some("trees".as_ref()) {
            assert!(tree.pop());
        }
        let tree = std::fs::File::open(tree).unwrap();
        tree.set_modified(long_ago).unwrap();
    }
    let before = time::OffsetDateTime::UNIX_EPOCH + Duration::from_secs(2_000);
    bed.workshop
        .tidy(before, &[deployment("new")])
        .await
        .unwrap();
    assert!(!old.exists() && bed.place("uploads/up-1-new").exists());
    assert!(!bed.tree("old").exists() && bed.tree("new").exists());
    // Its deployment may have begun after it was asked which are unfinished.
    assert!(bed.tree("young").exists());
}
