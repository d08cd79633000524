//! Where calls to the outside are counted, made to fail, held, or are the last thing that happens.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    Away,
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Fail(Trouble),
    Hang,
}

struct Rule {
    call: &'static str,
    /// What the call's subject has to contain.
    about: String,
    act: Act,
    left: u32,
}

/// Which calls count towards the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counting {
    /// Those that change something, before and after.
    Changes,
    /// All, reads too.
    Everything,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    hanging: Vec<&'static str>,
    passed: u32,
    dies_at: Option<(u32, Counting)>,
    dead: bool,
}

/// One process's line to the outside.
#[derive(Default)]
pub(crate) struct Tap(Mutex<State>);

impl Tap {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next `times` calls like this fail.
    pub(crate) fn fail(&self, call: &'static str, about: &str, trouble: Trouble, times: u32) {
        self.lock().rules.push(Rule {
            call,
            about: about.to_owned(),
            act: Act::Fail(trouble),
            left: times,
        });
    }

    /// Calls like this do not return until [`Tap::release`].
    pub(crate) fn hang(&self, call: &'static str, about: &str) {
        self.lock().rules.push(Rule {
            call,
            about: about.to_owned(),
            act: Act::Hang,
            left: u32::MAX,
        });
    }

    pub(crate) fn release(&self, call: &'static str) {
        self.lock().rules.retain(|rule| rule.call != call);
    }

    pub(crate) fn is_hanging(&self, call: &'static str) -> bool {
        self.lock().hanging.contains(&call)
    }

    /// The process ends at the `count`-th call from now on.
    pub(crate) fn die_at(&self, count: u32, counting: Counting) {
        let mut state = self.lock();
        state.passed = 0;
        state.dies_at = Some((count, counting));
    }

    /// From now on nothing gets out any more.
    pub(crate) fn die(&self) {
        self.lock().dead = true;
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.lock().dead
    }

    async fn pass(&self, changes: bool) {
        let dead = {
            let mut state = self.lock();
            if let Some((count, counting)) = state.dies_at
                && (changes || counting == Counting::Everything)
            {
                state.passed += 1;
                state.dead |= state.passed >= count;
            }
            state.dead
        };
        if dead {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) async fn before(
        &self,
        call: &'static str,
        about: &str,
        changes: bool,
    ) -> Result<(), Trouble> {
        self.pass(changes).await;
        loop {
            let act = {
                let mut state = self.lock();
                let rule = state
                    .rules
                    .iter_mut()
                    .find(|rule| rule.call == call && about.contains(&rule.about) && rule.left > 0);
                let act = rule.map(|rule| {
                    if rule.act != Act::Hang {
                        rule.left -= 1;
                    }
                    rule.act
                });
                if act == Some(Act::Hang) && !state.hanging.contains(&call) {
                    state.hanging.push(call);
                }
                act
            };
            match act {
                None => return Ok(()),
                Some(Act::Fail(trouble)) => return Err(trouble),
                Some(Act::Hang) => tokio::time::sleep(Duration::from_millis(3)).await,
            }
        }
    }

    pub(crate) async fn after(&self, changes: bool) {
        self.pass(changes).await;
    }
}
