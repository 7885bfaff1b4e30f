//! Stops of every kind, in paused time: the runtime moves its clock when every task waits.

use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use tokio::time::sleep;

use super::*;

const SETTINGS: LifecycleSettings = LifecycleSettings {
    stop_deadline_ms: 10_000,
};

/// What tasks did, with the milliseconds at which they did it.
#[derive(Clone)]
struct Diary {
    start: Instant,
    entries: Arc<Mutex<Vec<(u128, &'static str)>>>,
}

impl Diary {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            entries: Arc::default(),
        }
    }

    fn write(&self, what: &'static str) {
        self.entries
            .lock()
            .unwrap()
            .push((self.start.elapsed().as_millis(), what));
    }

    fn read(&self) -> Vec<(u128, &'static str)> {
        self.entries.lock().unwrap().clone()
    }
}

/// A task that obeys the soft token.
fn spawn_obedient(lifecycle: &mut Lifecycle, diary: &Diary) {
    let (soft, diary) = (lifecycle.soft(), diary.clone());
    lifecycle.spawn("obedient", async move {
        soft.cancelled().await;
        diary.write("soft");
        Ok(())
    });
}

/// A task that obeys only the hard token.
fn spawn_stubborn(lifecycle: &mut Lifecycle, diary: &Diary) {
    let (hard, diary) = (lifecycle.hard(), diary.clone());
    lifecycle.spawn("stubborn", async move {
        hard.cancelled().await;
        diary.write("hard");
        Ok(())
    });
}

fn spawn_stop_after(lifecycle: &mut Lifecycle, requests: &'static [u64]) {
    let (stopper, soft) = (lifecycle.stopper(), lifecycle.soft());
    lifecycle.spawn("stopper", async move {
        for millis in requests {
            sleep(Duration::from_millis(*millis)).await;
            stopper.request();
        }
        soft.cancelled().await;
        Ok(())
    });
}

#[tokio::test(start_paused = true)]
async fn a_request_lets_the_work_in_hand_finish() {
    let mut lifecycle = Lifecycle::embedded(&SETTINGS);
    let diary = Diary::new();
    spawn_obedient(&mut lifecycle, &diary);
    spawn_stop_after(&mut lifecycle, &[500]);
    let (soft, hard, worker_diary) = (lifecycle.soft(), lifecycle.hard(), diary.clone());
    let hard_seen = hard.clone();
    lifecycle.spawn("worker", async move {
        soft.cancelled().await;
        sleep(Duration::from_secs(9)).await;
        worker_diary.write("unit done");
        Ok(())
    });

    let report = lifecycle.run_until_stopped().await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.exit_code(), ExitCode::SUCCESS);
    assert_eq!(diary.read(), [(500, "soft"), (9_500, "unit done")]);
    assert!(!hard_seen.is_cancelled(), "nobody had to be hurried");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_brings_the_hard_stage_after_the_soft_one() {
    let mut lifecycle = Lifecycle::embedded(&SETTINGS);
    let diary = Diary::new();
    spawn_obedient(&mut lifecycle, &diary);
    spawn_stubborn(&mut lifecycle, &diary);
    spawn_stop_after(&mut lifecycle, &[500]);

    let report = lifecycle.run_until_stopped().await;
    assert!(
        report.is_clean(),
        "a task that obeys the hard token has stopped in time: {report:?}"
    );
    assert_eq!(diary.read(), [(500, "soft"), (10_500, "hard")]);
}

