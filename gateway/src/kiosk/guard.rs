//! Who may talk to the page: a browser on this machine that was not sent here by another site.
//!
//! A name that someone's site made point to 127.0.0.1 (DNS rebinding) shows in the Host header, and a form of another site in
//! Origin and Sec-Fetch-Site. Every answer forbids keeping and framing, and loads nothing from elsewhere.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};

use super::problem::Problem;

/// The longest body that a form of the page can have.
const MAX_BODY_BYTES: usize = 4 * 1024;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 8] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // Not `no-referrer`: with it browsers say `Origin: null` for our own forms.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), microphone=(), geolocation=(), bluetooth=()",
    ),
];

/// Puts the guard around everything that the loopback port serves.
pub fn guard<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(check))
}

async fn check(request: Request, next: Next) -> Response {
    let mut response = if is_ours(request.method(), request.headers()) {
        next.run(request).await
    } else {
        Problem::Forbidden.answer(request.headers()).into_response()
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn is_ours(method: &Method, headers: &HeaderMap) -> bool {
    let Some(host) = only(headers, &header::HOST) else {
        return false;
    };
    if !is_loopback(host) {
        return false;
    }
    if method == Method::GET || method == Method::HEAD {
        return true;
    }
    let same_origin = match (headers.get(header::ORIGIN), only(headers, &header::ORIGIN)) {
        (None, _) => true,
        (Some(_), Some(origin)) => origin.strip_prefix("http://") == Some(host),
        (Some(_), None) => false,
    };
    let same_site = headers
        .get("sec-fetch-site")
        .is_none_or(|site| site == "same-origin" || site == "none");
    same_origin && same_site
}

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

fn is_loopback(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) => (name, port.strip_prefix(':').or((port.is_empty()).then_some(""))),
            None => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, Some("")),
        },
    };
    let port_is_one = port.is_some_and(|port| port.is_empty() || port.parse::<u16>().is_ok());
    let is_local_name = name.eq_ignore_ascii_case("localhost");
    port_is_one && (is_local_name || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn only_loopback_names_are_hosts() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:8470",
            "localhost:8470",
            "LOCALHOST",
            "[::1]:8470",
            "[::1]",
            "127.9.9.9:1",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "127.0.0.1.example.com",
            "localhost.example.com:80",
            "192.0.2.1",
            "[::2]",
            "[::1",
            "127.0.0.1:x",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_form_of_another_site_is_refused() {
        let check = |pairs: &[(&'static str, &'static str)]| is_ours(&Method::POST, &headers(pairs));
        let host = ("host", "127.0.0.1:8470");
        assert!(check(&[host]));
        assert!(check(&[
            host,
            ("origin", "http://127.0.0.1:8470"),
            ("sec-fetch-site", "same-origin")
        ]));
        for origin in [
            "http://example.com",
            "null",
            "https://127.0.0.1:8470",
            "http://127.0.0.1:8471",
            "http://localhost:8470",
        ] {
            assert!(!check(&[host, ("origin", origin)]), "{origin}");
        }
        assert!(!check(&[host, ("sec-fetch-site", "cross-site")]));
        assert!(!check(&[host, ("sec-fetch-site", "same-site")]));
        assert!(!check(&[("origin", "http://127.0.0.1:8470")]), "no host");
        assert!(!is_ours(&Method::GET, &headers(&[("host", "rebound.example.com")])));
    }
}
