//! The conversation by which a glucose meter reports what is new (page 3, section 2.4).

use std::collections::VecDeque;
use std::time::Duration;

use btleplug::api::{Peripheral as _, WriteType};
use carepost_gatt::sync::{AbortReason, Action, Event, GlucoseSync, Outcome, Policy};
use carepost_gatt::uuid16;
use futures_util::StreamExt as _;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::goodbye::{GOODBYE, STRAGGLERS};
use super::{Collected, Session};
use crate::admit::chain;
use crate::link::connect::att_error;
use crate::link::{LinkFault, within};
use crate::spool::Disposition;

/// Values that were handed on together, and are not known to be durable yet.
struct UnderWay {
    taken: Vec<(u16, Vec<u8>)>,
    durable: oneshot::Receiver<()>,
}

/// How many such may be under way: while one is committed, the next are taken from the stream and wait for their turn. In the
/// stream each value takes up a whole message of the bus.
const AHEAD: usize = 8;

impl Session {
    /// Has the conversation by which a glucose meter reports what is new.
    pub(super) async fn fetch_records(&mut self) -> Result<Collected, LinkFault> {
        let link = self.parts.link.clone();
        let soft = self.parts.soft.clone();
        let Some(control) = self.characteristic(uuid16::GLUCOSE_SERVICE, uuid16::RECORD_ACCESS_CONTROL_POINT) else {
            return Ok(Collected::Everything);
        };
        let revision = link.spool.down().revision();
        let known = link.spool.high_water(self.meter.id).await?;
        let policy = Policy {
            idle_timeout: Duration::from_millis(link.settings.answer_ms),
            only_new: self.talk.only_new,
            ..Policy::default()
        };
        let mut sync = GlucoseSync::new(policy, known);
        let start = link.clock.monotonic();
        let elapsed = || link.clock.monotonic().saturating_sub(start);
        let mut actions = sync.handle(elapsed(), Event::Start);
        let mut under_way: VecDeque<UnderWay> = VecDeque::new();
        // The link is gone: only what had come before is still taken, for so long.
        let mut gone: Option<Instant> = None;
        // Nothing more will come, or shall: the conversation hears so when it knows of everything that has.
        let mut over = false;
        loop {
            let mut outcome: Option<Outcome> = None;
            while !actions.is_empty() {
                let mut next = Vec::new();
                for action in actions {
                    match action {
                        Action::Write(_) if over || gone.is_some() => {
                            next.extend(sync.handle(elapsed(), Event::LinkLost))
                        }
                        Action::Write(bytes) => {
                            let write = self.peripheral.write(&control, &bytes, WriteType::WithResponse);
                            if let Err(fault) =
                                within(link.settings.operation_ms, "write to the control point", write).await
                            {
                                tracing::debug!(meter.id = %self.meter.id, error = chain(&fault), "control point refused");
                                let code = att_error(&chain(&fault));
                                if code.is_none() {
                                    // No answer of the protocol's, such as for a bond that the meter has lost.
                                    self.refused = Some(chain(&fault));
                                }
                                next.extend(sync.handle(elapsed(), Event::WriteFailed { att_error: code }));
                            }
                        }
                        Action::Finished(how) => outcome = Some(how),
                    }
                }
                actions = next;
            }
            if let Some(outcome) = outcome {
                match told(&outcome, sync.announced()) {
                    Some(told) => drop(self.refused.get_or_insert(told)),
                    None if matches!(outcome, Outcome::Aborted { .. }) => {}
                    None => self.refused = None,
                }
                self.note_outcome(&outcome, revision).await?;
                return Ok(collected(&outcome));
            }
            if over && under_way.is_empty() {
                actions = sync.handle(elapsed(), Event::LinkLost);
                continue;
            }
            let wake = sync
                .deadline()
                .map(|deadline| Instant::now() + deadline.saturating_sub(elapsed()));
            // All branches are cancel-safe; what they lead to is awaited outside.
            actions = tokio::select! {
                value = self.values.next(), if !over && under_way.len() < AHEAD => {
                    let Some(value) = value else { return Ok(Collected::Interrupted) };
                    let taken = self.take_ready(value);
                    self.hand_on(taken.clone()).await?;
                    let durable = self.flush().await?;
                    under_way.push_back(UnderWay { taken, durable });
                    Vec::new()
                },
                // The conversation may only know what is durable.
                taken = first_durable(&mut under_way) => {
                    taken?.iter().flat_map(|(characteristic, raw)| match *characteristic {
                        uuid16::GLUCOSE_MEASUREMENT => sync.handle(elapsed(), Event::Measurement(raw)),
                        uuid16::GLUCOSE_CONTEXT => sync.handle(elapsed(), Event::Context(raw)),
                        uuid16::RECORD_ACCESS_CONTROL_POINT => sync.handle(elapsed(), Event::ControlPoint(raw)),
                        _ => Vec::new(),
                    }).collect()
                },
                changed = self.parts.gone.changed(), if !over && gone.is_none() => {
                    if changed.is_err() || self.is_connected().await != Some(true) {
                        gone = Some(Instant::now() + GOODBYE);
                    }
                    Vec::new()
                }
                // What was heard before the end is not lost with the link, and what the conversation knows of is not asked
                // for again: a meter that loses every link gets on.
                () = wait_until(gone.map(|end| end.min(Instant::now() + STRAGGLERS))), if !over && under_way.len() < AHEAD => {
                    over = true;
                    Vec::new()
                }
                // What is under way is no silence of the meter's.
                () = wait_until(wake), if gone.is_none() && (under_way.is_empty() || !sync.awaits_values()) => {
                    sync.handle(elapsed(), Event::Tick)
                }
                // What was delivered is durable; the rest is asked for again.
                () = soft.cancelled(), if !over => {
                    over = true;
                    Vec::new()
                }
            };
        }
    }

