//! The store's three suites: every statement prepared on both engines, the same behaviours on both, and one schema in two
//! spellings. PostgreSQL is a throw-away cluster; without its programs the run fails.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod audit;
mod bench;
mod care;
mod consent;
mod down;
mod fleet;
mod ingest;
mod jobs;
mod only_ever;
mod others;
mod outcomes;
mod people;
mod races;
mod registration;
mod staff;
mod upgrade;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use bench::{Bench, Postgres, sqlite};
use carepost_store::testing::{Catalogue, catalogue, prepare_all, statement_files};
use carepost_store::{OpenError, Store, StoreConfig};
use tokio::task::{Id, JoinSet};

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;
type Behaviour = (&'static str, fn(Bench) -> Running);

/// Behaviours that run at the same time, each on its own database.
const AT_ONCE: usize = 4;

/// Names behaviours once, for both engines.
macro_rules! behaviours {
    ($($file:ident: $($name:ident),+;)+) => {
        &[$($((concat!(stringify!($file), "::", stringify!($name)), |bench| Box::pin($file::$name(bench)))),+),+]
    };
}

const BEHAVIOURS: &[Behaviour] = behaviours! {
    fleet: a_store_and_a_gateway_are_added_once, a_revoked_gateway_never_comes_back, presence_and_applied_versions_are_noted,
        two_epochs_that_alternate_raise_a_flag, lanes_of_old_epochs_are_forgotten;
    staff: a_login_belongs_to_one_person, a_session_ends_by_time_or_by_hand, failed_logins_are_counted_and_forgotten;
    people: a_member_is_added_once_and_found_by_code, conditions_and_drugs_are_replaced, a_meter_is_registered_once,
        a_meter_or_slot_has_one_owner_at_a_time;
    consent: a_grant_is_recorded_with_its_evidence, a_withdrawal_closes_everything_in_one_step, who_waited_behind_a_withdrawal_comes_after_it,
        other_purposes_leave_care_alone;
    down: a_snapshot_has_the_stores_scope_and_no_more, changes_come_in_the_order_of_their_version,
        a_binding_brings_a_member_of_another_store_into_scope;
    ingest: a_reading_is_stored_once_and_comes_back_as_it_was, a_repeat_changes_nothing_and_gives_the_same_receipt,
        numbers_behind_a_gap_are_settled_as_extra, a_rejection_is_told_until_it_was_seen,
        a_lane_waits_when_too_many_rejections_are_unseen, without_consent_nothing_is_kept,
        consent_is_asked_for_both_times, a_malformed_item_is_kept_once_and_blocks_nothing,
        one_packet_for_two_members_is_a_conflict, two_gateways_store_one_reading_once,
        only_enrolled_gateways_may_send, values_that_do_not_follow_from_the_bytes_are_refused,
        a_stores_own_meter_needs_the_store, a_batch_outside_the_contract_is_refused,
        equal_messages_are_one_row_in_quarantine, the_quarantine_is_bounded;
    care: a_critical_glucose_opens_one_alert_and_one_task, a_pair_becomes_a_session_with_its_mean,
        a_late_reading_makes_the_session_again, an_old_backlog_has_sessions_and_no_alert,
        an_unrepeated_severe_reading_becomes_an_alert_by_time_alone, the_queue_shows_what_a_pharmacist_needs,
        the_queue_is_worst_first, a_danger_symptom_is_an_emergency, pages_of_readings_hide_what_consent_hides,
        reads_are_audited_before_they_are_seen, a_member_file_without_consent_has_no_data,
        new_conditions_are_judged_at_the_next_assessment;
    outcomes: somebody_else_was_faster, a_contact_and_a_good_value_clear_the_alert, nobody_answered,
        a_false_alarm_resolves_it, a_booked_measurement_is_a_task, only_staff_may_act;
    others: other_readings_come_back_as_they_were, nothing_comes_of_other_readings,
        other_readings_need_consent_and_go_with_it, other_values_that_do_not_follow_from_the_bytes_are_refused,
        a_quirk_entry_is_kept_with_its_reading;
    registration: a_meter_paired_at_a_gateway_is_registered_once, a_shared_meter_has_no_owner_and_a_two_user_cuff_two,
        a_registration_that_cannot_be_changes_nothing, a_slot_that_is_somebodys_stays_theirs,
        owners_are_of_the_gateways_scope, what_a_meter_says_of_itself_is_brought_up_to_date,
        an_ended_binding_stays_ended, a_wrong_clock_makes_no_binding_early, meters_are_listed_by_model_and_address,
        a_meter_is_seen_when_a_reading_of_it_is_stored;
    only_ever: the_backlog_of_a_meter_that_was_only_ever_theirs_is_stored, who_is_not_sure_gets_only_what_comes_after,
        it_may_be_said_later_and_is_not_taken_back_by_silence, what_was_anothers_has_not_only_ever_been_theirs,
        each_slot_has_its_own_word;
    jobs: a_job_is_leased_by_one_worker_at_a_time, a_job_rescheduled_while_it_runs_waits_for_its_new_time, a_failure_does_not_undo_a_new_schedule,
        a_job_that_keeps_failing_is_parked, an_unknown_kind_is_parked, counts_say_what_waits;
    audit: the_chain_finds_an_altered_row, the_chain_finds_a_missing_end, sealing_goes_on_where_it_stopped;
    races: overlapping_batches_in_opposite_order_both_commit, one_of_two_acknowledgements_wins,
        a_withdrawal_and_a_batch_never_mix, a_meter_is_registered_by_one_of_two_gateways, many_readers_share_the_audits_transactions;
};

/// Runs every behaviour, each on a database of its own, and names all that failed.
async fn conform<F: Future<Output = Bench>>(bench: impl Fn() -> F) {
    let wanted = std::env::var("BEHAVIOUR").ok();
    let mut names = HashMap::new();
    let mut failed = Vec::new();
    let mut running = JoinSet::new();
    for (name, behaviour) in BEHAVIOURS {
        if wanted.as_ref().is_some_and(|wanted| !name.contains(wanted.as_str())) {
            continue;
        }
        if running.len() >= AT_ONCE {
            collect(&mut running, &names, &mut failed).await;
        }
        let task = running.spawn(behaviour(bench().await));
        names.insert(task.id(), *name);
    }
    while !running.is_empty() {
        collect(&mut running, &names, &mut failed).await;
    }
    assert!(failed.is_empty(), "these behaviours failed: {failed:#?}");
}

async fn collect(running: &mut JoinSet<()>, names: &HashMap<Id, &'static str>, failed: &mut Vec<&'static str>) {
    if let Some(Err(error)) = running.join_next().await {
        failed.push(names[&error.id()]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_behaviour_holds_on_sqlite() {
    conform(sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_behaviour_holds_on_postgresql() {
    let postgres = Postgres::start().await;
    conform(|| postgres.bench()).await;
}

#[tokio::test]
async fn every_statement_is_understood_by_sqlite() {
    check_statements(&sqlite().await.store).await;
}

#[tokio::test]
async fn every_statement_is_understood_by_postgresql() {
    check_statements(&Postgres::start().await.bench().await.store).await;
}

async fn check_statements(store: &Store) {
    let prepared = prepare_all(store).await.unwrap();
    assert!(prepared.len() > 80, "only {} statements were found", prepared.len());
    let refused: Vec<_> = prepared
        .iter()
        .filter(|statement| statement.refused.is_some())
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn no_statement_escapes_the_list() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/sql");
    let listed = statement_files();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        if text.contains("statements! {") && name != "mod" {
            assert!(listed.contains(&name.as_str()), "{name} is missing from sql::ALL");
        }
        // Text given to the driver directly would not be in any list.
        for call in ["query(\"", "query_as(\"", "query_scalar(\"", "AssertSqlSafe"] {
            assert!(!text.contains(call), "{name} has a statement outside `statements!`");
        }
    }
}

#[tokio::test]
async fn both_schemas_say_the_same() {
    let sqlite = catalogue(&sqlite().await.store).await.unwrap();
    let postgres = catalogue(&Postgres::start().await.bench().await.store).await.unwrap();
    assert!(
        sqlite.tables.len() > 20 && sqlite.indexes.len() > 20,
        "the catalogue was not read"
    );
    assert!(
        sqlite.tables.values().all(|table| !table.primary_key.is_empty()),
        "every table has a key"
    );
    let names = |catalogue: &Catalogue| catalogue.tables.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&sqlite), names(&postgres));
    for (name, table) in &sqlite.tables {
        assert_eq!(Some(table), postgres.tables.get(name), "table {name}");
    }
    assert_eq!(sqlite.indexes, postgres.indexes);
}

#[tokio::test]
async fn a_database_is_opened_again_and_a_foreign_one_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = StoreConfig::new(format!("sqlite:{}", folder.path().join("care.db").display()));
    config.migrate = false;
    assert!(
        matches!(Store::open(&config).await, Err(OpenError::Migrate(_))),
        "nothing is applied without being asked"
    );
    config.migrate = true;
    Store::open(&config).await.unwrap().close().await;
    config.migrate = false;
    let store = Store::open(&config).await.unwrap();
    store.ping().await.unwrap();
    store.close().await;
    assert!(store.ping().await.is_err(), "closed is closed");
    for (url, why) in [
        ("mysql://x", "engine"),
        ("sqlite::memory:", "memory"),
        ("postgres://%zz", "url"),
    ] {
        assert!(Store::open(&StoreConfig::new(url)).await.is_err(), "{why}");
    }
}

#[test]
fn every_use_case_may_run_on_any_thread() {
    fn send<T: Send>(_: &T) {}
    // Never run: the compiler reads it.
    async fn read(store: Store, bench: Bench) {
        let incoming = bench.batch(1, Vec::new());
        let call = store.ingest_batch(&incoming, &bench.rules, bench.now);
        send(&call);
        drop(call);
        let by = bench.by();
        send(&store.queue(&by, None, 1));
    }
    fn check(store: Store, bench: Bench) {
        send(&read(store, bench));
    }
    assert_eq!(size_of_val(&check), 0);
}
