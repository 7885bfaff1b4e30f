//! From TOML text to a checked rule set, section by section.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use toml::Table;

use super::reader::{Problem, Problems, RuleSetErrors, Section};
use super::{
    Bp01, Bp02, Bp03, Bp04, Bp05, Bp06, Common, Gl01, Gl02, Gl03, Gl04, GlucosePolicy, Minor, NoDiabetes, Older,
    Pregnancy, Provenance, RuleSet, RuleSetRef, SessionPolicy, Sy01, SymptomPolicy, TaskDemand,
};
use crate::care::rule::{PressureLimit, Rule};

/// Longest task deadline, minutes: ninety days.
const MAX_DUE_MIN: i64 = 90 * 24 * 60;

pub(super) fn rule_set(text: &str) -> Result<RuleSet, RuleSetErrors> {
    let table: Table = text.parse().map_err(|e: toml::de::Error| RuleSetErrors {
        problems: vec![Problem {
            key: String::new(),
            message: format!("is not TOML: {}", e.to_string().trim()),
        }],
    })?;
    let mut problems = Problems::default();
    let set = root(&table, &mut problems);
    if let Some(set) = &set {
        check(set, &mut problems);
    }
    problems.into_result(set)
}

fn root(table: &Table, p: &mut Problems) -> Option<RuleSet> {
    let mut root = Section::root(table);
    let id = root.text("id", p);
    let version = root.text("version", p);
    let title = root.text("title", p);
    let zone = root.parsed("zone", p);
    let session = session(root.section("session", p), p);
    let symptoms = symptoms(root.section("symptoms", p), p);
    let glucose = glucose(root.section("glucose", p), p);
    let mut rules = root.section("rules", p);
    let sy01 = sy01(rules.section("SY-01", p), p);
    let bp01 = bp01(rules.section("BP-01", p), p);
    let bp02 = bp02(rules.section("BP-02", p), p);
    let bp03 = bp03(rules.section("BP-03", p), p);
    let bp04 = bp04(rules.section("BP-04", p), p);
    let bp05 = bp05(rules.section("BP-05", p), p);
    let bp06 = bp06(rules.section("BP-06", p), p);
    let gl01 = gl01(rules.section("GL-01", p), p);
    let gl02 = gl02(rules.section("GL-02", p), p);
    let gl03 = gl03(rules.section("GL-03", p), p);
    let gl04 = gl04(rules.section("GL-04", p), p);
    rules.finish(p);
    let mut modifiers = root.section("modifiers", p);
    let no_diabetes = no_diabetes(modifiers.section("no_diabetes", p), p);
    let pregnancy = pregnancy(modifiers.section("pregnancy", p), p);
    let minor = minor(modifiers.section("minor", p), p);
    let older = older(modifiers.section("older", p), p);
    modifiers.finish(p);
    root.finish(p);
    Some(RuleSet {
        reference: RuleSetRef {
            id: id?,
            version: version?,
        },
        title: title?,
        zone: zone?,
        session: session?,
        symptoms: symptoms?,
        glucose: glucose?,
        sy01: sy01?,
        bp01: bp01?,
        bp02: bp02?,
        bp03: bp03?,
        bp04: bp04?,
        bp05: bp05?,
        bp06: bp06?,
        gl01: gl01?,
        gl02: gl02?,
        gl03: gl03?,
        gl04: gl04?,
        no_diabetes: no_diabetes?,
        pregnancy: pregnancy?,
        minor: minor?,
        older: older?,
    })
}

fn provenance(s: &mut Section<'_>, p: &mut Problems) -> Option<Provenance> {
    let source = s.text("source", p);
    let reviewed = s.date("reviewed", p);
    let sign_off = s.text("sign_off", p);
    Some(Provenance {
        source: source?,
        reviewed: reviewed?,
        sign_off: sign_off?,
    })
}

fn common(s: &mut Section<'_>, p: &mut Problems) -> Option<Common> {
    let severity = s.parsed("severity", p);
    let fresh_for = s.minutes("fresh_for_min", p);
    let evidence_for = s.days("evidence_for_d", p);
    let mut tasks = Vec::new();
    let mut tasks_read = true;
    for mut task in s.sections("tasks", p) {
        let kind = task.parsed("kind", p);
        let when = task.parsed("when", p);
        let due_min = task.integer("due_min", 0..=MAX_DUE_MIN, p);
        let from_severity = task.parsed("from_severity", p);
        task.finish(p);
        match (kind, when, due_min, from_severity) {
            (Some(kind), Some(when), Some(due_min), Some(from_severity)) => {
                tasks.push(TaskDemand {
                    kind,
                    when,
                    due_s: due_min * 60,
                    from_severity,
                });
            }
            _ => tasks_read = false,
        }
    }
    let provenance = provenance(s, p);
    let common = Common {
        severity: severity?,
        fresh_for: fresh_for?,
        evidence_for: evidence_for?,
        tasks,
        provenance: provenance?,
    };
    tasks_read.then_some(common)
}

