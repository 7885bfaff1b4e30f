//! What every page has around its content.

use super::catalogue::{Language, Texts};

/// The frame of a page.
#[derive(Debug, Clone)]
pub(crate) struct Shell {
    /// The language.
    pub(crate) t: Texts,
    /// The window's title.
    pub(crate) title: String,
    /// Who is logged in.
    pub(crate) user: Option<User>,
    /// The address of this page, to come back to after a change of language.
    pub(crate) here: String,
    /// Addresses of the assets, with their fingerprints.
    pub(crate) css: &'static str,
    /// See `css`.
    pub(crate) js: &'static str,
}

/// Who is logged in.
#[derive(Debug, Clone)]
pub(crate) struct User {
    /// Name as colleagues see it.
    pub(crate) name: String,
    /// Name of the store.
    pub(crate) store: String,
    /// Token that forms carry.
    pub(crate) csrf: String,
}

impl Shell {
    /// The frame for a visitor or, with [`Shell::with_user`], for a member of the staff.
    pub(crate) fn new(t: Texts, title: String, here: &str) -> Self {
        Self {
            t,
            title,
            user: None,
            here: here.to_owned(),
            css: super::assets::css_address(),
            js: super::assets::js_address(),
        }
    }

    /// For a member of the staff.
    pub(crate) fn with_user(self, user: User) -> Self {
        Self {
            user: Some(user),
            ..self
        }
    }

    /// The other language, to be offered.
    pub(crate) fn other(&self) -> Language {
        match self.t.0 {
            Language::Chinese => Language::English,
            Language::English => Language::Chinese,
        }
    }

    /// The address that switches to the other language and comes back.
    pub(crate) fn switch(&self) -> String {
        format!(
            "/language?to={}&back={}",
            self.other().tag(),
            percent_encode(&self.here)
        )
    }

    /// For the `lang` attribute of the page.
    pub(crate) const fn language_tag(&self) -> &'static str {
        self.t.0.tag()
    }

    /// The token for forms; empty for visitors.
    pub(crate) fn csrf(&self) -> &str {
        self.user.as_ref().map_or("", |user| user.csrf.as_str())
    }
}

/// Percent-encodes for a query value (RFC 3986, unreserved characters stay).
pub(crate) fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// An address of our own to go back to, or the queue: never another host's, never a header's line end.
pub(crate) fn local_address(address: &str) -> &str {
    let local = address.starts_with('/')
        && !address.starts_with("//")
        && !address.contains('\\')
        && address.bytes().all(|b| b.is_ascii_graphic());
    if local { address } else { "/queue" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_addresses_are_gone_back_to() {
        for good in ["/queue", "/members/1?days=30&unit=mg", "/queue#alert-1"] {
            assert_eq!(local_address(good), good);
        }
        for bad in [
            "https://example.org",
            "//example.org",
            "/\\example.org",
            "/a\r\nSet-Cookie: x",
            "",
            "queue",
        ] {
            assert_eq!(local_address(bad), "/queue", "{bad:?}");
        }
    }

    #[test]
    fn a_query_value_cannot_add_another() {
        assert_eq!(
            percent_encode("/queue?q=a b&c=王"),
            "/queue%3Fq%3Da%20b%26c%3D%E7%8E%8B"
        );
    }

    #[test]
    fn the_switch_offers_the_other_language_and_comes_back() {
        let shell = Shell::new(Texts(Language::Chinese), "t".to_owned(), "/queue?view=mine");
        assert_eq!(shell.switch(), "/language?to=en&back=/queue%3Fview%3Dmine");
    }
}
