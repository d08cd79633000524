//! Starting and stopping the whole thing.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use flukedeploy_domain::routing::RoutingSnapshot;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::config::IngressConfig;
use crate::control::{Link, write_snapshots};
use crate::error::{IngressError, SnapshotError};
use crate::listener;
use crate::routing_state::{Applied, RoutingState};
use crate::snapshot_file;
use crate::worker::Worker;

/// A running ingress. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Ingress {
    address: SocketAddr,
    routing: Arc<RoutingState>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    /// Closed when the last thread has ended; a value says that one has ended.
    ended: mpsc::Receiver<()>,
}

impl Ingress {
    /// Binds, loads the last good snapshot and starts the threads. When this returns, connections
    /// are accepted.
    ///
    /// # Errors
    /// [`IngressError`] if the configuration is not valid, the address cannot be bound or a thread
    /// cannot be started. A broken snapshot file is logged and does not stop the start.
    pub fn start(config: IngressConfig) -> Result<Self, IngressError> {
        config.validate()?;
        let requested = config.http_listen;
        let listen = |source| IngressError::Listen {
            address: requested,
            source,
        };
        let listeners = listener::bind(requested, config.worker_threads).map_err(listen)?;
        let address = listeners[0].local_addr().map_err(listen)?;

        let routing = Arc::new(RoutingState::new(config.limits.max_held));
        load_last_good(&config, &routing);

        let (stop, stopped) = watch::channel(false);
        let (alive, ended) = mpsc::channel(listeners.len() + 1);
        let mut ingress = Self {
            address,
            routing,
            stop,
            threads: Vec::new(),
            ended,
        };
        let slots = config.limits.max_connections / config.worker_threads;
        for (index, listener) in listeners.into_iter().enumerate() {
            let share = Share {
                routing: ingress.routing.clone(),
                config: config.clone(),
                stopped: stopped.clone(),
                alive: alive.clone(),
            };
            let name = format!("ingress-{index}");
            ingress.spawn(name, move |runtime| share.serve(&runtime, listener, slots))?;
        }
        let share = Share {
            routing: ingress.routing.clone(),
            config,
            stopped,
            alive,
        };
        ingress.spawn("ingress-control".into(), move |runtime| {
            share.follow(&runtime);
        })?;
        tracing::info!(listen = %address, "ingress listens");
        Ok(ingress)
    }

    fn spawn(
        &mut self,
        name: String,
        body: impl FnOnce(LocalRuntime) + Send + 'static,
    ) -> Result<(), IngressError> {
        // A local runtime belongs to its thread, so it is built there and its failure sent back.
        let (built, outcome) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || {
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    // Name lookups and file writes; both are rare.
                    .max_blocking_threads(4)
                    .build_local(LocalOptions::default());
                match runtime {
                    Ok(runtime) => {
                        let _ = built.send(Ok(()));
                        body(runtime);
                    }
                    Err(error) => {
                        let _ = built.send(Err(error));
                    }
                }
            })
            .map_err(IngressError::Thread)?;
        self.threads.push(thread);
        outcome
            .recv()
            .map_err(|_| IngressError::WorkerEnded)?
            .map_err(IngressError::Thread)
    }

    /// Where it listens, with the port that was taken if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the routing table, as a snapshot from the control plane would. It is not written
    /// to disk.
    ///
    /// # Errors
    /// [`SnapshotError`] if it contradicts itself; the table in use stays.
    pub fn apply(&self, snapshot: &RoutingSnapshot) -> Result<Applied, SnapshotError> {
        self.routing.apply(snapshot)
    }

    /// Stops accepting, lets requests in flight finish within the drain time-out, and ends.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.ended.recv().await.is_some() {}
        for thread in self.threads.drain(..) {
            // They have sent their last word, so this does not wait.
            if thread.join().is_err() {
                tracing::error!("an ingress thread panicked");
            }
        }
    }

    /// Waits until a thread ends, which none should while nobody has asked for a stop.
    async fn failed(&mut self) {
        self.ended.recv().await;
    }
}

