//! What goes into and comes out of the store's use cases. No row and no SQL type is among it.

mod audit;
mod care;
mod consent;
mod down;
mod fleet;
mod ingest;
mod jobs;
mod meters;
mod people;
mod staff;

pub use audit::{Actor, AuditRow, By, Sealed, Verdict};
pub use care::{
    AUDIT_SHOWN, AlertFile, AlertFilter, CareChange, MemberFile, OutcomeResult, Queue, QueueRow, QueueValue,
    ReadingCursor, ReadingPage, SessionView, StoredReading, TREND_DAYS, TaskFilter, TrendPoint, TrendValue,
};
pub use consent::{Channel, GrantRecord, NewGrant, Withdrawal};
pub use down::{ChangedRows, ScopeGrant, ScopeMember, ScopeRows};
pub use fleet::{
    Counts, Gateway, HelloOutcome, LaneCount, NewGateway, QuarantineCount, QuarantinedMessage, StoreSite, TechnicalFlag,
};
pub use ingest::{Cursors, Incoming, IncomingItem, IngestOutcome, Lane, Rejection};
pub use jobs::{Job, JobFailure, JobKind, JobState, ParkedJob};
pub use meters::{MeterOwner, MeterPage, MeterRecord, Registered, Registration};
pub use people::{BindingRequest, MemberRecord};
pub use staff::{NewStaff, Session, Staff, StaffRole};
