//! The style sheet, the script and the icon, compiled in and addressed by their content.

use std::sync::LazyLock;

use axum::extract::{Path, RawQuery};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};

use super::failure::Failure;

struct Asset {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

const CSS: Asset = Asset {
    name: "carepost.css",
    kind: "text/css; charset=utf-8",
    text: include_str!("../../static/carepost.css"),
};
const JS: Asset = Asset {
    name: "queue.js",
    kind: "text/javascript; charset=utf-8",
    text: include_str!("../../static/queue.js"),
};
const ICON: Asset = Asset {
    name: "icon.svg",
    kind: "image/svg+xml",
    text: include_str!("../../static/icon.svg"),
};

static CSS_ADDRESS: LazyLock<String> = LazyLock::new(|| address(&CSS));
static JS_ADDRESS: LazyLock<String> = LazyLock::new(|| address(&JS));

/// Address of the style sheet.
pub(crate) fn css_address() -> &'static str {
    &CSS_ADDRESS
}

/// Address of the queue's script.
pub(crate) fn js_address() -> &'static str {
    &JS_ADDRESS
}

fn fingerprint(asset: &Asset) -> String {
    // Eight bytes tell versions of one file apart.
    Sha256::digest(asset.text.as_bytes())
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn address(asset: &Asset) -> String {
    format!("/static/{}?v={}", asset.name, fingerprint(asset))
}

/// `GET /static/{file}`. Cached for ever under its fingerprint, asked for again without one.
pub(crate) async fn get(
    Path(file): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let asset = [CSS, JS, ICON]
        .into_iter()
        .find(|asset| asset.name == file)
        .ok_or(Failure::NotFound)?;
    let fingerprint = fingerprint(&asset);
    let tag = format!("\"{fingerprint}\"");
    let named = query.is_some_and(|query| query == format!("v={fingerprint}"));
    let caching = if named {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let known = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|value| value.as_bytes() == tag.as_bytes());
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, asset.kind)], asset.text).into_response()
    };
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_changes_with_the_content() {
        let other = Asset { text: "x", ..CSS };
        assert_ne!(fingerprint(&CSS), fingerprint(&other));
        assert!(css_address().starts_with("/static/carepost.css?v="));
    }

    #[test]
    fn assets_fetch_nothing_from_elsewhere() {
        for asset in [CSS, JS] {
            for scheme in ["http:", "https:", "//cdn", "url("] {
                assert!(!asset.text.contains(scheme), "{} has {scheme}", asset.name);
            }
        }
    }
}
