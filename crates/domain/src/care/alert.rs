//! Alerts: what a pharmacist works on. One open alert per member and family (page 5, section 4, items 1 and 2).
//!
//! An alert is *active or closed* x *acknowledged or not*. Severity only rises while it is active; further evidence joins;
//! worse evidence after an acknowledgement re-opens it. It clears when the clear condition of its worst rule holds, with a
//! recorded contact where that rule needs one; lower rules that are still true then open a new alert. Every transition
//! consumes the alert and gives back an [`AlertChange`]; `version` counts them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::care::evaluate::{Assessment, ClearNeed, Finding, Mark};
use crate::care::history::Evidence;
use crate::care::rule::{AppliedLimit, Family, Rule, Severity};
use crate::care::rule_set::RuleSetRef;
use crate::code_enum;
use crate::id::{AlertId, MemberId, StaffId};

code_enum! {
    /// Why an alert is closed.
    pub enum CloseReason ("close reason") {
        /// Its clear condition holds.
        Cleared = "cleared",
        /// The member withdrew `care_record`.
        ConsentWithdrawn = "consent_withdrawn",
        /// A person closed it with an outcome.
        Resolved = "resolved",
    }
}

/// Whether an alert still stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Condition {
    /// It stands.
    Active,
    /// It does not.
    Closed {
        /// Since when.
        at: DateTime<Utc>,
        /// Why.
        reason: CloseReason,
    },
}

/// Somebody has seen the alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Who.
    pub by: StaffId,
    /// When.
    pub at: DateTime<Utc>,
    /// How bad it was then; anything worse asks again.
    pub severity: Severity,
}

/// What one rule brought into an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleEvidence {
    /// Worst severity the rule had.
    pub severity: Severity,
    /// Its evidence.
    pub evidence: BTreeSet<Evidence>,
    /// Last measured instant of it.
    pub last_evidence_at: DateTime<Utc>,
}

/// An alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The alert.
    pub id: AlertId,
    /// About whom.
    pub member: MemberId,
    /// Rules that share it.
    pub family: Family,
    /// Rules and version that decided last.
    pub rule_set: RuleSetRef,
    /// Its worst rule.
    pub rule: Rule,
    /// Its severity; never falls.
    pub severity: Severity,
    /// The limits that applied when the worst rule raised it.
    pub limits: Vec<AppliedLimit>,
    /// Everything that joined, by rule.
    pub rules: BTreeMap<Rule, RuleEvidence>,
    /// What qualifies the worst rule's finding.
    pub marks: BTreeSet<Mark>,
    /// First measured instant of the evidence.
    pub since: DateTime<Utc>,
    /// Last measured instant of the evidence.
    pub last_evidence_at: DateTime<Utc>,
    /// When it was opened.
    pub opened_at: DateTime<Utc>,
    /// When it last changed.
    pub changed_at: DateTime<Utc>,
    /// Active or closed.
    pub condition: Condition,
    /// Acknowledged or not.
    pub acknowledged: Option<Acknowledgement>,
    /// Evidence about which a contact or outcome was recorded.
    pub contacted: BTreeSet<Evidence>,
    /// Who has it.
    pub owner: Option<StaffId>,
    /// Counts changes; a storage update names the version it read.
    pub version: u64,
}

code_enum! {
    /// What happened to an alert.
    pub enum AlertEvent ("alert event") {
        /// It was opened.
        Opened = "opened",
        /// Further evidence joined.
        EvidenceJoined = "evidence_joined",
        /// It became worse.
        SeverityRaised = "severity_raised",
        /// It had been acknowledged and became worse.
        Reopened = "reopened",
        /// What qualifies it changed.
        MarksChanged = "marks_changed",
        /// Somebody saw it.
        Acknowledged = "acknowledged",
        /// A contact or outcome was recorded.
        ContactRecorded = "contact_recorded",
        /// Its clear condition holds.
        Cleared = "cleared",
        /// A person closed it.
        Resolved = "resolved",
        /// The member withdrew consent.
        ConsentWithdrawn = "consent_withdrawn",
    }
}

/// An alert after a transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertChange {
    /// The new state.
    pub alert: Alert,
    /// The version before; `None` for a new alert. Storage updates where the version is still this.
    pub before: Option<u64>,
    /// What happened, at least one.
    pub events: Vec<AlertEvent>,
}

/// Why a person's transition was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AlertError {
    /// Somebody else was faster.
    #[error("alert {alert} is at version {actual}, not {expected}")]
    Stale {
        /// The alert.
        alert: AlertId,
        /// The version the caller saw.
        expected: u64,
        /// The version it has.
        actual: u64,
    },
    /// It is closed.
    #[error("alert {alert} is closed")]
    NotActive {
        /// The alert.
        alert: AlertId,
    },
    /// Nothing to acknowledge.
    #[error("alert {alert} is already acknowledged")]
    AlreadyAcknowledged {
        /// The alert.
        alert: AlertId,
    },
}

