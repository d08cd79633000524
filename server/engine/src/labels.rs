//! What this instance's objects are called, and how they are told from all others.

use std::collections::HashMap;

use flukedeploy_domain::names::InstanceName;

pub(crate) const INSTANCE: &str = "com.flukedeploy.instance";
/// `release`, `job` or `ingress`; of secrets of apps `secret`.
pub(crate) const ROLE: &str = "com.flukedeploy.role";
/// The service's name, on its containers: Swarm's own label is not on its tasks.
pub(crate) const SERVICE: &str = "com.flukedeploy.service";
/// Docker's own, on every container that Swarm starts.
pub(crate) const SWARM_SERVICE: &str = "com.docker.swarm.service.name";
pub(crate) const SWARM_SERVICE_ID: &str = "com.docker.swarm.service.id";
pub(crate) const SWARM_TASK_ID: &str = "com.docker.swarm.task.id";
pub(crate) const SWARM_NODE_ID: &str = "com.docker.swarm.node.id";

pub(crate) const RELEASE: &str = "release";
pub(crate) const JOB: &str = "job";
pub(crate) const INGRESS: &str = "ingress";
pub(crate) const SECRET: &str = "secret";

#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) instance: InstanceName,
}

impl Names {
    pub(crate) fn network(&self) -> String {
        format!("fd-{}-net", self.instance)
    }

    pub(crate) fn ingress(&self) -> String {
        format!("fd-{}-ingress", self.instance)
    }

    /// Repository of the image made from this program, without its tag.
    pub(crate) fn program_repository(&self) -> String {
        format!("fd-{}/flukedeploy", self.instance)
    }

    pub(crate) fn sample_repository(&self) -> String {
        format!("fd-{}/sample", self.instance)
    }

    /// Start of the names of all services of this instance. Of no other use than to pick out
    /// hints: instance `a` with app `b-c` and instance `a-b` with app `c` share it.
    pub(crate) fn prefix(&self) -> String {
        format!("fd-{}-", self.instance)
    }

    pub(crate) fn owner(&self) -> HashMap<String, String> {
        HashMap::from([(INSTANCE.to_owned(), self.instance.to_string())])
    }

    /// `com.flukedeploy.instance=<instance>`.
    pub(crate) fn owner_filter(&self) -> String {
        format!("{INSTANCE}={}", self.instance)
    }

    /// For bollard's list calls.
    pub(crate) fn owned(&self) -> HashMap<String, Vec<String>> {
        HashMap::from([("label".to_owned(), vec![self.owner_filter()])])
    }

    pub(crate) fn owns(&self, labels: Option<&HashMap<String, String>>) -> bool {
        labels
            .and_then(|labels| labels.get(INSTANCE))
            .is_some_and(|instance| instance == self.instance.as_str())
    }
}
