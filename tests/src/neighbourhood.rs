//! A neighbourhood of meters, one for each fault profile, whose owners all consent: what each of them sees at the server, what
//! the gateway keeps aside, and whether that agrees with the simulator's ledger.
//!
//! Long, because what a case can say and how it is checked are read side by side.

mod truth;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use carepost_daemon::Clock;
use carepost_sim::control::{Added, Command, GlucoseRecord};
use carepost_sim::ledger::{Fate, LedgerEntry, Verdict};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::wait::wait_for;
use crate::world::{Person, Setup, World, list, text};
use truth::{NEWEST_MINUTES_AGO, SPACING_MINUTES};

/// Records that each meter holds at the start, if its profile does not say otherwise.
pub const STORED: usize = 5;
/// Longest wait until every meter of a neighbourhood has been read.
const ALL_READ: Duration = Duration::from_secs(150);
/// A meter that has not been read yet gets its transfer key pressed again after this. The window of some opens for somebody else first, for five seconds.
const PRESS_AGAIN: Duration = Duration::from_secs(12);

/// What is expected of one meter.
#[derive(Debug, Clone)]
pub struct Case {
    /// The profile; none if empty.
    pub profile: &'static str,
    /// Kind, in the simulator's words.
    pub kind: &'static str,
    /// Further lines of the meter's configuration.
    pub extra: &'static str,
    /// Records in its memory at the start, beside those that its profile brings.
    pub stored: usize,
    /// Manufacturer and model, as the meter says them and as it is registered.
    pub made_by: (&'static str, &'static str),
    /// Links over which it gives them all, if that takes more than the others have.
    pub links: u64,
    /// Readings that its owner sees.
    pub seen: usize,
    /// Whether what the ledger has of meals and the like is with them.
    pub contexts: bool,
    /// Qualities of their times, where they are not all the same as usual.
    pub quality: Option<&'static str>,
    /// What the gateway keeps aside, by reason.
    pub aside: &'static [(&'static str, u64)],
    /// Records that another central took for good.
    pub stolen: usize,
    /// How many minutes after it was measured each record's reading is dated, in the order of the ledger; 0 where none is named.
    pub shifts: &'static [i64],
    /// What the fault makes of `measurement`, `flags` and `slot` of a record.
    pub means: Option<fn(&LedgerEntry, &mut Value)>,
}

impl Case {
    /// Everything that was stored arrives.
    #[must_use]
    pub const fn all(profile: &'static str, kind: &'static str) -> Self {
        Self::some(profile, kind, STORED, &[])
    }

    /// So many readings arrive, and this is kept aside.
    #[must_use]
    pub const fn some(
        profile: &'static str,
        kind: &'static str,
        seen: usize,
        aside: &'static [(&'static str, u64)],
    ) -> Self {
        Self {
            profile,
            kind,
            extra: "",
            stored: STORED,
            made_by: ("Simulated", "SIM"),
            links: 0,
            seen,
            contexts: true,
            quality: None,
            aside,
            stolen: 0,
            shifts: &[],
            means: None,
        }
    }

    /// With these lines in the meter's configuration.
    #[must_use]
    pub const fn with(self, extra: &'static str) -> Self {
        Self { extra, ..self }
    }

    /// Whose readings' times have this quality.
    #[must_use]
    pub const fn dated(self, quality: &'static str) -> Self {
        Self {
            quality: Some(quality),
            ..self
        }
    }

    /// Whose readings are dated so many minutes after they were measured, and nobody on this side can know.
    #[must_use]
    pub const fn shifted(self, shifts: &'static [i64]) -> Self {
        Self { shifts, ..self }
    }

    /// Whose readings say something else than what was stored, because of the fault.
    #[must_use]
    pub const fn meaning(self, means: fn(&LedgerEntry, &mut Value)) -> Self {
        Self {
            means: Some(means),
            ..self
        }
    }

    /// Of which another central takes so many records for good.
    #[must_use]
    pub const fn stolen(self, stolen: usize) -> Self {
        Self { stolen, ..self }
    }

    /// Whose contexts never belong to a record.
    #[must_use]
    pub const fn without_contexts(self) -> Self {
        Self {
            contexts: false,
            ..self
        }
    }

    /// With so many records at the start.
    #[must_use]
    pub const fn storing(self, stored: usize) -> Self {
        Self { stored, ..self }
    }

    /// Which takes so many links.
    #[must_use]
    pub const fn over_links(self, links: u64) -> Self {
        Self { links, ..self }
    }

    /// Whose owner sees so many readings.
    #[must_use]
    pub const fn seeing(self, seen: usize) -> Self {
        Self { seen, ..self }
    }

    /// Registered as this make of meter.
    #[must_use]
    pub const fn made_by(self, manufacturer: &'static str, model: &'static str) -> Self {
        Self {
            made_by: (manufacturer, model),
            ..self
        }
    }

    /// The name of its meter in the simulator.
    #[must_use]
    pub fn name(&self) -> String {
        // The same profile and kind twice differ in their further lines.
        let which = if self.extra.is_empty() { "" } else { "_other" };
        let profile = if self.profile.is_empty() { "plain" } else { self.profile };
        format!("{profile}_{}{which}", self.kind)
    }
}

