//! A made-up evening in a made-up store, for the tests of the pages.

use std::collections::{BTreeMap, BTreeSet};

use carepost_domain::care::alert::{Acknowledgement, Alert, Condition as AlertCondition, RuleEvidence};
use carepost_domain::care::evaluate::Mark;
use carepost_domain::care::history::{Evidence, SymptomRecord, SymptomSource};
use carepost_domain::care::rule::{AppliedLimit, Rule, Severity};
use carepost_domain::care::rule_set::RuleSet;
use carepost_domain::care::session::{NextStep, SessionMean, SessionState};
use carepost_domain::care::task::{Task, TaskKey, TaskKind, TaskStatus};
use carepost_domain::consent::{Grant, Purpose};
use carepost_domain::id::{MemberId, StaffId};
use carepost_domain::people::{Condition, DrugClass, Member, Sex, Symptom};
use carepost_domain::reading::{
    Attribution, BloodPressure, Flag, Glucose, Measurement, OxygenSaturation, Place, Reading, Slot, Temperature,
    TemperatureSite, Weight,
};
use carepost_domain::time::{MeasuredTime, TimeQuality};
use carepost_domain::units::{
    Concentration, Degrees, GlucoseLevel, GlucoseUnit, Mass, Pressure, PressureUnit, PulseRate, TemperatureUnit,
    TenthsOfPercent, WeightUnit,
};
use carepost_domain::{Id, Phi};
use carepost_store::model::{
    Actor, AlertFile, AuditRow, Channel, GrantRecord, MemberFile, MemberRecord, Queue, QueueRow, QueueValue,
    SessionView, StoredReading, TrendPoint, TrendValue,
};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::catalogue::{Language, Texts};
use super::queue::view::Viewer;
use super::readings::Style;
use super::words::GlucoseDisplay;

/// 21:55 in Shanghai.
pub(crate) fn now() -> DateTime<Utc> {
    "2026-11-22T13:55:00Z".parse().unwrap()
}

pub(crate) fn ago(minutes: i64) -> DateTime<Utc> {
    now() - TimeDelta::minutes(minutes)
}

pub(crate) fn id<T>(n: u128) -> Id<T> {
    Id::from_uuid(Uuid::from_u128(n))
}

pub(crate) const ME: u128 = 900;
pub(crate) const COLLEAGUE: u128 = 901;

pub(crate) fn style() -> Style {
    Style {
        texts: Texts(Language::English),
        now: now(),
        zone: chrono_tz::Asia::Shanghai,
        display: GlucoseDisplay::default(),
    }
}

pub(crate) fn viewer(rules: &RuleSet, language: Language) -> Viewer<'_> {
    Viewer {
        texts: Texts(language),
        now: now(),
        zone: chrono_tz::Asia::Shanghai,
        me: id(ME),
        rules,
    }
}

pub(crate) fn pressure(systolic: i32, diastolic: i32) -> Measurement {
    Measurement::BloodPressure(BloodPressure {
        unit: PressureUnit::MmHg,
        systolic: Pressure::from_mmhg(systolic),
        diastolic: Pressure::from_mmhg(diastolic),
        mean_arterial: None,
        pulse: Some(PulseRate::from_per_min(76)),
        user_slot: None,
    })
}

pub(crate) fn glucose(milli: i64) -> Measurement {
    let level = GlucoseLevel::Value(Concentration {
        milli,
        unit: GlucoseUnit::MmolPerL,
    });
    Measurement::Glucose(Glucose { level, sequence: 1 })
}

