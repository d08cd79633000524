//! The `FlukebaseMemory` port: each method one transaction.

use std::collections::BTreeMap;

use async_trait::async_trait;
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::flukebase::{
    Binding, Ending, Message, ProjectId, RemoteEnvironment, RemoteVariable, Waiting,
};
use flukedeploy_domain::names::AppName;
use flukedeploy_platform::ports::{
    CachedVariables, FlukebaseEffect, FlukebaseMemory, FlukebaseSettings, OutboxCounts, StoreError,
};
use time::OffsetDateTime;

use crate::error::Doing;
use crate::store::SqliteStore;
use crate::{audit, flukebase, flukebase_outbox};

#[async_trait]
impl FlukebaseMemory for SqliteStore {
    async fn flukebase_settings(&self) -> Result<FlukebaseSettings, StoreError> {
        let database = self.database();
        let mut db = database.read("reading the settings of FlukeBase").await?;
        flukebase::settings(&mut db, database.sealer()).await
    }

    async fn put_flukebase(
        &self,
        settings: &FlukebaseSettings,
        effect: FlukebaseEffect,
        bindings: &BTreeMap<AppName, Option<Binding>>,
        audit: Option<&AuditEntry>,
    ) -> Result<(), StoreError> {
        const DOING: &str = "storing the settings of FlukeBase";
        let mut db = self.database().write(DOING).await?;
        flukebase::put_settings(&mut db, self.database().sealer(), settings, effect).await?;
        for (app, binding) in bindings {
            flukebase::bind(&mut db, app, *binding).await?;
        }
        if let Some(audit) = audit {
            audit::append(&mut db, audit).await?;
        }
        db.commit().await.doing(DOING)
    }

    async fn flukebase_bindings(&self) -> Result<BTreeMap<AppName, Binding>, StoreError> {
        let mut db = self
            .database()
            .read("reading which app belongs to which FlukeBase project")
            .await?;
        flukebase::bindings(&mut db).await
    }

    async fn queue_flukebase(
        &self,
        project: ProjectId,
        message: &Message,
        at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        const DOING: &str = "queueing a message to FlukeBase";
        let mut db = self.database().write(DOING).await?;
        flukebase_outbox::queue(&mut db, project, message, at).await?;
        db.commit().await.doing(DOING)
    }

    async fn flukebase_waiting(&self) -> Result<Vec<Waiting>, StoreError> {
        let mut db = self
            .database()
            .read("looking for messages to FlukeBase")
            .await?;
        flukebase_outbox::waiting(&mut db).await
    }

    async fn end_flukebase(
        &self,
        sequence: i64,
        ending: &Ending,
        at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        const DOING: &str = "storing what became of a message to FlukeBase";
        let mut db = self.database().write(DOING).await?;
        flukebase_outbox::end(&mut db, sequence, ending, at).await?;
        db.commit().await.doing(DOING)
    }

    async fn flukebase_counts(&self) -> Result<OutboxCounts, StoreError> {
        let mut db = self
            .database()
            .snapshot("counting messages to FlukeBase")
            .await?;
        flukebase_outbox::counts(&mut db).await
    }

    async fn expire_flukebase(&self, before: OffsetDateTime) -> Result<u64, StoreError> {
        const DOING: &str = "removing old messages to FlukeBase";
        let mut db = self.database().write(DOING).await?;
        let gone = flukebase_outbox::expire(&mut db, before).await?;
        db.commit().await.doing(DOING)?;
        Ok(gone)
    }

    async fn keep_flukebase_variables(
        &self,
        project: ProjectId,
        environment: RemoteEnvironment,
        variables: &[RemoteVariable],
        at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        const DOING: &str = "storing the variables of a FlukeBase project";
        let mut db = self.database().write(DOING).await?;
        let seal = self.database().sealer();
        flukebase::keep_variables(&mut db, seal, project, environment, variables, at).await?;
        db.commit().await.doing(DOING)
    }

    async fn flukebase_variables(
        &self,
        project: ProjectId,
        environment: RemoteEnvironment,
    ) -> Result<Option<CachedVariables>, StoreError> {
        let database = self.database();
        let mut db = database
            .read("reading the variables of a FlukeBase project")
            .await?;
        flukebase::variables(&mut db, database.sealer(), project, environment).await
    }

    async fn forget_flukebase_variables(&self) -> Result<(), StoreError> {
        const DOING: &str = "forgetting the variables of FlukeBase projects";
        let mut db = self.database().write(DOING).await?;
        flukebase::forget_variables(&mut db).await?;
        db.commit().await.doing(DOING)
    }
}
