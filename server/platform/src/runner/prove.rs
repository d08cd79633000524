//! The last proof: a request through the ingress was answered by the new release.

use std::time::Duration;

use flukedeploy_domain::deployment::{Deployment, PhaseName};
use flukedeploy_domain::diagnosis::{Cause, Diagnosis, Evidence};
use flukedeploy_domain::health::HealthProbe;
use flukedeploy_domain::release::Release;

use super::drive::Stop;
use crate::platform::Platform;

const TRIES: u32 = 3;

/// `success` is said only when the ingress has answered a request through the new release. What
/// speaks no HTTP says so in its settings, and is proved by its health gate alone.
pub(super) async fn served(
    px: &Platform,
    deployment: &Deployment,
    release: &Release,
) -> Result<(), Stop> {
    let settings = &release.settings;
    let Some(host) = px
        .config()
        .host_of(&deployment.app, &deployment.environment)
        .filter(|_| settings.expose_http)
    else {
        return Ok(());
    };
    // Without a path of its own any answer of the app will do: it only has to be the app's.
    let (path, expected) = match &settings.health.probe {
        HealthProbe::Http {
            path,
            expect_status,
        } => (path.as_str(), Some(*expect_status)),
        HealthProbe::Tcp | HealthProbe::Docker | HealthProbe::Command { .. } => ("/", None),
    };
    let service = release.service_name(&px.config().instance);
    let is_good = |status: u16| match expected {
        Some(wanted) => status < 500 || Some(status) == wanted,
        None => true,
    };
    let mut last = String::new();
    for _ in 0..TRIES {
        let timeout_ms = settings.health.timeout_ms.max(2_000);
        let answers = tokio::select! {
            () = px.stopping().cancelled() => return Err(Stop::Interrupted),
            answers = px.parts().traffic.request(&host, path, timeout_ms) => answers,
        };
        match answers {
            // An answer of nobody proves nothing.
            Ok(answers)
                if !answers.is_empty()
                    && answers.iter().all(|served| {
                        served.service.as_deref() == Some(&service)
                            && served.status.is_some_and(is_good)
                    }) =>
            {
                return Ok(());
            }
            Ok(answers) => last = format!("{answers:?}"),
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    Err(Diagnosis {
        code: Cause::NotServedByIngress,
        phase: PhaseName::Deploy,
        message: format!(
            "the replicas are healthy, but a request for {host} through the ingress did not reach them"
        ),
        evidence: Evidence {
            health_answer: Some(last),
            ..Evidence::default()
        },
        next: vec![
            "set expose_http to false if the app speaks no HTTP".to_owned(),
            "run 'flukedeploy doctor' on the node".to_owned(),
        ],
    }
    .into())
}
