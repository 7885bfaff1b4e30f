//! A small chain: one store, simulated meters, a gateway and a server, each the real program, with staff and members.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use carepost_sim::control::Client as SimClient;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::{Api, Refused};
use crate::kiosk::Kiosk;
use crate::programs::{Program, Running, run_to_end};
use crate::wait::wait_for;

/// Password of everybody in a world; worlds are thrown away.
pub const PASSWORD: &str = "correct horse battery staple";
/// Longest wait for something that should happen within a second or two on an idle machine.
pub const SOON: Duration = Duration::from_secs(20);

/// The store's own cuff.
pub const STORE_CUFF: (&str, &str) = ("store-cuff", "C4:DE:01:00:00:01");
/// A member's glucose meter with 60 stored records.
pub const GLUCOSE: (&str, &str) = ("member-glucose", "C4:DE:02:00:00:01");
/// A cuff that two people share by its user slots.
pub const HOME_CUFF: (&str, &str) = ("home-cuff", "C4:DE:01:00:00:02");

/// How a world is set up.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// The server's database; the embedded one when absent.
    pub database_url: Option<String>,
    /// Further `--set` values of the gateway.
    pub gateway: Vec<String>,
    /// Further `--set` values of the server.
    pub server: Vec<String>,
    /// Addresses that a person can remember, for the demo; free ports when absent.
    pub http_listen: Option<SocketAddr>,
    /// See `http_listen`.
    pub kiosk_listen: Option<SocketAddr>,
    /// Let the simulated meters take their real time instead of hurrying.
    pub calm: bool,
    /// The simulator's configuration file, word for word; the shipped one when absent.
    pub simulator: Option<String>,
}

/// A running world.
#[derive(Debug)]
pub struct World {
    folder: TempDir,
    setup: Setup,
    sim: Option<Running>,
    bus: String,
    meters: SimClient,
    server: Option<Running>,
    http: String,
    mqtt: String,
    gateway: Option<Running>,
    kiosk: String,
    store: String,
    gateway_id: String,
    pharmacist: Option<Api>,
    manager: Option<Api>,
}

/// A member of a world.
#[derive(Debug, Clone)]
pub struct Person {
    /// The member's id.
    pub id: String,
    /// The card code.
    pub code: String,
}