/// One meter and the person whose it is.
#[derive(Debug)]
struct Neighbour {
    case: Case,
    meter: String,
    owner: Person,
    /// How many minutes before they were put into the meter its records were measured, in the order of the ledger.
    ages: Vec<u32>,
}

/// What was seen of one meter.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    readings: usize,
    aside: BTreeMap<String, u64>,
}

/// Meters, owners and programs.
#[derive(Debug)]
pub struct Neighbourhood {
    world: World,
    neighbours: Vec<Neighbour>,
    /// When the simulator started.
    started: DateTime<Utc>,
}

fn address(at: usize) -> String {
    format!("C4:DE:0A:00:{:02X}:{:02X}", at >> 8, at & 0xFF)
}

/// The simulator's configuration of these meters.
fn simulator(cases: &[Case]) -> String {
    let mut text = "[adapter]\nadvertising_interval_ms = 50\nconnect_delay_ms = 5\nresolve_delay_ms = 5\n".to_owned();
    for (at, case) in cases.iter().enumerate() {
        write!(
            text,
            "\n[[meters]]\nname = \"{}\"\nkind = \"{}\"\naddress = \"{}\"\nlocal_name = \"Meter {at}\"\nmanufacturer = \"{}\"\n\
             model = \"{}\"\nserial = \"S-{at}\"\nfirmware = \"1\"\nprofile = [{}]\n{}\n\
             {}\n\
             [meters.stored]\ncount = {}\nseed = {}\nspacing_minutes = {SPACING_MINUTES}\n\
             newest_minutes_ago = {NEWEST_MINUTES_AGO}\n",
            case.name(),
            case.kind,
            address(at),
            case.made_by.0,
            case.made_by.1,
            if case.profile.is_empty() { String::new() } else { format!("{:?}", case.profile) },
            case.extra,
            section(case),
            case.stored,
            at + 1,
        )
        .ok();
    }
    text
}

/// User keys of a cuff that has some.
const SLOTS: &[Option<u8>] = &[Some(0), Some(1), Some(2)];

fn has_slots(case: &Case) -> bool {
    case.profile.starts_with("slot") || ["all-users", "current-user-only"].contains(&case.profile)
}

/// What only meters of its kind have.
fn section(case: &Case) -> &'static str {
    match case.kind {
        "cuff" if has_slots(case) => "[meters.cuff]\nindication_interval_ms = 2\nslots = [1, 2]",
        "cuff" => "[meters.cuff]\nindication_interval_ms = 2",
        "glucose" => "[meters.glucose]\nnotification_interval_ms = 2",
        _ => "",
    }
}

