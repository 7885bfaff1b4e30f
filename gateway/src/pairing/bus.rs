//! The Bluetooth service over D-Bus, as far as pairing needs it: plain calls, each with its error in the service's own words.
//!
//! btleplug cannot pair, and what a pairing reads of a meter must be read on the connection that the agent lives on.

mod device;

use std::collections::HashMap;
use std::time::Duration;

use carepost_domain::meter::{About, Address, AddressType};
use carepost_gatt::uuid16;
use tokio::time::{Instant, sleep, timeout};
use zbus::message::Message;
use zbus::{Connection, DBusError as _, ObjectPath, OwnedObjectPath, OwnedVariant, Variant};

use super::agent;
use super::failure::{During, Failure, failure_of};
use super::words::{Details, Known};
use device::{Device, Table, details, flag, recalled};

/// The Bluetooth service's name on the bus.
pub(super) const SERVICE: &str = "org.bluez";
const ADAPTER: &str = "org.bluez.Adapter1";
const DEVICE: &str = "org.bluez.Device1";
const GATT_SERVICE: &str = "org.bluez.GattService1";
const CHARACTERISTIC: &str = "org.bluez.GattCharacteristic1";
const AGENT_MANAGER: &str = "org.bluez.AgentManager1";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const OBJECT_MANAGER: &str = "org.freedesktop.DBus.ObjectManager";

/// How often a state of the Bluetooth service is asked for while it is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long the services of a connected meter may take; the Bluetooth service's own limit is 30 s.
const RESOLVE_LIMIT: Duration = Duration::from_secs(20);
/// How long objects may lag behind `ServicesResolved` (bluez/bluez#1489).
const OBJECTS_LAG: Duration = Duration::from_secs(3);
/// How long one value may take to be read.
const VALUE_LIMIT: Duration = Duration::from_secs(10);
/// How often a meter that left is connected again, to be asked what it is.
const CONNECT_TRIES: usize = 3;
/// Pause before that.
const CONNECT_PAUSE: Duration = Duration::from_secs(1);
/// Longest text of a meter that is looked at, in bytes: an attribute's longest value.
const MAX_TEXT_BYTES: usize = 512;
/// Services of one meter that are looked at.
const MAX_SERVICES: usize = 64;
/// Bonds that are listed.
const MAX_BONDS: usize = 512;

type Values = HashMap<String, OwnedVariant>;
type Objects = HashMap<OwnedObjectPath, HashMap<String, Values>>;

/// An error reply.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempted}: {name}: {message}")]
pub(super) struct CallError {
    attempted: &'static str,
    name: String,
    message: String,
}

impl CallError {
    fn new(attempted: &'static str, error: zbus::Error) -> Self {
        let (name, message) = match error {
            zbus::Error::MethodError(name, message, _) => (name.to_string(), message.unwrap_or_default()),
            zbus::Error::FDO(error) => (
                error.name().to_string(),
                error.description().unwrap_or_default().to_owned(),
            ),
            other => ("connection".to_owned(), other.to_string()),
        };
        Self {
            attempted,
            name,
            message,
        }
    }

    fn is(&self, name: &str) -> bool {
        self.name.strip_prefix("org.bluez.Error.") == Some(name)
    }

    /// What it means; `None` where there was nothing left to be done.
    fn meaning(&self, during: During) -> Option<Failure> {
        match self.name.as_str() {
            "connection" => Some(Failure::NoBluetooth),
            name => failure_of(name, &self.message, during),
        }
    }

    /// The same, of a step that is not tried again: the log has its name.
    pub(super) fn failure(&self, during: During) -> Option<Failure> {
        let failure = self.meaning(during);
        if failure.is_some() {
            tracing::info!(
                attempted = self.attempted,
                error.name = self.name,
                error.message = self.message,
                "pairing step failed"
            );
        }
        failure
    }
}

/// What is known of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bond {
    /// Identity address.
    pub(crate) address: Address,
    pub(crate) address_type: AddressType,
    pub(crate) name: String,
    /// The keys are kept.
    pub(crate) bonded: bool,
    pub(crate) trusted: bool,
    pub(crate) connected: bool,
}

/// The connection, and the adapter that is used.
#[derive(Debug, Clone)]
pub(super) struct Bus {
    pub(super) connection: Connection,
    /// Name of the adapter; empty for the first.
    pub(super) adapter: String,
}

impl Bus {
    async fn call<B>(
        &self,
        attempted: &'static str,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<Message, CallError>
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        self.connection
            .call_method(Some(SERVICE), path, Some(interface), method, body)
            .await
            .map_err(|error| CallError::new(attempted, error))
    }

