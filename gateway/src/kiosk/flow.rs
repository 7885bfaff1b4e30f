//! The way through a sitting, screen by screen: a state machine without a page, a disk or a clock.
//!
//! It knows what a person sees and may do next. The shell in [`super::shell`] carries out its [`Effect`]s (begin or end the
//! sitting, look up a code) and reports back. Every change of what is to be seen raises [`Flow::revision`]; a form that was
//! drawn for an older revision does nothing, so that a double tap or a page that came back from the browser's history cannot
//! act on the next person's screen.

use std::time::Duration;

use carepost_domain::Phi;
use carepost_domain::people::MemberCode;

use super::judge::{Judge, NextStep, Outcome, Taken};
use super::settings::KioskTimings;
use super::text::Language;

/// Measurements of one sitting that are looked at; a person who measures on gets the result of these.
pub(crate) const MAX_READINGS: usize = 8;
/// Failed measurements in a row after which help is offered instead of another try.
const FAILURES_UNTIL_HELP: u8 = 3;

/// Who sits there, as far as the screen needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Person {
    /// Nobody said who they are; nothing is kept.
    Anonymous,
    /// A member.
    Member {
        /// By which the member was found.
        code: Phi<MemberCode>,
        /// What becomes of the readings.
        keeping: Keeping,
    },
}

/// What becomes of a member's readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// Consent is on file: kept and sent.
    Granted,
    /// No consent: sealed here until the member confirms, at most 72 hours.
    Sealed,
}

/// A member who was found by code and has not confirmed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// By which the member was found.
    pub(crate) code: Phi<MemberCode>,
    /// First character and two stars.
    pub(crate) masked_name: Phi<String>,
    /// Whether a grant for keeping readings holds now.
    pub(crate) granted: bool,
}

/// What is to be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Screen {
    /// The two ways in.
    Start,
    /// Type the code.
    Code {
        /// The last entry was no code at all.
        malformed: bool,
    },
    /// The code is not known here.
    Unknown,
    /// Masked name and what becomes of the readings.
    Greet(Found),
    /// The meter of the sitting before is still connected.
    Busy(Person),
    /// The sitting could not begin.
    Failed,
    /// How to sit.
    Prepare,
    /// Waiting for the meter.
    Measure {
        /// The measurement before this one did not succeed.
        failed: bool,
    },
    /// Resting between two readings.
    Gap {
        /// Until when.
        until: Duration,
    },
    /// A severe reading: rest before a new pair.
    Severe {
        /// Until when.
        until: Duration,
    },
    /// The result.
    Result(Outcome),
}

impl Screen {
    /// Whether a sitting goes on.
    pub(crate) const fn in_sitting(&self) -> bool {
        matches!(
            self,
            Self::Prepare | Self::Measure { .. } | Self::Gap { .. } | Self::Severe { .. } | Self::Result(_)
        )
    }
}

/// How safe a reading is, as the state line says; the worst of a sitting is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kept {
    /// Kept aside as unusable.
    Aside,
    /// Kept nowhere.
    Nowhere,
    /// Being written down.
    Saving,
    /// Sealed on this device.
    Sealed,
    /// In the outbox of this device, committed.
    Saved,
    /// Confirmed by the server.
    Sent,
}