impl World {
    /// Starts everything and waits until the gateway has its first copy from the server.
    ///
    /// # Errors
    /// When a program does not start, or refuses something of the set-up.
    pub async fn start(setup: Setup) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("carepost-")
            .tempdir()
            .context("making a folder for the world")?;
        let (sim, bus, control) = start_sim(folder.path(), &setup).await?;
        let meters = SimClient::connect(control)
            .await
            .context("connecting to the simulator's control interface")?;
        let mut world = Self {
            folder,
            setup,
            sim: Some(sim),
            bus,
            meters,
            server: None,
            http: "127.0.0.1:0".to_owned(),
            mqtt: "127.0.0.1:0".to_owned(),
            gateway: None,
            kiosk: "127.0.0.1:0".to_owned(),
            store: String::new(),
            gateway_id: String::new(),
            pharmacist: None,
            manager: None,
        };
        if let Some(listen) = world.setup.http_listen {
            world.http = listen.to_string();
        }
        if let Some(listen) = world.setup.kiosk_listen {
            world.kiosk = listen.to_string();
        }
        world.enrol().await?;
        world.start_server().await?;
        world.pharmacist = Some(Api::sign_in(&world.http, "pharmacist", PASSWORD).await?);
        world.manager = Some(Api::sign_in(&world.http, "manager", PASSWORD).await?);
        world.start_gateway().await?;
        Ok(world)
    }

    async fn enrol(&mut self) -> anyhow::Result<()> {
        let store = self
            .server_command(
                &[
                    "store",
                    "add",
                    "--name",
                    "Demo Pharmacy 示范药房",
                    "--zone",
                    "Asia/Shanghai",
                ],
                "",
            )
            .await?;
        text(&store, "id")?.clone_into(&mut self.store);
        let store_id = self.store.clone();
        for (login, name, role) in [
            ("pharmacist", "Lin Yue 林悦", "pharmacist"),
            ("manager", "Zhao Ming 赵明", "manager"),
        ] {
            let arguments = [
                "staff", "add", "--login", login, "--name", name, "--role", role, "--store", &store_id,
            ];
            self.server_command(&arguments, &format!("{PASSWORD}\n")).await?;
        }
        let identity = succeed(
            run_to_end(Program::Gateway, &self.with_gateway_settings(&["identity"]), &[], "").await?,
            "identity",
        )?;
        let arguments = ["gateway", "add", "--store", &store_id, "--name", "Counter 1"];
        let added = self.server_command(&arguments, &identity.to_string()).await?;
        text(&added, "id")?.clone_into(&mut self.gateway_id);
        Ok(())
    }

    async fn server_command(&self, arguments: &[&str], stdin: &str) -> anyhow::Result<Value> {
        let settings = self.server_settings();
        let mut all: Vec<&str> = settings.iter().map(String::as_str).collect();
        all.extend(arguments);
        let what = arguments.join(" ");
        succeed(run_to_end(Program::Server, &all, &[], stdin).await?, &what)
    }

    fn server_settings(&self) -> Vec<String> {
        let mut settings = vec![
            format!("data_dir={:?}", self.server_folder()),
            format!("http.listen={:?}", self.http),
            format!("mqtt.listen={:?}", self.mqtt),
        ];
        if let Some(url) = &self.setup.database_url {
            settings.push(format!("database.url={url:?}"));
        }
        settings.extend(self.setup.server.iter().cloned());
        flags(settings)
    }

    fn gateway_settings(&self) -> Vec<String> {
        let mut settings = vec![
            format!("data_dir={:?}", self.gateway_folder()),
            format!("kiosk.listen={:?}", self.kiosk),
        ];
        if let Some((host, port)) = self.mqtt.rsplit_once(':').filter(|(_, port)| *port != "0") {
            settings.push(format!("uplink.host={host:?}"));
            settings.push(format!("uplink.port={port}"));
        }
        if !self.setup.calm {
            // A person waits for minutes where a check waits for nothing.
            settings.extend(HURRY.iter().map(|s| (*s).to_owned()));
        }
        settings.extend(self.setup.gateway.iter().cloned());
        flags(settings)
    }

    fn with_gateway_settings(&self, arguments: &[&str]) -> Vec<String> {
        let mut all = self.gateway_settings();
        all.extend(arguments.iter().map(|a| (*a).to_owned()));
        all
    }

    /// Starts the server, at the addresses that it had before.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_server(&mut self) -> anyhow::Result<()> {
        let mut server = Running::start(Program::Server, &self.server_settings(), &[])?;
        self.http = server.announced("http").await?;
        self.mqtt = server.announced("mqtt").await?;
        self.server = Some(server);
        Ok(())
    }

    /// Starts the gateway, at the address that its kiosk page had before.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_gateway(&mut self) -> anyhow::Result<()> {
        let mut gateway = Running::start(
            Program::Gateway,
            &self.gateway_settings(),
            &[("DBUS_SYSTEM_BUS_ADDRESS", &self.bus)],
        )?;
        let page = gateway.announced("ready").await?;
        page.strip_prefix("http://")
            .context("the gateway announces its page")?
            .clone_into(&mut self.kiosk);
        self.gateway = Some(gateway);
        Ok(())
    }

    /// Kills the gateway with SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill_gateway(&mut self) -> anyhow::Result<()> {
        self.gateway.take().context("the gateway does not run")?.kill_9().await
    }

    /// Kills the server with SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill_server(&mut self) -> anyhow::Result<()> {
        self.server.take().context("the server does not run")?.kill_9().await
    }

    /// Stops the gateway with SIGTERM and expects a clean end.
    ///
    /// # Errors
    /// When it does not end cleanly.
    pub async fn stop_gateway(&mut self) -> anyhow::Result<()> {
        self.gateway.take().context("the gateway does not run")?.stop().await
    }

    /// Stops the server with SIGTERM and expects a clean end.
    ///
    /// # Errors
    /// When it does not end cleanly.
    pub async fn stop_server(&mut self) -> anyhow::Result<()> {
        self.server.take().context("the server does not run")?.stop().await
    }

    /// Stops everything cleanly.
    ///
    /// # Errors
    /// When a program does not end cleanly.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        for running in [self.gateway.take(), self.server.take(), self.sim.take()]
            .into_iter()
            .flatten()
        {
            running.stop().await?;
        }
        Ok(())
    }

    /// The gateway's process id, while it runs.
    pub fn gateway_pid(&mut self) -> Option<u32> {
        let gateway = self.gateway.as_mut()?;
        gateway.is_running().then(|| gateway.pid()).flatten()
    }

    /// The simulated meters.
    pub fn meters(&mut self) -> &mut SimClient {
        &mut self.meters
    }

    /// The pharmacist's session.
    ///
    /// # Errors
    /// When the world has not come so far.
    pub fn pharmacist(&self) -> anyhow::Result<&Api> {
        self.pharmacist.as_ref().context("nobody has signed in")
    }

    /// The manager's session.
    ///
    /// # Errors
    /// When the world has not come so far.
    pub fn manager(&self) -> anyhow::Result<&Api> {
        self.manager.as_ref().context("nobody has signed in")
    }

    /// A person at the kiosk.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn kiosk(&self) -> anyhow::Result<Kiosk> {
        Kiosk::at(&self.kiosk)
    }

    /// The D-Bus address at which the simulated BlueZ is served.
    #[must_use]
    pub fn bus_address(&self) -> &str {
        &self.bus
    }

    /// The kiosk page's address.
    #[must_use]
    pub fn kiosk_address(&self) -> &str {
        &self.kiosk
    }

    /// The server's HTTP address.
    #[must_use]
    pub fn http_address(&self) -> &str {
        &self.http
    }

    /// The server's MQTT address.
    #[must_use]
    pub fn mqtt_address(&self) -> &str {
        &self.mqtt
    }

    /// The gateway's id.
    #[must_use]
    pub fn gateway_id(&self) -> &str {
        &self.gateway_id
    }

    /// The store's id.
    #[must_use]
    pub fn store_id(&self) -> &str {
        &self.store
    }

    /// The gateway's data folder.
    #[must_use]
    pub fn gateway_folder(&self) -> PathBuf {
        self.folder.path().join("gateway")
    }

    /// The server's data folder.
    #[must_use]
    pub fn server_folder(&self) -> PathBuf {
        self.folder.path().join("server")
    }

    /// Resident memory of simulator, gateway and server in KiB, of those that run.
    #[must_use]
    pub fn resident_kib(&self) -> [(&'static str, Option<u64>); 3] {
        [
            ("carepost-sim", self.sim.as_ref().and_then(Running::resident_kib)),
            (
                "carepost-gateway",
                self.gateway.as_ref().and_then(Running::resident_kib),
            ),
            ("carepost-server", self.server.as_ref().and_then(Running::resident_kib)),
        ]
    }

    /// The logs of all programs, for the report of a failure.
    #[must_use]
    pub fn logs(&self) -> String {
        [&self.sim, &self.gateway, &self.server]
            .into_iter()
            .flatten()
            .map(Running::log_tail)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Lines of level ERROR that gateway and server have logged.
    #[must_use]
    pub fn error_lines(&self) -> Vec<String> {
        [&self.gateway, &self.server]
            .into_iter()
            .flatten()
            .flat_map(|running| running.log_lines(|line| line.contains("ERROR")))
            .collect()
    }

    /// What `carepost-gateway status --json` prints.
    ///
    /// # Errors
    /// When the program fails or prints something else.
    pub async fn status(&self) -> anyhow::Result<Value> {
        succeed(
            run_to_end(
                Program::Gateway,
                &self.with_gateway_settings(&["status", "--json"]),
                &[],
                "",
            )
            .await?,
            "status",
        )
    }

    /// Adds a member of the store.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn member(
        &self,
        code: &str,
        name: &str,
        birth_year: i32,
        sex: &str,
        conditions: &[&str],
        drugs: &[&str],
    ) -> anyhow::Result<Person> {
        let body = json!({"code": code, "name": name, "birth_year": birth_year, "sex": sex, "phone": "13800001111",
            "home_store": self.store, "conditions": conditions, "drugs": drugs});
        let added = self.pharmacist()?.post("/api/v1/members", &body).await?;
        Ok(Person {
            id: text(&added, "id")?.to_owned(),
            code: code.to_owned(),
        })
    }

    /// Grants `purpose`, with the tick for older readings.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn grant(&self, person: &Person, purpose: &str) -> anyhow::Result<Value> {
        let body = json!({"purpose": purpose, "text_version": "2026-11", "text_sha256": "5e".repeat(32),
            "channel": "paper", "includes_history": true});
        self.pharmacist()?
            .post(&format!("/api/v1/members/{}/grants", person.id), &body)
            .await
    }

    /// Withdraws `purpose`.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn withdraw(&self, person: &Person, purpose: &str) -> anyhow::Result<Value> {
        let path = format!("/api/v1/members/{}/grants/withdraw", person.id);
        self.pharmacist()?.post(&path, &json!({"purpose": purpose})).await
    }

    /// Registers a simulated meter.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn register(
        &self,
        meter: (&str, &str),
        kind: &str,
        role: &str,
        multi_user: bool,
    ) -> anyhow::Result<String> {
        let body = json!({"address": meter.1, "address_type": "public", "kind": kind, "role": role, "store": self.store,
            "model": format!("Simulated {}", meter.0), "multi_user": multi_user});
        Ok(text(&self.pharmacist()?.post("/api/v1/meters", &body).await?, "id")?.to_owned())
    }

    /// Binds a registered meter, which nobody else has ever used, to a member.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn bind(&self, meter_id: &str, person: &Person, slot: Option<u8>) -> anyhow::Result<Value> {
        let body = json!({"meter": meter_id, "member": person.id, "slot": slot, "only_ever_this_person": true});
        self.pharmacist()?.post("/api/v1/bindings", &body).await
    }

    /// All readings of a member that the server shows; none where it answers that there is nothing.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn readings(&self, person: &Person) -> anyhow::Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = match self
                .pharmacist()?
                .get(&format!("/api/v1/members/{}/readings?limit=100{cursor}", person.id))
                .await
            {
                Ok(page) => page,
                // Without consent there is nothing to see, and no word on whether there is anything.
                Err(error) if error.downcast_ref::<Refused>().is_some_and(|r| r.status == 404) => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            all.extend(list(&page, "readings")?);
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(all),
            }
        }
    }

    /// Waits until the server shows `count` readings of a member, and gives them.
    ///
    /// # Errors
    /// When it does not come to that, with the programs' logs.
    pub async fn readings_of(&self, person: &Person, count: usize) -> anyhow::Result<Vec<Value>> {
        let what = format!("{count} readings of {} at the server", person.code);
        wait_for(&what, SOON, async || {
            Ok(Some(self.readings(person).await?).filter(|all| all.len() == count))
        })
        .await
        .with_context(|| self.logs())
    }

    /// Sessions of a member.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn sessions(&self, person: &Person) -> anyhow::Result<Vec<Value>> {
        list(
            &self
                .pharmacist()?
                .get(&format!("/api/v1/members/{}/sessions", person.id))
                .await?,
            "sessions",
        )
    }

    /// Open alerts of a member.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn open_alerts(&self, person: &Person) -> anyhow::Result<Vec<Value>> {
        let all = list(&self.pharmacist()?.get("/api/v1/alerts?which=open").await?, "alerts")?;
        Ok(all
            .into_iter()
            .filter(|alert| alert["member"] == person.id.as_str())
            .collect())
    }

    /// Open tasks of a member.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn open_tasks(&self, person: &Person) -> anyhow::Result<Vec<Value>> {
        list(
            &self
                .pharmacist()?
                .get(&format!("/api/v1/tasks?member={}", person.id))
                .await?,
            "tasks",
        )
    }

    /// Waits until the gateway works from everything that the server knows about its store.
    ///
    /// # Errors
    /// When it does not come to that, with the programs' logs.
    pub async fn gateway_up_to_date(&self) -> anyhow::Result<()> {
        wait_for("the gateway to have the server's last word", SOON, async || {
            let gateways = list(&self.manager()?.get("/api/v1/gateways").await?, "gateways")?;
            let ours = gateways
                .iter()
                .find(|g| g["id"] == self.gateway_id.as_str())
                .context("our gateway is listed")?;
            Ok((ours["online"] == true && ours["up_to_date"] == true).then_some(()))
        })
        .await
        .with_context(|| self.logs())
    }

    /// Waits until the gateway holds nothing that is not settled: spool and outbox are empty.
    ///
    /// # Errors
    /// When it does not come to that, with the programs' logs.
    pub async fn drained(&self) -> anyhow::Result<Value> {
        wait_for("the gateway's spool and outbox to be empty", SOON, async || {
            let status = self.status().await?;
            let spool = &status["spool"];
            Ok((spool["spooled"] == 0 && spool["outbox"] == 0).then_some(status.clone()))
        })
        .await
        .with_context(|| self.logs())
    }
}

