use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use flukedeploy_domain::build::{Origin, RelativePath, UploadId};
use flukedeploy_domain::credential::Credential;
use flukedeploy_domain::deployment::DeploymentId;
use flukedeploy_domain::flukebase::{
    Capability, Lesson, PlannedRoute, ProjectId, RemoteEnvironment, RemoteTask, RemoteVariable,
    TaskNews, TaskUpdate,
};
use flukedeploy_domain::forwarder::SyslogAddress;
use flukedeploy_domain::image::PinnedImage;
use futures_util::stream::BoxStream;
use serde_json::Value;
use time::OffsetDateTime;

use super::builder::{BuildError, BuildLine, BuildSpec, Builder, Built, ImageFacts};
use super::engine::EngineError;
use super::flukebase::{
    Access, AgentCard, Flukebase, FlukebaseError, LiveEnd, LiveEvent, RemoteProject, TokenFacts,
};
use super::identity_provider::{IdentityProvider, ProviderAnswer, ProviderRequest};
use super::inspector::{InspectError, Inspector, ScanReport};
use super::log_receivers::{LogAnswer, LogPost, LogReceivers};
use super::machine::{Machine, MachineError, MachineFacts, Reach};
use super::outgoing::{Answer, Outgoing, OutgoingError, OutgoingRequest};
use super::upkeep::{ContainerFacts, EngineFacts, ImageHere, Upkeep};
use super::workshop::{ContextDockerfile, Opened, Received, SourceError, Workshop};

/// For a platform without a place to build: everything is refused with that reason, what looks
/// into images says that it cannot.
pub struct Absent;

fn refused() -> SourceError {
    SourceError::Refused {
        message: "this server cannot build from source".to_owned(),
        next: "deploy an image".to_owned(),
    }
}

fn unseen() -> EngineError {
    EngineError::Refused {
        doing: "looking into an image".to_owned(),
        message: "this server cannot look into images".to_owned(),
    }
}

fn untended() -> EngineError {
    EngineError::Refused {
        doing: "looking after the engine".to_owned(),
        message: "this server does not look after its engine".to_owned(),
    }
}

#[async_trait]
impl Workshop for Absent {
    async fn receive(
        &self,
        _: &UploadId,
        _: BoxStream<'static, std::io::Result<Bytes>>,
    ) -> Result<Received, SourceError> {
        Err(refused())
    }

    async fn open(
        &self,
        _: &DeploymentId,
        _: &Origin,
        _: Option<&Credential>,
        _: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Opened, SourceError> {
        Err(refused())
    }

    async fn read(
        &self,
        _: &DeploymentId,
        _: &RelativePath,
        _: usize,
    ) -> Result<Option<String>, SourceError> {
        Ok(None)
    }

    async fn top(&self, _: &DeploymentId) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }

    async fn pack(
        &self,
        _: &DeploymentId,
        _: Option<&RelativePath>,
        _: &ContextDockerfile,
    ) -> Result<PathBuf, SourceError> {
        Err(refused())
    }

    async fn discard(&self, _: &DeploymentId) -> Result<(), SourceError> {
        Ok(())
    }

    async fn tidy(&self, _: OffsetDateTime, _: &[DeploymentId]) -> Result<(), SourceError> {
        Ok(())
    }
}

#[async_trait]
impl Builder for Absent {
    async fn build_image(
        &self,
        _: &BuildSpec,
        _: &(dyn Fn(BuildLine) + Send + Sync),
    ) -> Result<Built, BuildError> {
        Err(BuildError::NotPossible {
            message: "this server cannot build images".to_owned(),
        })
    }

    async fn image_facts(&self, _: &PinnedImage) -> Result<ImageFacts, EngineError> {
        Err(unseen())
    }

    async fn secret_files(&self, _: &PinnedImage) -> Result<Vec<String>, EngineError> {
        Err(unseen())
    }

    async fn signed_by(&self, _: &PinnedImage, _: &str) -> Result<bool, EngineError> {
        Err(unseen())
    }
}

#[async_trait]
impl Inspector for Absent {
    async fn scan(&self, _: &PinnedImage) -> Option<Result<ScanReport, InspectError>> {
        None
    }
}

#[async_trait]
impl Outgoing for Absent {
    async fn post(&self, _: &OutgoingRequest) -> Result<Answer, OutgoingError> {
        Err(OutgoingError::Absent)
    }
}