/// A measurement of the sitting as the desk has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its number in the sitting.
    pub(crate) number: u32,
    /// The reading; `None` when the measurement gave no number.
    pub(crate) taken: Option<Taken>,
    /// How safe it is.
    pub(crate) kept: Kept,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Time passed.
    Tick,
    /// "I am a member."
    ChooseMember,
    /// "Measure without a name", from the start, from an unknown code, or instead of keeping.
    ChooseAnonymous,
    /// Go back to the start before a sitting began.
    Back,
    /// A code was typed.
    Code(String),
    /// What the shell found for it.
    Looked(Option<Found>),
    /// "That is me, begin", with a grant.
    Confirm,
    /// "Keep until I confirm", without a grant.
    Seal,
    /// The sitting began.
    Began,
    /// It cannot begin yet: a meter of the sitting before is connected.
    MeterStillConnected,
    /// It could not begin.
    BeginFailed,
    /// "I am ready."
    Ready,
    /// All measurements of the sitting, oldest first.
    Seen(Vec<Seen>),
    /// The meter of the sitting before is gone.
    MeterGone,
    /// "Show me the result now."
    Finish,
    /// "A little longer."
    Longer,
    /// "End now."
    End,
    /// The shell ended the sitting for another reason (the program stops, the clock stepped).
    Ended,
    /// Another language.
    Language(Language),
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Look up the code and answer with [`Event::Looked`].
    LookUp(MemberCode),
    /// Begin a sitting and answer with [`Event::Began`], [`Event::MeterStillConnected`] or [`Event::BeginFailed`].
    Begin(Person),
    /// End the sitting.
    End,
}

/// The state of the screen.
#[derive(Debug)]
pub(crate) struct Flow {
    timings: KioskTimings,
    judge: Judge,
    language: Language,
    screen: Screen,
    person: Option<Person>,
    seen: Vec<Seen>,
    failures: u8,
    revision: u64,
    /// When the warning comes; `None` where nobody's data is on the screen.
    quiet_until: Option<Duration>,
    /// When the screen wipes itself.
    wipe_at: Option<Duration>,
    retry_begin_at: Option<Duration>,
    longer_left: u32,
}

impl Flow {
    /// A screen that waits for the first person.
    pub(crate) fn new(timings: KioskTimings, judge: Judge) -> Self {
        Self {
            timings,
            judge,
            language: Language::default(),
            screen: Screen::Start,
            person: None,
            seen: Vec::new(),
            failures: 0,
            revision: 1,
            quiet_until: None,
            wipe_at: None,
            retry_begin_at: None,
            longer_left: 0,
        }
    }

    /// What is to be seen.
    pub(crate) const fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Raised with every change of what is to be seen.
    pub(crate) const fn revision(&self) -> u64 {
        self.revision
    }

    /// The language of the screen.
    pub(crate) const fn language(&self) -> Language {
        self.language
    }

    /// Who sits there.
    #[cfg(test)]
    pub(crate) const fn person(&self) -> Option<&Person> {
        self.person.as_ref()
    }

    /// The readings so far that count for the screen, oldest first.
    pub(crate) fn readings(&self) -> impl Iterator<Item = &Taken> {
        self.seen
            .iter()
            .filter(|seen| seen.kept != Kept::Aside)
            .filter_map(|seen| seen.taken.as_ref())
    }

    /// How safe the readings are: as safe as the least safe. `None` before the first.
    pub(crate) fn kept(&self) -> Option<Kept> {
        self.seen
            .iter()
            .filter(|seen| seen.taken.is_some())
            .map(|seen| seen.kept)
            .min()
    }

    /// Failed measurements ask for help.
    pub(crate) const fn needs_help(&self) -> bool {
        self.failures >= FAILURES_UNTIL_HELP
    }

    /// When the screen wipes itself, once the warning is up.
    pub(crate) const fn wipe_at(&self) -> Option<Duration> {
        self.wipe_at
    }

    /// Whether "a little longer" is still offered.
    pub(crate) const fn may_stay(&self) -> bool {
        self.longer_left > 0
    }