/// A reading that took three hours to arrive, on a meter that was ninety seconds behind.
pub(crate) fn stored(
    n: u128,
    minutes_ago: i64,
    measurement: Measurement,
    flags: &[Flag],
    slot: Option<Slot>,
) -> StoredReading {
    let at = ago(minutes_ago);
    StoredReading {
        reading: Reading {
            id: id(n),
            member: id(1),
            meter: id(2),
            attribution: Attribution::Sitting { sitting: id(3) },
            place: Place::Home,
            time: MeasuredTime {
                at,
                quality: TimeQuality::SkewCorrected,
                meter_local: Some("2026-11-22T21:38:30".parse().unwrap()),
                correction_s: 90,
                gateway_clock_unsure: false,
            },
            captured_at: at,
            measurement,
            flags: flags.to_vec(),
            slot,
            characteristic: 0x2A35,
            raw: Vec::new(),
            context_raw: None,
            quirk: None,
        },
        received_at: at + TimeDelta::hours(3),
        gateway: id(4),
    }
}

/// The same, in the store and at once.
pub(crate) fn at_once(stored: StoredReading) -> StoredReading {
    let mut stored = stored;
    stored.reading.place = Place::Store;
    stored.received_at = stored.reading.time.at + TimeDelta::seconds(2);
    stored
}

pub(crate) fn session(n: u128, minutes_ago: i64, mean: Option<(i64, i64)>, readings: &[u128]) -> SessionView {
    let at = ago(minutes_ago);
    let readings: Vec<_> = readings.iter().map(|n| id(*n)).collect();
    SessionView {
        id: id(n),
        member: id(1),
        place: Place::Home,
        meter: None,
        state: if mean.is_some() {
            SessionState::Closed
        } else {
            SessionState::Unusable
        },
        mean: mean.map(|(systolic_mmhg, diastolic_mmhg)| SessionMean {
            systolic_mmhg,
            diastolic_mmhg,
            pulse_per_min: Some(76),
            readings: readings.len(),
        }),
        started: at,
        last: at,
        closes_at: at,
        used: if mean.is_some() { readings.clone() } else { Vec::new() },
        readings,
        severe: Vec::new(),
        doubts: Vec::new(),
        further_reading_missing: false,
        superseded: false,
        repeats: None,
        next: NextStep::Done,
    }
}

pub(crate) fn alert(n: u128, rule: Rule, severity: Severity, evidence_minutes_ago: i64) -> Alert {
    let rules = RuleSet::cn_2024();
    let limit = match rule {
        Rule::Bp02 | Rule::Bp03 => AppliedLimit::PressureAtLeast(rules.bp02.at_or_above),
        Rule::Bp05 => AppliedLimit::PressureAtLeast(rules.bp05.at_or_above),
        Rule::Bp06 => AppliedLimit::SystolicBelow {
            mmhg: rules.bp06.systolic_below_mmhg,
        },
        Rule::Sy01 => AppliedLimit::DangerSymptom,
        _ => AppliedLimit::PressureAtLeast(rules.bp04.at_or_above),
    };
    let evidence: BTreeSet<Evidence> = [Evidence::Reading(id(n * 10)), Evidence::Reading(id(n * 10 + 1))].into();
    let at = ago(evidence_minutes_ago);
    Alert {
        id: id(n),
        member: id(1),
        family: rule.family(),
        rule_set: rules.reference.clone(),
        rule,
        severity,
        limits: vec![limit],
        rules: BTreeMap::from([(
            rule,
            RuleEvidence {
                severity,
                evidence,
                last_evidence_at: at,
            },
        )]),
        marks: BTreeSet::new(),
        since: at,
        last_evidence_at: at,
        opened_at: at,
        changed_at: at,
        condition: AlertCondition::Active,
        acknowledged: None,
        contacted: BTreeSet::new(),
        owner: None,
        version: 3,
    }
}

pub(crate) fn task(n: u128, alert: &Alert, due_in_minutes: i64) -> Task {
    Task {
        id: id(n),
        key: TaskKey::from_stored(format!("alert/{n}")),
        member: alert.member,
        alert: alert.id,
        rule: alert.rule,
        kind: TaskKind::Call,
        severity: alert.severity,
        created_at: alert.opened_at,
        due_at: ago(-due_in_minutes),
        next_try_at: None,
        status: TaskStatus::Open,
        attempts: 0,
        unreachable: false,
        note: None,
        version: 1,
    }
}

