//! A small pharmacy to test with: a store, its gateway, a pharmacist, members with meters, and readings from real bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use carepost_domain::care::rule_set::RuleSet;
use carepost_domain::consent::{Grant, Purpose};
use carepost_domain::id::{BindingId, GatewayId, MemberId, MeterId, SittingId, StaffId, StoreId};
use carepost_domain::meter::{About, Address, AddressType, Meter, MeterKind, MeterRole, meter_id};
use carepost_domain::people::{Condition, Member, Sex};
use carepost_domain::quirks::DecodeQuirks;
use carepost_domain::reading::{Attribution, Place, Reading};
use carepost_domain::record::{Packet, decode};
use carepost_domain::time::{MeasuredTime, TimeQuality};
use carepost_domain::{Id, Phi};
use carepost_store::model::{
    Actor, BindingRequest, By, Channel, Incoming, IncomingItem, IngestOutcome, Lane, NewGateway, NewGrant, NewStaff,
    StaffRole, StoreSite,
};
use carepost_store::testing::Cluster;
use carepost_store::{Store, StoreConfig};
use chrono::{DateTime, Datelike, NaiveDateTime, TimeDelta, Timelike, Utc};
use uuid::Uuid;

pub(crate) const EPOCH: &str = "00000000000000e1";

/// A database, and the pharmacy in it.
pub(crate) struct Bench {
    pub(crate) store: Store,
    pub(crate) rules: RuleSet,
    pub(crate) now: DateTime<Utc>,
    pub(crate) site: StoreId,
    pub(crate) gateway: GatewayId,
    pub(crate) pharmacist: StaffId,
    pub(crate) member: MemberId,
    pub(crate) cuff: MeterId,
    pub(crate) glucometer: MeterId,
    pub(crate) shared_cuff: MeterId,
    _folder: Option<Arc<tempfile::TempDir>>,
}

pub(crate) fn id<T>(n: u128) -> Id<T> {
    Id::from_uuid(Uuid::from_u128(n))
}

pub(crate) fn minutes(n: i64) -> TimeDelta {
    TimeDelta::minutes(n)
}

pub(crate) fn at(text: &str) -> DateTime<Utc> {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S")
        .unwrap()
        .and_utc()
}

/// A database file of its own.
pub(crate) async fn sqlite() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("care.db").display());
    let mut bench = Bench::new(Store::open(&StoreConfig::new(url)).await.unwrap()).await;
    bench._folder = Some(Arc::new(folder));
    bench
}

/// A cluster, for as long as it is held.
pub(crate) struct Postgres(Cluster);

impl Postgres {
    pub(crate) async fn start() -> Self {
        Self(
            Cluster::start()
                .await
                .unwrap_or_else(|error| panic!("{error}: {error:?}")),
        )
    }

    pub(crate) async fn bench(&self) -> Bench {
        let url = self.0.database().await.unwrap();
        Bench::new(Store::open(&StoreConfig::new(url)).await.unwrap()).await
    }
}

impl Bench {
    async fn new(store: Store) -> Self {
        let now = at("2026-10-15 02:00:00");
        let by = By::system(now);
        let site = id(0x51);
        store
            .add_store(
                &by,
                &StoreSite {
                    id: site,
                    name: "East".to_owned(),
                    zone: chrono_tz::Asia::Shanghai,
                },
            )
            .await
            .unwrap();
        let bench = Self {
            store,
            rules: RuleSet::cn_2024(),
            now,
            site,
            gateway: id(0x61),
            pharmacist: id(0x71),
            member: id(0x81),
            cuff: meter(1, MeterKind::BloodPressure, MeterRole::Personal, site).id,
            glucometer: meter(2, MeterKind::Glucose, MeterRole::Personal, site).id,
            shared_cuff: meter(3, MeterKind::BloodPressure, MeterRole::StoreShared, site).id,
            _folder: None,
        };
        bench.enrol(bench.gateway, site).await;
        bench.hire(bench.pharmacist, "wang").await;
        bench
            .join(
                bench.member,
                "CP-0001",
                vec![Condition::Hypertension, Condition::Diabetes],
            )
            .await;
        bench
            .consent(bench.member, Purpose::CareRecord, 0x91, now - TimeDelta::days(400))
            .await;
        for meter in [
            meter(1, MeterKind::BloodPressure, MeterRole::Personal, site),
            meter(2, MeterKind::Glucose, MeterRole::Personal, site),
            meter(3, MeterKind::BloodPressure, MeterRole::StoreShared, site),
        ] {
            bench.store.register_meter(&by, &meter).await.unwrap();
        }
        bench.bind(bench.cuff, bench.member, 0xA1).await;
        bench.bind(bench.glucometer, bench.member, 0xA2).await;
        bench
    }

