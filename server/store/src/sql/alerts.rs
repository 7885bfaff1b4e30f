//! Alerts as rows. What may happen to one is the domain's; here it is loaded and stored under its version.

use carepost_domain::Id;
use carepost_domain::care::alert::{Acknowledgement, Alert, AlertChange, Condition};
use carepost_domain::care::rule::Severity;
use carepost_domain::care::rule_set::RuleSetRef;
use carepost_domain::id::{AlertId, MemberId};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Conn, ids};
use crate::codec::{code, from_json, instant, instant_opt, join_codes, narrow, split_codes, to_json, us};
use crate::error::{Doing as _, Fault, FaultKind};

/// The columns of a row of `alert a`.
macro_rules! alert_columns {
    () => {
        "a.id, a.member, a.family, a.rule_set, a.rule_set_version, a.rule, a.severity, a.limits, a.rules, a.marks,
            a.contacted, a.since, a.last_evidence_at, a.opened_at, a.changed_at, a.closed_at, a.close_reason,
            a.acknowledged_by, a.acknowledged_at, a.acknowledged_severity, a.owner, a.latest_reading, a.latest_session,
            a.version"
    };
}

/// Consent to keep and evaluate the readings of `a.member` holds at `$1`.
macro_rules! consent_holds {
    () => {
        " EXISTS (SELECT 1 FROM consent_grant g WHERE g.member = a.member AND g.purpose = 'care_record'
            AND g.granted_at <= $1 AND (g.withdrawn_at IS NULL OR g.withdrawn_at > $1)
            AND (g.expires_at IS NULL OR g.expires_at > $1))"
    };
}

statements! {
    INSERT = "INSERT INTO alert (id, member, family, rule_set, rule_set_version, rule, severity, rank, limits, rules, marks,
            contacted, since, last_evidence_at, opened_at, changed_at, closed_at, close_reason, acknowledged_by,
            acknowledged_at, acknowledged_severity, owner, version)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)";
    UPDATE = "UPDATE alert SET rule_set = $2, rule_set_version = $3, rule = $4, severity = $5, rank = $6, limits = $7,
            rules = $8, marks = $9, contacted = $10, since = $11, last_evidence_at = $12, changed_at = $13,
            closed_at = $14, close_reason = $15, acknowledged_by = $16, acknowledged_at = $17,
            acknowledged_severity = $18, owner = $19, version = $20
        WHERE id = $1 AND version = $21";
    SHOW = "UPDATE alert SET latest_reading = $2, latest_session = $3 WHERE id = $1";
    OF_MEMBER = concat!(
        "SELECT ", alert_columns!(), " FROM alert a
        WHERE a.member = $1 AND (a.closed_at IS NULL OR a.changed_at >= $2) ORDER BY a.opened_at, a.id"
    );
    BY_ID = concat!("SELECT ", alert_columns!(), " FROM alert a WHERE a.id", in_ids!("$1"));
    OPEN = concat!(
        "SELECT ", alert_columns!(), " FROM alert a JOIN member m ON m.id = a.member
        WHERE a.closed_at IS NULL AND ", consent_holds!(), "
        ORDER BY a.rank DESC,
            COALESCE((SELECT MIN(t.due_at) FROM task t WHERE t.alert = a.id AND t.status IN ('open', 'taken')), a.opened_at),
            a.id
        LIMIT $2"
    );
    OPEN_IN_STORE = concat!(
        "SELECT ", alert_columns!(), " FROM alert a JOIN member m ON m.id = a.member
        WHERE a.closed_at IS NULL AND m.home_store = $3 AND ", consent_holds!(), "
        ORDER BY a.rank DESC,
            COALESCE((SELECT MIN(t.due_at) FROM task t WHERE t.alert = a.id AND t.status IN ('open', 'taken')), a.opened_at),
            a.id
        LIMIT $2"
    );
    NEWEST = concat!(
        "SELECT ", alert_columns!(), " FROM alert a JOIN member m ON m.id = a.member
        WHERE ", consent_holds!(), " ORDER BY a.opened_at DESC, a.id DESC LIMIT $2"
    );
    NEWEST_IN_STORE = concat!(
        "SELECT ", alert_columns!(), " FROM alert a JOIN member m ON m.id = a.member
        WHERE m.home_store = $3 AND ", consent_holds!(), " ORDER BY a.opened_at DESC, a.id DESC LIMIT $2"
    );
}

