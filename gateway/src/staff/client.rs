//! `carepost-gateway pair`: asks the running daemon of the same data folder to pair, and a person at the terminal for what the
//! meter wants to know.

use std::fmt::Write as _;
use std::io::BufRead as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use carepost_daemon::cli;
use carepost_daemon::exit::UsageError;
use carepost_domain::meter::{Address, AddressType, MeterRole};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::api::{Act, ActOwner, Acted, PATH, Seen, SeenMeter, SeenOutcome, SeenPairing, SeenPrompt};
use super::session::new_token;
use crate::kiosk::Language;
use crate::pairing::{Failure, Goal, Stage};

/// The file in the data folder that holds the token of the running daemon.
pub(crate) const TOKEN_FILE: &str = "staff.token";
/// How long the daemon has to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Largest answer that is read.
const MAX_ANSWER_BYTES: u64 = 256 * 1024;
/// How often the daemon is asked how it goes.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Lines of the terminal that wait.
const LINES: usize = 4;

/// The token that the command line proves itself by: written for the owner of the folder alone, gone with the daemon.
pub(crate) struct TokenNote {
    path: PathBuf,
    token: String,
}

impl TokenNote {
    /// Draws a token and writes it down.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(data_dir: &Path, entropy: &carepost_daemon::Entropy) -> std::io::Result<Self> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = data_dir.join(TOKEN_FILE);
        // What a killed daemon left behind may be open to others.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let token = new_token(entropy);
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(token.as_bytes())?;
        Ok(Self { path, token })
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }
}

impl Drop for TokenNote {
    fn drop(&mut self) {
        // One that stays behind opens nothing: the next daemon draws its own.
        std::fs::remove_file(&self.path).ok();
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) goal: Goal,
    /// The meter; without one the meters nearby are listed.
    pub(crate) address: Option<Address>,
    /// Register it so afterwards.
    pub(crate) register: Option<RegisterWish>,
}

/// How a meter is to be registered.
#[derive(Debug)]
pub(crate) struct RegisterWish {
    pub(crate) role: MeterRole,
    pub(crate) owners: Vec<ActOwner>,
    pub(crate) only_ever: bool,
}

/// Reads `CODE` or `CODE=USER`.
///
/// # Errors
/// When the user is no number.
pub(crate) fn parse_owner(text: &str) -> Result<ActOwner, UsageError> {
    match text.split_once('=') {
        None => Ok(ActOwner {
            code: text.to_owned(),
            slot: None,
        }),
        Some((code, slot)) => match slot.parse() {
            Ok(slot) => Ok(ActOwner {
                code: code.to_owned(),
                slot: Some(slot),
            }),
            Err(_) => Err(UsageError(format!(
                "--owner {text}: the user must be the number that the meter sends, such as {code}=1"
            ))),
        },
    }
}

/// Does what is wished, with the daemon at `address` whose data folder this is. `Ok(false)` when it came to nothing, which
/// was said already.
///
/// # Errors
/// When the daemon cannot be asked.
pub(crate) async fn run(data_dir: &Path, address: SocketAddr, wish: Wish) -> anyhow::Result<bool> {
    let path = data_dir.join(TOKEN_FILE);
    let token = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "cannot read {}: is the gateway running, and is this its user?",
            path.display()
        )
    })?;
    let daemon = Daemon { address, token };
    let seen = daemon.look().await?;
    let Some(meter) = wish.address else {
        cli::print(&listing(&seen))?;
        return Ok(true);
    };
    if !seen.ready {
        bail!("the Bluetooth service does not run: start bluetoothd, then try again");
    }
    let near = seen.nearby.iter().find(|near| near.address == meter);
    let act = Act::Begin {
        goal: wish.goal,
        address: meter,
        // A meter that is not near is one that was paired before, whose type the Bluetooth service knows.
        address_type: near.map_or(AddressType::Public, |near| near.address_type),
        adapter: near.map(|near| near.adapter.clone()).unwrap_or_default(),
        name: near.map(|near| near.name.clone()).unwrap_or_default(),
    };
    match daemon.act(&act).await? {
        Acted::Ok => {}
        _ => bail!("another pairing goes on: wait until it is over, or give it up on the staff page"),
    }
    let attempt = daemon.look().await?.pairing.map(|pairing| pairing.attempt);
    let outcome = follow(&daemon, attempt).await?;
    finish(&daemon, outcome, wish.register).await
}