    async fn note_outcome(&mut self, outcome: &Outcome, revision: u64) -> Result<(), LinkFault> {
        let meter = self.meter.id;
        match outcome {
            Outcome::Complete {
                delivered,
                reset_detected,
                ..
            } => {
                tracing::info!(meter.id = %meter, delivered, reset_detected, "glucose records are fetched");
            }
            Outcome::NoRecords { .. } => tracing::info!(meter.id = %meter, "meter holds no glucose records"),
            Outcome::Aborted { reason, delivered, .. } => {
                tracing::warn!(meter.id = %meter, delivered, reason = ?reason, "fetching glucose records broke off");
            }
        }
        let stored = self
            .parts
            .link
            .spool
            .set_high_water(meter, outcome.high_water(), revision)
            .await;
        match stored {
            Ok(_) => Ok(()),
            // The records are durable; without the mark they are asked for once more.
            Err(error) if error.disposition() == Disposition::Retry => {
                tracing::warn!(meter.id = %meter, error = chain(&error), "the mark of the newest record is not kept");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What staff is told of a conversation that brought less than there is, though the link was well.
fn told(outcome: &Outcome, announced: Option<u32>) -> Option<String> {
    match outcome {
        Outcome::Aborted { reason, .. } => match reason {
            // The link counts as interrupted.
            AbortReason::LinkLost | AbortReason::TimedOut => None,
            AbortReason::NotSubscribed => Some("the meter says that nobody listens to its control point".to_owned()),
            AbortReason::Busy => Some("the meter is busy with another transfer, and stays so".to_owned()),
            AbortReason::WriteFailed { att_error } => Some(match att_error {
                Some(code) => format!("the meter refuses to be asked for its records (ATT error {code:02X})"),
                None => "the meter cannot be asked for its records".to_owned(),
            }),
            AbortReason::Refused { code } => Some(format!("the meter refuses to report its records ({})", code.name())),
            AbortReason::TooManyValues => Some("the meter does not stop sending records".to_owned()),
        },
        // With a mark, nothing is new.
        Outcome::NoRecords { .. }
        | Outcome::Complete {
            delivered: 0,
            high_water: None,
            ..
        } => announced
            .filter(|records| *records > 0)
            .map(|records| format!("the meter counts {records} records and reports none")),
        Outcome::Complete { .. } => None,
    }
}

/// A meter that refuses has nothing in hand; one that went away or fell silent may have.
fn collected(outcome: &Outcome) -> Collected {
    match outcome {
        Outcome::Aborted {
            reason: AbortReason::LinkLost | AbortReason::TimedOut,
            ..
        } => Collected::Interrupted,
        Outcome::Aborted { .. } | Outcome::Complete { .. } | Outcome::NoRecords { .. } => Collected::Everything,
    }
}

/// What is durable of it, oldest first. Cancel-safe.
async fn first_durable(under_way: &mut VecDeque<UnderWay>) -> Result<Vec<(u16, Vec<u8>)>, LinkFault> {
    match under_way.front_mut() {
        None => std::future::pending().await,
        Some(first) => {
            (&mut first.durable).await.map_err(|_| LinkFault::CaptureGone)?;
            Ok(under_way.pop_front().map(|first| first.taken).unwrap_or_default())
        }
    }
}

async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use carepost_gatt::racp::ResultCode;
    use carepost_gatt::sync::HighWater;

    use super::*;

    const KNOWN: HighWater = HighWater {
        sequence: 1,
        base_time: None,
    };

    #[test]
    fn staff_are_told_why_a_conversation_brought_less_than_there_is() {
        let aborted = |reason| Outcome::Aborted {
            reason,
            delivered: 0,
            high_water: None,
        };
        let refused = |code| aborted(AbortReason::Refused { code });
        let none = Outcome::NoRecords { high_water: None };
        let complete = |delivered, known| Outcome::Complete {
            delivered,
            announced: Some(3),
            reset_detected: false,
            high_water: Some(KNOWN).filter(|_| known),
        };
        let write_failed = |att_error| aborted(AbortReason::WriteFailed { att_error });
        for (outcome, announced, words) in [
            (refused(ResultCode::InvalidOperator), None, Some("(invalid_operator)")),
            (refused(ResultCode::Unknown(10)), None, Some("(unknown_10)")),
            (write_failed(Some(0x0F)), None, Some("0F")),
            (write_failed(None), None, Some("cannot be asked")),
            (aborted(AbortReason::Busy), None, Some("busy")),
            (aborted(AbortReason::NotSubscribed), None, Some("nobody listens")),
            (aborted(AbortReason::TooManyValues), None, Some("does not stop")),
            (none, Some(5), Some("counts 5 records")),
            // An empty meter, one that cannot count, and links that count as interrupted.
            (none, Some(0), None),
            (none, None, None),
            (complete(0, false), Some(3), Some("counts 3 records")),
            (complete(0, true), Some(3), None),
            (complete(3, false), Some(3), None),
            (aborted(AbortReason::LinkLost), Some(5), None),
            (aborted(AbortReason::TimedOut), Some(5), None),
        ] {
            let told = told(&outcome, announced);
            assert_eq!(told.is_some(), words.is_some(), "{outcome:?}: {told:?}");
            assert!(
                words.is_none_or(|words| told.as_ref().is_some_and(|told| told.contains(words))),
                "{outcome:?}: {told:?}"
            );
        }
    }
}