/// Which alerts a list takes, in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listing {
    /// Active, worst first, then by due time.
    Worst,
    /// All, the newest first.
    Newest,
}

/// An alert with what the queue shows beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) alert: Alert,
    pub(crate) latest_reading: Option<Uuid>,
    pub(crate) latest_session: Option<Uuid>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    member: Uuid,
    family: String,
    rule_set: String,
    rule_set_version: String,
    rule: String,
    severity: String,
    limits: String,
    rules: String,
    marks: String,
    contacted: String,
    since: i64,
    last_evidence_at: i64,
    opened_at: i64,
    changed_at: i64,
    closed_at: Option<i64>,
    close_reason: Option<String>,
    acknowledged_by: Option<Uuid>,
    acknowledged_at: Option<i64>,
    acknowledged_severity: Option<String>,
    owner: Option<Uuid>,
    latest_reading: Option<Uuid>,
    latest_session: Option<Uuid>,
    version: i64,
}

impl Row {
    fn into_shown(self) -> Result<Shown, Fault> {
        let condition = match (instant_opt(self.closed_at)?, self.close_reason.as_deref()) {
            (Some(at), Some(reason)) => Condition::Closed {
                at,
                reason: code(reason)?,
            },
            _ => Condition::Active,
        };
        let acknowledged = match (
            self.acknowledged_by,
            instant_opt(self.acknowledged_at)?,
            self.acknowledged_severity,
        ) {
            (Some(by), Some(at), Some(severity)) => Some(Acknowledgement {
                by: Id::from_uuid(by),
                at,
                severity: code(&severity)?,
            }),
            _ => None,
        };
        Ok(Shown {
            latest_reading: self.latest_reading,
            latest_session: self.latest_session,
            alert: Alert {
                id: Id::from_uuid(self.id),
                member: Id::from_uuid(self.member),
                family: code(&self.family)?,
                rule_set: RuleSetRef {
                    id: self.rule_set,
                    version: self.rule_set_version,
                },
                rule: code(&self.rule)?,
                severity: code(&self.severity)?,
                limits: from_json(&self.limits)?,
                rules: from_json(&self.rules)?,
                marks: split_codes(&self.marks)?.into_iter().collect(),
                since: instant(self.since)?,
                last_evidence_at: instant(self.last_evidence_at)?,
                opened_at: instant(self.opened_at)?,
                changed_at: instant(self.changed_at)?,
                condition,
                acknowledged,
                contacted: from_json(&self.contacted)?,
                owner: self.owner.map(Id::from_uuid),
                version: narrow(self.version)?,
            },
        })
    }
}

/// The place of a severity among all, so that SQL can sort by it.
fn rank(severity: Severity) -> i64 {
    let place = Severity::ALL.iter().position(|other| *other == severity);
    place.and_then(|place| i64::try_from(place).ok()).unwrap_or(0)
}

/// A member's alerts: the active ones, and closed ones that changed since an instant.
pub(crate) async fn of_member(conn: &mut Conn, member: MemberId, since: DateTime<Utc>) -> Result<Vec<Shown>, Fault> {
    let rows: Vec<Row> = sqlx::query_as(OF_MEMBER)
        .bind(member.uuid())
        .bind(us(since))
        .fetch_all(conn)
        .await
        .doing("load a member's alerts")?;
    rows.into_iter().map(Row::into_shown).collect()
}

/// One alert.
pub(crate) async fn find(conn: &mut Conn, id: AlertId) -> Result<Option<Shown>, Fault> {
    let row: Option<Row> = sqlx::query_as(BY_ID)
        .bind(ids(&[id.uuid()]))
        .fetch_optional(conn)
        .await
        .doing("look an alert up")?;
    row.map(Row::into_shown).transpose()
}

