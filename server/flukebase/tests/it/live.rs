//! Live news from servers that give them, and from those that do not.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use flukedeploy_platform::ports::{Flukebase as _, LiveEnd, LiveEvent};

use crate::stand_in::{Cable, StandIn, TOKEN};
use crate::{access, client, project};

async fn listened(cable: Cable) -> (LiveEnd, Vec<LiveEvent>, StandIn) {
    let there = StandIn::start(0).await;
    there.inside().cable = cable;
    let heard = Mutex::new(Vec::new());
    let note = |event| heard.lock().unwrap().push(event);
    let end = client().listen(&access(&there), &[project()], &note).await;
    (end, heard.into_inner().unwrap(), there)
}

#[tokio::test]
async fn who_is_accepted_hears_of_tasks_and_comes_back_after_a_restart() {
    let (end, heard, there) = listened(Cable::Accepts).await;
    let project = project();
    assert_eq!(
        heard,
        [
            LiveEvent::Joined { project },
            LiveEvent::TaskChanged { project }
        ]
    );
    assert!(matches!(end, LiveEnd::Broken(_)), "{end:?}");
    let headers = &there.asked()[0].headers;
    assert_eq!(headers["origin"], format!("http://{}", there.address));
    assert_eq!(headers["authorization"], format!("Bearer {TOKEN}"));
    assert_eq!(headers["sec-websocket-protocol"], "actioncable-v1-json");
}

#[tokio::test]
async fn servers_of_today_reject_a_token_and_are_left_alone() {
    for cable in [
        Cable::Unauthorised,
        Cable::Forbidden,
        Cable::RejectsSubscriptions,
    ] {
        let (end, heard, _) = listened(cable).await;
        assert!(matches!(end, LiveEnd::Rejected(_)), "{cable:?}: {end:?}");
        assert!(heard.is_empty());
    }
}

#[tokio::test]
async fn who_closes_garbles_or_floods_is_broken() {
    for cable in [Cable::ClosesAtOnce, Cable::Garbles, Cable::Enormous] {
        let begun = Instant::now();
        let (end, heard, _) = listened(cable).await;
        assert!(matches!(end, LiveEnd::Broken(_)), "{cable:?}: {end:?}");
        assert!(heard.is_empty() && begun.elapsed() < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn who_says_nothing_is_left_after_a_while() {
    let begun = Instant::now();
    let (end, _, _) = listened(Cable::Quiet).await;
    assert!(matches!(end, LiveEnd::Broken(_)), "{end:?}");
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_secs(12) && took < Duration::from_secs(20),
        "{took:?}"
    );
}
