//! The end of a link: what is known of how it ended, which subscription stays, and the last word to the capture task.

use std::time::Duration;

use btleplug::api::Peripheral as _;
use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::kept::Kept;
use super::{Collected, Ended, Session, SessionEnd};
use crate::admit::chain;
use crate::link::connect::disconnect;
use crate::link::{LinkFault, within};
use crate::spool::{Disposition, LinkEnd};

/// How long values that are on their way inside this process are waited for, once nothing more can come from the meter.
pub(in crate::link) const STRAGGLERS: Duration = Duration::from_millis(50);
/// How long they may take altogether, and how long the end of a link may take to be durable: a meter that sends without end,
/// or a full disk, does not keep the radio from others.
pub(super) const GOODBYE: Duration = Duration::from_secs(5);

/// What becomes of the notification sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subscription {
    /// There is none, or nobody who could be told.
    None,
    /// It is taken back, so that the next link's first indication waits for its listener.
    TakenBack,
    /// It stays, and is listened to until the next link.
    Kept,
}

impl Session {
    /// Ends the link, whatever happened on it.
    pub(super) async fn say_goodbye(mut self, result: Result<Collected, LinkFault>) -> Ended {
        let (mut end, failed) = match result {
            Ok(Collected::Everything) => (LinkEnd::Clean, None),
            Ok(Collected::HungUp) => (LinkEnd::HungUp, None),
            Ok(Collected::Interrupted) => (LinkEnd::Unclean, None),
            Err(fault) if fault.may_pass() => {
                tracing::warn!(meter.id = %self.meter.id, error = chain(&fault), "link failed");
                self.refused.get_or_insert_with(|| chain(&fault));
                // Before anything was subscribed, nothing can have been sent.
                let end = if self.may_send() {
                    LinkEnd::Unclean
                } else {
                    LinkEnd::Clean
                };
                (end, None)
            }
            Err(fault) => (LinkEnd::Unclean, Some(fault)),
        };
        if self.heard_early && end == LinkEnd::Clean {
            // Nobody knows what else went over a link that was not ours.
            end = LinkEnd::HungUp;
        }
        let subscription = self.subscription().await;
        let taken_back = subscription == Subscription::TakenBack;
        // While it stays the meter may send until the link is down. And BlueZ (5.66) aborts when it must take a subscription
        // back behind one that the meter has not answered: without a link, it only forgets it.
        let hangs_up_first = !taken_back || self.unanswered;
        if hangs_up_first && !self.bus_lost {
            disconnect(&self.parts.link, &self.peripheral).await;
        }
        if taken_back {
            self.unsubscribe().await;
        }
        let records = self.records;
        if self.hand_on_stragglers().await.is_err() {
            end = LinkEnd::Unclean;
        } else if self.records > records && end == LinkEnd::Clean && self.meter.kind.sends_by_itself() {
            // Then it was not silent yet.
            end = LinkEnd::HungUp;
        }
        if !hangs_up_first {
            disconnect(&self.parts.link, &self.peripheral).await;
        }
        let mut kept = Kept::new(self.peripheral, self.values, &self.parts.link.clock);
        kept.stands = subscription == Subscription::Kept;
        kept.for_good = self.talk.keep_session;
        let kept = kept.stands.then_some(kept);
        let hard = self.parts.hard.clone();
        let answer = self.open.close(end);
        let durable = tokio::select! {
            // Not in time: the capture task has it and writes it down when it can.
            answered = timeout(GOODBYE, answer) => answered.map_or(Ok(()), |answered| answered.map_err(|_| LinkFault::CaptureGone)),
            () = hard.cancelled() => Ok(()),
        };
        let noted = match &self.refused {
            Some(reason) => self.parts.link.spool.note_failure(self.meter.id, reason).await,
            None => Ok(()),
        };
        let noted = match noted {
            Err(error) if error.disposition() == Disposition::Retry => Ok(()),
            other => other.map_err(LinkFault::from),
        };
        let end = match (failed, durable.and(noted)) {
            (Some(fault), _) | (None, Err(fault)) => SessionEnd::Failed(fault),
            (None, Ok(())) => SessionEnd::Over {
                end,
                records: self.records,
            },
        };
        Ended { end, kept }
    }

    /// Whether the meter may have sent something on this link.
    fn may_send(&self) -> bool {
        self.stands || !self.subscribed.is_empty()
    }

    /// Decides what becomes of the subscriptions, and notes it for the next start of the program.
    async fn subscription(&mut self) -> Subscription {
        // Whether the bus is there at all decides whether goodbyes are worth waiting for.
        let connected = if self.bus_lost { None } else { self.is_connected().await };
        if !self.may_send() {
            return Subscription::None;
        }
        let by_itself = self.meter.kind.sends_by_itself();
        if self.talk.keep_session {
            self.note_session(true).await;
            return match connected {
                Some(_) => Subscription::Kept,
                None => Subscription::None,
            };
        }
        match connected {
            Some(true) => Subscription::TakenBack,
            // To take it back now would end our session and leave the meter's subscription on: it would send on the next
            // link before anybody listens, and the service would confirm that.
            Some(false) if by_itself && self.parts.is_bonded().await != Some(false) => {
                self.note_session(true).await;
                Subscription::Kept
            }
            Some(false) => Subscription::TakenBack,
            None => {
                if by_itself {
                    self.note_session(true).await;
                }
                Subscription::None
            }
        }
    }

    /// Ends every subscription, so that the next link's first indication waits for its listener.
    async fn unsubscribe(&mut self) {
        let mut subscribed = std::mem::take(&mut self.subscribed);
        if subscribed.is_empty() {
            // One that stood before the link, which came to nothing.
            let kind = self.meter.kind;
            subscribed.extend(self.characteristic(kind.service(), kind.characteristic()));
        }
        let mut told = !subscribed.is_empty();
        for characteristic in subscribed {
            let limit = self.parts.link.settings.operation_ms;
            let result = within(limit, "unsubscribe", self.peripheral.unsubscribe(&characteristic)).await;
            if let Err(fault) = result {
                // Of a meter that has gone, there is nothing to unsubscribe from.
                tracing::debug!(meter.id = %self.meter.id, error = chain(&fault), "unsubscribing failed");
                told = false;
            }
        }
        if self.meter.kind.sends_by_itself() {
            // A meter that went in the middle may not have heard of it.
            let told = told && self.is_connected().await == Some(true);
            let left_on = !told && self.parts.is_bonded().await != Some(false);
            self.note_session(left_on).await;
        }
    }

    /// Hands on what was heard before the end but not yet read from the stream.
    pub(super) async fn hand_on_stragglers(&mut self) -> Result<(), LinkFault> {
        let handing_on = async {
            while let Ok(Some(value)) = timeout(STRAGGLERS, self.values.next()).await {
                let taken = self.take_ready(value);
                self.hand_on(taken).await?;
            }
            Ok(())
        };
        timeout(GOODBYE, handing_on).await.unwrap_or_else(|_| {
            Err(LinkFault::NoAnswer {
                attempted: "write down the last of what a meter sent",
                after_ms: u64::try_from(GOODBYE.as_millis()).unwrap_or(u64::MAX),
            })
        })
    }
}
