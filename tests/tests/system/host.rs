//! Every fault of the host's own Bluetooth stack, one after the other against the real programs: what `status` and the staff
//! page show meanwhile, and that in the end everything is at the server exactly as the ledger has it, without a restart.

use carepost_sim::HostEvent;
use carepost_sim::ledger::Verdict;
use serde_json::Value;
use system_tests::neighbourhood::{Case, Neighbourhood};
use system_tests::staff::{StaffPage, pin_setting};
use system_tests::wait::wait_for;

use super::link::RECOVERY;

/// Forgets what was confirmed.
const DELETES: &str = "delete-after-transfer_cuff";
/// Keeps what was confirmed, and never sends it again.
const KEEPS: &str = "information-absent_cuff";
/// Sends everything on every link.
const RESENDS: &str = "sends-all-again_cuff";
/// Measurements with contexts.
const GLUCOSE: &str = "plain_glucose";
/// The same, slowly.
const SLOW: &str = "records-slow_glucose";

const MEMORIES: &[Case] = &[
    Case::all("delete-after-transfer", "cuff").storing(0),
    // Reads no texts, so that the first value on a link is a record.
    Case::all("information-absent", "cuff").storing(0),
    Case::all("sends-all-again", "cuff").storing(0),
    Case::all("", "glucose").storing(0),
    Case::all("records-slow", "glucose").storing(0),
];

/// Two meters that lose nothing by being read twice, and one that does.
const USUAL: &[&str] = &[DELETES, KEEPS, GLUCOSE];

/// New records on each meter for each fault: more than go through before a fault in the middle of a transfer.
const RECORDS: usize = 12;

/// What the gateway logs when bluetoothd has ended.
const NO_SERVICE: &str = "the bluetooth service does not run";

/// How a fault ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// Everything arrives in spite of it, while it is still switched on or once it has acted as often as it does.
    ByItself,
    /// Switched off.
    SwitchedOff,
    /// Somebody switches the adapter on.
    PowerOn,
    /// Somebody plugs the adapter in.
    PluggedIn,
}

/// What `status` shows of it.
#[derive(Debug, Clone, Copy)]
enum Shown {
    /// Nothing: it is overcome on the same link, or nobody on this side can know.
    Nothing,
    /// The adapter's state, for as long as it lasts, and the words on the staff page.
    Adapter(&'static str, &'static str),
    /// One more link of a meter that was interrupted.
    Interrupted,
    /// One more meter that did not connect, with these words.
    NotConnected(&'static str),
    /// Each new record once more than it was needed.
    Duplicates,
}

/// A fault, played once.
#[derive(Debug, Clone, Copy)]
struct Fault {
    profile: &'static str,
    meters: &'static [&'static str],
    ends: Ends,
    shown: Shown,
    /// Records that only the meter's own memory has in the end.
    lost: usize,
    /// It begins in the middle of a transfer, and not before the link.
    midway: bool,
}

impl Fault {
    const fn passes(profile: &'static str, shown: Shown) -> Self {
        Self {
            profile,
            meters: USUAL,
            ends: Ends::ByItself,
            shown,
            lost: 0,
            midway: false,
        }
    }

    const fn lasts(profile: &'static str, ends: Ends, shown: Shown) -> Self {
        Self {
            ends,
            ..Self::passes(profile, shown)
        }
    }

    const fn of(self, meters: &'static [&'static str]) -> Self {
        Self { meters, ..self }
    }

    const fn midway(self) -> Self {
        Self { midway: true, ..self }
    }

    /// Whether bluetoothd or its bus ends with it.
    fn takes_the_service(&self) -> bool {
        OUTAGES.iter().any(|outage| outage.profile == self.profile)
    }

    const fn losing(self, lost: usize) -> Self {
        Self { lost, ..self }
    }
}

/// Calls that fail, values that are lost or come twice.
const CALLS: &[Fault] = &[
    // A subscription is told so too, and that link ends.
    Fault::passes("host-in-progress", Shown::Interrupted),
    Fault::passes("host-connect-fails", Shown::Nothing),
    Fault::passes("host-device-vanishes", Shown::Nothing).of(&[GLUCOSE]),
    Fault::passes(
        "host-device-vanishes-before-connect",
        Shown::NotConnected("cannot connect"),
    ),
    // Where there is much to discover, the meter hangs up before that is done.
    Fault::lasts("host-slow-replies", Ends::SwitchedOff, Shown::Nothing).of(&[DELETES, GLUCOSE]),
    Fault::passes("host-slow-replies", Shown::Nothing).of(&[KEEPS]),
    Fault::passes("host-doubles-values", Shown::Duplicates),
    // Confirmed, and on no bus: the cuff does not send it again, and nothing on this side can tell.
    Fault::passes("host-loses-values", Shown::Nothing)
        .of(&[KEEPS])
        .losing(1),
    Fault::passes("host-loses-values", Shown::Nothing).of(&[RESENDS]),
    // The meter said how many there are.
    Fault::passes("host-loses-values", Shown::Nothing).of(&[SLOW]).midway(),
];

