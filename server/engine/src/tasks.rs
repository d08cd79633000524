//! Swarm's tasks, folded to what decisions need.

use std::collections::HashMap;
use std::net::IpAddr;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::ListContainersOptions;
use flukedeploy_platform::ports::{EngineError, Task, TaskState};
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;

use crate::client::query;
use crate::engine::Inner;
use crate::labels::{
    JOB, ROLE, SERVICE, SWARM_NODE_ID, SWARM_SERVICE, SWARM_SERVICE_ID, SWARM_TASK_ID,
};
use crate::services::instant;

/// A task as the engine tells it. bollard's has no addresses.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawTask {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "ServiceID", default)]
    service_id: String,
    #[serde(rename = "NodeID", default)]
    node_id: String,
    #[serde(default)]
    slot: u32,
    #[serde(default)]
    created_at: String,
    #[serde(default)]
    desired_state: String,
    #[serde(default)]
    status: RawStatus,
    #[serde(default)]
    spec: RawSpec,
    #[serde(default)]
    networks_attachments: Option<Vec<RawAttachment>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawStatus {
    state: String,
    message: String,
    err: String,
    container_status: Option<RawContainer>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawContainer {
    #[serde(rename = "ContainerID")]
    container_id: String,
    exit_code: i64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawSpec {
    container_spec: Option<RawContainerSpec>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawContainerSpec {
    labels: Option<HashMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawAttachment {
    network: Option<RawNetwork>,
    addresses: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawNetwork {
    spec: RawNetworkSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawNetworkSpec {
    name: String,
}

impl Inner {
    /// Filtered by a label and not by name: Swarm keeps the tasks of a removed service until they
    /// have stopped, but no longer knows its name.
    pub(crate) async fn tasks(&self, service: &str) -> Result<Vec<Task>, EngineError> {
        let label = format!("{SERVICE}={service}");
        let raw = self.list_tasks(&[self.names.owner_filter(), label]).await?;
        let mut tasks = self.fold_all(raw);
        if tasks.is_empty() {
            tasks = self.leftovers(service).await?;
        }
        Ok(tasks)
    }

    /// Of releases and the ingress; who started a job asks for its tasks by name.
    pub(crate) async fn all_tasks(&self) -> Result<Vec<Task>, EngineError> {
        let mut raw = self.list_tasks(&[self.names.owner_filter()]).await?;
        raw.retain(|task| !is_job(task));
        Ok(self.fold_all(raw))
    }

    /// Whether anything of this instance runs, jobs too.
    pub(crate) async fn has_running_tasks(&self) -> Result<bool, EngineError> {
        let raw = self.list_tasks(&[self.names.owner_filter()]).await?;
        Ok(raw.iter().any(|task| {
            matches!(
                state(&task.status.state),
                TaskState::Running | TaskState::Starting
            )
        }))
    }

    fn fold_all(&self, raw: Vec<RawTask>) -> Vec<Task> {
        let network = self.names.network();
        let mut tasks: Vec<Task> = raw.into_iter().map(|raw| fold(raw, &network)).collect();
        tasks.sort_by_key(|task| std::cmp::Reverse(task.created_at));
        tasks
    }

    async fn list_tasks(&self, labels: &[String]) -> Result<Vec<RawTask>, EngineError> {
        let filters = json!({ "label": labels }).to_string();
        let path = format!("/tasks{}", query(&[("filters", &filters)]));
        self.client
            .call("listing tasks", self.client.get(&path))
            .await
    }

    /// Containers on this node that outlive Swarm's memory of their task.
    async fn leftovers(&self, service: &str) -> Result<Vec<Task>, EngineError> {
        let containers = self.containers_of(service).await?;
        let running = containers
            .into_iter()
            .filter(|container| container.state == Some(ContainerSummaryStateEnum::RUNNING));
        Ok(running
            .map(|container| leftover(service, container))
            .collect())
    }

    /// Containers of a service on this node, dead ones too.
    pub(crate) async fn containers_of(
        &self,
        service: &str,
    ) -> Result<Vec<ContainerSummary>, EngineError> {
        let labels = vec![
            self.names.owner_filter(),
            format!("{SWARM_SERVICE}={service}"),
        ];
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), labels)])),
            ..ListContainersOptions::default()
        };
        let listing = self.client.docker().list_containers(Some(options));
        self.client.call("listing containers", listing).await
    }
}

