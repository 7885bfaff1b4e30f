//! The supervisor of long-lived tasks, and the two-stage stop.
//!
//! A program names all its long-lived tasks in one place and then waits:
//!
//! - The **soft** token means: finish the unit in hand and accept nothing new. It is triggered by the first SIGTERM or
//!   SIGINT, by [`Stopper::request`], and by any task that ends before it was asked to: returned, failed or panicked.
//! - The **hard** token means: stop now. It is triggered by a second request, or by the deadline.
//! - Tasks that still run [`HARD_GRACE`] after that are aborted, and named in the report.
//!
//! A stop that nobody asked for, a task that failed or panicked on the way, and a task that had to be aborted all make
//! a non-zero exit code.

mod report;
mod signals;

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use self::signals::Signals;
use crate::config::{Problems, Validate};
use crate::notify::{Notifier, State};

pub use self::report::{StopReason, StopReport, TaskExit, TaskOutcome};

/// How long tasks have between the hard token and being aborted. Long enough for one local write, short enough that a
/// service manager does not lose patience first.
pub const HARD_GRACE: Duration = Duration::from_secs(1);

/// How long aborted tasks have to reach an await. A task that never does is left behind; it ends with the process.
pub const ABORT_GRACE: Duration = Duration::from_secs(1);

/// Stop requests that wait to be seen: one for each stage. More would change nothing.
const STOP_REQUESTS: usize = 2;

/// The `lifecycle` section of every program's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LifecycleSettings {
    /// Time from the soft to the hard stage of a stop, in milliseconds. systemd's own patience is 90 s by default.
    pub stop_deadline_ms: u64,
}

impl LifecycleSettings {
    /// Longest deadline that is accepted, in milliseconds: ten minutes.
    pub const MAX_STOP_DEADLINE_MS: u64 = 600_000;
}

impl Default for LifecycleSettings {
    fn default() -> Self {
        Self {
            stop_deadline_ms: 10_000,
        }
    }
}

impl Validate for LifecycleSettings {
    fn validate(&self, problems: &mut Problems) {
        if !(1..=Self::MAX_STOP_DEADLINE_MS).contains(&self.stop_deadline_ms) {
            problems.add(
                "stop_deadline_ms",
                format!("must be from 1 to {}", Self::MAX_STOP_DEADLINE_MS),
            );
        }
    }
}

/// Why a program cannot be supervised.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// A signal cannot be listened for.
    #[error("cannot listen for {signal}")]
    Signal {
        /// The signal's name.
        signal: &'static str,
        /// What the operating system says.
        source: std::io::Error,
    },
}

/// Owns the long-lived tasks of a program. Dropping it aborts them, so that an early return from start-up leaves
/// nothing running.
#[derive(Debug)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    stop_deadline: Duration,
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<task::Id, Cow<'static, str>>,
    signals: Option<Signals>,
    requests: mpsc::Receiver<()>,
    stopper: Stopper,
    notifier: Notifier,
}

impl Lifecycle {
    /// For a program: listens for SIGTERM and SIGINT from now on, and tells the service manager of the process, if
    /// there is one. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the signals cannot be listened for.
    pub fn new(settings: &LifecycleSettings) -> Result<Self, LifecycleError> {
        let notifier = Notifier::from_environment().unwrap_or_else(|error| {
            tracing::warn!(error = describe(&error), "service manager is not told");
            Notifier::default()
        });
        Ok(Self::assemble(settings, Some(Signals::listen()?), notifier))
    }

    /// For a program that runs inside another process, such as a test: hears only its [`Stopper`], and tells nobody.
    pub fn embedded(settings: &LifecycleSettings) -> Self {
        Self::assemble(settings, None, Notifier::default())
    }

    fn assemble(settings: &LifecycleSettings, signals: Option<Signals>, notifier: Notifier) -> Self {
        let (sender, requests) = mpsc::channel(STOP_REQUESTS);
        Self {
            soft: CancellationToken::new(),
            hard: CancellationToken::new(),
            stop_deadline: Duration::from_millis(settings.stop_deadline_ms),
            tasks: JoinSet::new(),
            names: HashMap::new(),
            signals,
            requests,
            stopper: Stopper(sender),
            notifier,
        }
    }

    /// Cancelled when the program shall finish the unit in hand and accept nothing new. Cancelling this token stops
    /// only those who hold it; to stop the program use a [`Stopper`].
    pub fn soft(&self) -> CancellationToken {
        self.soft.child_token()
    }

    /// Cancelled when the program shall stop now. Always after [`soft`](Self::soft). Cancelling this token stops only
    /// those who hold it.
    pub fn hard(&self) -> CancellationToken {
        self.hard.child_token()
    }

    /// A handle by which the program asks itself to stop.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Starts a long-lived task. It is expected to run until the soft token is cancelled, and then to return `Ok`.
    /// Everything that it logs carries its name as `task.name`.
    pub fn spawn(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let name = name.into();
        let span = tracing::info_span!("task", task.name = %name);
        let handle = self.tasks.spawn(task.instrument(span));
        self.names.insert(handle.id(), name);
    }