impl Drop for Ingress {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// Runs an ingress until SIGTERM or SIGINT, then drains. Must not be called from inside a runtime.
///
/// # Errors
/// [`IngressError`] if it cannot start or a worker ends by itself.
pub fn run(config: IngressConfig) -> Result<(), IngressError> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(IngressError::Thread)?;
    runtime.block_on(async {
        // First, so that a signal that comes during the start is not lost.
        let mut terminate = signal(SignalKind::terminate()).map_err(IngressError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(IngressError::Signals)?;
        let mut ingress = Ingress::start(config)?;
        let outcome = tokio::select! {
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
            () = ingress.failed() => Err(IngressError::WorkerEnded),
        };
        tracing::info!("ingress stops");
        ingress.stop().await;
        outcome
    })
}

fn load_last_good(config: &IngressConfig, routing: &RoutingState) {
    let Some(path) = &config.snapshot_path else {
        return;
    };
    match snapshot_file::load(path) {
        Ok(None) => {}
        Ok(Some(snapshot)) => match routing.apply(&snapshot) {
            Ok(_) => {
                let (version, routes) = (snapshot.version, snapshot.routes.len());
                tracing::info!(
                    snapshot.version = version,
                    routes,
                    "last good routes loaded"
                );
            }
            Err(error) => tracing::error!(%error, "the routes on disk are not usable"),
        },
        Err(error) => tracing::error!(%error, "cannot read the routes on disk"),
    }
}

/// What one thread gets.
struct Share {
    routing: Arc<RoutingState>,
    config: IngressConfig,
    stopped: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
}

impl Share {
    fn serve(mut self, runtime: &LocalRuntime, listener: StdListener, slots: usize) {
        runtime.block_on(async {
            let worker = Worker::start(self.routing.clone(), self.config.limits.clone());
            let listener = match TcpListener::from_std(listener) {
                Ok(listener) => listener,
                Err(error) => {
                    tracing::error!(%error, "cannot use the listener");
                    return;
                }
            };
            let slots = Arc::new(Semaphore::new(slots.max(1)));
            tokio::select! {
                () = listener::accept(&worker, &listener, &slots) => {}
                _ = self.stopped.wait_for(|stopped| *stopped) => {}
            }
            // Connections that the kernel has completed already would be reset otherwise.
            listener::accept_waiting(&worker, &listener, &slots);
            drop(listener);
            worker.drain(self.config.drain_timeout).await;
        });
        // Nobody may be waiting any more.
        let _ = self.alive.try_send(());
    }

    fn follow(mut self, runtime: &LocalRuntime) {
        runtime.block_on(async {
            let worker = Worker::start(self.routing.clone(), self.config.limits.clone());
            let (to_disk, snapshots) = watch::channel(None);
            let saving = self.config.snapshot_path.clone();
            let saving = saving.map(|path| tokio::spawn(write_snapshots(path, snapshots)));
            let link = Link {
                worker,
                // Checked when the configuration was validated.
                urls: self.config.control_uris().unwrap_or_default(),
                token: self.config.token.clone(),
                ingress_id: self.config.ingress_id.clone(),
                node: self.config.node.clone(),
                to_disk: saving.is_some().then_some(to_disk),
            };
            {
                let mut link = std::pin::pin!(link.run());
                let mut ended = false;
                loop {
                    tokio::select! {
                        () = &mut link, if !ended => ended = true,
                        _ = self.stopped.wait_for(|stopped| *stopped) => break,
                    }
                }
            }
            // The link is gone, and with it the sender: what is left gets written.
            if let Some(saving) = saving
                && saving.await.is_err()
            {
                tracing::error!("keeping the routes on disk panicked");
            }
        });
        let _ = self.alive.try_send(());
    }
}
