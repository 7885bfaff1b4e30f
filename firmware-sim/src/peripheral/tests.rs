//! The front against a bluetoothd made of plain messages. What a real one makes of it is seen in `tests/lab`.

use std::collections::HashMap;

use carepost_daemon::Clock;
use carepost_gatt::uuid16;
use chrono::DateTime;
use zbus::message::{Message, Type};
use zbus::{ObjectPath, OwnedObjectPath, OwnedVariant, Variant};

use super::front::Front;
use super::objects::{AGENT, AGENT_INTERFACE, CHARACTERISTIC};
use super::settings::Seat;
use super::world::{PeripheralError, front};
use crate::SimTime;
use crate::config::SimConfig;
use crate::control::{Command, CuffRecord, Display, Reply};
use crate::ledger::LedgerEntry;

const BLUEZ: &str = ":1.7";
const STRANGER: &str = ":1.66";
const ADAPTER: &str = "/org/bluez/hci1";
const GLUCOSE_ADAPTER: &str = "/org/bluez/hci2";
const CENTRAL: &str = "/org/bluez/hci1/dev_AA_BB_CC_DD_EE_FF";
const GLUCOSE_CENTRAL: &str = "/org/bluez/hci2/dev_AA_BB_CC_DD_EE_FF";

fn config() -> SimConfig {
    toml::from_str(
        r#"
        [[meters]]
        name = "cuff"
        kind = "cuff"
        address = "C4:DE:01:00:00:01"
        local_name = "BP"
        idle_disconnect_ms = 60000
        [meters.security]
        demands = "authentication"
        io = "display_only"
        [meters.cuff]
        indication_interval_ms = 0
        after_confirm = "delete"

        [[meters]]
        name = "glucose"
        kind = "glucose"
        address = "C4:DE:02:00:00:01"
        local_name = "GM"
        idle_disconnect_ms = 60000
        [meters.glucose]
        notification_interval_ms = 0
        [meters.stored]
        count = 3
        "#,
    )
    .unwrap()
}

/// A call of the front, as bluetoothd sees it.
struct Call {
    path: String,
    member: String,
    message: Message,
}

/// bluetoothd and the time.
struct Bench {
    front: Front,
    now: SimTime,
    /// Replies and signals of the front that nobody has looked at yet.
    other: Vec<Message>,
}

impl Bench {
    fn new(seats: &[&str]) -> Self {
        let seats: Vec<Seat> = seats.iter().map(|seat| seat.parse().unwrap()).collect();
        let (clock, _) = Clock::manual(DateTime::from_timestamp(1_780_000_000, 0).unwrap());
        Self {
            front: front(&config(), &seats, &clock).unwrap(),
            now: SimTime::ZERO,
            other: Vec::new(),
        }
    }

    /// With bluetoothd running, and everything registered.
    fn ready(seats: &[&str]) -> Self {
        let mut bench = Self::new(seats);
        bench.front.bluez_came(BLUEZ.to_owned());
        bench.agree();
        assert!(bench.front.is_ready(), "{}", bench.front.missing());
        bench
    }

    /// The calls that the front has made since.
    fn calls(&mut self) -> Vec<Call> {
        self.front.advance(self.now);
        let mut calls = Vec::new();
        for message in self.front.take_outgoing() {
            if message.message_type() != Type::MethodCall {
                self.other.push(message);
                continue;
            }
            let header = message.header();
            calls.push(Call {
                path: header.path().unwrap().to_string(),
                member: header.member().unwrap().to_string(),
                message: message.clone(),
            });
        }
        calls
    }

    /// Says yes to everything until nothing more is asked, and returns the names of what was asked.
    fn agree(&mut self) -> Vec<String> {
        let mut asked = Vec::new();
        loop {
            let calls = self.calls();
            if calls.is_empty() {
                return asked;
            }
            for call in calls {
                match call.member.as_str() {
                    "GetManagedObjects" => self.answer(&call, &objects()),
                    _ => self.answer(&call, &()),
                }
                asked.push(call.member);
            }
        }
    }

