//! What can go wrong with the spool's file, and what to do about it.

use std::path::PathBuf;

/// Oldest SQLite that may open the file: earlier ones have the WAL-reset bug (page 4, "SQLite").
pub const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);

/// Why the file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or the file cannot be made.
    #[error("cannot create {}", path.display())]
    Create {
        /// What was to be made.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file cannot be opened as a database.
    #[error("cannot open the database {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the engine says.
        source: sqlx::Error,
    },
    /// The engine is too old to be trusted with the file.
    #[error("SQLite {found} is older than {}.{}.{}, which mends the WAL-reset bug", OLDEST_SQLITE.0, OLDEST_SQLITE.1, OLDEST_SQLITE.2)]
    EngineTooOld {
        /// Its version.
        found: String,
    },
    /// The engine's own check finds the file damaged.
    #[error("the database {} is damaged: {finding}; restore it from a copy, or move it away to start empty", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first thing that the check found.
        finding: String,
    },
    /// The file was written by a newer version of this program.
    #[error("the database {} has layout {found}; this program knows layouts up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its layout.
        found: i64,
        /// The newest known.
        known: i64,
    },
    /// The kept rows cannot be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Why a use case of the spool failed. Nothing of it was done.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The engine failed.
    #[error("cannot {attempted}")]
    Engine {
        /// What was attempted.
        attempted: &'static str,
        /// What the engine says.
        source: sqlx::Error,
    },
    /// A kept row is not what this program writes.
    #[error("cannot read {what} from the spool")]
    Row {
        /// The row's kind.
        what: &'static str,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What to do after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// The same call may succeed later: the disk is full or the file is locked.
    Retry,
    /// The state of the file is not known: stop, and let the supervisor start the program again.
    Stop,
}

/// SQLite's primary result codes (sqlite.org, "Result and Error Codes").
const SQLITE_BUSY: i32 = 5;
const SQLITE_LOCKED: i32 = 6;
const SQLITE_FULL: i32 = 13;

impl SpoolError {
    /// What to do after this error.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        let Self::Engine {
            source: sqlx::Error::Database(error),
            ..
        } = self
        else {
            return Disposition::Stop;
        };
        // The primary code is the low byte of an extended one.
        let code = error
            .code()
            .and_then(|code| code.parse::<i32>().ok())
            .map(|code| code & 0xFF);
        match code {
            Some(SQLITE_BUSY | SQLITE_LOCKED | SQLITE_FULL) => Disposition::Retry,
            _ => Disposition::Stop,
        }
    }

    /// Whether the disk is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        let Self::Engine {
            source: sqlx::Error::Database(error),
            ..
        } = self
        else {
            return false;
        };
        error
            .code()
            .and_then(|code| code.parse::<i32>().ok())
            .is_some_and(|code| code & 0xFF == SQLITE_FULL)
    }
}

/// Names what was attempted beside an engine's error.
pub(super) trait Attempted<T> {
    fn attempting(self, attempted: &'static str) -> Result<T, SpoolError>;
}

impl<T> Attempted<T> for Result<T, sqlx::Error> {
    fn attempting(self, attempted: &'static str) -> Result<T, SpoolError> {
        self.map_err(|source| SpoolError::Engine { attempted, source })
    }
}

/// A kept row that does not parse.
pub(super) fn bad_row<E>(what: &'static str) -> impl FnOnce(E) -> SpoolError
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    move |source| SpoolError::Row {
        what,
        source: source.into(),
    }
}
