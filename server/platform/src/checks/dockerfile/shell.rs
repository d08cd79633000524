//! Commands of a `RUN`, as far as rules look at them. No shell's full grammar.

/// One command: its words, without quotes.
pub(super) type Command = Vec<String>;

/// The commands of a line or heredoc, split at `&&`, `||`, `;`, `|`, `&` and line ends outside
/// of quotes.
pub(super) fn commands(text: &str) -> Vec<Command> {
    let mut commands = vec![Vec::new()];
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    let end_word = |word: &mut String, commands: &mut Vec<Command>| {
        if !word.is_empty()
            && let Some(command) = commands.last_mut()
        {
            command.push(std::mem::take(word));
        }
    };
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('"') | None, '\\') => word.extend(chars.next()),
            (None, '"' | '\'') => quote = Some(c),
            (None, ';' | '&' | '|' | '\n' | '(' | ')') => {
                end_word(&mut word, &mut commands);
                commands.push(Vec::new());
            }
            (None, c) if c.is_whitespace() => end_word(&mut word, &mut commands),
            (_, c) => word.push(c),
        }
    }
    end_word(&mut word, &mut commands);
    commands.retain(|command| !command.is_empty());
    commands
}

/// The program of a command and its arguments: without variables set before it, and what only runs
/// something else.
pub(super) fn program(command: &Command) -> Option<(&str, &[String])> {
    let is_setting = |word: &str| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
    };
    let runs_another = |word: &str| {
        let known = [
            "env", "exec", "time", "then", "do", "else", "if", "!", "{", "}",
        ];
        known.contains(&word)
    };
    let start = command
        .iter()
        .position(|word| !is_setting(word) && !runs_another(word))?;
    let name = command[start].rsplit('/').next().unwrap_or_default();
    Some((name, &command[start + 1..]))
}

/// Words at white space outside of quotes, without the quotes.
pub(super) fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('"') | None, '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// `["program", "argument"]`: a JSON list of strings, or it is no exec form.
pub(super) fn exec_form(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    text.starts_with('[')
        .then(|| serde_json::from_str(text).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_apart() {
        let found =
            commands("A=1 apt-get update && apt-get install -y 'a && b';sudo x | \"y z\"\nlast");
        let first: Vec<&str> = found.iter().map(|command| command[0].as_str()).collect();
        assert_eq!(first, ["A=1", "apt-get", "sudo", "y z", "last"]);
        assert_eq!(found[1], ["apt-get", "install", "-y", "a && b"]);
        assert_eq!(program(&found[0]).unwrap().0, "apt-get");
        assert_eq!(
            program(&vec!["/usr/bin/sudo".to_owned()]).unwrap().0,
            "sudo"
        );
        assert_eq!(program(&vec!["A=1".to_owned()]), None);
    }

    #[test]
    fn words_keep_what_quotes_hold_together() {
        assert_eq!(words("A=\"b c\"  D='' e\\ f"), ["A=b c", "D=", "e f"]);
    }
}
