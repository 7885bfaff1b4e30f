//! The uplink against a hand-made endpoint on a real socket.

mod broker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use carepost_contract::topic::{Channel, Topic};
use carepost_contract::v1::{
    Control, Cursor, Down, Epoch, Hello, Item, Lane, ParsedBatch, Receipt, Rejected, Rejection, parse_batch,
    parse_control,
};
use carepost_contract::{connect, signed};
use carepost_daemon::{CancellationToken, Clock, Entropy};
use carepost_domain::quarantine::Reason;
use tokio::task::JoinSet;

use super::machine::Policy;
use super::{Uplink, UplinkError, UplinkStatus};
use crate::app::Parts;
use crate::board::{Board, UplinkState};
use crate::config::Config;
use crate::identity::Identity;
use crate::spool::LinkEnd;
use crate::testing::{Bench, alice, at, delta, grant, noon, plain_cuff, pressure, snapshot, withdrawn};
use broker::{Broker, Link, Sent};

/// An uplink that runs against a broker.
struct Shop {
    bench: Bench,
    broker: Broker,
    parts: Parts,
    soft: CancellationToken,
    task: JoinSet<Result<(), UplinkError>>,
}

impl Shop {
    async fn open() -> Self {
        let bench = Bench::new().await;
        let broker = Broker::start().await;
        // Deadlines run in real time; everything else of the bench stands still at noon.
        let clock = Clock::system();
        let mut config = Config::default();
        config.uplink.port = broker.port();
        let identity = Identity::load_or_create(bench.folder.path(), &clock, &Entropy::system()).unwrap();
        let epoch = Epoch::from_bytes([7; 8]);
        bench.spool.begin_epoch(epoch).await.unwrap();
        let parts = Parts {
            config: Arc::new(config),
            identity: Arc::new(identity),
            epoch,
            spool: bench.spool.clone(),
            desk: bench.desk.clone(),
            board: Board::default(),
            trust: bench.trust.clone(),
            clock,
            entropy: Entropy::seeded(3),
        };
        let policy = Policy {
            backoff_min: Duration::from_millis(20),
            hello_pause: Duration::from_millis(20),
            ..Policy::default()
        };
        let uplink = Uplink::with_policy(parts.clone(), policy);
        let soft = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(uplink.run(soft.clone()));
        Self {
            bench,
            broker,
            parts,
            soft,
            task,
        }
    }

    fn topic(&self, channel: Channel) -> String {
        Topic {
            gateway: self.parts.identity.gateway(),
            channel,
        }
        .to_string()
    }

    /// A reading of Alice's, in the outbox.
    async fn reading(&self, systolic: i64, minute: i64) {
        let cuff = plain_cuff();
        let link = self.bench.link(&cuff).await;
        self.bench
            .heard(link, &cuff, pressure(systolic, Some(at(minute)), None))
            .await;
        self.bench.closed(link, LinkEnd::Clean).await;
        assert_eq!(self.bench.settle().await, 1);
    }