    /// When [`Event::Tick`] is due at the latest.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let step = match &self.screen {
            Screen::Gap { until } | Screen::Severe { until } => Some(*until),
            _ => None,
        };
        let quiet = self.quiet_until.filter(|_| self.wipe_at.is_none());
        [step, quiet, self.wipe_at, self.retry_begin_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes an event; returns what the shell is to do.
    pub(crate) fn handle(&mut self, now: Duration, event: Event) -> Option<Effect> {
        match event {
            Event::Tick => self.tick(now),
            Event::Language(language) => {
                if self.language != language {
                    self.language = language;
                    self.changed();
                }
                None
            }
            Event::ChooseMember if self.screen == Screen::Start || self.screen == Screen::Unknown => {
                self.show(now, Screen::Code { malformed: false });
                None
            }
            Event::ChooseAnonymous => match &self.screen {
                Screen::Start | Screen::Unknown | Screen::Greet(_) | Screen::Code { .. } => {
                    Some(self.begin(Person::Anonymous))
                }
                _ => None,
            },
            Event::Code(text) if matches!(self.screen, Screen::Code { .. }) => match text.parse() {
                Ok(code) => Some(Effect::LookUp(code)),
                Err(_) => {
                    self.show(now, Screen::Code { malformed: true });
                    None
                }
            },
            Event::Looked(found) if matches!(self.screen, Screen::Code { .. }) => {
                self.show(now, found.map_or(Screen::Unknown, Screen::Greet));
                None
            }
            Event::Confirm | Event::Seal => self.confirm(event == Event::Seal),
            Event::Began => {
                self.retry_begin_at = None;
                self.longer_left = self.timings.longer_times;
                self.show(now, Screen::Prepare);
                None
            }
            Event::MeterStillConnected => {
                self.retry_begin_at = Some(now + self.timings.busy_retry());
                if let Some(person) = &self.person
                    && !matches!(self.screen, Screen::Busy(_))
                {
                    let screen = Screen::Busy(person.clone());
                    self.show(now, screen);
                }
                None
            }
            Event::BeginFailed => {
                self.person = None;
                self.retry_begin_at = None;
                self.show(now, Screen::Failed);
                None
            }
            Event::Ready if self.screen == Screen::Prepare => {
                self.show(now, Screen::Measure { failed: false });
                None
            }
            Event::Seen(seen) => {
                self.see(now, seen);
                None
            }
            Event::MeterGone => {
                if self.retry_begin_at.take().is_some() {
                    return self.person.clone().map(Effect::Begin);
                }
                None
            }
            Event::Finish => {
                if self.readings().next().is_some()
                    && self.screen.in_sitting()
                    && !matches!(self.screen, Screen::Result(_))
                {
                    self.show_result(now);
                }
                None
            }
            Event::Longer => {
                if self.wipe_at.take().is_some() && self.longer_left > 0 {
                    self.longer_left -= 1;
                    self.quiet_until = Some(now + self.timings.longer());
                    self.changed();
                }
                None
            }
            Event::Back if self.screen.in_sitting() => None,
            Event::End | Event::Back => self.wipe(),
            Event::Ended => {
                if self.screen.in_sitting() {
                    self.wipe();
                }
                None
            }
            Event::ChooseMember | Event::Code(_) | Event::Looked(_) | Event::Ready => None,
        }
    }

    fn tick(&mut self, now: Duration) -> Option<Effect> {
        if self.wipe_at.is_some_and(|at| at <= now) {
            return self.wipe();
        }
        if self.wipe_at.is_none() && self.quiet_until.is_some_and(|until| until <= now) {
            // Before a sitting there is nothing to stay for but a masked name.
            self.wipe_at = Some(now + self.timings.warning());
            self.changed();
        }
        if self.retry_begin_at.is_some_and(|at| at <= now) {
            self.retry_begin_at = None;
            return self.person.clone().map(Effect::Begin);
        }
        match &self.screen {
            Screen::Gap { until } | Screen::Severe { until } if *until <= now => {
                self.show(now, Screen::Measure { failed: false });
            }
            _ => {}
        }
        None
    }

    fn begin(&mut self, person: Person) -> Effect {
        self.person = Some(person.clone());
        Effect::Begin(person)
    }

    fn confirm(&mut self, seal: bool) -> Option<Effect> {
        let Screen::Greet(found) = &self.screen else {
            return None;
        };
        let keeping = match (found.granted, seal) {
            (true, false) => Keeping::Granted,
            (false, true) => Keeping::Sealed,
            // Not what the screen offered.
            _ => return None,
        };
        let person = Person::Member {
            code: found.code.clone(),
            keeping,
        };
        Some(self.begin(person))
    }

    /// Takes over what the desk has: new measurements move the sitting on, changed states only change the state line.
    fn see(&mut self, now: Duration, mut seen: Vec<Seen>) {
        if !self.screen.in_sitting() {
            return;
        }
        seen.truncate(MAX_READINGS);
        if seen == self.seen {
            return;
        }
        let usable = |seen: &[Seen]| -> Vec<u32> {
            seen.iter()
                .filter(|s| s.taken.is_some() && s.kept != Kept::Aside)
                .map(|s| s.number)
                .collect()
        };
        let (before, after) = (usable(&self.seen), usable(&seen));
        let new = after.iter().any(|number| !before.contains(number));
        let is_failed = |s: &Seen| s.taken.is_none() || s.kept == Kept::Aside;
        let known = |s: &Seen| self.seen.iter().any(|old| old.number == s.number && is_failed(old));
        let failed = seen.iter().filter(|s| is_failed(s) && !known(s)).count();
        self.seen = seen;
        self.changed();
        let at_result = matches!(self.screen, Screen::Result(_));
        if new {
            self.failures = 0;
            self.go_on(now, at_result);
        } else if at_result && before != after {
            // A reading that was shown turned out unusable: the result is what is left.
            self.show_result(now);
        } else if failed > 0 && !at_result {
            self.failures = self.failures.saturating_add(u8::try_from(failed).unwrap_or(u8::MAX));
            self.show(now, Screen::Measure { failed: true });
        }
    }

    fn go_on(&mut self, now: Duration, at_result: bool) {
        let all: Vec<Taken> = self.readings().cloned().collect();
        match self.judge.next(&all) {
            // Measured once more after the result: it joins, and the person gets the full time to read.
            _ if at_result || self.seen.len() >= MAX_READINGS => self.show_result(now),
            NextStep::Another { gap } => self.show(
                now,
                Screen::Gap {
                    until: now + self.timings.gap().unwrap_or(gap),
                },
            ),
            NextStep::Rest { rest } => self.show(
                now,
                Screen::Severe {
                    until: now + self.timings.rest().unwrap_or(rest),
                },
            ),
            NextStep::Done => self.show_result(now),
        }
    }

    fn show_result(&mut self, now: Duration) {
        let all: Vec<Taken> = self.readings().cloned().collect();
        let outcome = self.judge.outcome(&all);
        self.show(now, Screen::Result(outcome));
    }

    fn show(&mut self, now: Duration, screen: Screen) {
        self.quiet_until = match &screen {
            Screen::Start => None,
            // Someone reads, types or decides.
            Screen::Code { .. } | Screen::Unknown | Screen::Greet(_) | Screen::Failed => {
                Some(now + self.timings.entry())
            }
            Screen::Busy(_) => Some(now + self.timings.idle()),
            // No timer drives a person during rest, inflation or gap; only a kiosk that somebody left is cleared.
            Screen::Prepare | Screen::Measure { .. } => Some(now + self.timings.idle()),
            Screen::Gap { until } | Screen::Severe { until } => Some(*until + self.timings.idle()),
            Screen::Result(_) => Some(now + self.timings.result()),
        };
        self.wipe_at = None;
        self.screen = screen;
        self.changed();
    }

    /// Back to the start: nothing of the sitting is left here.
    fn wipe(&mut self) -> Option<Effect> {
        let in_sitting = self.screen.in_sitting();
        let revision = self.revision;
        *self = Self {
            revision,
            ..Self::new(self.timings.clone(), self.judge.clone())
        };
        self.changed();
        in_sitting.then_some(Effect::End)
    }

    fn changed(&mut self) {
        self.revision = self.revision.wrapping_add(1);
    }
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
