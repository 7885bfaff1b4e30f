//! `GET /queue/events`: says that something changed, never what. The script then asks for the rows, under the same
//! checks as everybody, so that no health data is in the stream.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::AppState;
use crate::auth;
use crate::telemetry::chain;
use crate::web::failure::Failure;
use crate::web::visitor::Colleague;

/// How often each stream looks at the change counter. An alert is to be seen within 250 ms when idle (page 4, "Speed to
/// reach"); half of that on average.
const POLL: Duration = Duration::from_millis(200);
/// Sign of life, so that proxies and browsers notice a dead connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How often a stream checks that its login is still open.
const LOGIN_CHECK: Duration = Duration::from_secs(15);
/// Streams at a time; a browser beyond it refreshes by the clock.
const MAX_STREAMS: usize = 256;

/// The places for streams.
#[derive(Clone, Debug)]
pub(crate) struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_STREAMS)))
    }
}

/// One stream.
struct Watch {
    state: AppState,
    headers: HeaderMap,
    seen: i64,
    login_checked: Duration,
    _place: OwnedSemaphorePermit,
}

/// Opens a stream.
pub(crate) async fn get(
    State(state): State<AppState>,
    Extension(streams): Extension<Streams>,
    _colleague: Colleague,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let place = streams.0.try_acquire_owned().map_err(|_full| Failure::Unavailable)?;
    // Read before the answer begins: the script asks for the rows when the stream opens, so that no change between the
    // two is missed.
    let seen = state.store.queue_version().await?;
    let login_checked = state.clock.monotonic();
    let watch = Watch {
        state,
        headers,
        seen,
        login_checked,
        _place: place,
    };
    let events = futures_util::stream::unfold(watch, |mut watch| async move {
        let version = watch.next().await?;
        Some((Ok(Event::default().event("changed").data(version.to_string())), watch))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

impl Watch {
    /// Waits for the next change; `None` ends the stream, and the browser comes back by itself.
    async fn next(&mut self) -> Option<i64> {
        loop {
            // Nothing is lost when either branch is dropped: a look at a counter is repeated.
            tokio::select! {
                () = self.state.stopping.cancelled() => return None,
                () = tokio::time::sleep(POLL) => {}
            }
            if !self.still_logged_in().await {
                return None;
            }
            match self.state.store.queue_version().await {
                Ok(version) if self.seen == version => {}
                Ok(version) => {
                    self.seen = version;
                    return Some(version);
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "queue version could not be read");
                    return None;
                }
            }
        }
    }

    async fn still_logged_in(&mut self) -> bool {
        let now = self.state.clock.monotonic();
        if now.saturating_sub(self.login_checked) < LOGIN_CHECK {
            return true;
        }
        self.login_checked = now;
        match auth::current(&self.state, &self.headers).await {
            Ok(found) => found.is_some(),
            Err(error) => {
                tracing::warn!(error = chain(&error), "login of an event stream could not be checked");
                false
            }
        }
    }
}
