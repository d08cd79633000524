//! Line icons on a 16-pixel grid, and the mark of the product.

use leptos::prelude::*;

#[derive(Clone, Copy)]
pub(crate) enum Icon {
    Overview,
    Apps,
    Deployments,
    Logs,
    Approvals,
    System,
    Tokens,
    Webhooks,
    Credentials,
    Connect,
    Account,
    People,
    Audit,
    Open,
}

pub(crate) fn icon(icon: Icon) -> impl IntoView {
    let path = match icon {
        Icon::Overview => {
            "M2.5 7 8 2.500l5.500 4.500v6a.5.5 0 0 1-.5.5H9.800V9.500H6.200v4H3a.5.5 0 0 1-.5-.5z"
        }
        Icon::Apps => {
            "M2.500 2.500h4.500v4.500H2.500zM9 2.500h4.500v4.500H9zM2.500 9h4.500v4.500H2.500zM9 9h4.500v4.500H9z"
        }
        Icon::Deployments => {
            "M8 10.500v-8M4.800 5.700 8 2.500l3.200 3.200M2.500 10.500v2a1 1 0 0 0 1 1h9a1 1 0 0 0 1-1v-2"
        }
        Icon::Approvals => "M13.500 8a5.500 5.500 0 1 1-2.700-4.700M5.500 7.500 8 10l5.500-6",
        Icon::Logs => "M2.500 4h11M2.500 8h7.500M2.500 12h9.500",
        Icon::System => "M2.500 3h11v4h-11zM2.500 9h11v4h-11zM5 5h.010M5 11h.010",
        Icon::Tokens => {
            "M10.200 9.300a3.500 3.500 0 1 0-3.500-3.500c0 .4.100.8.200 1.200L2.500 11.400v2.100h2.100v-1.400h1.400v-1.400h1.400l1.600-1.600c.4.100.8.200 1.200.2zM11 5h.010"
        }
        Icon::Credentials => "M3.500 7h9v6.500h-9zM5.500 7V5a2.500 2.500 0 0 1 5 0v2M8 9.800v1.400",
        Icon::Webhooks => "M3 8.500 13.500 3l-3.500 10.500-2.600-3.600zM7.400 9.900 13.500 3",
        Icon::Connect => "M6 2.500v3M10 2.500v3M4 5.500h8v2.500a4 4 0 0 1-8 0zM8 12v2",
        Icon::Account => {
            "M8 8a2.700 2.700 0 1 0 0-5.400A2.700 2.700 0 0 0 8 8zM2.800 13.500c.6-2.200 2.700-3.500 5.200-3.500s4.600 1.300 5.200 3.500"
        }
        Icon::People => {
            "M6 7.500a2.300 2.300 0 1 0 0-4.600A2.300 2.300 0 0 0 6 7.500zM1.800 13c.4-2.200 2.100-3.500 4.200-3.500s3.800 1.300 4.200 3.500M10.500 7.300a2 2 0 1 0-.6-3.900M11.600 9.700c1.500.3 2.400 1.500 2.700 3.300"
        }
        Icon::Audit => "M4 2.500h8v11H4zM6 5.500h4M6 8h4M6 10.500h2",
        Icon::Open => "M6.500 3.500h-3v9h9v-3M9 3h4v4M13 3 7.500 8.500",
    };
    view! {
        <svg viewBox="0 0 16 16" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.4" stroke-linecap="round" stroke-linejoin="round">
            <path d=path></path>
        </svg>
    }
}

/// A whale's fluke.
pub(crate) fn fluke() -> impl IntoView {
    view! {
        <svg viewBox="0 4 32 27" aria-hidden="true" fill="currentColor">
            <path d="M16 30c0-7.500-1.200-11.600-5.200-14.800C7 12.100 2.700 11.300 0 6.400 6.500 4.500 12.900 6 16 12c3.100-6 9.500-7.500 16-5.600-2.700 4.900-7 5.700-10.800 8.800C17.200 18.400 16 22.500 16 30z"></path>
        </svg>
    }
}
