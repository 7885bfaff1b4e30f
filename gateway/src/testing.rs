//! A small shop for unit tests: two members, three meters, their packets, and a spool in a folder of its own.

use std::path::Path;
use std::sync::Arc;

use carepost_contract::v1::{Delta, DownGrant, DownMember, Epoch, Snapshot, WireReading};
use carepost_daemon::{Clock, Entropy, ManualClock};
use carepost_domain::Id;
use carepost_domain::id::{MemberId, StoreId};
use carepost_domain::meter::{Address, AddressType, Binding, Meter, MeterKind, MeterRole, meter_id};
use carepost_gatt::blood_pressure::{self, PressureUnit, UserId};
use carepost_gatt::glucose::{Concentration, ConcentrationUnit, Context, Meal, SampleLocation, SampleType};
use carepost_gatt::{Decimal, MedFloat, glucose};
use chrono::{DateTime, Datelike as _, TimeDelta, Timelike as _, Utc};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tempfile::TempDir;
use uuid::Uuid;

use crate::admit::{Pass, settle_pending};
use crate::clock_trust::ClockTrust;
use crate::config::{ClockSettings, Kiosk};
use crate::sitting::Desk;
use crate::spool::{
    AsDecided, Capture, Decided, LinkClock, LinkEnd, LinkId, NewPacket, Recovered, Settlement, Spool, SpoolRow, unpack,
};

/// Decisions about packets without a context, ready to be written down.
pub(crate) fn decided(decisions: impl AsRef<[(SpoolRow, Settlement)]>) -> Decided {
    let as_decided = |(row, settlement): &(SpoolRow, Settlement)| {
        let packet = AsDecided {
            row: *row,
            context_raw: None,
        };
        (packet, settlement.clone())
    };
    Decided::new(decisions.as_ref().iter().map(as_decided).collect()).unwrap()
}

/// Noon in the shop.
pub(crate) fn noon() -> DateTime<Utc> {
    "2026-10-15T04:00:00Z".parse().unwrap()
}

/// Minutes from noon.
pub(crate) fn at(minutes: i64) -> DateTime<Utc> {
    noon() + TimeDelta::minutes(minutes)
}

pub(crate) fn id<T>(n: u128) -> Id<T> {
    Id::from_uuid(Uuid::from_u128(n))
}

pub(crate) fn epoch(n: u64) -> Epoch {
    Epoch::from_bytes(n.to_be_bytes())
}

/// Has consented.
pub(crate) fn alice() -> MemberId {
    id(0xA)
}

/// Has not.
pub(crate) fn bob() -> MemberId {
    id(0xB)
}

pub(crate) fn store() -> StoreId {
    id(1)
}

fn meter(last: u8, kind: MeterKind, role: MeterRole, multi_user: bool) -> Meter {
    let address = Address::new([0xC4, 0xDE, 0, 0, 0, last]);
    Meter {
        id: meter_id(address, AddressType::Public),
        address,
        address_type: AddressType::Public,
        kind,
        role,
        store: store(),
        model: "T".to_owned(),
        multi_user,
        about: carepost_domain::meter::About::default(),
    }
}

pub(crate) fn store_cuff() -> Meter {
    meter(1, MeterKind::BloodPressure, MeterRole::StoreShared, false)
}

/// Alice's.
pub(crate) fn glucose_meter() -> Meter {
    meter(2, MeterKind::Glucose, MeterRole::Personal, false)
}

/// Slot 1 is Alice's, slot 2 Bob's.
pub(crate) fn home_cuff() -> Meter {
    meter(3, MeterKind::BloodPressure, MeterRole::Personal, true)
}

/// Alice's, without user slots.
pub(crate) fn plain_cuff() -> Meter {
    meter(4, MeterKind::BloodPressure, MeterRole::Personal, false)
}

pub(crate) fn binding(n: u128, meter: &Meter, member: MemberId, slot: Option<u8>) -> Binding {
    Binding {
        id: id(n),
        meter: meter.id,
        member,
        slot,
        valid_from: at(-60 * 24 * 60),
        valid_to: None,
        only_ever_this_person: false,
    }
}

pub(crate) fn grant(n: u128, member: MemberId) -> DownGrant {
    DownGrant {
        id: id(n),
        member,
        granted_at: at(-30 * 24 * 60),
        withdrawn_at: None,
        expires_at: None,
        includes_history: false,
    }
}

pub(crate) fn withdrawn(mut grant: DownGrant, when: DateTime<Utc>) -> DownGrant {
    grant.withdrawn_at = Some(when);
    grant
}

