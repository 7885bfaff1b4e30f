//! Who may write next on SQLite: one writer, in the order staff actions, live lane, replay lane (page 4).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::{Fault, FaultKind};
use crate::limits::MAX_WRITERS_WAITING;
use crate::store::Priority;

/// The queue in front of the one writer.
#[derive(Debug, Default)]
pub(crate) struct Gate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    busy: bool,
    /// Best first, as [`Priority`] is declared.
    waiting: [VecDeque<oneshot::Sender<Permit>>; 3],
}

/// The right to write, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Arc<Gate>,
    /// Cleared when the permit could not be handed over, so that dropping it does not pass it on a second time.
    held: bool,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.held {
            pass_on(&self.gate);
        }
    }
}

/// Waits for the right to write. Cancel-safe: a permit that arrives at a caller who has gone is passed on.
pub(crate) async fn acquire(gate: &Arc<Gate>, priority: Priority, patience: Duration) -> Result<Permit, Fault> {
    let busy = |why: &'static str| Fault::new("get at the database's writer", FaultKind::Unavailable, why);
    let turn = {
        let mut state = gate.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.busy {
            state.busy = true;
            return Ok(Permit {
                gate: Arc::clone(gate),
                held: true,
            });
        }
        if state.waiting.iter().map(VecDeque::len).sum::<usize>() >= MAX_WRITERS_WAITING {
            return Err(busy("too many callers are waiting"));
        }
        let (hand, turn) = oneshot::channel();
        let [staff, live, replay] = &mut state.waiting;
        match priority {
            Priority::Staff => staff.push_back(hand),
            Priority::Live => live.push_back(hand),
            Priority::Replay => replay.push_back(hand),
        }
        turn
    };
    match tokio::time::timeout(patience, turn).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) => Err(busy("the database was closed")),
        Err(_) => Err(busy("the turn did not come in time")),
    }
}

fn pass_on(gate: &Arc<Gate>) {
    loop {
        let next = {
            let mut state = gate.0.lock().unwrap_or_else(PoisonError::into_inner);
            let next = state.waiting.iter_mut().find_map(VecDeque::pop_front);
            if next.is_none() {
                state.busy = false;
            }
            next
        };
        let Some(hand) = next else { return };
        match hand.send(Permit {
            gate: Arc::clone(gate),
            held: true,
        }) {
            Ok(()) => return,
            // The caller has gone; the next in line gets it.
            Err(mut permit) => permit.held = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn staff_go_before_the_live_lane_and_that_before_the_replay_lane() {
        let gate = Arc::new(Gate::default());
        let first = acquire(&gate, Priority::Replay, PATIENCE).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut callers = tokio::task::JoinSet::new();
        for priority in [Priority::Replay, Priority::Live, Priority::Staff, Priority::Live] {
            let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
            callers.spawn(async move {
                let _permit = acquire(&gate, priority, PATIENCE).await.unwrap();
                order.lock().unwrap().push(priority);
            });
            tokio::task::yield_now().await;
        }
        drop(first);
        while let Some(done) = callers.join_next().await {
            done.unwrap();
        }
        assert_eq!(
            *order.lock().unwrap(),
            [Priority::Staff, Priority::Live, Priority::Live, Priority::Replay]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_gives_up_takes_no_turn_with_it() {
        let gate = Arc::new(Gate::default());
        let first = acquire(&gate, Priority::Staff, PATIENCE).await.unwrap();
        assert!(
            acquire(&gate, Priority::Live, Duration::from_secs(1)).await.is_err(),
            "the turn did not come"
        );
        drop(first);
        let _second = acquire(&gate, Priority::Replay, PATIENCE).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_bounded() {
        let gate = Arc::new(Gate::default());
        let _first = acquire(&gate, Priority::Staff, PATIENCE).await.unwrap();
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..MAX_WRITERS_WAITING {
            let gate = Arc::clone(&gate);
            callers.spawn(async move { acquire(&gate, Priority::Live, PATIENCE).await.is_ok() });
        }
        tokio::task::yield_now().await;
        assert!(acquire(&gate, Priority::Staff, PATIENCE).await.is_err());
    }
}
