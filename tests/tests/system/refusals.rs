//! What a person at the staff page is told when a meter is not paired, when it forgets that it was, or when the server does not
//! take its registration; and that whatever the meter holds stays in it until somebody has put that right.

use carepost_sim::ledger::Verdict;
use carepost_sim::{Failure, HostEvent, HostFaults};
use serde_json::{Value, json};
use system_tests::staff::{StaffPage, StaffScreen};
use system_tests::wait::wait_for;
use system_tests::world::{SOON, World};

use super::bonds::{
    HAS_YES_AND_NO, Home, Meter, SHOWS_DIGITS, disagreement, measure, opened, pair, register, registered,
};
use super::link::RECOVERY;
use super::pairing::{closed, display, next_second, others, over, prompt};

const ASKS: &str = "Type the six digits that the meter shows";
const REFUSED: &str = "The meter refused to be paired, mostly because it is paired with a phone.";
const BROKEN_OFF: &str = "The meter broke the pairing off.";
const INTERRUPTED: &str = "The Bluetooth service was interrupted.";

/// How long the service and its bus stay away.
const DOWN_MS: u64 = 300;

/// What goes wrong while a meter is paired.
#[derive(Debug, Clone)]
enum Trouble {
    /// Other digits are typed than the meter shows.
    WrongDigits,
    /// The meter's link is lost while somebody looks for the digits.
    LinkLost,
    /// Somebody presses "give up".
    GivenUp,
    /// Something happens to the machine while somebody looks for the digits. Who tries again before that is put right is
    /// told the second text, if it has to be put right.
    Happens(HostEvent, Option<&'static str>),
    /// The Bluetooth service answers `Pair` with this error.
    Answers(&'static str),
    /// A profile of the host.
    Profile(&'static str),
}

/// What goes wrong, and what the page says to it. Afterwards it is tried again.
fn troubles() -> Vec<(Trouble, &'static str)> {
    let power_off = HostEvent::PowerOff { adapter: None };
    let unplug = HostEvent::Unplug { adapter: None };
    vec![
        (
            Trouble::WrongDigits,
            "The digits were not right, and the meter refused them.",
        ),
        (Trouble::LinkLost, BROKEN_OFF),
        (Trouble::GivenUp, "You gave up."),
        (
            Trouble::Happens(HostEvent::RestartBluez { down_ms: DOWN_MS }, None),
            INTERRUPTED,
        ),
        (
            Trouble::Happens(HostEvent::LoseBus { down_ms: DOWN_MS }, None),
            INTERRUPTED,
        ),
        (
            Trouble::Happens(power_off, Some("Bluetooth is switched off.")),
            BROKEN_OFF,
        ),
        (Trouble::Happens(unplug, Some(INTERRUPTED)), BROKEN_OFF),
        (
            Trouble::Answers("org.bluez.Error.AuthenticationTimeout"),
            "The meter did not wait so long.",
        ),
        (
            Trouble::Answers("org.bluez.Error.InProgress"),
            "Another program is pairing this meter.",
        ),
        (
            Trouble::Answers("org.bluez.Error.ConnectionAttemptFailed"),
            "The meter was heard, and did not connect.",
        ),
        (Trouble::Profile("host-pairing-rejected"), REFUSED),
    ]
}

/// The profiles that have a story here; the others of group 3 are in `bonds.rs`.
pub(crate) const PLAYED: &[&str] = &["bond-lost-by-meter", "cccd-off-forgets-bond", "host-pairing-rejected"];

async fn pairing_failures(world: &World) -> u64 {
    let status = world.status().await.unwrap();
    status["spool"]["counters"]["pairing_failures"].as_u64().unwrap()
}

/// The meter still has everything, nobody heard any of it, and the server knows no meter.
async fn nothing_came_of_it(world: &mut World, home: &Home) {
    for entry in world.meters().ledger(Some(&home.name)).await.unwrap() {
        assert_eq!((entry.sent, entry.verdict()), (0, Verdict::Waiting), "{entry:?}");
    }
    assert_eq!(world.meters().display(&home.name).await.unwrap().bonds, 0);
    let listed = world.pharmacist().unwrap().get("/api/v1/meters").await.unwrap();
    assert_eq!(listed["meters"], json!([]));
}

/// The list of meters, with a Bluetooth service that works.
async fn ready_again(staff: &StaffPage, address: &str) -> StaffScreen {
    let screen = staff.look().await.unwrap();
    if screen.is_over() {
        staff.press(&screen, "/staff/done", &[]).await.unwrap();
    }
    staff
        .wait_long("a list without trouble", RECOVERY, |screen| {
            screen.name == "meters"
                && [
                    "The Bluetooth service does not run",
                    "There is no Bluetooth adapter",
                    "Bluetooth is switched off",
                ]
                .iter()
                .all(|trouble| !screen.says(trouble))
                && screen.says(&format!("value=\"{address}\""))
        })
        .await
        .unwrap()
}

async fn fails(world: &mut World, staff: &StaffPage, home: &Home, trouble: &Trouble, words: &str) {
    let before = pairing_failures(world).await;
    let mut failures = before + 1;
    let list = ready_again(staff, &home.address).await;
    match trouble {
        Trouble::Answers(error) => {
            let fault = Failure {
                what: "Pair".to_owned(),
                error: (*error).to_owned(),
                message: "as ordered".to_owned(),
                times: Some(1),
            };
            let faults = HostFaults {
                failures: vec![fault],
                ..HostFaults::default()
            };
            world.meters().host_faults(faults).await.unwrap();
        }
        Trouble::Profile(profile) => world.meters().set_host_profile(&[profile]).await.unwrap(),
        _ => {}
    }
    staff.begin(&list, "pair", &home.address).await.unwrap();
    if matches!(
        trouble,
        Trouble::WrongDigits | Trouble::LinkLost | Trouble::GivenUp | Trouble::Happens(..)
    ) {
        let entry = prompt(staff, ASKS).await;
        let digits = display(world, &home.name).await;
        match trouble {
            Trouble::WrongDigits => {
                let wrong = others(&digits);
                staff
                    .press(&entry, "/staff/passkey", &[("passkey", &wrong)])
                    .await
                    .unwrap();
            }
            Trouble::LinkLost => world.meters().drop_link(&home.name, None).await.unwrap(),
            Trouble::GivenUp => drop(staff.press(&entry, "/staff/give-up", &[]).await.unwrap()),
            Trouble::Happens(event, _) => world.meters().host_event(event.clone()).await.unwrap(),
            Trouble::Answers(_) | Trouble::Profile(_) => {}
        }
    }
    let failed = over(staff, "failed").await;
    assert!(failed.says(words), "{trouble:?}: {}", failed.html);
    if let Trouble::Happens(event, Some(again)) = trouble {
        staff.begin(&failed, "pair", &home.address).await.unwrap();
        let failed = staff
            .wait_for(again, |screen| screen.name == "failed" && screen.says(again))
            .await;
        assert!(failed.is_ok(), "{trouble:?}: {failed:?}");
        failures += 1;
        match event {
            HostEvent::PowerOff { .. } => world.meters().adapter(true).await.unwrap(),
            _ => {
                let plug = HostEvent::Plug { adapter: None };
                world.meters().host_event(plug).await.unwrap();
            }
        }
    }
    world.meters().set_host_profile(&[]).await.unwrap();
    assert_eq!(pairing_failures(world).await, failures, "{trouble:?}");
    nothing_came_of_it(world, home).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_while_a_meter_is_paired_is_said_and_can_be_tried_again() {
    let meters = [Meter::cuff("needs-authentication", SHOWS_DIGITS)];
    let (mut world, staff, homes) = opened(&meters).await;
    let [home] = homes.as_slice() else { panic!("one meter") };
    let pid = world.gateway_pid();
    for (trouble, words) in troubles() {
        world.meters().press_transfer(&home.name).await.unwrap();
        fails(&mut world, &staff, home, &trouble, words).await;
    }
    assert_eq!(world.gateway_pid(), pid, "the gateway was restarted");
    world.meters().press_transfer(&home.name).await.unwrap();
    ready_again(&staff, &home.address).await;
    comes_home(&mut world, &staff, home).await;
    closed(world).await;
}

/// The meter is paired and registered after all, and what is measured then arrives.
async fn comes_home(world: &mut World, staff: &StaffPage, home: &Home) {
    let paired = pair(world, staff, &home.name).await;
    assert_eq!(paired.name, "paired", "{}", paired.html);
    register(staff, &paired, home).await;
    registered(world, home).await;
    world.gateway_up_to_date().await.unwrap();
    next_second().await;
    measure(world, home, 0, 0).await;
    arrives(world, home, 1).await;
}

/// Waits until everything of so many rounds is where it belongs.
async fn arrives(world: &mut World, home: &Home, rounds: u16) {
    let mut differs = None;
    let arrived = wait_for("what was measured", RECOVERY, async || {
        let status = world.status().await?;
        differs = disagreement(world, &status, home, 0, rounds).await;
        Ok(differs.is_none().then_some(()))
    })
    .await;
    assert!(arrived.is_ok(), "{}: {differs:?}\n{}", home.name, world.logs());
}

/// Waits until `status` says so of the only registered meter that was not read.
async fn cannot_be_connected(world: &World, home: &Home) {
    let seen = wait_for("a connection that fails, in the status", RECOVERY, async || {
        let status = world.status().await?;
        let meters = status["spool"]["meters"].as_array().cloned().unwrap_or_default();
        let failed = |meter: &Value| meter["connect_failures"].as_u64() > Some(0) && meter["last_failure"].is_string();
        Ok(meters.iter().any(failed).then_some(()))
    })
    .await;
    assert!(seen.is_ok(), "{}: {seen:?}\n{}", home.name, world.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meter_that_will_not_be_paired_says_why_and_what_helps_helps() {
    let meters = [
        // Wants a key that cannot be agreed on without digits, and has none.
        Meter::cuff("needs-authentication", ""),
        // Lets itself be paired in its pairing mode only.
        Meter::glucose("contour", ""),
        // Keeps one bond.
        Meter::cuff("one-bond-only", ""),
        Meter::cuff("needs-authentication", HAS_YES_AND_NO),
    ];
    let (mut world, staff, homes) = opened(&meters).await;
    let [dumb, mode, single, compares] = homes.as_slice() else {
        panic!("four meters")
    };
    world.meters().bond_elsewhere(&single.name).await.unwrap();
    for home in [dumb, mode, single] {
        world.meters().press_transfer(&home.name).await.unwrap();
        let list = ready_again(&staff, &home.address).await;
        staff.begin(&list, "pair", &home.address).await.unwrap();
        let failed = over(&staff, "failed").await;
        assert!(failed.says(REFUSED), "{}: {}", home.name, failed.html);
        assert!(failed.says("Clear the old pairing on the meter"));
        for entry in world.meters().ledger(Some(&home.name)).await.unwrap() {
            assert_eq!(entry.sent, 0, "{entry:?}");
        }
    }
    // Somebody at the meter does not find the numbers equal.
    world.meters().press_transfer(&compares.name).await.unwrap();
    let list = ready_again(&staff, &compares.address).await;
    staff.begin(&list, "pair", &compares.address).await.unwrap();
    prompt(&staff, "Does the meter show the same six digits?").await;
    display(&mut world, &compares.name).await;
    world.meters().confirm_pairing(&compares.name, false).await.unwrap();
    let failed = over(&staff, "failed").await;
    assert!(failed.says("the meter refused them"), "{}", failed.html);
    nothing_came_of_it(&mut world, compares).await;

    // What the page says to do is done: the pairing with the phone is cleared on the meter; the others were in no pairing mode.
    world.meters().wipe_bonds(&single.name).await.unwrap();
    for home in [mode, single, compares] {
        ready_again(&staff, &home.address).await;
        comes_home(&mut world, &staff, home).await;
    }
    assert_eq!(world.meters().display(&dumb.name).await.unwrap().bonds, 0);
    closed(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meter_that_forgets_its_bond_keeps_its_records_until_it_is_paired_again() {
    for meter in [
        // Its batteries are changed after the first reading.
        Meter::cuff("cccd-needs-encryption", ""),
        // Every tidy end of a link costs it the bond.
        Meter::cuff("cccd-off-forgets-bond", ""),
    ] {
        let (mut world, staff, homes) = opened(&[meter.empty()]).await;
        let [home] = homes.as_slice() else { panic!("one meter") };
        world.meters().press_transfer(&home.name).await.unwrap();
        comes_home(&mut world, &staff, home).await;
        if meter.profile() == "cccd-needs-encryption" {
            world
                .meters()
                .set_profile(&home.name, &["bond-lost-by-meter"])
                .await
                .unwrap();
        }
        // A link that stands is not asked for its key again.
        let forgotten = wait_for("the bond to be forgotten", SOON, async || {
            let state = world.meters().meter(&home.name).await?.unwrap();
            Ok((state.bonds == 0 && !state.connected).then_some(()))
        });
        forgotten.await.unwrap();

        measure(&mut world, home, 0, 1).await;
        cannot_be_connected(&world, home).await;
        let ledger = world.meters().ledger(Some(&home.name)).await.unwrap();
        assert_eq!(ledger.last().unwrap().verdict(), Verdict::Waiting);
        // This side does not know yet, and finds out when somebody tries.
        let list = ready_again(&staff, &home.address).await;
        assert!(list.says("Paired here"), "{}", list.html);
        staff.begin(&list, "pair", &home.address).await.unwrap();
        let failed = over(&staff, "failed").await;
        assert!(
            failed.says("The meter does not know this device any more"),
            "{}",
            failed.html
        );
        assert!(failed.says("value=\"pair_again\""), "{}", failed.html);

        staff.begin(&failed, "pair_again", &home.address).await.unwrap();
        let again = staff.follow(world.meters(), &home.name).await.unwrap();
        assert!(again.says("registered already"), "{}", again.html);
        world.meters().press_transfer(&home.name).await.unwrap();
        arrives(&mut world, home, 2).await;
        closed(world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_meter_that_nobody_has_paired_gives_nothing_and_is_not_paired_behind_anybodys_back() {
    let meters = [
        Meter::cuff("security-request-first", "").empty(),
        Meter::cuff("cccd-needs-encryption", "").empty(),
    ];
    let (mut world, staff, homes) = opened(&meters).await;
    for home in &homes {
        let body = json!({"address": home.address, "address_type": "public", "kind": "blood_pressure", "role": "personal",
            "store": world.store_id(), "model": "SIM", "multi_user": false});
        let meter = world.pharmacist().unwrap().post("/api/v1/meters", &body).await.unwrap();
        let [(_, person)] = home.people.as_slice() else {
            panic!("one person")
        };
        world.bind(meter["id"].as_str().unwrap(), person, None).await.unwrap();
    }
    world.gateway_up_to_date().await.unwrap();
    next_second().await;
    for (times, home) in (1_u64..).zip(&homes) {
        measure(&mut world, home, 0, 0).await;
        let refused = wait_for("a pairing that nobody asked for, in the status", RECOVERY, async || {
            let status = world.status().await?;
            let counted = status["spool"]["counters"]["pairing_unasked"].as_u64();
            Ok((counted >= Some(times)).then_some(()))
        });
        refused.await.unwrap();
        let [entry] = world
            .meters()
            .ledger(Some(&home.name))
            .await
            .unwrap()
            .try_into()
            .unwrap();
        assert_eq!((entry.sent, entry.verdict()), (0, Verdict::Waiting));
        assert_eq!(world.meters().display(&home.name).await.unwrap().bonds, 0);
        let list = ready_again(&staff, &home.address).await;
        assert!(list.says("Not paired here"), "{}", list.html);

        // The registered row of the page has the button too.
        staff.begin(&list, "pair", &home.address).await.unwrap();
        let paired = staff.follow(world.meters(), &home.name).await.unwrap();
        assert!(paired.says("registered already"), "{}", paired.html);
        staff.press(&paired, "/staff/done", &[]).await.unwrap();
        world.meters().press_transfer(&home.name).await.unwrap();
        arrives(&mut world, home, 1).await;
    }
    closed(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_waits_for_the_server_and_one_that_it_does_not_take_is_said() {
    let meters = [
        Meter::cuff("cccd-needs-encryption", "").empty(),
        Meter::cuff("needs-authentication", SHOWS_DIGITS).empty(),
    ];
    let (mut world, staff, homes) = opened(&meters).await;
    let [taken, refused] = homes.as_slice() else {
        panic!("two meters")
    };
    world.stop_server().await.unwrap();
    for home in &homes {
        let paired = pair(&mut world, &staff, &home.name).await;
        register(&staff, &paired, home).await;
        let tail = home.address.get(12..).unwrap();
        let waits = staff.wait_for("the registration on the list", |screen| {
            screen.says(&format!("…{tail}")) && screen.says("Waiting for the server")
        });
        assert!(waits.await.unwrap().says("Kept on this device"));
    }
    // Meanwhile somebody makes one of them the store's, in the office.
    world.stop_gateway().await.unwrap();
    world.start_server().await.unwrap();
    let body = json!({"address": refused.address, "address_type": "public", "kind": "blood_pressure",
        "role": "store_shared", "store": world.store_id(), "model": "SIM", "multi_user": false});
    world.pharmacist().unwrap().post("/api/v1/meters", &body).await.unwrap();
    world.start_gateway().await.unwrap();
    registered(&world, taken).await;

    let staff = StaffPage::at(world.kiosk_address()).unwrap();
    staff.enter().await.unwrap();
    let told = staff
        .wait_for("the server's word", |screen| screen.says("The server did not take it"))
        .await
        .unwrap();
    assert!(told.says("registered already, for another use"), "{}", told.html);
    let meter = carepost_domain::meter::meter_id(
        refused.address.parse().unwrap(),
        carepost_domain::meter::AddressType::Public,
    );
    let meter = meter.to_string();
    let read = staff
        .press(&told, "/staff/forget-refused", &[("meter", &meter)])
        .await
        .unwrap();
    assert!(!read.says("The server did not take it"), "{}", read.html);

    // The one is a person's and the other still the store's: what is measured with it is nobody's.
    world.gateway_up_to_date().await.unwrap();
    next_second().await;
    for home in &homes {
        measure(&mut world, home, 0, 0).await;
    }
    arrives(&mut world, taken, 1).await;
    let [(_, owner)] = refused.people.as_slice() else {
        panic!("one person")
    };
    let read = wait_for("the store's cuff to be read", RECOVERY, async || {
        let ledger = world.meters().ledger(Some(&refused.name)).await?;
        Ok(ledger
            .iter()
            .all(|entry| entry.verdict() == Verdict::Delivered)
            .then_some(()))
    });
    read.await.unwrap();
    world.drained().await.unwrap();
    assert_eq!(world.readings(owner).await.unwrap(), Vec::<Value>::new());
    closed(world).await;
}