    /// Reports readiness, then waits until the program was stopped and its tasks have ended or were aborted.
    ///
    /// Not cancel-safe: dropping the future aborts all tasks.
    pub async fn run_until_stopped(mut self) -> StopReport {
        self.tell(State::Ready);
        let mut watchdog = self.notifier.watchdog_interval().map(|period| {
            let mut interval = tokio::time::interval(period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        let mut stage = Stage::Running;
        let mut report: Option<StopReport> = None;
        loop {
            if stage != Stage::Running && self.tasks.is_empty() {
                break;
            }
            match self.next_event(stage, watchdog.as_mut()).await {
                Event::Alive => self.tell(State::Watchdog),
                Event::Requested(signal) => match stage {
                    Stage::Running => {
                        report = Some(StopReport::new(StopReason::Requested { signal }));
                        stage = self.stop_softly();
                    }
                    Stage::Soft { .. } => stage = self.stop_hard("second request"),
                    Stage::Hard { .. } | Stage::Aborted { .. } => {}
                },
                Event::DeadlinePassed => match stage {
                    Stage::Running => {}
                    Stage::Soft { .. } => stage = self.stop_hard("deadline"),
                    Stage::Hard { .. } => stage = self.abort(),
                    Stage::Aborted { .. } => break,
                },
                Event::Ended(exit) => {
                    log_exit(&exit, stage);
                    match &mut report {
                        Some(report) => report.add(exit),
                        None => {
                            report = Some(StopReport::new(StopReason::Task(exit)));
                            stage = self.stop_softly();
                        }
                    }
                }
            }
        }
        let mut report = report.expect("the loop ends only after a reason to stop was recorded");
        for name in self.names.into_values() {
            tracing::error!(task.name = %name, "task does not end and is left behind");
            report.add(TaskExit {
                name,
                outcome: TaskOutcome::Aborted,
            });
        }
        report.log();
        report
    }

    /// Waits for what happens next. Every branch is cancel-safe: what loses the race is still there the next time.
    async fn next_event(&mut self, stage: Stage, watchdog: Option<&mut Interval>) -> Event {
        let deadline = stage.deadline();
        tokio::select! {
            // A request comes first: a task that ends because of the same signal shall not look like the reason.
            biased;
            signal = next_request(&mut self.signals, &mut self.requests) => Event::Requested(signal),
            Some(joined) = self.tasks.join_next_with_id() => Event::Ended(self.exit_of(joined)),
            () = sleep_until(deadline) => Event::DeadlinePassed,
            () = tick(watchdog) => Event::Alive,
        }
    }

    fn exit_of(&mut self, joined: Result<(task::Id, anyhow::Result<()>), JoinError>) -> TaskExit {
        let (id, outcome) = match joined {
            Ok((id, Ok(()))) => (id, TaskOutcome::Returned),
            Ok((id, Err(error))) => (id, TaskOutcome::Failed(error)),
            Err(error) => {
                let id = error.id();
                match error.try_into_panic() {
                    Ok(payload) => (id, TaskOutcome::Panicked(report::panic_message(payload.as_ref()))),
                    Err(_cancelled) => (id, TaskOutcome::Aborted),
                }
            }
        };
        let name = self
            .names
            .remove(&id)
            .expect("every task of the set was given a name when it was spawned");
        TaskExit { name, outcome }
    }

    fn stop_softly(&self) -> Stage {
        tracing::info!(
            deadline_ms = u64::try_from(self.stop_deadline.as_millis()).unwrap_or(u64::MAX),
            tasks = self.tasks.len(),
            "stopping: finishing the work in hand"
        );
        self.tell(State::Stopping);
        self.soft.cancel();
        Stage::Soft {
            until: Instant::now() + self.stop_deadline,
        }
    }

    fn stop_hard(&self, reason: &'static str) -> Stage {
        tracing::warn!(reason, tasks = self.tasks.len(), "stopping now");
        self.hard.cancel();
        Stage::Hard {
            until: Instant::now() + HARD_GRACE,
        }
    }

    fn abort(&mut self) -> Stage {
        self.tasks.abort_all();
        Stage::Aborted {
            until: Instant::now() + ABORT_GRACE,
        }
    }

    fn tell(&self, state: State) {
        if let Err(error) = self.notifier.send(state) {
            tracing::warn!(error = describe(&error), "service manager was not told");
        }
    }
}

/// Asks the program to stop, as a signal does. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Stopper(mpsc::Sender<()>);

impl Stopper {
    /// Asks once: the first request begins the soft stage, a second one the hard stage. Requests that find two waiting,
    /// or the program stopped, change nothing.
    pub fn request(&self) {
        if self.0.try_send(()).is_err() {
            tracing::debug!("stop was requested already");
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Running,
    Soft { until: Instant },
    Hard { until: Instant },
    Aborted { until: Instant },
}

impl Stage {
    fn deadline(self) -> Option<Instant> {
        match self {
            Self::Running => None,
            Self::Soft { until } | Self::Hard { until } | Self::Aborted { until } => Some(until),
        }
    }
}

enum Event {
    /// A request to stop, with the signal's name if it was one.
    Requested(Option<&'static str>),
    Ended(TaskExit),
    DeadlinePassed,
    Alive,
}

/// The next request from signals or stoppers. Cancel-safe, as both of its branches are.
async fn next_request(signals: &mut Option<Signals>, requests: &mut mpsc::Receiver<()>) -> Option<&'static str> {
    let signal = async {
        match signals {
            Some(signals) => signals.next().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        name = signal => Some(name),
        Some(()) = requests.recv() => None,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn tick(watchdog: Option<&mut Interval>) {
    match watchdog {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

fn log_exit(exit: &TaskExit, stage: Stage) {
    let name = &exit.name;
    match &exit.outcome {
        TaskOutcome::Returned if stage == Stage::Running => {
            tracing::error!(task.name = %name, "task returned before it was asked to stop");
        }
        TaskOutcome::Returned => tracing::debug!(task.name = %name, "task stopped"),
        TaskOutcome::Failed(error) => tracing::error!(task.name = %name, error = format!("{error:#}"), "task failed"),
        TaskOutcome::Panicked(message) => {
            tracing::error!(task.name = %name, panic = message, "task panicked");
        }
        TaskOutcome::Aborted => tracing::error!(task.name = %name, "task did not stop in time and was aborted"),
    }
}

fn describe(error: &crate::notify::NotifyError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
