//! What is asked for at a terminal, or read from standard input.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use anyhow::Context as _;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Most that is read from standard input, in bytes.
const LONGEST: u64 = 1024 * 1024;

/// A person sits at standard input.
pub(crate) fn is_asked() -> bool {
    io::stdin().is_terminal()
}

/// A line that is typed.
pub(crate) async fn line(question: &str) -> anyhow::Result<String> {
    ask(question, None).await
}

/// A line that is typed and not shown, or all of standard input.
pub(crate) async fn secret(question: &str) -> anyhow::Result<String> {
    if !is_asked() {
        return all().await;
    }
    let hidden = Hidden::begin()?;
    let typed = ask(question, Some("\n")).await;
    drop(hidden);
    typed
}

/// All of standard input, as text.
pub(crate) async fn all() -> anyhow::Result<String> {
    let reading = tokio::task::spawn_blocking(|| {
        let mut text = String::new();
        io::stdin().take(LONGEST).read_to_string(&mut text)?;
        Ok::<_, io::Error>(text)
    });
    reading.await?.context("standard input cannot be read")
}

async fn ask(question: &str, after: Option<&str>) -> anyhow::Result<String> {
    let mut terminal = io::stderr();
    write!(terminal, "{question}: ")?;
    terminal.flush()?;
    let reading = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        Ok::<_, io::Error>(line)
    });
    let typed = reading.await??;
    if let Some(after) = after {
        write!(terminal, "{after}")?;
    }
    Ok(typed.trim().to_owned())
}

/// What is typed does not show, until this is dropped: also when the command is stopped.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> anyhow::Result<Self> {
        let before = tcgetattr(io::stdin()).context("the terminal does not say how it is set")?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)
            .context("the terminal cannot hide what is typed")?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
