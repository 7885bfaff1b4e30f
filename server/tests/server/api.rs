//! The API over HTTP: who may do what, and what bad input is answered with.

use carepost_server::telemetry::Metric;
use carepost_store::model::StaffRole;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{PASSWORD, Server, eventually};

const NOBODY: &str = "018f3c5e-0000-7000-8000-0000000000ff";

/// Every endpoint that reads.
fn reads() -> Vec<String> {
    [
        "members/{id}",
        "members/{id}/grants",
        "members/{id}/readings",
        "members/{id}/sessions",
        "alerts",
        "alerts/{id}",
        "tasks",
        "tasks/{id}",
        "meters",
        "gateways",
        "counts",
    ]
    .map(|path| format!("/api/v1/{}", path.replace("{id}", NOBODY)))
    .to_vec()
}

/// Every endpoint that writes, with a body that it would read.
fn writes(store: &str) -> Vec<(String, Value)> {
    let now = "2026-01-01T00:00:00Z";
    [
        ("logout", json!({})),
        (
            "members",
            json!({ "code": "CP-7", "name": "A", "birth_year": 1960, "sex": "male", "home_store": store }),
        ),
        (
            "members/{id}/grants",
            json!({ "purpose": "care_record", "text_version": "1", "text_sha256": "00".repeat(32), "channel": "staff" }),
        ),
        ("members/{id}/grants/withdraw", json!({ "purpose": "care_record" })),
        ("members/{id}/symptoms", json!({ "codes": ["dizziness"], "source": "staff" })),
        (
            "meters",
            json!({
                "address": "C0:26:DF:00:1A:2C", "address_type": "public", "kind": "glucose", "role": "personal",
                "store": store,
            }),
        ),
        ("bindings", json!({ "meter": NOBODY, "member": NOBODY, "valid_from": now })),
        ("bindings/{id}/end", json!({ "at": now })),
        ("alerts/{id}/acknowledge", json!({ "version": 1 })),
        ("tasks/{id}/take", json!({ "version": 1 })),
        ("tasks/{id}/outcome", json!({ "version": 1, "outcome": "reached_advised" })),
    ]
    .map(|(path, body)| (format!("/api/v1/{}", path.replace("{id}", NOBODY)), body))
    .to_vec()
}