impl Neighbourhood {
    /// Starts the programs, and registers and binds every meter.
    ///
    /// # Errors
    /// When a program does not start or the server refuses something.
    pub async fn start(cases: &[Case]) -> anyhow::Result<Self> {
        // A meter that does not answer is given up soon, and one that was read is left alone for a moment.
        let settings = ["bluetooth.answer_ms=1000", "bluetooth.cool_down_ms=2000"];
        Self::start_with(cases, settings.map(str::to_owned).to_vec()).await
    }

    /// As [`start`](Self::start), with these further settings of the gateway.
    ///
    /// # Errors
    /// When a program does not start or the server refuses something.
    pub async fn start_with(cases: &[Case], settings: Vec<String>) -> anyhow::Result<Self> {
        let mut world = World::start(Setup {
            simulator: Some(simulator(cases)),
            gateway: settings,
            ..Setup::default()
        })
        .await?;
        let running_ms = world.meters().list().await?.now_ms;
        let started = Clock::system().now() - TimeDelta::milliseconds(i64::try_from(running_ms)?);
        let mut neighbours = Vec::new();
        for (at, case) in cases.iter().enumerate() {
            let owner = world
                .member(
                    &format!("CP-{}", 5000 + at),
                    &format!("Owner {at}"),
                    1960,
                    "female",
                    &[],
                    &[],
                )
                .await?;
            world.grant(&owner, "care_record").await?;
            let kind = match case.kind {
                "cuff" => "blood_pressure",
                other => other,
            };
            let kind_of_address = if case.extra.contains("address_type = \"random\"") {
                "random"
            } else {
                "public"
            };
            let body = json!({"address": address(at), "address_type": kind_of_address, "kind": kind, "role": "personal",
                "store": world.store_id(), "model": case.made_by.1,
                "about": {"manufacturer": case.made_by.0, "serial": "", "firmware": ""}, "multi_user": has_slots(case)});
            let meter = text(&world.pharmacist()?.post("/api/v1/meters", &body).await?, "id")?.to_owned();
            // Both keys of a cuff with user keys are the owner's: who else would be told apart by them is another test's matter.
            for slot in if has_slots(case) { SLOTS } else { &[None] } {
                world.bind(&meter, &owner, *slot).await?;
            }
            neighbours.push(Neighbour {
                case: case.clone(),
                meter,
                owner,
                ages: truth::ages(case),
            });
        }
        world.gateway_up_to_date().await?;
        Ok(Self {
            world,
            neighbours,
            started,
        })
    }

    /// The programs.
    pub fn world(&mut self) -> &mut World {
        &mut self.world
    }

    async fn seen(&self, status: &Value, neighbour: &Neighbour) -> anyhow::Result<Seen> {
        let meters = list(&status["spool"], "meters")?;
        let meter = meters
            .iter()
            .find(|meter| meter["id"] == neighbour.meter.as_str())
            .context("the gateway knows the meter")?;
        let aside = meter["quarantined"].as_object().cloned().unwrap_or_default();
        Ok(Seen {
            readings: self.world.readings(&neighbour.owner).await?.len(),
            aside: aside
                .into_iter()
                .map(|(reason, rows)| (reason, rows.as_u64().unwrap_or(0)))
                .collect(),
        })
    }

    /// Presses transfer keys until every meter has been read `links` times more, or as often as its case needs, and nothing is
    /// on its way. A meter that is never heard is waited for no longer than the others take.
    ///
    /// # Errors
    /// When the programs fail.
    pub async fn read_all(&mut self, links: u64) -> anyhow::Result<()> {
        let before = self.links().await?;
        let deaf: BTreeSet<&str> = self
            .neighbours
            .iter()
            .filter(|n| is_never_heard(&n.case))
            .map(|n| n.meter.as_str())
            .collect();
        let deaf: BTreeSet<String> = deaf.into_iter().map(str::to_owned).collect();
        let end = tokio::time::Instant::now() + ALL_READ;
        loop {
            let now = self.links().await?;
            let due: Vec<String> = self
                .neighbours
                .iter()
                .filter(|n| {
                    let read = now.get(&n.meter).copied().unwrap_or(0) - before.get(&n.meter).copied().unwrap_or(0);
                    read < links.max(n.case.links) && !deaf.contains(&n.meter)
                })
                .map(|n| n.case.name())
                .collect();
            if due.is_empty() {
                break;
            }
            ensure!(
                tokio::time::Instant::now() < end,
                "not read {links} times: {due:?}\n{}",
                self.world.logs()
            );
            for name in &due {
                self.world.meters().press_transfer(name).await?;
            }
            let pressed = tokio::time::Instant::now();
            wait_for("links", ALL_READ, async || {
                let moved = self.links().await?;
                let read_now = due.iter().all(|name| {
                    let neighbour = self.neighbours.iter().find(|n| n.case.name() == *name);
                    neighbour.is_some_and(|n| {
                        moved.get(&n.meter).copied().unwrap_or(0) > now.get(&n.meter).copied().unwrap_or(0)
                    })
                });
                Ok((read_now || pressed.elapsed() > PRESS_AGAIN).then_some(()))
            })
            .await?;
        }
        self.at_rest().await
    }