/// Alerts of members whose consent holds now.
pub(crate) async fn list(
    conn: &mut Conn,
    listing: Listing,
    store: Option<Uuid>,
    limit: i64,
    now: DateTime<Utc>,
) -> Result<Vec<Shown>, Fault> {
    let statement = match (listing, store) {
        (Listing::Worst, None) => OPEN,
        (Listing::Worst, Some(_)) => OPEN_IN_STORE,
        (Listing::Newest, None) => NEWEST,
        (Listing::Newest, Some(_)) => NEWEST_IN_STORE,
    };
    let mut query = sqlx::query_as(statement).bind(us(now)).bind(limit);
    if let Some(store) = store {
        query = query.bind(store);
    }
    let rows: Vec<Row> = query.fetch_all(conn).await.doing("list alerts")?;
    rows.into_iter().map(Row::into_shown).collect()
}

/// Stores a change of an alert. The member is held, so that a lost race means a mistake of ours.
pub(crate) async fn save(conn: &mut Conn, change: &AlertChange) -> Result<(), Fault> {
    let alert = &change.alert;
    let (closed_at, close_reason) = match alert.condition {
        Condition::Active => (None, None),
        Condition::Closed { at, reason } => (Some(us(at)), Some(reason.code())),
    };
    let version = i64::try_from(alert.version).unwrap_or(i64::MAX);
    let limits = to_json(&alert.limits)?;
    let rules = to_json(&alert.rules)?;
    let marks = join_codes(alert.marks.iter().map(|mark| mark.code()));
    let contacted = to_json(&alert.contacted)?;
    let stored = match change.before {
        None => sqlx::query(INSERT)
            .bind(alert.id.uuid())
            .bind(alert.member.uuid())
            .bind(alert.family.code())
            .bind(alert.rule_set.id.as_str())
            .bind(alert.rule_set.version.as_str())
            .bind(alert.rule.code())
            .bind(alert.severity.code())
            .bind(rank(alert.severity))
            .bind(limits)
            .bind(rules)
            .bind(marks)
            .bind(contacted)
            .bind(us(alert.since))
            .bind(us(alert.last_evidence_at))
            .bind(us(alert.opened_at))
            .bind(us(alert.changed_at))
            .bind(closed_at)
            .bind(close_reason)
            .bind(alert.acknowledged.map(|ack| ack.by.uuid()))
            .bind(alert.acknowledged.map(|ack| us(ack.at)))
            .bind(alert.acknowledged.map(|ack| ack.severity.code()))
            .bind(alert.owner.map(Id::uuid))
            .bind(version),
        Some(before) => sqlx::query(UPDATE)
            .bind(alert.id.uuid())
            .bind(alert.rule_set.id.as_str())
            .bind(alert.rule_set.version.as_str())
            .bind(alert.rule.code())
            .bind(alert.severity.code())
            .bind(rank(alert.severity))
            .bind(limits)
            .bind(rules)
            .bind(marks)
            .bind(contacted)
            .bind(us(alert.since))
            .bind(us(alert.last_evidence_at))
            .bind(us(alert.changed_at))
            .bind(closed_at)
            .bind(close_reason)
            .bind(alert.acknowledged.map(|ack| ack.by.uuid()))
            .bind(alert.acknowledged.map(|ack| us(ack.at)))
            .bind(alert.acknowledged.map(|ack| ack.severity.code()))
            .bind(alert.owner.map(Id::uuid))
            .bind(version)
            .bind(i64::try_from(before).unwrap_or(i64::MAX)),
    };
    let done = stored.execute(conn).await.doing("store an alert")?;
    if done.rows_affected() == 1 {
        Ok(())
    } else {
        Err(Fault::new(
            "store an alert",
            FaultKind::Contention,
            "another transaction changed it",
        ))
    }
}

/// Notes what the queue shows beside an alert.
pub(crate) async fn show(
    conn: &mut Conn,
    id: AlertId,
    reading: Option<Uuid>,
    session: Option<Uuid>,
) -> Result<(), Fault> {
    sqlx::query(SHOW)
        .bind(id.uuid())
        .bind(reading)
        .bind(session)
        .execute(conn)
        .await
        .doing("note what an alert shows")?;
    Ok(())
}
