//! The company's OpenID provider, as a client of it: the code flow with PKCE (RFC 6749, RFC 7636) for
//! the console and `countersign login`, and sign-in by a code on another device (RFC 8628).
//!
//! The ID token comes from the provider's own token endpoint, over TLS, so its signature is not
//! checked here (OpenID Connect Core §3.1.3.7); that it answers this very sign-in is. Whoever is
//! shown a token verifies it all the same.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
    BasicTokenType,
};
use oauth2::{
    AuthUrl, AuthorizationCode, Client, ClientId, CsrfToken, DeviceAuthorizationUrl,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, ExtraTokenFields, HttpRequest, HttpResponse,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, StandardDeviceAuthorizationResponse,
    StandardRevocableToken, StandardTokenResponse, TokenResponse as _, TokenUrl,
};
use reqwest::{Url, redirect, retry};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt::Display;
use std::pin::Pin;
use std::time::Duration;

/// How long somebody may take to sign in.
pub const SIGN_IN_MAX: Duration = Duration::from_secs(5 * 60);
/// Longest answer of the provider's, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// How long a connection, and an answer, may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How a gateway has people sign in. Its admin API says the same.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct How {
    /// The provider.
    pub issuer: String,
    /// Whether people are made up: then nobody signs in there.
    pub made_up: bool,
    /// The client, a public one.
    pub client_id: String,
    /// For whom tokens are.
    pub audience: String,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// Which token the gateway takes.
    pub token: Kind,
}

/// Which token the gateway takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The one about the sign-in.
    IdToken,
    /// The one for an API.
    AccessToken,
}

/// What a provider says of itself (OpenID Connect Discovery §3).
#[derive(Debug, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    device_authorization_endpoint: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct IdToken {
    id_token: Option<String>,
}

impl ExtraTokenFields for IdToken {}

type Tokens = StandardTokenResponse<IdToken, BasicTokenType>;
type Endpoints = Client<
    BasicErrorResponse,
    Tokens,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointMaybeSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// One sign-in: what ties the provider's answer to who asked.
#[derive(Clone)]
pub struct Attempt {
    /// Where the provider sends the browser back to.
    pub back: String,
    /// What comes back with it.
    pub state: String,
    /// What the ID token must have.
    pub nonce: String,
    /// What only the one who asked knows (RFC 7636 §4.1).
    pub verifier: String,
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Attempt({})", self.back)
    }
}

/// A provider that has said where it is asked.
#[derive(Debug)]
pub struct Provider {
    how: How,
    http: Http,
    endpoints: Endpoints,
}

impl Provider {
    /// Asks a provider where it is asked.
    ///
    /// # Errors
    /// A sentence for whoever signs in, here and below.
    pub async fn discover(how: How) -> Result<Self, String> {
        let http = Http::to(&how.issuer)?;
        let url = format!("{}/.well-known/openid-configuration", how.issuer.trim_end_matches('/'));
        let asked = http.0.get(&url).build().map_err(|error| away(&error))?;
        let answer = http.answer(asked).await?;
        let metadata: Metadata = serde_json::from_slice(answer.body())
            .map_err(|error| format!("{url} does not say how to sign in: {error}"))?;
        if metadata.issuer != how.issuer {
            let (named, own) = (&how.issuer, &metadata.issuer);
            return Err(format!("`{named}` calls itself `{own}`: it is another"));
        }
        let wrong = |error| format!("the identity provider's endpoints: {error}");
        let device = metadata.device_authorization_endpoint.map(DeviceAuthorizationUrl::new);
        let endpoints = Client::new(ClientId::new(how.client_id.clone()))
            .set_auth_uri(AuthUrl::new(metadata.authorization_endpoint).map_err(wrong)?)
            .set_token_uri(TokenUrl::new(metadata.token_endpoint).map_err(wrong)?)
            .set_device_authorization_url_option(device.transpose().map_err(wrong)?);
        Ok(Self { how, http, endpoints })
    }

