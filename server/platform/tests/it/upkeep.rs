//! A machine that is as it is told to be, and what looks after the engine of a test.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use flukedeploy_platform::ports::{
    Clock as _, ContainerFacts, DiskFacts, Engine as _, EngineError, EngineFacts, ImageHere,
    Machine, MachineError, MachineFacts, Reach, SystemClock, Upkeep,
};

use crate::swarm::SimEngine;

pub(crate) struct State {
    pub(crate) machine: MachineFacts,
    /// Addresses that cannot be reached.
    pub(crate) unreached: BTreeMap<String, Reach>,
    pub(crate) clock_ahead: time::Duration,
    pub(crate) managers: (u32, u32),
    pub(crate) no_quorum: bool,
    /// Pinned images on the node.
    pub(crate) images: Vec<String>,
    pub(crate) build_cache: u64,
    /// What was taken away.
    pub(crate) removed: Vec<String>,
}

/// Outlives control planes.
pub(crate) struct Ward(Mutex<State>);

impl Default for Ward {
    fn default() -> Self {
        let disk = DiskFacts {
            place: "/data".to_owned(),
            total: 100 << 30,
            free: 60 << 30,
        };
        let machine = MachineFacts {
            cores: 4,
            load: [0.5, 0.5, 0.5],
            memory_total: 8 << 30,
            memory_available: 6 << 30,
            disks: vec![disk],
            listening: vec![80],
            ..MachineFacts::default()
        };
        Self(Mutex::new(State {
            machine,
            unreached: BTreeMap::new(),
            clock_ahead: time::Duration::ZERO,
            managers: (1, 1),
            no_quorum: false,
            images: Vec::new(),
            build_cache: 0,
            removed: Vec::new(),
        }))
    }
}

impl Ward {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct SimUpkeep {
    pub(crate) ward: Arc<Ward>,
    pub(crate) engine: Arc<SimEngine>,
}

#[async_trait]
impl Machine for SimUpkeep {
    async fn facts(&self, _: &[String]) -> Result<MachineFacts, MachineError> {
        Ok(self.ward.lock().machine.clone())
    }

    async fn reach(&self, host: &str, port: u16) -> Reach {
        let state = self.ward.lock();
        let found = state.unreached.get(&format!("{host}:{port}"));
        found.copied().unwrap_or(Reach::Connected)
    }
}

#[async_trait]
impl Upkeep for SimUpkeep {
    async fn facts(&self) -> Result<EngineFacts, EngineError> {
        let info = self.engine.info().await?;
        let state = self.ward.lock();
        if state.no_quorum {
            return Err(EngineError::NoQuorum {
                doing: "listing nodes".to_owned(),
                message: "no leader".to_owned(),
            });
        }
        Ok(EngineFacts {
            info,
            // The world's clock may have been moved: only differences are looked at here.
            time: (state.clock_ahead != time::Duration::ZERO)
                .then(|| SystemClock.now() + state.clock_ahead),
            managers: state.managers.0,
            reachable_managers: state.managers.1,
            containers: 3,
            containers_running: 2,
            networks: 4,
            overlay_networks: 2,
            volumes: Some(self.engine.swarm.volumes().len() as u64),
            directory: None,
        })
    }

    async fn containers(&self) -> Result<Vec<ContainerFacts>, EngineError> {
        Ok(Vec::new())
    }

    async fn images_here(&self, pinned: &[String]) -> Result<Vec<ImageHere>, EngineError> {
        let state = self.ward.lock();
        let here = pinned.iter().filter(|one| state.images.contains(one));
        Ok(here
            .map(|pinned| ImageHere {
                pinned: pinned.clone(),
                id: pinned.clone(),
                bytes: 5 << 20,
            })
            .collect())
    }

    async fn remove_image(&self, pinned: &str) -> Result<bool, EngineError> {
        let mut state = self.ward.lock();
        state.images.retain(|image| image != pinned);
        state.removed.push(pinned.to_owned());
        Ok(true)
    }

    async fn build_cache(&self) -> Result<u64, EngineError> {
        Ok(self.ward.lock().build_cache)
    }

    async fn prune_build_cache(&self) -> Result<u64, EngineError> {
        Ok(std::mem::take(&mut self.ward.lock().build_cache))
    }
}