    fn answer<B>(&mut self, call: &Call, body: &B)
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        let reply = Message::method_return(&call.message.header()).sender(BLUEZ);
        self.receive(&reply.build(body).unwrap());
    }

    fn refuse(&mut self, call: &Call) {
        let reply = Message::error(&call.message.header(), "org.bluez.Error.Failed");
        self.receive(&reply.sender(BLUEZ).build(&"no").unwrap());
    }

    fn receive(&mut self, message: &Message) {
        self.front.receive(self.now, message);
    }

    fn changed(&mut self, path: &str, interface: &str, name: &str, value: Variant<'_>) {
        let signal = Message::signal(path, "org.freedesktop.DBus.Properties", "PropertiesChanged");
        let body = (interface, HashMap::from([(name, value)]), Vec::<&str>::new());
        self.receive(&signal.sender(BLUEZ).build(&body).unwrap());
    }

    fn connected(&mut self, device: &str, connected: bool) {
        self.changed(device, "org.bluez.Device1", "Connected", connected.into());
    }

    /// A call of `sender`, and what it was answered.
    fn call_as<B>(&mut self, sender: &str, path: &str, interface: &str, member: &str, body: &B) -> Option<Message>
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        let call = Message::method_call(path, member).sender(sender);
        let call = call.interface(interface).build(body).unwrap();
        self.receive(&call);
        let serial = call.primary_header().serial_num();
        self.sent()
            .into_iter()
            .find(|message| message.header().reply_serial() == Some(serial))
    }

    fn call<B>(&mut self, path: &str, interface: &str, member: &str, body: &B) -> Message
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        let answer = self.call_as(BLUEZ, path, interface, member, body);
        answer.unwrap_or_else(|| panic!("{member} is answered"))
    }

    /// Replies and signals since, in order.
    fn sent(&mut self) -> Vec<Message> {
        self.agree();
        std::mem::take(&mut self.other)
    }

    /// Values of characteristics that went out since, as hex.
    fn values(&mut self) -> Vec<Vec<u8>> {
        let signals = self.sent().into_iter();
        signals
            .filter(|message| message.message_type() == Type::Signal)
            .map(|message| {
                let body = message.body();
                let (interface, mut changed, _): (String, HashMap<String, OwnedVariant>, Vec<String>) =
                    body.deserialize().unwrap();
                assert_eq!(interface, CHARACTERISTIC);
                Vec::<u8>::try_from(changed.remove("Value").unwrap()).unwrap()
            })
            .collect()
    }

    fn path(&self, seat: usize, uuid: u16) -> String {
        self.front.posts[seat].characteristic_path(uuid).unwrap()
    }

    fn execute(&mut self, command: Command) -> Reply {
        self.front.execute(self.now, command).unwrap()
    }

    fn measure(&mut self, systolic: u16) {
        self.execute(Command::MeasureCuff {
            meter: "cuff".to_owned(),
            record: CuffRecord {
                systolic: Some(systolic),
                diastolic: Some(80),
                ..CuffRecord::default()
            },
        });
    }

    fn ledger(&self) -> &[LedgerEntry] {
        self.front.ledger.entries()
    }

    fn display(&mut self) -> Display {
        match self.execute(Command::Display {
            meter: "cuff".to_owned(),
        }) {
            Reply::Display(display) => display,
            other => panic!("a display, not {other:?}"),
        }
    }
}

type Objects = HashMap<ObjectPath<'static>, HashMap<&'static str, HashMap<&'static str, Variant<'static>>>>;

/// Two powered adapters.
fn objects() -> Objects {
    [(ADAPTER, "F0:00:00:00:00:01"), (GLUCOSE_ADAPTER, "F0:00:00:00:00:02")]
        .into_iter()
        .map(|(path, address)| {
            let values = HashMap::from([("Address", address.into()), ("Powered", true.into())]);
            let path = ObjectPath::try_from(path).unwrap();
            (path, HashMap::from([("org.bluez.Adapter1", values)]))
        })
        .collect()
}

