//! A person at the staff page: says the PIN, presses its buttons, fills in its forms.

use anyhow::{Context as _, bail};
use carepost_sim::control::Client as SimClient;

use crate::programs::{Program, run_to_end};
use crate::wait::wait_for;
use crate::world::SOON;

/// The PIN of every world that has one.
pub const PIN: &str = "730915";

/// The `--set` value that gives the staff page its PIN, made by the gateway's own command.
///
/// # Errors
/// When the command fails.
pub async fn pin_setting() -> anyhow::Result<String> {
    let output = run_to_end(Program::Gateway, &["staff-pin"], &[], &format!("{PIN}\n")).await?;
    let out = String::from_utf8(output.stdout).context("staff-pin prints text")?;
    let line = out
        .lines()
        .find(|line| line.starts_with("pin_hash"))
        .with_context(|| format!("staff-pin prints a line for the configuration: {out:?}"))?;
    let (_, hash) = line.split_once(" = ").context("a key and its value")?;
    Ok(format!("staff.pin_hash={hash}"))
}

/// A browser in front of the staff page, without script.
#[derive(Debug, Clone)]
pub struct StaffPage {
    base: String,
    client: reqwest::Client,
}

/// What the person sees.
#[derive(Debug, Clone)]
pub struct StaffScreen {
    /// Which screen it is, such as `meters` or `running`.
    pub name: String,
    /// Its whole text as HTML.
    pub html: String,
    token: String,
}

impl StaffScreen {
    /// The pairing is over, one way or the other.
    #[must_use]
    pub fn is_over(&self) -> bool {
        ["failed", "paired", "done"].contains(&self.name.as_str())
    }

    /// The form with this address, up to its end; empty if there is none.
    fn form_of(&self, address: &str) -> &str {
        let (_, rest) = self
            .html
            .split_once(&format!("name=\"address\" value=\"{address}\""))
            .unwrap_or_default();
        rest.split_once("</form>").map_or("", |(form, _)| form)
    }

    /// A hidden field of the form that is sent to `action`.
    fn hidden(&self, action: &str, name: &str) -> Option<&str> {
        let (_, form) = self.html.split_once(&format!("action=\"{action}\""))?;
        let (form, _) = form.split_once("</form>")?;
        let (_, value) = form.split_once(&format!("type=\"hidden\" name=\"{name}\" value=\""))?;
        value.split_once('"').map(|(value, _)| value)
    }

    /// Whether a text is to be seen.
    #[must_use]
    pub fn says(&self, words: &str) -> bool {
        self.html.contains(words)
    }
}