/// Follows the pairing to its end, and asks the person at the terminal.
async fn follow(daemon: &Daemon, attempt: Option<u64>) -> anyhow::Result<SeenOutcome> {
    let mut lines = terminal()?;
    let mut told: Option<Stage> = None;
    let mut asked = false;
    loop {
        let pairing = match daemon.look().await?.pairing {
            Some(pairing) if Some(pairing.attempt) == attempt => pairing,
            _ => bail!("the pairing was ended on the staff page"),
        };
        if let Some(outcome) = pairing.outcome {
            return Ok(outcome);
        }
        if pairing.stage != told
            && let Some(stage) = pairing.stage
        {
            told = Some(stage);
            let words = Language::En.text(&format!("staff-stage-{}", stage.code().replace('_', "-")));
            cli::print(&format!("{words} ...\n"))?;
        }
        match &pairing.prompt {
            None => asked = false,
            Some(prompt) if !asked => {
                asked = true;
                // What was typed before the question is no answer to it.
                while lines.try_recv().is_ok() {}
                cli::print(&question(prompt, &pairing))?;
            }
            Some(prompt) => {
                if let Ok(line) = lines.try_recv()
                    && let Some(act) = answer(prompt, line.trim())
                    && matches!(daemon.act(&act).await?, Acted::Malformed)
                {
                    cli::print("It must be exactly six digits: ")?;
                }
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

fn question(prompt: &SeenPrompt, pairing: &SeenPairing) -> String {
    match prompt {
        SeenPrompt::Enter => format!(
            "Type the six digits that the meter shows, within {} seconds: ",
            pairing.left_s
        ),
        SeenPrompt::Show { digits } => format!("Type these six digits on the meter: {digits}\n"),
        SeenPrompt::Compare { digits } => {
            format!("Does the meter show {digits}? Type yes or no: ")
        }
    }
}

fn answer(prompt: &SeenPrompt, line: &str) -> Option<Act> {
    match prompt {
        SeenPrompt::Enter => Some(Act::Passkey {
            digits: line.to_owned(),
        }),
        SeenPrompt::Show { .. } => None,
        SeenPrompt::Compare { .. } => match line {
            "yes" | "y" => Some(Act::Yes),
            "no" | "n" => Some(Act::No),
            _ => None,
        },
    }
}

async fn finish(daemon: &Daemon, outcome: SeenOutcome, mut register: Option<RegisterWish>) -> anyhow::Result<bool> {
    let mut paired = None;
    let good = match outcome {
        SeenOutcome::Failed { because } => {
            cli::print(&format!("The meter is not paired. {}\n", failure_in_words(because)))?;
            false
        }
        SeenOutcome::Forgotten => {
            cli::print("The pairing is forgotten.\n")?;
            true
        }
        SeenOutcome::Paired {
            address,
            kind,
            manufacturer,
            model,
            serial,
            bonded,
            unsupported,
            registered,
        } => {
            paired = Some(address);
            let kind = kind.map_or_else(
                || "meter of an unknown kind".to_owned(),
                |kind| Language::En.text(&format!("staff-kind-{}", kind.code().replace('_', "-"))),
            );
            let mut text = format!("Paired: {kind} {manufacturer} {model}, serial {serial:?}, address {address}\n");
            if !bonded {
                text.push_str("The meter did not keep its keys; it may have to be paired again next time.\n");
            }
            if unsupported {
                text.push_str("Recognised, unsupported: it speaks its maker's own protocol only.\n");
                register = None;
            } else if registered {
                text.push_str("It is registered already; whose it is stays as it was.\n");
                register = None;
            } else if register.is_none() {
                text.push_str(
                    "It is not registered yet: do that on the staff page, or here with --shared or --owner.\n",
                );
                cli::print(&text)?;
                // It stays open, so that the staff page offers to register it.
                return Ok(true);
            }
            cli::print(&text)?;
            true
        }
    };
    let wish = register.filter(|_| good);
    if let (
        Some(RegisterWish {
            role,
            owners,
            only_ever,
        }),
        Some(address),
    ) = (wish, paired)
    {
        let act = Act::Register {
            address,
            role,
            owners,
            only_ever,
        };
        return match daemon.act(&act).await? {
            Acted::Hindered { by } => {
                let words = Language::En.text(&format!("staff-hindrance-{}", by.code().replace('_', "-")));
                cli::print(&format!("It is not registered. {words}\n"))?;
                Ok(false)
            }
            _ => {
                cli::print("Registered here; the server is told as soon as there is a connection.\n")?;
                if role == MeterRole::Personal && !only_ever {
                    cli::print("What it has stored from before is kept aside, because --only-ever was not given.\n")?;
                }
                Ok(true)
            }
        };
    }
    daemon.act(&Act::Done).await?;
    Ok(good)
}

fn failure_in_words(failure: Failure) -> String {
    let code = failure.code().replace('_', "-");
    let part = |part: &str| Language::En.text(&format!("staff-failure-{code}-{part}"));
    format!("{} {}", part("what"), part("next"))
}

fn listing(seen: &Seen) -> String {
    let mut text = String::new();
    if !seen.ready {
        text.push_str("The Bluetooth service does not run: start bluetoothd.\n");
    }
    if seen.nearby.is_empty() {
        text.push_str(
            "No unregistered meter is near. Put one into pairing mode, next to this machine, and look again.\n",
        );
        return text;
    }
    text.push_str("Meters nearby that are not registered:\n");
    for meter in &seen.nearby {
        // Writing to a String cannot fail.
        write_meter(&mut text, meter).expect("a String takes all text");
    }
    text.push_str("Pair one: carepost-gateway pair ADDRESS\n");
    text
}

fn write_meter(text: &mut String, meter: &SeenMeter) -> std::fmt::Result {
    let kind = meter.kind.map_or("unknown", |kind| kind.code());
    write!(text, "  {} {kind}", meter.address)?;
    if !meter.name.is_empty() {
        write!(text, " {:?}", meter.name)?;
    }
    if let Some(rssi) = meter.rssi {
        write!(text, ", {rssi} dBm")?;
    }
    write!(text, ", heard {} s ago", meter.seen_s_ago)?;
    match meter.supported {
        true => writeln!(text),
        false => writeln!(text, ", recognised, unsupported"),
    }
}

/// Lines of the terminal, from a thread of its own that ends with the program: a read of standard input cannot be given up.
fn terminal() -> anyhow::Result<mpsc::Receiver<String>> {
    let (lines, queue) = mpsc::channel(LINES);
    std::thread::Builder::new()
        .name("terminal".to_owned())
        .spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { return };
                if lines.blocking_send(line).is_err() {
                    return;
                }
            }
        })
        .context("cannot read the terminal")?;
    Ok(queue)
}

/// The running daemon.
struct Daemon {
    address: SocketAddr,
    token: String,
}

impl Daemon {
    async fn look(&self) -> anyhow::Result<Seen> {
        self.ask("GET", "").await
    }

    async fn act(&self, act: &Act) -> anyhow::Result<Acted> {
        self.ask("POST", &to_json(act)?).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: &str, body: &str) -> anyhow::Result<T> {
        let answer = timeout(ANSWER, self.exchange(method, body))
            .await
            .context("the gateway does not answer")?
            .with_context(|| format!("cannot ask the gateway at {}: is it running?", self.address))?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .context("what answers there is not the gateway")?;
        match head.split(' ').nth(1) {
            Some("200") => serde_json::from_str(body).context("the gateway is of another version: use its own program"),
            Some("401") => bail!("the gateway that answers is not the one of this data folder"),
            other => bail!("the gateway answered {}", other.unwrap_or("nothing")),
        }
    }

    async fn exchange(&self, method: &str, body: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.address).await?;
        let request = format!(
            "{method} {PATH} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.address,
            self.token.trim(),
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
        String::from_utf8(answer).map_err(std::io::Error::other)
    }
}

fn to_json<T: Serialize>(value: &T) -> anyhow::Result<String> {
    serde_json::to_string(value).context("cannot write the question down")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_a_code_with_or_without_a_user() {
        let owner = |slot| ActOwner {
            code: "C-1001".to_owned(),
            slot,
        };
        assert_eq!(parse_owner("C-1001").unwrap(), owner(None));
        assert_eq!(parse_owner("C-1001=2").unwrap(), owner(Some(2)));
        assert!(parse_owner("C-1001=A").is_err());
    }

    #[test]
    fn only_an_answer_to_the_question_is_sent() {
        let compare = SeenPrompt::Compare {
            digits: "123456".to_owned(),
        };
        assert!(matches!(answer(&compare, "yes"), Some(Act::Yes)));
        assert!(matches!(answer(&compare, "n"), Some(Act::No)));
        assert!(answer(&compare, "123456").is_none());
        let show = SeenPrompt::Show {
            digits: "123456".to_owned(),
        };
        assert!(answer(&show, "yes").is_none());
        assert!(!format!("{show:?}{compare:?}").contains("123456"));
    }

    #[test]
    fn the_token_is_for_the_owner_alone_and_goes_with_the_daemon() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(TOKEN_FILE);
        std::fs::write(&path, "old").unwrap();
        let entropy = carepost_daemon::Entropy::seeded(5);
        let note = TokenNote::write(folder.path(), &entropy).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), note.token());
        drop(note);
        assert!(!path.exists());
    }
}
