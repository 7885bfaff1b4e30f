//! Journey 8: staff pairs a meter at the staff page and registers it, whichever way the meter wants to agree on a key, and is
//! told what to do next whenever that fails.

use std::time::Duration;

use carepost_sim::control::CuffRecord;
use system_tests::programs::{Program, run_to_end};
use system_tests::staff::{PIN, StaffPage, StaffScreen, pin_setting};
use system_tests::wait::wait_for;
use system_tests::world::{Person, SOON, Setup, World};

/// Shows six digits that are typed at the staff page.
const SHOWS: (&str, &str) = ("shows", "C4:DE:05:00:00:01");
/// Has keys: the staff page shows six digits.
const TYPES: (&str, &str) = ("types", "C4:DE:05:00:00:02");
/// Shows six digits, and has yes and no.
const COMPARES: (&str, &str) = ("compares", "C4:DE:05:00:00:03");
/// Has nothing, and looks like the one before.
const PLAIN: (&str, &str) = ("plain", "C4:DE:05:00:00:04");

/// Longer than a person has to answer.
const TOO_LONG: Duration = Duration::from_secs(40);

fn simulator() -> String {
    let mut text = "[adapter]\nadvertising_interval_ms = 50\nconnect_delay_ms = 5\nresolve_delay_ms = 5\n".to_owned();
    for ((name, address), io) in [
        (SHOWS, "display_only"),
        (TYPES, "keyboard_only"),
        (COMPARES, "display_yes_no"),
        (PLAIN, "no_input_no_output"),
    ] {
        let demands = if io == "no_input_no_output" {
            "encryption"
        } else {
            "authentication"
        };
        text.push_str(&format!(
            "\n[[meters]]\nname = {name:?}\nkind = \"cuff\"\naddress = {address:?}\nlocal_name = \"BP Twin\"\n\
             manufacturer = \"Simulated\"\nmodel = \"SIM-BP3\"\nserial = \"SN-{name}\"\nfirmware = \"1.0\"\n\
             advertise = \"always\"\n[meters.security]\nio = {io:?}\ndemands = {demands:?}\n"
        ));
    }
    text
}

/// A world with these meters, and these settings of the gateway beside the PIN.
pub(crate) async fn started(simulator: String, settings: &[&str]) -> World {
    let mut gateway = vec![pin_setting().await.unwrap()];
    gateway.extend(settings.iter().map(|setting| (*setting).to_owned()));
    let setup = Setup {
        gateway,
        simulator: Some(simulator),
        ..Setup::default()
    };
    World::start(setup).await.unwrap()
}

/// The same, and its staff page opened.
pub(crate) async fn opened(simulator: String, settings: &[&str]) -> (World, StaffPage) {
    let world = started(simulator, settings).await;
    let staff = StaffPage::at(world.kiosk_address()).unwrap();
    staff.enter().await.unwrap();
    (world, staff)
}

pub(crate) async fn closed(world: World) {
    let errors = world.error_lines();
    assert!(errors.is_empty(), "no program may log an error: {errors:#?}");
    world.stop().await.unwrap();
}

/// The six digits on a meter's display, once it shows some.
pub(crate) async fn display(world: &mut World, meter: &str) -> String {
    let meters = world.meters();
    wait_for("six digits on the meter", SOON, async || {
        Ok(meters.display(meter).await?.shows)
    })
    .await
    .unwrap()
}

/// Other six digits.
pub(crate) fn others(digits: &str) -> String {
    let number: u32 = digits.parse().unwrap();
    format!("{:06}", (number + 1) % 1_000_000)
}

pub(crate) async fn prompt(staff: &StaffPage, words: &str) -> StaffScreen {
    staff
        .wait_for(words, |screen| screen.name == "running" && screen.says(words))
        .await
        .unwrap()
}

pub(crate) async fn over(staff: &StaffPage, name: &str) -> StaffScreen {
    staff
        .wait_for(name, |screen| screen.is_over())
        .await
        .inspect(|screen| assert_eq!(screen.name, name, "{}", screen.html))
        .unwrap()
}

async fn pair_with_passkey(world: &mut World, staff: &StaffPage) -> StaffScreen {
    let entry = prompt(staff, "Type the six digits that the meter shows").await;
    let digits = display(world, SHOWS.0).await;
    staff
        .press(&entry, "/staff/passkey", &[("passkey", &digits)])
        .await
        .unwrap();
    let paired = over(staff, "paired").await;
    assert_no_digits(world, &digits);
    paired
}

/// A passkey is in no log.
fn assert_no_digits(world: &World, digits: &str) {
    assert!(!world.logs().contains(digits), "a passkey was logged: {}", world.logs());
}

async fn member(world: &World) -> Person {
    let person = world
        .member("CP-7001", "陈美玲", 1961, "female", &[], &[])
        .await
        .unwrap();
    world.grant(&person, "care_record").await.unwrap();
    world.gateway_up_to_date().await.unwrap();
    person
}