#[async_trait]
impl IdentityProvider for Absent {
    async fn send(&self, _: &ProviderRequest) -> Result<ProviderAnswer, OutgoingError> {
        Err(OutgoingError::Absent)
    }
}

#[async_trait]
impl LogReceivers for Absent {
    async fn post(&self, _: &LogPost) -> Result<LogAnswer, OutgoingError> {
        Err(OutgoingError::Absent)
    }

    async fn syslog(&self, _: &SyslogAddress, _: &[Bytes]) -> Result<(), OutgoingError> {
        Err(OutgoingError::Absent)
    }
}

fn no_flukebase<T>() -> Result<T, FlukebaseError> {
    Err(FlukebaseError::NotNow {
        why: "this server talks to no FlukeBase".to_owned(),
        wait: None,
    })
}

#[async_trait]
impl Flukebase for Absent {
    async fn validate(&self, _: &Access) -> Result<TokenFacts, FlukebaseError> {
        no_flukebase()
    }

    async fn project(&self, _: &Access, _: ProjectId) -> Result<RemoteProject, FlukebaseError> {
        no_flukebase()
    }

    async fn find_project(
        &self,
        _: &Access,
        _: &str,
    ) -> Result<Option<RemoteProject>, FlukebaseError> {
        no_flukebase()
    }

    async fn task(
        &self,
        _: &Access,
        _: ProjectId,
        _: &str,
    ) -> Result<Option<RemoteTask>, FlukebaseError> {
        no_flukebase()
    }

    async fn create_task(
        &self,
        _: &Access,
        _: ProjectId,
        _: &TaskNews,
        _: &str,
    ) -> Result<RemoteTask, FlukebaseError> {
        no_flukebase()
    }

    async fn update_task(
        &self,
        _: &Access,
        _: ProjectId,
        _: &str,
        _: &TaskUpdate,
    ) -> Result<RemoteTask, FlukebaseError> {
        no_flukebase()
    }

    async fn variables(
        &self,
        _: &Access,
        _: ProjectId,
        _: RemoteEnvironment,
    ) -> Result<Vec<RemoteVariable>, FlukebaseError> {
        no_flukebase()
    }

    async fn note_sync(
        &self,
        _: &Access,
        _: ProjectId,
        _: RemoteEnvironment,
    ) -> Result<(), FlukebaseError> {
        no_flukebase()
    }

    async fn remember(&self, _: &Access, _: ProjectId, _: &Lesson) -> Result<(), FlukebaseError> {
        no_flukebase()
    }

    async fn register_agent(
        &self,
        _: &Access,
        _: ProjectId,
        _: &AgentCard,
    ) -> Result<String, FlukebaseError> {
        no_flukebase()
    }

    async fn heart_beat(&self, _: &Access, _: ProjectId, _: &str) -> Result<(), FlukebaseError> {
        no_flukebase()
    }

    async fn probe(&self, _: &Access, _: PlannedRoute) -> Result<Capability, FlukebaseError> {
        no_flukebase()
    }

    async fn tell_end(&self, _: &Access, _: &Value) -> Result<(), FlukebaseError> {
        no_flukebase()
    }

    async fn listen(
        &self,
        _: &Access,
        _: &[ProjectId],
        _: &(dyn Fn(LiveEvent) + Send + Sync),
    ) -> LiveEnd {
        LiveEnd::Rejected("this server talks to no FlukeBase".to_owned())
    }
}

#[async_trait]
impl Machine for Absent {
    async fn facts(&self, _: &[String]) -> Result<MachineFacts, MachineError> {
        Err(MachineError("nothing looks at it here".to_owned()))
    }

    async fn reach(&self, _: &str, _: u16) -> Reach {
        Reach::Silent
    }
}

#[async_trait]
impl Upkeep for Absent {
    async fn facts(&self) -> Result<EngineFacts, EngineError> {
        Err(untended())
    }

    async fn containers(&self) -> Result<Vec<ContainerFacts>, EngineError> {
        Err(untended())
    }

    async fn images_here(&self, _: &[String]) -> Result<Vec<ImageHere>, EngineError> {
        Err(untended())
    }

    async fn remove_image(&self, _: &str) -> Result<bool, EngineError> {
        Err(untended())
    }

    async fn build_cache(&self) -> Result<u64, EngineError> {
        Err(untended())
    }

    async fn prune_build_cache(&self) -> Result<u64, EngineError> {
        Err(untended())
    }
}
