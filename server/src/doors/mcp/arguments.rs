//! A tool's arguments, read and checked.

use flukedeploy_domain::deployment::DeploymentId;
use flukedeploy_domain::log_entry::Level;
use flukedeploy_domain::log_query::TextQuery;
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_platform::Error;
use flukedeploy_platform::deployments::{Deploy, Everyday, Promote, Rollback, Steer};
use flukedeploy_platform::repairs::Repair;
use flukedeploy_platform::validate::Validate;

use super::schemas::{
    DEFAULT_APPS, DEFAULT_HISTORY, DEFAULT_TAIL, MAX_APPS, MAX_HISTORY, MAX_TAIL,
};
use super::tools::ToolName;
use crate::doors::fields::Fields;
use crate::doors::requests::{self, MAX_WAIT_SECONDS};

const MAX_OFFSET: u32 = 1_000_000;

/// The arguments of a call, read and checked.
#[derive(Debug)]
pub(super) enum Call {
    ListApps {
        query: Option<String>,
        limit: u32,
        offset: u32,
    },
    Deploy {
        cmd: Deploy,
        wait_seconds: u64,
    },
    Status {
        id: DeploymentId,
        wait_seconds: u64,
    },
    Logs(LogsCall),
    Rollback {
        cmd: Rollback,
        wait_seconds: u64,
    },
    Validate(Validate),
    Approvals,
    History {
        app: AppName,
        environment: Option<EnvironmentName>,
        limit: u32,
        include_rollbacks: bool,
    },
    Promote {
        cmd: Promote,
        wait_seconds: u64,
    },
    PlanDeploy(Deploy),
    PlanPromote(Promote),
    PlanRollback(Rollback),
    /// `None`: abort.
    Steer {
        id: DeploymentId,
        how: Option<Steer>,
        wait_seconds: u64,
    },
    Everyday {
        cmd: Everyday,
        wait_seconds: u64,
    },
    Health,
    Diagnose {
        quick: bool,
    },
    Repair(Repair),
    AutoHeal,
}

#[derive(Debug)]
pub(super) struct LogsCall {
    pub(super) of: LogsOf,
    pub(super) tail: u32,
    pub(super) offset: u32,
    pub(super) min_level: Option<Level>,
    pub(super) query: Option<TextQuery>,
    pub(super) follow: bool,
    /// Patterns instead of entries.
    pub(super) summary: bool,
}

#[derive(Debug)]
pub(super) enum LogsOf {
    Deployment(DeploymentId, Option<AppName>),
    App(AppName),
}

pub(super) fn read(tool: ToolName, mut fields: Fields) -> Result<Call, Error> {
    match tool {
        ToolName::ListApps => {
            let query = fields.text("query");
            let limit = fields.number("limit", 1..=MAX_APPS).unwrap_or(DEFAULT_APPS);
            let offset = fields.number("offset", 0..=MAX_OFFSET).unwrap_or(0);
            fields.finish()?;
            Ok(Call::ListApps {
                query,
                limit,
                offset,
            })
        }
        ToolName::Deploy => {
            let wait_seconds = wait_seconds(&mut fields);
            let dry_run = requests::dry_run(&mut fields);
            if fields.has("promote_from") {
                let Some(app) = fields.required("app_name") else {
                    return Err(fields.into_error());
                };
                let cmd = requests::promote(fields, app, ["promote_from", "environment"])?;
                return Ok(if dry_run {
                    Call::PlanPromote(cmd)
                } else {
                    Call::Promote { cmd, wait_seconds }
                });
            }
            fields.take("promote_from");
            if fields.take("release").is_some() {
                fields.fault("release", "only with promote_from");
            }
            let cmd = requests::deploy(fields)?;
            Ok(if dry_run {
                Call::PlanDeploy(cmd)
            } else {
                Call::Deploy { cmd, wait_seconds }
            })
        }
        ToolName::Approvals => {
            fields.finish()?;
            Ok(Call::Approvals)
        }
        ToolName::Steer => {
            let id = fields.required("deployment_id");
            let wait_seconds = wait_seconds(&mut fields);
            let how = match fields.text("action").as_deref() {
                Some("pause") => Some(Steer::Pause),
                Some("resume") => Some(Steer::Resume),
                Some("promote") => Some(Steer::Promote),
                Some("abort") => None,
                _ => {
                    fields.fault("action", "must be pause, resume, promote or abort");
                    None
                }
            };
            let Some(id) = id else {
                return Err(fields.into_error());
            };
            fields.finish()?;
            Ok(Call::Steer {
                id,
                how,
                wait_seconds,
            })
        }
        ToolName::Scale | ToolName::Restart | ToolName::SetMode => {
            let wait_seconds = wait_seconds(&mut fields);
            let cmd = match tool {
                ToolName::Scale => requests::scale(fields, None)?,
                ToolName::Restart => requests::restart(fields, None)?,
                _ => requests::set_mode(fields, None, None)?,
            };
            Ok(Call::Everyday { cmd, wait_seconds })
        }
        ToolName::Status => {
            let id = fields.required("deployment_id");
            let wait_seconds = wait_seconds(&mut fields);
            let Some(id) = id else {
                return Err(fields.into_error());
            };
            fields.finish()?;
            Ok(Call::Status { id, wait_seconds })
        }
        ToolName::Logs => read_logs_call(fields).map(Call::Logs),
        ToolName::Rollback => {
            let wait_seconds = wait_seconds(&mut fields);
            let dry_run = requests::dry_run(&mut fields);
            let cmd = requests::rollback(fields, None)?;
            Ok(if dry_run {
                Call::PlanRollback(cmd)
            } else {
                Call::Rollback { cmd, wait_seconds }
            })
        }
        ToolName::Health => fields.finish().map(|()| Call::Health),
        ToolName::AutoHeal => fields.finish().map(|()| Call::AutoHeal),
        ToolName::Diagnose => {
            let quick = fields.flag("quick", false);
            fields.finish()?;
            Ok(Call::Diagnose { quick })
        }
        ToolName::Repair => {
            let action = fields.required("action");
            let dry_run = requests::dry_run(&mut fields);
            let confirm = fields.flag("confirm", false);
            let Some(action) = action else {
                return Err(fields.into_error());
            };
            fields.finish()?;
            Ok(Call::Repair(Repair {
                action,
                dry_run,
                confirm,
            }))
        }
        ToolName::Validate => requests::validate(fields, None).map(Call::Validate),
        ToolName::History => {
            let app = fields.required("app_name");
            let environment = requests::environment_at(&mut fields, "environment");
            let limit = fields
                .number("limit", 1..=MAX_HISTORY)
                .unwrap_or(DEFAULT_HISTORY);
            let include_rollbacks = fields.flag("include_rollbacks", true);
            let Some(app) = app else {
                return Err(fields.into_error());
            };
            fields.finish()?;
            Ok(Call::History {
                app,
                environment,
                limit,
                include_rollbacks,
            })
        }
    }
}

