//! A meter from home is registered at the staff page: whose is what it has stored from before? And a meter that nobody here
//! can read is named, and not offered.

use carepost_domain::meter::{Address, AddressType, meter_id};
use carepost_sim::control::GlucoseRecord;
use serde_json::{Value, json};
use system_tests::programs::{Program, run_to_end};
use system_tests::staff::{StaffPage, StaffScreen};
use system_tests::wait::wait_for;
use system_tests::world::{Person, SOON, World, list};

use super::pairing::{closed, next_second, opened};

/// Two home meters with records of the last days.
const MINE: (&str, &str) = ("mine", "C4:DE:06:00:00:01");
const LENT: (&str, &str) = ("lent", "C4:DE:06:00:00:02");
/// Speaks its maker's own protocol, as Omron's meters with this service do.
const OMRON: (&str, &str) = ("omron", "C4:DE:06:00:00:03");
/// Stored records of each home meter.
const STORED: usize = 12;

fn simulator() -> String {
    let mut text = "[adapter]\nadvertising_interval_ms = 50\nconnect_delay_ms = 5\nresolve_delay_ms = 5\n".to_owned();
    for (name, address) in [MINE, LENT] {
        text.push_str(&format!(
            "\n[[meters]]\nname = {name:?}\nkind = \"glucose\"\naddress = {address:?}\nlocal_name = \"Meter\"\n\
             manufacturer = \"Simulated\"\nmodel = \"SIM-BG2\"\nserial = \"SN-{name}\"\nfirmware = \"1.0\"\n\
             advertise = \"always\"\nclock_service = \"current_time\"\n[meters.stored]\ncount = {STORED}\n\
             [meters.glucose]\nnotification_interval_ms = 2\n\
             [meters.security]\nio = \"no_input_no_output\"\ndemands = \"encryption\"\n"
        ));
    }
    let (name, address) = OMRON;
    text.push_str(&format!(
        "\n[[meters]]\nname = {name:?}\nkind = \"cuff\"\naddress = {address:?}\nlocal_name = \"BLEsmart_000\"\n\
         advertise = \"always\"\nown_service = 0xFE4A\n"
    ));
    text
}

/// A member who agrees to be recorded, with or without what was measured before.
async fn member(world: &World, code: &str, with_history: bool) -> Person {
    let person = world
        .member(code, "周桂兰", 1957, "female", &["diabetes"], &[])
        .await
        .unwrap();
    let grant = json!({"purpose": "care_record", "text_version": "2026-11", "text_sha256": "5e".repeat(32),
        "channel": "paper", "includes_history": with_history});
    let path = format!("/api/v1/members/{}/grants", person.id);
    world.pharmacist().unwrap().post(&path, &grant).await.unwrap();
    world.gateway_up_to_date().await.unwrap();
    person
}

/// Pairs a meter up to the form that asks whose it is.
async fn paired(staff: &StaffPage, meter: (&str, &str)) -> StaffScreen {
    staff.pair(meter.1).await.unwrap();
    let form = staff
        .wait_for("the end of the pairing", |screen| screen.is_over())
        .await
        .unwrap();
    assert_eq!(form.name, "paired", "{}", form.html);
    form
}

async fn registered(world: &World, staff: &StaffPage, meter: (&str, &str)) {
    let serial = format!("Serial SN-{}", meter.0);
    staff
        .wait_for("the meter among the registered", |screen| screen.says(&serial))
        .await
        .unwrap();
    world.gateway_up_to_date().await.unwrap();
}

/// Why records of a meter are kept aside at the gateway, and how many.
async fn aside(world: &World, meter: (&str, &str)) -> Value {
    let status = world.status().await.unwrap();
    let meters = list(&status["spool"], "meters").unwrap();
    let id = meter_id(meter.1.parse::<Address>().unwrap(), AddressType::Public).to_string();
    let of_it = meters.iter().find(|row| row["id"] == id.as_str());
    of_it.map_or(Value::Null, |row| row["quarantined"].clone())
}

