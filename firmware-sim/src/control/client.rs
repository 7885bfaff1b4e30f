//! A typed client of the control interface, for tests and the demonstration.

use std::io;
use std::net::SocketAddr;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::pairing::Display;
use super::protocol::{
    Added, Command, CuffRecord, GlucoseRecord, LedgerPage, MAX_LEDGER_PAGE, MadeRecord, MeterState, Refusal, State,
};
use super::records::{OxygenRecord, ProfileInfo, TemperatureRecord, WeightRecord};
use crate::bluez::Counters;
use crate::clock_setting::ClockSetting;
use crate::ledger::LedgerEntry;
use crate::{HostEvent, HostFaults};

/// Longest answer: a full page of the ledger whose records all have the longest raw values.
const MAX_ANSWER_BYTES: u64 = (MAX_LEDGER_PAGE as u64) * 4 * 1024;

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The simulator cannot be reached, or went away.
    #[error("cannot talk to the simulator at {address}")]
    Io {
        /// Its control address.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// The simulator refused the command.
    #[error("the simulator refused the command")]
    Refused(#[from] Refusal),
    /// The answer is not in the protocol.
    #[error("the simulator's answer is not understood")]
    NotUnderstood {
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

#[derive(Deserialize)]
struct Answer {
    id: Value,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    error: Option<Refusal>,
}

/// One control connection. Commands are answered in order.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    reading: BufReader<OwnedReadHalf>,
    writing: OwnedWriteHalf,
    next_id: u64,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens at the address.
    pub async fn connect(address: SocketAddr) -> Result<Self, ClientError> {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|source| ClientError::Io { address, source })?;
        let (reading, writing) = stream.into_split();
        Ok(Self {
            address,
            reading: BufReader::new(reading),
            writing,
            next_id: 1,
        })
    }

    /// Sends one line as it is, with its newline, and returns the answer as it is. For trying bad input.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn raw(&mut self, line: &[u8]) -> Result<String, ClientError> {
        let address = self.address;
        let broken = |source| ClientError::Io { address, source };
        // In one piece: a newline that comes behind waits until the other side's kernel confirms the line, some 40 ms later.
        let line = [line, b"\n"].concat();
        self.writing.write_all(&line).await.map_err(broken)?;
        let mut answer = String::new();
        let mut bounded = (&mut self.reading).take(MAX_ANSWER_BYTES);
        if bounded.read_line(&mut answer).await.map_err(broken)? == 0 {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(answer)
    }

    /// Sends a command and waits for its result.
    ///
    /// # Errors
    /// When the connection breaks, or the simulator refuses.
    pub async fn send<T: DeserializeOwned>(&mut self, command: &Command) -> Result<T, ClientError> {
        let not_understood = |source| ClientError::NotUnderstood { source };
        let id = self.next_id;
        self.next_id += 1;
        let mut request = serde_json::to_value(command).map_err(not_understood)?;
        if let Some(members) = request.as_object_mut() {
            members.insert("id".to_owned(), id.into());
        }
        let answer = self.raw(request.to_string().as_bytes()).await?;
        let answer: Answer = serde_json::from_str(&answer).map_err(not_understood)?;
        if let Some(refusal) = answer.error {
            return Err(refusal.into());
        }
        debug_assert_eq!(answer.id, id, "answers come in the order of their commands");
        serde_json::from_value(answer.result).map_err(not_understood)
    }

    async fn done(&mut self, command: &Command) -> Result<(), ClientError> {
        self.send::<Value>(command).await.map(drop)
    }

    /// Shows the adapter and all meters.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn list(&mut self) -> Result<State, ClientError> {
        self.send(&Command::List {}).await
    }

    /// Shows one meter; `None` if there is none of this name.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn meter(&mut self, meter: &str) -> Result<Option<MeterState>, ClientError> {
        Ok(self.list().await?.meters.into_iter().find(|found| found.meter == meter))
    }

    /// Measures with a cuff.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn measure_cuff(&mut self, meter: &str, record: CuffRecord) -> Result<MadeRecord, ClientError> {
        self.send(&Command::MeasureCuff {
            meter: meter.to_owned(),
            record,
        })
        .await
    }

    /// Measures with a glucose meter.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn measure_glucose(&mut self, meter: &str, record: GlucoseRecord) -> Result<MadeRecord, ClientError> {
        self.send(&Command::MeasureGlucose {
            meter: meter.to_owned(),
            record,
        })
        .await
    }

    /// Steps on a scale.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn measure_weight(&mut self, meter: &str, record: WeightRecord) -> Result<MadeRecord, ClientError> {
        let meter = meter.to_owned();
        self.send(&Command::MeasureWeight { meter, record }).await
    }

    /// Takes a temperature.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn measure_temperature(
        &mut self,
        meter: &str,
        record: TemperatureRecord,
    ) -> Result<MadeRecord, ClientError> {
        let meter = meter.to_owned();
        self.send(&Command::MeasureTemperature { meter, record }).await
    }

    /// Measures oxygen saturation.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn measure_oxygen(&mut self, meter: &str, record: OxygenRecord) -> Result<MadeRecord, ClientError> {
        let meter = meter.to_owned();
        self.send(&Command::MeasureOxygen { meter, record }).await
    }

    /// Switches a meter to these fault profiles; to none, it has no faults.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn set_profile(&mut self, meter: &str, profiles: &[&str]) -> Result<(), ClientError> {
        self.done(&Command::SetProfile {
            meter: meter.to_owned(),
            profiles: profiles.iter().map(|name| (*name).to_owned()).collect(),
        })
        .await
    }

    /// Lists the fault profiles.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn profiles(&mut self) -> Result<Vec<ProfileInfo>, ClientError> {
        self.send(&Command::Profiles {}).await
    }

    /// Moves a meter's clock by so many seconds.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn jump_clock(&mut self, meter: &str, seconds: i64) -> Result<(), ClientError> {
        self.done(&Command::JumpClock {
            meter: meter.to_owned(),
            seconds,
        })
        .await
    }

    /// Puts `count` generated records into a memory.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn generate_records(&mut self, meter: &str, count: usize, seed: u64) -> Result<Added, ClientError> {
        let meter = meter.to_owned();
        let command = Command::GenerateRecords {
            meter,
            count,
            seed,
            spacing_minutes: None,
            newest_minutes_ago: None,
        };
        self.send(&command).await
    }

    /// Puts given records into a cuff's memory.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn add_cuff_records(&mut self, meter: &str, records: Vec<CuffRecord>) -> Result<Added, ClientError> {
        self.send(&Command::AddCuffRecords {
            meter: meter.to_owned(),
            records,
        })
        .await
    }

    /// Puts given records into a glucose meter's memory.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn add_glucose_records(
        &mut self,
        meter: &str,
        records: Vec<GlucoseRecord>,
    ) -> Result<Added, ClientError> {
        self.send(&Command::AddGlucoseRecords {
            meter: meter.to_owned(),
            records,
        })
        .await
    }

    /// Sets a meter's clock.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn set_clock(&mut self, meter: &str, to: ClockSetting) -> Result<(), ClientError> {
        self.done(&Command::SetClock {
            meter: meter.to_owned(),
            to,
        })
        .await
    }

    /// Brings a meter into range or takes it away.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn set_range(&mut self, meter: &str, in_range: bool) -> Result<(), ClientError> {
        self.done(&Command::SetRange {
            meter: meter.to_owned(),
            in_range,
        })
        .await
    }

    /// Presses the transfer key.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn press_transfer(&mut self, meter: &str) -> Result<(), ClientError> {
        self.done(&Command::PressTransfer {
            meter: meter.to_owned(),
        })
        .await
    }

    /// Switches the adapter; off holds until it is switched on here.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn adapter(&mut self, powered: bool) -> Result<(), ClientError> {
        self.done(&Command::Adapter {
            powered,
            blocked: None,
            adapter: None,
        })
        .await
    }

    /// Drops a meter's link, now (`None`) or after so many more values.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn drop_link(&mut self, meter: &str, after: Option<u32>) -> Result<(), ClientError> {
        self.done(&Command::DropLink {
            meter: meter.to_owned(),
            after,
        })
        .await
    }

    /// Looks at a meter's display.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn display(&mut self, meter: &str) -> Result<Display, ClientError> {
        self.send(&Command::Display {
            meter: meter.to_owned(),
        })
        .await
    }

    /// Types six digits on a meter that asks for them.
    ///
    /// # Errors
    /// As [`Client::send`]; refused when the meter does not ask.
    pub async fn type_passkey(&mut self, meter: &str, passkey: &str) -> Result<(), ClientError> {
        self.done(&Command::TypePasskey {
            meter: meter.to_owned(),
            passkey: passkey.to_owned(),
        })
        .await
    }

    /// Says yes or no on a meter that asks.
    ///
    /// # Errors
    /// As [`Client::send`]; refused when the meter does not ask.
    pub async fn confirm_pairing(&mut self, meter: &str, accept: bool) -> Result<(), ClientError> {
        self.done(&Command::ConfirmPairing {
            meter: meter.to_owned(),
            accept,
        })
        .await
    }

    /// Puts a meter into its pairing mode, or ends it.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn pairing_mode(&mut self, meter: &str, on: bool) -> Result<(), ClientError> {
        self.done(&Command::PairingMode {
            meter: meter.to_owned(),
            on,
        })
        .await
    }

    /// Makes a meter forget its bonds.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn wipe_bonds(&mut self, meter: &str) -> Result<(), ClientError> {
        self.done(&Command::WipeBonds {
            meter: meter.to_owned(),
        })
        .await
    }

    /// Lets another central, such as a phone, pair with a meter.
    ///
    /// # Errors
    /// As [`Client::send`]; refused when the meter has its only bond already.
    pub async fn bond_elsewhere(&mut self, meter: &str) -> Result<(), ClientError> {
        self.done(&Command::BondElsewhere {
            meter: meter.to_owned(),
        })
        .await
    }

    /// Makes a meter with a private address take a new one.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn rotate_address(&mut self, meter: &str) -> Result<(), ClientError> {
        self.done(&Command::RotateAddress {
            meter: meter.to_owned(),
        })
        .await
    }

    /// Gives the simulated BlueZ these profiles of group 12, instead of those that it had.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn set_host_profile(&mut self, profiles: &[&str]) -> Result<(), ClientError> {
        let profiles = profiles.iter().map(|name| (*name).to_owned()).collect();
        self.done(&Command::SetHostProfile { profiles }).await
    }

    /// Gives the simulated BlueZ these faults, instead of those that it had.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn host_faults(&mut self, faults: HostFaults) -> Result<(), ClientError> {
        self.done(&Command::HostFaults { faults }).await
    }

    /// Lets something happen to the machine.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn host_event(&mut self, happens: HostEvent) -> Result<(), ClientError> {
        self.done(&Command::HostEvent { happens }).await
    }

    /// Shows totals.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn counters(&mut self) -> Result<Counters, ClientError> {
        self.send(&Command::Counters {}).await
    }

    /// Reads the whole ledger, of one meter or of all.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn ledger(&mut self, meter: Option<&str>) -> Result<Vec<LedgerEntry>, ClientError> {
        let mut entries: Vec<LedgerEntry> = Vec::new();
        loop {
            let after = entries.last().map_or(0, |entry| entry.entry);
            let page: LedgerPage = self
                .send(&Command::Ledger {
                    meter: meter.map(str::to_owned),
                    after,
                })
                .await?;
            let more = page.more;
            entries.extend(page.entries);
            if !more {
                return Ok(entries);
            }
        }
    }
}
