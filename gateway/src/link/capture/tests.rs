//! From messages to rows, screens and nothing.

use std::collections::HashSet;
use std::time::Duration;

use carepost_contract::v1::WireReading;
use carepost_domain::reading::{Attribution, Slot};
use chrono::TimeDelta;
use sqlx::Connection as _;

use super::*;
use crate::sitting::{SittingView, Who};
use crate::spool::SpoolStatus;
use crate::testing::*;

/// Short enough that it is no record when it stands alone behind flags.
const MARK: &[u8] = b"#mark-here#";

struct Rig {
    bench: Bench,
    task: CaptureTask,
    next: u32,
}

impl Rig {
    async fn new() -> Self {
        let bench = Bench::new().await;
        let task = CaptureTask {
            spool: bench.spool.clone(),
            desk: bench.desk.clone(),
            clock: bench.clock.clone(),
            nonces: Nonces::new(bench.entropy.clone()),
            trust: bench.trust.clone(),
            board: Board::default(),
            links: HashMap::new(),
        };
        Self { bench, task, next: 0 }
    }

    async fn take(&mut self, messages: Vec<Message>) {
        let mut batch = messages;
        assert!(self.task.take(&mut batch, &CancellationToken::new()).await.unwrap());
    }

    /// Opens a link to a meter whose clock cannot be read.
    async fn open(&mut self, meter: &Meter) -> LinkId {
        let link = self.open_unread(meter).await;
        self.clock(link, LinkClock::Unknown).await;
        link
    }

    /// Opens a link of whose clock nothing is known yet.
    async fn open_unread(&mut self, meter: &Meter) -> LinkId {
        let link = self.bench.link_unread(meter).await;
        let opened = Message::Opened {
            link,
            meter: Arc::new(meter.clone()),
            not_before: self.bench.clock.monotonic(),
            stood: self.bench.clock.monotonic(),
        };
        self.take(vec![opened]).await;
        link
    }

    async fn clock(&mut self, link: LinkId, clock: LinkClock) {
        let last = self.bench.spool.last_look(link).await.unwrap();
        let feature = None;
        self.take(vec![Message::Clock {
            link,
            clock,
            last,
            feature,
        }])
        .await;
    }

    async fn hear(&mut self, link: LinkId, raw: Vec<u8>) {
        self.hear_of(uuid16::BLOOD_PRESSURE_MEASUREMENT, link, raw).await;
    }

    async fn hear_of(&mut self, characteristic: u16, link: LinkId, raw: Vec<u8>) {
        let packet = Message::Packet {
            link,
            characteristic,
            raw,
            received_at: self.bench.clock.now(),
            heard: self.bench.clock.monotonic(),
        };
        self.take(vec![packet]).await;
    }

    async fn close(&mut self, link: LinkId) {
        self.close_as(link, LinkEnd::Clean).await;
    }

    async fn close_as(&mut self, link: LinkId, end: LinkEnd) {
        let (done, answer) = oneshot::channel();
        self.take(vec![Message::Closed { link, end, done }]).await;
        answer.await.unwrap();
    }

    async fn sit(&mut self, who: &Who) -> SittingView {
        self.bench.hands.advance(Duration::from_secs(1));
        let view = self.bench.desk.begin(who).await.unwrap();
        self.bench.hands.advance(Duration::from_secs(1));
        view
    }

    /// A record with a mark behind it, measured now.
    fn now(&mut self) -> Vec<u8> {
        self.next += 1;
        let mut raw = pressure(100 + i64::from(self.next), Some(self.bench.clock.now()), None);
        raw.extend_from_slice(MARK);
        raw
    }

    fn states(&self) -> Vec<ReadingState> {
        self.bench
            .desk
            .current()
            .map(|view| view.readings.iter().map(|shown| shown.state).collect())
            .unwrap_or_default()
    }

    async fn status(&self) -> SpoolStatus {
        self.bench.status().await
    }

    async fn counted(&self, counter: Counter) -> u64 {
        self.status().await.counters[counter.code()]
    }
}

