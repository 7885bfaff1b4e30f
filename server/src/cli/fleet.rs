//! `gateway`.

use std::io::{self, Read};

use anyhow::Context as _;
use carepost_daemon::cli;
use carepost_daemon::exit::UsageError;
use carepost_domain::id::GatewayId;
use carepost_store::Store;
use carepost_store::model::{By, NewGateway};
use ed25519_dalek::VerifyingKey;
use serde::Deserialize;

use super::{GatewayCommand, Tools};

/// Largest identity that is read from standard input.
const MAX_IDENTITY_BYTES: u64 = 64 * 1024;

/// What `carepost-gateway identity` prints. Further fields are its own business.
#[derive(Debug, Deserialize)]
struct Identity {
    #[serde(alias = "gateway")]
    id: GatewayId,
    public_key: String,
}

pub(super) async fn main(store: &Store, tools: &Tools, command: GatewayCommand) -> anyhow::Result<()> {
    let now = tools.clock.now();
    match command {
        GatewayCommand::Add {
            store: site,
            name,
            id,
            public_key,
        } => {
            let identity = match (id, public_key) {
                (Some(id), Some(public_key)) => Identity { id, public_key },
                _ => read_identity(io::stdin().lock())?,
            };
            let gateway = NewGateway {
                id: identity.id,
                store: site,
                name,
                public_key: key_bytes(&identity.public_key)?,
            };
            store.add_gateway(&By::system(now), &gateway).await?;
            cli::print(&format!("{}\n", serde_json::json!({ "id": gateway.id })))?;
        }
        GatewayCommand::Revoke { id, reason } => {
            let mut by = By::system(now);
            by.reason = reason;
            store.revoke_gateway(&by, id).await?;
        }
        GatewayCommand::List => {
            for gateway in store.gateways().await? {
                let line = serde_json::json!({
                    "id": gateway.id,
                    "store": gateway.store,
                    "name": gateway.name,
                    "public_key": hex::encode(gateway.public_key),
                    "revoked_at": gateway.revoked_at,
                    "last_seen": gateway.last_seen,
                    "online": gateway.online,
                });
                cli::print(&format!("{line}\n"))?;
            }
        }
    }
    Ok(())
}

fn read_identity(from: impl Read) -> anyhow::Result<Identity> {
    let mut text = String::new();
    from.take(MAX_IDENTITY_BYTES)
        .read_to_string(&mut text)
        .context("cannot read the gateway's identity")?;
    serde_json::from_str(&text).map_err(|error| {
        UsageError(format!(
            "standard input is not the output of \"carepost-gateway identity\": {error}"
        ))
        .into()
    })
}

fn key_bytes(text: &str) -> anyhow::Result<[u8; 32]> {
    let wrong = || UsageError("the public key must be the 64 hex digits of an Ed25519 key".to_owned());
    let mut bytes = [0_u8; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| wrong())?;
    let key = VerifyingKey::from_bytes(&bytes).map_err(|_| wrong())?;
    // Such a key verifies signatures that nobody made.
    if key.is_weak() { Err(wrong().into()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    #[test]
    fn an_identity_is_read_with_either_name_of_its_id() {
        for name in ["id", "gateway"] {
            let text = format!(r#"{{"{name}":"018f3c5e-0000-7000-8000-000000000001","public_key":"{KEY}","x":1}}"#);
            let identity = read_identity(text.as_bytes()).unwrap();
            assert_eq!(key_bytes(&identity.public_key).unwrap()[0], 0xd7);
        }
        assert!(read_identity(&b"{}"[..]).is_err());
    }

    #[test]
    fn keys_that_verify_nothing_or_anything_are_refused() {
        for bad in [
            "",
            "00",
            &KEY[1..],
            &"00".repeat(32),
            &format!("01{}", "00".repeat(31)),
            &"zz".repeat(32),
        ] {
            assert!(key_bytes(bad).is_err(), "{bad}");
        }
    }
}
