//! The real programs as child processes: built once, started on port 0, killed by their own pid.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How long a program may take from its start to its readiness line; generous, for two busy cores.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long a program may take to stop after it was asked to.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// Lines of log kept for the report of a failure.
const KEPT_LOG_LINES: usize = 400;

/// One of our programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The store daemon.
    Gateway,
    /// The server.
    Server,
    /// The simulated meters and their BlueZ.
    Sim,
}

impl Program {
    const fn binary(self) -> &'static str {
        match self {
            Self::Gateway => "carepost-gateway",
            Self::Server => "carepost-server",
            Self::Sim => "carepost-sim",
        }
    }
}

/// The folder with the built programs; builds them on first use, which costs nothing when they are up to date.
///
/// # Errors
/// When the build fails or cargo cannot be run.
pub fn programs() -> anyhow::Result<&'static Path> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOLDER
        .get_or_init(|| build().map_err(|error| format!("{error:#}")))
        .as_deref()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

fn build() -> anyhow::Result<PathBuf> {
    let root = workspace_root();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = std::process::Command::new(&cargo);
    // All of them at once: one set of features, the same in every build of the workspace.
    build.current_dir(&root).args(["build", "--workspace", "--bins"]);
    // In the profile of this very program, so that a measurement measures what is shipped.
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    if !std::io::stderr().is_terminal() {
        build.arg("--quiet");
    }
    let status = build.status().with_context(|| format!("running {}", cargo.display()))?;
    if !status.success() {
        bail!("building the programs failed: {status}");
    }
    // This very program was built by cargo into the same profile's folder: target/debug/demo or target/debug/deps/system-...
    let own = std::env::current_exe().context("finding this program's own path")?;
    own.ancestors()
        .skip(1)
        .find(|folder| folder.join(Program::Server.binary()).is_file())
        .map(Path::to_path_buf)
        .with_context(|| format!("no carepost-server beside {}", own.display()))
}

/// The workspace's folder.
#[must_use]
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// A running program.
#[derive(Debug)]
pub struct Running {
    name: &'static str,
    child: Child,
    stdout: mpsc::Receiver<String>,
    log: Arc<Mutex<VecDeque<String>>>,
    // Ends the readers with the program.
    _readers: JoinSet<()>,
}

impl Running {
    /// Starts a program.
    ///
    /// # Errors
    /// When it is not built or cannot be started.
    pub fn start(program: Program, args: &[impl AsRef<OsStr>], env: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut child = spawn(program, args, env, Stdio::null())?;
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let (lines, stdout) = mpsc::channel(64);
        let mut readers = JoinSet::new();
        if let Some(out) = child.stdout.take() {
            readers.spawn(forward(out, lines));
        }
        if let Some(err) = child.stderr.take() {
            readers.spawn(keep(err, Arc::clone(&log)));
        }
        Ok(Self {
            name: program.binary(),
            child,
            stdout,
            log,
            _readers: readers,
        })
    }

    /// Waits for the line `<word> <value>` on standard output and returns the value.
    ///
    /// # Errors
    /// When the program ends or is silent for too long; the error carries the end of its log.
    pub async fn announced(&mut self, word: &str) -> anyhow::Result<String> {
        let search = async {
            while let Some(line) = self.stdout.recv().await {
                if let Some(value) = line.strip_prefix(word).and_then(|rest| rest.strip_prefix(' ')) {
                    return Some(value.to_owned());
                }
            }
            None
        };
        match tokio::time::timeout(START_DEADLINE, search).await {
            Ok(Some(value)) => Ok(value),
            Ok(None) => bail!("{} ended before it announced {word:?}\n{}", self.name, self.log_tail()),
            Err(_) => bail!(
                "{} did not announce {word:?} within {START_DEADLINE:?}\n{}",
                self.name,
                self.log_tail()
            ),
        }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Resident memory in KiB, from the kernel; `None` once the program has ended.
    #[must_use]
    pub fn resident_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").trim().parse().ok()
    }

    /// SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub async fn kill_9(mut self) -> anyhow::Result<()> {
        self.child
            .kill()
            .await
            .with_context(|| format!("killing {}", self.name))
    }

    /// SIGTERM, and waits for a clean end.
    ///
    /// # Errors
    /// When it does not end in time or ends with another code than 0.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self
            .pid()
            .with_context(|| format!("{} has already ended\n{}", self.name, self.log_tail()))?;
        let sent = std::process::Command::new("kill")
            .args(["-TERM", &pid.to_string()])
            .status()
            .context("running kill")?;
        if !sent.success() {
            bail!("sending SIGTERM to {} failed", self.name);
        }
        let status = tokio::time::timeout(STOP_DEADLINE, self.child.wait())
            .await
            .with_context(|| {
                format!(
                    "{} did not stop within {STOP_DEADLINE:?}\n{}",
                    self.name,
                    self.log_tail()
                )
            })??;
        if !status.success() {
            bail!("{} stopped with {status}\n{}", self.name, self.log_tail());
        }
        Ok(())
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let lines = self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let shown: Vec<&str> = lines.iter().map(String::as_str).collect();
        format!("--- {} log ---\n{}\n---", self.name, shown.join("\n"))
    }

    /// Lines of its log that match a predicate.
    #[must_use]
    pub fn log_lines(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let lines = self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        lines.iter().filter(|line| wanted(line)).cloned().collect()
    }
}

/// Runs a program to its end.
///
/// # Errors
/// When it cannot be started, or runs for more than a minute.
pub async fn run_to_end(
    program: Program,
    args: &[impl AsRef<OsStr>],
    env: &[(&str, &str)],
    stdin: &str,
) -> anyhow::Result<std::process::Output> {
    use tokio::io::AsyncWriteExt as _;
    let mut child = spawn(program, args, env, Stdio::piped())?;
    if let Some(mut input) = child.stdin.take() {
        // A program that does not read its input closes it early; its answer tells the rest.
        match input.write_all(stdin.as_bytes()).await {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error.into()),
            _ => {}
        }
    }
    tokio::time::timeout(Duration::from_secs(60), child.wait_with_output())
        .await
        .with_context(|| format!("{} did not end", program.binary()))?
        .context("waiting for a program")
}

fn spawn(program: Program, args: &[impl AsRef<OsStr>], env: &[(&str, &str)], stdin: Stdio) -> anyhow::Result<Child> {
    let path = programs()?.join(program.binary());
    let mut command = Command::new(&path);
    // Nothing of the caller's environment may configure a program under test.
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("CAREPOST_") {
            command.env_remove(key);
        }
    }
    command
        .args(args)
        .envs(env.iter().copied())
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {}", path.display()))
}

async fn forward(out: impl AsyncRead + Unpin, lines: mpsc::Sender<String>) {
    let mut reader = BufReader::new(out).lines();
    while let Ok(Some(line)) = reader.next_line().await {
        // Nobody waits for announcements any more: keep draining, so that the program never blocks on its output.
        drop(lines.try_send(line));
    }
}

async fn keep(err: impl AsyncRead + Unpin, log: Arc<Mutex<VecDeque<String>>>) {
    let mut reader = BufReader::new(err).lines();
    while let Ok(Some(line)) = reader.next_line().await {
        let mut lines = log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if lines.len() == KEPT_LOG_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}