pub(crate) fn taken(mut task: Task, by: u128) -> Task {
    task.status = TaskStatus::Taken { by: id(by), at: ago(3) };
    task
}

/// Thirty days of sessions, around these values.
pub(crate) fn trend(systolic: i64, diastolic: i64) -> Vec<TrendPoint> {
    (0..30)
        .map(|i: i64| TrendPoint {
            at: ago((29 - i) * 1_440 + (i % 5) * 60 + 12),
            value: TrendValue::BloodPressure {
                systolic_mmhg: systolic - 18 + (i * 2) / 3 + (i * 7) % 9,
                diastolic_mmhg: diastolic - 9 + i / 2 + (i * 5) % 7,
            },
        })
        .collect()
}

fn glucose_trend() -> Vec<TrendPoint> {
    [
        7_200, 6_100, 11_000, 5_400, 8_300, 4_100, 6_900, 12_400, 5_000, 3_400, 6_000, 2_700,
    ]
    .into_iter()
    .enumerate()
    .map(|(i, milli)| TrendPoint {
        at: ago((12 - i64::try_from(i).unwrap()) * 3_000),
        value: TrendValue::Glucose(GlucoseLevel::Value(Concentration {
            milli,
            unit: GlucoseUnit::MmolPerL,
        })),
    })
    .collect()
}

pub(crate) fn row(alert: Alert, name: &str, value: Option<(Measurement, i64)>, tasks: Vec<Task>) -> QueueRow {
    let value = value.map(|(measurement, minutes)| QueueValue {
        reading: at_once(stored(alert.id.uuid().as_u128() * 10, minutes, measurement, &[], None)),
        session: None,
    });
    QueueRow {
        member_code: "CP-1024".parse().unwrap(),
        masked_name: name.to_owned(),
        birth_year: 1958,
        sex: Sex::Female,
        conditions: vec![Condition::Hypertension],
        home_store: id(5),
        value,
        owner_name: None,
        tasks,
        may_call: true,
        trend: trend(160, 96),
        alert,
    }
}

/// Seven rows, from emergency to moderate.
pub(crate) fn queue() -> Queue {
    let emergency = alert(11, Rule::Sy01, Severity::Emergency, 4);
    let critical = alert(12, Rule::Bp02, Severity::Critical, 12);
    let low = alert(13, Rule::Gl02, Severity::Critical, 190);
    let high = alert(14, Rule::Bp05, Severity::High, 150);
    let late = alert(15, Rule::Bp05, Severity::High, 1_500);
    let moderate = alert(16, Rule::Bp04, Severity::Moderate, 2_900);
    let mut rows = Vec::new();
    let called = task(111, &emergency, 2);
    rows.push(QueueRow {
        sex: Sex::Male,
        conditions: Vec::new(),
        trend: Vec::new(),
        ..row(emergency, "李**", None, vec![called])
    });
    let urgent = taken(task(112, &critical, 48), ME);
    let mut mean = row(critical, "王**", Some((pressure(186, 114), 12)), vec![urgent]);
    mean.owner_name = Some("陈药师".to_owned());
    mean.alert.owner = Some(id(ME));
    mean.conditions.push(Condition::Diabetes);
    if let Some(value) = &mut mean.value {
        value.session = Some(session(70, 12, Some((184, 112)), &[120, 121]));
    }
    rows.push(mean);
    let sugar = task(113, &low, -7);
    let mut hypo = row(low, "赵**", None, vec![sugar]);
    hypo.value = Some(QueueValue {
        reading: stored(130, 190, glucose(2_700), &[], Some(Slot::BeforeDinner)),
        session: None,
    });
    hypo.conditions = vec![Condition::Diabetes];
    hypo.may_call = false;
    hypo.trend = glucose_trend();
    rows.push(hypo);
    let first = task(114, &high, 2_700);
    rows.push(row(high, "孙**", Some((pressure(168, 98), 150)), vec![first]));
    let second = taken(task(115, &late, 300), COLLEAGUE);
    let mut others = row(late, "Ann**", Some((pressure(164, 102), 1_500)), vec![second]);
    others.alert.owner = Some(id(COLLEAGUE));
    others.owner_name = Some("周药师".to_owned());
    others.alert.acknowledged = Some(Acknowledgement {
        by: id(COLLEAGUE),
        at: ago(40),
        severity: Severity::High,
    });
    others.alert.marks.insert(Mark::Repeated);
    rows.push(others);
    rows.push(row(moderate, "吴**", Some((pressure(146, 88), 2_900)), Vec::new()));
    Queue {
        rows,
        more: false,
        version: 7,
    }
}

