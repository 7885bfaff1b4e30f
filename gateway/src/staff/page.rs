//! Draws the staff page.

use std::time::Duration;

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use carepost_domain::meter::{Address, MeterKind, MeterRole, meter_id};
use carepost_domain::quirks::Support;

use super::desk::{Entry, Staff};
use super::register::{Hindrance, OWNER_ROWS, Said, names_users};
use crate::board::{LinkState, Nearby};
use crate::kiosk::{Language, page};
use crate::pairing::{Bond, Details, Failure, Goal, Outcome, Prompt, Radio, Request, Stage, View};
use crate::spool::Registration;

/// Without script, a page that changes by itself is loaded again so often, s. With script it changes at once.
const REFRESH_S: u64 = 5;
/// A meter that was heard within this time is here now.
const HERE: Duration = Duration::from_secs(15);
/// Signal strengths in dBm above which a meter lies on the counter, or is in the room.
const NEAR_DBM: i16 = -65;
const ROOM_DBM: i16 = -85;
/// Users as meters send them: of two, some send 0 and 1, others 1 and 2 (page 3, section 2.8). Which a model does is not known
/// to the quirk table, so each choice says what the meter's screen shows for it in either case.
pub(super) const SLOTS: [u8; 4] = [0, 1, 2, 3];

/// What every page has.
struct Head<'p> {
    language: Language,
    other_language: Language,
    token: &'p str,
    refresh_s: Option<u64>,
    /// What is to be seen: the script draws anew when it changes, and does not disturb somebody who types before.
    key: String,
    inside: bool,
}

impl<'p> Head<'p> {
    fn new(staff: &Staff, token: &'p str, inside: bool) -> Self {
        let language = staff.language();
        let other_language = match language {
            Language::ZhCn => Language::En,
            Language::En => Language::ZhCn,
        };
        Self {
            language,
            other_language,
            token,
            refresh_s: None,
            key: String::new(),
            inside,
        }
    }

    fn text(&self, key: &str) -> String {
        self.language.text(key)
    }

    fn with(&self, key: &str, name: &'static str, value: impl std::fmt::Display) -> String {
        self.language.with(key, name, value.to_string())
    }

    /// The words for a code of ours.
    fn code(&self, prefix: &str, code: &str) -> String {
        self.text(&format!("staff-{prefix}-{}", code.replace('_', "-")))
    }

    /// The token, which is made of hex digits.
    fn form_fields(&self) -> String {
        format!(r#"<input type="hidden" name="token" value="{}">"#, self.token)
    }

    fn kind(&self, kind: Option<MeterKind>) -> String {
        match kind {
            Some(kind) => self.code("kind", kind.code()),
            None => self.text("staff-kind-unknown"),
        }
    }
}

/// Whole seconds until an instant, rounded up.
fn left_s(at: Duration, now: Duration) -> u64 {
    let left = at.saturating_sub(now);
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}

/// The last two bytes of an address, by which equal models are told apart.
fn tail(address: Address) -> String {
    let [.., y, z] = address.bytes();
    format!("{y:02X}:{z:02X}")
}

macro_rules! pages {
    ($($name:ident $path:literal { $($field:ident: $type:ty,)* })+) => {
        $(
            #[derive(Template)]
            #[template(path = $path)]
            struct $name<'p> {
                head: Head<'p>,
                $($field: $type,)*
            }
        )+
    };
}

