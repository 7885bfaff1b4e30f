//! Cuffs that send by themselves, hang up by themselves and forget what was confirmed: nothing that they send is lost, and
//! nothing is given to somebody who did not measure it.

use std::fmt::Write as _;
use std::time::Duration;

use carepost_sim::control::CuffRecord;
use carepost_sim::{AfterValues, Delay, HostEvent, HostFaults};
use dbus::blocking::{Connection, Proxy};
use dbus::channel::Channel;
use serde_json::{Value, json};
use system_tests::neighbourhood::Difference;
use system_tests::staff::StaffPage;
use system_tests::wait::wait_for;
use system_tests::world::{Person, STORE_CUFF, World};

use super::bonds::shown;
use super::link::RECOVERY;
use super::pairing::{closed, next_second, started};

/// A cuff of the neighbourhood.
struct Cuff {
    name: &'static str,
    address: &'static str,
    profiles: &'static [&'static str],
    /// Further lines of its own section.
    own: &'static str,
}

fn simulator(resolve_delay_ms: u32, cuffs: &[&Cuff]) -> String {
    let mut text = format!(
        "[adapter]\nadvertising_interval_ms = 50\nconnect_delay_ms = 5\nresolve_delay_ms = {resolve_delay_ms}\n"
    );
    for cuff in cuffs {
        write!(
            text,
            "\n[[meters]]\nname = {:?}\nkind = \"cuff\"\naddress = {:?}\nlocal_name = \"BP {}\"\n\
             manufacturer = \"Simulated\"\nmodel = \"SIM\"\nserial = \"S-1\"\nfirmware = \"1\"\nprofile = {:?}\n\
             [meters.cuff]\nindication_interval_ms = 2\n{}\n",
            cuff.name, cuff.address, cuff.name, cuff.profiles, cuff.own,
        )
        .unwrap();
    }
    text
}

async fn member(world: &World, code: &str) -> Person {
    let person = world
        .member(code, &format!("Owner {code}"), 1958, "male", &[], &[])
        .await
        .unwrap();
    world.grant(&person, "care_record").await.unwrap();
    // Whose a cuff is can only be said of somebody whom the gateway knows.
    world.gateway_up_to_date().await.unwrap();
    person
}

/// Pairs a cuff at the staff page, and says whose it is: without user keys, or with the key 1.
async fn pair(world: &mut World, cuff: &Cuff, owner: &Person, slot: &str) {
    let staff = StaffPage::at(world.kiosk_address()).unwrap();
    staff.enter().await.unwrap();
    world.meters().pairing_mode(cuff.name, true).await.unwrap();
    staff.pair(cuff.address).await.unwrap();
    let paired = staff.follow(world.meters(), cuff.name).await.unwrap();
    assert_eq!(paired.name, "paired", "{}", paired.html);
    let fields = [("role", "personal"), ("code0", owner.code.as_str()), ("slot0", slot)];
    let taken = staff.press(&paired, "/staff/register", &fields).await.unwrap();
    assert_eq!(taken.name, "meters", "{}", taken.html);
    wait_for("the meter at the server", RECOVERY, async || {
        let listed = world.pharmacist()?.get("/api/v1/meters").await?;
        let meters = listed["meters"].as_array().cloned().unwrap_or_default();
        Ok(meters
            .iter()
            .any(|meter| meter["address"] == cuff.address)
            .then_some(()))
    })
    .await
    .unwrap();
    world.gateway_up_to_date().await.unwrap();
    // What was measured in the second of the binding is older than that.
    next_second().await;
}

async fn measure(world: &mut World, cuff: &Cuff, systolic: u16, slot: Option<u8>) {
    let record = CuffRecord {
        systolic: Some(systolic),
        diastolic: Some(80),
        pulse: Some(66),
        slot,
        ..CuffRecord::default()
    };
    world.meters().measure_cuff(cuff.name, record).await.unwrap();
}

