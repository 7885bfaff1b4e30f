//! What the staff page knows and does, apart from how it looks: who is in, what is near, what is registered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carepost_contract::v1::Register;
use carepost_domain::id::MeterId;
use carepost_domain::meter::{Address, AddressType, meter_id};
use tokio::sync::Semaphore;

use super::pin::{Tries, check_pin};
use super::register::{Hindrance, Said, build};
use super::session::{Sessions, new_token};
use crate::app::Parts;
use crate::kiosk::Language;
use crate::pairing::{Details, Outcome, Pairing, View};
use crate::spool::{Registration, RegistrationError, SpoolError};

/// The staff page. Cloning is cheap; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Staff {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    parts: Parts,
    pairing: Pairing,
    /// Carried by forms that are drawn before anybody is in.
    door_token: String,
    /// Carried by the command line.
    api_token: String,
    state: Mutex<State>,
    /// PINs are checked one at a time: checking is slow on purpose.
    checking: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    sessions: Sessions,
    tries: Tries,
    language: Language,
}

/// What came of a PIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Right; the token of the session.
    In(String),
    Wrong,
    /// No try before this time has passed.
    Closed(Duration),
    /// The page has no PIN.
    NotSetUp,
}

impl Staff {
    /// The page of a daemon; `api_token` is what the command line proves itself by.
    pub(crate) fn new(parts: Parts, pairing: Pairing, api_token: String) -> Self {
        let door_token = new_token(&parts.entropy);
        Self {
            inner: Arc::new(Inner {
                parts,
                pairing,
                door_token,
                api_token,
                state: Mutex::default(),
                checking: Semaphore::new(1),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.inner.parts
    }

    pub(crate) fn pairing(&self) -> &Pairing {
        &self.inner.pairing
    }

    pub(crate) fn door_token(&self) -> &str {
        &self.inner.door_token
    }

    pub(crate) fn api_token(&self) -> &str {
        &self.inner.api_token
    }

    pub(crate) fn now(&self) -> Duration {
        self.inner.parts.clock.monotonic()
    }

    pub(crate) fn is_set_up(&self) -> bool {
        !self.inner.parts.config.staff.pin_hash.expose().is_empty()
    }

    pub(crate) fn language(&self) -> Language {
        self.state().language
    }

    pub(crate) fn set_language(&self, language: Language) {
        self.state().language = language;
    }

    fn idle(&self) -> Duration {
        Duration::from_millis(self.inner.parts.config.staff.idle_ms)
    }

    /// The form token of a session that goes on.
    pub(crate) fn session(&self, token: &str, by_person: bool) -> Option<String> {
        let (now, idle) = (self.now(), self.idle());
        self.state().sessions.form_token(token, now, idle, by_person)
    }

    /// Somebody says the PIN.
    pub(crate) async fn enter(&self, pin: String) -> Entry {
        let hash = self.inner.parts.config.staff.pin_hash.expose().to_owned();
        if hash.is_empty() {
            return Entry::NotSetUp;
        }
        // The semaphore is never closed.
        let Ok(_turn) = self.inner.checking.acquire().await else {
            return Entry::Wrong;
        };
        {
            let now = self.now();
            let mut state = self.state();
            if let Some(left) = state.tries.closed_for(now) {
                return Entry::Closed(left);
            }
            state.tries.begin(now);
        }
        let checked = tokio::task::spawn_blocking(move || check_pin(&pin, &hash)).await;
        match checked {
            Ok(Ok(true)) => {
                let (now, idle) = (self.now(), self.idle());
                let mut state = self.state();
                state.tries.right();
                tracing::info!("staff page opened");
                Entry::In(state.sessions.begin(now, idle, &self.inner.parts.entropy))
            }
            Ok(Ok(false)) => {
                tracing::warn!("wrong pin at the staff page");
                match self.state().tries.closed_for(self.now()) {
                    Some(left) => Entry::Closed(left),
                    None => Entry::Wrong,
                }
            }
            Ok(Err(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a pin could not be checked");
                Entry::Wrong
            }
            Err(error) => {
                tracing::error!(error = %error, "a pin could not be checked");
                Entry::Wrong
            }
        }
    }

    /// Ends a session.
    pub(crate) fn leave(&self, token: &str) {
        self.state().sessions.end(token);
    }

    /// What was just paired and is not registered: what a registration may be made of.
    pub(crate) fn paired(&self) -> Option<Details> {
        match self.inner.pairing.view() {
            View::Over {
                outcome: Outcome::Paired(details),
                ..
            } => Some(*details),
            _ => None,
        }
    }

    /// Whether the copy has a meter at this address.
    pub(crate) fn is_registered(&self, address: Address, address_type: AddressType) -> bool {
        let copy = self.inner.parts.spool.down();
        copy.meter_at(address, address_type).is_some()
    }

    /// Registrations that are not settled, by meter.
    pub(crate) async fn registrations(&self) -> Result<HashMap<MeterId, Registration>, SpoolError> {
        let list = self.inner.parts.spool.registrations().await?;
        Ok(list
            .into_iter()
            .map(|registration| (registration.register.meter.id, registration))
            .collect())
    }

    /// Registers what was just paired, and closes the pairing.
    pub(crate) async fn register(&self, said: &Said) -> Result<Register, Hindrance> {
        let details = self.paired().ok_or(Hindrance::NoMeter)?;
        let parts = &self.inner.parts;
        let copy = parts.spool.down();
        let register = build(&copy, parts.identity.gateway(), &details, said, parts.clock.now())?;
        match parts.spool.put_registration(&register).await {
            Ok(()) => {
                let meter = meter_id(details.address, details.address_type);
                tracing::info!(
                    meter.id = %meter,
                    role = said.role.code(),
                    only_ever = said.only_ever,
                    "meter is registered here"
                );
                self.inner.pairing.dismiss().await;
                Ok(register)
            }
            Err(RegistrationError::TooMany) => Err(Hindrance::TooMany),
            Err(RegistrationError::Bad(_)) => Err(Hindrance::Slots),
            Err(RegistrationError::Spool(error)) => {
                tracing::error!(error = crate::admit::chain(&error), "a registration could not be kept");
                Err(Hindrance::Disk)
            }
        }
    }
}
