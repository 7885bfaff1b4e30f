//! Meters that want a key, or hide their address, once staff has paired and registered them at the staff page: from then on
//! their owners see each record once, and nobody sees what was measured before.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use carepost_daemon::Clock;
use carepost_sim::ClockSetting;
use carepost_sim::control::{CuffRecord, GlucoseRecord};
use chrono::TimeDelta;
use serde_json::{Value, json};
use system_tests::neighbourhood::Difference;
use system_tests::staff::{StaffPage, StaffScreen, pin_setting};
use system_tests::wait::wait_for;
use system_tests::world::{Person, Setup, World};

use super::link::RECOVERY;
use super::pairing::{closed, next_second};

/// Records that a meter holds when it is paired: nobody said whose those are.
const BEFORE: u64 = 2;
/// Measurements of each person after that, each over a link of its own.
const ROUNDS: u16 = 2;

/// Shows six digits, and nothing else will do.
pub(crate) const SHOWS_DIGITS: &str = "io = \"display_only\"";
/// Has keys for six digits.
const HAS_KEYS: &str = "io = \"keyboard_only\"";
/// Shows six digits, and has yes and no.
pub(crate) const HAS_YES_AND_NO: &str = "io = \"display_yes_no\"";
/// Has neither; any bond will do.
const WANTS_A_BOND: &str = "demands = \"encryption\"";

/// A meter and what becomes of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meter {
    profile: &'static str,
    kind: &'static str,
    /// Further lines of its security section.
    security: &'static str,
    /// User keys, a person each; without any it is one person's.
    slots: &'static [u8],
    /// Profiles that it has only once it is registered, beside its own.
    later: &'static [&'static str],
    /// Records that it holds at the start.
    before: u64,
    /// Why what is measured is kept aside, if it is no reading.
    aside: Option<&'static str>,
    /// Minutes from its base clock to the user's.
    offset: i64,
    /// It goes as soon as it is paired, and somebody presses its key for it to come back and be read.
    comes_back: bool,
    /// Staff says that nobody else has ever measured with it: what it holds at the start is its owner's too.
    only_ever: bool,
}

impl Meter {
    pub(crate) const fn cuff(profile: &'static str, security: &'static str) -> Self {
        Self {
            profile,
            kind: "cuff",
            security,
            slots: &[],
            later: &[],
            before: BEFORE,
            aside: None,
            offset: 0,
            comes_back: false,
            only_ever: false,
        }
    }

    pub(crate) const fn glucose(profile: &'static str, security: &'static str) -> Self {
        Self {
            kind: "glucose",
            ..Self::cuff(profile, security)
        }
    }

    const fn shared_by(self, slots: &'static [u8]) -> Self {
        Self { slots, ..self }
    }

    const fn later(self, later: &'static [&'static str]) -> Self {
        Self { later, ..self }
    }

    const fn aside(self, reason: &'static str) -> Self {
        Self {
            aside: Some(reason),
            ..self
        }
    }

    const fn only_ever_theirs(self) -> Self {
        Self {
            only_ever: true,
            ..self
        }
    }

    const fn coming_back(self) -> Self {
        Self {
            comes_back: true,
            ..self
        }
    }

    /// Nothing in its memory.
    pub(crate) const fn empty(self) -> Self {
        Self { before: 0, ..self }
    }

    const fn fixed_base_clock(self, offset: i64) -> Self {
        Self {
            offset,
            before: 0,
            ..self
        }
    }

    pub(crate) const fn profile(&self) -> &'static str {
        self.profile
    }

    fn people(&self) -> Vec<Option<u8>> {
        if self.slots.is_empty() {
            vec![None]
        } else {
            self.slots.iter().copied().map(Some).collect()
        }
    }
}

/// Group 3: what a meter demands, and what becomes of its bond.
const SECURITY: &[Meter] = &[
    Meter::cuff("security-request-first", ""),
    Meter::glucose("security-request-first", ""),
    Meter::cuff("cccd-needs-encryption", ""),
    Meter::glucose("cccd-needs-encryption", SHOWS_DIGITS),
    Meter::cuff("needs-authentication", SHOWS_DIGITS),
    Meter::glucose("needs-authentication", HAS_KEYS),
    Meter::cuff("needs-authentication", HAS_YES_AND_NO),
    Meter::cuff("one-bond-only", "").only_ever_theirs(),
    // It would send before anybody listens if its subscriptions were not taken back.
    Meter::cuff("cccd-kept-per-bond", ""),
    Meter::cuff("cccd-forgotten", WANTS_A_BOND),
    Meter::cuff("hangs-up-after-pairing", WANTS_A_BOND).coming_back(),
    Meter::cuff("advert-pairing-mode", WANTS_A_BOND),
];