/// Subscriptions that nobody answers. On the links that follow, everything arrives.
const SILENCES: &[Fault] = &[
    Fault::passes("host-subscription-unanswered", Shown::Interrupted).of(&[DELETES]),
    Fault::passes("host-subscription-unanswered", Shown::Interrupted).of(&[GLUCOSE]),
    Fault::passes("host-subscription-unanswered", Shown::Interrupted).of(&[KEEPS]),
];

/// Services that are not there when they should be.
const SERVICES: &[Fault] = &[
    // First of all: objects that were there once stay.
    Fault::passes("host-services-before-objects", Shown::Nothing),
    Fault::lasts(
        "host-services-never",
        Ends::SwitchedOff,
        Shown::NotConnected("no answer within"),
    ),
    Fault::passes("host-services-late", Shown::Nothing),
    Fault::passes("host-services-early", Shown::Nothing),
    Fault::passes("host-loses-services-resolved", Shown::Nothing),
    Fault::passes("host-invalidates-properties", Shown::Nothing),
];

/// Adapters, the service and the bus that go away.
const OUTAGES: &[Fault] = &[
    // On the first link of all the tenth value is a measurement whose context follows.
    Fault::passes("host-restart-mid-transfer", Shown::Nothing).of(&[GLUCOSE]),
    Fault::lasts(
        "host-power-off-mid-transfer",
        Ends::PowerOn,
        Shown::Adapter("adapter_off", "Bluetooth is switched off."),
    ),
    Fault::lasts(
        "host-unplug-mid-transfer",
        Ends::PluggedIn,
        Shown::Adapter("no_adapter", "There is no Bluetooth adapter."),
    ),
    Fault::passes("host-restart-mid-transfer", Shown::Interrupted).of(&[DELETES, KEEPS]),
    // What is on a bus that dies is confirmed and arrives nowhere; a cuff that sends it once only has it in its own memory.
    Fault::passes("host-bus-loss-mid-transfer", Shown::Interrupted).of(&[RESENDS]),
    // The meter is asked what is new first, so that the tenth value is a context.
    Fault::passes("host-bus-loss-mid-transfer", Shown::Nothing).of(&[GLUCOSE]),
];

/// The profiles that are played here.
pub(crate) fn played() -> impl Iterator<Item = &'static str> {
    [CALLS, SILENCES, SERVICES, OUTAGES]
        .into_iter()
        .flatten()
        .map(|fault| fault.profile)
}

/// Sums of what `status` says of the meters.
#[derive(Debug, Clone, Default)]
struct Sums {
    interrupted: u64,
    connect_failures: u64,
    duplicates: u64,
    possible_gaps: u64,
    failures: Vec<String>,
}

impl Sums {
    fn of(status: &Value) -> Self {
        let mut sums = Self::default();
        for meter in status["spool"]["meters"].as_array().into_iter().flatten() {
            let count = |key: &str| meter[key].as_u64().unwrap_or(0);
            sums.interrupted += count("interrupted");
            sums.connect_failures += count("connect_failures");
            sums.duplicates += count("duplicates");
            sums.possible_gaps += count("possible_gaps");
            sums.failures.extend(meter["last_failure"].as_str().map(str::to_owned));
        }
        sums
    }
}

impl Shown {
    fn is_in(self, before: &Sums, status: &Value) -> bool {
        let now = Sums::of(status);
        match self {
            Self::Nothing => true,
            Self::Adapter(state, _) => status["daemon"]["link"]["is"] == state,
            Self::Interrupted => now.interrupted > before.interrupted,
            Self::NotConnected(words) => {
                now.connect_failures > before.connect_failures
                    && now.failures.iter().any(|failure| failure.contains(words))
            }
            Self::Duplicates => now.duplicates >= before.duplicates + u64::try_from(RECORDS).unwrap(),
        }
    }
}

struct Host {
    neighbourhood: Neighbourhood,
    staff: StaffPage,
    pid: Option<u32>,
}

impl Host {
    async fn start(settings: &[&str]) -> Self {
        let mut all = vec![pin_setting().await.unwrap()];
        all.extend(settings.iter().map(|setting| (*setting).to_owned()));
        let mut neighbourhood = Neighbourhood::start_with(MEMORIES, all).await.unwrap();
        let staff = StaffPage::at(neighbourhood.world().kiosk_address()).unwrap();
        staff.enter().await.unwrap();
        let pid = neighbourhood.world().gateway_pid();
        assert!(pid.is_some());
        Self {
            neighbourhood,
            staff,
            pid,
        }
    }

    /// Waits until `status` shows what it should.
    async fn shows(&mut self, fault: &Fault, before: &Sums) {
        let what = format!("{}: {:?} in the status", fault.profile, fault.shown);
        let world = self.neighbourhood.world();
        let mut last = Value::Null;
        let seen = wait_for(&what, RECOVERY, async || {
            last = world.status().await?;
            Ok(fault.shown.is_in(before, &last).then_some(()))
        })
        .await;
        assert!(seen.is_ok(), "{seen:?}\n{last:#}\n{}", world.logs());
    }

