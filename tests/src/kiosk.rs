//! A person at the kiosk: looks at the screen, presses its buttons.

use anyhow::{Context as _, bail};

use crate::wait::wait_for;
use crate::world::SOON;

/// A browser in front of the kiosk's page, without script.
#[derive(Debug, Clone)]
pub struct Kiosk {
    base: String,
    client: reqwest::Client,
}

/// What the person sees.
#[derive(Debug, Clone)]
pub struct Screen {
    /// Which screen it is, such as `start` or `result`.
    pub name: String,
    /// Its whole text as HTML.
    pub html: String,
    token: String,
    revision: String,
}

impl Screen {
    /// Whether a text is to be seen.
    #[must_use]
    pub fn says(&self, words: &str) -> bool {
        self.html.contains(words)
    }
}

impl Kiosk {
    /// A kiosk whose page is at `address`.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn at(address: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .context("building the HTTP client")?;
        Ok(Self {
            base: format!("http://{address}"),
            client,
        })
    }

    /// Looks at the screen.
    ///
    /// # Errors
    /// When the page does not answer or is no kiosk screen.
    pub async fn look(&self) -> anyhow::Result<Screen> {
        let html = self
            .client
            .get(&self.base)
            .send()
            .await
            .context("looking at the kiosk")?
            .error_for_status()?
            .text()
            .await?;
        let name = between(&html, "class=\"screen-", "\"")
            .context("the kiosk shows a screen")?
            .to_owned();
        // A screen without a form has neither; nothing can be pressed there.
        let token = between(&html, "name=\"token\" value=\"", "\"")
            .unwrap_or_default()
            .to_owned();
        let revision = between(&html, "name=\"revision\" value=\"", "\"")
            .unwrap_or_default()
            .to_owned();
        Ok(Screen {
            name,
            html,
            token,
            revision,
        })
    }

    /// Presses a button of a screen.
    ///
    /// # Errors
    /// When the page refuses.
    pub async fn press(&self, screen: &Screen, action: &str, fields: &[(&str, &str)]) -> anyhow::Result<Screen> {
        let mut form = vec![("token", screen.token.as_str()), ("revision", screen.revision.as_str())];
        form.extend_from_slice(fields);
        let response = self
            .client
            .post(format!("{}{action}", self.base))
            .form(&form)
            .send()
            .await
            .with_context(|| format!("pressing {action}"))?;
        if !response.status().is_success() {
            bail!(
                "the kiosk answered {action} with {}: {}",
                response.status(),
                response.text().await?
            );
        }
        self.look().await
    }

    /// Waits for a screen.
    ///
    /// # Errors
    /// When another one stays.
    pub async fn wait_for(&self, name: &str) -> anyhow::Result<Screen> {
        wait_for(&format!("the kiosk's screen {name:?}"), SOON, async || {
            let screen = self.look().await?;
            Ok((screen.name == name).then_some(screen))
        })
        .await
    }

    /// From the start screen, as a member whose consent is on file, to the screen that waits for the meter.
    ///
    /// # Errors
    /// When a screen is not the expected one.
    pub async fn sit_down(&self, code: &str) -> anyhow::Result<Screen> {
        let greet = self.identify(code).await?;
        let prepare = self.press(&greet, "/consent", &[("choice", "granted")]).await?;
        self.prepared(prepare).await
    }

    /// From the start screen to the greeting of a member.
    ///
    /// # Errors
    /// When a screen is not the expected one.
    pub async fn identify(&self, code: &str) -> anyhow::Result<Screen> {
        let start = self.wait_for("start").await?;
        let entry = self.press(&start, "/begin", &[("as", "member")]).await?;
        let greet = self.press(&entry, "/identify", &[("code", code)]).await?;
        expect(greet, "greet")
    }

    /// From the start screen, without a name, to the screen that waits for the meter.
    ///
    /// # Errors
    /// When a screen is not the expected one.
    pub async fn sit_down_anonymously(&self) -> anyhow::Result<Screen> {
        let start = self.wait_for("start").await?;
        let prepare = self.press(&start, "/begin", &[("as", "anonymous")]).await?;
        self.prepared(prepare).await
    }

    /// From the preparation to the screen that waits for the meter; a meter that is still connected is waited for.
    ///
    /// # Errors
    /// When a screen is not the expected one.
    pub async fn prepared(&self, screen: Screen) -> anyhow::Result<Screen> {
        let prepare = if screen.name == "prepare" {
            screen
        } else {
            self.wait_for("prepare").await?
        };
        let measure = expect(self.press(&prepare, "/ready", &[]).await?, "measure")?;
        next_second().await;
        Ok(measure)
    }

    /// Ends the sitting.
    ///
    /// # Errors
    /// When the page refuses, or the start screen does not come.
    pub async fn end(&self) -> anyhow::Result<Screen> {
        // A form that was drawn before the screen changed does nothing, by design: look again and press again.
        wait_for("the kiosk's start screen", SOON, async || {
            let screen = self.look().await?;
            if screen.name == "start" {
                return Ok(Some(screen));
            }
            Ok(Some(self.press(&screen, "/end", &[]).await?).filter(|after| after.name == "start"))
        })
        .await
    }
}

/// Meters keep whole seconds: what is measured in the second in which one person left and the next sat down is nobody's.
/// People take longer; a test waits for the next second.
async fn next_second() {
    let clock = carepost_daemon::Clock::system();
    let now = clock.now().timestamp();
    while clock.now().timestamp() == now {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn expect(screen: Screen, name: &str) -> anyhow::Result<Screen> {
    if screen.name != name {
        bail!("the kiosk shows {:?}, not {name:?}", screen.name);
    }
    Ok(screen)
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}
