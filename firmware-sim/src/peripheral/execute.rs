//! What a command of the control interface does here.

use zbus::ObjectPath;

use super::front::{ADAPTER, Front, Outcome, Pending};
use super::seat::{Post, Registration};
use crate::SimTime;
use crate::clock_setting::ClockSetting;
use crate::config::MeterSection;
use crate::control::execute::{
    asked_for, chain, check_added, cuff_history, cuff_measurement, glucose_history, glucose_measurement, made_record,
    stored_history,
};
use crate::control::{
    AdapterState, Added, Command, LedgerPage, MAX_LEDGER_PAGE, MeterState, Refusal, Reply, State, records,
};
use crate::ledger::millis;
use crate::meters::{Event, MAX_MEMORY, Made, Taken};
use crate::profiles::{ProfileError, Selection};

impl Front {
    /// Carries a command out.
    pub(crate) fn execute(&mut self, now: SimTime, command: Command) -> Result<Reply, Refusal> {
        match command {
            Command::Profiles {} => Ok(Reply::Profiles(records::catalogue())),
            Command::SetProfile { meter, profiles } => {
                let index = self.named(&meter)?;
                let selection = Selection::named(&profiles).map_err(bad_profile)?;
                self.switch_profiles(now, index, &selection)
            }
            Command::JumpClock { meter, seconds } => self.physical(now, &meter, Event::JumpClock(seconds)),
            Command::List {} => Ok(Reply::State(self.state(now))),
            Command::Counters {} => Ok(Reply::Counters(self.counters.clone())),
            Command::Ledger { meter, after } => self.ledger_page(meter.as_deref(), after).map(Reply::Ledger),
            Command::MeasureCuff { meter, record } => {
                let event = Event::Measure(Taken::Cuff(cuff_measurement(&record)?));
                self.measure(now, &meter, event)
            }
            Command::MeasureGlucose { meter, record } => {
                let event = Event::Measure(Taken::Glucose(glucose_measurement(&record)?));
                self.measure(now, &meter, event)
            }
            Command::MeasureWeight { meter, record } => {
                self.measure(now, &meter, Event::Measure(records::weight(&record)?))
            }
            Command::MeasureTemperature { meter, record } => {
                self.measure(now, &meter, Event::Measure(records::temperature(&record)?))
            }
            Command::MeasureOxygen { meter, record } => {
                self.measure(now, &meter, Event::Measure(records::oxygen(&record)?))
            }
            Command::GenerateRecords {
                meter,
                count,
                seed,
                spacing_minutes,
                newest_minutes_ago,
            } => {
                let section = asked_for(count, seed, spacing_minutes, newest_minutes_ago)?;
                let index = self.named(&meter)?;
                let right = self.right_time(now);
                let events = self
                    .posts
                    .get(index)
                    .map(|post| stored_history(&post.meter, now, right, &section));
                self.add(now, index, events.unwrap_or_default())
            }
            Command::AddCuffRecords { meter, records } => {
                let index = self.named(&meter)?;
                let events = cuff_history(&records)?;
                self.add(now, index, events)
            }
            Command::AddGlucoseRecords { meter, records } => {
                let index = self.named(&meter)?;
                let events = glucose_history(&records)?;
                self.add(now, index, events)
            }
            Command::SetClock { meter, to } => {
                let local = match to {
                    ClockSetting::Right => self.right_time(now),
                    ClockSetting::Unset => None,
                    ClockSetting::Local(local) => Some(local),
                };
                self.physical(now, &meter, Event::SetClock(local))
            }
            Command::PressTransfer { meter } => self.physical(now, &meter, Event::PressTransfer),
            Command::SetRange { meter, in_range } => {
                let index = self.named(&meter)?;
                if let Some(post) = self.posts.get_mut(index) {
                    post.in_range = in_range;
                }
                if !in_range {
                    self.drop_link(now, index);
                }
                Ok(Reply::Done {})
            }
            Command::Adapter {
                powered,
                blocked: None,
                adapter,
            } => self.switch_adapters(powered, adapter.as_deref()),
            Command::DropLink { meter, after } => {
                let index = self.named(&meter)?;
                match after {
                    None | Some(0) => self.drop_link(now, index),
                    Some(after) => {
                        if let Some(post) = self.posts.get_mut(index) {
                            post.drop_after = Some(after);
                        }
                    }
                }
                Ok(Reply::Done {})
            }
            Command::Display { meter } => Ok(self.display(now, self.named(&meter)?)),
            Command::TypePasskey { meter, passkey } => self.type_passkey(self.named(&meter)?, &passkey),
            Command::ConfirmPairing { meter, accept } => self.confirm_pairing(self.named(&meter)?, accept),
            Command::PairingMode { meter, on } => {
                let index = self.named(&meter)?;
                if let Some(post) = self.posts.get_mut(index) {
                    post.security.set_pairing_mode(now, on);
                }
                Ok(Reply::Done {})
            }
            Command::WipeBonds { meter } => {
                let index = self.named(&meter)?;
                self.wipe_bonds(index);
                Ok(Reply::Done {})
            }
            // What is left concerns the BlueZ that the other front simulates.
            _ => Err(not_here("this command changes the simulated BlueZ")),
        }
    }