async fn measure(world: &mut World, meter: (&str, &str)) {
    // Meters keep whole seconds: what is measured in the second of the registration counts as before it.
    next_second().await;
    let record = GlucoseRecord {
        mmol_l_tenths: Some(64),
        ..GlucoseRecord::default()
    };
    world.meters().measure_glucose(meter.0, record).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_meter_has_stored_is_its_owners_only_when_staff_say_that_nobody_else_used_it() {
    let (mut world, staff) = opened(simulator(), &["bluetooth.cool_down_ms=500"]).await;
    let zhou = member(&world, "CP-7101", true).await;
    let borrower = member(&world, "CP-7102", true).await;

    // The safe answer is chosen already, and what was answered stays when something else is wrong.
    let form = paired(&staff, MINE).await;
    assert!(form.says("Has anybody else ever measured with this meter?"));
    assert!(form.says("name=\"only_ever\" value=\"no\" checked"), "{}", form.html);
    assert!(!form.says("slot0"), "a glucose meter does not say who measured");
    let answered = [("role", "personal"), ("only_ever", "yes")];
    let unknown = [&answered[..], &[("code0", "CP-0000")]].concat();
    let refused = staff.press(&form, "/staff/register", &unknown).await.unwrap();
    assert!(refused.says("not known in this store"));
    assert!(refused.says("name=\"only_ever\" value=\"yes\" checked"));
    let users = [&answered[..], &[("code0", zhou.code.as_str()), ("slot0", "1")]].concat();
    let refused = staff.press(&refused, "/staff/register", &users).await.unwrap();
    assert!(refused.says("does not say who measured"), "{}", refused.html);
    let right = [&answered[..], &[("code0", zhou.code.as_str())]].concat();
    staff.press(&refused, "/staff/register", &right).await.unwrap();
    registered(&world, &staff, MINE).await;
    world.readings_of(&zhou, STORED).await.unwrap();
    assert_eq!(aside(&world, MINE).await, json!({}));

    // Without that word the same backlog waits for a person, and what is measured from now on is the member's.
    let form = paired(&staff, LENT).await;
    let silent = [("role", "personal"), ("code0", borrower.code.as_str())];
    staff.press(&form, "/staff/register", &silent).await.unwrap();
    registered(&world, &staff, LENT).await;
    let kept = wait_for("the backlog to be kept aside", SOON, async || {
        let aside = aside(&world, LENT).await;
        Ok(Some(aside).filter(|aside| aside["before_binding"] == STORED))
    });
    kept.await.unwrap();
    measure(&mut world, LENT).await;
    world.readings_of(&borrower, 1).await.unwrap();
    assert_eq!(aside(&world, LENT).await, json!({ "before_binding": STORED }));
    assert_eq!(world.readings(&zhou).await.unwrap().len(), STORED);
    closed(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_nobody_else_used_a_meter_says_nothing_about_consent() {
    let (mut world, staff) = opened(simulator(), &["bluetooth.cool_down_ms=500"]).await;
    let from_now_on = member(&world, "CP-7201", false).await;
    let with_history = member(&world, "CP-7202", true).await;
    let form = paired(&staff, MINE).await;
    let fields = [
        ("role", "personal"),
        ("only_ever", "yes"),
        ("code0", from_now_on.code.as_str()),
    ];
    staff.press(&form, "/staff/register", &fields).await.unwrap();
    registered(&world, &staff, MINE).await;
    measure(&mut world, MINE).await;
    world.readings_of(&from_now_on, 1).await.unwrap();
    assert_eq!(aside(&world, MINE).await, json!({}), "nor is it kept at the gateway");

    // The command line asks nothing: it is told, or the safe answer holds.
    staff
        .wait_for("the other meter", |screen| screen.says("…00:02"))
        .await
        .unwrap();
    let folder = format!("data_dir={:?}", world.gateway_folder());
    let command = async |arguments: &[&str]| {
        let all = [&["--set", folder.as_str(), "pair", LENT.1], arguments].concat();
        let output = run_to_end(Program::Gateway, &all, &[], "").await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text + &String::from_utf8_lossy(&output.stderr))
    };
    let (code, said) = command(&["--only-ever"]).await;
    assert_eq!(code, Some(2), "{said}");
    let (code, said) = command(&["--owner", with_history.code.as_str(), "--only-ever"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("Registered here") && !said.contains("kept aside"),
        "{said}"
    );
    registered(&world, &staff, LENT).await;
    world.readings_of(&with_history, STORED).await.unwrap();
    assert_eq!(world.readings(&from_now_on).await.unwrap().len(), 1);
    closed(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meter_with_its_makers_own_protocol_is_named_and_not_offered() {
    let (mut world, staff) = opened(simulator(), &["bluetooth.cool_down_ms=500"]).await;
    let list = staff
        .wait_for("the Omron on the list", |screen| screen.says("…00:03"))
        .await
        .unwrap();
    assert!(list.says("Omron meter with its own protocol") && list.says("Recognised, unsupported"));
    assert!(list.says("Please use another meter."));
    let button = format!("name=\"address\" value=\"{}\"", OMRON.1);
    assert!(!list.says(&button), "there is nothing to press: {}", list.html);
    let chinese = staff
        .press(&list, "/staff/language", &[("language", "zh-CN")])
        .await
        .unwrap();
    assert!(chinese.says("欧姆龙仪器（厂家自有协议）") && chinese.says("已识别，不支持"));
    let status = world.status().await.unwrap();
    let families = status["daemon"]["nearby"]["unsupported"].as_object().unwrap();
    assert_eq!(families.values().collect::<Vec<_>>(), [&json!(1)], "{status}");
    assert_eq!(world.meters().counters().await.unwrap().connections, 0);
    closed(world).await;
}
