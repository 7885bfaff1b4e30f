//! Puts the server together: everything that runs for long is started here, by name.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use carepost_daemon::{CancellationToken, Clock, Entropy, Lifecycle};
use carepost_domain::care::rule_set::RuleSet;
use carepost_store::{Store, StoreConfig};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::auth::Passwords;
use crate::broker::{Broker, Inbox};
use crate::config::Config;
use crate::http::Gate;
use crate::ingest::{batches, control, down, gatekeeper, presence};
use crate::jobs::{sealer, worker};
use crate::telemetry::Counters;
use crate::{api, rules, web};

/// What every handler and every task works with. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct AppState {
    /// The configuration.
    pub config: Arc<Config>,
    /// The database.
    pub store: Store,
    /// The clinical rules in force.
    pub rules: Arc<RuleSet>,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// What this process counts.
    pub counters: Counters,
    /// The way to gateways.
    pub broker: Broker,
    /// Password checks.
    pub passwords: Passwords,
    /// Cancelled when the server begins to stop; event streams end with it.
    pub stopping: CancellationToken,
}

/// A server that listens.
#[derive(Debug)]
pub struct Running {
    /// Where pages and API are.
    pub http: SocketAddr,
    /// Where gateways connect.
    pub mqtt: SocketAddr,
    /// What it works with. Close the store when everything has stopped.
    pub state: AppState,
}

/// Opens the database of a configuration, with its schema brought up to date.
///
/// # Errors
/// When the folder cannot be made or the database not be opened.
pub async fn open_store(config: &Config) -> anyhow::Result<Store> {
    if config.database.url.is_empty() {
        std::fs::create_dir_all(&config.data_dir)
            .with_context(|| format!("cannot make the data folder {}", config.data_dir.display()))?;
    }
    let mut settings = StoreConfig::new(config.database_url());
    settings.max_connections = config.database.max_connections;
    settings.acquire_timeout = Duration::from_millis(config.database.acquire_timeout_ms);
    Store::open(&settings).await.context("cannot open the database")
}

/// Starts everything under `lifecycle`. When this returns, both listeners answer.
///
/// # Errors
/// When the rules cannot be read, the database not be opened, or an address not be listened at.
pub async fn start(
    config: Config,
    clock: Clock,
    entropy: Entropy,
    lifecycle: &mut Lifecycle,
) -> anyhow::Result<Running> {
    let config = Arc::new(config);
    let rules = Arc::new(rules::load(&config.rules)?);
    let store = open_store(&config).await?;
    store.all_gateways_offline().await.context("cannot reset presence")?;
    let passwords = Passwords::new(config.login.parallel_checks, entropy.clone()).context("cannot hash passwords")?;
    let listener = TcpListener::bind(config.http.listen)
        .await
        .with_context(|| format!("cannot listen for HTTP at {}", config.http.listen))?;
    let http = listener.local_addr().context("cannot tell the HTTP address")?;
    let counters = Counters::default();
    let (broker, inbox) = Broker::start(config.mqtt.broker(), clock.clone(), counters.clone())?;
    let mqtt = broker.address();
    let state = AppState {
        config,
        store,
        rules,
        clock,
        entropy,
        counters,
        broker,
        passwords,
        stopping: lifecycle.soft(),
    };

    let Inbox {
        connects,
        live,
        replay,
        control,
    } = inbox;
    let soft = || lifecycle.soft();
    let (greetings, greetings_end) = mpsc::channel(down::GREETINGS);
    let ingested = CancellationToken::new();
    let tasks: Vec<(&'static str, Task)> = vec![
        ("gatekeeper", Box::pin(gatekeeper::run(state.clone(), connects, soft()))),
        ("ingest", {
            // Dropped when the last batch in hand is done, or the task has ended in any other way.
            let done = ingested.clone().drop_guard();
            let batches = batches::run(state.clone(), live, replay, soft());
            Box::pin(async move {
                let _done = done;
                batches.await
            })
        }),
        (
            "control",
            Box::pin(control::run(state.clone(), control, greetings, soft())),
        ),
        ("down", Box::pin(down::run(state.clone(), greetings_end, soft()))),
        ("presence", Box::pin(presence::run(state.clone(), soft()))),
        ("jobs", Box::pin(worker::run(state.clone(), soft()))),
        ("sealer", Box::pin(sealer::run(state.clone(), soft()))),
        ("mqtt", {
            let (broker, soft, hard) = (state.broker.clone(), soft(), lifecycle.hard());
            Box::pin(async move {
                tokio::select! {
                    // Either it is told to stop, or it is an error that it has stopped.
                    () = broker.ended() => anyhow::bail!("the mqtt endpoint has ended by itself"),
                    () = soft.cancelled() => {}
                }
                // Batches in hand are committed and acknowledged before connections end.
                tokio::select! {
                    () = ingested.cancelled() => {}
                    () = hard.cancelled() => {}
                }
                broker.stop().await;
                Ok(())
            })
        }),
        ("http", {
            let router = api::router(&state, web::routes());
            let gate = Gate::new(listener, state.config.http.max_connections);
            let (soft, hard) = (soft(), lifecycle.hard());
            Box::pin(async move {
                let serving = async {
                    axum::serve(gate, router)
                        .with_graceful_shutdown(soft.cancelled_owned())
                        .await
                };
                tokio::select! {
                    served = serving => served.context("the http listener failed"),
                    () = hard.cancelled() => Ok(()),
                }
            })
        }),
    ];
    for (name, task) in tasks {
        lifecycle.spawn(name, task);
    }
    tracing::info!(
        %http,
        %mqtt,
        engine = state.store.engine_name(),
        rules = state.rules.reference.id,
        "server started"
    );
    Ok(Running { http, mqtt, state })
}

type Task = std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;