    /// Whom it was asked of.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.how.issuer
    }

    fn scopes(&self) -> impl Iterator<Item = Scope> {
        self.how.scopes.iter().cloned().map(Scope::new)
    }

    /// Where somebody signs in; `fresh` if they have to prove anew who they are.
    ///
    /// # Errors
    /// If the way back is no address.
    pub fn authorize(&self, attempt: &Attempt, fresh: bool) -> Result<String, String> {
        let back = way_back(attempt)?;
        let verifier = PkceCodeVerifier::new(attempt.verifier.clone());
        let state = CsrfToken::new(attempt.state.clone());
        let mut asked = self
            .endpoints
            .authorize_url(|| state)
            .set_redirect_uri(Cow::Borrowed(&back))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .add_scopes(self.scopes())
            .add_extra_param("nonce", &attempt.nonce);
        if fresh {
            asked = asked.add_extra_param("prompt", "login").add_extra_param("max_age", "0");
        }
        if self.how.token == Kind::AccessToken {
            asked = asked.add_extra_param("resource", &self.how.audience);
        }
        Ok(asked.url().0.to_string())
    }

    /// The token that the gateway takes, for a code that came back with this attempt's state.
    ///
    /// # Errors
    /// If the provider does not give it.
    pub async fn exchange(&self, attempt: &Attempt, code: String) -> Result<String, String> {
        let back = way_back(attempt)?;
        let exchange = self
            .endpoints
            .exchange_code(AuthorizationCode::new(code))
            .set_redirect_uri(Cow::Borrowed(&back))
            .set_pkce_verifier(PkceCodeVerifier::new(attempt.verifier.clone()));
        let exchange = match self.how.token {
            Kind::AccessToken => exchange.add_extra_param("resource", &self.how.audience),
            Kind::IdToken => exchange,
        };
        let tokens = exchange.request_async(&self.http).await;
        self.token_of(&tokens.map_err(incomplete)?, Some(&attempt.nonce))
    }

    /// By a browser anywhere, with a code that is typed in there: `show` is told where, and the code.
    ///
    /// # Errors
    /// If nobody does so in time.
    pub async fn by_device(&self, show: impl FnOnce(&str, &str)) -> Result<String, String> {
        let asked = self
            .endpoints
            .exchange_device_code()
            .map_err(|_unset| "the identity provider has no sign-in for devices".to_owned())?;
        let asked = match self.how.token {
            Kind::AccessToken => asked.add_extra_param("resource", &self.how.audience),
            Kind::IdToken => asked,
        };
        let asked = asked.add_scopes(self.scopes()).request_async(&self.http).await;
        let device: StandardDeviceAuthorizationResponse = asked.map_err(incomplete)?;
        show(device.verification_uri().as_str(), device.user_code().secret());
        let tokens = self
            .endpoints
            .exchange_device_access_token(&device)
            .request_async(&self.http, tokio::time::sleep, Some(SIGN_IN_MAX))
            .await;
        self.token_of(&tokens.map_err(incomplete)?, None)
    }

    /// The token that the gateway takes, from an answer that belongs to this sign-in.
    fn token_of(&self, tokens: &Tokens, nonce: Option<&str>) -> Result<String, String> {
        const NONE: &str = "the identity provider sent no ID token";
        let id_token = tokens.extra_fields().id_token.as_deref();
        if let Some(id_token) = id_token {
            self.check(&payload(id_token)?, nonce)?;
        } else if nonce.is_some() && self.how.scopes.iter().any(|scope| scope == "openid") {
            return Err(NONE.to_owned());
        }
        match (self.how.token, id_token) {
            (Kind::AccessToken, _) => Ok(tokens.access_token().secret().clone()),
            (Kind::IdToken, Some(id_token)) => Ok(id_token.to_owned()),
            (Kind::IdToken, None) => Err(NONE.to_owned()),
        }
    }

    /// OpenID Connect Core §3.1.3.7, 2, 3, 5 and 11.
    fn check(&self, claims: &Value, nonce: Option<&str>) -> Result<(), String> {
        let client = &self.how.client_id;
        let says = |name: &str, value: &str| claims.get(name).is_some_and(|said| said == value);
        let audience = match claims.get("aud") {
            Some(Value::Array(all)) => {
                all.iter().any(|one| one == client.as_str()) && says("azp", client)
            }
            Some(one) => one == client.as_str(),
            None => false,
        };
        let wrong = [
            ("issuer", says("iss", &self.how.issuer)),
            ("audience", audience),
            ("nonce", nonce.is_none_or(|nonce| says("nonce", nonce))),
        ];
        match wrong.into_iter().find(|(_, holds)| !holds) {
            Some((what, _)) => Err(format!("the ID token is of another {what}")),
            None => Ok(()),
        }
    }
}

fn way_back(attempt: &Attempt) -> Result<RedirectUrl, String> {
    RedirectUrl::new(attempt.back.clone()).map_err(|error| format!("the way back: {error}"))
}

/// What the provider answers is its own to word; of its tokens nothing is repeated.
fn incomplete(error: impl Display) -> String {
    format!("the sign-in was not completed: {error}")
}

fn away(error: &reqwest::Error) -> String {
    let source = std::error::Error::source(error);
    format!(
        "the identity provider: {}",
        source.map_or_else(|| error.to_string(), ToString::to_string)
    )
}

/// What a token says. It is not verified.
///
/// # Errors
/// If it is none.
pub fn payload(token: &str) -> Result<Value, String> {
    let part = token.split('.').nth(1).unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
    serde_json::from_slice(&bytes).map_err(|_secret| "what was sent is no token".to_owned())
}

/// A client that sends a token where it is meant to go and nowhere else, and nothing twice.
pub fn client(encrypted: bool) -> reqwest::ClientBuilder {
    let client = reqwest::Client::builder()
        .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_proxy()
        .https_only(encrypted);
    // Without encryption it trusts no certificate, so it needs none on this machine.
    if encrypted { client } else { client.tls_certs_only([]) }
}

/// The client for an identity provider.
#[derive(Debug)]
struct Http(reqwest::Client);

impl Http {
    fn to(issuer: &str) -> Result<Self, String> {
        let url = Url::parse(issuer).map_err(|error| format!("`{issuer}`: {error}"))?;
        let here = url.host_str().is_some_and(|host| {
            let bare = host.trim_matches(['[', ']']);
            bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        });
        let encrypted = url.scheme() == "https";
        if !encrypted && !here {
            return Err(format!("`{issuer}` would be asked unencrypted"));
        }
        let client = client(encrypted).connect_timeout(CONNECT_TIMEOUT).timeout(ANSWER_TIMEOUT);
        client.build().map(Self).map_err(|error| format!("no HTTP client: {error}"))
    }

    async fn answer(&self, request: reqwest::Request) -> Result<HttpResponse, String> {
        let mut answer = self.0.execute(request).await.map_err(|e| away(&e.without_url()))?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| away(&e.without_url()))? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err("the identity provider's answer is too long".to_owned());
            }
        }
        let mut response = HttpResponse::new(body);
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        Ok(response)
    }
}

impl<'c> oauth2::AsyncHttpClient<'c> for Http {
    type Error = oauth2::HttpClientError<reqwest::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Self::Error>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let request = request.try_into().map_err(Box::new)?;
            self.answer(request).await.map_err(oauth2::HttpClientError::Other)
        })
    }
}