#[tokio::test]
async fn what_a_meter_held_is_known_only_by_a_clock_that_is_believed() {
    let believe = |rig: &Rig, believed: bool| {
        let off = TimeDelta::hours(if believed { 0 } else { 1 });
        rig.bench.trust.note_server_time(rig.bench.clock.now() + off);
    };
    // When the link is opened, and when it ends.
    for (opened, closed, expected) in [(true, true, 1), (true, false, 0), (false, true, 0), (false, false, 0)] {
        let mut rig = Rig::new().await;
        believe(&rig, opened);
        let link = rig.open(&plain_cuff()).await;
        // Nobody's.
        rig.hear(link, pressure(110, Some(at(-61 * 24 * 60)), None)).await;
        believe(&rig, closed);
        rig.close(link).await;
        believe(&rig, true);
        rig.bench.hands.advance(Duration::from_secs(60));
        let link = rig.open(&plain_cuff()).await;
        rig.hear(link, pressure(120, None, None)).await;
        rig.close(link).await;
        rig.bench.settle().await;
        assert_eq!(rig.status().await.outbox, expected, "{opened} {closed}");
    }
}

/// A clock that shows this many seconds less than the gateway's.
fn read(behind_s: i64) -> LinkClock {
    LinkClock::Read(Look {
        skew: chrono::TimeDelta::seconds(behind_s),
        at: at(0),
    })
}

fn alice_sits() -> Who {
    Who::Member("ALICE".parse().unwrap())
}

#[tokio::test]
async fn a_members_reading_arrives_is_saved_and_says_so_in_that_order() {
    let mut rig = Rig::new().await;
    rig.sit(&alice_sits()).await;
    let link = rig.open(&store_cuff()).await;
    let raw = rig.now();
    rig.hear(link, raw).await;
    assert_eq!(
        (rig.states(), rig.status().await.spooled),
        (vec![ReadingState::Arrived], 1)
    );
    rig.bench.settle().await;
    assert_eq!(
        (rig.states(), rig.status().await.outbox),
        (vec![ReadingState::Saved], 1)
    );
}

#[tokio::test]
async fn an_anonymous_reading_is_on_the_screen_and_nowhere_else() {
    let mut rig = Rig::new().await;
    let view = rig.sit(&Who::Anonymous).await;
    let link = rig.open(&store_cuff()).await;
    let raw = rig.now();
    rig.hear(link, raw).await;
    rig.hear(link, [&[0xFF], MARK].concat()).await;
    rig.close(link).await;
    rig.bench.settle().await;
    let shown = rig.bench.desk.current().unwrap().readings;
    assert_eq!(
        (shown.len(), shown[0].state, shown[0].measurement.is_some()),
        (1, ReadingState::NotKept, true)
    );
    rig.bench.desk.end(view.sitting).await.unwrap();
    let status = rig.status().await;
    assert_eq!(
        (status.spooled, status.outbox, status.sealed, status.quarantined),
        (0, 0, 0, 0)
    );
    assert!(!rig.bench.holds(MARK) && !rig.bench.holds(&hex::encode_upper(MARK).into_bytes()));
    assert!(
        !rig.bench.holds(view.sitting.uuid().as_bytes()),
        "nor that somebody sat there"
    );
}

#[tokio::test]
async fn without_a_sitting_a_shared_meters_packets_are_counted_and_forgotten() {
    let mut rig = Rig::new().await;
    let link = rig.open(&store_cuff()).await;
    let raw = rig.now();
    rig.hear(link, raw).await;
    rig.hear(link, [&[0xFF], MARK].concat()).await;
    rig.close(link).await;
    assert_eq!(
        (
            rig.counted(Counter::OutsideSitting).await,
            rig.counted(Counter::UndecodableForgotten).await
        ),
        (1, 1)
    );
    assert!(!rig.bench.holds(MARK));
}

#[tokio::test]
async fn somebody_without_consent_sees_the_reading_and_no_file_does_until_they_ask() {
    let mut rig = Rig::new().await;
    let view = rig.sit(&Who::Member("BOBB".parse().unwrap())).await;
    let link = rig.open(&store_cuff()).await;
    let raw = rig.now();
    rig.hear(link, raw).await;
    assert_eq!(rig.states(), [ReadingState::NoConsent]);
    assert!(!rig.bench.holds(MARK));
    rig.bench.desk.keep_until_confirmed(view.sitting).await.unwrap();
    rig.bench.settle().await;
    assert_eq!(
        (rig.states(), rig.status().await.sealed),
        (vec![ReadingState::Sealed], 1)
    );
}

