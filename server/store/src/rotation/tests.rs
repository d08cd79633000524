//! A change of the key that is cut off at each of its steps, as a crash would.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::database::open_alone;
use crate::error::missing;
use crate::memory;

struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn dir() -> (Dir, PathBuf) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("flukedeploy-rotation-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir(&path).unwrap();
    let database = path.join("test.db");
    std::fs::write(&database, "").unwrap();
    (Dir(path), database)
}

async fn value(path: &Path) -> (Option<String>, Vec<Key>) {
    let (mut connection, file) = open_alone(path).await.unwrap();
    let sealer = sealer(&mut connection, &file).await.unwrap();
    let value = memory::get(&mut connection, &sealer, "a").await.unwrap();
    let keys = file.read().unwrap().unwrap();
    assert_eq!(keys[0].id, sealer.key_id());
    connection.close().await.unwrap();
    (value, keys)
}

#[tokio::test]
async fn cut_off_at_any_step_it_has_happened_or_not() {
    for (cut, has_happened) in [
        (Step::BothInFile, false),
        (Step::SealedAnew, false),
        (Step::Committed, true),
        (Step::Cleaned, true),
    ] {
        let (_dir, path) = dir();
        let (mut connection, file) = open_alone(&path).await.unwrap();
        let first = sealer(&mut connection, &file).await.unwrap();
        memory::put(&mut connection, &first, "a", "kept")
            .await
            .unwrap();
        let mut reached = Vec::new();
        let mut at = |step| {
            reached.push(step);
            if step == cut {
                Err(missing("the power"))
            } else {
                Ok(())
            }
        };
        let stopped = rotate(&mut connection, &file, &mut at).await;
        stopped.unwrap_err();
        assert_eq!(reached.last(), Some(&cut));
        assert_eq!(file.read().unwrap().unwrap().len(), 2, "{cut:?}");
        // Gone without a word, as in a crash.
        drop(connection);

        let (found, keys) = value(&path).await;
        assert_eq!(found.as_deref(), Some("kept"), "{cut:?}");
        assert_eq!(
            keys.len(),
            1,
            "the next start puts the file in order: {cut:?}"
        );
        assert_eq!(keys[0].id != first.key_id(), has_happened, "{cut:?}");
        let bytes = std::fs::read(&path).unwrap();
        let old = first.key_id().as_bytes();
        let knows_old = bytes.windows(old.len()).any(|window| window == old);
        assert_eq!(knows_old, !has_happened, "{cut:?}");

        // And it can be done again.
        let rotated = rotate_at(&path).await.unwrap();
        let (found, keys) = value(&path).await;
        assert_eq!((found.as_deref(), keys.len()), (Some("kept"), 1));
        assert_eq!(keys[0].id, rotated.key);
    }
}

#[tokio::test]
async fn a_key_file_that_was_made_before_a_crash_is_used() {
    let (_dir, path) = dir();
    let file = KeyFile::beside(&path);
    let made = file.create().unwrap();
    // Half of another one.
    std::fs::write(path.with_file_name("secret.key.new"), "half").unwrap();
    assert!(
        file.create().is_err(),
        "a key file is never replaced by a new one"
    );
    let (_, keys) = value(&path).await;
    assert_eq!(keys, [made]);
}
