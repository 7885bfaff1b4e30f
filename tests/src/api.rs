//! The server's JSON API as a member of staff uses it.

use anyhow::{Context as _, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// A signed-in session.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    client: reqwest::Client,
    csrf: String,
}

/// An answer that is not a success.
#[derive(Debug, thiserror::Error)]
#[error("{method} {path} answered {status}: {body}")]
pub struct Refused {
    /// The request's method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// The status.
    pub status: StatusCode,
    /// The problem document.
    pub body: Value,
}

impl Api {
    /// Signs in at `http://ADDRESS`.
    ///
    /// # Errors
    /// When the server refuses or cannot be reached.
    pub async fn sign_in(address: &str, login: &str, password: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .cookie_store(true)
            .no_proxy()
            .build()
            .context("building the HTTP client")?;
        let mut api = Self {
            base: format!("http://{address}"),
            client,
            csrf: String::new(),
        };
        let answer = api
            .post("/api/v1/login", &json!({"login": login, "password": password}))
            .await?;
        answer["csrf"]
            .as_str()
            .context("the answer to a login has a csrf")?
            .clone_into(&mut api.csrf);
        Ok(api)
    }

    /// The server's address with its scheme.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The HTTP client with the session's cookie.
    #[must_use]
    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// The session's CSRF token.
    #[must_use]
    pub fn csrf(&self) -> &str {
        &self.csrf
    }

    /// Reads.
    ///
    /// # Errors
    /// [`Refused`] when the answer is no success.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::GET, path, None).await
    }

    /// Writes.
    ///
    /// # Errors
    /// [`Refused`] when the answer is no success.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(Method::POST, path, Some(body)).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.header("X-CSRF-Token", &self.csrf).json(body);
        }
        let response = request.send().await.with_context(|| format!("{method} {path}"))?;
        let status = response.status();
        let text = response
            .text()
            .await
            .with_context(|| format!("reading the answer to {method} {path}"))?;
        let body = if text.is_empty() {
            Value::Null
        } else {
            match serde_json::from_str(&text) {
                Ok(value) => value,
                Err(_) => bail!("{method} {path} answered {status} with something that is not JSON: {text}"),
            }
        };
        if status.is_success() {
            Ok(body)
        } else {
            Err(Refused {
                method: method.to_string(),
                path: path.to_owned(),
                status,
                body,
            }
            .into())
        }
    }
}