fn session(mut s: Section<'_>, p: &mut Problems) -> Option<SessionPolicy> {
    let readings = s.count("readings", 3, p);
    let gap_min_s = s.integer("gap_min_s", 0..=600, p);
    let gap_max_s = s.integer("gap_max_s", 0..=600, p);
    let third = s.integer("third_if_differ_over_mmhg", 0..=100, p);
    let idle_close = s.minutes("idle_close_min", p);
    let rest_before = s.minutes("rest_before_min", p);
    let unusable = s.codes("unusable", p);
    let caution = s.codes("caution", p);
    let provenance = provenance(&mut s, p);
    s.finish(p);
    Some(SessionPolicy {
        readings: readings?,
        gap_min_s: gap_min_s?,
        gap_max_s: gap_max_s?,
        third_if_differ_over_mmhg: third?,
        idle_close: idle_close?,
        rest_before: rest_before?,
        unusable: unusable?,
        caution: caution?,
        provenance: provenance?,
    })
}

fn symptoms(mut s: Section<'_>, p: &mut Problems) -> Option<SymptomPolicy> {
    let link = s.minutes("link_min", p);
    let provenance = provenance(&mut s, p);
    s.finish(p);
    Some(SymptomPolicy {
        link: link?,
        provenance: provenance?,
    })
}

fn glucose(mut s: Section<'_>, p: &mut Problems) -> Option<GlucosePolicy> {
    let unusable = s.codes("unusable", p);
    let provenance = provenance(&mut s, p);
    s.finish(p);
    Some(GlucosePolicy {
        unusable: unusable?,
        provenance: provenance?,
    })
}

fn sy01(mut s: Section<'_>, p: &mut Problems) -> Option<Sy01> {
    let common = common(&mut s, p);
    let symptoms = s.codes("symptoms", p);
    s.finish(p);
    Some(Sy01 {
        common: common?,
        symptoms: symptoms?,
    })
}

fn bp01(mut s: Section<'_>, p: &mut Problems) -> Option<Bp01> {
    let common = common(&mut s, p);
    let at_or_above = s.pressure("at_or_above", p);
    let rest = s.minutes("rest_min", p);
    let repeat_within = s.minutes("repeat_within_min", p);
    s.finish(p);
    Some(Bp01 {
        common: common?,
        at_or_above: at_or_above?,
        rest: rest?,
        repeat_within: repeat_within?,
    })
}

fn bp02(mut s: Section<'_>, p: &mut Problems) -> Option<Bp02> {
    let common = common(&mut s, p);
    let at_or_above = s.pressure("at_or_above", p);
    let clears_below = s.pressure("clears_below", p);
    let repeated_within = s.days("repeated_within_d", p);
    s.finish(p);
    Some(Bp02 {
        common: common?,
        at_or_above: at_or_above?,
        clears_below: clears_below?,
        repeated_within: repeated_within?,
    })
}

fn bp03(mut s: Section<'_>, p: &mut Problems) -> Option<Bp03> {
    let common = common(&mut s, p);
    s.finish(p);
    Some(Bp03 { common: common? })
}

fn bp04(mut s: Section<'_>, p: &mut Problems) -> Option<Bp04> {
    let common = common(&mut s, p);
    let at_or_above = s.pressure("store_at_or_above", p);
    let days = s.count("store_days", 31, p);
    let clears_days = s.count("clears_store_days", 31, p);
    s.finish(p);
    Some(Bp04 {
        common: common?,
        at_or_above: at_or_above?,
        days: days?,
        clears_days: clears_days?,
    })
}

fn bp05(mut s: Section<'_>, p: &mut Problems) -> Option<Bp05> {
    let common = common(&mut s, p);
    let at_or_above = s.pressure("session_at_or_above", p);
    let clears_below = s.pressure("clears_below", p);
    let repeated_within = s.days("repeated_within_d", p);
    s.finish(p);
    Some(Bp05 {
        common: common?,
        at_or_above: at_or_above?,
        clears_below: clears_below?,
        repeated_within: repeated_within?,
    })
}

