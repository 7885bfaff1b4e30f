//! The same for a program on this machine that can read the token file: `carepost-gateway pair`.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use carepost_domain::meter::{Address, AddressType, MeterKind, MeterRole};
use carepost_domain::quirks::Support;
use serde::{Deserialize, Serialize};

use super::desk::Staff;
use super::register::{Hindrance, NamedOwner, Said};
use super::session::is_same;
use crate::pairing::{Answer, Begun, Failure, Goal, Outcome, Passkey, Prompt, Radio, Request, Stage, View};

/// Where it answers.
pub(crate) const PATH: &str = "/staff/api/pairing";

/// What is to be seen.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// The Bluetooth service is there, and the agent registered.
    pub(crate) ready: bool,
    /// Meters around that nobody registered.
    pub(crate) nearby: Vec<SeenMeter>,
    /// The pairing; absent when there is none.
    pub(crate) pairing: Option<SeenPairing>,
}

/// A meter around.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SeenMeter {
    pub(crate) address: Address,
    pub(crate) address_type: AddressType,
    pub(crate) adapter: String,
    pub(crate) name: String,
    pub(crate) kind: Option<MeterKind>,
    pub(crate) rssi: Option<i16>,
    pub(crate) seen_s_ago: u64,
    pub(crate) supported: bool,
}

/// How a pairing stands.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SeenPairing {
    pub(crate) attempt: u64,
    pub(crate) address: Address,
    /// While it goes on.
    pub(crate) stage: Option<Stage>,
    pub(crate) left_s: u64,
    pub(crate) prompt: Option<SeenPrompt>,
    /// When it is over.
    pub(crate) outcome: Option<SeenOutcome>,
}

/// What is asked.
#[derive(Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(crate) enum SeenPrompt {
    /// Type the digits that the meter shows.
    Enter,
    /// Type these digits on the meter.
    Show { digits: String },
    /// Are these the digits that the meter shows?
    Compare { digits: String },
}

impl std::fmt::Debug for SeenPrompt {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Enter => "Enter",
            Self::Show { .. } => "Show",
            Self::Compare { .. } => "Compare",
        })
    }
}

/// How it went.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(crate) enum SeenOutcome {
    /// There is a bond.
    Paired {
        address: Address,
        kind: Option<MeterKind>,
        manufacturer: String,
        model: String,
        serial: String,
        bonded: bool,
        unsupported: bool,
        registered: bool,
    },
    /// There is no bond any more.
    Forgotten,
    /// Nothing was achieved.
    Failed { because: Failure },
}

/// What is to be done.
#[derive(Deserialize, Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Act {
    Begin {
        goal: Goal,
        address: Address,
        address_type: AddressType,
        adapter: String,
        name: String,
    },
    Passkey {
        digits: String,
    },
    Yes,
    No,
    GiveUp,
    Done,
    Register {
        /// Of the meter that was just paired.
        address: Address,
        role: MeterRole,
        owners: Vec<ActOwner>,
        /// Nobody but the owners has ever measured with it.
        #[serde(default)]
        only_ever: bool,
    },
}

/// An owner in [`Act::Register`].
#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct ActOwner {
    pub(crate) code: String,
    pub(crate) slot: Option<u8>,
}

/// The answer to [`Act`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(crate) enum Acted {
    Ok,
    /// Another pairing goes on.
    Busy,
    /// Not six digits.
    Malformed,
    /// Not registered.
    Hindered {
        by: Hindrance,
    },
}

fn may(staff: &Staff, headers: &HeaderMap) -> bool {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    given.is_some_and(|given| is_same(given, staff.api_token()))
}

pub(super) async fn look(State(staff): State<Staff>, headers: HeaderMap) -> Response {
    if !may(&staff, &headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    Json(seen(&staff)).into_response()
}

fn seen(staff: &Staff) -> Seen {
    let now = staff.now();
    let nearby = staff
        .parts()
        .board
        .nearby(now)
        .into_iter()
        .map(|meter| SeenMeter {
            address: meter.address,
            address_type: meter.address_type,
            adapter: meter.adapter,
            name: meter.name,
            kind: meter.kind,
            rssi: meter.rssi,
            seen_s_ago: now.saturating_sub(meter.seen_at).as_secs(),
            supported: meter.support == Support::Supported,
        })
        .collect();
    let pairing = match staff.pairing().view() {
        View::Idle => None,
        View::Running {
            attempt,
            request,
            stage,
            prompt,
            until,
        } => Some(SeenPairing {
            attempt,
            address: request.address,
            stage: Some(stage),
            left_s: until.saturating_sub(now).as_secs(),
            prompt: prompt.map(|prompt| match prompt {
                Prompt::Enter => SeenPrompt::Enter,
                Prompt::Show { passkey, .. } => SeenPrompt::Show {
                    digits: passkey.digits(),
                },
                Prompt::Compare(passkey) => SeenPrompt::Compare {
                    digits: passkey.digits(),
                },
            }),
            outcome: None,
        }),
        View::Over {
            attempt,
            request,
            outcome,
        } => Some(SeenPairing {
            attempt,
            address: request.address,
            stage: None,
            left_s: 0,
            prompt: None,
            outcome: Some(match outcome {
                Outcome::Paired(details) => SeenOutcome::Paired {
                    address: details.address,
                    kind: details.kind,
                    manufacturer: details.about.manufacturer,
                    model: details.model,
                    serial: details.about.serial,
                    bonded: details.bonded,
                    unsupported: details.unsupported,
                    registered: staff.is_registered(details.address, details.address_type),
                },
                Outcome::Forgotten => SeenOutcome::Forgotten,
                Outcome::Failed(because) => SeenOutcome::Failed { because },
            }),
        }),
    };
    Seen {
        ready: staff.pairing().radio() == Radio::Ready,
        nearby,
        pairing,
    }
}

pub(super) async fn act(
    State(staff): State<Staff>,
    headers: HeaderMap,
    act: Result<Json<Act>, JsonRejection>,
) -> Response {
    if !may(&staff, &headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let Ok(Json(act)) = act else {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    };
    let pairing = staff.pairing();
    let acted = match act {
        Act::Begin {
            goal,
            address,
            address_type,
            adapter,
            name,
        } => {
            let request = Request {
                goal,
                address,
                address_type,
                name,
                adapter,
            };
            match pairing.begin(request).await {
                Begun::Yes => Acted::Ok,
                Begun::Busy => Acted::Busy,
            }
        }
        Act::Passkey { digits } => match Passkey::parse(&digits) {
            Some(passkey) => {
                pairing.answer(Answer::Passkey(passkey)).await;
                Acted::Ok
            }
            None => Acted::Malformed,
        },
        Act::Yes => {
            pairing.answer(Answer::Yes).await;
            Acted::Ok
        }
        Act::No => {
            pairing.answer(Answer::No).await;
            Acted::Ok
        }
        Act::GiveUp => {
            pairing.give_up().await;
            Acted::Ok
        }
        Act::Done => {
            pairing.dismiss().await;
            Acted::Ok
        }
        Act::Register {
            address,
            role,
            owners,
            only_ever,
        } => {
            let owners = owners.into_iter().map(|owner| NamedOwner {
                code: owner.code,
                slot: owner.slot,
            });
            let said = Said {
                address,
                role,
                owners: owners.collect(),
                only_ever,
            };
            match staff.register(&said).await {
                Ok(_) => Acted::Ok,
                Err(by) => Acted::Hindered { by },
            }
        }
    };
    Json(acted).into_response()
}
