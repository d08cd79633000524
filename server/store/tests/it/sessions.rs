use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use flukedeploy_domain::timestamp::{from_unix_ms, to_unix_ms};
use flukedeploy_platform::ports::Clock;
use flukedeploy_store::SessionStore;
use time::{Duration, OffsetDateTime};
use tower_sessions::SessionStore as _;
use tower_sessions::session::{Id, Record};

use crate::support::*;

struct Hands(AtomicI64);

impl Hands {
    fn forward(&self, by: Duration) {
        let ms = i64::try_from(by.whole_milliseconds()).unwrap();
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for Hands {
    fn now(&self) -> OffsetDateTime {
        from_unix_ms(self.0.load(Ordering::Relaxed))
    }
}

async fn sessions() -> (Dir, SessionStore, Arc<Hands>) {
    let (dir, store) = open().await;
    let clock = Arc::new(Hands(AtomicI64::new(to_unix_ms(NOW))));
    (dir, store.sessions(clock.clone()), clock)
}

fn record(id: i128, value: &str) -> Record {
    Record {
        id: Id(id),
        data: HashMap::from([("account".to_owned(), value.into())]),
        expiry_date: NOW + Duration::hours(1),
    }
}

#[tokio::test]
async fn a_session_is_created_changed_and_deleted() {
    let (_dir, sessions, _) = sessions().await;
    let mut session = record(1, "a1");
    sessions.create(&mut session).await.unwrap();
    assert_eq!(session.id, Id(1));
    assert_eq!(sessions.load(&Id(1)).await.unwrap().unwrap(), session);
    assert_eq!(sessions.load(&Id(2)).await.unwrap(), None);

    session.data.insert("flash".to_owned(), "saved".into());
    session.expiry_date = NOW + Duration::hours(2);
    sessions.save(&session).await.unwrap();
    assert_eq!(sessions.load(&Id(1)).await.unwrap().unwrap(), session);

    sessions.delete(&Id(1)).await.unwrap();
    sessions.delete(&Id(1)).await.unwrap();
    assert_eq!(sessions.load(&Id(1)).await.unwrap(), None);
    // A request that began before the sign-out does not bring it back.
    sessions.save(&session).await.unwrap();
    assert_eq!(sessions.load(&Id(1)).await.unwrap(), None);
}

#[tokio::test]
async fn a_taken_id_is_not_overwritten() {
    let (_dir, sessions, _) = sessions().await;
    let mut first = record(7, "a1");
    let mut second = record(7, "a2");
    sessions.create(&mut first).await.unwrap();
    sessions.create(&mut second).await.unwrap();
    assert_ne!(second.id, Id(7));
    assert_eq!(sessions.load(&Id(7)).await.unwrap().unwrap(), first);
    assert_eq!(sessions.load(&second.id).await.unwrap().unwrap(), second);
}

#[tokio::test]
async fn expired_sessions_are_refused_and_swept() {
    let (_dir, sessions, clock) = sessions().await;
    let mut short = record(1, "a1");
    let mut long = record(2, "a2");
    long.expiry_date = NOW + Duration::hours(3);
    sessions.create(&mut short).await.unwrap();
    sessions.create(&mut long).await.unwrap();
    assert_eq!(sessions.delete_expired().await.unwrap(), 0);
    clock.forward(Duration::hours(1));
    assert_eq!(sessions.load(&Id(1)).await.unwrap(), None);
    assert_eq!(sessions.load(&Id(2)).await.unwrap().unwrap(), long);
    assert_eq!(sessions.delete_expired().await.unwrap(), 1);
    assert_eq!(sessions.delete_expired().await.unwrap(), 0);
    assert_eq!(sessions.load(&Id(2)).await.unwrap().unwrap(), long);
}

#[tokio::test]
async fn the_table_does_not_hold_what_the_cookie_holds() {
    let (dir, sessions, _) = sessions().await;
    let mut session = record(1, "a1");
    sessions.create(&mut session).await.unwrap();
    let stored: String = sqlx::query_scalar("SELECT id_hash || data FROM sessions")
        .fetch_one(&mut raw(&dir.path()).await)
        .await
        .unwrap();
    assert!(!stored.contains(&session.id.to_string()));
    assert!(!format!("{sessions:?}").contains("a1"));
}