#[tokio::test]
async fn a_reading_of_the_sitting_before_that_comes_late_is_not_shown_to_the_next_person() {
    let mut rig = Rig::new().await;
    let first = rig.sit(&alice_sits()).await;
    let raw = rig.now();
    rig.bench.hands.advance(Duration::from_secs(1));
    rig.bench.desk.end(first.sitting).await.unwrap();
    rig.sit(&Who::Anonymous).await;
    let link = rig.open_unread(&store_cuff()).await;
    rig.clock(link, read(0)).await;
    rig.hear(link, raw).await;
    rig.bench.settle().await;
    assert_eq!((rig.states(), rig.status().await.outbox), (vec![], 1));
}

#[tokio::test]
async fn a_cuff_without_a_clock_shows_an_anonymous_reading_only_when_it_came_alone() {
    for (records, end, shown) in [
        (1, LinkEnd::Clean, vec![ReadingState::NotKept]),
        (2, LinkEnd::Clean, vec![]),
        (1, LinkEnd::HungUp, vec![]),
        (1, LinkEnd::Unclean, vec![]),
    ] {
        let mut rig = Rig::new().await;
        rig.sit(&Who::Anonymous).await;
        let link = rig.open(&store_cuff()).await;
        for n in 0..records {
            // The same bytes again are no second record.
            rig.hear(link, pressure(120 + n, None, None)).await;
            rig.hear(link, pressure(120 + n, None, None)).await;
        }
        assert_eq!(rig.states(), []);
        rig.close_as(link, end).await;
        assert_eq!(rig.states(), shown, "{records} records, {end:?}");
    }
}

#[tokio::test]
async fn a_cuff_without_a_clock_gives_a_member_only_a_reading_that_came_alone() {
    for (records, outbox) in [(1, 1), (2, 0)] {
        let mut rig = Rig::new().await;
        rig.sit(&alice_sits()).await;
        let link = rig.open(&store_cuff()).await;
        for n in 0..records {
            rig.hear(link, pressure(120 + n, None, None)).await;
        }
        rig.bench.settle().await;
        assert_eq!(rig.status().await.outbox, 0);
        rig.close(link).await;
        rig.bench.settle().await;
        let status = rig.status().await;
        assert_eq!((status.spooled, status.outbox), (0, outbox), "{records} records");
    }
}

#[tokio::test]
async fn a_flush_is_answered_after_the_commit_and_a_personal_packet_is_kept_as_it_is() {
    let mut rig = Rig::new().await;
    let link = rig.open(&home_cuff()).await;
    let (done, answer) = oneshot::channel();
    let packet = |raw: &[u8]| Message::Packet {
        link,
        characteristic: uuid16::BLOOD_PRESSURE_MEASUREMENT,
        raw: raw.to_vec(),
        received_at: at(0),
        heard: Duration::ZERO,
    };
    rig.take(vec![packet(b"no record at all"), packet(b""), Message::Flush { done }])
        .await;
    answer.await.unwrap();
    assert_eq!(rig.bench.crash_image().await.status().await.spooled, 2);
}

#[tokio::test]
async fn after_a_withdrawal_nothing_more_of_an_open_link_is_written_down() {
    let mut rig = Rig::new().await;
    let link = rig.open(&plain_cuff()).await;
    let gone = delta(1, vec![withdrawn(grant(201, alice()), at(0))]);
    rig.bench.hands.advance(Duration::from_secs(1));
    rig.bench.spool.apply_delta(&gone, rig.bench.clock.now()).await.unwrap();
    let raw = rig.now();
    rig.hear(link, raw).await;
    assert_eq!(
        (rig.status().await.spooled, rig.counted(Counter::NoConsent).await),
        (0, 1)
    );
    assert!(!rig.bench.holds(MARK));
}

#[tokio::test]
async fn the_task_ends_when_the_links_do() {
    let rig = Rig::new().await;
    let (sender, queue) = mpsc::channel(1);
    let status = rig.bench.spool.clone();
    let task = rig.task.run(queue, CancellationToken::new());
    let send = async move {
        let meter = Arc::new(home_cuff());
        let link = status.open_link(meter.id, meter.kind, at(0)).await.unwrap();
        sender
            .send(Message::Opened {
                link,
                meter,
                not_before: Duration::ZERO,
                stood: Duration::ZERO,
            })
            .await
            .unwrap();
        let raw = pressure(120, Some(at(-1)), Some(1));
        let characteristic = uuid16::BLOOD_PRESSURE_MEASUREMENT;
        sender
            .send(Message::Packet {
                link,
                characteristic,
                raw,
                received_at: at(0),
                heard: Duration::ZERO,
            })
            .await
            .unwrap();
    };
    let (ended, ()) = tokio::join!(task, send);
    ended.unwrap();
    assert_eq!(rig.bench.status().await.spooled, 1);
}