#[tokio::test]
async fn strangers_see_nothing_and_change_nothing() {
    let server = Server::start().await;
    let stranger = server.stranger();
    for path in reads() {
        assert_eq!(stranger.get(&path).await.problem(), (401, "not_logged_in"), "{path}");
    }
    for (path, body) in writes(&server.store.to_string()) {
        assert_eq!(
            stranger.post(&path, body).await.problem(),
            (401, "not_logged_in"),
            "{path}"
        );
    }
    let forged = server.stranger();
    let headers = [("cookie", format!("carepost_session={}", "A".repeat(43)))];
    for (name, value) in headers {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client
            .get(format!("http://{}/api/v1/alerts", server.http))
            .header(name, value)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(forged.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(forged.get("/readyz").await.status, StatusCode::OK);
    server.stop().await;
}

#[tokio::test]
async fn a_write_without_the_csrf_token_is_refused() {
    let server = Server::start().await;
    let mut pharmacist = server.pharmacist().await;
    let token = pharmacist.csrf.clone().unwrap();
    for wrong in [
        None,
        Some(String::new()),
        Some("x".repeat(64)),
        Some(token[1..].to_owned()),
    ] {
        pharmacist.csrf = wrong;
        for (path, body) in writes(&server.store.to_string()) {
            assert_eq!(pharmacist.post(&path, body).await.problem(), (403, "csrf"), "{path}");
        }
    }
    pharmacist.csrf = Some(token);
    assert_eq!(
        pharmacist.post("/api/v1/logout", json!({})).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(pharmacist.get("/api/v1/alerts").await.problem(), (401, "not_logged_in"));
}

#[tokio::test]
async fn a_login_gives_a_cookie_that_scripts_cannot_read() {
    let server = Server::start().await;
    let id = server.add_staff("anna", StaffRole::Manager, server.store).await;
    let answer = server
        .stranger()
        .post("/api/v1/login", json!({ "login": "anna", "password": PASSWORD }))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body["staff"], id.to_string());
    assert_eq!(answer.body["role"], "manager");
    assert!(answer.body["csrf"].as_str().is_some_and(|token| token.len() == 64));
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    for part in ["carepost_session=", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
}

#[tokio::test]
async fn an_unknown_login_and_a_wrong_password_get_one_answer_and_too_many_get_none() {
    let server = Server::with(|config| config.login.max_failures = 3).await;
    server.add_staff("anna", StaffRole::Pharmacist, server.store).await;
    let stranger = server.stranger();
    let tries = |login: &'static str, password: &'static str| {
        let stranger = stranger.clone();
        async move {
            stranger
                .post("/api/v1/login", json!({ "login": login, "password": password }))
                .await
        }
    };
    for login in ["anna", "nobody"] {
        for _ in 0..3 {
            let answer = tries(login, "wrong").await;
            assert_eq!(answer.problem(), (401, "login_refused"));
            assert_eq!(answer.body["detail"], "Login or password is wrong.");
        }
        let answer = tries(login, "wrong").await;
        assert_eq!(answer.problem(), (429, "too_many_failures"), "{login}");
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert_eq!(
        tries("anna", PASSWORD).await.problem(),
        (429, "too_many_failures"),
        "not even the right one is tried"
    );
    for login in ["", &"x".repeat(65), "a\u{0}b"] {
        let answer = stranger
            .post("/api/v1/login", json!({ "login": login, "password": "x" }))
            .await;
        assert_eq!(answer.problem(), (401, "login_refused"), "{login:?}");
    }
    assert_eq!(server.state.counters.get(Metric::LoginsRefused), 9);
    assert_eq!(server.state.counters.get(Metric::LoginsThrottled), 3);
}

#[tokio::test]
async fn parallel_tries_do_not_get_past_the_count() {
    let server = Server::with(|config| config.login.max_failures = 2).await;
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let stranger = server.stranger();
        running.spawn(async move {
            stranger
                .post("/api/v1/login", json!({ "login": "anna", "password": "wrong" }))
                .await
                .status
        });
    }
    let statuses = running.join_all().await;
    let tried = statuses
        .iter()
        .filter(|status| **status == StatusCode::UNAUTHORIZED)
        .count();
    // As many may pass the count as are checked at a time.
    let most = 2 + server.state.config.login.parallel_checks - 1;
    assert!(tried <= most, "{tried} tries: {statuses:?}");
}

#[tokio::test]
async fn bad_input_is_answered_with_what_is_wrong() {
    let server = Server::start().await;
    let pharmacist = server.pharmacist().await;
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(70 * 1024));
    let raw: [(&str, &[u8], (u16, &str)); 8] = [
        ("text/plain", b"{}", (415, "not_json")),
        ("application/x-www-form-urlencoded", b"a=b", (415, "not_json")),
        ("application/json", b"", (400, "bad_json")),
        ("application/json", b"{", (400, "bad_json")),
        ("application/json", b"\xff\xfe", (400, "bad_json")),
        ("application/json", b"[NaN]", (400, "bad_json")),
        ("application/json", large.as_bytes(), (413, "too_large")),
        ("application/json; charset=utf-8", b"[]", (422, "invalid_body")),
    ];
    let writes = writes(&server.store.to_string());
    for (path, body) in writes.iter().filter(|(path, _)| !path.ends_with("logout")) {
        for (kind, bytes, expected) in raw {
            let answer = pharmacist.send(Method::POST, path, Some((kind, bytes.to_vec()))).await;
            assert_eq!(
                answer.problem(),
                expected,
                "{path} {kind} {}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(20)])
            );
        }
        let answer = pharmacist
            .send(
                Method::POST,
                path,
                Some(("application/json", deep.clone().into_bytes())),
            )
            .await;
        assert!([400, 422].contains(&answer.problem().0), "{path}");
        let mut unknown = body.clone();
        unknown["surprise"] = json!(1);
        assert_eq!(
            pharmacist.post(path, unknown).await.problem(),
            (422, "invalid_body"),
            "{path}"
        );
        for field in body.as_object().unwrap().keys() {
            let mut wrong = body.clone();
            wrong[field] = json!({ "not": "this" });
            assert_eq!(
                pharmacist.post(path, wrong).await.problem(),
                (422, "invalid_body"),
                "{path} {field}"
            );
        }
    }
    for path in ["/api/v1/login"] {
        let answer = pharmacist.post(path, json!({ "login": "a", "password": 1 })).await;
        assert_eq!(answer.problem(), (422, "invalid_body"));
    }
    server.stop().await;
}

#[tokio::test]
async fn values_that_make_no_sense_are_named() {
    let server = Server::start().await;
    let pharmacist = server.pharmacist().await;
    let member = pharmacist.add_member("CP-0001", server.store).await;
    let cuff = pharmacist.shared_cuff(server.store).await;
    let all = writes(&server.store.to_string());
    let body_of = |end: &str| all.iter().find(|(path, _)| path.ends_with(end)).unwrap().1.clone();
    let with = |end: &str, field: &str, value: Value| {
        let mut body = body_of(end);
        body[field] = value;
        body
    };
    let long = "x".repeat(3_000);
    let grants = format!("/api/v1/members/{member}/grants");
    let symptoms = format!("/api/v1/members/{member}/symptoms");
    let cases = [
        (
            "/api/v1/members",
            with("members", "birth_year", json!(1850)),
            (422, "bad_birth_year"),
        ),
        (
            "/api/v1/members",
            with("members", "birth_year", json!(2200)),
            (422, "bad_birth_year"),
        ),
        (
            "/api/v1/members",
            with("members", "name", json!(" ")),
            (422, "bad_text"),
        ),
        (
            "/api/v1/members",
            with("members", "name", json!(long)),
            (422, "bad_text"),
        ),
        (
            "/api/v1/members",
            with("members", "code", json!("CP 7")),
            (422, "invalid_body"),
        ),
        (
            "/api/v1/members",
            with("members", "code", json!("CP-0001")),
            (409, "member_taken"),
        ),
        (
            "/api/v1/members",
            with("members", "conditions", json!(["gout"])),
            (422, "invalid_body"),
        ),
        (
            "/api/v1/members",
            with("members", "home_store", json!(NOBODY)),
            (403, "forbidden"),
        ),
        (
            "/api/v1/members",
            with("members", "conditions", json!(vec!["ckd"; 17])),
            (422, "too_long"),
        ),
        (
            &grants,
            with("/grants", "purpose", json!("everything")),
            (422, "invalid_body"),
        ),
        (&grants, with("/grants", "text_sha256", json!("xyz")), (422, "bad_hash")),
        (&grants, with("/grants", "text_version", json!("")), (422, "bad_text")),
        (
            &grants,
            with("/grants", "expires_at", json!("2020-01-01T00:00:00Z")),
            (422, "in_the_past"),
        ),
        (
            &grants,
            with("/grants", "witness", json!(NOBODY)),
            (422, "witness_unknown"),
        ),
        (&grants, with("/grants", "store", json!(NOBODY)), (422, "store_unknown")),
        (&symptoms, with("/symptoms", "codes", json!([])), (422, "bad_codes")),
        (
            &symptoms,
            with("/symptoms", "codes", json!(["sneezing"])),
            (422, "invalid_body"),
        ),
        (
            &symptoms,
            with("/symptoms", "at", json!("2200-01-01T00:00:00Z")),
            (422, "in_the_future"),
        ),
        // Without consent there is nobody whose symptoms could be kept.
        (&symptoms, body_of("/symptoms"), (404, "not_found")),
        (
            "/api/v1/meters",
            with("meters", "address", json!("C0:26")),
            (422, "invalid_body"),
        ),
        (
            "/api/v1/meters",
            with("meters", "model", json!(long)),
            (422, "too_long"),
        ),
        (
            "/api/v1/meters",
            with("meters", "about", json!({ "serial": "9".repeat(65) })),
            (422, "invalid_body"),
        ),
        (
            "/api/v1/meters",
            with("meters", "store", json!(server.other_store)),
            (403, "forbidden"),
        ),
        (
            "/api/v1/bindings",
            json!({ "meter": NOBODY, "member": member }),
            (422, "meter_unknown"),
        ),
        (
            "/api/v1/bindings",
            json!({ "meter": cuff, "member": member }),
            (422, "meter_shared"),
        ),
        (
            "/api/v1/bindings",
            json!({ "meter": cuff, "member": member, "valid_from": "2200-01-01T00:00:00Z" }),
            (422, "in_the_future"),
        ),
    ];
    for (path, body, expected) in cases {
        let answer = pharmacist.post(path, body.clone()).await;
        assert_eq!(answer.problem(), expected, "{path} {body}");
    }
    for query in ["limit=0", "limit=501", "limit=x", "cursor=x", "surprise=1"] {
        let answer = pharmacist
            .get(&format!("/api/v1/members/{member}/readings?{query}"))
            .await;
        assert_eq!(answer.problem(), (400, "bad_query"), "{query}");
    }
    for (path, expected) in [
        ("/api/v1/members/not-an-id", (404, "not_found")),
        ("/api/v1/nowhere", (404, "not_found")),
        ("/api/v1/alerts?which=some", (400, "bad_query")),
    ] {
        assert_eq!(pharmacist.get(path).await.problem(), expected, "{path}");
    }
    assert_eq!(
        pharmacist.get("/api/v1/login").await.problem(),
        (405, "method_not_allowed")
    );
}

#[tokio::test]
async fn absent_and_foreign_look_the_same() {
    let server = Server::start().await;
    let pharmacist = server.pharmacist().await;
    let other = server.enter("other", StaffRole::Pharmacist, server.other_store).await;
    let manager = server.enter("manager", StaffRole::Manager, server.other_store).await;
    let it = server.enter("it", StaffRole::It, server.store).await;
    let member = pharmacist.add_member("CP-0001", server.store).await;
    pharmacist.grant(member, "care_record").await;
    for end in ["", "/grants", "/readings", "/sessions"] {
        let path = format!("/api/v1/members/{member}{end}");
        assert_eq!(pharmacist.get(&path).await.status, StatusCode::OK, "{path}");
        assert_eq!(manager.get(&path).await.status, StatusCode::OK, "{path}");
        for browser in [&other, &it] {
            let foreign = browser.get(&path).await;
            let absent = browser.get(&format!("/api/v1/members/{NOBODY}{end}")).await;
            assert_eq!(foreign.problem(), (404, "not_found"), "{path}");
            assert_eq!(foreign.body["detail"], absent.body["detail"]);
        }
    }
    let path = format!("/api/v1/members/{member}/symptoms");
    let body = json!({ "codes": ["chest_pain"], "source": "staff" });
    assert_eq!(other.post(&path, body.clone()).await.problem(), (404, "not_found"));
    assert_eq!(pharmacist.post(&path, body).await.status, StatusCode::CREATED);

    let alert = pharmacist.get("/api/v1/alerts").await.body["alerts"][0].clone();
    let path = format!("/api/v1/alerts/{}", alert["id"].as_str().unwrap());
    for browser in [&other, &it] {
        assert_eq!(browser.get(&path).await.problem(), (404, "not_found"));
        let answer = browser
            .post(&format!("{path}/acknowledge"), json!({ "version": alert["version"] }))
            .await;
        assert_eq!(answer.problem(), (404, "not_found"));
    }
    assert_eq!(other.get("/api/v1/alerts").await.body["alerts"], json!([]));
    assert_eq!(
        manager.get("/api/v1/alerts").await.body["alerts"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let narrowed = format!("/api/v1/alerts?store={}", server.other_store);
    assert_eq!(manager.get(&narrowed).await.body["alerts"], json!([]));
    assert_eq!(pharmacist.get(&narrowed).await.problem(), (404, "not_found"));
    for list in ["/api/v1/alerts", "/api/v1/tasks"] {
        assert_eq!(it.get(list).await.problem(), (403, "forbidden"));
    }
    for list in ["/api/v1/counts", "/api/v1/gateways"] {
        assert_eq!(pharmacist.get(list).await.problem(), (403, "forbidden"));
        assert_eq!(it.get(list).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_request_that_is_sent_twice_makes_one_row() {
    let server = Server::start().await;
    let pharmacist = server.pharmacist().await;
    let mut body = json!({
        "id": NOBODY, "code": "cp-0001", "name": "王秀英", "birth_year": 1960, "sex": "female",
        "phone": "13800000000", "home_store": server.store,
    });
    for _ in 0..2 {
        let answer = pharmacist.post("/api/v1/members", body.clone()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        assert_eq!(answer.body["id"], NOBODY);
        assert_eq!(answer.body["code"], "CP-0001");
    }
    body["name"] = json!("somebody else");
    assert_eq!(
        pharmacist.post("/api/v1/members", body).await.problem(),
        (409, "member_taken")
    );
    let member = pharmacist.get(&format!("/api/v1/members/{NOBODY}")).await;
    assert_eq!(member.body["phone"], "13800000000");
    assert_eq!(member.headers["x-request-id"].len(), 36);
}

#[tokio::test]
async fn a_binding_begins_ends_and_does_not_overlap() {
    let server = Server::start().await;
    let pharmacist = server.pharmacist().await;
    let members = [
        pharmacist.add_member("CP-0001", server.store).await,
        pharmacist.add_member("CP-0002", server.store).await,
    ];
    let meter = json!({
        "address": "C0:26:DF:00:1A:2C", "address_type": "random", "kind": "glucose", "role": "personal",
        "store": server.store,
    });
    let meter = pharmacist.create("/api/v1/meters", meter).await;
    let bind = |member: usize| json!({ "meter": meter, "member": members[member], "only_ever_this_person": true });
    let binding = pharmacist.create("/api/v1/bindings", bind(0)).await;
    assert_eq!(
        pharmacist.post("/api/v1/bindings", bind(1)).await.problem(),
        (409, "binding_overlaps")
    );
    let slot = json!({ "meter": meter, "member": members[0], "slot": 1 });
    assert_eq!(
        pharmacist.post("/api/v1/bindings", slot).await.problem(),
        (422, "slot_mismatch")
    );
    let end = format!("/api/v1/bindings/{binding}/end");
    assert_eq!(
        pharmacist
            .post(&end, json!({ "at": "2020-01-01T00:00:00Z" }))
            .await
            .problem(),
        (409, "binding_end")
    );
    assert_eq!(pharmacist.post(&end, json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(
        pharmacist
            .post(&end.replace(&binding, NOBODY), json!({}))
            .await
            .problem(),
        (404, "not_found")
    );
    pharmacist.create("/api/v1/bindings", bind(1)).await;
}

#[tokio::test]
async fn the_numbers_are_there_for_those_who_run_the_machines() {
    let server = Server::start().await;
    let it = server.enter("it", StaffRole::It, server.store).await;
    server.enrol(1).await;
    let counts = it.get("/api/v1/counts").await.body;
    assert_eq!(
        (&counts["readings"], &counts["gateways"], &counts["gateways_online"]),
        (&json!(0), &json!(1), &json!(0))
    );
    assert_eq!(counts["process"]["logins_accepted_total"], 1);
    assert!(counts["lanes_rejected"].is_object() && counts["jobs_parked"].is_object());
    eventually("the audit is chained", || async {
        it.get("/api/v1/counts").await.body["audit_unsealed"] == json!(0)
    })
    .await;
    assert!(server.state.counters.get(Metric::AuditSealed) > 0);
}

#[tokio::test]
async fn a_store_that_fails_is_not_a_mistake_of_the_sender() {
    let server = Server::start().await;
    let pharmacist = server.pharmacist().await;
    server.state.store.close().await;
    let answer = pharmacist.get("/api/v1/alerts").await;
    assert_eq!(answer.problem(), (503, "store_unavailable"));
    assert!(answer.headers.contains_key("retry-after"));
    assert!(!answer.body.to_string().contains("sql"), "{answer:?}");
    assert_eq!(pharmacist.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(pharmacist.get("/healthz").await.status, StatusCode::OK);
}
