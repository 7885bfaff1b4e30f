//! One adapter with the meter behind it.

use std::collections::BTreeSet;

use zbus::message::Message;

use crate::SimTime;
use crate::meters::{Meter, RecordId, Security, SecuritySettings, Uuid16};

/// Where something that bluetoothd has to be asked for stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Registration {
    #[default]
    Absent,
    /// Asked for, not answered.
    Asked,
    Standing,
    /// Asked to be taken back, not answered.
    Leaving,
}

/// The central that has the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Central {
    /// Path of its `Device1`.
    pub(crate) device: String,
    /// The meter has closed the link; bluetoothd takes its time to do so.
    pub(crate) closing: bool,
}

/// What bluetoothd waits for people at the meter to say.
#[derive(Debug)]
pub(crate) enum Question {
    /// The passkey that the central shows.
    Passkey(Message),
    /// Whether the number here is the one there.
    Confirmation(Message),
}

impl Question {
    /// The call that waits.
    pub(crate) fn call(&self) -> &Message {
        match self {
            Self::Passkey(call) | Self::Confirmation(call) => call,
        }
    }
}

/// A meter behind an adapter, and what bluetoothd has said of both.
#[derive(Debug)]
pub(crate) struct Post {
    /// Name of the meter in the control protocol.
    pub(crate) id: String,
    /// Name of the adapter, for example `hci1`.
    pub(crate) adapter: String,
    pub(crate) local_name: String,
    /// As configured, without profiles.
    pub(crate) plain_security: SecuritySettings,
    /// How it pairs. Bonds are bluetoothd's.
    pub(crate) security: Security,
    pub(crate) meter: Meter,
    /// Taken out of range: it neither advertises nor keeps a link.
    pub(crate) in_range: bool,
    /// Values that may still be sent before the link is dropped.
    pub(crate) drop_after: Option<u32>,
    /// The adapter's address, once bluetoothd has shown the adapter.
    pub(crate) address: Option<String>,
    pub(crate) powered: bool,
    /// Kept off by the control interface.
    pub(crate) switched_off: bool,
    pub(crate) application: Registration,
    pub(crate) advertisement: Registration,
    /// After a refusal: when to ask again.
    pub(crate) retry_at: SimTime,
    /// When to look again whether the meter still advertises.
    pub(crate) look_at: SimTime,
    pub(crate) central: Option<Central>,
    /// Characteristics with a client configuration, as far as bluetoothd has told. They outlive the link of a bond.
    pub(crate) notifying: BTreeSet<Uuid16>,
    /// An indication that waits for its confirmation, with its record.
    pub(crate) awaiting: Option<Option<RecordId>>,
    /// The number on the meter's display.
    pub(crate) shows: Option<u32>,
    /// What the meter asks people.
    pub(crate) question: Option<Question>,
    /// Whether bluetoothd was told to let centrals pair.
    pub(crate) pairable: bool,
    /// Devices with which bluetoothd has a bond.
    pub(crate) bonded: BTreeSet<String>,
}

impl Post {
    pub(crate) fn new(
        id: String,
        adapter: String,
        local_name: String,
        security: SecuritySettings,
        meter: Meter,
    ) -> Self {
        Self {
            plain_security: security.clone(),
            security: Security::new(security),
            id,
            adapter,
            local_name,
            meter,
            in_range: true,
            drop_after: None,
            address: None,
            powered: false,
            switched_off: false,
            application: Registration::Absent,
            advertisement: Registration::Absent,
            retry_at: SimTime::ZERO,
            look_at: SimTime::ZERO,
            central: None,
            notifying: BTreeSet::new(),
            awaiting: None,
            shows: None,
            question: None,
            pairable: true,
            bonded: BTreeSet::new(),
        }
    }

    /// The adapter's object.
    pub(crate) fn adapter_path(&self) -> String {
        format!("/org/bluez/{}", self.adapter)
    }

    /// Root of the objects that bluetoothd is given.
    pub(crate) fn root(&self) -> String {
        format!("{}/{}", super::objects::BASE, self.adapter)
    }

    pub(crate) fn advertisement_path(&self) -> String {
        format!("{}/advertisement", self.root())
    }

    /// Whether `path` is a device of this adapter, and not something below one.
    pub(crate) fn has_device(&self, path: &str) -> bool {
        path.strip_prefix(&self.adapter_path())
            .and_then(|rest| rest.strip_prefix("/dev_"))
            .is_some_and(|rest| !rest.contains('/'))
    }

    /// Whether the meter has a live link.
    pub(crate) fn is_linked(&self) -> bool {
        self.central.as_ref().is_some_and(|central| !central.closing)
    }

    /// Whether the adapter is there, and off without anybody's wish.
    pub(crate) fn wants_power(&self) -> bool {
        self.address.is_some() && !self.powered && !self.switched_off
    }

    /// The name that it says to be found.
    pub(crate) fn name(&self, now: SimTime) -> &str {
        let pairing_name = self.security.settings().pairing_name.as_str();
        if self.security.in_pairing_mode(now) && !pairing_name.is_empty() {
            pairing_name
        } else {
            &self.local_name
        }
    }

    /// bluetoothd has gone, or its adapter: nothing of it is left.
    pub(crate) fn forget(&mut self) {
        self.address = None;
        self.powered = false;
        self.application = Registration::Absent;
        self.advertisement = Registration::Absent;
        self.retry_at = SimTime::ZERO;
        self.notifying.clear();
        self.shows = None;
        self.question = None;
        self.pairable = true;
        self.bonded.clear();
    }
}