/// Families that want a key, and meters that hide who they are until they have one.
const FAMILIES: &[Meter] = &[
    Meter::cuff("beurer-be", "").shared_by(&[0, 1]),
    Meter::glucose("isens", ""),
    Meter::glucose("isens-ketone", "").aside("ketone"),
    Meter::cuff("and-ua651", ""),
    Meter::cuff("omron-keep-session", "").shared_by(&[1, 2]),
    Meter::glucose("accu-chek", "").fixed_base_clock(334),
    Meter::glucose("contour", "").only_ever_theirs(),
    Meter::cuff("address-rotates", WANTS_A_BOND),
    Meter::cuff("identity-after-bonding", ""),
    Meter::glucose("identity-after-bonding", SHOWS_DIGITS),
    // Equal in name and serial number: the page tells them apart by the ending of the address.
    Meter::cuff("looks-like-others", WANTS_A_BOND),
    Meter::cuff("looks-like-others", WANTS_A_BOND),
    // Heard by nobody that it has no bond with.
    Meter::cuff("cccd-needs-encryption", "").later(&["advert-directed"]),
];

/// The profiles that are played here.
pub(crate) fn played() -> impl Iterator<Item = &'static str> {
    [SECURITY, FAMILIES]
        .into_iter()
        .flatten()
        .flat_map(|meter| meter.later.iter().copied().chain([meter.profile]))
}

fn address(at: usize) -> String {
    format!("C4:DE:0B:00:00:{at:02X}")
}

fn simulator(meters: &[Meter]) -> String {
    let mut text = "[adapter]\nadvertising_interval_ms = 50\nconnect_delay_ms = 5\nresolve_delay_ms = 5\n".to_owned();
    for (at, meter) in meters.iter().enumerate() {
        let pace = match meter.kind {
            "cuff" => "[meters.cuff]\nindication_interval_ms = 2",
            _ => "[meters.glucose]\nnotification_interval_ms = 2",
        };
        write!(
            text,
            "\n[[meters]]\nname = \"m{at}\"\nkind = \"{}\"\naddress = \"{}\"\nlocal_name = \"Meter {at}\"\n\
             manufacturer = \"Simulated\"\nmodel = \"SIM\"\nserial = \"SN-{at}\"\nfirmware = \"1\"\nprofile = [\"{}\"]\n\
             {pace}\n[meters.security]\n{}\n\
             [meters.stored]\ncount = {}\nseed = {}\nspacing_minutes = 30\nnewest_minutes_ago = 45\n",
            meter.kind,
            address(at),
            meter.profile,
            meter.security,
            meter.before,
            at + 1,
        )
        .ok();
    }
    text
}

/// A meter at home.
pub(crate) struct Home {
    meter: Meter,
    pub(crate) name: String,
    pub(crate) address: String,
    /// Each user key and whose it is.
    pub(crate) people: Vec<(Option<u8>, Person)>,
}

impl Home {
    /// What the `n`th person measures in a round: the systolic pressure in mmHg, or the glucose in mg/dL.
    fn value(&self, at: usize, n: usize, round: u16) -> u16 {
        let (at, n) = (u16::try_from(at).unwrap(), u16::try_from(n).unwrap());
        match self.meter.kind {
            "cuff" => 100 + at * 4 + n * 2 + round,
            _ => 90 + at * 4 + round,
        }
    }
}

pub(crate) async fn opened(meters: &[Meter]) -> (World, StaffPage, Vec<Home>) {
    let setup = Setup {
        gateway: vec![pin_setting().await.unwrap(), "bluetooth.answer_ms=1000".to_owned()],
        simulator: Some(simulator(meters)),
        ..Setup::default()
    };
    let world = World::start(setup).await.unwrap();
    let mut homes = Vec::new();
    for (at, meter) in meters.iter().enumerate() {
        let mut people = Vec::new();
        for (n, slot) in meter.people().into_iter().enumerate() {
            let code = format!("CP-{}", 6000 + 10 * at + n);
            let person = world
                .member(&code, &format!("Owner {at} {n}"), 1958, "male", &[], &[])
                .await;
            let person = person.unwrap();
            world.grant(&person, "care_record").await.unwrap();
            people.push((slot, person));
        }
        homes.push(Home {
            meter: *meter,
            name: format!("m{at}"),
            address: address(at),
            people,
        });
    }
    world.gateway_up_to_date().await.unwrap();
    let staff = StaffPage::at(world.kiosk_address()).unwrap();
    staff.enter().await.unwrap();
    (world, staff, homes)
}