fn error_name(message: &Message) -> String {
    message
        .header()
        .error_name()
        .map(|name| name.to_string())
        .unwrap_or_default()
}

fn options() -> HashMap<&'static str, Variant<'static>> {
    HashMap::new()
}

#[test]
fn a_meter_is_registered_and_advertises_only_in_its_window() {
    let mut bench = Bench::new(&["hci1=cuff"]);
    assert_eq!(bench.front.missing(), "bluetoothd does not run");
    bench.front.bluez_came(BLUEZ.to_owned());
    let asked = bench.agree();
    for member in ["GetManagedObjects", "RegisterAgent", "RegisterApplication"] {
        assert!(asked.iter().any(|found| found == member), "{member} in {asked:?}");
    }
    assert!(!asked.iter().any(|found| found == "RegisterAdvertisement"));
    assert!(bench.front.is_ready());
    assert_eq!(
        bench.front.seats(),
        [("hci1".to_owned(), "F0:00:00:00:00:01".to_owned(), "cuff".to_owned())]
    );
    bench.measure(128);
    // Passkeys go to the default agent: whoever it was meanwhile, it is the meter's again before it can be found.
    assert_eq!(bench.agree(), ["RequestDefaultAgent", "RegisterAdvertisement"]);
    assert!(bench.agree().is_empty());
    bench.now = bench.front.deadline().unwrap();
    assert_eq!(bench.agree(), ["RequestDefaultAgent"]);
    bench.now += SimTime::from_secs(3_600);
    assert_eq!(bench.agree(), ["UnregisterAdvertisement"]);
}

#[test]
fn seats_that_contradict_each_other_or_name_nobody_are_refused() {
    let (clock, _) = Clock::manual(DateTime::from_timestamp(1_780_000_000, 0).unwrap());
    let refused = |seats: &[&str]| {
        let seats: Vec<Seat> = seats.iter().map(|seat| seat.parse().unwrap()).collect();
        front(&config(), &seats, &clock).unwrap_err()
    };
    assert!(matches!(refused(&["hci1=nobody"]), PeripheralError::NoMeter { .. }));
    assert!(matches!(
        refused(&["hci1=cuff", "hci1=glucose"]),
        PeripheralError::Seats
    ));
    assert!(matches!(refused(&["hci1=cuff", "hci2"]), PeripheralError::Seats));
}

#[test]
fn protected_characteristics_say_so_to_bluetoothd_and_others_do_not() {
    let mut bench = Bench::ready(&["hci1=cuff"]);
    let reply = bench.call(
        "/org/carepost/sim/hci1",
        "org.freedesktop.DBus.ObjectManager",
        "GetManagedObjects",
        &(),
    );
    let objects: HashMap<OwnedObjectPath, HashMap<String, HashMap<String, OwnedVariant>>> =
        reply.body().deserialize().unwrap();
    let flags = |uuid: u16| {
        let path = OwnedObjectPath::try_from(bench.path(0, uuid)).unwrap();
        Vec::<String>::try_from(objects[&path][CHARACTERISTIC]["Flags"].try_clone().unwrap()).unwrap()
    };
    assert_eq!(
        flags(uuid16::BLOOD_PRESSURE_MEASUREMENT),
        ["indicate", "encrypt-authenticated-indicate"]
    );
    assert_eq!(flags(uuid16::BLOOD_PRESSURE_FEATURE), ["read"]);
}