async fn measure(world: &mut World, meter: &str, systolic: u16) {
    let record = CuffRecord {
        systolic: Some(systolic),
        diastolic: Some(82),
        pulse: Some(71),
        ..CuffRecord::default()
    };
    world.meters().measure_cuff(meter, record).await.unwrap();
}

/// Meters keep whole seconds: what is measured in the second of the registration counts as before it.
pub(crate) async fn next_second() {
    let clock = carepost_daemon::Clock::system();
    let now = clock.now().timestamp();
    wait_for("the next second", SOON, async || {
        Ok((clock.now().timestamp() > now).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn journey_8_a_meter_is_paired_by_passkey_registered_and_read() {
    let (mut world, staff) = opened(simulator(), &[]).await;
    let person = member(&world).await;

    // Two equal models: the ending of the address tells them apart, and nothing is registered yet.
    let list = staff
        .wait_for("all meters on the list", |screen| {
            ["…00:01", "…00:02", "…00:03", "…00:04"]
                .iter()
                .all(|tail| screen.says(tail))
        })
        .await
        .unwrap();
    assert_eq!(list.html.matches("BP Twin</span>").count(), 4);
    assert!(list.says("Heard now") && list.says("There are no registered meters yet."));

    // Wrong digits: the meter refuses, and staff is told what to do.
    staff.pair(SHOWS.1).await.unwrap();
    let entry = prompt(&staff, "Type the six digits that the meter shows").await;
    let malformed = staff
        .press(&entry, "/staff/passkey", &[("passkey", "12345")])
        .await
        .unwrap();
    assert!(malformed.says("It must be exactly six digits."));
    let digits = display(&mut world, SHOWS.0).await;
    staff
        .press(&malformed, "/staff/passkey", &[("passkey", &others(&digits))])
        .await
        .unwrap();
    let failed = over(&staff, "failed").await;
    assert!(failed.says("The digits were not right") && failed.says("the meter shows new digits"));

    // Again, with the digits of the meter.
    staff.begin(&failed, "pair", SHOWS.1).await.unwrap();
    let paired = pair_with_passkey(&mut world, &staff).await;
    assert!(paired.says("SN-shows") && paired.says("SIM-BP3") && paired.says("…00:01"));

    // Registering asks for what is missing, and keeps what was filled in.
    let unknown = [("role", "personal"), ("code0", "CP-0000"), ("slot0", "")];
    let refused = staff.press(&paired, "/staff/register", &unknown).await.unwrap();
    assert!(refused.says("not known in this store") && refused.says("value=\"CP-0000\""));
    let right = [("role", "personal"), ("code0", person.code.as_str()), ("slot0", "")];
    staff.press(&refused, "/staff/register", &right).await.unwrap();
    let listed = staff
        .wait_for("the meter among the registered", |screen| {
            screen.says("Serial SN-shows") && screen.says("陈**") && screen.says("Paired here")
        })
        .await
        .unwrap();
    assert!(!listed.says("陈美玲"), "the name is never shown in full");
    assert!(!listed.says("Waiting for the server"));

    next_second().await;
    measure(&mut world, SHOWS.0, 133).await;
    let readings = world.readings_of(&person, 1).await.unwrap();
    assert!(readings[0].to_string().contains("133"), "{readings:?}");
    closed(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_agree_on_a_key_ends_in_a_bond_or_in_a_reason() {
    let (mut world, staff) = opened(simulator(), &[]).await;

    // Nothing is shown anywhere.
    staff.pair(PLAIN.1).await.unwrap();
    let paired = over(&staff, "paired").await;
    assert!(paired.says("SN-plain"));
    let list = staff.press(&paired, "/staff/done", &[]).await.unwrap();
    assert_eq!(list.name, "meters");
    staff
        .wait_for("the bond among the unregistered", |screen| {
            screen.says("Paired and not registered")
        })
        .await
        .unwrap();

    // The page shows digits, and they are typed on the meter.
    staff.pair(TYPES.1).await.unwrap();
    let shown = prompt(&staff, "Type these six digits on the meter").await;
    let (_, rest) = shown.html.split_once("class=\"digits\">").unwrap();
    let digits = rest.get(..6).unwrap().to_owned();
    world.meters().type_passkey(TYPES.0, &digits).await.unwrap();
    let paired = over(&staff, "paired").await;
    assert!(paired.says("SN-types"));
    assert_no_digits(&world, &digits);
    staff.press(&paired, "/staff/done", &[]).await.unwrap();

    // Numbers that staff does not find equal.
    staff.pair(COMPARES.1).await.unwrap();
    let compare = prompt(&staff, "Does the meter show the same six digits?").await;
    let digits = display(&mut world, COMPARES.0).await;
    assert!(compare.says(&digits));
    staff
        .press(&compare, "/staff/confirm", &[("answer", "no")])
        .await
        .unwrap();
    let failed = over(&staff, "failed").await;
    assert!(failed.says("The digits were not the same."));
    // And numbers that are.
    staff.begin(&failed, "pair", COMPARES.1).await.unwrap();
    let compare = prompt(&staff, "Does the meter show the same six digits?").await;
    display(&mut world, COMPARES.0).await;
    world.meters().confirm_pairing(COMPARES.0, true).await.unwrap();
    staff
        .press(&compare, "/staff/confirm", &[("answer", "yes")])
        .await
        .unwrap();
    assert!(over(&staff, "paired").await.says("SN-compares"));
    closed(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_answers_in_time_and_a_meter_that_lost_its_bond_is_paired_again() {
    let (mut world, staff) = opened(simulator(), &[]).await;
    staff.pair(SHOWS.1).await.unwrap();
    prompt(&staff, "Type the six digits that the meter shows").await;
    let late = staff
        .wait_long("the end of the time to answer", TOO_LONG, |screen| {
            screen.name == "failed"
        })
        .await
        .unwrap();
    assert!(late.says("Time ran out"), "{}", late.html);

    staff.begin(&late, "pair", SHOWS.1).await.unwrap();
    let paired = pair_with_passkey(&mut world, &staff).await;
    staff
        .press(&paired, "/staff/register", &[("role", "store_shared")])
        .await
        .unwrap();
    staff
        .wait_for("the store's cuff", |screen| {
            screen.says("Paired here") && screen.says("The store")
        })
        .await
        .unwrap();

    // New batteries: the meter forgets. Pairing again removes the old bond first.
    world.meters().wipe_bonds(SHOWS.0).await.unwrap();
    let list = staff.look().await.unwrap();
    staff.begin(&list, "pair_again", SHOWS.1).await.unwrap();
    let again = pair_with_passkey(&mut world, &staff).await;
    assert!(again.says("registered already"), "{}", again.html);
    assert_eq!(world.meters().display(SHOWS.0).await.unwrap().bonds, 1);

    // Forgetting asks first, and then there is no bond.
    let list = staff.press(&again, "/staff/done", &[]).await.unwrap();
    staff.begin(&list, "forget", SHOWS.1).await.unwrap();
    over(&staff, "done").await;
    let list = staff.look().await.unwrap();
    staff.press(&list, "/staff/done", &[]).await.unwrap();
    staff
        .wait_for("the store's cuff without a bond", |screen| {
            screen.says("Not paired here")
        })
        .await
        .unwrap();
    closed(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_pairs_and_registers_and_the_page_stays_closed_to_guesses() {
    let (mut world, staff) = opened(simulator(), &[]).await;
    staff
        .wait_for("the plain meter", |screen| screen.says("…00:04"))
        .await
        .unwrap();
    let folder = format!("data_dir={:?}", world.gateway_folder());
    let command = async |arguments: &[&str]| {
        let mut all = vec!["--set", folder.as_str()];
        all.extend_from_slice(arguments);
        let output = run_to_end(Program::Gateway, &all, &[], "").await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text + &String::from_utf8_lossy(&output.stderr))
    };
    let (code, listed) = command(&["pair"]).await;
    assert_eq!(code, Some(0), "{listed}");
    assert!(
        listed.contains(PLAIN.1) && listed.contains("blood_pressure"),
        "{listed}"
    );
    let (code, said) = command(&["pair", "no-address"]).await;
    assert_eq!(code, Some(2), "{said}");
    let (code, said) = command(&["pair", PLAIN.1, "--shared"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("SN-plain") && said.contains("Registered here"), "{said}");
    staff
        .wait_for("the meter among the registered", |screen| {
            screen.says("Serial SN-plain")
        })
        .await
        .unwrap();
    // The meter is the store's now, and everybody's at the kiosk.
    measure(&mut world, PLAIN.0, 121).await;
    let status = world.status().await.unwrap();
    assert_eq!(status["spool"]["counters"]["pairings"], 1, "{status}");

    let stranger = StaffPage::at(world.kiosk_address()).unwrap();
    let door = stranger.look().await.unwrap();
    assert_eq!(door.name, "door");
    let mut screen = door;
    for guess in ["000000", "111111", "222222", "333333"] {
        screen = stranger
            .press(&screen, "/staff/enter", &[("pin", guess)])
            .await
            .unwrap();
        assert_eq!(screen.name, "door");
    }
    assert!(screen.says("Too many wrong PINs"), "{}", screen.html);
    let even_right = stranger.press(&screen, "/staff/enter", &[("pin", PIN)]).await.unwrap();
    assert_eq!(even_right.name, "door", "the door is closed for a while");
    closed(world).await;
}