fn grant(purpose: Purpose, days_ago: i64, withdrawn_days_ago: Option<i64>) -> GrantRecord {
    GrantRecord {
        grant: Grant {
            id: id(800),
            member: id(1),
            purpose,
            text_version: "2026-01".to_owned(),
            granted_at: ago(days_ago * 1_440),
            withdrawn_at: withdrawn_days_ago.map(|days| ago(days * 1_440)),
            expires_at: None,
            includes_history: false,
        },
        text_hash: [0; 32],
        channel: Channel::Staff,
        store: id(5),
        witness: None,
    }
}

pub(crate) fn names() -> BTreeMap<StaffId, String> {
    BTreeMap::from([(id(ME), "陈药师".to_owned()), (id(COLLEAGUE), "周药师".to_owned())])
}

/// The file of a member who measures at home and in the store.
pub(crate) fn member_file() -> MemberFile {
    let mut sessions = Vec::new();
    let mut pressures = Vec::new();
    for i in 0..34_i64 {
        let minutes = i * 2_400 + (i % 3) * 37 + 12;
        let (systolic, diastolic) = (168 - i / 2 + (i * 11) % 17 - 8, 100 - i / 3 + (i * 7) % 11 - 5);
        let n = 1_000 + u128::try_from(i).unwrap() * 10;
        let mut made = session(n + 9, minutes, Some((systolic, diastolic)), &[n, n + 1]);
        let mut flags: &[Flag] = &[];
        if i % 9 == 4 {
            made.place = Place::Store;
        }
        if i == 6 {
            made.doubts.push(Flag::IrregularPulse);
            flags = &[Flag::IrregularPulse];
        }
        let values = [(n, systolic + 3, diastolic + 1), (n + 1, systolic - 3, diastolic - 1)];
        for (n, systolic, diastolic) in values {
            let value = pressure(i32::try_from(systolic).unwrap(), i32::try_from(diastolic).unwrap());
            pressures.push(stored(n, minutes, value, flags, None));
        }
        sessions.push(made);
    }
    let slots = [
        Slot::Fasting,
        Slot::AfterBreakfast,
        Slot::BeforeDinner,
        Slot::AfterDinner,
        Slot::Bedtime,
    ];
    let values = [
        5_600, 8_900, 6_200, 14_200, 7_300, 3_600, 9_400, 17_100, 6_800, 2_800, 5_900, 10_400, 7_700, 6_100,
    ];
    let mut sugars: Vec<StoredReading> = values
        .into_iter()
        .enumerate()
        .map(|(i, milli)| {
            let i_u = u128::try_from(i).unwrap();
            let minutes = i64::try_from(i).unwrap() * 700 + 60;
            stored(
                5_000 + i_u,
                minutes,
                glucose(milli),
                &[],
                if i % 6 == 5 { None } else { slots.get(i % 5).copied() },
            )
        })
        .collect();
    let high = GlucoseLevel::AboveRange {
        unit: GlucoseUnit::MmolPerL,
    };
    sugars.push(stored(
        5_100,
        9_000,
        Measurement::Glucose(Glucose {
            level: high,
            sequence: 9,
        }),
        &[],
        Some(Slot::Random),
    ));
    let mut critical = alert(12, Rule::Bp02, Severity::Critical, 12);
    critical.owner = Some(id(ME));
    let open = taken(task(112, &critical, 48), ME);
    MemberFile {
        record: MemberRecord {
            member: member(),
            added_at: ago(300_000),
        },
        grants: vec![
            grant(Purpose::CareRecord, 200, None),
            grant(Purpose::PharmacistCall, 200, None),
            grant(Purpose::AlertMessage, 200, Some(20)),
        ],
        care_record: true,
        may_call: true,
        sessions,
        pressures,
        glucose: sugars,
        others: others(),
        symptoms: vec![SymptomRecord {
            id: id(77),
            code: Symptom::Dizziness,
            source: SymptomSource::Kiosk,
            at: ago(3_000),
        }],
        alerts: vec![critical],
        tasks: vec![open],
        staff_names: names().into_iter().collect(),
        audit: vec![
            audit(5, 1, "member.open", Actor::Staff(id(ME))),
            audit(4, 5, "member.open", Actor::Staff(id(ME))),
            audit(3, 2, "queue.read", Actor::Staff(id(ME))),
            audit(2, 30_000, "consent.withdraw", Actor::Staff(id(COLLEAGUE))),
            audit(1, 290_000, "member.add", Actor::System),
        ],
    }
}