fn wait_seconds(fields: &mut Fields) -> u64 {
    fields
        .number("wait_seconds", 0..=MAX_WAIT_SECONDS)
        .unwrap_or(0)
}

fn read_logs_call(mut fields: Fields) -> Result<LogsCall, Error> {
    let id = fields.parsed::<DeploymentId>("deployment_id");
    let app = fields.parsed::<AppName>("app_name");
    let tail = fields.number("tail", 1..=MAX_TAIL).unwrap_or(DEFAULT_TAIL);
    let offset = fields.number("offset", 0..=MAX_OFFSET).unwrap_or(0);
    let min_level = fields.parsed("min_level");
    let query = fields.parsed("query");
    let follow = fields.flag("follow", false);
    let summary = fields.flag("summary", false);
    let of = match (id, app) {
        (Some(id), app) => LogsOf::Deployment(id, app),
        (None, Some(app)) => LogsOf::App(app),
        (None, None) => {
            fields.fault("deployment_id", "or app_name must be given");
            return Err(fields.into_error());
        }
    };
    fields.finish()?;
    Ok(LogsCall {
        of,
        tail,
        offset,
        min_level,
        query,
        follow,
        summary,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doors::mcp::tools::TOOLS;
    use serde_json::Map;
    use serde_json::{Value, json};

    fn strict(value: &Value) -> Fields {
        Fields::strict(value.as_object().unwrap().clone())
    }

    #[test]
    fn every_argument_of_a_schema_is_read() {
        for spec in TOOLS {
            let schema = (spec.input)();
            let names = schema["properties"].as_object().unwrap().keys();
            let arguments: Map<_, _> = names.map(|name| (name.clone(), Value::Null)).collect();
            if let Err(error) = read(spec.tool, Fields::strict(arguments)) {
                for fault in error.faults() {
                    assert!(
                        !fault.problem.contains("not known"),
                        "{}: {fault}",
                        spec.name
                    );
                }
            }
            let wrong = read(spec.tool, strict(&json!({"app_nam": "shop"}))).unwrap_err();
            let is_told = wrong.faults().iter().any(|fault| fault.field == "app_nam");
            assert!(is_told, "{}: {wrong}", spec.name);
        }
    }

    #[test]
    fn defaults_are_small_and_limits_are_kept() {
        let read = |tool, arguments: Value| read(tool, strict(&arguments));
        let Call::Logs(logs) = read(ToolName::Logs, json!({"app_name": "shop"})).unwrap() else {
            panic!("not a call for logs")
        };
        assert_eq!((logs.tail, logs.offset, logs.follow), (100, 0, false));
        assert!(read(ToolName::Logs, json!({})).is_err());
        assert!(read(ToolName::Logs, json!({"app_name": "shop", "tail": 1_001})).is_err());
        assert!(read(ToolName::History, json!({"app_name": "shop", "limit": 0})).is_err());
        let id = "dep-1770200000000-9f3c1a7e";
        assert!(
            read(
                ToolName::Status,
                json!({"deployment_id": id, "wait_seconds": 51})
            )
            .is_err()
        );
        assert!(
            read(
                ToolName::Status,
                json!({"deployment_id": id, "wait_seconds": 50})
            )
            .is_ok()
        );
    }
}