    /// Waits until no meter is being read and nothing is on its way: a link counts from its beginning.
    async fn at_rest(&self) -> anyhow::Result<()> {
        wait_for("the links that stand to end", ALL_READ, async || {
            let status = self.world.status().await?;
            let reads = list(&status["daemon"], "adapters")?
                .iter()
                .any(|adapter| adapter["is"] == "reading");
            Ok((!reads).then_some(()))
        })
        .await
        .with_context(|| self.world.logs())?;
        self.world.drained().await?;
        Ok(())
    }

    /// How often each meter was read, or at least tried if it need not give anything.
    async fn links(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let status = self.world.status().await?;
        let count = |meter: &Value, what: &str| meter[what].as_u64().unwrap_or(0);
        list(&status["spool"], "meters")?
            .iter()
            .map(|meter| {
                let id = text(meter, "id")?;
                let gives = self.neighbours.iter().any(|n| n.meter == id && n.case.seen > 0);
                let failed = if gives { 0 } else { count(meter, "connect_failures") };
                Ok((id.to_owned(), count(meter, "links") + failed))
            })
            .collect()
    }

    /// What does not agree with the cases or with the ledger, in words; nothing if all is well.
    ///
    /// # Errors
    /// When the programs fail.
    pub async fn disagreements(&mut self) -> anyhow::Result<Vec<String>> {
        let status = self.world.drained().await?;
        let mut found = Vec::new();
        for at in 0..self.neighbours.len() {
            let neighbour = self.neighbours.get(at).context("a neighbour")?;
            let name = neighbour.case.name();
            let expected = Seen {
                readings: neighbour.case.seen,
                aside: neighbour
                    .case
                    .aside
                    .iter()
                    .map(|(reason, rows)| ((*reason).to_owned(), *rows))
                    .collect(),
            };
            let seen = self.seen(&status, neighbour).await?;
            let readings = self.world.readings(&neighbour.owner).await?;
            if seen != expected {
                found.push(format!("{name}: expected {expected:?}, seen {seen:?}"));
            }
            if let Some(quality) = neighbour.case.quality {
                let others: BTreeSet<&str> = readings
                    .iter()
                    .filter_map(|r| r["time"]["quality"].as_str())
                    .filter(|other| *other != quality)
                    .collect();
                if !others.is_empty() {
                    found.push(format!("{name}: times are {others:?} and not {quality}"));
                }
            }
            let aside: u64 = seen.aside.values().sum();
            let mut ledger = self.world.meters().ledger(Some(&name)).await?;
            if let Some(fault) = against_ledger(&readings, aside, &ledger) {
                found.push(format!("{name}: {fault}"));
            }
            let stolen = ledger
                .iter()
                .filter(|entry| entry.fate == Fate::Elsewhere && entry.verdict() == Verdict::LostByMeter)
                .count();
            if stolen != neighbour.case.stolen {
                found.push(format!(
                    "{name}: another central took {stolen} records and not {}",
                    neighbour.case.stolen
                ));
            }
            let untrue = truth::faults(&neighbour.case, &neighbour.ages, self.started, &readings, &ledger)?;
            found.extend(untrue.into_iter().map(|fault| format!("{name}: {fault}")));
            if !neighbour.case.contexts {
                for entry in &mut ledger {
                    (entry.context_hex, entry.context_altered_hex) = (None, None);
                }
            }
            let surplus = Difference::between(&readings, &ledger).surplus;
            if !surplus.is_empty() {
                found.push(format!("{name}: not as in the ledger: {surplus:?}"));
            }
        }
        Ok(found)
    }

