//! What the doors share.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::FromRef;
use bytes::Bytes;
use flukedeploy_platform::Platform;
use flukedeploy_platform::views::AppView;

use super::stream::Listeners;

/// Shared by all doors of one process. Cheap to clone; make one and hand clones to the routers,
/// so that they count stream clients together.
#[derive(Clone)]
pub struct AppState {
    pub(super) px: Platform,
    pub(super) listeners: Arc<Listeners>,
    pub(super) rendered: Arc<Rendered>,
}

/// The list of apps as it was last sent: while the platform hands out the same list, it need not be
/// written again.
#[derive(Default)]
pub(super) struct Rendered(Mutex<Option<(Arc<Vec<AppView>>, Bytes)>>);

impl Rendered {
    pub(super) fn of(&self, list: &Arc<Vec<AppView>>, render: impl FnOnce() -> String) -> Bytes {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, bytes)) = &*kept
            && Arc::ptr_eq(of, list)
        {
            return bytes.clone();
        }
        let bytes = Bytes::from(render());
        *kept = Some((Arc::clone(list), bytes.clone()));
        bytes
    }
}

impl AppState {
    pub fn new(px: Platform) -> Self {
        let listeners = Arc::new(Listeners::new(px.now()));
        Self {
            px,
            listeners,
            rendered: Arc::default(),
        }
    }
}

impl FromRef<AppState> for Platform {
    fn from_ref(state: &AppState) -> Self {
        state.px.clone()
    }
}
