//! Why and how a program stopped.

use std::any::Any;
use std::borrow::Cow;
use std::process::ExitCode;

use crate::exit;

/// Why a program stopped.
#[derive(Debug)]
pub enum StopReason {
    /// It was asked to.
    Requested {
        /// `SIGTERM` or `SIGINT`; nothing when a [`Stopper`](super::Stopper) asked.
        signal: Option<&'static str>,
    },
    /// A task ended although nobody had asked for it.
    Task(TaskExit),
}

/// The end of one task.
#[derive(Debug)]
pub struct TaskExit {
    /// The name that the task was spawned with.
    pub name: Cow<'static, str>,
    /// How it ended.
    pub outcome: TaskOutcome,
}

/// How a task ended.
#[derive(Debug)]
pub enum TaskOutcome {
    /// It returned without an error.
    Returned,
    /// It returned this error.
    Failed(anyhow::Error),
    /// It panicked with this message.
    Panicked(String),
    /// It did not stop in time and was aborted, or left behind when even that had no effect.
    Aborted,
}

/// What [`Lifecycle::run_until_stopped`](super::Lifecycle::run_until_stopped) gives back.
#[derive(Debug)]
pub struct StopReport {
    /// Why the stop began.
    pub reason: StopReason,
    /// Tasks that failed, panicked or were aborted after that.
    pub casualties: Vec<TaskExit>,
}

impl StopReport {
    pub(super) fn new(reason: StopReason) -> Self {
        Self {
            reason,
            casualties: Vec::new(),
        }
    }

    /// Records the end of a task during the stop. Returning is what it was asked to do.
    pub(super) fn add(&mut self, exit: TaskExit) {
        match exit.outcome {
            TaskOutcome::Returned => {}
            TaskOutcome::Failed(_) | TaskOutcome::Panicked(_) | TaskOutcome::Aborted => self.casualties.push(exit),
        }
    }

    /// Whether somebody asked for the stop and every task followed in time.
    pub fn is_clean(&self) -> bool {
        matches!(self.reason, StopReason::Requested { .. }) && self.casualties.is_empty()
    }

    /// [`exit::OK`] after a clean stop, otherwise [`exit::FAILURE`].
    pub fn exit_code(&self) -> ExitCode {
        exit::code(if self.is_clean() { exit::OK } else { exit::FAILURE })
    }

    pub(super) fn log(&self) {
        let casualties = self.casualties.len();
        match &self.reason {
            StopReason::Requested { signal } => {
                tracing::info!(reason = signal.unwrap_or("request"), casualties, "stopped");
            }
            StopReason::Task(exit) => {
                tracing::error!(reason = "task", task.name = %exit.name, casualties, "stopped without being asked");
            }
        }
    }
}

/// The text of a panic. Payloads that are not text come only from `panic_any`.
pub(super) fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a payload that is not text".to_owned()
    }
}
