//! `store` and `staff`.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};

use anyhow::Context as _;
use carepost_daemon::exit::UsageError;
use carepost_daemon::{SecretText, cli};
use carepost_domain::Id;
use carepost_store::Store;
use carepost_store::model::{By, NewStaff, StoreSite};

use crate::auth::{MAX_PASSWORD_BYTES, Passwords};

use super::{StaffCommand, StoreCommand, Tools};

pub(super) async fn stores(store: &Store, tools: &Tools, command: StoreCommand) -> anyhow::Result<()> {
    let now = tools.clock.now();
    match command {
        StoreCommand::Add { name, zone, id } => {
            let site = StoreSite {
                id: id.unwrap_or_else(|| Id::mint(now, tools.entropy.bytes::<10>())),
                name,
                zone,
            };
            store.add_store(&By::system(now), &site).await?;
            cli::print(&format!("{}\n", serde_json::json!({ "id": site.id })))?;
        }
        StoreCommand::List => {
            for site in store.stores().await? {
                let line = serde_json::json!({ "id": site.id, "name": site.name, "zone": site.zone.name() });
                cli::print(&format!("{line}\n"))?;
            }
        }
    }
    Ok(())
}

pub(super) async fn staff(store: &Store, tools: &Tools, command: StaffCommand) -> anyhow::Result<()> {
    let StaffCommand::Add {
        login,
        name,
        role,
        store: site,
        password_file,
        id,
    } = command;
    let password = match password_file {
        Some(path) => {
            let file =
                File::open(&path).with_context(|| format!("cannot read the password file {}", path.display()))?;
            read_password(file)?
        }
        None => read_password(io::stdin().lock())?,
    };
    let password_hash = Passwords::new(1, tools.entropy.clone())?.hash(&password).await?;
    let now = tools.clock.now();
    let id = id.unwrap_or_else(|| Id::mint(now, tools.entropy.bytes::<10>()));
    let new = NewStaff {
        id,
        login,
        name,
        role,
        store: site,
        password_hash,
    };
    store.add_staff(&By::system(now), &new).await?;
    cli::print(&format!("{}\n", serde_json::json!({ "id": id })))?;
    Ok(())
}

/// The first line, without its end.
fn read_password(from: impl Read) -> anyhow::Result<SecretText> {
    let mut line = String::new();
    // Room for the longest password and its line end; a longer one is refused by its length.
    BufReader::new(from.take(MAX_PASSWORD_BYTES as u64 + 2))
        .read_line(&mut line)
        .context("cannot read the password")?;
    let length = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(length);
    if line.is_empty() {
        return Err(UsageError("give the password on standard input, or with --password-file FILE".to_owned()).into());
    }
    Ok(SecretText::new(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line() {
        for text in ["correct horse\nbattery\n", "correct horse\r\n", "correct horse"] {
            assert_eq!(read_password(text.as_bytes()).unwrap().expose(), "correct horse");
        }
        assert!(read_password(&b"\n"[..]).is_err());
        assert!(read_password(&b""[..]).is_err());
    }
}
