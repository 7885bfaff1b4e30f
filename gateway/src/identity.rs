//! Who this gateway is: its id and its signing key, made on the first start and never shown.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use carepost_daemon::{Clock, Entropy};
use carepost_domain::Id;
use carepost_domain::id::GatewayId;
use ed25519_dalek::{SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

/// The file's name in the data folder.
pub const FILE_NAME: &str = "identity.json";
/// The file that says that a daemon uses the folder.
const LOCK_NAME: &str = "lock";
/// No identity file of ours is longer.
const MAX_FILE_BYTES: u64 = 4_096;

/// Id and key.
#[derive(Clone)]
pub struct Identity {
    gateway: GatewayId,
    key: SigningKey,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("gateway", &self.gateway)
            .finish_non_exhaustive()
    }
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file or folder cannot be made or read.
    #[error("cannot {attempted} {}", path.display())]
    File {
        /// What was attempted.
        attempted: &'static str,
        /// Where.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Others can read the key.
    #[error("{} can be read by other users (mode {mode:03o}); run chmod 600 on it, and register a new key if others may have read it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not an identity. Its text is not repeated, for it may hold a key.
    #[error("{} is not an identity file; restore it from a copy, or move it away and register the new key", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// Another daemon uses the folder.
    #[error("another gateway uses {}; stop it first", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    gateway: GatewayId,
    signing_key: String,
}

impl Identity {
    /// Reads the identity in `data_dir`, or makes one if there is none. The folder is made too.
    ///
    /// # Errors
    /// When folder or file cannot be made, read or trusted.
    pub fn load_or_create(data_dir: &Path, clock: &Clock, entropy: &Entropy) -> Result<Self, IdentityError> {
        make_folder(data_dir)?;
        let path = data_dir.join(FILE_NAME);
        if let Some(identity) = read(&path)? {
            return Ok(identity);
        }
        let identity = Self {
            gateway: Id::from_uuid(entropy.uuid_v7(clock.now())),
            key: SigningKey::from_bytes(&entropy.bytes::<32>()),
        };
        write(data_dir, &path, &identity)?;
        // If another process made one at the same time, the file's is the one that counts.
        read(&path)?.ok_or(IdentityError::Malformed { path })
    }

    /// Reads the identity in `data_dir`; `None` if there is none yet. Makes nothing.
    ///
    /// # Errors
    /// When there is a file that cannot be read or trusted.
    pub fn existing(data_dir: &Path) -> Result<Option<Self>, IdentityError> {
        read(&data_dir.join(FILE_NAME))
    }

    /// The gateway's id.
    #[must_use]
    pub fn gateway(&self) -> GatewayId {
        self.gateway
    }

    /// The key that signs.
    #[must_use]
    pub fn signing_key(&self) -> &SigningKey {
        &self.key
    }

    /// The key that the server registers.
    #[must_use]
    pub fn public_key(&self) -> VerifyingKey {
        self.key.verifying_key()
    }
}

/// Holds the data folder for one daemon, until it is dropped or the process ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the folder, making it if there is none.
    ///
    /// # Errors
    /// When another daemon has it, or the lock file cannot be made.
    pub fn take(data_dir: &Path) -> Result<Self, IdentityError> {
        make_folder(data_dir)?;
        let path = data_dir.join(LOCK_NAME);
        let fault = |source| IdentityError::File {
            attempted: "lock",
            path: path.clone(),
            source,
        };
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(fault)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(fs::TryLockError::WouldBlock) => Err(IdentityError::InUse {
                path: data_dir.to_owned(),
            }),
            Err(fs::TryLockError::Error(source)) => Err(fault(source)),
        }
    }
}

fn make_folder(data_dir: &Path) -> Result<(), IdentityError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
    made.map_err(|source| IdentityError::File {
        attempted: "create the folder",
        path: data_dir.to_owned(),
        source,
    })
}

fn read(path: &Path) -> Result<Option<Identity>, IdentityError> {
    let fault = |source| IdentityError::File {
        attempted: "read",
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(fault(source)),
    };
    let mode = file.metadata().map_err(fault)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(fault)?;
    let malformed = || IdentityError::Malformed { path: path.to_owned() };
    let stored: Stored = serde_json::from_str(&text).map_err(|_| malformed())?;
    let mut seed = [0_u8; 32];
    hex::decode_to_slice(&stored.signing_key, &mut seed).map_err(|_| malformed())?;
    Ok(Some(Identity {
        gateway: stored.gateway,
        key: SigningKey::from_bytes(&seed),
    }))
}

/// Whole or not at all: written beside, flushed, then linked to its name, which fails if there is one already.
fn write(data_dir: &Path, path: &Path, identity: &Identity) -> Result<(), IdentityError> {
    let fault = |attempted| {
        move |source| IdentityError::File {
            attempted,
            path: path.to_owned(),
            source,
        }
    };
    let stored = Stored {
        gateway: identity.gateway,
        signing_key: hex::encode(identity.key.to_bytes()),
    };
    let text = serde_json::to_string(&stored).map_err(|e| fault("write")(e.into()))?;
    let beside = data_dir.join(format!("{FILE_NAME}.{}.new", std::process::id()));
    let result = (|| {
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match fs::hard_link(&beside, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }?;
        File::open(data_dir)?.sync_all()
    })();
    // The key must not stay behind under another name, whatever happened.
    let removed = fs::remove_file(&beside);
    result.and(removed).map_err(fault("write"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn make(folder: &Path, seed: u64) -> Result<Identity, IdentityError> {
        let (clock, _hands) = Clock::manual("2026-10-15T07:00:00Z".parse().unwrap());
        Identity::load_or_create(folder, &clock, &Entropy::seeded(seed))
    }

    #[test]
    fn an_identity_is_made_once_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("a/b");
        let first = make(&data, 1).unwrap();
        let again = make(&data, 2).unwrap();
        assert_eq!(
            (first.gateway(), first.public_key()),
            (again.gateway(), again.public_key())
        );
        assert_eq!(first.gateway().uuid().get_version_num(), 7);
        assert_eq!(fs::metadata(data.join(FILE_NAME)).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&data).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "nothing stays beside the file");
        assert!(!format!("{first:?}").contains(&hex::encode(first.signing_key().to_bytes())));
    }

    #[test]
    fn an_exposed_or_broken_file_is_refused_without_repeating_it() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), 1).unwrap();
        let path = folder.path().join(FILE_NAME);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            make(folder.path(), 1),
            Err(IdentityError::Exposed { mode: 0o640, .. })
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for text in ["", "{}", r#"{"gateway":"x","signing_key":"00"}"#, "secret-words"] {
            fs::write(&path, text).unwrap();
            let error = make(folder.path(), 1).unwrap_err();
            assert!(matches!(error, IdentityError::Malformed { .. }), "{text}");
            assert!(!error.to_string().contains("secret-words"));
        }
    }

    #[test]
    fn a_folder_has_one_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let lock = FolderLock::take(folder.path()).unwrap();
        assert!(matches!(
            FolderLock::take(folder.path()),
            Err(IdentityError::InUse { .. })
        ));
        drop(lock);
        FolderLock::take(folder.path()).unwrap();
    }
}