#[tokio::test]
async fn a_consenting_members_packet_is_on_disk_before_the_meters_clock_is_known_and_settled_after() {
    let mut rig = Rig::new().await;
    rig.sit(&alice_sits()).await;
    let link = rig.open_unread(&store_cuff()).await;
    let raw = rig.now();
    rig.hear(link, raw).await;
    rig.bench.settle().await;
    let status = rig.status().await;
    assert_eq!((status.spooled, status.outbox, rig.states()), (1, 0, vec![]));
    assert_eq!(rig.bench.crash_image().await.status().await.spooled, 1);
    rig.clock(link, read(0)).await;
    assert_eq!(rig.states(), [ReadingState::Arrived]);
    rig.bench.settle().await;
    assert_eq!(
        (rig.states(), rig.status().await.outbox),
        (vec![ReadingState::Saved], 1)
    );
}

#[tokio::test]
async fn a_guess_is_taken_back_when_the_clock_says_otherwise() {
    let mut rig = Rig::new().await;
    rig.sit(&alice_sits()).await;
    let link = rig.open_unread(&store_cuff()).await;
    let raw = rig.now();
    rig.hear(link, raw).await;
    assert_eq!(rig.status().await.spooled, 1);
    // An hour fast: measured before she came.
    rig.clock(link, read(-3_600)).await;
    rig.bench.settle().await;
    let status = rig.status().await;
    assert_eq!((status.spooled, status.outbox, status.quarantined), (0, 0, 0));
    assert_eq!(rig.counted(Counter::OutsideSitting).await, 1);
    assert!(!rig.bench.holds(MARK));
}

#[tokio::test]
async fn a_guess_moves_to_the_sitting_of_its_corrected_time() {
    let mut rig = Rig::new().await;
    let first = rig.sit(&alice_sits()).await;
    rig.bench.hands.advance(Duration::from_secs(60));
    rig.bench.desk.end(first.sitting).await.unwrap();
    let second = rig.sit(&alice_sits()).await;
    let link = rig.open_unread(&store_cuff()).await;
    let raw = rig.now();
    rig.hear(link, raw).await;
    rig.clock(link, read(-32)).await;
    rig.bench.settle().await;
    let held = rig.bench.outbox().await;
    assert_eq!(held.len(), 1);
    let sitting = first.sitting;
    assert_eq!(held[0].attribution, Attribution::Sitting { sitting });
    assert_ne!(sitting, second.sitting);
}

#[tokio::test]
async fn what_may_not_be_written_down_waits_for_the_clock_in_memory() {
    for (who, state) in [
        (Who::Anonymous, ReadingState::NotKept),
        (Who::Member("BOBB".parse().unwrap()), ReadingState::NoConsent),
    ] {
        let mut rig = Rig::new().await;
        rig.sit(&who).await;
        let link = rig.open_unread(&store_cuff()).await;
        let raw = rig.now();
        rig.hear(link, raw).await;
        assert_eq!((rig.status().await.spooled, rig.states()), (0, vec![]));
        rig.clock(link, read(0)).await;
        assert_eq!((rig.status().await.spooled, rig.states()), (0, vec![state]));
        assert!(!rig.bench.holds(MARK));
    }
}

#[tokio::test]
async fn a_link_that_ends_before_its_clock_was_read_is_one_without() {
    let mut rig = Rig::new().await;
    rig.sit(&alice_sits()).await;
    let link = rig.open_unread(&store_cuff()).await;
    let raw = rig.now();
    rig.hear(link, raw).await;
    rig.close(link).await;
    rig.bench.settle().await;
    assert_eq!(rig.status().await.outbox, 1);
}

#[tokio::test]
async fn what_waits_for_a_clock_is_bounded_and_nothing_of_it_is_lost() {
    let mut rig = Rig::new().await;
    rig.sit(&alice_sits()).await;
    let link = rig.open_unread(&store_cuff()).await;
    let (when, mark) = (rig.bench.clock.now(), i64::try_from(MAX_WAITING).unwrap());
    let packets = (0..mark + 5).map(|n| Message::Packet {
        link,
        characteristic: uuid16::BLOOD_PRESSURE_MEASUREMENT,
        raw: [pressure(120, Some(when), None), n.to_le_bytes().to_vec()].concat(),
        received_at: when,
        heard: rig.bench.clock.monotonic(),
    });
    let packets: Vec<Message> = packets.collect();
    rig.take(packets).await;
    assert_eq!(rig.task.links[&link].waiting.len(), MAX_WAITING);
    rig.clock(link, read(0)).await;
    assert!(rig.task.links[&link].waiting.is_empty());
    rig.bench.settle().await;
    let expected = u64::try_from(mark + 5).unwrap();
    assert_eq!(rig.status().await.outbox, expected);
}