impl Alert {
    /// Whether it is active.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        matches!(self.condition, Condition::Active)
    }

    /// All evidence, each once.
    #[must_use]
    pub fn evidence(&self) -> BTreeSet<Evidence> {
        self.rules.values().flat_map(|r| r.evidence.iter().copied()).collect()
    }

    /// Whether a contact or outcome was recorded about all evidence of a rule.
    #[must_use]
    pub fn is_contacted(&self, rule: Rule) -> bool {
        self.rules
            .get(&rule)
            .is_some_and(|r| r.evidence.is_subset(&self.contacted))
    }

    fn open(id: AlertId, member: MemberId, findings: &[&Finding], assessment: &Assessment) -> Option<AlertChange> {
        let worst = worst(findings)?;
        let mut alert = Self {
            id,
            member,
            family: worst.family(),
            rule_set: assessment.rule_set.clone(),
            rule: worst.rule,
            severity: worst.severity,
            limits: worst.limits.clone(),
            rules: BTreeMap::new(),
            marks: worst.marks.clone(),
            since: worst.since,
            last_evidence_at: worst.last_evidence_at,
            opened_at: assessment.now,
            changed_at: assessment.now,
            condition: Condition::Active,
            acknowledged: None,
            contacted: BTreeSet::new(),
            owner: None,
            version: 1,
        };
        for finding in findings {
            alert.absorb(finding);
        }
        Some(AlertChange {
            alert,
            before: None,
            events: vec![AlertEvent::Opened],
        })
    }

    /// Takes a finding's evidence in. Gives whether something was new.
    fn absorb(&mut self, finding: &Finding) -> bool {
        self.since = self.since.min(finding.since);
        self.last_evidence_at = self.last_evidence_at.max(finding.last_evidence_at);
        let entry = self.rules.entry(finding.rule).or_insert_with(|| RuleEvidence {
            severity: finding.severity,
            evidence: BTreeSet::new(),
            last_evidence_at: finding.last_evidence_at,
        });
        let before = entry.evidence.len();
        entry.evidence.extend(finding.evidence.iter().copied());
        let grew = entry.evidence.len() > before || finding.severity > entry.severity;
        entry.severity = entry.severity.max(finding.severity);
        entry.last_evidence_at = entry.last_evidence_at.max(finding.last_evidence_at);
        grew
    }

    fn changed(mut self, at: DateTime<Utc>, events: Vec<AlertEvent>) -> AlertChange {
        let before = Some(self.version);
        self.version = self.version.saturating_add(1);
        self.changed_at = at;
        AlertChange {
            alert: self,
            before,
            events,
        }
    }

    /// Joins findings of its family; gives the alert back unchanged when nothing is new.
    fn join(mut self, findings: &[&Finding], assessment: &Assessment) -> Result<AlertChange, Box<Self>> {
        let mut events = Vec::new();
        let mut grew = false;
        for finding in findings {
            grew |= self.absorb(finding);
        }
        if grew {
            events.push(AlertEvent::EvidenceJoined);
        }
        if let Some(worst) = worst(findings)
            && worst.severity > self.severity
        {
            self.severity = worst.severity;
            self.rule = worst.rule;
            self.limits = worst.limits.clone();
            self.marks = worst.marks.clone();
            events.push(AlertEvent::SeverityRaised);
            if self.acknowledged.is_some_and(|ack| ack.severity < worst.severity) {
                self.acknowledged = None;
                events.push(AlertEvent::Reopened);
            }
        }
        let marks = findings.iter().find(|f| f.rule == self.rule).map(|f| &f.marks);
        if let Some(marks) = marks.filter(|m| **m != self.marks) {
            self.marks = marks.clone();
            events.push(AlertEvent::MarksChanged);
        }
        if events.is_empty() {
            return Err(Box::new(self));
        }
        self.rule_set = assessment.rule_set.clone();
        Ok(self.changed(assessment.now, events))
    }

    /// Whether the clear condition of the worst rule holds, with what else the rule needs.
    fn clears(&self, findings: &[&Finding], assessment: &Assessment) -> bool {
        let Some(clear) = assessment.clears.get(&self.rule) else {
            return false;
        };
        let Some(raised) = self.rules.get(&self.rule) else {
            return false;
        };
        // What is as bad, by another rule, keeps it open.
        if findings
            .iter()
            .any(|f| f.rule != self.rule && f.severity >= self.severity)
        {
            return false;
        }
        // The data that clears is younger than what raised.
        if clear.at <= raised.last_evidence_at {
            return false;
        }
        let own = findings.iter().find(|f| f.rule == self.rule);
        match clear.need {
            ClearNeed::Nothing => own.is_none(),
            ClearNeed::Contact => {
                self.is_contacted(self.rule)
                    && own.is_none_or(|f| f.evidence.iter().all(|e| self.contacted.contains(e)))
            }
            ClearNeed::Manual => false,
        }
    }

    fn close(mut self, at: DateTime<Utc>, reason: CloseReason, event: AlertEvent) -> AlertChange {
        self.condition = Condition::Closed { at, reason };
        self.changed(at, vec![event])
    }

    /// A member of staff has seen it. An alert that cleared by itself may still be acknowledged.
    ///
    /// # Errors
    /// [`AlertError::Stale`] when it changed since the caller saw it; [`AlertError::AlreadyAcknowledged`];
    /// [`AlertError::NotActive`] when a person or a withdrawal closed it.
    pub fn acknowledge(mut self, by: StaffId, at: DateTime<Utc>, seen_version: u64) -> Result<AlertChange, AlertError> {
        if self.version != seen_version {
            return Err(AlertError::Stale {
                alert: self.id,
                expected: seen_version,
                actual: self.version,
            });
        }
        match self.condition {
            Condition::Active
            | Condition::Closed {
                reason: CloseReason::Cleared,
                ..
            } => {}
            Condition::Closed { .. } => return Err(AlertError::NotActive { alert: self.id }),
        }
        if self.acknowledged.is_some() {
            return Err(AlertError::AlreadyAcknowledged { alert: self.id });
        }
        self.acknowledged = Some(Acknowledgement {
            by,
            at,
            severity: self.severity,
        });
        self.owner = self.owner.or(Some(by));
        Ok(self.changed(at, vec![AlertEvent::Acknowledged]))
    }

    /// A contact or outcome was recorded about everything that is in it now. That alone does not clear it: closing a call
    /// does not clear physiology.
    ///
    /// # Errors
    /// [`AlertError::NotActive`] when it is closed.
    pub fn record_contact(mut self, at: DateTime<Utc>) -> Result<AlertChange, AlertError> {
        if !self.is_active() {
            return Err(AlertError::NotActive { alert: self.id });
        }
        self.contacted = self.evidence();
        Ok(self.changed(at, vec![AlertEvent::ContactRecorded]))
    }

    /// A person closes it with an outcome. Its evidence raises nothing more in this family.
    ///
    /// # Errors
    /// [`AlertError::NotActive`] when it is closed.
    pub fn resolve(mut self, at: DateTime<Utc>) -> Result<AlertChange, AlertError> {
        if !self.is_active() {
            return Err(AlertError::NotActive { alert: self.id });
        }
        self.contacted = self.evidence();
        Ok(self.close(at, CloseReason::Resolved, AlertEvent::Resolved))
    }

    /// The member withdrew `care_record`: evaluation stops and the alert closes with that reason.
    ///
    /// # Errors
    /// [`AlertError::NotActive`] when it is closed.
    pub fn withdraw_consent(self, at: DateTime<Utc>) -> Result<AlertChange, AlertError> {
        if !self.is_active() {
            return Err(AlertError::NotActive { alert: self.id });
        }
        Ok(self.close(at, CloseReason::ConsentWithdrawn, AlertEvent::ConsentWithdrawn))
    }
}

