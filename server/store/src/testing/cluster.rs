//! A PostgreSQL of one test process: made in a temporary folder, reached by a socket in it, gone with the process.

use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tokio::sync::Mutex;

use crate::{OpenError, Store, StoreConfig};

/// Names the folder with `initdb` and `postgres`, where it is neither on the path nor in Debian's place.
const BIN_VARIABLE: &str = "CAREPOST_PG_BIN";
/// Where Debian puts server programs, one folder a version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// How long the server may take to answer for the first time.
const START: Duration = Duration::from_secs(30);
/// Every test has its own database, and a pool.
const MAX_CONNECTIONS: &str = "max_connections=300";

/// Ends the server when this process is gone, however it went: the pipe that `cat` reads closes with it. QUIT is an
/// immediate shutdown, which is right for data that nobody wants.
const KEEPER: &str = r#"
"$1" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off -c synchronous_commit=off -c full_page_writes=off \
    -c "$3" -c shared_buffers=32MB -c log_min_messages=warning </dev/null >"$2/log" 2>&1 &
server=$!
cat >/dev/null
kill -QUIT "$server" 2>/dev/null
wait "$server"
rm -rf "$2"
"#;

/// Why there is no PostgreSQL to test with.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The server is not installed. Tests fail with this; they are never skipped.
    #[error(
        "no PostgreSQL server (initdb and postgres) in ${BIN_VARIABLE}, {DEBIAN}/*/bin or the path; install the package \
         `postgresql` or set {BIN_VARIABLE}"
    )]
    NotInstalled,
    /// A program could not be run.
    #[error("could not run {program}")]
    Run {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// `initdb` failed.
    #[error("initdb ended with {status}: {output}")]
    InitDb {
        /// Its exit.
        status: ExitStatus,
        /// What it printed.
        output: String,
    },
    /// The folder for the cluster could not be made or given away.
    #[error("could not prepare the cluster's folder")]
    Folder(#[source] io::Error),
    /// PostgreSQL refuses to run as root, and there is nobody else.
    #[error("running as root, and /etc/passwd has neither postgres nor nobody to run the server as")]
    NobodyToRunAs,
    /// The server did not answer in time.
    #[error("the server did not answer within {} s; its log: {log}", START.as_secs())]
    Silent {
        /// What it logged.
        log: String,
    },
    /// A statement of the harness failed.
    #[error("could not {attempt}")]
    Sql {
        /// What was being done.
        attempt: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// The template could not be migrated.
    #[error("could not migrate the template")]
    Migrate(#[from] OpenError),
}

/// A running server with a migrated template. Dropped, it stops and removes its folder; if the process dies instead, the
/// same happens.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    keeper: Child,
    made: Mutex<u32>,
}

impl Cluster {
    /// Makes and starts a cluster, in about a second.
    ///
    /// # Errors
    /// [`ClusterError`], with what to do about it.
    pub async fn start() -> Result<Self, ClusterError> {
        let bin = find_bin()?;
        let folder = tempfile::Builder::new()
            .prefix("carepost-pg-")
            .tempdir()
            .map_err(ClusterError::Folder)?;
        let owner = other_than_root(folder.path())?;
        init(&bin, folder.path(), owner)?;
        let keeper = keep(&bin, folder.path(), owner)?;
        // From here on the keeper removes it.
        let cluster = Self {
            folder: folder.keep(),
            keeper,
            made: Mutex::new(0),
        };
        cluster.wait().await?;
        cluster
            .execute("make the template", "CREATE DATABASE template_carepost")
            .await?;
        let template = Store::open(&StoreConfig::new(cluster.url("template_carepost"))).await?;
        template.close().await;
        Ok(cluster)
    }

    /// A database of its own for one test, as a URL; migrated already.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn database(&self) -> Result<String, ClusterError> {
        self.make(" TEMPLATE template_carepost").await
    }

    /// A database with nothing in it, as a URL.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn empty_database(&self) -> Result<String, ClusterError> {
        self.make("").await
    }

    async fn make(&self, from: &str) -> Result<String, ClusterError> {
        // One at a time: copies of one template wait for each other anyway.
        let mut made = self.made.lock().await;
        *made += 1;
        let name = format!("test_{}", *made);
        let statement = format!("CREATE DATABASE {name}{from}");
        self.execute("make a database", &statement).await?;
        Ok(self.url(&name))
    }

    fn url(&self, database: &str) -> String {
        format!(
            "postgres://carepost@localhost/{database}?host={}",
            self.folder.display()
        )
    }

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.folder)
            .username("carepost")
            .database("postgres")
            .disable_statement_logging()
            .connect()
            .await
    }

    async fn execute(&self, attempt: &'static str, statement: &str) -> Result<(), ClusterError> {
        let failed = |source| ClusterError::Sql { attempt, source };
        let mut conn = self.connect().await.map_err(failed)?;
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut conn)
            .await
            .map_err(failed)?;
        conn.close().await.map_err(failed)
    }

    async fn wait(&self) -> Result<(), ClusterError> {
        let began = Instant::now();
        loop {
            match self.connect().await {
                Ok(conn) => {
                    return conn.close().await.map_err(|source| ClusterError::Sql {
                        attempt: "reach the server",
                        source,
                    });
                }
                Err(_) if began.elapsed() < START => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(_) => {
                    let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                    return Err(ClusterError::Silent { log });
                }
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        if let Err(error) = self.keeper.wait() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the test cluster did not stop"
            );
        }
    }
}