    pub(crate) fn by(&self) -> By {
        By::staff(self.pharmacist, self.now)
    }

    pub(crate) async fn enrol(&self, gateway: GatewayId, store: StoreId) {
        let new = NewGateway {
            id: gateway,
            store,
            name: format!("gateway {gateway}"),
            public_key: [7; 32],
        };
        // Long ago, so that what it says of the last days may be believed.
        let then = By::system(self.now - TimeDelta::days(100));
        self.store.add_gateway(&then, &new).await.unwrap();
    }

    pub(crate) async fn hire(&self, staff: StaffId, login: &str) {
        let new = NewStaff {
            id: staff,
            login: login.to_owned(),
            name: format!("{login} of East"),
            role: StaffRole::Pharmacist,
            store: self.site,
            password_hash: "$argon2id$test".to_owned(),
        };
        self.store.add_staff(&By::system(self.now), &new).await.unwrap();
    }

    pub(crate) async fn join(&self, member: MemberId, code: &str, conditions: Vec<Condition>) {
        self.store
            .add_member(&self.by(), &self.person(member, code, conditions))
            .await
            .unwrap();
    }

    pub(crate) fn person(&self, member: MemberId, code: &str, conditions: Vec<Condition>) -> Member {
        Member {
            id: member,
            code: code.parse().unwrap(),
            name: Phi::new("王秀英".to_owned()),
            birth_year: 1958,
            sex: Sex::Female,
            phone: Some(Phi::new("13800000000".to_owned())),
            home_store: self.site,
            conditions,
            drugs: Vec::new(),
        }
    }

    pub(crate) fn new_grant(&self, member: MemberId, purpose: Purpose, n: u128, from: DateTime<Utc>) -> NewGrant {
        NewGrant {
            grant: Grant {
                id: id(n),
                member,
                purpose,
                text_version: "2026-01".to_owned(),
                granted_at: from,
                withdrawn_at: None,
                expires_at: None,
                includes_history: false,
            },
            text_hash: [9; 32],
            channel: Channel::Staff,
            store: self.site,
            witness: Some(self.pharmacist),
        }
    }

    pub(crate) async fn consent(&self, member: MemberId, purpose: Purpose, n: u128, from: DateTime<Utc>) {
        self.store
            .grant(&self.by(), &self.new_grant(member, purpose, n, from))
            .await
            .unwrap();
    }

    pub(crate) fn binding(&self, meter: MeterId, member: MemberId, n: u128) -> BindingRequest {
        BindingRequest {
            id: id(n),
            meter,
            member,
            slot: None,
            valid_from: self.now - TimeDelta::days(800),
            only_ever_this_person: false,
        }
    }

    pub(crate) async fn bind(&self, meter: MeterId, member: MemberId, n: u128) {
        self.store
            .bind_meter(&self.by(), &self.binding(meter, member, n))
            .await
            .unwrap();
    }

    /// A second member with consent and a glucose meter of their own.
    pub(crate) async fn second_member(&self) -> (MemberId, MeterId) {
        let member = id(0x82);
        self.join(member, "CP-0002", vec![Condition::Diabetes]).await;
        self.consent(member, Purpose::CareRecord, 0x92, self.now - TimeDelta::days(400))
            .await;
        let theirs = meter(4, MeterKind::Glucose, MeterRole::Personal, self.site);
        self.store.register_meter(&self.by(), &theirs).await.unwrap();
        self.bind(theirs.id, member, 0xA4).await;
        (member, theirs.id)
    }