/// The worst finding; of equals the first by rule.
fn worst<'f>(findings: &[&'f Finding]) -> Option<&'f Finding> {
    findings
        .iter()
        .copied()
        .max_by_key(|f| (f.severity, std::cmp::Reverse(f.rule.code())))
}

/// Brings a member's alert of one family in line with an assessment.
///
/// `open` is the active alert, if there is one. Gives the changes in order, none when nothing changed, so that it may be
/// repeated: opened, or joined, or cleared, or cleared with a new alert for what is still true (under `new_id`).
#[must_use]
pub fn reconcile(
    open: Option<Alert>,
    member: MemberId,
    family: Family,
    assessment: &Assessment,
    new_id: AlertId,
) -> Vec<AlertChange> {
    let of_family = |f: &&Finding| f.family() == family && f.rule.raises_alert();
    let findings: Vec<&Finding> = assessment.findings.iter().filter(of_family).collect();
    let Some(alert) = open.filter(Alert::is_active) else {
        return Alert::open(new_id, member, &findings, assessment).into_iter().collect();
    };
    if !alert.clears(&findings, assessment) {
        return alert.join(&findings, assessment).into_iter().collect();
    }
    // "When the top rule of a family clears, the lower ones are evaluated again."
    let top = alert.rule;
    let lower: Vec<&Finding> = findings.into_iter().filter(|f| f.rule != top).collect();
    let mut changes = vec![alert.close(assessment.now, CloseReason::Cleared, AlertEvent::Cleared)];
    changes.extend(Alert::open(new_id, member, &lower, assessment));
    changes
}
