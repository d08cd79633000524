//! What many entries come to, and what is new in them since the release that served before.

use std::time::Duration;

use flukedeploy_domain::access::{Actor, Resource, may_know_of};
use flukedeploy_domain::deployment::{Deployment, DeploymentId};
use flukedeploy_domain::log_entry::LogFilter;
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::release::ReleaseNo;

use crate::error::Error;
use crate::logs::ReadLogs;
use crate::patterns::{Patterns, Summary};
use crate::platform::Platform;
use crate::ports::{LogQuery, Order, Paging};

/// Newest entries that a summary is made of.
const MAX_SUMMARISED: usize = 20_000;
/// Newest entries of a former release, and of its deployment, that are compared with.
const MAX_COMPARED: usize = 10_000;
/// How long reading them may take; what was read by then is compared with.
const COMPARING: Duration = Duration::from_secs(3);
/// Patterns that a summary tells apart.
const MAX_PATTERNS: usize = 100;
/// Patterns of a former release: more, else one that did not fit would seem new.
const MAX_FORMER_PATTERNS: usize = 500;
/// Releases and deployments among which the former one is looked for, the newest first.
const REACH: u32 = 100;

/// What the newest matching entries come to: counts, patterns, the first error and its neighbours.
/// Of a deployment or a release of an app, also which patterns the healthy release that served
/// before it has not.
pub async fn summarise(px: &Platform, actor: &Actor, request: ReadLogs) -> Result<Summary, Error> {
    let filter = request.filter.clone();
    let (query, mut paging) = request.query(px, actor)?;
    px.parts().journal.flush().await;
    (paging.order, paging.limit, paging.offset) = (Order::NewestFirst, MAX_SUMMARISED, 0);
    let mut patterns = Patterns::new(MAX_PATTERNS);
    add(px, &query, paging.limit, &mut patterns).await?;
    let mut summary = patterns.finish();
    if let Some(former) = former(px, actor, &filter).await? {
        let known = patterns_of(px, &former).await?;
        // One of which nothing is kept would make everything new.
        if known.entries > 0 {
            summary.compare(&known, former.number.0);
        }
    }
    Ok(summary)
}

async fn add(
    px: &Platform,
    query: &LogQuery,
    limit: usize,
    patterns: &mut Patterns,
) -> Result<(), Error> {
    let paging = Paging {
        order: Order::NewestFirst,
        limit,
        ..Paging::default()
    };
    let page = px.parts().log_store.page(query, &paging).await?;
    for line in page.lines.iter().rev() {
        patterns.add(&line.entry);
    }
    Ok(())
}

/// A release that was well, and who asks may see.
struct Former {
    app: AppName,
    environment: EnvironmentName,
    number: ReleaseNo,
}

/// The release that served before what the filter asks for, if the actor may see it.
async fn former(px: &Platform, actor: &Actor, filter: &LogFilter) -> Result<Option<Former>, Error> {
    let named = match filter.app_name.as_deref().map(str::parse::<AppName>) {
        None => None,
        Some(Ok(app)) => Some(app),
        Some(Err(_)) => return Ok(None),
    };
    let store = &px.parts().store;
    let (app, environment, before, served) = if let Some(id) = &filter.deployment_id {
        let Ok(id) = id.parse::<DeploymentId>() else {
            return Ok(None);
        };
        let Some(deployment) = store.deployment(&id).await? else {
            return Ok(None);
        };
        let Deployment {
            app,
            environment,
            release,
            from_release,
            ..
        } = deployment;
        if named.is_some_and(|named| named != app) {
            return Ok(None);
        }
        (app, environment, release, from_release)
    } else {
        let (Some(app), Some(release)) = (named, filter.release) else {
            return Ok(None);
        };
        let environment = match &filter.environment {
            None => EnvironmentName::production(),
            Some(name) => match name.parse() {
                Ok(name) => name,
                Err(_) => return Ok(None),
            },
        };
        (app, environment, Some(ReleaseNo(release)), None)
    };
    let target = Resource::Environment(&app, &environment);
    if !may_know_of(actor, target) {
        return Ok(None);
    }
    let releases = store.releases(&app, &environment, REACH).await?;
    let was_healthy = |number: ReleaseNo| {
        let of_number = releases.iter().find(|release| release.number == number);
        of_number.is_some_and(|release| release.was_healthy)
    };
    let served = served.filter(|served| Some(*served) != before && was_healthy(*served));
    let number = served.or_else(|| {
        let healthy = releases.iter().filter(|release| release.was_healthy);
        let mut numbers = healthy.map(|release| release.number);
        numbers.find(|number| before.is_none_or(|before| number.0 < before.0))
    });
    Ok(number.map(|number| Former {
        app,
        environment,
        number,
    }))
}

/// What a release printed, and what was told while it was deployed.
async fn patterns_of(px: &Platform, former: &Former) -> Result<Summary, Error> {
    let Former {
        app,
        environment,
        number,
    } = former;
    let of_app = LogFilter {
        app_name: Some(app.to_string()),
        ..LogFilter::default()
    };
    let mut filters = vec![LogFilter {
        environment: Some(environment.to_string()),
        release: Some(number.0),
        ..of_app.clone()
    }];
    let store = &px.parts().store;
    let deployments = store.deployments_of(app, Some(environment), REACH).await?;
    // The oldest of them made it; later ones scaled it or went back to it.
    let made = deployments
        .into_iter()
        .rev()
        .find(|deployment| deployment.release == Some(*number));
    filters.extend(made.map(|deployment| LogFilter {
        deployment_id: Some(deployment.id.to_string()),
        ..of_app
    }));
    let mut patterns = Patterns::new(MAX_FORMER_PATTERNS);
    for filter in filters {
        let query = LogQuery {
            filter,
            budget: Some(COMPARING),
            ..LogQuery::default()
        };
        add(px, &query, MAX_COMPARED, &mut patterns).await?;
    }
    Ok(patterns.finish())
}
