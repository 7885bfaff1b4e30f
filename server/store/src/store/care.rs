//! Readings, sessions, alerts and tasks: gated by consent, audited, changed under their versions.

use carepost_domain::care::alert::Alert;
use carepost_domain::care::history::SymptomRecord;
use carepost_domain::care::rule_set::RuleSet;
use carepost_domain::care::task::{OutcomeRecord, Task};
use carepost_domain::id::{AlertId, MemberId, StaffId, StoreId, TaskId};
use chrono::{DateTime, TimeDelta, Utc};

use super::{Priority, Store, audited, read, write};
use crate::error::{CareError, Fault};
use crate::model::{
    AlertFile, AlertFilter, By, CareChange, MemberFile, OutcomeResult, Queue, ReadingCursor, ReadingPage, SessionView,
    TaskFilter,
};

impl Store {
    /// A page of a member's readings, the newest first, at most [`crate::limits::MAX_PAGE`]. Audited.
    ///
    /// # Errors
    /// [`CareError::MemberHidden`] when the member does not exist or has no consent now.
    #[tracing::instrument(name = "store.readings", skip_all)]
    pub async fn readings(
        &self,
        by: &By,
        member: MemberId,
        before: Option<ReadingCursor>,
        limit: u32,
    ) -> Result<ReadingPage, CareError> {
        audited!(self, |conn| sql::readings::page(conn, by, member, before, limit))
    }

    /// A member's blood-pressure sessions that began since an instant, the newest first. Audited.
    ///
    /// # Errors
    /// [`CareError::MemberHidden`].
    #[tracing::instrument(name = "store.sessions", skip_all)]
    pub async fn sessions(
        &self,
        by: &By,
        member: MemberId,
        since: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<SessionView>, CareError> {
        audited!(self, |conn| sql::views::session_list(conn, by, member, since, limit))
    }

    /// Alerts of members with consent, of one home store or all. Audited for each member shown.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.alerts", skip_all)]
    pub async fn alerts(
        &self,
        by: &By,
        filter: AlertFilter,
        store: Option<StoreId>,
        limit: u32,
    ) -> Result<Vec<Alert>, CareError> {
        audited!(self, |conn| sql::views::alert_list(conn, by, filter, store, limit))
    }

    /// One alert with its evidence. Audited.
    ///
    /// # Errors
    /// [`CareError::AlertUnknown`], also without consent.
    #[tracing::instrument(name = "store.alert", skip_all)]
    pub async fn alert(&self, by: &By, alert: AlertId) -> Result<AlertFile, CareError> {
        audited!(self, |conn| sql::views::alert_file(conn, by, alert))
    }

    /// Tasks of members with consent: live ones first, then by due time. Audited for each member shown.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.tasks", skip_all)]
    pub async fn tasks(&self, by: &By, filter: TaskFilter, limit: u32) -> Result<Vec<Task>, CareError> {
        audited!(self, |conn| sql::views::task_list(conn, by, &filter, limit))
    }

    /// One task. Audited.
    ///
    /// # Errors
    /// [`CareError::TaskUnknown`], also without consent.
    #[tracing::instrument(name = "store.task", skip_all)]
    pub async fn task(&self, by: &By, task: TaskId) -> Result<Task, CareError> {
        audited!(self, |conn| sql::views::task(conn, by, task))
    }

    /// The queue of one home store or of all: active alerts, worst first, then by due time. Audited for each member shown.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.queue", skip_all)]
    pub async fn queue(&self, by: &By, store: Option<StoreId>, limit: u32) -> Result<Queue, CareError> {
        audited!(self, |conn| sql::views::queue(conn, by, store, limit))
    }

    /// Everything a pharmacist needs for a call, with data of the last `period`. Without consent the particulars and grants
    /// only. Audited.
    ///
    /// # Errors
    /// [`CareError::MemberHidden`] when the member does not exist.
    #[tracing::instrument(name = "store.member_file", skip_all)]
    pub async fn member_file(&self, by: &By, member: MemberId, period: TimeDelta) -> Result<MemberFile, CareError> {
        audited!(self, |conn| sql::views::member_file(conn, by, member, period))
    }

    /// Moves whenever an alert or task changes, for polling.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.queue_version", skip_all)]
    pub async fn queue_version(&self) -> Result<i64, Fault> {
        read!(self, |conn| sql::counter::read(conn, sql::counter::Counter::Queue))
    }

    /// Records symptoms and assesses the member; records that are known already are no change.
    ///
    /// # Errors
    /// [`CareError::MemberHidden`] without consent, [`CareError::TooLong`], [`CareError::NotAllowed`] for the future.
    #[tracing::instrument(name = "store.record_symptoms", skip_all)]
    pub async fn record_symptoms(
        &self,
        by: &By,
        member: MemberId,
        records: &[SymptomRecord],
        rules: &RuleSet,
    ) -> Result<CareChange, CareError> {
        write!(self, Priority::Staff, |conn| sql::care::record_symptoms(
            conn, by, member, records, rules
        ))
    }

    /// Somebody has seen an alert at this version.
    ///
    /// # Errors
    /// [`CareError::Conflict`] when it has changed since, [`CareError::Alert`], [`CareError::AlertUnknown`] also without
    /// consent, [`CareError::StaffUnknown`].
    #[tracing::instrument(name = "store.acknowledge_alert", skip_all)]
    pub async fn acknowledge_alert(
        &self,
        by: &By,
        alert: AlertId,
        staff: StaffId,
        version: u64,
    ) -> Result<Alert, CareError> {
        write!(self, Priority::Staff, |conn| sql::work::acknowledge(
            conn, by, alert, staff, version
        ))
    }

    /// Somebody takes a task at this version.
    ///
    /// # Errors
    /// [`CareError::Conflict`], [`CareError::Task`], [`CareError::TaskUnknown`] also without consent,
    /// [`CareError::StaffUnknown`].
    #[tracing::instrument(name = "store.take_task", skip_all)]
    pub async fn take_task(&self, by: &By, task: TaskId, staff: StaffId, version: u64) -> Result<Task, CareError> {
        write!(self, Priority::Staff, |conn| sql::work::take_task(
            conn, by, task, staff, version
        ))
    }

    /// Records what came of a task, with its effects on the alert, and assesses the member again.
    ///
    /// # Errors
    /// [`CareError::Conflict`], [`CareError::Task`], [`CareError::TaskUnknown`] also without consent,
    /// [`CareError::StaffUnknown`].
    #[tracing::instrument(name = "store.record_outcome", skip_all)]
    pub async fn record_outcome(
        &self,
        by: &By,
        task: TaskId,
        staff: StaffId,
        version: u64,
        record: &OutcomeRecord,
        rules: &RuleSet,
    ) -> Result<OutcomeResult, CareError> {
        write!(self, Priority::Staff, |conn| sql::work::record_outcome(
            conn, by, task, staff, version, record, rules
        ))
    }

    /// Assesses a member as of `by.at`, as the `reassess` job does; nothing without consent.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.reassess_member", skip_all)]
    pub async fn reassess_member(&self, by: &By, member: MemberId, rules: &RuleSet) -> Result<CareChange, CareError> {
        write!(self, Priority::Live, |conn| sql::care::reassess_member(
            conn, by, member, rules
        ))
    }
}
