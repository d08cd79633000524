//! Every page and its address.
#![expect(
    unreachable_pub,
    reason = "what #[component] makes beside the function is pub"
)]

use leptos::prelude::*;
use leptos_meta::provide_meta_context;
use leptos_router::components::{Route, Router, Routes};
use leptos_router::path;

use crate::pages::{
    app::AppPage,
    apps::AppsPage,
    components::ComponentsPage,
    connect::ConnectPage,
    delete_app::DeleteAppPage,
    deploy::DeployPage,
    deployment::DeploymentPage,
    deployments::DeploymentsPage,
    logs::LogsPage,
    new_app::NewAppPage,
    not_found::NotFoundPage,
    overview::OverviewPage,
    revoke_token::RevokeTokenPage,
    rollback::RollbackPage,
    set_up::{SetUpHelpPage, SetUpPage},
    sign_in::SignInPage,
    system::SystemPage,
    tokens::TokensPage,
};

/// Runs once at start to list the routes, without any request: pages take what they need
/// themselves.
#[component]
pub(crate) fn App() -> impl IntoView {
    provide_meta_context();
    view! {
        <Router>
            <Routes fallback=NotFoundPage>
                <Route path=path!("/") view=OverviewPage/>
                <Route path=path!("/apps") view=AppsPage/>
                <Route path=path!("/apps/new") view=NewAppPage/>
                <Route path=path!("/apps/:name") view=AppPage/>
                <Route path=path!("/apps/:name/deploy") view=DeployPage/>
                <Route path=path!("/apps/:name/rollback") view=RollbackPage/>
                <Route path=path!("/apps/:name/logs") view=LogsPage/>
                <Route path=path!("/apps/:name/delete") view=DeleteAppPage/>
                <Route path=path!("/deployments") view=DeploymentsPage/>
                <Route path=path!("/deployments/:id") view=DeploymentPage/>
                <Route path=path!("/tokens") view=TokensPage/>
                <Route path=path!("/tokens/:id/revoke") view=RevokeTokenPage/>
                <Route path=path!("/system") view=SystemPage/>
                <Route path=path!("/connect") view=ConnectPage/>
                <Route path=path!("/components") view=ComponentsPage/>
                <Route path=path!("/sign-in") view=SignInPage/>
                <Route path=path!("/setup") view=SetUpHelpPage/>
                <Route path=path!("/setup/:token") view=SetUpPage/>
            </Routes>
        </Router>
    }
}