#[test]
fn a_record_is_indicated_confirmed_and_deleted_and_the_advertisement_ends_with_the_link() {
    let mut bench = Bench::ready(&["hci1=cuff"]);
    bench.measure(128);
    bench.measure(131);
    bench.agree();
    bench.connected(CENTRAL, true);
    assert_eq!(bench.agree(), ["UnregisterAdvertisement"]);
    let measurement = bench.path(0, uuid16::BLOOD_PRESSURE_MEASUREMENT);
    bench.call(&measurement, CHARACTERISTIC, "StartNotify", &());
    // One at a time: the second waits for the confirmation of the first.
    assert_eq!(
        bench.ledger().iter().map(|entry| entry.sent).collect::<Vec<_>>(),
        [1, 0]
    );
    bench.call(&measurement, CHARACTERISTIC, "Confirm", &());
    let seen: Vec<_> = bench
        .ledger()
        .iter()
        .map(|entry| (entry.sent, entry.confirmed))
        .collect();
    assert_eq!(seen, [(1, 1), (1, 0)]);
    // A confirmation that never comes: the record stays, and is sent again on the next link of a bonded central, whose
    // subscription bluetoothd keeps.
    bench.connected(CENTRAL, false);
    assert_eq!(bench.front.posts[0].meter.memory(), (1, 1));
    bench.connected(CENTRAL, true);
    assert_eq!(bench.values().len(), 1);
    bench.call(&measurement, CHARACTERISTIC, "Confirm", &());
    assert_eq!(bench.front.posts[0].meter.memory(), (0, 0));
    let seen: Vec<_> = bench
        .ledger()
        .iter()
        .map(|entry| (entry.sent, entry.confirmed))
        .collect();
    assert_eq!(seen, [(1, 1), (2, 1)]);
}

#[test]
fn glucose_records_are_reported_on_request_and_errors_have_their_att_codes() {
    let mut bench = Bench::ready(&["hci2=glucose"]);
    bench.connected(GLUCOSE_CENTRAL, true);
    let control = bench.path(0, uuid16::RECORD_ACCESS_CONTROL_POINT);
    let report_all = (vec![1_u8, 1], options());
    let refused = bench.call(&control, CHARACTERISTIC, "WriteValue", &report_all);
    assert_eq!(error_name(&refused), "org.bluez.Error.Failed");
    assert_eq!(refused.body().deserialize::<String>().unwrap(), "0x81");
    for uuid in [uuid16::GLUCOSE_MEASUREMENT, uuid16::RECORD_ACCESS_CONTROL_POINT] {
        let path = bench.path(0, uuid);
        bench.call(&path, CHARACTERISTIC, "StartNotify", &());
    }
    let call = Message::method_call(control.as_str(), "WriteValue");
    let call = call.sender(BLUEZ).interface(CHARACTERISTIC);
    bench.receive(&call.build(&report_all).unwrap());
    let sent = bench.sent();
    // The response goes first, then the records in order, then the answer.
    let kinds: Vec<Type> = sent.iter().map(Message::message_type).collect();
    assert_eq!(
        kinds,
        [
            Type::MethodReturn,
            Type::Signal,
            Type::Signal,
            Type::Signal,
            Type::Signal
        ]
    );
    assert!(bench.ledger().iter().all(|entry| entry.sent == 1));
}

#[test]
fn reads_give_the_rest_from_their_offset() {
    let mut bench = Bench::ready(&["hci1=cuff"]);
    bench.connected(CENTRAL, true);
    let feature = bench.path(0, uuid16::BLOOD_PRESSURE_FEATURE);
    let read = |bench: &mut Bench, offset: u16| {
        let options = HashMap::from([("offset", Variant::U16(offset))]);
        bench.call(&feature, CHARACTERISTIC, "ReadValue", &options)
    };
    let whole: Vec<u8> = read(&mut bench, 0).body().deserialize().unwrap();
    let rest: Vec<u8> = read(&mut bench, 1).body().deserialize().unwrap();
    assert_eq!((whole.len(), rest.as_slice()), (2, &whole[1..]));
    assert_eq!(error_name(&read(&mut bench, 3)), "org.bluez.Error.InvalidOffset");
}