    async fn suffers(&mut self, fault: &Fault, minutes_ago: u32) {
        let before = Sums::of(&self.neighbourhood.world().status().await.unwrap());
        for meter in fault.meters {
            self.neighbourhood
                .add_records(meter, RECORDS, minutes_ago)
                .await
                .unwrap();
        }
        let acted = self
            .neighbourhood
            .world()
            .meters()
            .counters()
            .await
            .unwrap()
            .host_faults;
        if !fault.midway {
            self.sim().set_host_profile(&[fault.profile]).await.unwrap();
        }
        for meter in fault.meters {
            self.sim().press_transfer(meter).await.unwrap();
        }
        if fault.midway {
            self.waits_for("a new record on air", async |host| {
                let mut heard = false;
                for meter in fault.meters {
                    let ledger = host.sim().ledger(Some(meter)).await?;
                    heard |= ledger.iter().rev().take(RECORDS).any(|entry| entry.heard > 0);
                }
                Ok(heard)
            })
            .await;
            self.sim().set_host_profile(&[fault.profile]).await.unwrap();
        }
        let what = format!("{} to act", fault.profile);
        self.waits_for(&what, async |host| Ok(host.sim().counters().await?.host_faults > acted))
            .await;
        self.shows(fault, &before).await;
        if let Shown::Adapter(_, words) = fault.shown {
            self.staff.wait_for(words, |screen| screen.says(words)).await.unwrap();
        }
        match fault.ends {
            Ends::ByItself => {}
            Ends::SwitchedOff => self.sim().set_host_profile(&[]).await.unwrap(),
            Ends::PowerOn => self.sim().adapter(true).await.unwrap(),
            Ends::PluggedIn => {
                let plug = HostEvent::Plug { adapter: None };
                self.sim().host_event(plug).await.unwrap();
            }
        }
        let arrived = self.neighbourhood.all_arrive(fault.meters, fault.lost).await;
        arrived.unwrap_or_else(|error| panic!("{}: {error:#}", fault.profile));
        self.sim().set_host_profile(&[]).await.unwrap();
        let pid = self.neighbourhood.world().gateway_pid();
        assert_eq!(pid, self.pid, "{}: the gateway was restarted", fault.profile);
        if !fault.takes_the_service() {
            let logs = self.neighbourhood.world().logs();
            assert!(!logs.contains(NO_SERVICE), "{}: {logs}", fault.profile);
        }
        if fault.lost > 0 {
            for meter in fault.meters {
                let ledger = self.sim().ledger(Some(meter)).await.unwrap();
                assert!(
                    ledger.iter().all(|entry| entry.verdict() == Verdict::Delivered),
                    "{ledger:?}"
                );
            }
            let after = Sums::of(&self.neighbourhood.world().status().await.unwrap());
            assert_eq!(
                after.possible_gaps, before.possible_gaps,
                "nobody on this side can know"
            );
        }
    }

    fn sim(&mut self) -> &mut carepost_sim::control::Client {
        self.neighbourhood.world().meters()
    }

    async fn waits_for(&mut self, what: &str, mut holds: impl AsyncFnMut(&mut Self) -> anyhow::Result<bool>) {
        let waited = wait_for(what, RECOVERY, async || Ok(holds(self).await?.then_some(()))).await;
        if let Err(error) = waited {
            panic!("{error:#}\n{}", self.neighbourhood.world().logs());
        }
    }
}

async fn suffered(faults: &[Fault], settings: &[&str]) {
    let mut host = Host::start(settings).await;
    // Older first: a glucose meter's later record is a newer one.
    for (at, fault) in (1_u32..).zip(faults) {
        host.suffers(fault, 2_000 - at * 30).await;
    }
    // Once more, when nothing is wrong: what was read must not come again as something new.
    host.neighbourhood.read_all(1).await.unwrap();
    for case in MEMORIES {
        let meter = case.name();
        let lost: usize = faults
            .iter()
            .filter(|f| *f.meters == [meter.as_str()])
            .map(|f| f.lost)
            .sum();
        let difference = host.neighbourhood.compare(&meter).await.unwrap();
        assert_eq!(
            (difference.missing.len(), difference.surplus.len()),
            (lost, 0),
            "{meter}: {difference:?}"
        );
    }
    host.neighbourhood.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_nobody_answers_costs_a_link_and_not_the_service() {
    suffered(SILENCES, &["bluetooth.operation_ms=1000"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_fail_and_values_that_are_lost_or_doubled_cost_no_reading_that_anybody_can_know_of() {
    suffered(CALLS, &["bluetooth.answer_ms=1000"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_come_late_or_never_or_are_not_told_of_cost_time_only() {
    suffered(SERVICES, &["bluetooth.connect_ms=4000", "bluetooth.connect_tries=2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn adapters_the_service_and_the_bus_may_go_in_the_middle_of_a_transfer() {
    suffered(OUTAGES, &["bluetooth.rebuild_ms=300"]).await;
}
