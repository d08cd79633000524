//! What the doors share.

use std::sync::Arc;

use axum::extract::FromRef;
use flukedeploy_platform::Platform;

use super::stream::Listeners;

/// Shared by all doors of one process. Cheap to clone; make one and hand clones to the routers,
/// so that they count stream clients together.
#[derive(Clone)]
pub struct AppState {
    pub(super) px: Platform,
    pub(super) listeners: Arc<Listeners>,
}

impl AppState {
    pub fn new(px: Platform) -> Self {
        let listeners = Arc::new(Listeners::new(px.now()));
        Self { px, listeners }
    }
}

impl FromRef<AppState> for Platform {
    fn from_ref(state: &AppState) -> Self {
        state.px.clone()
    }
}