    pub(crate) fn batch(&self, first_seq: u64, items: Vec<IncomingItem>) -> Incoming {
        Incoming {
            gateway: self.gateway,
            epoch: EPOCH.to_owned(),
            lane: Lane::Live,
            settled_seen: 0,
            first_seq,
            items,
        }
    }

    pub(crate) async fn ingest(&self, incoming: &Incoming) -> IngestOutcome {
        self.store.ingest_batch(incoming, &self.rules, self.now).await.unwrap()
    }

    /// Sends readings in a fresh epoch, so that numbers begin at 1.
    pub(crate) async fn send(&self, items: Vec<IncomingItem>) -> IngestOutcome {
        static EPOCHS: AtomicU32 = AtomicU32::new(1);
        let mut incoming = self.batch(1, items);
        incoming.epoch = format!("{:016x}", EPOCHS.fetch_add(1, Ordering::Relaxed));
        self.ingest(&incoming).await
    }

    /// A home reading of the member's own cuff.
    pub(crate) fn bp(&self, systolic: u16, diastolic: u16, measured: DateTime<Utc>) -> IncomingItem {
        self.bp_of(self.member, self.cuff, 0xA1, systolic, diastolic, measured)
    }

    pub(crate) fn bp_of(
        &self,
        member: MemberId,
        cuff: MeterId,
        binding: u128,
        systolic: u16,
        diastolic: u16,
        measured: DateTime<Utc>,
    ) -> IncomingItem {
        let attribution = Attribution::Binding {
            binding: id::<carepost_domain::meter::Binding>(binding),
        };
        self.item(
            member,
            cuff,
            attribution,
            Place::Home,
            measured,
            0x2A35,
            bp_bytes(systolic, diastolic, measured),
        )
    }

    /// A reading of the store's own cuff in a sitting.
    pub(crate) fn store_bp(&self, systolic: u16, diastolic: u16, measured: DateTime<Utc>) -> IncomingItem {
        let sitting: SittingId = id(0xB1);
        let bytes = bp_bytes(systolic, diastolic, measured);
        let attribution = Attribution::Sitting { sitting };
        self.item(
            self.member,
            self.shared_cuff,
            attribution,
            Place::Store,
            measured,
            0x2A35,
            bytes,
        )
    }

    /// A glucose value in tenths of a mmol/L of the member's own meter.
    pub(crate) fn glucose(&self, tenths: u16, number: u16, measured: DateTime<Utc>) -> IncomingItem {
        self.glucose_of(self.member, self.glucometer, 0xA2, tenths, number, measured)
    }

    pub(crate) fn glucose_of(
        &self,
        member: MemberId,
        meter: MeterId,
        binding: u128,
        tenths: u16,
        number: u16,
        measured: DateTime<Utc>,
    ) -> IncomingItem {
        let binding: BindingId = id(binding);
        let bytes = glucose_bytes(tenths, number, measured);
        self.item(
            member,
            meter,
            Attribution::Binding { binding },
            Place::Home,
            measured,
            0x2A18,
            bytes,
        )
    }

    /// A home reading of one of the member's other meters, from its bytes.
    pub(crate) fn other(
        &self,
        (meter, binding): (MeterId, u128),
        kind: MeterKind,
        raw: Vec<u8>,
        measured: DateTime<Utc>,
    ) -> IncomingItem {
        let binding: BindingId = id(binding);
        let attribution = Attribution::Binding { binding };
        let characteristic = kind.characteristic();
        self.item(
            self.member,
            meter,
            attribution,
            Place::Home,
            measured,
            characteristic,
            raw,
        )
    }

