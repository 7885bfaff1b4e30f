//! Draws the screen.

use std::time::Duration;

use askama::Template;
use axum::response::Response;

use super::flow::{Flow, Kept, Screen};
use super::judge::{Class, Shown, Taken};
use super::problem::page;
use super::shell::Around;
use super::text::Language;

/// Without script, screens that change by themselves are loaded again so often, s.
const REFRESH_S: u64 = 3;

/// What every screen has.
struct Head<'f> {
    language: Language,
    other_language: Language,
    revision: u64,
    token: &'f str,
    refresh_s: Option<u64>,
    /// The warning before the wipe, as HTML.
    warning: Option<String>,
    may_stay: bool,
    may_end: bool,
}

impl<'f> Head<'f> {
    fn new(flow: &Flow, token: &'f str, around: &Around) -> Self {
        let language = flow.language();
        let mut head = Self {
            language,
            other_language: if language == Language::ZhCn {
                Language::En
            } else {
                Language::ZhCn
            },
            revision: flow.revision(),
            token,
            // Not while somebody types.
            refresh_s: (!matches!(flow.screen(), Screen::Code { .. })).then_some(REFRESH_S),
            warning: None,
            may_stay: flow.may_stay(),
            may_end: *flow.screen() != Screen::Start,
        };
        head.warning = flow
            .wipe_at()
            .map(|at| head.countdown("warning-note", "seconds", left_s(at, around.now)));
        head
    }

    fn text(&self, key: &str) -> String {
        self.language.text(key)
    }

    fn with(&self, key: &str, name: &'static str, value: impl std::fmt::Display) -> String {
        self.language.with(key, name, value.to_string())
    }

    /// Token and revision; both are made of hex digits and digits only.
    fn form_fields(&self) -> String {
        format!(
            r#"<input type="hidden" name="token" value="{}"><input type="hidden" name="revision" value="{}">"#,
            self.token, self.revision
        )
    }