/// Holds the meter's pairing key, and presses "pair" on the page.
async fn begin(world: &mut World, staff: &StaffPage, meter: &str) {
    let sim = world.meters();
    sim.pairing_mode(meter, true).await.unwrap();
    let on_air = sim.meter(meter).await.unwrap().unwrap().address_on_air;
    staff.pair(&on_air).await.unwrap();
}

/// Begins, and does what the page and the meter ask for.
pub(crate) async fn pair(world: &mut World, staff: &StaffPage, meter: &str) -> StaffScreen {
    begin(world, staff, meter).await;
    staff.follow(world.meters(), meter).await.unwrap()
}

/// Says whose the meter is.
pub(crate) async fn register(staff: &StaffPage, paired: &StaffScreen, home: &Home) {
    let only_ever = if home.meter.only_ever { "yes" } else { "no" };
    let mut fields = vec![
        ("role".to_owned(), "personal".to_owned()),
        ("only_ever".to_owned(), only_ever.to_owned()),
    ];
    for (n, (slot, person)) in home.people.iter().enumerate() {
        fields.push((format!("code{n}"), person.code.clone()));
        fields.push((
            format!("slot{n}"),
            slot.map_or_else(String::new, |slot| slot.to_string()),
        ));
    }
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let taken = staff.press(paired, "/staff/register", &fields).await.unwrap();
    assert_eq!(taken.name, "meters", "{}: {}", home.name, taken.html);
}

/// The address as the server and the page have it once the meter is registered.
pub(crate) async fn registered(world: &World, home: &Home) -> Value {
    let found = wait_for("the meter at the server", RECOVERY, async || {
        let listed = world.pharmacist()?.get("/api/v1/meters").await?;
        let meters = listed["meters"].as_array().cloned().unwrap_or_default();
        Ok(meters
            .into_iter()
            .find(|meter| meter["address"] == home.address.as_str()))
    })
    .await;
    found.unwrap_or_else(|error| panic!("{} {}: {error:#}\n{}", home.name, home.meter.profile, world.logs()))
}

pub(crate) async fn measure(world: &mut World, home: &Home, at: usize, round: u16) {
    // A meter with a fixed base clock dates by that.
    let local = Clock::system().now() + TimeDelta::hours(8) - TimeDelta::minutes(home.meter.offset);
    let dated = (home.meter.offset != 0).then(|| local.naive_utc());
    for (n, (slot, _)) in home.people.iter().enumerate() {
        let value = home.value(at, n, round);
        if home.meter.kind == "cuff" {
            let record = CuffRecord {
                systolic: Some(value),
                diastolic: Some(70),
                pulse: Some(value / 2),
                slot: *slot,
                ..CuffRecord::default()
            };
            world.meters().measure_cuff(&home.name, record).await.unwrap();
        } else {
            let record = GlucoseRecord {
                mg_dl: Some(value),
                meal: Some(if home.meter.aside.is_some() { 6 } else { 1 }),
                at: dated,
                ..GlucoseRecord::default()
            };
            world.meters().measure_glucose(&home.name, record).await.unwrap();
        }
    }
}

/// The value that a reading shows, in the unit of [`Home::value`], and its pulse.
pub(crate) fn shown(reading: &Value) -> (Option<u64>, Option<u64>) {
    let shown = &reading["shown"];
    match shown["systolic_mmhg"].as_u64() {
        Some(systolic) => (Some(systolic), shown["pulse_per_min"].as_u64()),
        None => {
            let text = shown["value"].as_str().unwrap_or_default();
            (text.split(' ').next().and_then(|number| number.parse().ok()), None)
        }
    }
}