fn bp06(mut s: Section<'_>, p: &mut Problems) -> Option<Bp06> {
    let common = common(&mut s, p);
    let systolic_below_mmhg = s.integer("systolic_below_mmhg", 30..=200, p);
    let drop_mmhg = s.integer("drop_mmhg", 1..=200, p);
    let drop_symptoms = s.codes("drop_symptoms", p);
    let personal_window = s.days("personal_mean_window_d", p);
    let personal_sessions = s.count("personal_mean_sessions", 100, p);
    let drugs = s.codes("drugs", p);
    let severity_with_drugs = s.parsed("severity_with_drugs", p);
    let symptoms = s.codes("symptoms", p);
    let severity_with_symptoms = s.parsed("severity_with_symptoms", p);
    let clears_systolic_mmhg = s.integer("clears_systolic_at_or_above_mmhg", 30..=200, p);
    let note_diastolic_below_mmhg = s.integer("note_diastolic_below_mmhg", 10..=120, p);
    s.finish(p);
    Some(Bp06 {
        common: common?,
        systolic_below_mmhg: systolic_below_mmhg?,
        drop_mmhg: drop_mmhg?,
        drop_symptoms: drop_symptoms?,
        personal_window: personal_window?,
        personal_sessions: personal_sessions?,
        drugs: drugs?,
        severity_with_drugs: severity_with_drugs?,
        symptoms: symptoms?,
        severity_with_symptoms: severity_with_symptoms?,
        clears_systolic_mmhg: clears_systolic_mmhg?,
        note_diastolic_below_mmhg: note_diastolic_below_mmhg?,
    })
}

fn gl01(mut s: Section<'_>, p: &mut Problems) -> Option<Gl01> {
    let common = common(&mut s, p);
    let at_or_below = s.glucose("at_or_below", p);
    let clears_at_or_above = s.glucose("clears_at_or_above", p);
    s.finish(p);
    Some(Gl01 {
        common: common?,
        at_or_below: at_or_below?,
        clears_at_or_above: clears_at_or_above?,
    })
}

fn gl02(mut s: Section<'_>, p: &mut Problems) -> Option<Gl02> {
    let common = common(&mut s, p);
    let below = s.glucose("below", p);
    let clears_at_or_above = s.glucose("clears_at_or_above", p);
    s.finish(p);
    Some(Gl02 {
        common: common?,
        below: below?,
        clears_at_or_above: clears_at_or_above?,
    })
}

fn gl03(mut s: Section<'_>, p: &mut Problems) -> Option<Gl03> {
    let common = common(&mut s, p);
    let at_or_above = s.glucose("at_or_above", p);
    let repeat_within = s.minutes("repeat_within_min", p);
    let symptoms = s.codes("symptoms", p);
    let worse_symptoms = s.codes("worse_symptoms", p);
    let severity_with_worse_symptoms = s.parsed("severity_with_worse_symptoms", p);
    let clears_below = s.glucose("clears_below", p);
    s.finish(p);
    Some(Gl03 {
        common: common?,
        at_or_above: at_or_above?,
        repeat_within: repeat_within?,
        symptoms: symptoms?,
        worse_symptoms: worse_symptoms?,
        severity_with_worse_symptoms: severity_with_worse_symptoms?,
        clears_below: clears_below?,
    })
}

fn gl04(mut s: Section<'_>, p: &mut Problems) -> Option<Gl04> {
    let common = common(&mut s, p);
    let at_or_above = s.glucose("at_or_above", p);
    let count = s.count("count", 20, p);
    let within = s.integer("within_h", 1..=366 * 24, p).map(TimeDelta::hours);
    let clears_below = s.glucose("clears_below", p);
    let clears_count = s.count("clears_count", 20, p);
    s.finish(p);
    Some(Gl04 {
        common: common?,
        at_or_above: at_or_above?,
        count: count?,
        within: within?,
        clears_below: clears_below?,
        clears_count: clears_count?,
    })
}

fn no_diabetes(mut s: Section<'_>, p: &mut Problems) -> Option<NoDiabetes> {
    let conditions = s.codes("unless_conditions", p);
    let drugs = s.codes("unless_drugs", p);
    let gl01_below = s.glucose("gl01_below", p);
    let symptoms = s.codes("symptoms", p);
    let provenance = provenance(&mut s, p);
    s.finish(p);
    Some(NoDiabetes {
        conditions: conditions?,
        drugs: drugs?,
        gl01_below: gl01_below?,
        symptoms: symptoms?,
        provenance: provenance?,
    })
}

