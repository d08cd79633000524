//! What the log of a deployment comes to.

use flukedeploy_domain::access::Actor;
use flukedeploy_domain::deployment::DeploymentId;
use flukedeploy_domain::log_entry::{Level, LogFilter};
use flukedeploy_platform::logs::ReadLogs;
use flukedeploy_platform::patterns::Summary;
use flukedeploy_platform::summary::summarise;

use crate::bench::{Life, World, service, settings, until};

fn lines(lines: &[&str]) -> Vec<(bool, String)> {
    lines
        .iter()
        .map(|line| (false, (*line).to_owned()))
        .collect()
}

fn summary(life: &Life<'_>, filter: LogFilter) -> Summary {
    let request = ReadLogs {
        filter,
        limit: 1,
        ..ReadLogs::default()
    };
    life.run(summarise(&life.px, &Actor::system(), request))
        .unwrap()
}

fn of_release(number: u32) -> LogFilter {
    LogFilter {
        app_name: Some("shop".to_owned()),
        release: Some(number),
        ..LogFilter::default()
    }
}

fn of_deployment(id: &DeploymentId) -> LogFilter {
    LogFilter {
        deployment_id: Some(id.to_string()),
        ..LogFilter::default()
    }
}

#[test]
fn what_a_release_says_for_the_first_time_is_marked() {
    let world = World::new();
    let usual = ["listening on port 8080", "GET /cart/17 took 12 ms"];
    let unusual = [
        "listening on port 8081",
        "GET /cart/4 took 90 ms",
        "level=error msg=\"no stock for item 9\"",
    ];
    *world.swarm.prints.lock().unwrap() = vec![
        (service("shop", 1), lines(&usual)),
        (service("shop", 2), lines(&unusual)),
    ];
    let life = world.boot();
    life.create_app("shop", settings(1));
    let first = life.ship("shop", "shop:v1");
    let second = life.ship("shop", "shop:v2");
    until("what both print", || {
        life.told("shop", "port 8080") && life.told("shop", "no stock")
    });
    let of_first = summary(&life, of_deployment(&first.id));
    assert_eq!(
        of_first.compared_with_release, None,
        "nothing served before"
    );
    assert!(of_first.patterns.iter().all(|pattern| !pattern.is_new));

    let of_second = summary(&life, of_release(2));
    assert_eq!(of_second.compared_with_release, Some(1));
    let is_new = of_second.patterns.iter().filter(|pattern| pattern.is_new);
    let new: Vec<_> = is_new.map(|p| (p.level, p.template.as_str())).collect();
    assert_eq!(new, [(Level::Error, "no stock for item <NUM>")]);

    // What the platform says of every deployment is not new in the second.
    let whole = summary(&life, of_deployment(&second.id));
    assert_eq!(whole.compared_with_release, Some(1));
    let told_anew = whole
        .patterns
        .iter()
        .filter(|pattern| pattern.is_new && pattern.template.starts_with("Phase"));
    assert_eq!(told_anew.count(), 0, "{:#?}", whole.patterns);
    // Who names another app than the deployment's sees nothing of it.
    let foreign = LogFilter {
        app_name: Some("blog".to_owned()),
        ..of_deployment(&second.id)
    };
    assert_eq!(summary(&life, foreign).compared_with_release, None);
}