/// What does not agree after so many rounds; nothing if all is well.
pub(crate) async fn disagreement(
    world: &mut World,
    status: &Value,
    home: &Home,
    at: usize,
    rounds: u16,
) -> Option<String> {
    let mut ledger = world.meters().ledger(Some(&home.name)).await.unwrap();
    let made_after = ledger.split_off(usize::try_from(home.meter.before).unwrap());
    let is_old = |reading: &&Value| {
        let raw = reading["raw"].as_str().unwrap_or_default();
        ledger.iter().any(|entry| entry.hex.eq_ignore_ascii_case(raw))
    };
    let mut all = Vec::new();
    for (n, (_, person)) in home.people.iter().enumerate() {
        let readings = world.readings(person).await.unwrap();
        let mut seen: Vec<_> = readings.iter().filter(|reading| !is_old(reading)).map(shown).collect();
        seen.sort_unstable();
        let measured = (0..rounds).map(|round| home.value(at, n, round));
        let expected: Vec<_> = measured
            .filter(|_| home.meter.aside.is_none())
            .map(|value| {
                let pulse = (home.meter.kind == "cuff").then(|| u64::from(value / 2));
                (Some(u64::from(value)), pulse)
            })
            .collect();
        if seen != expected {
            return Some(format!("person {n} sees {seen:?} and measured {expected:?}"));
        }
        all.extend(readings);
    }
    let theirs = match home.meter.only_ever {
        true => [ledger.clone(), made_after].concat(),
        false => made_after,
    };
    let difference = Difference::between(&all, &theirs);
    let missing = match home.meter.aside {
        Some(_) => theirs.len(),
        None => 0,
    };
    if difference.missing.len() != missing || !difference.surplus.is_empty() {
        return Some(format!("{difference:?}"));
    }
    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    // Unless somebody said whose the old ones are, they are nobody's.
    if !home.meter.only_ever {
        *expected.entry("before_binding").or_default() += home.meter.before;
    }
    if let Some(reason) = home.meter.aside {
        *expected.entry(reason).or_default() += u64::from(rounds);
    }
    expected.retain(|_, rows| *rows > 0);
    let aside = kept_aside(status, home);
    (aside != json!(expected)).then(|| format!("kept aside is {aside}, and should be {expected:?}"))
}

/// What the gateway keeps aside of a meter, by reason.
fn kept_aside(status: &Value, home: &Home) -> Value {
    let meters = status["spool"]["meters"].as_array().cloned().unwrap_or_default();
    let meter = meters.into_iter().find(|meter| meter["id"] == registered_id(home));
    meter.unwrap_or_default()["quarantined"].clone()
}

/// The id follows from the address.
fn registered_id(home: &Home) -> Value {
    use carepost_domain::meter::{AddressType, meter_id};
    json!(meter_id(home.address.parse().unwrap(), AddressType::Public))
}