fn pregnancy(mut s: Section<'_>, p: &mut Problems) -> Option<Pregnancy> {
    let conditions = s.codes("conditions", p);
    let off = s.codes::<Rule>("off", p);
    let high = s.pressure("high_at_or_above", p);
    let high_severity = s.parsed("high_severity", p);
    let severe = s.pressure("severe_at_or_above", p);
    let severe_severity = s.parsed("severe_severity", p);
    let clears_below = s.pressure("clears_below", p);
    let provenance = provenance(&mut s, p);
    s.finish(p);
    Some(Pregnancy {
        conditions: conditions?,
        off: BTreeSet::from_iter(off?),
        high: high?,
        high_severity: high_severity?,
        severe: severe?,
        severe_severity: severe_severity?,
        clears_below: clears_below?,
        provenance: provenance?,
    })
}

fn minor(mut s: Section<'_>, p: &mut Problems) -> Option<Minor> {
    let below_age = s.integer("below_age", 1..=120, p).and_then(|n| i32::try_from(n).ok());
    let off = s.codes::<Rule>("off", p);
    let provenance = provenance(&mut s, p);
    s.finish(p);
    Some(Minor {
        below_age: below_age?,
        off: BTreeSet::from_iter(off?),
        provenance: provenance?,
    })
}

fn older(mut s: Section<'_>, p: &mut Problems) -> Option<Older> {
    let from_age = s.integer("from_age", 1..=120, p).and_then(|n| i32::try_from(n).ok());
    let bp04_at_or_above = s.pressure("bp04_store_at_or_above", p);
    let provenance = provenance(&mut s, p);
    s.finish(p);
    Some(Older {
        from_age: from_age?,
        bp04_at_or_above: bp04_at_or_above?,
        provenance: provenance?,
    })
}

/// What must hold between values: above all, what clears lies strictly inside what raised.
fn check(set: &RuleSet, p: &mut Problems) {
    let mut require = |holds: bool, key: &str, message: &str| {
        if !holds {
            p.add(key, message);
        }
    };
    let inside = |clears: PressureLimit, raises: PressureLimit| {
        clears.systolic_mmhg < raises.systolic_mmhg && clears.diastolic_mmhg < raises.diastolic_mmhg
    };
    let not_inside = "must lie strictly inside what raises";
    let s = &set.session;
    require(
        s.gap_min_s <= s.gap_max_s,
        "session.gap_min_s",
        "must not be above gap_max_s",
    );
    require(
        s.readings >= 2,
        "session.readings",
        "must be 2 or 3: one reading is no mean",
    );
    require(
        s.idle_close > TimeDelta::zero(),
        "session.idle_close_min",
        "must be above 0",
    );
    let twice = s.unusable.iter().any(|f| s.caution.contains(f));
    require(!twice, "session.caution", "must not repeat a flag of session.unusable");
    require(
        set.bp01.rest <= set.bp01.repeat_within,
        "rules.BP-01.rest_min",
        "must not be above repeat_within_min",
    );
    require(
        inside(set.bp02.clears_below, set.bp02.at_or_above),
        "rules.BP-02.clears_below",
        not_inside,
    );
    require(
        inside(set.bp05.clears_below, set.bp05.at_or_above),
        "rules.BP-05.clears_below",
        not_inside,
    );
    require(
        set.bp06.clears_systolic_mmhg > set.bp06.systolic_below_mmhg,
        "rules.BP-06.clears_systolic_at_or_above_mmhg",
        not_inside,
    );
    let above = |a: crate::care::rule::GlucoseLimit, b: crate::care::rule::GlucoseLimit| {
        a.milli_mmol_per_l > b.milli_mmol_per_l && a.milli_mg_per_dl > b.milli_mg_per_dl
    };
    let (gl01, gl02, gl03, gl04) = (&set.gl01, &set.gl02, &set.gl03, &set.gl04);
    require(
        above(gl01.clears_at_or_above, gl01.at_or_below),
        "rules.GL-01.clears_at_or_above",
        not_inside,
    );
    require(
        above(gl02.clears_at_or_above, gl02.below),
        "rules.GL-02.clears_at_or_above",
        not_inside,
    );
    require(
        above(gl03.at_or_above, gl03.clears_below),
        "rules.GL-03.clears_below",
        not_inside,
    );
    require(
        above(gl04.at_or_above, gl04.clears_below),
        "rules.GL-04.clears_below",
        not_inside,
    );
    require(gl04.count >= 2, "rules.GL-04.count", "must be 2 or more");
    require(
        above(gl01.at_or_below, set.no_diabetes.gl01_below),
        "modifiers.no_diabetes.gl01_below",
        "must be below the limit of GL-01",
    );
    let pregnancy = &set.pregnancy;
    require(
        inside(pregnancy.high, pregnancy.severe),
        "modifiers.pregnancy.high_at_or_above",
        "must be below severe",
    );
    require(
        inside(pregnancy.clears_below, pregnancy.high),
        "modifiers.pregnancy.clears_below",
        not_inside,
    );
}