    /// Registers the agent, as the one for everything that nobody else asked for.
    pub(super) async fn register_agent(&self) -> Result<(), CallError> {
        let manager = "/org/bluez";
        let agent = object(agent::PATH);
        let body = (&agent, agent::CAPABILITY);
        let registered = self
            .call("register the agent", manager, AGENT_MANAGER, "RegisterAgent", &body)
            .await;
        match registered {
            Err(error) if !error.is("AlreadyExists") => return Err(error),
            _ => {}
        }
        self.call(
            "become the default agent",
            manager,
            AGENT_MANAGER,
            "RequestDefaultAgent",
            &agent,
        )
        .await?;
        Ok(())
    }

    /// Takes the agent back.
    pub(super) async fn unregister_agent(&self) -> Result<(), CallError> {
        let agent = object(agent::PATH);
        self.call(
            "unregister the agent",
            "/org/bluez",
            AGENT_MANAGER,
            "UnregisterAgent",
            &agent,
        )
        .await?;
        Ok(())
    }

    /// The unique name of the Bluetooth service; `None` when it does not run.
    pub(super) async fn owner(&self) -> Result<Option<String>, CallError> {
        let asked = self
            .connection
            .call_method(
                Some("org.freedesktop.DBus"),
                "/org/freedesktop/DBus",
                Some("org.freedesktop.DBus"),
                "GetNameOwner",
                &SERVICE,
            )
            .await;
        match asked {
            Ok(reply) => Ok(reply.body().deserialize::<String>().ok()),
            Err(zbus::Error::FDO(error)) if error.name().as_str().ends_with(".NameHasNoOwner") => Ok(None),
            Err(error) => Err(CallError::new("ask for the bluetooth service", error)),
        }
    }

    async fn objects(&self) -> Result<Objects, CallError> {
        let reply = self
            .call("list devices", "/", OBJECT_MANAGER, "GetManagedObjects", &())
            .await?;
        reply
            .body()
            .deserialize()
            .map_err(|error| CallError::new("list devices", error))
    }

    /// Path of the adapter with this name; of the configured one, or the first, where none is named.
    fn adapter(&self, objects: &Objects, name: &str) -> Result<String, Failure> {
        let name = if name.is_empty() { &self.adapter } else { name };
        let mut paths: Vec<&str> = objects
            .iter()
            .filter(|(_, interfaces)| interfaces.contains_key(ADAPTER))
            .map(|(path, _)| path.as_str())
            .filter(|path| name.is_empty() || path.rsplit('/').next() == Some(name))
            .collect();
        paths.sort_unstable();
        paths.first().map(|path| (*path).to_owned()).ok_or(Failure::NoBluetooth)
    }

    async fn device(&self, path: &str) -> Result<Device, CallError> {
        let reply = self
            .call("ask for a device", path, PROPERTIES, "GetAll", &DEVICE)
            .await?;
        let values = reply
            .body()
            .deserialize()
            .map_err(|error| CallError::new("ask for a device", error))?;
        Ok(Device { values })
    }

    /// Every device with a bond.
    pub(super) async fn bonds(&self) -> Result<Vec<Bond>, CallError> {
        let objects = self.objects().await?;
        let mut bonds: Vec<Bond> = objects
            .into_values()
            .filter_map(|mut interfaces| interfaces.remove(DEVICE))
            .map(|values| Device { values })
            .filter(Device::is_bonded)
            .filter_map(|device| {
                let (address, address_type) = device.address()?;
                Some(Bond {
                    address,
                    address_type,
                    name: device.name(),
                    bonded: true,
                    trusted: device.flag("Trusted"),
                    connected: device.flag("Connected"),
                })
            })
            .take(MAX_BONDS)
            .collect();
        bonds.sort_by_key(|bond| bond.address);
        Ok(bonds)
    }

    /// Looks a device up by its address, which need not be in its path any more.
    pub(super) async fn look(&self, address: Address) -> Result<Option<Known>, Failure> {
        let objects = self.objects().await.map_err(|error| failed(&error, During::Looking))?;
        // Fails where there is nothing to pair with.
        self.adapter(&objects, "")?;
        let wanted = address.to_string();
        let found = objects.into_iter().filter_map(|(path, mut interfaces)| {
            let values = interfaces.remove(DEVICE)?;
            let device = Device { values };
            (device.text("Address").as_deref() == Some(wanted.as_str())).then(|| Known {
                path: path.as_str().to_owned(),
                paired: device.flag("Paired"),
            })
        });
        Ok(foremost(found))
    }