/// Waits until so many links have ended.
async fn links_ended(world: &mut World, links: u64) {
    let waited = wait_for("the end of the link", RECOVERY, async || {
        let counters = world.meters().counters().await?;
        Ok((counters.disconnections >= links && counters.connections == counters.disconnections).then_some(()))
    })
    .await;
    waited.unwrap_or_else(|error| panic!("{error:#}\n{}", world.logs()));
}

/// Waits until the owner sees what the cuff's ledger holds, and nothing that was confirmed was lost.
async fn as_in_the_ledger(world: &mut World, cuff: &Cuff, owner: &Person) {
    let mut last = None;
    let waited = wait_for("everything as in the ledger", 2 * RECOVERY, async || {
        let readings = world.readings(owner).await?;
        let ledger = world.meters().ledger(Some(cuff.name)).await?;
        let difference = Difference::between(&readings, &ledger);
        let agrees = difference.missing.is_empty() && difference.surplus.is_empty();
        last = Some((difference, ledger.iter().filter(|entry| entry.is_lost()).count()));
        Ok(agrees.then_some(()))
    })
    .await;
    waited.unwrap_or_else(|error| panic!("{error:#}\n{last:?}\n{}", world.logs()));
}

fn gaps(status: &Value) -> u64 {
    status["spool"]["possible_gaps"].as_u64().unwrap()
}

const FORGETFUL: Cuff = Cuff {
    name: "forgetful",
    address: "C4:DE:0C:00:00:01",
    profiles: &["cccd-kept-per-bond", "delete-after-transfer", "hangs-up-after-2s"],
    own: "",
};

#[tokio::test(flavor = "multi_thread")]
async fn a_bonded_cuff_that_hangs_up_by_itself_is_listened_to_from_the_first_moment_of_its_next_link() {
    // It has sent long before its services are known.
    let mut world = started(simulator(300, &[&FORGETFUL]), &["bluetooth.idle_ms=5000"]).await;
    let owner = member(&world, "CP-7001").await;
    pair(&mut world, &FORGETFUL, &owner, "").await;
    for round in 0..3 {
        let before = world.meters().counters().await.unwrap().disconnections;
        measure(&mut world, &FORGETFUL, 130 + round, None).await;
        links_ended(&mut world, before + 1).await;
        as_in_the_ledger(&mut world, &FORGETFUL, &owner).await;
    }
    let status = world.drained().await.unwrap();
    assert_eq!(gaps(&status), 0, "{status:#}");
    // Another process holds no session; it subscribes before the link.
    world.stop_gateway().await.unwrap();
    world.start_gateway().await.unwrap();
    measure(&mut world, &FORGETFUL, 140, None).await;
    as_in_the_ledger(&mut world, &FORGETFUL, &owner).await;
    assert_eq!(gaps(&world.status().await.unwrap()), 0);
    closed(world).await;
}

const INTERRUPTED: Cuff = Cuff {
    name: "interrupted",
    address: "C4:DE:0C:00:00:04",
    profiles: &["cccd-forgotten", "delete-after-transfer"],
    own: "[meters.security]\ndemands = \"encryption\"\n",
};

/// A bonded cuff with six records in its memory is in range again; bluetoothd goes and comes when it has sent three of them,
/// by a session that was asked for before the link.
async fn interrupted(resolve_delay_ms: u32, cuff: &Cuff, delay: Delay) -> (World, Person) {
    let mut world = started(simulator(resolve_delay_ms, &[cuff]), &[]).await;
    let owner = member(&world, "CP-7004").await;
    pair(&mut world, cuff, &owner, "").await;
    let before = world.meters().counters().await.unwrap().disconnections;
    measure(&mut world, cuff, 119, None).await;
    links_ended(&mut world, before + 1).await;
    as_in_the_ledger(&mut world, cuff, &owner).await;
    world.meters().set_range(cuff.name, false).await.unwrap();
    for n in 0..6 {
        measure(&mut world, cuff, 120 + n, None).await;
    }
    let faults = HostFaults {
        delays: vec![delay],
        after_values: Some(AfterValues {
            values: 3,
            then: HostEvent::RestartBluez { down_ms: 300 },
        }),
        ..HostFaults::default()
    };
    world.meters().host_faults(faults).await.unwrap();
    world.meters().set_range(cuff.name, true).await.unwrap();
    (world, owner)
}

