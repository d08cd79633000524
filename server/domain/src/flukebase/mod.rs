//! `FlukeBase`: where deployments show up as tasks, where variables may come from, and what is told
//! when. The words on its wire are those of its API.

mod address;
mod breaker;
mod feature;
mod message;
mod task;
mod variables;

pub use address::{Binding, FlukebaseUrl, ProjectId, RemoteEnvironment};
pub use breaker::Breaker;
pub use feature::{Capability, Feature, FeatureState, PlannedRoute, features_of};
pub use message::{
    Attempt, Ending, Lesson, LessonKind, MAX_WAITING, Message, MessageStatus, TaskNews, Waiting,
};
pub use task::{RemoteTask, TaskStatus, TaskUpdate};
pub use variables::{Borrowed, RemoteVariable, borrow_variables};