pages! {
    DoorPage "staff/door.html" { set_up: bool, wrong: bool, closed_s: Option<u64>, }
    MetersPage "staff/meters.html" {
        trouble: Option<String>,
        nearby: Vec<NearbyRow>,
        waiting: Vec<WaitingRow>,
        registered: Vec<MeterRow>,
        unregistered: Vec<BondRow>,
    }
    ForgetPage "staff/forget.html" { what: String, address: String, address_type: &'static str, registered: bool, }
    RunningPage "staff/running.html" {
        title: String,
        name: String,
        tail: String,
        steps: Vec<StepRow>,
        hint: Option<String>,
        prompt: Option<PromptShown>,
        malformed: bool,
        left: u64,
    }
    FailedPage "staff/failed.html" {
        name: String,
        tail: String,
        what: String,
        next: String,
        again: Option<AgainForm>,
    }
    DonePage "staff/done.html" { title: String, note: String, }
    PairedPage "staff/paired.html" {
        kind: String,
        details: Details,
        tail: String,
        bond_warning: bool,
        unsupported: bool,
        registered: bool,
        hindrance: Option<String>,
        personal: bool,
        users: bool,
        several: bool,
        only_ever: bool,
        rows: Vec<OwnerRow>,
    }
}

struct NearbyRow {
    what: String,
    name: String,
    tail: String,
    signal: String,
    bars: u8,
    seen: String,
    unsupported: bool,
    address: String,
    address_type: &'static str,
    adapter: String,
}

struct WaitingRow {
    what: String,
    tail: String,
    refused: Option<String>,
    sent: bool,
    id: String,
}

struct MeterRow {
    what: String,
    tail: String,
    serial: String,
    whose: String,
    bonded: bool,
    connected: bool,
    last: Option<String>,
    address: String,
    address_type: &'static str,
}

struct BondRow {
    name: String,
    tail: String,
    address: String,
    address_type: &'static str,
}

struct StepRow {
    text: String,
    state: &'static str,
}

struct PromptShown {
    /// `enter`, `show` or `compare`.
    kind: &'static str,
    digits: String,
    typed: u16,
}

struct AgainForm {
    goal: &'static str,
    button: String,
    address: String,
    address_type: &'static str,
    adapter: String,
}

struct OwnerRow {
    n: usize,
    code: String,
    slots: Vec<SlotChoice>,
}

struct SlotChoice {
    value: u8,
    text: String,
    chosen: bool,
}

/// The page before anybody is in.
pub(super) fn door(staff: &Staff, entry: Option<&Entry>) -> Response {
    let mut head = Head::new(staff, staff.door_token(), false);
    head.key = "door".to_owned();
    let closed_s = match entry {
        Some(Entry::Closed(left)) => Some(left_s(*left, Duration::ZERO)),
        _ => None,
    };
    let status = match entry {
        Some(Entry::Wrong | Entry::Closed(_)) => StatusCode::FORBIDDEN,
        _ => StatusCode::OK,
    };
    let drawn = page(&DoorPage {
        head,
        set_up: staff.is_set_up(),
        wrong: entry == Some(&Entry::Wrong),
        closed_s,
    });
    (status, drawn).into_response()
}

/// What staff filled in that could not be taken.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) refused: Option<(Hindrance, Said)>,
    /// The passkey that was typed is none.
    pub(super) malformed: bool,
}

/// The page for somebody who is in.
pub(super) async fn inside(staff: &Staff, token: &str, draft: Draft) -> Response {
    let head = Head::new(staff, token, true);
    match staff.pairing().view() {
        View::Idle => meters(staff, head).await,
        View::Running {
            attempt,
            request,
            stage,
            prompt,
            until,
        } => running(staff, head, attempt, &request, stage, prompt, until, draft.malformed),
        View::Over {
            attempt,
            request,
            outcome,
        } => over(staff, head, attempt, &request, outcome, draft),
    }
}

