//! Scheme, host and port: all that says where a system is.

use std::net::IpAddr;
use url::{Host, Url};

/// Where every request of a system goes: `https://crm.example:8443`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(Url);

/// Why a text is no origin. It never holds the text, which may be somebody's secret by mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// Anything but the one way to write it.
    #[error(
        "the origin must be written as `https://host` or `https://host:port`: in lower case, with nothing after it, no name or password, an address in its usual form, no port that is the scheme's own"
    )]
    Form,
    /// Anybody on the way could read and change what is said.
    #[error(
        "the origin is not encrypted: write `https://`, or say `plaintext: true` in the system's file"
    )]
    Plaintext,
    /// It is where no system of this kind may be.
    #[error(
        "the origin's own address is not one that the system permits: name its network under `networks`"
    )]
    Address,
}

impl Origin {
    /// Reads an origin. What a URL parser would silently make into another text (a host in capitals, a
    /// number for an address, a dot at the end, a Unicode name) is refused: what is reviewed is what is
    /// reached. `http` is for an address of this very machine, unless `plaintext` says otherwise.
    ///
    /// # Errors
    /// [`OriginError`].
    pub fn parse(text: &str, plaintext: bool) -> Result<Self, OriginError> {
        let url = Url::parse(text).map_err(|_unlike| OriginError::Form)?;
        let usual = url.origin().ascii_serialization() == text;
        let dotted = url.host_str().is_some_and(|host| host.ends_with('.'));
        if !matches!(url.scheme(), "http" | "https") || !usual || dotted {
            return Err(OriginError::Form);
        }
        let origin = Self(url);
        let here = origin.address().is_some_and(|address| address.is_loopback());
        if !origin.is_encrypted() && !plaintext && !here {
            return Err(OriginError::Plaintext);
        }
        Ok(origin)
    }

    /// Whether it is `https`.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Host and port.
    pub(super) fn place(&self) -> (&str, u16) {
        let port = self.0.port_or_known_default().unwrap_or_default();
        (self.0.host_str().unwrap_or_default(), port)
    }

    /// The address, if the host is one and not a name.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self.0.host()? {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
        }
    }

    /// The URL of `path` and `query` here, if it is just that: neither is anything but itself.
    pub(super) fn at(&self, path: &str, query: Option<&str>) -> Option<Url> {
        let text = format!("{}{path}", self.0.origin().ascii_serialization());
        let text = query.map_or_else(|| text.clone(), |query| format!("{text}?{query}"));
        let url = Url::parse(&text).ok()?;
        // INVARIANT: no argument moves a request. A parser collapses dot segments and reads `\`, `@` and
        // more in its own way; if it saw any of it, this is not the URL that was meant.
        let same = url.as_str() == text
            && url.origin() == self.0.origin()
            && (url.path(), url.query(), url.fragment()) == (path, query, None)
            && url.username().is_empty()
            && url.password().is_none();
        same.then_some(url)
    }
}
