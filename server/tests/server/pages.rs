//! The pages for staff, over HTTP: what a browser sees, and what it may not do.

use std::time::Duration;

use carepost_contract::v1::Item;
use carepost_domain::Id;
use carepost_domain::id::{MemberId, MeterId, SittingId};
use carepost_store::model::StaffRole;
use chrono::TimeDelta;
use reqwest::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, SET_COOKIE};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::harness::{Answer, Browser, Gateway, PASSWORD, Server, item, pressure};
use crate::wire::PATIENCE;

const FORM: &str = "application/x-www-form-urlencoded";

/// A server, a logged-in pharmacist, and a member who may be called.
struct World {
    server: Server,
    pharmacist: Browser,
    member: MemberId,
    cuff: MeterId,
    gateway: Gateway,
}

impl World {
    async fn new() -> Self {
        let server = Server::start().await;
        let pharmacist = server.pharmacist().await;
        let member = pharmacist.add_member("CP-0001", server.store).await;
        pharmacist.grant(member, "care_record").await;
        let cuff = pharmacist.shared_cuff(server.store).await;
        let gateway = server.enrol(1).await;
        Self {
            server,
            pharmacist,
            member,
            cuff,
            gateway,
        }
    }

    /// A pair at or above the severe limit, a minute ago; opens a critical alert.
    async fn severe_pair(&self) {
        let sitting: SittingId = Id::from_uuid(uuid::Uuid::from_u128(9));
        let mut link = self.gateway.enter(0).await;
        let now = self.server.state.clock.now();
        let reading = |values, seconds| -> Item {
            item(pressure(
                self.cuff,
                self.member,
                sitting,
                values,
                now - TimeDelta::seconds(seconds),
            ))
        };
        let batch = self
            .gateway
            .batch(1, vec![reading((186, 114), 120), reading((184, 112), 60)]);
        let receipt = link.deliver(&batch).await;
        assert!(receipt.rejected.is_empty(), "{receipt:?}");
    }