#[test]
fn without_a_link_nothing_is_read_and_a_request_is_news_of_one() {
    let mut bench = Bench::ready(&["hci1=cuff"]);
    let feature = bench.path(0, uuid16::BLOOD_PRESSURE_FEATURE);
    let refused = bench.call(&feature, CHARACTERISTIC, "ReadValue", &options());
    assert_eq!(error_name(&refused), "org.bluez.Error.Rejected");
    let device = ObjectPath::try_from(CENTRAL).unwrap();
    let options = HashMap::from([("device", Variant::from(device))]);
    let answer = bench.call(&feature, CHARACTERISTIC, "ReadValue", &options);
    assert_eq!(error_name(&answer), "");
    assert_eq!(bench.front.counters.connections, 1);
}

#[test]
fn only_bluetoothd_may_call() {
    let mut bench = Bench::ready(&["hci1=cuff"]);
    bench.connected(CENTRAL, true);
    let measurement = bench.path(0, uuid16::BLOOD_PRESSURE_MEASUREMENT);
    for (path, interface, member) in [
        (measurement.as_str(), CHARACTERISTIC, "StartNotify"),
        (AGENT, AGENT_INTERFACE, "Release"),
    ] {
        let answer = bench.call_as(STRANGER, path, interface, member, &()).unwrap();
        assert_eq!(error_name(&answer), "org.freedesktop.DBus.Error.AccessDenied");
    }
    assert!(bench.front.posts[0].notifying.is_empty() && bench.front.is_ready());
    // Nor may anybody else say what happens to links.
    let signal = Message::signal(CENTRAL, "org.freedesktop.DBus.Properties", "PropertiesChanged");
    let gone = HashMap::from([("Connected", Variant::Bool(false))]);
    let body = ("org.bluez.Device1", gone, Vec::<&str>::new());
    bench.receive(&signal.sender(STRANGER).build(&body).unwrap());
    assert!(bench.front.posts[0].is_linked());
}

#[test]
fn nonsense_is_answered_with_an_error_and_changes_nothing() {
    let mut bench = Bench::ready(&["hci1=cuff"]);
    bench.connected(CENTRAL, true);
    let measurement = bench.path(0, uuid16::BLOOD_PRESSURE_MEASUREMENT);
    let too_long = (vec![0_u8; 513], options());
    let cases = [
        bench.call(&measurement, CHARACTERISTIC, "ReadValue", &7_u32),
        bench.call(&measurement, CHARACTERISTIC, "WriteValue", &"text"),
        bench.call(&measurement, CHARACTERISTIC, "WriteValue", &too_long),
        bench.call(&measurement, CHARACTERISTIC, "Dance", &()),
        bench.call("/org/carepost/sim/hci1/service9999", CHARACTERISTIC, "StartNotify", &()),
        bench.call("/org/carepost/sim/hci9", CHARACTERISTIC, "StartNotify", &()),
        bench.call(AGENT, AGENT_INTERFACE, "DisplayPasskey", &"text"),
        bench.call(AGENT, AGENT_INTERFACE, "RequestPinCode", &"text"),
    ];
    for answer in &cases {
        assert_eq!(answer.message_type(), Type::Error);
    }
    assert_eq!(bench.front.counters.bus_errors, cases.len() as u64);
    assert!(bench.front.posts[0].is_linked() && bench.front.posts[0].notifying.is_empty());
}

#[test]
fn the_passkey_is_on_the_display_until_the_bond_is_made() {
    let mut bench = Bench::ready(&["hci1=cuff"]);
    bench.connected(CENTRAL, true);
    let device = ObjectPath::try_from(CENTRAL).unwrap();
    bench.call(AGENT, AGENT_INTERFACE, "DisplayPasskey", &(&device, 4_321_u32, 0_u16));
    assert_eq!(bench.display().shows.as_deref(), Some("004321"));
    bench.changed(CENTRAL, "org.bluez.Device1", "Bonded", true.into());
    let display = bench.display();
    assert_eq!((display.shows, display.bonds), (None, 1));
    assert_eq!(bench.front.counters.pairings, 1);
    // A meter that shows passkeys takes no bond without one, and shows none to other people's devices.
    let refused = bench.call(AGENT, AGENT_INTERFACE, "RequestAuthorization", &device);
    assert_eq!(error_name(&refused), "org.bluez.Error.Rejected");
    let elsewhere = ObjectPath::try_from("/org/bluez/hci0/dev_AA_BB_CC_DD_EE_FF").unwrap();
    let refused = bench.call(AGENT, AGENT_INTERFACE, "DisplayPasskey", &(&elsewhere, 1_u32, 0_u16));
    assert_eq!(error_name(&refused), "org.bluez.Error.Rejected");
}