/// Timings of the gateway in a hurry: short scans, no cool-down, short silences.
const HURRY: &[&str] = &[
    "bluetooth.scan_ms=60000",
    "bluetooth.pause_ms=50",
    "bluetooth.retry_ms=100",
    "bluetooth.idle_ms=400",
    "bluetooth.cool_down_ms=300",
    "uplink.retry_ms=100",
    "uplink.retry_max_ms=400",
    "kiosk.timings.gap_ms=50",
    "kiosk.timings.rest_ms=50",
    "kiosk.timings.busy_retry_ms=50",
];

fn flags(settings: Vec<String>) -> Vec<String> {
    settings
        .into_iter()
        .flat_map(|setting| ["--set".to_owned(), setting])
        .collect()
}

async fn start_sim(folder: &Path, setup: &Setup) -> anyhow::Result<(Running, String, SocketAddr)> {
    let config = folder.join("firmware-sim.toml");
    let shipped = crate::programs::workspace_root().join("config/firmware-sim.toml");
    let mut text = match &setup.simulator {
        Some(text) => text.clone(),
        None => std::fs::read_to_string(&shipped).with_context(|| format!("reading {}", shipped.display()))?,
    };
    if setup.simulator.is_none() && !setup.calm {
        for (key, value) in [
            ("advertising_interval_ms", "50"),
            ("connect_delay_ms", "5"),
            ("resolve_delay_ms", "5"),
            ("indication_interval_ms", "2"),
            ("notification_interval_ms", "2"),
        ] {
            text = hurried(&text, key, value);
        }
    }
    std::fs::write(&config, text).with_context(|| format!("writing {}", config.display()))?;
    let bus = format!("unix:path={}", folder.join("bus").display());
    let arguments = flags(vec![format!("bus.address={bus:?}")]);
    let mut all = vec!["--config", config.to_str().context("a folder with a UTF-8 name")?];
    all.extend(arguments.iter().map(String::as_str));
    let mut sim = Running::start(Program::Sim, &all, &[])?;
    let control = sim.announced("control").await?;
    let bus = sim.announced("bus").await?;
    let control = control
        .parse()
        .with_context(|| format!("the control address {control:?}"))?;
    Ok((sim, bus, control))
}

/// The configuration with one key's value replaced wherever it stands.
fn hurried(text: &str, key: &str, value: &str) -> String {
    text.lines()
        .map(|line| match line.split_once(" = ") {
            Some((name, _)) if name.trim() == key => format!("{key} = {value}\n"),
            _ => format!("{line}\n"),
        })
        .collect()
}

/// The JSON that a program printed, if it succeeded.
///
/// # Errors
/// When it failed or printed something else.
pub fn succeed(output: std::process::Output, what: &str) -> anyhow::Result<Value> {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    if !output.status.success() {
        bail!("{what}: {}\n{out}{err}", output.status);
    }
    serde_json::from_str(&out).with_context(|| format!("{what} printed {out:?}"))
}

/// A text member of a JSON object.
///
/// # Errors
/// When there is none.
pub fn text<'a>(value: &'a Value, key: &str) -> anyhow::Result<&'a str> {
    value[key].as_str().with_context(|| format!("{key} in {value}"))
}

/// A list member of a JSON object.
///
/// # Errors
/// When there is none.
pub fn list(value: &Value, key: &str) -> anyhow::Result<Vec<Value>> {
    value[key]
        .as_array()
        .cloned()
        .with_context(|| format!("{key} in {value}"))
}
