//! What pages are made of. Look here first: a second copy becomes a component.

mod approval;
mod changes;
mod checks;
mod code;
mod deployment_table;
mod diagnosis;
mod empty;
mod failure;
mod field;
mod frame;
mod icon;
mod jobs;
mod listing;
mod log_lines;
mod log_text;
mod notice;
mod page_head;
mod phases;
mod plan;
mod receipt;
mod removal;
mod rollout;
mod source;
mod state;
mod time;

pub(crate) use approval::approval;
pub(crate) use changes::changes;
pub(crate) use checks::checks;
pub(crate) use code::{code, copy_button};
pub(crate) use deployment_table::deployment_table;
pub(crate) use diagnosis::{diagnosis, finding};
pub(crate) use empty::empty;
pub(crate) use failure::failure;
pub(crate) use field::{Choice, Field, Way, needed_area, one_of, select, text_area, tick_box};
pub(crate) use frame::{Section, frame, gate};
pub(crate) use icon::{Icon, fluke, icon};
pub(crate) use jobs::jobs;
pub(crate) use listing::{new_one, table};
pub(crate) use log_lines::log_group;
pub(crate) use log_text::{cut, visible};
pub(crate) use notice::{Tint, notice, problem};
pub(crate) use page_head::{Crumb, PageHead, Tab, tabs};
pub(crate) use phases::phases;
pub(crate) use plan::plan;
pub(crate) use receipt::receipt;
pub(crate) use removal::removal;
pub(crate) use rollout::rollout;
pub(crate) use source::source;
pub(crate) use state::{
    Mark, app_mark, approval_mark, check_mark, delivery_mark, deployment_mark, job_mark, mark_of,
    outcome_mark, phase_mark, state,
};
pub(crate) use time::{age, ticking};