#[test]
fn people_type_and_compare_on_the_meter() {
    let mut bench = Bench::ready(&["hci1=cuff"]);
    bench.connected(CENTRAL, true);
    let device = ObjectPath::try_from(CENTRAL).unwrap();
    let meter = || "cuff".to_owned();
    let typed = |passkey: &str| Command::TypePasskey {
        meter: meter(),
        passkey: passkey.to_owned(),
    };
    let refused = bench.front.execute(bench.now, typed("123456")).unwrap_err();
    assert_eq!(refused.code, "not_asked");

    assert!(
        bench
            .call_as(BLUEZ, AGENT, AGENT_INTERFACE, "RequestPasskey", &device)
            .is_none()
    );
    assert!(bench.display().asks_passkey);
    assert_eq!(
        bench.front.execute(bench.now, typed("12345")).unwrap_err().code,
        "bad_value"
    );
    bench.execute(typed("012345"));
    let answers = bench.sent();
    assert_eq!(answers[0].body().deserialize::<u32>().unwrap(), 12_345);

    let question = (&device, 77_u32);
    assert!(
        bench
            .call_as(BLUEZ, AGENT, AGENT_INTERFACE, "RequestConfirmation", &question)
            .is_none()
    );
    let display = bench.display();
    assert_eq!(
        (display.shows.as_deref(), display.asks_confirmation),
        (Some("000077"), true)
    );
    bench.execute(Command::ConfirmPairing {
        meter: meter(),
        accept: false,
    });
    assert_eq!(error_name(&bench.sent()[0]), "org.bluez.Error.Rejected");
    assert!(!bench.display().asks_confirmation);
}

#[test]
fn a_second_central_is_sent_away() {
    let mut bench = Bench::ready(&["hci1=cuff"]);
    bench.connected(CENTRAL, true);
    bench.agree();
    let second = "/org/bluez/hci1/dev_11_22_33_44_55_66";
    bench.connected(second, true);
    let calls = bench.calls();
    let sent_away = calls.iter().find(|call| call.member == "Disconnect").unwrap();
    assert_eq!(sent_away.path, second);
    bench.connected(second, false);
    assert!(bench.front.posts[0].is_linked());
}

#[test]
fn everything_is_registered_again_after_bluetoothd_and_the_record_in_flight_is_kept() {
    let mut bench = Bench::ready(&["hci1=cuff"]);
    bench.measure(128);
    bench.agree();
    bench.connected(CENTRAL, true);
    let measurement = bench.path(0, uuid16::BLOOD_PRESSURE_MEASUREMENT);
    bench.call(&measurement, CHARACTERISTIC, "StartNotify", &());
    let owner = |new: &str| {
        let signal = Message::signal("/org/freedesktop/DBus", super::bus::BUS, "NameOwnerChanged");
        let body = (super::bus::BLUEZ, BLUEZ, new);
        signal.sender(super::bus::BUS).build(&body).unwrap()
    };
    bench.receive(&owner(""));
    assert!(bench.agree().is_empty(), "there is nobody to ask");
    assert!(!bench.front.is_ready());
    bench.receive(&owner(BLUEZ));
    let asked = bench.agree();
    for member in ["RegisterAgent", "RegisterApplication", "RegisterAdvertisement"] {
        assert!(asked.iter().any(|found| found == member), "{member} in {asked:?}");
    }
    assert_eq!(bench.front.posts[0].meter.memory(), (1, 1));
    assert_eq!((bench.ledger()[0].sent, bench.ledger()[0].confirmed), (1, 0));
}

