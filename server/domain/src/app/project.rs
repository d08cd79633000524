//! What apps have in common.

use time::OffsetDateTime;

use super::Variables;
use crate::names::ProjectName;

/// A group of apps, with the variables that all of them get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    pub name: ProjectName,
    pub variables: Variables,
    /// Rises with every change of the variables.
    pub version: u64,
    pub created_at: OffsetDateTime,
}
