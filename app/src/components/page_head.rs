//! The head of a page: where one is, what it is, the one thing to do.

use leptos::prelude::*;
use leptos_meta::Title;

use crate::render::escaped;

pub(crate) struct Crumb {
    pub(crate) word: String,
    pub(crate) to: String,
}

impl Crumb {
    pub(crate) fn new(word: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            word: word.into(),
            to: to.into(),
        }
    }
}

/// Every signed-in page has one, with its only `h1`.
pub(crate) struct PageHead {
    title: String,
    crumbs: Vec<Crumb>,
    lead: Option<AnyView>,
    actions: Option<AnyView>,
    live: bool,
}

impl PageHead {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            crumbs: Vec::new(),
            lead: None,
            actions: None,
            live: false,
        }
    }

    pub(crate) fn crumbs(mut self, crumbs: Vec<Crumb>) -> Self {
        self.crumbs = crumbs;
        self
    }

    pub(crate) fn lead(mut self, view: impl IntoView + 'static) -> Self {
        self.lead = Some(view.into_any());
        self
    }

    pub(crate) fn actions(mut self, view: impl IntoView + 'static) -> Self {
        self.actions = Some(view.into_any());
        self
    }

    /// The page says whether it is live.
    pub(crate) fn live(self) -> Self {
        self.live_if(true)
    }

    /// What has ended does not change any more, and does not say that it is live.
    pub(crate) fn live_if(mut self, live: bool) -> Self {
        self.live = live;
        self
    }

    pub(crate) fn view(self) -> impl IntoView {
        let document_title = match self.crumbs.last() {
            Some(crumb) => format!("{} · {} · FlukeDeploy", self.title, crumb.word),
            None => format!("{} · FlukeDeploy", self.title),
        };
        let crumbs = (!self.crumbs.is_empty()).then(|| {
            let links: Vec<_> = self
                .crumbs
                .into_iter()
                .map(|crumb| view! { <li><a href=crumb.to>{crumb.word}</a></li> })
                .collect();
            view! { <nav class="crumbs" aria-label="Breadcrumb"><ol>{links}</ol></nav> }
        });
        view! {
            <Title text=escaped(&document_title)/>
            <header class="page-head">
                <div class="page-head-text">
                    {crumbs}
                    <h1>{self.title}</h1>
                    {self.lead.map(|lead| view! { <div class="page-head-lead">{lead}</div> })}
                    {self.live.then(|| view! { <p class="live-status" role="status" data-live-status=""></p> })}
                </div>
                {self.actions.map(|actions| view! { <div class="page-head-actions">{actions}</div> })}
            </header>
        }
    }
}

pub(crate) struct Tab {
    pub(crate) word: &'static str,
    pub(crate) to: String,
    pub(crate) current: bool,
}

pub(crate) fn tabs(label: String, tabs: Vec<Tab>) -> impl IntoView {
    let links: Vec<_> = tabs
        .into_iter()
        .map(|tab| {
            view! { <li><a href=tab.to aria-current=tab.current.then_some("page")>{tab.word}</a></li> }
        })
        .collect();
    view! { <nav class="tabs" aria-label=label><ul>{links}</ul></nav> }
}