    /// A sentence with a number that the script counts down. Sentences come from our own catalogue, numbers from us.
    fn countdown(&self, key: &str, name: &'static str, seconds: u64) -> String {
        let (shown, clock) = match name {
            "minutes" => (format!("{}:{:02}", seconds / 60, seconds % 60), " data-clock"),
            _ => (seconds.to_string(), ""),
        };
        // The mark stands in for the number while the sentence is escaped.
        let sentence = escape(&self.with(key, name, '\u{1}'));
        let number = format!(r#"<span class="left" data-left="{seconds}"{clock}>{shown}</span>"#);
        sentence.replace('\u{1}', &number)
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Whole seconds until an instant, rounded up.
fn left_s(at: Duration, now: Duration) -> u64 {
    let left = at.saturating_sub(now);
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}

macro_rules! screens {
    ($($name:ident $path:literal { $($field:ident: $type:ty,)* })+) => {
        $(
            #[derive(Template)]
            #[template(path = $path)]
            struct $name<'f> {
                head: Head<'f>,
                $($field: $type,)*
            }
        )+
    };
}

screens! {
    StartPage "kiosk/start.html" {}
    CodePage "kiosk/code.html" { malformed: bool, digits: &'static [char], letters: &'static [char], }
    UnknownPage "kiosk/unknown.html" {}
    GreetPage "kiosk/greet.html" { name: &'f str, granted: bool, }
    MessagePage "kiosk/message.html" { title: String, note: String, waiting: bool, }
    PreparePage "kiosk/prepare.html" {}
    MeasurePage "kiosk/measure.html" { number: usize, failed: bool, help: bool, earlier: Vec<String>, }
    GapPage "kiosk/gap.html" { left: String, last: String, kept: Option<String>, }
    SeverePage "kiosk/severe.html" { left: String, last: String, kept: Option<String>, }
    ResultPage "kiosk/result.html" { shown: Option<ShownResult>, state: String, waiting: Option<String>, }
}

const DIGITS: [char; 9] = ['1', '2', '3', '4', '5', '6', '7', '8', '9'];
const LETTERS: [char; 26] = [
    'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', 'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W',
    'X', 'Y', 'Z',
];

/// A result in words.
struct ShownResult {
    class: &'static str,
    word: String,
    advice: String,
    systolic: i64,
    diastolic: i64,
    /// How many measurements are behind it.
    basis: String,
    pulse: Option<String>,
    symptoms: bool,
    unconfirmed: bool,
    irregular: bool,
}

impl ShownResult {
    fn new(shown: &Shown, head: &Head<'_>) -> Self {
        let class = shown.class.code();
        Self {
            class,
            word: head.text(&format!("class-{class}-word")),
            advice: head.text(&format!("class-{class}-advice")),
            systolic: shown.systolic_mmhg,
            diastolic: shown.diastolic_mmhg,
            basis: match shown.count {
                0 | 1 => head.text("result-single"),
                count => head.with("result-mean", "count", count),
            },
            pulse: shown
                .pulse_per_min
                .map(|pulse| head.with("result-pulse", "pulse", pulse)),
            symptoms: shown.class == Class::VeryHigh,
            unconfirmed: shown.unconfirmed,
            irregular: shown.irregular_pulse,
        }
    }
}

/// The screen as it is now.
pub(super) fn draw(flow: &Flow, token: &str, around: &Around) -> Response {
    let head = Head::new(flow, token, around);
    let last = flow.readings().last().map(figure).unwrap_or_default();
    match flow.screen() {
        Screen::Start => page(&StartPage { head }),
        Screen::Code { malformed } => page(&CodePage {
            head,
            malformed: *malformed,
            digits: &DIGITS,
            letters: &LETTERS,
        }),
        Screen::Unknown => page(&UnknownPage { head }),
        Screen::Greet(found) => page(&GreetPage {
            head,
            name: found.masked_name.expose(),
            granted: found.granted,
        }),
        Screen::Busy(_) => {
            let (title, note) = (head.text("busy-title"), head.text("busy-note"));
            page(&MessagePage {
                head,
                title,
                note,
                waiting: true,
            })
        }
        Screen::Failed => {
            let (title, note) = (head.text("failed-title"), head.text("failed-note"));
            page(&MessagePage {
                head,
                title,
                note,
                waiting: false,
            })
        }
        Screen::Prepare => page(&PreparePage { head }),
        Screen::Measure { failed } => {
            let earlier: Vec<String> = flow.readings().map(figure).collect();
            page(&MeasurePage {
                head,
                number: earlier.len() + 1,
                failed: *failed,
                help: flow.needs_help(),
                earlier,
            })
        }
        Screen::Gap { until } => {
            let kept = state_line(flow, &head, around).filter(|_| flow.kept() != Some(Kept::Nowhere));
            let left = head.countdown("gap-left", "seconds", left_s(*until, around.now));
            page(&GapPage { head, left, last, kept })
        }
        Screen::Severe { until } => {
            let kept = state_line(flow, &head, around).filter(|_| flow.kept() != Some(Kept::Nowhere));
            let left = head.countdown("severe-left", "minutes", left_s(*until, around.now));
            page(&SeverePage { head, left, last, kept })
        }
        Screen::Result(outcome) => {
            let shown = outcome.0.as_ref().map(|shown| ShownResult::new(shown.expose(), &head));
            let state = state_line(flow, &head, around).unwrap_or_else(|| head.text("result-kept-nowhere"));
            let waiting = around
                .waiting
                .filter(|count| *count > 0 && flow.kept() == Some(Kept::Saved))
                .map(|count| head.with("result-waiting", "count", count));
            page(&ResultPage {
                head,
                shown,
                state,
                waiting,
            })
        }
    }
}

/// What became of the readings so far; `None` before the first.
fn state_line(flow: &Flow, head: &Head<'_>, around: &Around) -> Option<String> {
    let words = match flow.kept()? {
        Kept::Aside => head.text("result-aside"),
        Kept::Nowhere => head.text("result-kept-nowhere"),
        Kept::Saving => head.text("result-saving"),
        Kept::Sealed => head.text("result-sealed"),
        Kept::Saved if around.online => head.text("result-saved"),
        Kept::Saved => head.text("result-saved-offline"),
        Kept::Sent => head.text("result-sent"),
    };
    Some(words)
}

fn figure(taken: &Taken) -> String {
    let (systolic, diastolic) = taken.mmhg();
    format!("{systolic} / {diastolic}")
}