    /// Listens until the meter is heard.
    pub(super) async fn find(&self, address: Address, adapter: &str) -> Result<Known, Failure> {
        let objects = self.objects().await.map_err(|error| failed(&error, During::Looking))?;
        let adapter = self.adapter(&objects, adapter)?;
        let powered = objects
            .iter()
            .find(|(path, _)| path.as_str() == adapter)
            .and_then(|(_, interfaces)| interfaces.get(ADAPTER))
            .is_some_and(|values| flag(values, "Powered"));
        if !powered {
            return Err(Failure::AdapterOff);
        }
        let filter: HashMap<&str, Variant<'_>> = HashMap::from([
            ("Transport", Variant::from("le")),
            // Signal strengths again and again: each says that the meter is here now.
            ("DuplicateData", Variant::from(true)),
        ]);
        self.call(
            "set the scan's filter",
            &adapter,
            ADAPTER,
            "SetDiscoveryFilter",
            &filter,
        )
        .await
        .map_err(|error| failed(&error, During::Looking))?;
        match self
            .call("start a scan", &adapter, ADAPTER, "StartDiscovery", &())
            .await
        {
            // A scan of ours that was not stopped.
            Err(error) if !error.is("InProgress") => return Err(failed(&error, During::Looking)),
            _ => {}
        }
        let path = format!("{adapter}/dev_{}", address.to_string().replace(':', "_"));
        let known = loop {
            match self.device(&path).await {
                Ok(device) if device.values.contains_key("RSSI") || device.flag("Connected") => {
                    break Known {
                        paired: device.flag("Paired"),
                        path,
                    };
                }
                Err(error) if error.meaning(During::Looking) == Some(Failure::NoBluetooth) => {
                    return Err(Failure::NoBluetooth);
                }
                // Not here yet.
                _ => sleep(LOOK_EVERY).await,
            }
        };
        self.stop_scan(&adapter).await;
        Ok(known)
    }

    async fn stop_scan(&self, adapter: &str) {
        // Connecting while scanning fails on some adapters; one that does not scan says so by an error.
        if let Err(error) = self.call("stop a scan", adapter, ADAPTER, "StopDiscovery", &()).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "scan was not stopped");
        }
    }

    pub(super) async fn pair(&self, path: &str) -> Result<(), Failure> {
        match self.call("pair", path, DEVICE, "Pair", &()).await {
            Ok(_) => Ok(()),
            Err(error) => error.failure(During::Pairing).map_or(Ok(()), Err),
        }
    }

    pub(super) async fn trust(&self, path: &str) -> Result<(), Failure> {
        let body = (DEVICE, "Trusted", Variant::from(true));
        self.call("trust the meter", path, PROPERTIES, "Set", &body)
            .await
            .map(drop)
            .map_err(|error| failed(&error, During::Reading))
    }

    /// What the meter says about itself. A meter that leaves right after the pairing is connected again.
    ///
    /// # Errors
    /// When it does not come back, so that nothing could be asked.
    pub(super) async fn read(&self, path: &str) -> Result<Details, Failure> {
        let mut read = None;
        let mut last = Failure::NoAnswer;
        for round in 0..CONNECT_TRIES {
            if round > 0 {
                sleep(CONNECT_PAUSE).await;
            }
            match self.read_once(path).await {
                Ok(details) if details.model.is_empty() && details.about == About::default() && round == 0 => {
                    // Perhaps it left in the middle.
                    read = Some(details);
                }
                Ok(details) => return Ok(details),
                Err(failure @ (Failure::BondLost | Failure::NoBluetooth | Failure::AdapterOff)) => return Err(failure),
                Err(failure) => last = failure,
            }
        }
        read.ok_or(last)
    }

    /// What the service knows of a meter that was paired a moment ago and does not come back: what it advertised.
    pub(super) async fn recall(&self, path: &str) -> Result<Details, Failure> {
        let device = self
            .device(path)
            .await
            .map_err(|error| failed(&error, During::Reading))?;
        recalled(&device)
    }

    async fn read_once(&self, path: &str) -> Result<Details, Failure> {
        let reading = |error: CallError| failed(&error, During::Reading);
        let mut device = self.device(path).await.map_err(reading)?;
        if !device.flag("Connected") {
            self.call("connect the meter", path, DEVICE, "Connect", &())
                .await
                .map_err(reading)?;
        }
        let until = Instant::now() + RESOLVE_LIMIT;
        let table = loop {
            device = self.device(path).await.map_err(reading)?;
            if device.flag("ServicesResolved") {
                break self.table(path).await.map_err(reading)?;
            }
            if !device.flag("Connected") || Instant::now() >= until {
                break Table::default();
            }
            sleep(LOOK_EVERY).await;
        };
        let mut texts = HashMap::new();
        for characteristic in [
            uuid16::MANUFACTURER_NAME,
            uuid16::MODEL_NUMBER,
            uuid16::SERIAL_NUMBER,
            uuid16::FIRMWARE_REVISION,
        ] {
            if let Some(at) = table.find(Some(uuid16::DEVICE_INFORMATION_SERVICE), characteristic) {
                texts.insert(characteristic, self.text_at(at).await?);
            }
        }
        // The keys may be written down a moment after the pairing.
        device = self.device(path).await.map_err(reading)?;
        details(&device, &table, &texts).ok_or(Failure::NoAnswer)
    }

    async fn table(&self, path: &str) -> Result<Table, CallError> {
        let until = Instant::now() + OBJECTS_LAG;
        loop {
            let table = Table::of(&self.objects().await?, path);
            if !table.services.is_empty() || Instant::now() >= until {
                return Ok(table);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// One text of the Device Information Service; empty where it cannot be read, which is no reason to give up.
    async fn text_at(&self, path: &str) -> Result<String, Failure> {
        let bytes = self.value_at("read a text of the meter", path).await?;
        let bytes = bytes.get(..MAX_TEXT_BYTES).unwrap_or(&bytes);
        let text = String::from_utf8_lossy(bytes);
        // Some meters pad with zeros, and some leave rubbish behind them.
        Ok(text.split('\0').next().unwrap_or_default().trim().to_owned())
    }

    /// A value; empty where it cannot be read.
    pub(super) async fn value_at(&self, attempt: &'static str, path: &str) -> Result<Vec<u8>, Failure> {
        let options: HashMap<&str, Variant<'_>> = HashMap::new();
        let asked = self.call(attempt, path, CHARACTERISTIC, "ReadValue", &options);
        match timeout(VALUE_LIMIT, asked).await {
            Ok(Ok(reply)) => Ok(reply.body().deserialize().unwrap_or_default()),
            Ok(Err(error)) => match error.failure(During::Reading) {
                Some(failure @ (Failure::BondLost | Failure::NoBluetooth)) => Err(failure),
                _ => Ok(Vec::new()),
            },
            Err(_) => Ok(Vec::new()),
        }
    }

    /// Writes a value with response.
    pub(super) async fn write(&self, path: &str, value: &[u8]) -> Result<(), Failure> {
        let options: HashMap<&str, Variant<'_>> = HashMap::from([("type", Variant::from("request"))]);
        let written = self
            .call(
                "set the meter's clock",
                path,
                CHARACTERISTIC,
                "WriteValue",
                &(value, options),
            )
            .await;
        match written {
            Ok(_) => Ok(()),
            // 0x80: it took part of it, and ignored what it does not have (Current Time Service 1.1, section 3.1.1).
            Err(error) if error.message.ends_with("0x80") => Ok(()),
            Err(error) => Err(failed(&error, During::Reading)),
        }
    }

    pub(super) async fn disconnect(&self, path: &str) {
        if let Err(error) = self.call("disconnect the meter", path, DEVICE, "Disconnect", &()).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "meter was not disconnected");
        }
    }

    pub(super) async fn remove(&self, path: &str) -> Result<(), Failure> {
        let adapter = path.rsplit_once('/').map_or("", |(adapter, _)| adapter);
        match self
            .call("remove a device", adapter, ADAPTER, "RemoveDevice", &object(path))
            .await
        {
            Ok(_) => Ok(()),
            Err(error) => error.failure(During::Removing).map_or(Ok(()), Err),
        }
    }

    /// Stops whatever a pairing began.
    pub(super) async fn abandon(&self, path: Option<&str>, pairing: bool, remove: bool) -> Result<(), Failure> {
        if let Ok(objects) = self.objects().await {
            for (adapter, _) in objects
                .iter()
                .filter(|(_, interfaces)| interfaces.contains_key(ADAPTER))
            {
                self.stop_scan(adapter.as_str()).await;
            }
        }
        let Some(path) = path else { return Ok(()) };
        if pairing
            && let Err(error) = self
                .call("break the pairing off", path, DEVICE, "CancelPairing", &())
                .await
        {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "there was no pairing to break off"
            );
        }
        if remove {
            self.remove(path).await
        } else {
            self.disconnect(path).await;
            Ok(())
        }
    }
}

/// Of a device's objects, of which each adapter has its own: the one with the bond, and then the first by its path.
fn foremost(known: impl Iterator<Item = Known>) -> Option<Known> {
    known.min_by(|a, b| b.paired.cmp(&a.paired).then_with(|| a.path.cmp(&b.path)))
}

fn failed(error: &CallError, during: During) -> Failure {
    error.failure(during).unwrap_or(Failure::Other)
}

fn object(path: &str) -> ObjectPath<'_> {
    // What comes from the Bluetooth service is a path already, and the rest are constants.
    ObjectPath::try_from(path).unwrap_or_default()
}

#[cfg(test)]
mod tests;
