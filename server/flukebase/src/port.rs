//! Each call of the port as a request, and what its answer says.

use async_trait::async_trait;
use flukedeploy_domain::flukebase::{
    Capability, Lesson, PlannedRoute, ProjectId, RemoteEnvironment, RemoteTask, RemoteVariable,
    TaskNews, TaskStatus, TaskUpdate,
};
use flukedeploy_platform::ports::{
    Access, AgentCard, Flukebase, FlukebaseError, LiveEnd, LiveEvent, RemoteProject, TokenFacts,
};
use http::Method;
use serde_json::{Map, Value, json};

use crate::client::FlukebaseClient;
use crate::{cable, read};

/// Where all of our tasks are; a word of the contract.
const SCOPE: &str = "flukebase-ecosystem";
/// As whom notes are written.
const AGENT: &str = "flukedeploy";

impl FlukebaseClient {
    async fn get(&self, access: &Access, path: &str) -> Result<Value, FlukebaseError> {
        let answer = self.ask(access, Method::GET, path, None).await?;
        answer.understood()
    }

    async fn send(
        &self,
        access: &Access,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Value, FlukebaseError> {
        let answer = self.ask(access, method, path, Some(body)).await?;
        answer.understood()
    }
}

fn nonsense<T>(found: Option<T>, what: &str) -> Result<T, FlukebaseError> {
    found.ok_or_else(|| FlukebaseError::Faulty {
        why: format!("its answer holds no {what}"),
    })
}

/// The task of an answer, which must be the one that was asked for.
fn task_of(answer: &Value, task_id: &str) -> Result<RemoteTask, FlukebaseError> {
    let task = nonsense(answer.get("task").and_then(read::task), "task")?;
    if task.task_id == task_id {
        return Ok(task);
    }
    Err(FlukebaseError::Faulty {
        why: "it answered with another task".to_owned(),
    })
}

fn put(object: &mut Map<String, Value>, field: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        object.insert(field.to_owned(), value.into());
    }
}

fn tasks(project: ProjectId) -> String {
    format!("/projects/{project}/wedo_tasks")
}

#[async_trait]
impl Flukebase for FlukebaseClient {
    async fn validate(&self, access: &Access) -> Result<TokenFacts, FlukebaseError> {
        let answer = self.get(access, "/auth/validate").await?;
        // An answer in good order that does not say "valid" is a no.
        read::token(&answer).ok_or(FlukebaseError::TokenRefused)
    }

    async fn project(
        &self,
        access: &Access,
        project: ProjectId,
    ) -> Result<RemoteProject, FlukebaseError> {
        let answer = self.get(access, &format!("/projects/{project}")).await?;
        nonsense(answer.get("project").and_then(read::project), "project")
    }

    async fn find_project(
        &self,
        access: &Access,
        repository: &str,
    ) -> Result<Option<RemoteProject>, FlukebaseError> {
        let query: String = form_urlencoded::byte_serialize(repository.as_bytes()).collect();
        let path = format!("/projects/find?repository_url={query}");
        let answer = self.get(access, &path).await?;
        match answer.get("project") {
            Some(Value::Null) => Ok(None),
            found => nonsense(found.and_then(read::project), "project").map(Some),
        }
    }