#[test]
fn an_agent_that_bluetoothd_knows_already_stands() {
    let mut bench = Bench::new(&["hci1=cuff"]);
    bench.front.bluez_came(BLUEZ.to_owned());
    for call in bench.calls() {
        match call.member.as_str() {
            "GetManagedObjects" => bench.answer(&call, &objects()),
            "RegisterAgent" => {
                let reply = Message::error(&call.message.header(), "org.bluez.Error.AlreadyExists");
                bench.receive(&reply.sender(BLUEZ).build(&"Already Exists").unwrap());
            }
            _ => bench.answer(&call, &()),
        }
    }
    bench.agree();
    bench.measure(128);
    assert_eq!(bench.agree(), ["RequestDefaultAgent", "RegisterAdvertisement"]);
}

#[test]
fn a_refused_registration_is_tried_again_later_and_not_at_once() {
    let mut bench = Bench::new(&["hci1=cuff"]);
    bench.front.bluez_came(BLUEZ.to_owned());
    let mut refused = 0;
    for _ in 0..5 {
        for call in bench.calls() {
            match call.member.as_str() {
                "GetManagedObjects" => bench.answer(&call, &objects()),
                "RegisterApplication" => {
                    refused += 1;
                    bench.refuse(&call);
                }
                _ => bench.answer(&call, &()),
            }
        }
    }
    assert_eq!(refused, 1);
    assert!(
        bench.front.missing().contains("org.bluez.Error.Failed"),
        "{}",
        bench.front.missing()
    );
    let at = bench.front.deadline().unwrap();
    assert!(at > bench.now);
    bench.now = at;
    bench.agree();
    assert!(bench.front.is_ready());
}

#[test]
fn a_dropped_link_is_down_for_the_meter_at_once_and_for_bluetoothd_later() {
    let mut bench = Bench::ready(&["hci1=cuff"]);
    for systolic in [121, 122, 123] {
        bench.measure(systolic);
    }
    bench.agree();
    bench.connected(CENTRAL, true);
    bench.execute(Command::DropLink {
        meter: "cuff".to_owned(),
        after: Some(2),
    });
    let measurement = bench.path(0, uuid16::BLOOD_PRESSURE_MEASUREMENT);
    bench.call(&measurement, CHARACTERISTIC, "StartNotify", &());
    bench.call(&measurement, CHARACTERISTIC, "Confirm", &());
    bench.call(&measurement, CHARACTERISTIC, "Confirm", &());
    let confirmed: Vec<u32> = bench.ledger().iter().map(|entry| entry.confirmed).collect();
    assert_eq!(confirmed, [1, 1, 0]);
    assert!(!bench.front.posts[0].is_linked());
    // Nothing that comes while bluetoothd closes the link reaches the meter.
    bench.call(&measurement, CHARACTERISTIC, "Confirm", &());
    bench.connected(CENTRAL, false);
    assert_eq!(bench.front.posts[0].meter.memory(), (1, 1));
    assert_eq!(bench.agree(), ["RequestDefaultAgent", "RegisterAdvertisement"]);
}

#[test]
fn what_only_a_simulated_bluez_can_do_is_refused() {
    let mut bench = Bench::ready(&["hci1=cuff"]);
    let meter = || "cuff".to_owned();
    let commands = [
        Command::RotateAddress { meter: meter() },
        Command::Adapter {
            powered: false,
            blocked: Some(true),
            adapter: None,
        },
    ];
    for command in commands {
        assert_eq!(bench.front.execute(bench.now, command).unwrap_err().code, "not_here");
    }
    let unknown = Command::PressTransfer {
        meter: "glucose".to_owned(),
    };
    assert_eq!(
        bench.front.execute(bench.now, unknown).unwrap_err().code,
        "unknown_meter"
    );
}