impl StaffPage {
    /// The staff page at the kiosk's `address`.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn at(address: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .cookie_store(true)
            .build()
            .context("building the HTTP client")?;
        Ok(Self {
            base: format!("http://{address}"),
            client,
        })
    }

    /// Says the PIN, and chooses English.
    ///
    /// # Errors
    /// When the page does not open.
    pub async fn enter(&self) -> anyhow::Result<StaffScreen> {
        let door = self.look().await?;
        let inside = self.press(&door, "/staff/enter", &[("pin", PIN)]).await?;
        if inside.name == "door" {
            bail!("the staff page stays closed: {}", inside.html);
        }
        self.press(&inside, "/staff/language", &[("language", "en")]).await
    }

    /// Looks at the page.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn look(&self) -> anyhow::Result<StaffScreen> {
        let answer = self.client.get(format!("{}/staff", self.base)).send().await?;
        read(answer.error_for_status()?).await
    }

    /// Presses a button of a screen; gives what is to be seen then.
    ///
    /// # Errors
    /// When the page does not answer with a screen.
    pub async fn press(
        &self,
        screen: &StaffScreen,
        action: &str,
        fields: &[(&str, &str)],
    ) -> anyhow::Result<StaffScreen> {
        let mut form = vec![("token", screen.token.as_str())];
        // What is registered is the meter that the form was drawn for.
        if action == "/staff/register" {
            form.extend(screen.hidden(action, "address").map(|address| ("address", address)));
        }
        form.extend_from_slice(fields);
        let answer = self
            .client
            .post(format!("{}{action}", self.base))
            .form(&form)
            .send()
            .await
            .with_context(|| format!("pressing {action}"))?;
        let status = answer.status();
        read(answer)
            .await
            .with_context(|| format!("{action} answered with {status}"))
    }

    /// Waits for a screen that fits.
    ///
    /// # Errors
    /// When none comes.
    pub async fn wait_for(&self, what: &str, fits: impl Fn(&StaffScreen) -> bool) -> anyhow::Result<StaffScreen> {
        self.wait_long(what, SOON, fits).await
    }

    /// As [`wait_for`](Self::wait_for), for as long as is said.
    ///
    /// # Errors
    /// When none comes.
    pub async fn wait_long(
        &self,
        what: &str,
        deadline: std::time::Duration,
        fits: impl Fn(&StaffScreen) -> bool,
    ) -> anyhow::Result<StaffScreen> {
        let mut last = None;
        let found = wait_for(what, deadline, async || {
            let screen = self.look().await?;
            let found = fits(&screen).then(|| screen.clone());
            last = Some(screen);
            Ok(found)
        })
        .await;
        found.with_context(|| format!("the staff page shows {:?}", last.map(|screen| screen.html)))
    }

    /// Begins to pair a meter that is listed.
    ///
    /// # Errors
    /// When it does not come to be listed.
    pub async fn pair(&self, address: &str) -> anyhow::Result<StaffScreen> {
        let list = self
            .wait_for(&format!("{address} on the list"), |screen| {
                screen.name == "meters" && screen.says(&format!("name=\"address\" value=\"{address}\""))
            })
            .await?;
        self.begin(&list, "pair", address).await
    }

    /// Begins something with a meter by its address, as the form of the screen has it, if there is one.
    ///
    /// # Errors
    /// When the page refuses.
    pub async fn begin(&self, screen: &StaffScreen, goal: &str, address: &str) -> anyhow::Result<StaffScreen> {
        let form = screen.form_of(address);
        let field = |name: &str| between(form, &format!("name=\"{name}\" value=\""), "\"").unwrap_or_default();
        let kind = Some(field("address_type")).filter(|kind| !kind.is_empty());
        let fields = [
            ("goal", goal),
            ("address", address),
            ("address_type", kind.unwrap_or("public")),
            ("adapter", field("adapter")),
            ("name", "Meter"),
        ];
        self.press(screen, "/staff/pair", &fields).await
    }

    /// Follows a pairing that was begun until it is over, and does what the page and the meter ask for: types the meter's
    /// digits here, the page's digits on the meter, and says on both that equal numbers are equal.
    ///
    /// # Errors
    /// When it does not come to an end.
    pub async fn follow(&self, meters: &mut SimClient, meter: &str) -> anyhow::Result<StaffScreen> {
        let mut answered = String::new();
        wait_for("the end of the pairing", SOON, async || {
            let screen = self.look().await?;
            if screen.is_over() {
                return Ok(Some(screen));
            }
            let question = between(&screen.html, "<h2>", "</h2>").unwrap_or_default().to_owned();
            if question.is_empty() || question == answered {
                return Ok(None);
            }
            let display = meters.display(meter).await?;
            let shown = between(&screen.html, "class=\"digits\">", "<").map(str::to_owned);
            match (display.shows, shown) {
                // It may be over on the one side and not yet seen to be on the other.
                (Some(digits), None) => {
                    self.press(&screen, "/staff/passkey", &[("passkey", &digits)]).await?;
                }
                (Some(digits), Some(shown)) if digits == shown => {
                    if display.asks_confirmation {
                        meters.confirm_pairing(meter, true).await?;
                    }
                    self.press(&screen, "/staff/confirm", &[("answer", "yes")]).await?;
                }
                (None, Some(shown)) if display.asks_passkey => meters.type_passkey(meter, &shown).await?,
                _ => return Ok(None),
            }
            answered = question;
            Ok(None)
        })
        .await
        .with_context(|| format!("pairing {meter}, after {answered:?}"))
    }
}

async fn read(answer: reqwest::Response) -> anyhow::Result<StaffScreen> {
    let html = answer.text().await?;
    let name = between(&html, "class=\"screen-staff-", "\"")
        .with_context(|| format!("a screen of the staff page: {html}"))?
        .to_owned();
    let token = between(&html, "name=\"token\" value=\"", "\"")
        .unwrap_or_default()
        .to_owned();
    Ok(StaffScreen { name, html, token })
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}
