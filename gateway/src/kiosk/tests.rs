//! The page, over a real socket, as a browser without script sees it.

use std::sync::Arc;
use std::time::Duration;

use carepost_contract::v1::Epoch;
use carepost_daemon::{CancellationToken, Entropy};
use carepost_domain::care::rule_set::RuleSet;
use carepost_domain::id::SittingId;
use carepost_domain::meter::MeterKind;
use carepost_domain::quarantine::Reason;
use carepost_domain::reading::{BloodPressure, Flag, Measurement};
use carepost_domain::units::{Pressure, PressureUnit, PulseRate};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::flow::Event;
use super::settings::KioskTimings;
use super::{Kiosk, routes};
use crate::app::Parts;
use crate::board::Board;
use crate::config::Config;
use crate::identity::Identity;
use crate::sitting::{Offered, ReadingState};
use crate::testing::{Bench, id, store_cuff};

/// A kiosk that is served, and a browser in front of it.
pub(super) struct Stage {
    pub(super) bench: Bench,
    pub(super) kiosk: Kiosk,
    pub(super) address: std::net::SocketAddr,
    page: String,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

struct Answer {
    status: u16,
    headers: String,
    body: String,
}

impl Stage {
    pub(super) async fn open() -> Self {
        let bench = Bench::new().await;
        let mut config = Config::default();
        config.kiosk.timings = KioskTimings::default();
        let parts = Parts {
            config: Arc::new(config),
            identity: Arc::new(
                Identity::load_or_create(bench.folder.path(), &bench.clock, &Entropy::system()).unwrap(),
            ),
            epoch: Epoch::from_bytes([7; 8]),
            spool: bench.spool.clone(),
            desk: bench.desk.clone(),
            board: Board::default(),
            trust: bench.trust.clone(),
            clock: bench.clock.clone(),
            entropy: Entropy::seeded(5),
        };
        let stop = CancellationToken::new();
        let kiosk = Kiosk::new(parts, Arc::new(RuleSet::cn_2024()), stop.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        let router = routes(kiosk.clone());
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let running = kiosk.clone().run(stop.clone());
        tasks.spawn(async move { running.await.unwrap() });
        let mut stage = Self {
            bench,
            kiosk,
            address,
            page: String::new(),
            tasks,
            stop,
        };
        stage.look().await;
        stage
    }

    async fn ask(&self, head: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let request = format!("{head}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes))
            .await
            .expect("no answer")
            .unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (headers, body) = text.split_once("\r\n\r\n").unwrap();
        let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
        Answer {
            status,
            headers: headers.to_lowercase(),
            body: body.to_owned(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(
            &format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: text/html\r\n", self.address),
            "",
        )
        .await
    }

    /// Loads the screen.
    pub(super) async fn look(&mut self) -> &str {
        let answer = self.get("/").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.headers.contains("cache-control: no-store"));
        self.page = answer.body;
        &self.page
    }

    fn field(&self, name: &str) -> String {
        let mark = format!(r#"name="{name}" value=""#);
        self.page
            .split(&mark)
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_owned()
    }

    async fn post_raw(&self, path: &str, extra: &str, body: &str) -> Answer {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n{extra}",
            self.address
        );
        self.ask(&head, body).await
    }

    /// Sends a form of the page that was loaded last, then loads what is shown.
    pub(super) async fn tap(&mut self, path: &str, fields: &str) -> &str {
        let body = format!(
            "token={}&revision={}&{fields}",
            self.field("token"),
            self.field("revision")
        );
        let answer = self.post_raw(path, "", &body).await;
        assert_eq!(answer.status, 303, "{path}: {}", answer.body);
        assert!(answer.headers.contains("location: /"));
        self.look().await
    }

    /// Loads the screen until it has these words.
    async fn see(&mut self, words: &str) {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while !self.look().await.contains(words) {
            assert!(
                std::time::Instant::now() < deadline,
                "{words} never shown: {}",
                self.page
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn sitting(&self) -> SittingId {
        self.bench.desk.current().expect("somebody sits there").sitting
    }

    /// The meter measured.
    pub(super) fn measured(&self, n: u128, systolic: i32, diastolic: i32, state: ReadingState) {
        let measurement = Measurement::BloodPressure(BloodPressure {
            unit: PressureUnit::MmHg,
            systolic: Pressure::from_mmhg(systolic),
            diastolic: Pressure::from_mmhg(diastolic),
            mean_arterial: None,
            pulse: Some(PulseRate::from_per_min(71)),
            user_slot: None,
        });
        self.offer(n, Some(measurement), state);
    }

    fn offer(&self, n: u128, measurement: Option<Measurement>, state: ReadingState) {
        let offered = Offered {
            reading: id(n),
            measured_at: self.bench.clock.now() + chrono::TimeDelta::seconds(i64::try_from(n).unwrap()),
            measurement,
            flags: Vec::<Flag>::new(),
            slot: None,
            state,
        };
        self.bench.desk.show(self.sitting(), offered);
    }

    pub(super) async fn pass(&self, time: Duration) {
        self.bench.hands.advance(time);
        self.kiosk.apply(Event::Tick).await;
    }

    async fn close(mut self) {
        self.stop.cancel();
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn as_alice(stage: &mut Stage) {
    stage.tap("/begin", "as=member").await;
    stage.tap("/identify", "code=alice").await;
    assert!(
        stage.page.contains("ALICE**，您好") && stage.page.contains("已同意保存"),
        "{}",
        stage.page
    );
    stage.tap("/consent", "choice=granted").await;
    stage.tap("/ready", "").await;
    assert!(stage.page.contains("请按血压计的开始键") && stage.page.contains("第 1 次测量"));
}

#[tokio::test]
async fn a_member_goes_from_the_code_to_the_wipe_and_nothing_is_left() {
    let mut stage = Stage::open().await;
    assert!(stage.page.contains("请选择一种方式"));
    as_alice(&mut stage).await;
    let sitting = stage.sitting();
    assert!(stage.bench.spool.sitting(sitting).await.unwrap().is_some());
    stage.measured(1, 128, 82, ReadingState::Arrived);
    stage.see("正在保存").await;
    assert!(stage.page.contains("128 / 82") && stage.page.contains("请休息一下"));
    stage.measured(1, 128, 82, ReadingState::Saved);
    stage.see("已保存在本机").await;
    stage.pass(Duration::from_secs(60)).await;
    stage.see("第 2 次测量").await;
    stage.measured(2, 132, 84, ReadingState::Saved);
    stage.see("2 次测量的平均值").await;
    for words in [
        "<dd>130</dd>",
        "<dd>83</dd>",
        "略高",
        "脉搏每分钟 71 次",
        "请不要自行改变用药",
        "已保存在本机，恢复联网后发送",
    ] {
        assert!(stage.page.contains(words), "{words}: {}", stage.page);
    }
    stage.measured(1, 128, 82, ReadingState::Sent);
    stage.measured(2, 132, 84, ReadingState::Sent);
    stage.see("已送达您的健康档案").await;
    stage.tap("/end", "").await;
    for secret in ["ALICE", "130", "83", "128"] {
        assert!(!stage.page.contains(&format!(">{secret}")), "{secret} is left");
    }
    assert!(stage.page.contains("请选择一种方式"));
    assert_eq!(stage.bench.desk.current(), None);
    assert!(
        stage
            .bench
            .spool
            .sitting(sitting)
            .await
            .unwrap()
            .unwrap()
            .ended_at
            .is_some()
    );
    stage.close().await;
}

#[tokio::test]
async fn an_anonymous_person_sees_the_result_and_the_spool_knows_of_nobody() {
    let mut stage = Stage::open().await;
    stage.tap("/begin", "as=anonymous").await;
    stage.tap("/ready", "").await;
    stage.measured(1, 118, 76, ReadingState::NotKept);
    stage.see("118 / 76").await;
    stage.tap("/finish", "").await;
    assert!(
        stage.page.contains("没有保存任何数据")
            && stage.page.contains("正常范围")
            && stage.page.contains("只有 1 次测量")
    );
    assert!(stage.bench.spool.sittings().await.unwrap().is_empty());
    stage.close().await;
}

#[tokio::test]
async fn a_member_without_a_grant_is_told_and_chooses() {
    let mut stage = Stage::open().await;
    stage.tap("/begin", "as=member").await;
    stage.tap("/identify", "code=BOBB").await;
    assert!(stage.page.contains("您还没有同意保存") && !stage.page.contains("存入您的健康档案"));
    stage.tap("/consent", "choice=granted").await;
    assert!(
        stage.page.contains("您还没有同意保存"),
        "what was not offered does nothing"
    );
    stage.tap("/consent", "choice=sealed").await;
    assert!(stage.bench.desk.current().unwrap().keep_sealed);
    stage.tap("/ready", "").await;
    stage.measured(1, 118, 76, ReadingState::Sealed);
    stage.see("已封存在本机").await;
    stage.tap("/end", "").await;
    stage.tap("/begin", "as=member").await;
    stage.tap("/identify", "code=BOBB").await;
    stage.tap("/consent", "choice=nothing").await;
    assert_eq!(
        stage.bench.desk.current().unwrap().member,
        None,
        "measured without a name"
    );
    stage.close().await;
}

#[tokio::test]
async fn an_unknown_code_can_go_on_anonymously() {
    let mut stage = Stage::open().await;
    stage.tap("/begin", "as=member").await;
    for no_code in ["%21", "%FF%FE%FF%FE", "", "a%00bcd", "%F0%9F%92%8A%F0%9F%92%8A"] {
        stage.tap("/identify", &format!("code={no_code}")).await;
        assert!(stage.page.contains("卡号由 4 到 32 位"), "{no_code}");
    }
    stage.tap("/identify", "code=CP-404").await;
    assert!(stage.page.contains("没有找到这个卡号"));
    stage.tap("/begin", "as=anonymous").await;
    assert!(stage.page.contains("测量前，请这样准备"));
    stage.close().await;
}

#[tokio::test]
async fn a_very_high_value_asks_for_symptoms_and_rest_and_never_for_a_diagnosis() {
    let mut stage = Stage::open().await;
    stage.tap("/begin", "as=anonymous").await;
    stage.tap("/ready", "").await;
    stage.measured(1, 192, 108, ReadingState::NotKept);
    stage.see("请坐下，安静休息").await;
    assert!(stage.page.contains("胸痛") && stage.page.contains("120") && stage.page.contains(r#"data-left="300""#));
    stage.tap("/finish", "").await;
    for words in [
        "很高",
        "今天就去看医生",
        "不要独自离开",
        "不要开车",
        "还没有复测",
        "胸痛",
        "请不要自行改变用药",
    ] {
        assert!(stage.page.contains(words), "{words}");
    }
    assert!(!stage.page.contains("高血压"));
    stage.close().await;
}

#[tokio::test]
async fn a_record_from_before_the_sitting_is_never_shown() {
    let mut stage = Stage::open().await;
    stage.bench.hands.advance(Duration::from_secs(600));
    as_alice(&mut stage).await;
    let now = stage.bench.clock.now();
    stage.bench.hands.set(now - chrono::TimeDelta::minutes(5));
    stage.measured(1, 171, 99, ReadingState::Saved);
    stage.bench.hands.set(now);
    stage.measured(2, 128, 82, ReadingState::Saved);
    stage.see("128 / 82").await;
    stage.tap("/finish", "").await;
    assert!(stage.page.contains("只有 1 次测量") && !stage.page.contains("171"));
    stage.close().await;
}

#[tokio::test]
async fn a_failed_measurement_is_said_and_asked_for_again() {
    let mut stage = Stage::open().await;
    stage.tap("/begin", "as=anonymous").await;
    stage.tap("/ready", "").await;
    stage.offer(1, None, ReadingState::Unusable(Reason::MeasurementError));
    stage.see("刚才没有测出结果").await;
    stage.offer(2, None, ReadingState::Unusable(Reason::MeasurementError));
    stage.offer(3, None, ReadingState::Unusable(Reason::MeasurementError));
    stage.see("请店员帮您看一下袖带").await;
    stage.close().await;
}

#[tokio::test]
async fn the_next_person_waits_for_the_meter_of_the_sitting_before() {
    let mut stage = Stage::open().await;
    let cuff = store_cuff();
    stage.tap("/begin", "as=anonymous").await;
    stage.bench.desk.meter_connected(cuff.id, MeterKind::BloodPressure);
    stage.tap("/end", "").await;
    stage.tap("/begin", "as=anonymous").await;
    assert!(stage.page.contains("请稍等一下"), "{}", stage.page);
    stage.bench.desk.meter_disconnected(cuff.id);
    stage.see("测量前，请这样准备").await;
    stage.close().await;
}

#[tokio::test]
async fn the_warning_offers_a_little_longer_and_silence_wipes() {
    let mut stage = Stage::open().await;
    as_alice(&mut stage).await;
    stage.measured(1, 128, 82, ReadingState::Saved);
    stage.see("128 / 82").await;
    stage.tap("/finish", "").await;
    stage.pass(Duration::from_secs(90)).await;
    stage.look().await;
    assert!(stage.page.contains("您还在看吗") && stage.page.contains(r#"data-left="20""#));
    stage.tap("/longer", "").await;
    assert!(!stage.page.contains("您还在看吗") && stage.page.contains("<dd>128</dd>"));
    stage.pass(Duration::from_secs(60)).await;
    stage.pass(Duration::from_secs(20)).await;
    stage.look().await;
    assert!(stage.page.contains("请选择一种方式"));
    assert_eq!(stage.bench.desk.current(), None);
    stage.close().await;
}

#[tokio::test]
async fn a_form_from_an_older_screen_does_nothing() {
    let mut stage = Stage::open().await;
    let old = format!(
        "token={}&revision={}&as=anonymous",
        stage.field("token"),
        stage.field("revision")
    );
    stage.tap("/language", "language=en").await;
    assert!(stage.page.contains(r#"<html lang="en">"#) && stage.page.contains("Measure without a name"));
    assert_eq!(stage.post_raw("/begin", "", &old).await.status, 303);
    assert_eq!(stage.bench.desk.current(), None);
    // The next person starts in Chinese again.
    stage.tap("/begin", "as=anonymous").await;
    stage.tap("/end", "").await;
    assert!(stage.page.contains(r#"<html lang="zh-CN">"#));
    stage.close().await;
}

#[tokio::test]
async fn bad_input_gets_a_clear_answer_and_changes_nothing() {
    let stage = Stage::open().await;
    let good = format!("token={}&revision={}", stage.field("token"), stage.field("revision"));
    let port = stage.address.port();
    let cases = [
        (
            "a foreign origin",
            "/begin",
            "Origin: http://example.com\r\n",
            format!("{good}&as=anonymous"),
            403,
            "forbidden",
        ),
        (
            "another site",
            "/begin",
            "Sec-Fetch-Site: cross-site\r\n",
            format!("{good}&as=anonymous"),
            403,
            "forbidden",
        ),
        (
            "no token",
            "/begin",
            "",
            "revision=1&as=anonymous".to_owned(),
            422,
            "bad_form",
        ),
        (
            "a wrong token",
            "/begin",
            "",
            "token=0&revision=1&as=anonymous".to_owned(),
            403,
            "stale_form",
        ),
        ("no choice", "/begin", "", good.clone(), 422, "bad_form"),
        (
            "an unheard-of choice",
            "/begin",
            "",
            format!("{good}&as=root"),
            422,
            "bad_form",
        ),
        (
            "a revision that is no number",
            "/end",
            "",
            good.replace("revision=", "revision=x"),
            422,
            "bad_form",
        ),
        (
            "a language we do not speak",
            "/language",
            "",
            format!("{good}&language=tlh"),
            422,
            "bad_form",
        ),
        (
            "an endless body",
            "/identify",
            "",
            format!("{good}&code={}", "A".repeat(5_000)),
            422,
            "bad_form",
        ),
    ];
    for (what, path, extra, body, status, code) in cases {
        let answer = stage.post_raw(path, extra, &body).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.body);
        assert!(
            answer.headers.contains("application/problem+json") && answer.body.contains(code),
            "{what}: {}",
            answer.body
        );
    }
    let rebound = stage
        .ask(
            &format!("GET / HTTP/1.1\r\nHost: rebound.example:{port}\r\nAccept: text/html\r\n"),
            "",
        )
        .await;
    assert_eq!(rebound.status, 403);
    assert!(rebound.body.contains("这个页面只能在本机打开") && rebound.body.contains("only on this device"));
    assert_eq!(
        stage
            .post_raw("/begin", "Origin: null\r\n", &format!("{good}&as=anonymous"))
            .await
            .status,
        403
    );
    assert_eq!(stage.get("/begin").await.status, 405);
    assert_eq!(stage.bench.desk.current(), None);
    stage.close().await;
}

#[tokio::test]
async fn every_answer_forbids_scripts_frames_and_sources_from_elsewhere() {
    let stage = Stage::open().await;
    for path in [
        "/",
        "/static/kiosk.css",
        "/static/kiosk.js",
        "/static/icon.svg",
        "/nowhere",
    ] {
        let answer = stage.get(path).await;
        for header in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "no-store",
            "nosniff",
            "x-frame-options: deny",
        ] {
            assert!(
                answer.headers.contains(header),
                "{path}: {header} in {}",
                answer.headers
            );
        }
        assert!(!answer.headers.contains("unsafe"));
        for inline in ["<script>", " style=", " onclick=", "<style", "http://", "https://"] {
            let body = answer.body.replace("http://www.w3.org/2000/svg", "");
            assert!(!body.contains(inline), "{path}: {inline}");
        }
    }
    stage.close().await;
}

#[tokio::test]
async fn a_page_hears_of_every_change_and_the_ninth_page_is_refused() {
    let mut stage = Stage::open().await;
    let listen = async |stage: &Stage| {
        let mut stream = TcpStream::connect(stage.address).await.unwrap();
        let request = format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", stage.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    };
    let hear = async |stream: &mut TcpStream, words: &str| {
        let mut text = String::new();
        while !text.contains(words) {
            let mut buffer = [0; 1_024];
            let count = timeout(Duration::from_secs(10), stream.read(&mut buffer))
                .await
                .expect("silence")
                .unwrap();
            assert!(count > 0, "closed after {text}");
            text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
    };
    let mut first = listen(&stage).await;
    let now = stage.field("revision");
    hear(&mut first, &format!("event: revision\ndata: {now}\n")).await;
    stage.tap("/begin", "as=anonymous").await;
    let then = stage.field("revision");
    hear(&mut first, &format!("data: {then}\n")).await;
    hear(&mut first, "event: beat").await;
    let mut others = Vec::new();
    for _ in 0..7 {
        let mut stream = listen(&stage).await;
        hear(&mut stream, "event: revision").await;
        others.push(stream);
    }
    assert_eq!(stage.get("/events").await.status, 503);
    drop(others);
    stage.close().await;
}