fn is_job(task: &RawTask) -> bool {
    let container = task.spec.container_spec.as_ref();
    container
        .and_then(|spec| spec.labels.as_ref()?.get(ROLE))
        .is_some_and(|role| role == JOB)
}

fn fold(raw: RawTask, network: &str) -> Task {
    let state = state(&raw.status.state);
    let container = raw
        .status
        .container_status
        .filter(|container| !container.container_id.is_empty());
    let has_ended = matches!(
        state,
        TaskState::Completed | TaskState::Failed | TaskState::Stopped
    );
    let exit_code = container
        .as_ref()
        .filter(|_| has_ended)
        .map(|container| container.exit_code);
    let service = raw
        .spec
        .container_spec
        .and_then(|spec| spec.labels)
        .and_then(|mut labels| labels.remove(SERVICE))
        .unwrap_or_default();
    Task {
        id: raw.id,
        service,
        service_id: raw.service_id,
        slot: raw.slot,
        node_id: Some(raw.node_id).filter(|id| !id.is_empty()),
        state,
        // "ready" is wanted too: Swarm holds a restart there until its delay is over.
        wanted: !matches!(
            raw.desired_state.as_str(),
            "shutdown" | "remove" | "orphaned"
        ),
        address: address(
            raw.networks_attachments.as_deref().unwrap_or_default(),
            network,
        ),
        container_id: container.map(|container| container.container_id),
        exit_code,
        message: message(state, raw.status.err, raw.status.message),
        created_at: instant(&raw.created_at),
    }
}

fn state(word: &str) -> TaskState {
    match word {
        "preparing" | "ready" | "starting" => TaskState::Starting,
        "running" => TaskState::Running,
        "complete" => TaskState::Completed,
        "failed" => TaskState::Failed,
        "rejected" => TaskState::Rejected,
        "shutdown" | "orphaned" | "remove" => TaskState::Stopped,
        // new, allocated, pending, assigned, accepted, and whatever is invented before them.
        _ => TaskState::Waiting,
    }
}

/// An error in Swarm's words; its running commentary ("started") only where that is the cause.
fn message(state: TaskState, error: String, commentary: String) -> Option<String> {
    if !error.is_empty() {
        return Some(error);
    }
    let tells = matches!(state, TaskState::Failed | TaskState::Rejected);
    Some(commentary).filter(|text| tells && !text.is_empty())
}

fn address(attachments: &[RawAttachment], network: &str) -> Option<IpAddr> {
    let ours = attachments.iter().find(|attachment| {
        attachment
            .network
            .as_ref()
            .is_some_and(|found| found.spec.name == network)
    })?;
    let with_mask = ours.addresses.as_ref()?.first()?;
    with_mask.split('/').next()?.parse().ok()
}