pub(crate) fn snapshot() -> Snapshot {
    let member = |id, code: &str| DownMember {
        id,
        code: code.parse().unwrap(),
        masked_name: format!("{code}**"),
    };
    Snapshot {
        version: 1,
        part: 0,
        last: true,
        store: store(),
        zone: "Asia/Shanghai".to_owned(),
        members: vec![member(alice(), "ALICE"), member(bob(), "BOBB")],
        meters: vec![store_cuff(), glucose_meter(), home_cuff(), plain_cuff()],
        bindings: vec![
            binding(101, &glucose_meter(), alice(), None),
            binding(102, &home_cuff(), alice(), Some(1)),
            binding(103, &home_cuff(), bob(), Some(2)),
            binding(104, &plain_cuff(), alice(), None),
        ],
        grants: vec![grant(201, alice())],
    }
}

pub(crate) fn delta(previous: u64, grants: Vec<DownGrant>) -> Delta {
    Delta {
        previous,
        version: previous + 1,
        members: Vec::new(),
        meters: Vec::new(),
        bindings: Vec::new(),
        grants,
    }
}

/// What a right meter's clock shows in the shop's zone.
pub(crate) fn shown(when: DateTime<Utc>) -> carepost_gatt::DateTime {
    let local = when.with_timezone(&chrono_tz::Asia::Shanghai).naive_local();
    let part = |n: u32| u8::try_from(n).unwrap();
    carepost_gatt::DateTime::new(
        u16::try_from(local.year()).unwrap(),
        part(local.month()),
        part(local.day()),
        part(local.hour()),
        part(local.minute()),
        part(local.second()),
    )
}

fn number(n: i64) -> MedFloat {
    MedFloat::Number(Decimal::new(n, 0))
}

/// A cuff's record; without `when`, of a cuff without a clock.
pub(crate) fn pressure(systolic: i64, when: Option<DateTime<Utc>>, slot: Option<u8>) -> Vec<u8> {
    blood_pressure::Measurement {
        unit: PressureUnit::MmHg,
        systolic: number(systolic),
        diastolic: number(80),
        map: MedFloat::NaN,
        timestamp: when.map(shown),
        pulse: Some(number(70)),
        user_id: slot.map(UserId::Known),
        status: None,
        rfu_flags: 0,
    }
    .encode()
    .unwrap()
}

/// A cuff's word that the measurement failed.
pub(crate) fn failed_pressure(when: DateTime<Utc>, slot: Option<u8>) -> Vec<u8> {
    let mut bytes = pressure(120, Some(when), slot);
    // The first pressure becomes NaN, 0x07FF.
    bytes[1..3].copy_from_slice(&[0xFF, 0x07]);
    bytes
}

pub(crate) fn glucose(sequence: u16, when: DateTime<Utc>, context_follows: bool) -> Vec<u8> {
    glucose::Measurement {
        sequence,
        base_time: shown(when),
        time_offset: None,
        concentration: Some(Concentration {
            unit: ConcentrationUnit::MolPerL,
            value: MedFloat::Number(Decimal::new(61, -4)),
            sample_type: SampleType::CapillaryWholeBlood,
            sample_location: SampleLocation::Finger,
        }),
        status: None,
        context_follows,
        rfu_flags: 0,
    }
    .encode()
    .unwrap()
}

pub(crate) fn fasting(sequence: u16) -> Vec<u8> {
    Context {
        meal: Some(Meal::Fasting),
        ..Context::empty(sequence)
    }
    .encode()
    .unwrap()
}

pub(crate) fn packet(link: LinkId, meter: &Meter, raw: Vec<u8>, received_at: DateTime<Utc>) -> NewPacket {
    let characteristic = meter.kind.characteristic();
    NewPacket {
        link,
        meter: meter.id,
        characteristic,
        raw,
        received_at,
        clock_trusted: true,
        sitting: None,
        nonce: 7,
    }
}

/// A spool with its surroundings.
pub(crate) struct Bench {
    pub(crate) folder: Arc<TempDir>,
    pub(crate) spool: Spool,
    pub(crate) desk: Desk,
    pub(crate) clock: Clock,
    pub(crate) hands: ManualClock,
    pub(crate) entropy: Entropy,
    pub(crate) trust: ClockTrust,
    pub(crate) recovered: Recovered,
    /// How far the worker has settled everything.
    through: tokio::sync::Mutex<Option<SpoolRow>>,
}

impl Bench {
    /// An empty spool, with the shop's snapshot applied, at noon.
    pub(crate) async fn new() -> Self {
        let bench = Self::open(Arc::new(tempfile::tempdir().unwrap()), noon()).await;
        bench.spool.apply_snapshot(&snapshot(), noon()).await.unwrap();
        bench
    }