async fn live(meters: &[Meter]) {
    let (mut world, staff, homes) = opened(meters).await;
    for home in &homes {
        begin(&mut world, &staff, &home.name).await;
        if home.meter.comes_back {
            let reading = "aria-current=\"step\">Reading what the meter is";
            staff.wait_for(reading, |screen| screen.says(reading)).await.unwrap();
            world.meters().press_transfer(&home.name).await.unwrap();
        }
        let paired = staff.follow(world.meters(), &home.name).await.unwrap();
        assert_eq!(
            paired.name, "paired",
            "{} {}: {}",
            home.name, home.meter.profile, paired.html
        );
        register(&staff, &paired, home).await;
        assert_eq!(registered(&world, home).await["id"], registered_id(home));
        let mut profiles = vec![home.meter.profile];
        profiles.extend(home.meter.later);
        if !home.meter.later.is_empty() {
            world.meters().set_profile(&home.name, &profiles).await.unwrap();
        }
    }
    world.gateway_up_to_date().await.unwrap();
    next_second().await;
    for round in 0..ROUNDS {
        for (at, home) in homes.iter().enumerate() {
            // Only those that have private addresses take a new one.
            world.meters().rotate_address(&home.name).await.unwrap();
            measure(&mut world, home, at, round).await;
        }
        let mut differ = Vec::new();
        let arrived = wait_for("everything that was measured", RECOVERY, async || {
            let status = world.status().await?;
            differ.clear();
            for (at, home) in homes.iter().enumerate() {
                let found = disagreement(&mut world, &status, home, at, round + 1).await;
                differ.extend(found.map(|fault| format!("{} {}: {fault}", home.name, home.meter.profile)));
            }
            Ok(differ.is_empty().then_some(()))
        })
        .await;
        assert!(
            arrived.is_ok(),
            "round {round}\n{}\n{}",
            differ.join("\n"),
            world.logs()
        );
    }
    for home in &homes {
        let display = world.meters().display(&home.name).await.unwrap();
        assert_eq!(display.bonds, 1, "{} {}", home.name, home.meter.profile);
    }
    closed(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn meters_that_demand_a_bond_are_paired_at_the_staff_page_and_read_from_then_on() {
    live(SECURITY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn families_with_keys_and_meters_with_private_addresses_are_paired_and_read() {
    live(FAMILIES).await;
}

/// Local time as a right clock at the meter's home shows it.
fn right_local() -> chrono::NaiveDateTime {
    (Clock::system().now() + TimeDelta::hours(8)).naive_utc()
}

/// How far the clock of a meter is ahead, in minutes; nothing if it shows no date.
async fn ahead(world: &mut World, home: &Home) -> Option<i64> {
    match world.meters().meter(&home.name).await.unwrap().unwrap().clock {
        ClockSetting::Local(shown) => Some((shown - right_local()).num_seconds().div_euclid(60) + 1),
        ClockSetting::Right | ClockSetting::Unset => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_is_set_while_pairing_only_if_it_shows_no_date() {
    const A_AND_D: Meter = Meter::cuff("and-ua651", "").empty();
    let (mut world, staff, homes) = opened(&[A_AND_D, A_AND_D, A_AND_D]).await;
    // In minutes; without a number it shows no date.
    let clocks = [None, Some(-180), Some(180)];
    for (home, off) in homes.iter().zip(clocks) {
        let wrong = off.map_or(ClockSetting::Unset, |off| {
            ClockSetting::Local(right_local() + TimeDelta::minutes(off))
        });
        world.meters().set_clock(&home.name, wrong).await.unwrap();
        // What somebody tries before the pairing is nobody's, whether its date is wrong or it has none.
        let trial = CuffRecord {
            systolic: Some(150),
            diastolic: Some(90),
            at: off.map(|off| right_local() + TimeDelta::minutes(off - 5)),
            ..CuffRecord::default()
        };
        world.meters().measure_cuff(&home.name, trial).await.unwrap();
        let paired = pair(&mut world, &staff, &home.name).await;
        let now = ahead(&mut world, home).await.unwrap();
        assert!((now - off.unwrap_or(0)).abs() <= 1, "{off:?}: {now} minutes ahead");
        register(&staff, &paired, home).await;
        registered(&world, home).await;
    }
    world.gateway_up_to_date().await.unwrap();
    // A clock that was set has lost up to a second by that, and a record loses another: both are whole seconds.
    for _ in 0..2 {
        next_second().await;
    }
    for (at, (home, off)) in homes.iter().zip(clocks).enumerate() {
        let aside = off.map_or_else(|| json!({"time_unknown": 1}), |_| json!({"before_binding": 1}));
        // It comes alone, over the cuff's first link.
        let tried = wait_for("the trial", RECOVERY, async || {
            let kept = kept_aside(&world.status().await?, home);
            Ok((kept == aside).then_some(()))
        })
        .await;
        tried.unwrap_or_else(|error| panic!("{off:?}: {error:#}\n{}", world.logs()));
        measure(&mut world, home, at, 1).await;
        let measured_at = Clock::system().now();
        let (_, person) = &home.people[0];
        let mut last = String::new();
        let arrived = wait_for("the reading", RECOVERY, async || {
            let status = world.status().await?;
            let kept = kept_aside(&status, home);
            let readings = world.readings(person).await?;
            last = format!("kept aside {kept}, seen {readings:?}");
            Ok((readings.len() == 1 && kept == aside).then_some(readings))
        })
        .await;
        let readings = arrived.unwrap_or_else(|error| panic!("{off:?}: {last}\n{error:#}\n{}", world.logs()));
        let reading = &readings[0];
        let dated: chrono::DateTime<chrono::Utc> = serde_json::from_value(reading["measured_at"].clone()).unwrap();
        assert!(
            (dated - measured_at).abs() < TimeDelta::minutes(1),
            "{off:?}: {reading}"
        );
        assert_eq!(shown(reading).0, Some(u64::from(home.value(at, 0, 1))));
    }
    closed(world).await;
}