async fn meters(staff: &Staff, mut head: Head<'_>) -> Response {
    staff.pairing().refresh().await;
    let parts = staff.parts();
    let copy = parts.spool.down();
    let bonds = staff.pairing().bonds();
    let (registrations, meters) = match (staff.registrations().await, parts.spool.status().await) {
        (Ok(registrations), Ok(status)) => (registrations, status.meters),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(error = crate::admit::chain(&error), "the staff page cannot be drawn");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    head.refresh_s = Some(REFRESH_S);
    head.key = "meters".to_owned();
    let now = staff.now();
    let nearby: Vec<NearbyRow> = parts
        .board
        .nearby(now)
        .iter()
        .filter(|meter| !registrations.contains_key(&meter_id(meter.address, meter.address_type)))
        .map(|meter| nearby_row(&head, meter, now))
        .collect();
    let mut waiting: Vec<WaitingRow> = registrations.values().map(|row| waiting_row(&head, row)).collect();
    waiting.sort_by(|a, b| a.tail.cmp(&b.tail));
    let bond_of = |address, kind| {
        bonds
            .iter()
            .find(|bond| (bond.address, bond.address_type) == (address, kind))
    };
    let registered = copy
        .meters()
        .into_iter()
        .map(|meter| {
            let bond = bond_of(meter.address, meter.address_type);
            let whose = match meter.role {
                MeterRole::StoreShared => head.text("staff-role-shared"),
                MeterRole::Personal => copy
                    .bindings_of(meter.id)
                    .iter()
                    .filter(|binding| binding.valid_to.is_none())
                    .filter_map(|binding| {
                        let name = &copy.member(binding.member)?.masked_name;
                        Some(match binding.slot {
                            Some(slot) => format!("{name} ({})", head.with("staff-slot", "slot", slot)),
                            None => name.clone(),
                        })
                    })
                    .collect::<Vec<_>>()
                    .join(", "),
            };
            let last = meters
                .iter()
                .find(|known| known.id == meter.id)
                .and_then(|known| known.last_link_at)
                .map(|at| match copy.zone() {
                    Some(zone) => at.with_timezone(&zone).format("%m-%d %H:%M").to_string(),
                    None => at.format("%m-%d %H:%M UTC").to_string(),
                });
            MeterRow {
                what: what(&head, Some(meter.kind), &meter.model),
                tail: tail(meter.address),
                serial: meter.about.serial.clone(),
                whose,
                bonded: bond.is_some(),
                connected: bond.is_some_and(|bond| bond.connected),
                last,
                address: meter.address.to_string(),
                address_type: meter.address_type.code(),
            }
        })
        .collect();
    let unregistered = bonds
        .iter()
        .filter(|bond| copy.meter_at(bond.address, bond.address_type).is_none())
        .filter(|bond| !registrations.contains_key(&meter_id(bond.address, bond.address_type)))
        .map(bond_row)
        .collect();
    let trouble = trouble(&head, staff);
    page(&MetersPage {
        head,
        trouble,
        nearby,
        waiting,
        registered,
        unregistered,
    })
}

fn trouble(head: &Head<'_>, staff: &Staff) -> Option<String> {
    match (staff.pairing().radio(), staff.parts().board.link()) {
        (Radio::NoBus | Radio::NoService, _) => Some(head.text("staff-trouble-no-service")),
        (_, LinkState::NoAdapter) => Some(head.text("staff-trouble-no-adapter")),
        (_, LinkState::AdapterOff) => Some(head.text("staff-trouble-adapter-off")),
        _ => None,
    }
}

/// Kind and model in one line.
fn what(head: &Head<'_>, kind: Option<MeterKind>, model: &str) -> String {
    match model {
        "" => head.kind(kind),
        model => format!("{} {model}", head.kind(kind)),
    }
}

fn nearby_row(head: &Head<'_>, meter: &Nearby, now: Duration) -> NearbyRow {
    let age = now.saturating_sub(meter.seen_at);
    let (signal, bars) = match meter.rssi {
        None => (head.text("staff-signal-unknown"), 0),
        Some(rssi) if rssi >= NEAR_DBM => (head.text("staff-signal-near"), 3),
        Some(rssi) if rssi >= ROOM_DBM => (head.text("staff-signal-room"), 2),
        Some(_) => (head.text("staff-signal-far"), 1),
    };
    let unsupported = meter.support == Support::RecognisedUnsupported;
    NearbyRow {
        what: match &meter.quirk {
            // "Recognised" is said of whom we can name.
            Some(quirk) if unsupported => head.text(&format!("staff-family-{quirk}")),
            _ => head.kind(meter.kind),
        },
        name: meter.name.clone(),
        tail: tail(meter.address),
        signal: match meter.rssi {
            Some(rssi) => format!("{signal} ({rssi} dBm)"),
            None => signal,
        },
        bars,
        seen: match age < HERE {
            true => head.text("staff-seen-now"),
            false => head.with("staff-seen-ago", "seconds", age.as_secs()),
        },
        unsupported,
        address: meter.address.to_string(),
        address_type: meter.address_type.code(),
        adapter: meter.adapter.clone(),
    }
}

fn waiting_row(head: &Head<'_>, row: &Registration) -> WaitingRow {
    let meter = &row.register.meter;
    WaitingRow {
        what: what(head, Some(meter.kind), &meter.model),
        tail: tail(meter.address),
        refused: row.refused.map(|reason| head.code("refusal", reason.code())),
        sent: row.sent_at.is_some(),
        id: meter.id.to_string(),
    }
}

fn bond_row(bond: &Bond) -> BondRow {
    BondRow {
        name: bond.name.clone(),
        tail: tail(bond.address),
        address: bond.address.to_string(),
        address_type: bond.address_type.code(),
    }
}

/// Asks whether a bond is really to be forgotten.
pub(super) fn forget(
    staff: &Staff,
    token: &str,
    address: Address,
    address_type: carepost_domain::meter::AddressType,
) -> Response {
    let mut head = Head::new(staff, token, true);
    head.key = "forget".to_owned();
    let copy = staff.parts().spool.down();
    let meter = copy.meter_at(address, address_type);
    let named = match meter {
        Some(meter) => what(&head, Some(meter.kind), &meter.model),
        None => head.kind(None),
    };
    page(&ForgetPage {
        what: format!("{named} …{}", tail(address)),
        address: address.to_string(),
        address_type: address_type.code(),
        registered: meter.is_some(),
        head,
    })
}

#[expect(clippy::too_many_arguments, reason = "the fields of one view, taken apart once")]
fn running(
    staff: &Staff,
    mut head: Head<'_>,
    attempt: u64,
    request: &Request,
    stage: Stage,
    prompt: Option<Prompt>,
    until: Duration,
    malformed: bool,
) -> Response {
    let prompt = prompt.map(|prompt| match prompt {
        Prompt::Enter => PromptShown {
            kind: "enter",
            digits: String::new(),
            typed: 0,
        },
        Prompt::Show { passkey, typed } => PromptShown {
            kind: "show",
            digits: passkey.digits(),
            typed,
        },
        Prompt::Compare(passkey) => PromptShown {
            kind: "compare",
            digits: passkey.digits(),
            typed: 0,
        },
    });
    let left = left_s(until, staff.now());
    let kind = prompt.as_ref().map_or("", |prompt| prompt.kind);
    head.key = format!("{attempt}-{stage}-{kind}");
    // Somebody who types is not disturbed before the time is over.
    head.refresh_s = Some(if kind == "enter" {
        left + 1
    } else {
        1.max(REFRESH_S.min(left))
    });
    let shown: &[Stage] = match request.goal {
        Goal::Forget => &[Stage::Waiting, Stage::Finishing],
        Goal::Pair | Goal::PairAgain => Stage::ALL,
    };
    let at = shown.iter().position(|known| *known == stage);
    let steps = shown
        .iter()
        .enumerate()
        .map(|(n, known)| StepRow {
            text: head.code("stage", known.code()),
            state: match at.map(|at| n.cmp(&at)) {
                Some(std::cmp::Ordering::Less) => "past",
                Some(std::cmp::Ordering::Equal) => "now",
                _ => "later",
            },
        })
        .collect();
    let hint = match (stage, &prompt) {
        (Stage::Finding, _) => Some(head.text("staff-hint-finding")),
        (Stage::Pairing, None) => Some(head.text("staff-hint-pairing")),
        (Stage::Waiting, _) => Some(head.text("staff-hint-waiting")),
        _ => None,
    };
    page(&RunningPage {
        title: match request.goal {
            Goal::Pair => head.text("staff-pairing-title"),
            Goal::PairAgain => head.text("staff-again-title"),
            Goal::Forget => head.text("staff-forgetting-title"),
        },
        name: request.name.clone(),
        tail: tail(request.address),
        steps,
        hint,
        prompt,
        malformed,
        left,
        head,
    })
}

fn over(
    staff: &Staff,
    mut head: Head<'_>,
    attempt: u64,
    request: &Request,
    outcome: Outcome,
    draft: Draft,
) -> Response {
    head.key = format!("{attempt}-over");
    match outcome {
        Outcome::Failed(failure) => failed(head, request, failure),
        Outcome::Forgotten => page(&DonePage {
            title: head.text("staff-forgotten-title"),
            note: head.text("staff-forgotten-note"),
            head,
        }),
        Outcome::Paired(details) => paired(staff, head, *details, draft),
    }
}

fn failed(head: Head<'_>, request: &Request, failure: Failure) -> Response {
    let code = failure.code().replace('_', "-");
    let (goal, button) = match (request.goal, failure) {
        (Goal::Forget, _) => (Goal::Forget, head.text("staff-try-again")),
        (_, Failure::BondLost) => (Goal::PairAgain, head.text("staff-pair-again")),
        (goal, _) => (goal, head.text("staff-try-again")),
    };
    let again = AgainForm {
        goal: goal.code(),
        button,
        address: request.address.to_string(),
        address_type: request.address_type.code(),
        adapter: request.adapter.clone(),
    };
    page(&FailedPage {
        name: request.name.clone(),
        tail: tail(request.address),
        what: head.text(&format!("staff-failure-{code}-what")),
        next: head.text(&format!("staff-failure-{code}-next")),
        again: Some(again),
        head,
    })
}

fn paired(staff: &Staff, head: Head<'_>, details: Details, draft: Draft) -> Response {
    let registered = staff.is_registered(details.address, details.address_type);
    let users = details.kind.is_some_and(names_users);
    let (hindrance, said) = match draft.refused {
        Some((hindrance, said)) => (Some(hindrance), Some(said)),
        None => (None, None),
    };
    let owners = said.as_ref().map_or(&[][..], |said| &said.owners);
    let rows = (0..if users { OWNER_ROWS } else { 1 })
        .map(|n| {
            let owner = owners.get(n);
            let chosen = owner.and_then(|owner| owner.slot);
            let slots = SLOTS
                .iter()
                .map(|slot| SlotChoice {
                    value: *slot,
                    text: head.text(&format!("staff-slot-{slot}")),
                    chosen: chosen == Some(*slot),
                })
                .collect();
            OwnerRow {
                n,
                code: owner.map(|owner| owner.code.clone()).unwrap_or_default(),
                slots,
            }
        })
        .collect();
    let status = match hindrance {
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
        None => StatusCode::OK,
    };
    let drawn = page(&PairedPage {
        kind: head.kind(details.kind),
        tail: tail(details.address),
        bond_warning: !details.bonded,
        unsupported: details.unsupported,
        registered,
        hindrance: hindrance.map(|hindrance| head.code("hindrance", hindrance.code())),
        personal: said.as_ref().is_none_or(|said| said.role == MeterRole::Personal),
        users,
        several: owners.len() > 1 || hindrance == Some(Hindrance::Slots),
        only_ever: said.as_ref().is_some_and(|said| said.only_ever),
        rows,
        details,
        head,
    });
    (status, drawn).into_response()
}