#[tokio::test]
async fn keeping_a_reading_works_after_its_link_was_swept() {
    let mut rig = Rig::new().await;
    let view = rig.sit(&Who::Member("BOBB".parse().unwrap())).await;
    let link = rig.open(&store_cuff()).await;
    let raw = rig.now();
    rig.hear(link, raw).await;
    rig.close(link).await;
    rig.bench.spool.sweep(rig.bench.clock.now(), true).await.unwrap();
    rig.bench.desk.keep_until_confirmed(view.sitting).await.unwrap();
    rig.bench.settle().await;
    assert_eq!(
        (rig.states(), rig.status().await.sealed),
        (vec![ReadingState::Sealed], 1)
    );
    // Once nobody can ask for it any more, the link's row goes.
    rig.bench.desk.end(view.sitting).await.unwrap();
    rig.bench.spool.sweep(rig.bench.clock.now(), true).await.unwrap();
    assert_eq!(rig.bench.rows("links").await, 0);
}

#[tokio::test]
async fn asking_again_after_a_full_disk_still_keeps_what_was_shown() {
    let mut rig = Rig::new().await;
    let view = rig.sit(&Who::Member("BOBB".parse().unwrap())).await;
    let link = rig.open(&store_cuff()).await;
    let raw = rig.now();
    rig.hear(link, raw).await;
    let lock = rig.bench.lock().await;
    assert!(rig.bench.desk.keep_until_confirmed(view.sitting).await.is_err());
    lock.close().await.unwrap();
    rig.bench.desk.keep_until_confirmed(view.sitting).await.unwrap();
    rig.bench.settle().await;
    assert_eq!(rig.status().await.sealed, 1);
}

/// A link that was made from one instant to another, in seconds from now, which have passed when this returns.
async fn made(rig: &mut Rig, meter: &Meter, seconds: u64) -> (LinkId, Duration) {
    let link = rig.bench.link_unread(meter).await;
    let not_before = rig.bench.clock.monotonic();
    rig.bench.hands.advance(Duration::from_secs(seconds));
    (link, not_before)
}

/// The link that was being made stands.
async fn stands(rig: &mut Rig, link: LinkId, meter: &Meter, not_before: Duration) {
    let opened = Message::Opened {
        link,
        meter: Arc::new(meter.clone()),
        not_before,
        stood: rig.bench.clock.monotonic(),
    };
    rig.take(vec![opened]).await;
}

#[tokio::test]
async fn who_sits_down_while_a_link_is_being_made_is_not_taken_for_the_person_at_the_meter() {
    let mut rig = Rig::new().await;
    let (link, not_before) = made(&mut rig, &store_cuff(), 1).await;
    rig.sit(&alice_sits()).await;
    stands(&mut rig, link, &store_cuff(), not_before).await;
    rig.clock(link, LinkClock::Unknown).await;
    rig.hear(link, pressure(150, None, None)).await;
    rig.close(link).await;
    assert_eq!((rig.states(), rig.status().await.spooled), (vec![], 0));
    assert_eq!(rig.counted(Counter::OutsideSitting).await, 1);
}

#[tokio::test]
async fn who_sits_down_while_a_link_is_being_made_casts_doubt_on_what_the_one_before_measured() {
    let mut rig = Rig::new().await;
    rig.sit(&alice_sits()).await;
    let raw = rig.now();
    let sitting = rig.bench.desk.current().unwrap().sitting;
    rig.bench.desk.end(sitting).await.unwrap();
    let (link, not_before) = made(&mut rig, &store_cuff(), 1).await;
    rig.sit(&Who::Anonymous).await;
    stands(&mut rig, link, &store_cuff(), not_before).await;
    // Nobody has read its clock, which may be wrong by as much as lies between the two.
    rig.clock(link, LinkClock::Unknown).await;
    rig.hear(link, raw).await;
    assert_eq!(rig.status().await.spooled, 0);
    assert_eq!(rig.counted(Counter::OutsideSitting).await, 1);
}