    /// Fills a memory as configured, before anything else happens.
    pub(crate) fn stock(&mut self, index: usize, section: &MeterSection) -> Result<(), Refusal> {
        let selection = section.selection().map_err(bad_profile)?;
        self.switch_profiles(SimTime::ZERO, index, &selection)?;
        let right = self.right_time(SimTime::ZERO);
        let events = self
            .posts
            .get(index)
            .map(|post| stored_history(&post.meter, SimTime::ZERO, right, &section.stored));
        self.add(SimTime::ZERO, index, events.unwrap_or_default()).map(drop)
    }

    fn switch_profiles(&mut self, now: SimTime, index: usize, selection: &Selection) -> Result<Reply, Refusal> {
        let Some(post) = self.posts.get_mut(index) else {
            return Ok(Reply::Done {});
        };
        selection.check(&post.meter).map_err(bad_profile)?;
        if selection.addressing().is_some() {
            return Err(not_here(
                "this profile changes the meter's address, which is the adapter's",
            ));
        }
        // A profile may fill the memory.
        if self.ledger.room() < MAX_MEMORY {
            return Err(Refusal::new("full", "the ledger is full; restart the simulator"));
        }
        let (before, demands) = (post.meter.profile().clone(), post.security.settings().demands);
        post.security
            .reconfigure(selection.security(post.plain_security.clone()));
        let demands_change = post.security.settings().demands != demands;
        self.drive(now, index, Event::Switch(selection.faults()), None);
        if selection.loses_bonds() {
            self.wipe_bonds(index);
        }
        if demands_change
            || self
                .posts
                .get(index)
                .is_some_and(|post| *post.meter.profile() != before)
        {
            self.register_again(index);
        }
        Ok(Reply::Done {})
    }

    fn switch_adapters(&mut self, powered: bool, adapter: Option<&str>) -> Result<Reply, Refusal> {
        let chosen: Vec<usize> = (0..self.posts.len())
            .filter(|index| {
                let found = self.posts.get(*index);
                found.is_some_and(|post| adapter.is_none_or(|adapter| post.adapter == adapter))
            })
            .collect();
        if chosen.is_empty() {
            return Err(Refusal::new("unknown_adapter", "there is no meter behind this adapter"));
        }
        for index in chosen {
            if let Some(post) = self.posts.get_mut(index) {
                post.switched_off = !powered;
            }
            self.power(index, powered);
        }
        Ok(Reply::Done {})
    }

    /// Makes bluetoothd forget every central that has a bond with this adapter; they do not learn of it.
    fn wipe_bonds(&mut self, index: usize) {
        let Some(post) = self.posts.get(index) else { return };
        let (adapter, bonded) = (post.adapter_path(), post.bonded.clone());
        for device in bonded {
            if let Ok(device) = ObjectPath::try_from(device) {
                self.ask(&adapter, ADAPTER, "RemoveDevice", &device, Pending::Courtesy(index));
            }
        }
    }

    fn named(&self, meter: &str) -> Result<usize, Refusal> {
        self.posts.iter().position(|post| post.id == meter).ok_or_else(|| {
            let known: Vec<&str> = self.posts.iter().map(|post| post.id.as_str()).collect();
            Refusal::new(
                "unknown_meter",
                format!(
                    "there is no meter {meter:?} behind an adapter; there are: {}",
                    known.join(", ")
                ),
            )
        })
    }

    fn physical(&mut self, now: SimTime, meter: &str, event: Event) -> Result<Reply, Refusal> {
        let index = self.named(meter)?;
        self.drive(now, index, event, None);
        Ok(Reply::Done {})
    }

    fn measure(&mut self, now: SimTime, meter: &str, event: Event) -> Result<Reply, Refusal> {
        let index = self.named(meter)?;
        let made = self.record(now, index, event)?;
        made.first()
            .map(|made| Reply::Made(made_record(made)))
            .ok_or_else(|| Refusal::new("wrong_kind", format!("the meter {meter:?} made no record of it")))
    }