/// Whether the cuff has sent something between the one bluetoothd and the other, nobody here can know.
async fn ends_with_a_possible_gap(world: World) {
    assert!(gaps(&world.drained().await.unwrap()) > 0);
    world.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cuff_sends_while_its_services_are_looked_at_is_kept_when_the_service_restarts_then() {
    // A bluetoothd that comes back knows no services before the next link.
    let slowly = Delay {
        what: "Introspect".to_owned(),
        ms: 200,
    };
    let (mut world, owner) = interrupted(5, &INTERRUPTED, slowly).await;
    as_in_the_ledger(&mut world, &INTERRUPTED, &owner).await;
    ends_with_a_possible_gap(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cuff_sends_before_it_is_said_to_be_connected_is_kept_when_the_service_restarts_then() {
    // bluetoothd is gone before it has answered, and as slow when it is back.
    let never = Delay {
        what: "Connect".to_owned(),
        ms: 5_000,
    };
    let (mut world, owner) = interrupted(300, &INTERRUPTED, never).await;
    // What is called while bluetoothd is gone is never answered here, so that each call takes its limit.
    let stored = wait_for("what it had sent by then", 2 * RECOVERY, async || {
        Ok((world.readings(&owner).await?.len() == 4).then_some(()))
    })
    .await;
    stored.unwrap_or_else(|error| panic!("{error:#}\n{}", world.logs()));
    world.meters().host_faults(HostFaults::default()).await.unwrap();
    as_in_the_ledger(&mut world, &INTERRUPTED, &owner).await;
    let status = world.status().await.unwrap();
    let meters = status["spool"]["meters"].as_array().unwrap();
    let failures: u64 = meters
        .iter()
        .filter_map(|meter| meter["connect_failures"].as_u64())
        .sum();
    assert_eq!(failures, 0, "it was not the meter's fault: {status:#}");
    ends_with_a_possible_gap(world).await;
}

const KEEPER: Cuff = Cuff {
    name: "keeper",
    address: "C4:DE:0C:00:00:02",
    profiles: &["omron-keep-session"],
    own: "",
};
const OTHER: Cuff = Cuff {
    name: "other",
    address: "C4:DE:0C:00:00:03",
    profiles: &[],
    own: "",
};

/// Another program of the machine connects a meter.
async fn connect_by_another(world: &World, cuff: &Cuff) {
    let bus = world.bus_address().to_owned();
    let path = format!("/org/bluez/hci0/dev_{}", cuff.address.replace(':', "_"));
    let connecting = tokio::task::spawn_blocking(move || {
        let mut channel = Channel::open_private(&bus)?;
        channel.register()?;
        let connection = Connection::from(channel);
        let device = Proxy::new("org.bluez", path, Duration::from_secs(10), &connection);
        device.method_call::<(), _, _, _>("org.bluez.Device1", "Connect", ())
    });
    connecting.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kept_session_hears_between_links_is_written_down_at_once_and_others_are_read_all_the_same() {
    let settings = ["bluetooth.cool_down_ms=60000", "bluetooth.connect_ms=1500"];
    let mut world = started(simulator(5, &[&KEEPER, &OTHER]), &settings).await;
    let (owner, neighbour) = (member(&world, "CP-7002").await, member(&world, "CP-7003").await);
    pair(&mut world, &KEEPER, &owner, "1").await;
    let other = world.register((OTHER.name, OTHER.address), "blood_pressure", "personal", false);
    let other = other.await.unwrap();
    world.bind(&other, &neighbour, None).await.unwrap();
    world.gateway_up_to_date().await.unwrap();
    let before = world.meters().counters().await.unwrap().disconnections;
    measure(&mut world, &KEEPER, 131, Some(1)).await;
    links_ended(&mut world, before + 1).await;
    as_in_the_ledger(&mut world, &KEEPER, &owner).await;
    // In the cool-down, over a link that the gateway did not make, to a cuff that is not seen again.
    measure(&mut world, &KEEPER, 132, Some(1)).await;
    connect_by_another(&world, &KEEPER).await;
    wait_for("the record on air", RECOVERY, async || {
        let ledger = world.meters().ledger(Some(KEEPER.name)).await?;
        Ok(ledger.iter().all(|entry| entry.confirmed > 0).then_some(()))
    })
    .await
    .unwrap();
    world.meters().set_range(KEEPER.name, false).await.unwrap();
    as_in_the_ledger(&mut world, &KEEPER, &owner).await;
    measure(&mut world, &OTHER, 133, None).await;
    as_in_the_ledger(&mut world, &OTHER, &neighbour).await;
    assert_eq!(gaps(&world.status().await.unwrap()), 0);
    closed(world).await;
}

/// The store's, with records that carry no time.
const TIMELESS: Cuff = Cuff {
    name: STORE_CUFF.0,
    address: STORE_CUFF.1,
    profiles: &[],
    own: "has_clock = false",
};

#[tokio::test(flavor = "multi_thread")]
async fn who_sits_down_while_a_cuff_is_being_connected_does_not_get_what_it_brings() {
    let mut world = started(simulator(4_000, &[&TIMELESS]), &[]).await;
    let person = member(&world, "CP-7004").await;
    world
        .register(STORE_CUFF, "blood_pressure", "store_shared", false)
        .await
        .unwrap();
    world.gateway_up_to_date().await.unwrap();
    measure(&mut world, &TIMELESS, 171, None).await;
    wait_for("a link", RECOVERY, async || {
        Ok((world.meters().counters().await?.connections == 1).then_some(()))
    })
    .await
    .unwrap();
    let kiosk = world.kiosk().unwrap();
    let greet = kiosk.identify(&person.code).await.unwrap();
    kiosk.press(&greet, "/consent", &[("choice", "granted")]).await.unwrap();
    assert_eq!(
        world.meters().counters().await.unwrap().indications,
        0,
        "it was too late for this test"
    );
    let counted = wait_for("a record outside of every sitting", RECOVERY, async || {
        let status = world.status().await?;
        Ok((status["spool"]["counters"]["outside_sitting"] == 1).then_some(status))
    })
    .await;
    let status = counted.unwrap_or_else(|error| panic!("{error:#}\n{}", world.logs()));
    assert_eq!(status["spool"]["spooled"], 0);
    assert!(world.readings(&person).await.unwrap().is_empty());
    closed(world).await;
}

const CUT: Cuff = Cuff {
    name: "cut",
    address: "C4:DE:0C:00:00:04",
    profiles: &["link-loss-at-record-1"],
    own: "has_clock = false",
};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_without_a_time_after_which_the_link_is_lost_at_once_is_not_dated_by_its_receipt() {
    let mut world = started(simulator(5, &[&CUT]), &[]).await;
    let owner = member(&world, "CP-7005").await;
    let meter = world
        .register((CUT.name, CUT.address), "blood_pressure", "personal", false)
        .await
        .unwrap();
    world.bind(&meter, &owner, None).await.unwrap();
    world.gateway_up_to_date().await.unwrap();
    world.meters().generate_records(CUT.name, 2, 7).await.unwrap();
    world.meters().press_transfer(CUT.name).await.unwrap();
    let kept = wait_for("both records aside", RECOVERY, async || {
        let status = world.status().await?;
        let meters = status["spool"]["meters"].as_array().cloned().unwrap_or_default();
        Ok((meters
            .first()
            .is_some_and(|meter| meter["quarantined"]["time_unknown"] == 2))
        .then_some(status))
    })
    .await;
    let status = kept.unwrap_or_else(|error| panic!("{error:#}\n{}", world.logs()));
    // Both were heard: nothing is missing behind the cuff.
    assert_eq!(gaps(&status), 0, "{status:#}");
    assert!(world.readings(&owner).await.unwrap().is_empty());
    closed(world).await;
}

const TIMELESS_AT_HOME: Cuff = Cuff {
    name: "timeless",
    address: "C4:DE:0C:00:00:05",
    profiles: &[],
    own: "has_clock = false",
};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_personal_cuff_without_a_clock_brings_first_is_kept_aside_and_what_is_measured_then_is_its_owners() {
    let mut world = started(simulator(5, &[&TIMELESS_AT_HOME]), &[]).await;
    let owner = member(&world, "CP-7006").await;
    // Tried by somebody else, before the cuff was anybody's.
    measure(&mut world, &TIMELESS_AT_HOME, 171, None).await;
    let meter = (TIMELESS_AT_HOME.name, TIMELESS_AT_HOME.address);
    let meter = world
        .register(meter, "blood_pressure", "personal", false)
        .await
        .unwrap();
    world.bind(&meter, &owner, None).await.unwrap();
    world.gateway_up_to_date().await.unwrap();
    world.meters().press_transfer(TIMELESS_AT_HOME.name).await.unwrap();
    let mut expected = Vec::new();
    // Two equal measurements are two.
    for systolic in [None, Some(128), Some(128)] {
        if let Some(systolic) = systolic {
            measure(&mut world, &TIMELESS_AT_HOME, systolic, None).await;
            expected.push(u64::from(systolic));
        }
        let mut last = String::new();
        let arrived = wait_for(
            "what is new as a reading and what may be old aside",
            RECOVERY,
            async || {
                let status = world.status().await?;
                let aside = &status["spool"]["quarantine_reasons"];
                let readings = world.readings(&owner).await?;
                last = format!("kept aside {aside}, seen {readings:?}");
                let dated = readings
                    .iter()
                    .all(|one| one["time"]["quality"] == "received_time_used");
                let mut values: Vec<u64> = readings.iter().filter_map(|one| shown(one).0).collect();
                values.sort_unstable();
                Ok((dated && values == expected && *aside == json!({"time_unknown": 1})).then_some(()))
            },
        )
        .await;
        arrived.unwrap_or_else(|error| panic!("{last}\n{error:#}\n{}", world.logs()));
    }
    closed(world).await;
}

const DECLARES_MOVEMENT_ONLY: Cuff = Cuff {
    name: "movement",
    address: "C4:DE:0C:00:00:31",
    profiles: &[],
    own: "feature = 0x0001",
};

const DECLARES_NOTHING: Cuff = Cuff {
    name: "declares-none",
    address: "C4:DE:0C:00:00:32",
    profiles: &["feature-absent"],
    own: "",
};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cuff_reports_counts_only_if_it_declares_to_detect_it() {
    let cuffs = [&DECLARES_MOVEMENT_ONLY, &DECLARES_NOTHING];
    let mut world = started(simulator(5, &cuffs), &[]).await;
    // Movement and an irregular pulse.
    let expected = [
        ["body_movement", "status_undeclared"],
        ["body_movement", "irregular_pulse"],
    ];
    for ((cuff, flags), code) in cuffs.into_iter().zip(expected).zip(["CP-7031", "CP-7032"]) {
        let owner = member(&world, code).await;
        pair(&mut world, cuff, &owner, "").await;
        let record = CuffRecord {
            systolic: Some(124),
            diastolic: Some(80),
            pulse: Some(66),
            status: Some(0b101),
            ..CuffRecord::default()
        };
        world.meters().measure_cuff(cuff.name, record).await.unwrap();
        as_in_the_ledger(&mut world, cuff, &owner).await;
        let readings = world.readings(&owner).await.unwrap();
        let seen: Vec<&Value> = readings.iter().map(|reading| &reading["flags"]).collect();
        assert_eq!(seen, [&serde_json::json!(flags)], "{}", cuff.name);
    }
    closed(world).await;
}