    async fn task(
        &self,
        access: &Access,
        project: ProjectId,
        task_id: &str,
    ) -> Result<Option<RemoteTask>, FlukebaseError> {
        let path = format!("{}/{task_id}", tasks(project));
        match self.get(access, &path).await {
            Ok(answer) => task_of(&answer, task_id).map(Some),
            Err(FlukebaseError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn create_task(
        &self,
        access: &Access,
        project: ProjectId,
        news: &TaskNews,
        page: &str,
    ) -> Result<RemoteTask, FlukebaseError> {
        let task_id = news.task_id();
        let wanted = news.update(page);
        let mut task = Map::new();
        put(&mut task, "task_id", Some(task_id.clone()));
        put(&mut task, "description", Some(news.description()));
        put(&mut task, "status", Some(news.status.as_str()));
        put(&mut task, "scope", Some(SCOPE));
        put(&mut task, "external_id", Some(news.deployment.as_str()));
        put(&mut task, "agent_id", Some(AGENT));
        put(&mut task, "remote_url", wanted.remote_url);
        put(&mut task, "artifact_path", wanted.artifact_path);
        put(&mut task, "tags", wanted.tags.map(Vec::from_iter));
        let body = json!({ "task": task });
        let answer = self
            .send(access, Method::POST, &tasks(project), &body)
            .await?;
        task_of(&answer, &task_id)
    }

    async fn update_task(
        &self,
        access: &Access,
        project: ProjectId,
        task_id: &str,
        update: &TaskUpdate,
    ) -> Result<RemoteTask, FlukebaseError> {
        let mut task = Map::new();
        put(&mut task, "status", update.status.map(TaskStatus::as_str));
        put(&mut task, "tags", update.tags.clone().map(Vec::from_iter));
        put(&mut task, "synthesis_note", update.note.clone());
        put(&mut task, "agent_id", Some(AGENT));
        put(&mut task, "remote_url", update.remote_url.clone());
        put(&mut task, "artifact_path", update.artifact_path.clone());
        put(&mut task, "version", Some(update.version));
        let body = json!({ "task": task });
        let path = format!("{}/{task_id}", tasks(project));
        let answer = self.send(access, Method::PATCH, &path, &body).await;
        match answer {
            Ok(answer) => task_of(&answer, task_id),
            Err(FlukebaseError::Conflict(task)) if task.task_id != task_id => {
                let why = "it named a conflict with another task".to_owned();
                Err(FlukebaseError::Faulty { why })
            }
            Err(error) => Err(error),
        }
    }

    async fn variables(
        &self,
        access: &Access,
        project: ProjectId,
        environment: RemoteEnvironment,
    ) -> Result<Vec<RemoteVariable>, FlukebaseError> {
        let environment = environment.as_str();
        let path = format!("/projects/{project}/environment/variables?environment={environment}");
        let answer = self.get(access, &path).await?;
        nonsense(read::variables(&answer), "list of variables")
    }

    async fn note_sync(
        &self,
        access: &Access,
        project: ProjectId,
        environment: RemoteEnvironment,
    ) -> Result<(), FlukebaseError> {
        let path = format!("/projects/{project}/environment/sync");
        let body = json!({ "environment": environment });
        let answer = self.send(access, Method::POST, &path, &body).await?;
        let synced = answer.get("synced") == Some(&Value::Bool(true));
        nonsense(synced.then_some(()), "word that it is synced")
    }

    async fn remember(
        &self,
        access: &Access,
        project: ProjectId,
        lesson: &Lesson,
    ) -> Result<(), FlukebaseError> {
        let path = format!("/projects/{project}/memories");
        let body = json!({ "memory": {
            "memory_type": lesson.memory_type,
            "content": lesson.content,
            "key": lesson.key,
            "external_id": lesson.deployment,
            "tags": ["deployment", "flukedeploy", lesson.app],
            "references": { "deployment_id": lesson.deployment },
        }});
        let answer = self.send(access, Method::POST, &path, &body).await?;
        nonsense(answer.get("memory").map(drop), "memory")
    }

    async fn register_agent(
        &self,
        access: &Access,
        project: ProjectId,
        card: &AgentCard,
    ) -> Result<String, FlukebaseError> {
        let path = format!("/projects/{project}/agents/register");
        let body = json!({ "agent": {
            "agent_id": card.agent_id,
            "persona_name": "FlukeDeploy",
            "agent_type": "other",
            "client_version": card.version,
            "capabilities": ["deploy", "rollback", "logs"],
        }});
        let answer = self.send(access, Method::POST, &path, &body).await?;
        nonsense(read::agent_id(&answer), "id of the agent")
    }

    async fn heart_beat(
        &self,
        access: &Access,
        project: ProjectId,
        id: &str,
    ) -> Result<(), FlukebaseError> {
        let path = format!("/projects/{project}/agents/{id}/heartbeat");
        self.send(access, Method::POST, &path, &json!({})).await?;
        Ok(())
    }

    async fn probe(
        &self,
        access: &Access,
        route: PlannedRoute,
    ) -> Result<Capability, FlukebaseError> {
        let body = json!({});
        let answer = self
            .ask(access, Method::POST, route.path(), Some(&body))
            .await?;
        answer.capability()
    }

    async fn tell_end(&self, access: &Access, summary: &Value) -> Result<(), FlukebaseError> {
        let body = json!({ "deployment": summary, "logs": [], "source": "flukedeploy" });
        let path = PlannedRoute::Deployments.path();
        let answer = self.ask(access, Method::POST, path, Some(&body)).await?;
        if (200..300).contains(&answer.status) {
            return Ok(());
        }
        answer.understood().map(drop)
    }

    async fn listen(
        &self,
        access: &Access,
        projects: &[ProjectId],
        heard: &(dyn Fn(LiveEvent) + Send + Sync),
    ) -> LiveEnd {
        cable::listen(self, access, projects, heard).await
    }
}
