//! What a request is authorised by: the gateway's own credential, never the caller's.

use crate::secrets::Secrets;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Request;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

/// One header that a request carries. It never shows its value.
#[derive(Debug, Clone)]
pub struct Credential {
    header: HeaderName,
    /// The header's whole value.
    value: SecretString,
    /// The part of it that is secret: what must not come back.
    secrets: Secrets,
}

/// Why a secret cannot be sent. It never holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// It would end the header, or would be read otherwise than it was written.
    #[error("the credential holds characters other than visible ASCII")]
    Characters,
    /// It would make the password begin elsewhere (RFC 7617 §2).
    #[error("the user's name holds a colon")]
    Colon,
    /// Not the name of a header.
    #[error("the credential's header has no name that can be sent")]
    Header,
}

impl Credential {
    /// A bearer token (RFC 6750).
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn bearer(token: &SecretString) -> Result<Self, CredentialError> {
        let value = SecretString::from(format!("Bearer {}", visible(token, false)?));
        Ok(Self { header: AUTHORIZATION, value, secrets: Secrets::new(vec![token.clone()]) })
    }

    /// A name and a password (RFC 7617).
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn basic(user: &SecretString, password: &SecretString) -> Result<Self, CredentialError> {
        let (name, secret) = (visible(user, true)?, visible(password, true)?);
        if name.contains(':') {
            return Err(CredentialError::Colon);
        }
        let pair = SecretString::from(STANDARD.encode(format!("{name}:{secret}")));
        let value = SecretString::from(format!("Basic {}", pair.expose_secret()));
        Ok(Self {
            header: AUTHORIZATION,
            value,
            secrets: Secrets::new(vec![password.clone(), pair]),
        })
    }

    /// A header of the system's own.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn header(name: &str, value: &SecretString) -> Result<Self, CredentialError> {
        let header = HeaderName::try_from(name).map_err(|_odd| CredentialError::Header)?;
        visible(value, true)?;
        Ok(Self { header, value: value.clone(), secrets: Secrets::new(vec![value.clone()]) })
    }

    /// Puts it on a request, over whatever stands there by that name.
    pub(super) fn spend(&self, request: &mut Request) {
        // It was checked when it was made. If it could not be sent, the request goes without one.
        if let Ok(mut value) = HeaderValue::from_str(self.value.expose_secret()) {
            value.set_sensitive(true);
            request.headers_mut().insert(self.header.clone(), value);
        }
    }

    /// The part of it that must not come back.
    pub(crate) const fn secrets(&self) -> &Secrets {
        &self.secrets
    }
}

impl PartialEq for Credential {
    /// For the deployment's own secrets, to know one that was changed: nobody else chooses either.
    fn eq(&self, other: &Self) -> bool {
        self.header == other.header && self.value.expose_secret() == other.value.expose_secret()
    }
}

impl Eq for Credential {}

fn visible(secret: &SecretString, blanks: bool) -> Result<&str, CredentialError> {
    let text = secret.expose_secret();
    let blank = |c: char| blanks && c == ' ';
    let fits = !text.is_empty() && text.trim() == text;
    let fits = fits && text.chars().all(|c| c.is_ascii_graphic() || blank(c));
    if fits { Ok(text) } else { Err(CredentialError::Characters) }
}