    fn record(&mut self, now: SimTime, index: usize, event: Event) -> Result<Vec<Made>, Refusal> {
        if self.ledger.room() == 0 {
            return Err(Refusal::new("full", "the ledger is full; restart the simulator"));
        }
        let Outcome { made, impossible } = self.drive(now, index, event, None);
        match impossible {
            Some(error) => Err(Refusal::new(error.code(), chain(&error))),
            None => Ok(made),
        }
    }

    fn add(&mut self, now: SimTime, index: usize, events: Vec<Event>) -> Result<Reply, Refusal> {
        check_added(events.len())?;
        if events.len() > self.ledger.room() {
            return Err(Refusal::new("full", "the ledger is full; restart the simulator"));
        }
        let mut records = Vec::with_capacity(events.len());
        for event in events {
            records.extend(self.record(now, index, event)?.iter().map(made_record));
        }
        Ok(Reply::Added(Added { records }))
    }

    fn ledger_page(&self, meter: Option<&str>, after: u64) -> Result<LedgerPage, Refusal> {
        if let Some(meter) = meter {
            self.named(meter)?;
        }
        let mut found = self
            .ledger
            .entries()
            .iter()
            .filter(|entry| entry.entry > after && meter.is_none_or(|meter| entry.meter == meter));
        let entries: Vec<_> = found.by_ref().take(MAX_LEDGER_PAGE).cloned().collect();
        Ok(LedgerPage {
            entries,
            more: found.next().is_some(),
        })
    }

    fn state(&self, now: SimTime) -> State {
        let mut adapters = self.posts.iter().map(|post| AdapterState {
            controller: post.adapter.clone(),
            present: post.address.is_some(),
            powered: post.powered,
            ..AdapterState::default()
        });
        State {
            now_ms: millis(now),
            adapter: adapters.next().unwrap_or_default(),
            host_profiles: Vec::new(),
            more_adapters: adapters.collect(),
            meters: self.posts.iter().map(|post| meter_state(now, post)).collect(),
        }
    }

    /// Adapter, address and meter of each seat.
    pub(crate) fn seats(&self) -> Vec<(String, String, String)> {
        self.posts
            .iter()
            .map(|post| {
                let address = post.address.clone().unwrap_or_default();
                (post.adapter.clone(), address, post.id.clone())
            })
            .collect()
    }

    /// What keeps the front from being ready, for people.
    pub(crate) fn missing(&self) -> String {
        let mut missing = Vec::new();
        if self.bluez.is_none() {
            missing.push("bluetoothd does not run".to_owned());
        } else if self.agent != Registration::Standing {
            missing.push("the agent is not registered".to_owned());
        }
        for post in self.posts.iter().filter(|_| self.bluez.is_some()) {
            let adapter = &post.adapter;
            if post.address.is_none() {
                missing.push(format!("there is no adapter {adapter}"));
            } else if !post.powered {
                missing.push(format!("the adapter {adapter} is switched off"));
            } else if post.application != Registration::Standing {
                missing.push(format!("the services of {} are not registered at {adapter}", post.id));
            }
        }
        missing.extend(self.last_refusal.clone());
        missing.join("; ")
    }
}

fn meter_state(now: SimTime, post: &Post) -> MeterState {
    let (stored, unsent) = post.meter.memory();
    let identity = post.meter.identity();
    MeterState {
        meter: post.id.clone(),
        kind: post.meter.kind().to_owned(),
        address: post.address.clone().unwrap_or_default(),
        address_on_air: post.address.clone().unwrap_or_default(),
        model: format!("{} {}", identity.manufacturer, identity.model)
            .trim()
            .to_owned(),
        in_range: post.in_range,
        advertising: post.advertisement == Registration::Standing,
        known: post.central.is_some(),
        connected: post.is_linked(),
        bonded: !post.bonded.is_empty(),
        bonds: post.bonded.len(),
        resolved: post.is_linked(),
        sessions: post.notifying.len(),
        clock: post
            .meter
            .clock()
            .read(now)
            .map_or(ClockSetting::Unset, ClockSetting::Local),
        stored,
        unsent,
        profiles: post
            .meter
            .faults()
            .names()
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
    }
}

fn bad_profile(error: ProfileError) -> Refusal {
    Refusal::new("bad_value", error.to_string())
}

fn not_here(what: &str) -> Refusal {
    Refusal::new("not_here", format!("{what}; meters behind real adapters cannot do it"))
}