    /// The address of the one alert in the queue.
    async fn alert(&self) -> String {
        let queue = text(&self.pharmacist.get("/queue").await);
        let id = between(&queue, r#"data-href="/alerts/"#, "\"");
        format!("/alerts/{id}")
    }
}

fn text(answer: &Answer) -> String {
    answer.body.as_str().unwrap_or_default().to_owned()
}

fn between(text: &str, before: &str, after: &str) -> String {
    let (_, rest) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split_once(after).unwrap().0.to_owned()
}

/// The fields of the first form on a page that posts to an address that ends so.
fn fields(page: &str, end: &str) -> (String, Vec<(String, String)>) {
    let form = page
        .split("<form ")
        .find(|form| form.split('>').next().unwrap().contains(&format!("{end}\"")));
    let form = form
        .unwrap_or_else(|| panic!("no form to {end} in {page}"))
        .split("</form>")
        .next()
        .unwrap();
    let hidden = form.split("<input type=\"hidden\" ").skip(1);
    let fields = hidden
        .map(|input| (between(input, "name=\"", "\""), between(input, "value=\"", "\"")))
        .collect();
    (between(form, "action=\"", "\""), fields)
}

fn encoded(fields: &[(String, String)]) -> Vec<u8> {
    let escape = |text: &str| -> String {
        text.bytes()
            .map(|b| {
                if b.is_ascii_alphanumeric() {
                    char::from(b).to_string()
                } else {
                    format!("%{b:02X}")
                }
            })
            .collect()
    };
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect();
    pairs.join("&").into_bytes()
}

async fn submit(browser: &Browser, address: &str, fields: &[(String, String)]) -> Answer {
    browser.send(Method::POST, address, Some((FORM, encoded(fields)))).await
}

fn set(fields: &mut Vec<(String, String)>, name: &str, value: &str) {
    fields.retain(|(known, _)| known != name);
    fields.push((name.to_owned(), value.to_owned()));
}

async fn log_in(browser: &Browser, login: &str, password: &str) -> Answer {
    let page = text(&browser.get("/login").await);
    let (address, mut form) = fields(&page, "/login");
    set(&mut form, "login", login);
    set(&mut form, "password", password);
    submit(browser, &address, &form).await
}

#[tokio::test]
async fn a_pharmacist_logs_in_and_out_by_form() {
    let server = Server::start().await;
    server.add_staff("chen", StaffRole::Pharmacist, server.store).await;
    let browser = server.stranger();
    let asked = browser.get("/queue?view=mine").await;
    assert!(
        text(&asked).contains(r#"name="next" value="/queue?view=mine""#),
        "comes back to where one wanted to go"
    );
    let entered = log_in(&browser, "chen", PASSWORD).await;
    assert_eq!(entered.status, StatusCode::OK);
    assert!(text(&entered).contains("没有待处理的预警"), "{}", text(&entered));
    let (address, form) = fields(&text(&entered), "/logout");
    submit(&browser, &address, &form).await;
    assert!(text(&browser.get("/queue").await).contains("name=\"password\""));
    server.stop().await;
}

#[tokio::test]
async fn a_refused_login_does_not_tell_whether_the_name_exists() {
    let server = Server::start().await;
    server.add_staff("chen", StaffRole::Pharmacist, server.store).await;
    let mut pages = Vec::new();
    for login in ["chen", "nobody"] {
        let refused = log_in(&server.stranger(), login, "wrong password").await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        let page = text(&refused);
        let token = fields(&page, "/login")
            .1
            .into_iter()
            .find(|(name, _)| name == "csrf")
            .unwrap()
            .1;
        pages.push(page.replace(&token, "").replace(login, ""));
    }
    assert_eq!(pages[0], pages[1]);
    let browser = server.stranger();
    let (address, mut form) = fields(&text(&browser.get("/login").await), "/login");
    set(&mut form, "csrf", "forged");
    set(&mut form, "login", "chen");
    set(&mut form, "password", PASSWORD);
    assert_eq!(
        submit(&browser, &address, &form).await.status,
        StatusCode::FORBIDDEN,
        "a form that is not ours"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_critical_pair_is_taken_acknowledged_and_settled_on_the_pages() {
    let world = World::new().await;
    world.severe_pair().await;
    let queue = text(&world.pharmacist.get("/queue").await);
    assert!(
        queue.contains("185/113") && queue.contains("王**") && queue.contains("BP-02"),
        "{queue}"
    );
    assert!(!queue.contains("王秀英"), "names are masked in lists");
    assert!(
        queue.contains("<line class=\"pair last\""),
        "the session is in the small drawing"
    );

    let (take, form) = fields(&queue, "/take");
    let after = submit(&world.pharmacist, &take, &form).await;
    assert!(text(&after).contains("由我负责"), "back on the queue");
    let alert = world.alert().await;
    let (acknowledge, form) = fields(&text(&after), "/acknowledge");
    let after = text(&submit(&world.pharmacist, &acknowledge, &form).await);
    assert!(after.contains("已确认") && !after.contains("data-step=\"acknowledge\""));

    let page = text(&world.pharmacist.get(&alert).await);
    assert!(
        page.contains("186/114") && page.contains("cn-2024"),
        "evidence and rule set"
    );
    let (outcome, mut form) = fields(&page, "/outcome");
    set(&mut form, "outcome", "callback_agreed");
    set(&mut form, "note", "calls again");
    let missing = submit(&world.pharmacist, &outcome, &form).await;
    assert_eq!(missing.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(text(&missing).contains("calls again"), "nothing has to be typed twice");
    set(&mut form, "outcome", "reached_advised");
    let done = submit(&world.pharmacist, &outcome, &form).await;
    assert_eq!(done.status, StatusCode::OK);
    assert!(text(&done).contains("已联系并提醒"), "{}", text(&done));
    world.server.stop().await;
}

#[tokio::test]
async fn who_comes_second_sees_what_changed() {
    let world = World::new().await;
    world.severe_pair().await;
    let alert = world.alert().await;
    let second = world
        .server
        .enter("second", StaffRole::Pharmacist, world.server.store)
        .await;
    let seen = text(&second.get(&alert).await);
    let (take, form) = fields(&seen, "/take");
    submit(
        &world.pharmacist,
        &take,
        &fields(&text(&world.pharmacist.get(&alert).await), "/take").1,
    )
    .await;
    let conflict = submit(&second, &take, &form).await;
    assert_eq!(conflict.status, StatusCode::CONFLICT);
    assert!(
        text(&conflict).contains("现由 Name of pharmacist 负责"),
        "{}",
        text(&conflict)
    );
    world.server.stop().await;
}

#[tokio::test]
async fn a_form_without_the_token_does_nothing() {
    let world = World::new().await;
    world.severe_pair().await;
    let queue = text(&world.pharmacist.get("/queue").await);
    for step in ["/take", "/acknowledge"] {
        let (address, mut form) = fields(&queue, step);
        set(&mut form, "csrf", "forged");
        assert_eq!(
            submit(&world.pharmacist, &address, &form).await.status,
            StatusCode::FORBIDDEN
        );
    }
    let after = text(&world.pharmacist.get("/queue").await);
    assert!(after.contains("data-step=\"take\"") && after.contains("data-step=\"acknowledge\""));
    world.server.stop().await;
}

#[tokio::test]
async fn the_telephone_number_needs_its_own_consent() {
    let world = World::new().await;
    let with_phone = json!({
        "code": "CP-0002", "name": "李建国", "birth_year": 1960, "sex": "male",
        "home_store": world.server.store, "phone": "138 0013 8000",
    });
    let member: MemberId = world
        .pharmacist
        .create("/api/v1/members", with_phone)
        .await
        .parse()
        .unwrap();
    world.pharmacist.grant(member, "care_record").await;
    let symptom = json!({ "codes": ["chest_pain"], "source": "staff" });
    world
        .pharmacist
        .post(&format!("/api/v1/members/{member}/symptoms"), symptom)
        .await;
    let alert = world.alert().await;
    let page = text(&world.pharmacist.get(&alert).await);
    assert!(
        page.contains("胸痛") && !page.contains("tel:") && !page.contains("0013"),
        "{page}"
    );
    world.pharmacist.grant(member, "pharmacist_call").await;
    assert!(text(&world.pharmacist.get(&alert).await).contains("href=\"tel:13800138000\""));
    world.server.stop().await;
}

#[tokio::test]
async fn a_withdrawal_empties_the_file_and_closes_the_alert() {
    let world = World::new().await;
    world.severe_pair().await;
    let alert = world.alert().await;
    let file = format!("/members/{}", world.member);
    let page = text(&world.pharmacist.get(&file).await);
    assert!(page.contains("王秀英") && page.contains("185/113") && page.contains("<svg class=\"chart bp\""));
    let withdrawal = json!({ "purpose": "care_record" });
    let path = format!("/api/v1/members/{}/grants/withdraw", world.member);
    assert_eq!(world.pharmacist.post(&path, withdrawal).await.status, StatusCode::OK);
    let page = text(&world.pharmacist.get(&file).await);
    assert!(page.contains("没有同意保存"), "{page}");
    for hidden in ["185/113", "186/114", "mmHg", "class=\"chart", "危急"] {
        assert!(!page.contains(hidden), "{hidden}");
    }
    assert_eq!(world.pharmacist.get(&alert).await.status, StatusCode::NOT_FOUND);
    assert!(text(&world.pharmacist.get("/queue").await).contains("没有待处理的预警"));
    world.server.stop().await;
}

#[tokio::test]
async fn absent_and_forbidden_look_the_same() {
    let world = World::new().await;
    world.severe_pair().await;
    let alert = world.alert().await;
    let stranger = world
        .server
        .enter("other", StaffRole::Pharmacist, world.server.other_store)
        .await;
    let machines = world.server.enter("machines", StaffRole::It, world.server.store).await;
    let absent = "01a2039d-3934-7da6-95df-000000000000";
    let strip = |answer: &Answer| {
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        let id = answer.headers["x-request-id"].to_str().unwrap();
        assert!(text(answer).contains(id), "the page names its request");
        text(answer)
            .replace(id, "")
            .replace(&world.member.to_string(), "")
            .replace(&alert, "")
            .replace(absent, "")
    };
    let member = format!("/members/{}", world.member);
    let (hidden, missing) = (
        stranger.get(&member).await,
        stranger.get(&format!("/members/{absent}")).await,
    );
    assert_eq!(strip(&hidden), strip(&missing));
    assert_eq!(stranger.get(&alert).await.status, StatusCode::NOT_FOUND);
    assert!(text(&stranger.get("/queue").await).contains("没有待处理的预警"));
    let page = text(&world.pharmacist.get("/queue").await);
    let (take, mut form) = fields(&page, "/take");
    set(&mut form, "csrf", stranger.csrf.as_deref().unwrap());
    assert_eq!(submit(&stranger, &take, &form).await.status, StatusCode::NOT_FOUND);
    for path in ["/queue", "/queue/rows", "/queue/events", &member, &alert] {
        assert_eq!(machines.get(path).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    world.server.stop().await;
}

#[tokio::test]
async fn every_answer_has_a_strict_policy_and_personal_ones_are_not_kept() {
    let world = World::new().await;
    world.severe_pair().await;
    let alert = world.alert().await;
    let member = format!("/members/{}", world.member);
    for path in [
        "/login",
        "/queue",
        "/queue/rows",
        &alert,
        &member,
        "/nowhere",
        "/members/x",
    ] {
        let answer = world.pharmacist.get(path).await;
        let policy = answer.headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert_eq!(answer.headers[CACHE_CONTROL], "no-store", "{path}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["referrer-policy"], "no-referrer");
        let page = text(&answer);
        for inline in ["<script>", " style=", "onclick=", "javascript:", "http://", "https://"] {
            assert!(!page.contains(inline), "{path} has {inline}");
        }
    }
    let page = text(&world.pharmacist.get("/queue").await);
    let css = between(&page, "<link rel=\"stylesheet\" href=\"", "\"");
    let kept = world.pharmacist.get(&css).await;
    assert!(kept.headers[CACHE_CONTROL].to_str().unwrap().contains("immutable"));
    assert_eq!(
        world.pharmacist.get("/static/..%2fCargo.toml").await.status,
        StatusCode::NOT_FOUND
    );
    world.server.stop().await;
}

#[tokio::test]
async fn a_new_alert_is_announced_to_an_open_page() {
    let world = World::new().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let refused = client
        .get(format!("http://{}/queue/events", world.server.http))
        .send()
        .await
        .unwrap();
    assert!(refused.url().path().starts_with("/login"), "events are for staff");
    let mut stream = world.pharmacist.open("/queue/events").await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    world.severe_pair().await;
    let mut heard = String::new();
    while !heard.contains("event: changed") {
        let chunk = tokio::time::timeout(PATIENCE, stream.chunk())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        heard.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(
        !heard.contains("王") && !heard.contains("185"),
        "no health data in the stream: {heard}"
    );
    let rows = text(&world.pharmacist.get("/queue/rows").await);
    assert!(rows.contains("185/113") && rows.contains("data-title=\"(1) "), "{rows}");
    // A stream does not hold up the end.
    world.server.stop().await;
    let ended = tokio::time::timeout(Duration::from_secs(5), async {
        while let Ok(Some(_)) = stream.chunk().await {}
    });
    ended.await.unwrap();
}

#[tokio::test]
async fn the_language_is_chosen_and_leads_only_to_our_own_pages() {
    let server = Server::start().await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let get = |path: &str| client.get(format!("http://{}{path}", server.http)).send();
    for (back, leads_to) in [
        ("/login", "/login"),
        ("https://example.org/", "/queue"),
        ("//example.org", "/queue"),
        ("/%5Cexample.org", "/queue"),
    ] {
        let answer = get(&format!("/language?to=en&back={back}")).await.unwrap();
        assert_eq!(answer.headers()[LOCATION], leads_to, "{back}");
        assert!(
            answer.headers()[SET_COOKIE]
                .to_str()
                .unwrap()
                .starts_with("carepost_language=en;")
        );
    }
    assert_eq!(
        get("/language?to=xx&back=/login").await.unwrap().status(),
        StatusCode::NOT_FOUND
    );
    let browser = server.stranger();
    browser.get("/language?to=en&back=/login").await;
    let page = text(&browser.get("/login").await);
    assert!(page.contains("<html lang=\"en\">") && page.contains("Password"));
    server.stop().await;
}

#[tokio::test]
async fn input_that_makes_no_sense_has_a_page_that_says_so() {
    let world = World::new().await;
    let csrf = world.pharmacist.csrf.clone().unwrap();
    let form = |body: &str| Some((FORM, body.as_bytes().to_vec()));
    let large = format!("note={}", "x".repeat(200_000));
    let absent = "/tasks/01a2039d-3934-7da6-95df-000000000000/take";
    for (method, path, body, wanted) in [
        (Method::GET, "/members/not-an-id", None, 404),
        (Method::GET, "/alerts/%00", None, 404),
        (
            Method::GET,
            "/members/01a2039d-3934-7da6-95df-000000000000?days=1&days=2",
            None,
            422,
        ),
        (Method::POST, "/queue", None, 405),
        (Method::POST, absent, form("version=x"), 422),
        (Method::POST, absent, form(""), 422),
        (Method::POST, absent, form(&large), 413),
        (Method::POST, absent, form(&format!("csrf={csrf}&version=1")), 404),
        (Method::POST, absent, Some(("application/json", b"{}".to_vec())), 422),
        (Method::GET, "/queue?view=nonsense&q=%ff%fe", None, 200),
    ] {
        let answer = world.pharmacist.send(method.clone(), path, body).await;
        assert_eq!(answer.status.as_u16(), wanted, "{method} {path}");
        assert!(
            text(&answer).starts_with("<!doctype html>"),
            "{method} {path}: {}",
            text(&answer)
        );
    }
    world.server.stop().await;
}