#[test]
fn no_packet_gets_the_nonce_of_another() {
    let mut nonces = Nonces::new(Entropy::seeded(1));
    let drawn: HashSet<u64> = (0..1_000).map(|_| nonces.draw()).collect();
    assert_eq!(drawn.len(), 1_000);
}

fn slots_of(readings: &[WireReading]) -> Vec<Option<Slot>> {
    readings.iter().map(|reading| reading.slot).collect()
}

#[tokio::test]
async fn a_context_waits_for_its_measurement_as_long_as_the_link_stands() {
    let mut rig = Rig::new().await;
    let link = rig.open(&glucose_meter()).await;
    let another = rig.open(&glucose_meter()).await;
    rig.hear_of(uuid16::GLUCOSE_CONTEXT, link, fasting(1)).await;
    rig.hear_of(uuid16::GLUCOSE_CONTEXT, link, fasting(2)).await;
    // It came before, and is the same.
    rig.hear_of(uuid16::GLUCOSE_CONTEXT, link, fasting(2)).await;
    // Of a record that never comes, of none, and of another link.
    rig.hear_of(uuid16::GLUCOSE_CONTEXT, link, fasting(9)).await;
    rig.hear_of(uuid16::GLUCOSE_CONTEXT, link, vec![0]).await;
    rig.hear_of(uuid16::GLUCOSE_CONTEXT, another, fasting(3)).await;
    for number in [2, 1, 3] {
        let record = glucose(number, at(-5 - i64::from(number)), false);
        rig.hear_of(uuid16::GLUCOSE_MEASUREMENT, link, record).await;
        // Nothing is settled between the two.
        assert_eq!(rig.bench.settle().await, 1);
    }
    let fasting = Some(Slot::Fasting);
    assert_eq!(slots_of(&rig.bench.outbox().await), [fasting, fasting, None]);
    rig.close(link).await;
    assert_eq!(rig.counted(Counter::ContextsOrphaned).await, 2);
    rig.close(another).await;
    assert_eq!(rig.counted(Counter::ContextsOrphaned).await, 3);
}

#[tokio::test]
async fn contexts_without_a_measurement_take_up_no_more_than_so_much_and_are_all_counted() {
    let mut rig = Rig::new().await;
    let link = rig.open(&glucose_meter()).await;
    let many = u16::try_from(MAX_EARLY).unwrap() + 10;
    let context = |number| Message::Packet {
        link,
        characteristic: uuid16::GLUCOSE_CONTEXT,
        raw: fasting(number),
        received_at: noon(),
        heard: Duration::ZERO,
    };
    rig.take((0..many).map(context).collect()).await;
    assert_eq!(rig.task.links[&link].early.len(), MAX_EARLY);
    let record = glucose(many - 1, at(-5), true);
    rig.hear_of(uuid16::GLUCOSE_MEASUREMENT, link, record).await;
    rig.close(link).await;
    assert_eq!(rig.counted(Counter::ContextsOrphaned).await, u64::from(many) - 1);
    assert_eq!(rig.bench.settle().await, 1);
    assert_eq!(slots_of(&rig.bench.outbox().await), [Some(Slot::Fasting)]);
}

#[tokio::test]
async fn a_shared_meters_context_waits_for_nothing() {
    let mut rig = Rig::new().await;
    let mut meter = glucose_meter();
    meter.role = MeterRole::StoreShared;
    let link = rig.open(&meter).await;
    rig.hear_of(uuid16::GLUCOSE_CONTEXT, link, fasting(1)).await;
    assert!(rig.task.links[&link].early.is_empty());
    rig.close(link).await;
    assert_eq!(rig.counted(Counter::ContextsOrphaned).await, 1);
}

#[tokio::test]
async fn a_context_that_waits_is_forgotten_with_a_withdrawal() {
    let mut rig = Rig::new().await;
    let link = rig.open(&glucose_meter()).await;
    rig.hear_of(uuid16::GLUCOSE_CONTEXT, link, fasting(1)).await;
    let withdrawal = withdrawn(grant(201, alice()), noon());
    let delta = delta(1, vec![withdrawal]);
    rig.bench.spool.apply_delta(&delta, noon()).await.unwrap();
    rig.hear_of(uuid16::GLUCOSE_MEASUREMENT, link, glucose(1, at(-5), true))
        .await;
    assert!(rig.task.links[&link].early.is_empty());
    assert_eq!(rig.status().await.spooled, 0);
}
