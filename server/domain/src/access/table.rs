//! The table of who may do what, as the documentation has it.

use std::fmt::Write as _;

use super::{Action, Scope, Tier};

/// As Markdown, a row for each action in the order of [`Action::ALL`].
pub fn as_markdown() -> String {
    let mut text = String::from("| action | tier | where |\n|---|---|---|\n");
    for action in Action::ALL {
        let place = match action.scope() {
            Scope::Anybody => "one's own, or what one may see".to_owned(),
            Scope::Role(_) if action == Action::ViewProject => {
                "viewer of any app of the project".to_owned()
            }
            Scope::Role(role) if action == Action::ShareVariables => {
                format!("{} of every app of the project, as a whole", role.as_str())
            }
            Scope::Role(role) => format!("{} of the app or environment", role.as_str()),
            Scope::Instance if action.needed_tier() == Tier::Admin => "administrators".to_owned(),
            Scope::Instance => "who may act in the whole instance".to_owned(),
        };
        let (name, tier) = (action.as_str(), action.needed_tier().as_str());
        // It cannot fail for a string.
        let _ = writeln!(text, "| `{name}` | {tier} | {place} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_the_table_as_the_code_has_it() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/permissions.md");
        let document = std::fs::read_to_string(file).expect("it is there");
        let table = as_markdown();
        assert!(
            document.contains(&table),
            "docs/permissions.md must hold this table:\n{table}"
        );
    }
}