fn leftover(service: &str, container: ContainerSummary) -> Task {
    let mut labels = container.labels.unwrap_or_default();
    let id = container.id.unwrap_or_default();
    Task {
        id: labels.remove(SWARM_TASK_ID).unwrap_or_else(|| id.clone()),
        service: service.to_owned(),
        service_id: labels.remove(SWARM_SERVICE_ID).unwrap_or_default(),
        slot: 0,
        node_id: labels.remove(SWARM_NODE_ID),
        state: TaskState::Running,
        wanted: false,
        address: None,
        container_id: Some(id),
        exit_code: None,
        message: None,
        created_at: container
            .created
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(value: serde_json::Value) -> Task {
        fold(serde_json::from_value(value).unwrap(), "fd-main-net")
    }

    #[test]
    fn a_running_task_has_an_address_and_no_exit_code() {
        let task = folded(json!({
            "ID": "t1", "ServiceID": "s1", "NodeID": "n1", "Slot": 2,
            "CreatedAt": "2024-05-01T10:20:30.5Z", "DesiredState": "running",
            "Status": {"State": "running", "Message": "started",
                "ContainerStatus": {"ContainerID": "c1", "PID": 12, "ExitCode": 0}, "PortStatus": {}},
            "Spec": {"ContainerSpec": {"Labels": {"com.flukedeploy.service": "fd-main-a-production-r1"}}},
            "NetworksAttachments": [
                {"Network": {"Spec": {"Name": "ingress"}}, "Addresses": ["10.0.0.7/24"]},
                {"Network": {"Spec": {"Name": "fd-main-net"}}, "Addresses": ["10.0.1.5/24"]},
            ],
        }));
        assert_eq!(task.state, TaskState::Running);
        assert!(task.wanted);
        assert_eq!(task.address, Some("10.0.1.5".parse().unwrap()));
        assert_eq!(task.service, "fd-main-a-production-r1");
        assert_eq!((task.exit_code, task.message, task.slot), (None, None, 2));
    }

    #[test]
    fn a_failed_task_tells_why() {
        let task = folded(json!({
            "ID": "t1", "DesiredState": "shutdown",
            "Status": {"State": "failed", "Message": "started", "Err": "task: non-zero exit (3)",
                "ContainerStatus": {"ContainerID": "c1", "PID": 0, "ExitCode": 3}},
        }));
        assert_eq!(task.state, TaskState::Failed);
        assert!(!task.wanted);
        assert_eq!(task.exit_code, Some(3));
        assert_eq!(task.message.as_deref(), Some("task: non-zero exit (3)"));
        assert_eq!(task.node_id, None);
    }

    #[test]
    fn a_rejected_task_never_had_a_container() {
        let task = folded(json!({
            "ID": "t1", "DesiredState": "ready",
            "Status": {"State": "rejected", "Message": "preparing", "Err": "No such image: x",
                "ContainerStatus": {"ContainerID": "", "PID": 0, "ExitCode": 0}},
            "NetworksAttachments": null,
        }));
        assert_eq!(task.state, TaskState::Rejected);
        assert_eq!((task.container_id, task.exit_code), (None, None));
    }

    #[test]
    fn a_container_that_outlives_its_task_is_a_task_that_nobody_wants() {
        let container: ContainerSummary = serde_json::from_value(json!({
            "Id": "c1", "Created": 1_714_558_830, "State": "running",
            "Labels": {
                "com.docker.swarm.task.id": "t1", "com.docker.swarm.service.id": "s1",
                "com.docker.swarm.node.id": "n1",
            },
        }))
        .unwrap();
        let task = leftover("fd-main-a-production-r1", container);
        assert_eq!((task.id.as_str(), task.service_id.as_str()), ("t1", "s1"));
        assert_eq!((task.state, task.wanted), (TaskState::Running, false));
        assert_eq!(task.container_id.as_deref(), Some("c1"));
        assert_eq!(task.created_at.unwrap().unix_timestamp(), 1_714_558_830);
    }

    #[test]
    fn all_of_swarms_states_have_a_place() {
        for (word, folded) in [
            ("new", TaskState::Waiting),
            ("allocated", TaskState::Waiting),
            ("pending", TaskState::Waiting),
            ("assigned", TaskState::Waiting),
            ("accepted", TaskState::Waiting),
            ("preparing", TaskState::Starting),
            ("ready", TaskState::Starting),
            ("starting", TaskState::Starting),
            ("running", TaskState::Running),
            ("complete", TaskState::Completed),
            ("shutdown", TaskState::Stopped),
            ("failed", TaskState::Failed),
            ("rejected", TaskState::Rejected),
            ("remove", TaskState::Stopped),
            ("orphaned", TaskState::Stopped),
        ] {
            assert_eq!(state(word), folded, "{word}");
        }
    }
}