    /// Puts records into the memory of a meter, a minute apart, the newest of them so many minutes old.
    ///
    /// # Errors
    /// When the simulator refuses.
    pub async fn add_records(&mut self, meter: &str, count: usize, newest_minutes_ago: u32) -> anyhow::Result<()> {
        let command = Command::GenerateRecords {
            meter: meter.to_owned(),
            count,
            seed: u64::from(newest_minutes_ago),
            spacing_minutes: Some(1),
            newest_minutes_ago: Some(newest_minutes_ago),
        };
        let added: Added = self.world.meters().send(&command).await?;
        ensure!(
            added.records.len() == count,
            "{} records were added",
            added.records.len()
        );
        self.neighbour(meter)?
            .ages
            .extend(truth::run(count, newest_minutes_ago, 1));
        Ok(())
    }

    /// Measures so often with a glucose meter, now.
    ///
    /// # Errors
    /// When the simulator refuses.
    pub async fn measure(&mut self, meter: &str, times: u16) -> anyhow::Result<()> {
        /// Fasting, so that there is a context.
        const FASTING: u8 = 3;
        for time in 0..times {
            let record = GlucoseRecord {
                mg_dl: Some(100_u16.saturating_add(time)),
                meal: Some(FASTING),
                ..GlucoseRecord::default()
            };
            self.world.meters().measure_glucose(meter, record).await?;
            self.neighbour(meter)?.ages.push(0);
        }
        Ok(())
    }

    /// From now on so many readings are expected of a meter, and this kept aside.
    ///
    /// # Errors
    /// When there is no such meter.
    pub fn expect(&mut self, meter: &str, seen: usize, aside: &'static [(&'static str, u64)]) -> anyhow::Result<()> {
        let case = &mut self.neighbour(meter)?.case;
        (case.seen, case.aside) = (seen, aside);
        Ok(())
    }

    fn neighbour(&mut self, meter: &str) -> anyhow::Result<&mut Neighbour> {
        let found = self.neighbours.iter_mut().find(|n| n.case.name() == meter);
        found.with_context(|| format!("a meter {meter}"))
    }

    /// Records that a meter still holds or somebody has heard, and that its owner does not see.
    ///
    /// # Errors
    /// When the programs fail, or there is no such meter.
    pub async fn unseen(&mut self, meter: &str) -> anyhow::Result<Vec<LedgerEntry>> {
        let owner = self.neighbour(meter)?.owner.clone();
        let readings = self.world.readings(&owner).await?;
        let seen: BTreeSet<&str> = readings.iter().filter_map(|reading| reading["raw"].as_str()).collect();
        let mut ledger = self.world.meters().ledger(Some(meter)).await?;
        ledger.retain(|entry| entry.fate == Fate::Stored || entry.heard > 0);
        ledger.retain(|entry| {
            let went = entry.altered_hex.as_ref().unwrap_or(&entry.hex);
            !seen.contains(went.to_uppercase().as_str())
        });
        Ok(ledger)
    }

    /// What the owner of a meter sees, beside the ledger of the meter.
    ///
    /// # Errors
    /// When the programs fail, or there is no such meter.
    pub async fn compare(&mut self, meter: &str) -> anyhow::Result<Difference> {
        let owner = self.neighbour(meter)?.owner.clone();
        let readings = self.world.readings(&owner).await?;
        let ledger = self.world.meters().ledger(Some(meter)).await?;
        Ok(Difference::between(&readings, &ledger))
    }

    /// Waits until all but `lost` of the records of these meters are at the server, each once and byte by byte, and presses
    /// transfer keys until they are.
    ///
    /// # Errors
    /// When it does not come to that, with what differs and the programs' logs.
    pub async fn all_arrive(&mut self, meters: &[&str], lost: usize) -> anyhow::Result<()> {
        let mut pressed = tokio::time::Instant::now();
        let mut differences = Vec::new();
        let arrived = wait_for("everything as in the ledger", ALL_READ, async || {
            differences.clear();
            for meter in meters {
                let difference = self.compare(meter).await?;
                if difference.missing.len() != lost || !difference.surplus.is_empty() {
                    differences.push((*meter, difference));
                }
            }
            if pressed.elapsed() > PRESS_AGAIN {
                for (meter, _) in &differences {
                    self.world.meters().press_transfer(meter).await?;
                }
                pressed = tokio::time::Instant::now();
            }
            Ok(differences.is_empty().then_some(()))
        })
        .await;
        arrived.with_context(|| format!("{differences:#?}\n{}", self.world.logs()))
    }

    /// Stops everything.
    ///
    /// # Errors
    /// When a program does not end cleanly.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.world.stop().await
    }
}