/// A weight in pounds, a saturation and a temperature of an evening.
fn others() -> Vec<StoredReading> {
    let weight = Measurement::Weight(Weight {
        mass: Mass {
            milli: 150_510,
            unit: WeightUnit::Lb,
        },
        user_slot: Some(1),
    });
    let saturation = Measurement::OxygenSaturation(OxygenSaturation {
        spo2: TenthsOfPercent::new(970),
        pulse: Some(PulseRate::from_per_min(71)),
    });
    let temperature = Measurement::Temperature(Temperature {
        degrees: Degrees {
            milli: 36_800,
            unit: TemperatureUnit::Celsius,
        },
        site: Some(TemperatureSite::Tympanum),
    });
    vec![
        stored(6_001, 70, weight, &[], None),
        stored(6_002, 1_500, saturation, &[Flag::PoorSignal], None),
        stored(6_003, 1_510, temperature, &[], None),
    ]
}

pub(crate) fn member() -> Member {
    let member: MemberId = id(1);
    Member {
        id: member,
        code: "CP-1024".parse().unwrap(),
        name: Phi::new("王秀英".to_owned()),
        birth_year: 1958,
        sex: Sex::Female,
        phone: Some(Phi::new("138 0013 8000".to_owned())),
        home_store: id(5),
        conditions: vec![Condition::Hypertension, Condition::Diabetes],
        drugs: vec![DrugClass::Antihypertensive, DrugClass::Sulfonylurea],
    }
}

fn audit(seq: i64, minutes_ago: i64, action: &str, actor: Actor) -> AuditRow {
    AuditRow {
        seq,
        at: ago(minutes_ago),
        actor,
        action: action.to_owned(),
        subject: "1".to_owned(),
        member: Some(id(1)),
        detail: None,
        chain_no: None,
    }
}

/// The critical row's alert with its evidence: a pair in the store.
pub(crate) fn alert_file() -> AlertFile {
    let mut alert = alert(12, Rule::Bp02, Severity::Critical, 12);
    alert.owner = Some(id(ME));
    let open = taken(task(112, &alert, 48), ME);
    let readings = vec![
        at_once(stored(120, 13, pressure(186, 114), &[], None)),
        at_once(stored(121, 12, pressure(182, 110), &[Flag::IrregularPulse], None)),
    ];
    let judged = session(70, 13, Some((184, 112)), &[120, 121]);
    AlertFile {
        readings,
        symptoms: Vec::new(),
        sessions: vec![judged],
        tasks: vec![open],
        alert,
    }
}