    #[expect(clippy::too_many_arguments, reason = "a reading has that many sides")]
    fn item(
        &self,
        member: MemberId,
        meter: MeterId,
        attribution: Attribution,
        place: Place,
        measured: DateTime<Utc>,
        characteristic: u16,
        raw: Vec<u8>,
    ) -> IncomingItem {
        let captured_at = measured + TimeDelta::seconds(5);
        let packet = Packet {
            meter,
            characteristic,
            raw: &raw,
            context_raw: None,
            received_at: captured_at,
            nonce: 0,
            quirks: DecodeQuirks::NONE,
        };
        let record = decode(&packet).unwrap();
        let judged = record.judged.unwrap();
        let reading = Reading {
            id: record.id,
            member,
            meter,
            attribution,
            place,
            time: MeasuredTime {
                at: measured,
                quality: TimeQuality::MeterOk,
                meter_local: Some(local(measured)),
                correction_s: 0,
                gateway_clock_unsure: false,
            },
            captured_at,
            measurement: judged.measurement,
            flags: judged.flags,
            slot: record.slot,
            characteristic,
            raw,
            context_raw: None,
            quirk: None,
        };
        IncomingItem::Reading {
            reading: Box::new(reading),
            nonce: 0,
        }
    }

    pub(crate) async fn audit_actions(&self, member: MemberId) -> Vec<String> {
        let rows = self
            .store
            .audit_of(&By::new(Actor::System, self.now), member, 500)
            .await
            .unwrap();
        rows.into_iter().map(|row| row.action).collect()
    }
}

pub(crate) fn meter(n: u8, kind: MeterKind, role: MeterRole, store: StoreId) -> Meter {
    let address = Address::new([0xC0, 0x26, 0xDF, 0, 0, n]);
    Meter {
        id: meter_id(address, AddressType::Public),
        address,
        address_type: AddressType::Public,
        kind,
        role,
        store,
        model: "test".to_owned(),
        multi_user: false,
        about: About::default(),
    }
}

pub(crate) fn reading_of(item: &IncomingItem) -> &Reading {
    match item {
        IncomingItem::Reading { reading, .. } => reading,
        IncomingItem::Void | IncomingItem::Malformed { .. } => panic!("not a reading"),
    }
}

pub(crate) fn change(item: IncomingItem, edit: impl FnOnce(&mut Reading)) -> IncomingItem {
    match item {
        IncomingItem::Reading { mut reading, nonce } => {
            edit(&mut reading);
            IncomingItem::Reading { reading, nonce }
        }
        other => other,
    }
}

/// What a meter in Shanghai shows.
fn local(measured: DateTime<Utc>) -> NaiveDateTime {
    measured.with_timezone(&chrono_tz::Asia::Shanghai).naive_local()
}

pub(crate) fn date_bytes(measured: DateTime<Utc>) -> Vec<u8> {
    let local = local(measured);
    let mut bytes = u16::try_from(local.year()).unwrap().to_le_bytes().to_vec();
    for field in [local.month(), local.day(), local.hour(), local.minute(), local.second()] {
        bytes.push(u8::try_from(field).unwrap());
    }
    bytes
}

/// Blood Pressure Measurement with time stamp and pulse (page 3, section 2.2); SFLOATs with exponent 0.
fn bp_bytes(systolic: u16, diastolic: u16, measured: DateTime<Utc>) -> Vec<u8> {
    let mean = diastolic + (systolic - diastolic) / 3;
    let mut bytes = vec![0b0000_0110];
    for value in [systolic, diastolic, mean] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(date_bytes(measured));
    bytes.extend(72_u16.to_le_bytes());
    bytes
}

/// Glucose Measurement in mol/L (page 3, section 2.3); SFLOAT with exponent -4, capillary whole blood, finger.
fn glucose_bytes(tenths: u16, number: u16, measured: DateTime<Utc>) -> Vec<u8> {
    let mut bytes = vec![0b0000_0110];
    bytes.extend(number.to_le_bytes());
    bytes.extend(date_bytes(measured));
    bytes.extend((0xC000 | tenths).to_le_bytes());
    bytes.push(0x11);
    bytes
}