/// Measurements and contexts, in hex, as they went on air and as they are at the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// In the ledger and not at the server.
    pub missing: Vec<(String, Option<String>)>,
    /// At the server and not in the ledger, or more often.
    pub surplus: Vec<(String, Option<String>)>,
}

impl Difference {
    /// Compares what somebody sees with what a meter holds.
    #[must_use]
    pub fn between(readings: &[Value], ledger: &[LedgerEntry]) -> Self {
        let upper = |text: &String| text.to_uppercase();
        let mut missing: Vec<(String, Option<String>)> = ledger
            .iter()
            .map(|entry| {
                let went = entry.altered_hex.as_ref().unwrap_or(&entry.hex);
                let context = entry.context_altered_hex.as_ref().or(entry.context_hex.as_ref());
                (went.to_uppercase(), context.map(upper))
            })
            .collect();
        let mut surplus = Vec::new();
        for reading in readings {
            let text = |key: &str| reading[key].as_str().map(str::to_owned);
            let seen = (text("raw").unwrap_or_default(), text("context_raw"));
            match missing.iter().position(|expected| *expected == seen) {
                Some(position) => drop(missing.swap_remove(position)),
                None => surplus.push(seen),
            }
        }
        Self { missing, surplus }
    }
}

fn is_never_heard(case: &Case) -> bool {
    // Directed at a bonded central, or under a private address, it is nobody's meter before it is paired.
    [
        "advert-never",
        "advert-directed",
        "address-rotates",
        "identity-after-bonding",
    ]
    .contains(&case.profile)
}

/// What holds of every meter, whatever its fault: nobody has more readings than records were made, everything that a client
/// heard as it was made is a reading or kept aside, and nothing was confirmed that nobody heard.
fn against_ledger(readings: &[Value], aside: u64, ledger: &[LedgerEntry]) -> Option<String> {
    let heard = ledger.iter().filter(|entry| entry.heard > 0).count();
    let intact: BTreeSet<&str> = ledger
        .iter()
        .filter(|entry| entry.heard_intact > 0)
        .map(|entry| entry.hex.as_str())
        .collect();
    if readings.len() > heard {
        return Some(format!(
            "{} readings of {heard} records that were heard",
            readings.len()
        ));
    }
    let kept = u64::try_from(readings.len()).unwrap_or(u64::MAX).saturating_add(aside);
    if kept < u64::try_from(intact.len()).unwrap_or(u64::MAX) {
        return Some(format!(
            "{} different records were heard, and {kept} are anywhere",
            intact.len()
        ));
    }
    let lost: Vec<u64> = ledger
        .iter()
        .filter(|entry| entry.is_lost() && entry.fate != Fate::Elsewhere)
        .map(|entry| entry.entry)
        .collect();
    (!lost.is_empty()).then(|| format!("confirmed and heard by nobody: entries {lost:?}"))
}