#[tokio::test(start_paused = true)]
async fn a_second_request_brings_the_hard_stage_at_once() {
    let mut lifecycle = Lifecycle::embedded(&SETTINGS);
    let diary = Diary::new();
    spawn_obedient(&mut lifecycle, &diary);
    spawn_stubborn(&mut lifecycle, &diary);
    spawn_stop_after(&mut lifecycle, &[500, 200, 0, 0]);

    let report = lifecycle.run_until_stopped().await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(diary.read(), [(500, "soft"), (700, "hard")]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_obeys_nothing_is_aborted_and_named() {
    let mut lifecycle = Lifecycle::embedded(&SETTINGS);
    let start = Instant::now();
    lifecycle.spawn("deaf", std::future::pending());
    lifecycle.stopper().request();

    let report = lifecycle.run_until_stopped().await;
    assert_eq!(start.elapsed(), Duration::from_secs(10) + HARD_GRACE);
    assert!(matches!(report.reason, StopReason::Requested { signal: None }));
    let [
        TaskExit {
            name,
            outcome: TaskOutcome::Aborted,
        },
    ] = report.casualties.as_slice()
    else {
        panic!("{report:?}");
    };
    assert_eq!(name, "deaf");
    assert_eq!(report.exit_code(), ExitCode::FAILURE);
}

#[tokio::test(start_paused = true)]
async fn a_panic_stops_the_program_softly_and_is_reported_by_name() {
    let mut lifecycle = Lifecycle::embedded(&SETTINGS);
    let diary = Diary::new();
    spawn_obedient(&mut lifecycle, &diary);
    lifecycle.spawn("fragile", async {
        sleep(Duration::from_millis(300)).await;
        panic!("invariant {} is broken", 7);
    });

    let report = lifecycle.run_until_stopped().await;
    let StopReason::Task(TaskExit {
        name,
        outcome: TaskOutcome::Panicked(message),
    }) = &report.reason
    else {
        panic!("{report:?}");
    };
    assert_eq!((name.as_ref(), message.as_str()), ("fragile", "invariant 7 is broken"));
    assert_eq!(diary.read(), [(300, "soft")], "the others finished their work");
    assert_eq!(report.exit_code(), ExitCode::FAILURE);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_returns_unasked_stops_the_program_with_a_failure() {
    let mut lifecycle = Lifecycle::embedded(&SETTINGS);
    let diary = Diary::new();
    spawn_obedient(&mut lifecycle, &diary);
    lifecycle.spawn("hasty", async { Ok(()) });

    let report = lifecycle.run_until_stopped().await;
    assert!(
        matches!(&report.reason, StopReason::Task(TaskExit { name, outcome: TaskOutcome::Returned }) if name == "hasty"),
        "{report:?}"
    );
    assert_eq!(diary.read(), [(0, "soft")]);
    assert_eq!(report.exit_code(), ExitCode::FAILURE);
}

#[tokio::test(start_paused = true)]
async fn an_error_stops_the_program_and_later_ones_are_kept() {
    let mut lifecycle = Lifecycle::embedded(&SETTINGS);
    let soft = lifecycle.soft();
    lifecycle.spawn("first", async { anyhow::bail!("the disk is full") });
    lifecycle.spawn("second", async move {
        soft.cancelled().await;
        anyhow::bail!("cannot flush")
    });

    let report = lifecycle.run_until_stopped().await;
    let StopReason::Task(TaskExit {
        name,
        outcome: TaskOutcome::Failed(error),
    }) = &report.reason
    else {
        panic!("{report:?}");
    };
    assert_eq!(
        (name.as_ref(), error.to_string().as_str()),
        ("first", "the disk is full")
    );
    let [
        TaskExit {
            name,
            outcome: TaskOutcome::Failed(error),
        },
    ] = report.casualties.as_slice()
    else {
        panic!("{report:?}");
    };
    assert_eq!((name.as_ref(), error.to_string().as_str()), ("second", "cannot flush"));
}

#[tokio::test(start_paused = true)]
async fn a_failure_during_an_asked_stop_makes_the_exit_code() {
    let mut lifecycle = Lifecycle::embedded(&SETTINGS);
    let soft = lifecycle.soft();
    lifecycle.spawn("flusher", async move {
        soft.cancelled().await;
        anyhow::bail!("cannot flush")
    });
    lifecycle.stopper().request();

    let report = lifecycle.run_until_stopped().await;
    assert!(matches!(report.reason, StopReason::Requested { signal: None }));
    assert_eq!(report.exit_code(), ExitCode::FAILURE);
}

#[tokio::test(start_paused = true)]
async fn a_task_cannot_stop_the_others_through_its_token() {
    let mut lifecycle = Lifecycle::embedded(&SETTINGS);
    let diary = Diary::new();
    spawn_obedient(&mut lifecycle, &diary);
    spawn_stop_after(&mut lifecycle, &[500]);
    lifecycle.soft().cancel();
    lifecycle.hard().cancel();
    assert!(lifecycle.run_until_stopped().await.is_clean());
    assert_eq!(diary.read(), [(500, "soft")]);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_supervisor_ends_its_tasks() {
    let mut lifecycle = Lifecycle::embedded(&SETTINGS);
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    lifecycle.spawn("holder", async move {
        let _held = sender;
        std::future::pending().await
    });
    drop(lifecycle);
    assert!(receiver.await.is_err(), "the task and what it held are gone");
}

#[tokio::test(start_paused = true)]
async fn the_service_manager_hears_ready_alive_and_stopping_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_nonblocking(true).unwrap();
    let notifier = Notifier::from_values(Some(path.into()), Some("2000000".into()), None).unwrap();
    let mut lifecycle = Lifecycle::assemble(&SETTINGS, None, notifier);
    spawn_stop_after(&mut lifecycle, &[2_500]);

    assert!(lifecycle.run_until_stopped().await.is_clean());
    let mut heard = Vec::new();
    let mut buffer = [0; 64];
    while let Ok(length) = manager.recv(&mut buffer) {
        heard.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
    }
    // The watchdog's time is 2 s, so that it is fed at 0 s, 1 s and 2 s.
    assert_eq!(
        heard,
        ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]
    );
}

#[test]
fn a_deadline_outside_its_bounds_is_a_problem() {
    for (millis, expected) in [(0, 1), (1, 0), (600_000, 0), (600_001, 1)] {
        let mut problems = Problems::default();
        LifecycleSettings {
            stop_deadline_ms: millis,
        }
        .validate(&mut problems);
        assert_eq!(problems.len(), expected, "{millis}");
    }
}

#[test]
fn a_task_that_never_awaits_is_left_behind_and_named() {
    // Real time: a thread that is stuck holds back a paused clock. The deadline is short instead.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (release, stuck) = std::sync::mpsc::sync_channel::<()>(1);
    let report = runtime.block_on(async {
        let mut lifecycle = Lifecycle::embedded(&LifecycleSettings { stop_deadline_ms: 1 });
        lifecycle.spawn("stuck", async move {
            stuck.recv()?;
            Ok(())
        });
        lifecycle.stopper().request();
        lifecycle.run_until_stopped().await
    });
    release.send(()).unwrap();
    let [
        TaskExit {
            name,
            outcome: TaskOutcome::Aborted,
        },
    ] = report.casualties.as_slice()
    else {
        panic!("{report:?}");
    };
    assert_eq!(name, "stuck");
}