    async fn open(folder: Arc<TempDir>, now: DateTime<Utc>) -> Self {
        let (clock, hands) = Clock::manual(now);
        let entropy = Entropy::seeded(1);
        let (spool, recovered) = Spool::open(folder.path(), now).await.unwrap();
        let settings = ClockSettings {
            synchronised_marker: "".into(),
            ..ClockSettings::default()
        };
        let trust = ClockTrust::new(clock.clone(), &settings);
        trust.note_server_time(now);
        let desk = Desk::open(
            spool.clone(),
            clock.clone(),
            entropy.clone(),
            trust.clone(),
            &Kiosk::default(),
        )
        .await
        .unwrap();
        Self {
            folder,
            spool,
            desk,
            clock,
            hands,
            entropy,
            trust,
            recovered,
            through: tokio::sync::Mutex::default(),
        }
    }

    /// The same folder after an orderly stop.
    pub(crate) async fn reopen(self) -> Self {
        self.spool.close().await;
        let now = self.clock.now();
        Self::open(self.folder, now).await
    }

    /// Another spool, made of the files as a power cut would leave them now.
    pub(crate) async fn crash_image(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["spool.sqlite", "spool.sqlite-wal"] {
            let from = self.folder.path().join(name);
            if from.exists() {
                std::fs::copy(from, folder.path().join(name)).unwrap();
            }
        }
        Self::open(Arc::new(folder), self.clock.now()).await
    }

    /// A link to a meter whose clock cannot be read.
    pub(crate) async fn link(&self, meter: &Meter) -> LinkId {
        let link = self.link_unread(meter).await;
        let clock = Capture::Clock {
            link,
            clock: LinkClock::Unknown,
            feature: None,
        };
        self.spool.capture(&[clock]).await.unwrap();
        link
    }

    /// A link of whose clock nothing is known yet.
    pub(crate) async fn link_unread(&self, meter: &Meter) -> LinkId {
        self.spool
            .open_link(meter.id, meter.kind, self.clock.now())
            .await
            .unwrap()
    }

    /// Captures one packet over a link.
    pub(crate) async fn heard(&self, link: LinkId, meter: &Meter, raw: Vec<u8>) -> crate::spool::Captured {
        let item = Capture::Keep(packet(link, meter, raw, self.clock.now()));
        self.spool.capture(&[item]).await.unwrap()[0]
    }

    /// A link over which a meter gave all that it held, one record, with nothing to follow; settled.
    pub(crate) async fn emptied(&self, meter: &Meter, raw: Vec<u8>) {
        let link = self.link(meter).await;
        self.heard(link, meter, raw).await;
        self.closed(link, LinkEnd::Clean).await;
        self.settle().await;
    }

    /// Ends a link now.
    pub(crate) async fn closed(&self, link: LinkId, end: LinkEnd) {
        let trusted = self.trust.is_trusted();
        self.spool
            .close_link(link, end, self.clock.now(), trusted)
            .await
            .unwrap();
    }

    /// One pass of the worker.
    pub(crate) async fn settle(&self) -> u64 {
        self.pass().await.settled
    }

    /// One pass of the worker, and when it wants to look again.
    pub(crate) async fn pass(&self) -> Pass {
        let mut through = self.through.lock().await;
        settle_pending(&self.spool, &self.desk, &self.clock, &mut through)
            .await
            .unwrap()
    }

    pub(crate) async fn status(&self) -> crate::spool::SpoolStatus {
        self.spool.status().await.unwrap()
    }

    /// Readings in the outbox, in their order.
    pub(crate) async fn outbox(&self) -> Vec<WireReading> {
        let mut connection = self.another_connection().await;
        let rows: Vec<Vec<u8>> = sqlx::query_scalar("SELECT reading FROM outbox WHERE reading IS NOT NULL ORDER BY id")
            .fetch_all(&mut connection)
            .await
            .unwrap();
        rows.iter().map(|packed| unpack(packed).unwrap()).collect()
    }

    /// Rows of a table.
    pub(crate) async fn rows(&self, table: &'static str) -> i64 {
        let mut connection = self.another_connection().await;
        let statement = match table {
            "links" => "SELECT count(*) FROM links",
            "spool" => "SELECT count(*) FROM spool",
            other => panic!("{other} is not counted"),
        };
        sqlx::query_scalar(statement).fetch_one(&mut connection).await.unwrap()
    }

    async fn another_connection(&self) -> SqliteConnection {
        let path = self.folder.path().join("spool.sqlite");
        SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path))
            .await
            .unwrap()
    }

    /// Keeps everybody else from writing to the spool until the connection is closed.
    pub(crate) async fn lock(&self) -> SqliteConnection {
        let mut connection = self.another_connection().await;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
        connection
    }

    /// Whether the bytes are anywhere in the folder's files.
    pub(crate) fn holds(&self, needle: &[u8]) -> bool {
        holds(self.folder.path(), needle)
    }
}

fn holds(folder: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}