fn find_bin() -> Result<PathBuf, ClusterError> {
    let has_both = |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    if let Some(named) = std::env::var_os(BIN_VARIABLE) {
        return Some(PathBuf::from(named))
            .filter(has_both)
            .ok_or(ClusterError::NotInstalled);
    }
    let mut debian: Vec<(u32, PathBuf)> = std::fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    // The newest first.
    debian.sort_by(|a, b| b.cmp(a));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).collect::<Vec<_>>();
    debian
        .into_iter()
        .map(|(_, folder)| folder)
        .chain(on_path)
        .find(has_both)
        .ok_or(ClusterError::NotInstalled)
}

/// Whom to run the server as: nobody in particular, unless this is root, whom PostgreSQL refuses.
fn other_than_root(folder: &Path) -> Result<Option<(u32, u32)>, ClusterError> {
    if std::fs::metadata(folder).map_err(ClusterError::Folder)?.uid() != 0 {
        return Ok(None);
    }
    let passwd = std::fs::read_to_string("/etc/passwd").map_err(ClusterError::Folder)?;
    let find = |name: &str| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == name).then_some(())?;
            Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
        })
    };
    let (user, group) = find("postgres")
        .or_else(|| find("nobody"))
        .ok_or(ClusterError::NobodyToRunAs)?;
    chown(folder, Some(user), Some(group)).map_err(ClusterError::Folder)?;
    Ok(Some((user, group)))
}

fn command(program: &Path, owner: Option<(u32, u32)>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    // A folder that any owner may stand in.
    command
        .current_dir(folder)
        .env_remove("PGDATA")
        .env_remove("PGPORT")
        .env_remove("PGHOST");
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command
}

fn init(bin: &Path, folder: &Path, owner: Option<(u32, u32)>) -> Result<(), ClusterError> {
    let program = bin.join("initdb");
    let output = command(&program, owner, folder)
        .arg("-D")
        .arg(folder.join("data"))
        .args([
            "-U",
            "carepost",
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
        ])
        .output()
        .map_err(|source| ClusterError::Run {
            program: program.display().to_string(),
            source,
        })?;
    if output.status.success() {
        return Ok(());
    }
    let output_text = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(ClusterError::InitDb {
        status: output.status,
        output: output_text,
    })
}

fn keep(bin: &Path, folder: &Path, owner: Option<(u32, u32)>) -> Result<Child, ClusterError> {
    command(Path::new("/bin/sh"), owner, folder)
        .arg("-c")
        .arg(KEEPER)
        .arg("carepost-test-cluster")
        .arg(bin.join("postgres"))
        .arg(folder)
        .arg(MAX_CONNECTIONS)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A signal to the tests' group must not end the keeper before the server.
        .process_group(0)
        .spawn()
        .map_err(|source| ClusterError::Run {
            program: "/bin/sh".to_owned(),
            source,
        })
}
