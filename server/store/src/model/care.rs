//! Care as readers see it: readings, sessions, the queue and the member file. Alerts and tasks are the domain's own.

use carepost_domain::care::alert::Alert;
use carepost_domain::care::history::SymptomRecord;
use carepost_domain::care::session::{NextStep, SessionMean, SessionState};
use carepost_domain::care::task::Task;
use carepost_domain::id::{GatewayId, MemberId, MeterId, ReadingId, SessionId, StaffId, StoreId};
use carepost_domain::people::{Condition, MemberCode, Sex};
use carepost_domain::reading::{Flag, Place, Reading};
use carepost_domain::units::GlucoseLevel;
use chrono::{DateTime, Utc};

use super::{AuditRow, GrantRecord, MemberRecord};

/// Which alerts a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertFilter {
    /// Active ones, worst first.
    Open,
    /// All, the newest first.
    All,
}

/// The end of a page of readings; the next page begins behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadingCursor {
    /// Measured time of the last row shown.
    pub measured_at: DateTime<Utc>,
    /// Its id.
    pub id: ReadingId,
}

/// A page of readings, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadingPage {
    /// The readings.
    pub readings: Vec<StoredReading>,
    /// Where the next page begins, if there is one.
    pub next: Option<ReadingCursor>,
}

/// A reading with the way it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReading {
    /// The reading.
    pub reading: Reading,
    /// When the server committed it.
    pub received_at: DateTime<Utc>,
    /// The gateway that brought it first.
    pub gateway: GatewayId,
}

/// One blood-pressure session as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// The session.
    pub id: SessionId,
    /// Whose.
    pub member: MemberId,
    /// Where.
    pub place: Place,
    /// The meter, where known.
    pub meter: Option<MeterId>,
    /// How far it is.
    pub state: SessionState,
    /// The mean, once it is judged.
    pub mean: Option<SessionMean>,
    /// First measured instant.
    pub started: DateTime<Utc>,
    /// Last measured instant.
    pub last: DateTime<Utc>,
    /// When it closes if nothing is measured any more.
    pub closes_at: DateTime<Utc>,
    /// All readings, in measured order; those that are not in `used` are shown hollow.
    pub readings: Vec<ReadingId>,
    /// Readings in the mean.
    pub used: Vec<ReadingId>,
    /// Readings at or above the severe limit.
    pub severe: Vec<ReadingId>,
    /// Flags of used readings that label the session.
    pub doubts: Vec<Flag>,
    /// The further reading that the policy wanted never came.
    pub further_reading_missing: bool,
    /// A new pair has decided instead of this session.
    pub superseded: bool,
    /// The session that this one repeats.
    pub repeats: Option<SessionId>,
    /// What the person should do next.
    pub next: NextStep,
}

/// Which tasks a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TaskFilter {
    /// Only of members whose home store this is.
    pub store: Option<StoreId>,
    /// Only of this member.
    pub member: Option<MemberId>,
    /// Finished and cancelled ones as well.
    pub closed_too: bool,
}

/// What a queue row shows of the data behind its alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueValue {
    /// The newest evidence reading.
    pub reading: StoredReading,
    /// The session it belongs to, when it is a blood pressure; its mean is what was judged, if there is one.
    pub session: Option<SessionView>,
}

/// One point of the 30 days before, for the small drawing in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrendPoint {
    /// When it was measured.
    pub at: DateTime<Utc>,
    /// What was measured.
    pub value: TrendValue,
}

/// The value of a [`TrendPoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrendValue {
    /// A session's mean, in whole mmHg.
    BloodPressure {
        /// Systolic.
        systolic_mmhg: i64,
        /// Diastolic.
        diastolic_mmhg: i64,
    },
    /// A glucose result.
    Glucose(GlucoseLevel),
}

/// One row of the pharmacists' queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRow {
    /// The alert, active.
    pub alert: Alert,
    /// The member's card code.
    pub member_code: MemberCode,
    /// First character of the name and two stars.
    pub masked_name: String,
    /// Year of birth.
    pub birth_year: i32,
    /// Sex as on file.
    pub sex: Sex,
    /// Conditions on file.
    pub conditions: Vec<Condition>,
    /// The home store, which owns the follow-up.
    pub home_store: StoreId,
    /// The data behind the alert; `None` for a symptom record without a reading.
    pub value: Option<QueueValue>,
    /// Name of the alert's owner.
    pub owner_name: Option<String>,
    /// The alert's open or taken tasks, the first due first.
    pub tasks: Vec<Task>,
    /// Consent to be telephoned holds now.
    pub may_call: bool,
    /// Glucose values for alerts about glucose, session means for all others, of [`TREND_DAYS`], in measured order.
    pub trend: Vec<TrendPoint>,
}

/// Days of a row's trend (page 6, section 1).
pub const TREND_DAYS: i64 = 30;

/// The queue of one store or of all: worst first, then by due time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Rows, at most [`crate::limits::MAX_PAGE`].
    pub rows: Vec<QueueRow>,
    /// Whether there are more.
    pub more: bool,
    /// The change counter at which it was read.
    pub version: i64,
}

/// An alert with everything that explains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertFile {
    /// The alert.
    pub alert: Alert,
    /// Its evidence readings, in measured order.
    pub readings: Vec<StoredReading>,
    /// Its evidence symptoms, in time order.
    pub symptoms: Vec<SymptomRecord>,
    /// Sessions of those readings.
    pub sessions: Vec<SessionView>,
    /// Its tasks, the newest first.
    pub tasks: Vec<Task>,
}

/// Everything a pharmacist needs for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberFile {
    /// The member with name and telephone.
    pub record: MemberRecord,
    /// All grants, the newest first.
    pub grants: Vec<GrantRecord>,
    /// Consent to keep and evaluate readings holds now; without it every list below but the audit is empty.
    pub care_record: bool,
    /// Consent to be telephoned holds now.
    pub may_call: bool,
    /// Sessions of the period, the newest first.
    pub sessions: Vec<SessionView>,
    /// Blood-pressure readings of the period, the newest first.
    pub pressures: Vec<StoredReading>,
    /// Glucose readings of the period, the newest first.
    pub glucose: Vec<StoredReading>,
    /// Weights, temperatures and oxygen saturations of the period, the newest first. No rule looks at them.
    pub others: Vec<StoredReading>,
    /// Symptoms of the period, the newest first.
    pub symptoms: Vec<SymptomRecord>,
    /// Active alerts, worst first.
    pub alerts: Vec<Alert>,
    /// Tasks, live ones first, then the newest.
    pub tasks: Vec<Task>,
    /// Names of the staff that alerts, tasks and audit rows mention.
    pub staff_names: Vec<(StaffId, String)>,
    /// Who opened the file and what was changed, the newest first; at most [`AUDIT_SHOWN`] rows.
    pub audit: Vec<AuditRow>,
}

/// Audit rows that a member file shows.
pub const AUDIT_SHOWN: u32 = 50;

/// What recording an outcome led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeResult {
    /// The task after it.
    pub task: Task,
    /// The task that follows, if the outcome booked one.
    pub follow_up: Option<Task>,
    /// What the new assessment changed.
    pub change: CareChange,
}

/// What a step changed in a member's alerts and tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CareChange {
    /// Alerts opened.
    pub opened: u32,
    /// Alerts that changed and stay active.
    pub changed: u32,
    /// Alerts closed.
    pub closed: u32,
    /// Tasks made.
    pub tasks: u32,
}

impl CareChange {
    /// Whether anything did.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self != Self::default()
    }
}