    /// Takes a connection as far as hello.
    async fn greeted(&self, keep_alive_s: u16) -> (Link, Hello) {
        let (mut link, connect) = self.broker.accept().await;
        let gateway = self.parts.identity.gateway();
        assert_eq!(
            (connect.client_id.clone(), connect.user_name.clone()),
            (gateway.to_string(), gateway.to_string())
        );
        connect::check(
            &self.parts.identity.public_key(),
            gateway,
            &connect.password,
            self.parts.clock.now(),
        )
        .unwrap();
        assert!(connect.clean_start && connect.will_retained && connect.keep_alive_s == 15);
        assert_eq!(connect.will_topic, self.topic(Channel::State));
        link.welcome(keep_alive_s).await;
        match link.next().await {
            Sent::Publish {
                topic,
                payload,
                retained: true,
            } if topic == self.topic(Channel::State) => {
                assert_eq!(payload, br#"{"present":true}"#);
            }
            other => panic!("presence expected, got {other:?}"),
        }
        match link.next().await {
            Sent::Subscribe(topics) => assert_eq!(topics, [self.topic(Channel::Receipt), self.topic(Channel::Down)]),
            other => panic!("subscription expected, got {other:?}"),
        }
        let hello = match self.control(&mut link).await {
            Control::Hello(hello) => hello,
            other @ (Control::Applied(_) | Control::Register(_)) => panic!("{other:?}"),
        };
        (link, hello)
    }

    /// A connection that is online.
    async fn online(&self, live: u64, replay: u64) -> Link {
        let (mut link, hello) = self.greeted(15).await;
        self.cursor(&mut link, hello.epoch, live, replay).await;
        link
    }

    async fn control(&self, link: &mut Link) -> Control {
        let message = link.published(&self.topic(Channel::UpControl)).await;
        parse_control(signed::open(&self.parts.identity.public_key(), &message).unwrap()).unwrap()
    }

    async fn batch(&self, link: &mut Link, lane: Channel) -> ParsedBatch {
        let message = link.published(&self.topic(lane)).await;
        parse_batch(signed::open(&self.parts.identity.public_key(), &message).unwrap()).unwrap()
    }

    async fn down(&self, link: &mut Link, down: &Down) {
        link.publish(&self.topic(Channel::Down), &serde_json::to_vec(down).unwrap())
            .await;
    }

    async fn cursor(&self, link: &mut Link, epoch: Epoch, live: u64, replay: u64) {
        self.down(
            link,
            &Down::Cursor(Cursor {
                epoch,
                live,
                replay,
                server_time: noon(),
            }),
        )
        .await;
    }

    async fn receipt(&self, link: &mut Link, through: u64, rejected: Vec<Rejected>) {
        let receipt = Receipt {
            epoch: self.parts.epoch,
            lane: Lane::Live,
            settled_through: through,
            extra: Vec::new(),
            rejected,
            server_time: noon(),
            hold_replay: false,
        };
        link.publish(&self.topic(Channel::Receipt), &serde_json::to_vec(&receipt).unwrap())
            .await;
    }

    async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds().await {
            assert!(Instant::now() < deadline, "never: {what}; {:?}", self.counts());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn until_outbox_is(&self, rows: u64) {
        self.until("the outbox", async || self.bench.status().await.outbox == rows)
            .await;
    }

    fn counts(&self) -> UplinkStatus {
        self.parts.board.uplink_counts().expect("the uplink runs")
    }

    async fn stop(mut self) {
        self.soft.cancel();
        self.task.join_next().await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_reading_goes_up_signed_and_leaves_the_outbox_on_the_receipt_only() {
    let shop = Shop::open().await;
    shop.reading(131, 0).await;
    let (mut link, hello) = shop.greeted(15).await;
    assert_eq!(
        (hello.gateway, hello.epoch, hello.down_version),
        (shop.parts.identity.gateway(), shop.parts.epoch, 1)
    );
    shop.cursor(&mut link, hello.epoch, 0, 0).await;
    let batch = shop.batch(&mut link, Channel::UpLive).await;
    assert_eq!(
        (batch.epoch, batch.lane, batch.first_seq, batch.items.len()),
        (shop.parts.epoch, Lane::Live, 1, 1)
    );
    assert!(matches!(batch.items[0], Ok(Item::Reading(ref reading)) if reading.member == alice()));
    // The PUBACK is out; a second reading shows that the uplink went on, and the first is still there.
    shop.reading(133, 1).await;
    assert_eq!(shop.batch(&mut link, Channel::UpLive).await.first_seq, 2);
    assert_eq!(shop.bench.status().await.outbox, 2);
    shop.receipt(&mut link, 1, Vec::new()).await;
    shop.until_outbox_is(1).await;
    shop.receipt(&mut link, 2, Vec::new()).await;
    shop.until_outbox_is(0).await;
    assert!(matches!(shop.parts.board.uplink(), UplinkState::Connected { .. }));
    assert_eq!(shop.counts().batches_resent, 0);
    shop.stop().await;
}

#[tokio::test]
async fn a_goodbye_leaves_the_presence_absent() {
    let shop = Shop::open().await;
    let mut link = shop.online(0, 0).await;
    shop.until("online", async || {
        matches!(shop.parts.board.uplink(), UplinkState::Connected { .. })
    })
    .await;
    let state = shop.topic(Channel::State);
    shop.soft.cancel();
    assert_eq!(link.published(&state).await, br#"{"present":false}"#);
    assert!(matches!(link.next().await, Sent::Disconnect));
    shop.stop().await;
}

#[tokio::test]
async fn a_receipt_lost_with_the_link_is_asked_for_and_its_rejection_ends_in_quarantine() {
    let shop = Shop::open().await;
    shop.reading(131, 0).await;
    let mut link = shop.online(0, 0).await;
    assert_eq!(shop.batch(&mut link, Channel::UpLive).await.items.len(), 1);
    drop(link);
    // The server has settled number 1, and the receipt with the rejection was lost.
    let mut link = shop.online(1, 0).await;
    let probe = shop.batch(&mut link, Channel::UpLive).await;
    assert_eq!((probe.first_seq, probe.items.len()), (1, 1));
    assert_eq!(shop.bench.status().await.outbox, 1, "a cursor removes nothing");
    let rejected = Rejected {
        seq: 1,
        reason: Rejection::Unusable(Reason::UnknownMeter),
    };
    shop.receipt(&mut link, 1, vec![rejected]).await;
    shop.until_outbox_is(0).await;
    assert_eq!(shop.bench.status().await.quarantined, 1);
    shop.stop().await;
}

#[tokio::test]
async fn a_snapshot_in_parts_is_applied_as_a_whole_and_a_withdrawal_purges_before_applied_is_said() {
    let shop = Shop::open().await;
    let mut link = shop.online(0, 0).await;
    shop.reading(131, 0).await;
    assert_eq!(shop.batch(&mut link, Channel::UpLive).await.first_seq, 1);
    let mut whole = snapshot();
    whole.version = 5;
    let mut first = whole.clone();
    first.last = false;
    let mut second = whole.clone();
    (
        second.part,
        second.members,
        second.meters,
        second.bindings,
        second.grants,
    ) = (1, vec![], vec![], vec![], vec![]);
    shop.down(&mut link, &Down::Snapshot(first.clone())).await;
    shop.down(&mut link, &Down::Snapshot(second)).await;
    assert!(matches!(shop.control(&mut link).await, Control::Applied(applied) if applied.down_version == 5));
    assert_eq!(shop.bench.spool.down().version(), 5);
    // A withdrawal: the numbered row becomes a void before the server hears of it.
    let mut withdrawal = delta(5, vec![withdrawn(grant(201, alice()), noon())]);
    withdrawal.version = 6;
    shop.down(&mut link, &Down::Delta(withdrawal)).await;
    assert!(matches!(shop.control(&mut link).await, Control::Applied(applied) if applied.down_version == 6));
    assert_eq!(shop.bench.status().await.outbox, 0);
    // Known already: nothing is said. Not for the version held, and a part out of order: asks again.
    shop.down(&mut link, &Down::Delta(delta(5, Vec::new()))).await;
    shop.down(&mut link, &Down::Delta(delta(8, Vec::new()))).await;
    assert!(matches!(shop.control(&mut link).await, Control::Hello(hello) if hello.down_version == 6));
    first.part = 3;
    shop.down(&mut link, &Down::Snapshot(first)).await;
    assert!(matches!(shop.control(&mut link).await, Control::Hello(_)));
    shop.stop().await;
}

#[tokio::test]
async fn messages_that_cannot_be_used_are_counted_and_change_nothing() {
    let shop = Shop::open().await;
    shop.reading(131, 0).await;
    let mut link = shop.online(0, 0).await;
    shop.batch(&mut link, Channel::UpLive).await;
    let (receipt, down) = (shop.topic(Channel::Receipt), shop.topic(Channel::Down));
    let deep = "[".repeat(100_000);
    for (topic, payload) in [
        (receipt.as_str(), "not json"),
        (&receipt, r#"{"epoch":"zz"}"#),
        (&receipt, deep.as_str()),
        (&down, r#"{"type":"snapshot"}"#),
        (&down, deep.as_str()),
        (&down, r#"{"type":"unheard_of"}"#),
        ("v1/gw/elsewhere/receipt", "{}"),
    ] {
        link.publish(topic, payload.as_bytes()).await;
    }
    // Numbers that were never given must not be settled in advance.
    shop.receipt(&mut link, 900, Vec::new()).await;
    shop.until("eight bad messages", async || shop.counts().bad_messages == 8)
        .await;
    assert_eq!(shop.bench.status().await.outbox, 1);
    shop.receipt(&mut link, 1, Vec::new()).await;
    shop.until_outbox_is(0).await;
    assert_eq!(shop.bench.status().await.counters["bad_messages"], 8);
    shop.stop().await;
}

#[tokio::test]
async fn garbage_and_cuts_lead_to_a_new_link_that_sends_again() {
    let shop = Shop::open().await;
    shop.reading(131, 0).await;
    for round in 0..3 {
        let mut link = shop.online(0, 0).await;
        assert_eq!(shop.batch(&mut link, Channel::UpLive).await.first_seq, 1);
        match round {
            0 => link.garbage().await,
            1 => drop(link),
            // A packet larger than a receiver may be sent.
            _ => link.publish(&shop.topic(Channel::Down), &vec![b' '; 300 * 1024]).await,
        }
    }
    let mut link = shop.online(0, 0).await;
    shop.batch(&mut link, Channel::UpLive).await;
    shop.receipt(&mut link, 1, Vec::new()).await;
    shop.until_outbox_is(0).await;
    assert_eq!(shop.counts().losses, 3);
    assert_eq!(shop.counts().batches_resent, 3);
    shop.stop().await;
}

#[tokio::test]
async fn a_half_open_link_is_left_within_two_keep_alives() {
    let shop = Shop::open().await;
    let (mut link, hello) = shop.greeted(1).await;
    shop.cursor(&mut link, hello.epoch, 0, 0).await;
    let since = Instant::now();
    // Nothing is read or answered any more.
    let (_again, _hello) = shop.greeted(15).await;
    let waited = since.elapsed();
    assert!(
        (Duration::from_millis(900)..Duration::from_millis(3_500)).contains(&waited),
        "{waited:?}"
    );
    drop(link);
    shop.stop().await;
}

#[tokio::test]
async fn an_error_code_in_a_puback_counts_as_not_sent_and_the_row_stays() {
    let shop = Shop::open().await;
    let mut link = shop.online(0, 0).await;
    // Quota exceeded.
    link.puback = Some(0x97);
    shop.reading(131, 0).await;
    shop.batch(&mut link, Channel::UpLive).await;
    shop.until("counted", async || shop.counts().not_sent == 1).await;
    assert_eq!(shop.bench.status().await.outbox, 1);
    shop.stop().await;
}

#[tokio::test]
async fn a_refused_connection_is_said_on_the_board_and_tried_again() {
    let shop = Shop::open().await;
    let (mut link, _) = shop.broker.accept().await;
    // Bad user name or password.
    link.refuse(0x86).await;
    let mut link = shop.online(0, 0).await;
    shop.until("online", async || {
        matches!(shop.parts.board.uplink(), UplinkState::Connected { .. })
    })
    .await;
    assert!(
        shop.counts()
            .last_loss
            .as_deref()
            .is_some_and(|loss| loss.starts_with("refused"))
    );
    shop.reading(131, 0).await;
    shop.batch(&mut link, Channel::UpLive).await;
    shop.stop().await;
}
