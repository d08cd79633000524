//! Which images nothing needs any more.

use std::collections::HashSet;

use crate::error::Error;
use crate::platform::Platform;
use crate::ports::ImageHere;

/// Deployments that are looked through for images.
const DEPLOYMENTS: u32 = 5_000;
/// Releases of one environment.
const RELEASES: u32 = 10_000;

/// Images on this node that former deployments of ours brought, and that no release that can be gone
/// back to, none that serves and no deployment under way needs. What others brought is theirs.
pub(super) async fn unneeded(px: &Platform) -> Result<Vec<ImageHere>, Error> {
    let store = &px.parts().store;
    let brought: Vec<String> = store
        .recent_deployments(DEPLOYMENTS)
        .await?
        .into_iter()
        .filter_map(|deployment| Some(deployment.image?.pinned))
        .collect();
    let kept = needed(px).await?;
    let candidates: HashSet<String> = brought
        .into_iter()
        .filter(|pinned| !kept.contains(pinned))
        .collect();
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let kept: Vec<String> = kept.into_iter().collect();
    let kept_here = px.parts().upkeep.images_here(&kept).await?;
    // One image may have several names.
    let ids: HashSet<String> = kept_here.into_iter().map(|image| image.id).collect();
    let mut candidates: Vec<String> = candidates.into_iter().collect();
    candidates.sort();
    let mut found = px.parts().upkeep.images_here(&candidates).await?;
    found.retain(|image| !ids.contains(&image.id));
    Ok(found)
}

/// Whether nothing has come to need it meanwhile.
pub(super) async fn is_still_unneeded(px: &Platform, image: &ImageHere) -> Result<bool, Error> {
    Ok(px.parts().store.unfinished_deployments().await?.is_empty()
        && !needed(px).await?.contains(&image.pinned))
}

/// Releases that were healthy once can be gone back to, however long ago it was.
async fn needed(px: &Platform) -> Result<HashSet<String>, Error> {
    let store = &px.parts().store;
    let mut needed = HashSet::new();
    let mut named = HashSet::new();
    for deployment in store.unfinished_deployments().await? {
        needed.extend(deployment.image.map(|image| image.pinned));
        for number in [deployment.release, deployment.from_release] {
            let (app, environment) = (&deployment.app, &deployment.environment);
            named.extend(number.map(|number| (app.clone(), environment.clone(), number)));
        }
    }
    for environment in store.environments().await? {
        let (app, name) = (&environment.app, &environment.name);
        let standby = environment.standby.map(|standby| standby.release);
        let probation = environment.probation.as_ref().map(|one| one.release);
        for release in store.releases(app, name, RELEASES).await? {
            let number = Some(release.number);
            let serves = [environment.active_release, standby, probation].contains(&number)
                || named.contains(&(app.clone(), name.clone(), release.number));
            if serves || release.was_healthy {
                needed.insert(release.image.pinned);
            }
        }
    }
    Ok(needed)
}
