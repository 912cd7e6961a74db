//! Signing in at an OpenID provider: the code flow with PKCE, back to this machine (RFC 8252, RFC
//! 7636), or by a code on another device (RFC 8628).
//!
//! The ID token comes from the provider's own token endpoint, over TLS, so its signature is not
//! checked here (OpenID Connect Core §3.1.3.7); that it answers this very sign-in is. The gateway
//! verifies whatever it is shown.

use super::super::admin::{client, whole};
use crate::machine::SystemEntropy;
use crate::render::{self, Doing, Failure};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::port::Entropy as _;
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
    BasicTokenType,
};
use oauth2::{
    AuthUrl, AuthorizationCode, Client, ClientId, CsrfToken, DeviceAuthorizationUrl,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, ExtraTokenFields, HttpRequest, HttpResponse,
    PkceCodeChallenge, RedirectUrl, Scope, StandardDeviceAuthorizationResponse,
    StandardRevocableToken, StandardTokenResponse, TokenResponse as _, TokenUrl,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

/// How long somebody may take to sign in.
const SIGN_IN_MAX: Duration = Duration::from_secs(5 * 60);
/// Longest request from the browser that is read, in bytes.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Longest answer of the provider's, in bytes.
const TOKENS_BYTES_MAX: usize = 256 * 1024;
/// How long the browser may take to send it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Where the provider sends the browser back to.
const BACK: &str = "/callback";

/// How a gateway has people sign in.
#[derive(Debug, Deserialize)]
pub(super) struct How {
    pub(super) issuer: String,
    client_id: String,
    audience: String,
    scopes: Vec<String>,
    token: Kind,
}

/// Which token the gateway takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    IdToken,
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
type Provider = Client<
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

/// How somebody signs in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// Whether they have to prove anew who they are.
    pub(super) fresh: bool,
    /// The port that the provider sends them back to; any, if it is 0.
    pub(super) port: u16,
    /// Whether a browser is opened.
    pub(super) browser: bool,
}

impl How {
    async fn provider(&self, http: &Http) -> Result<Provider, Failure> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let away = |error: reqwest::Error| Failure::new(format!("the identity provider: {error}"));
        let answer = http.0.get(&url).send().await.map_err(away)?;
        let told = whole(answer).await.map_err(away)?.unwrap_or_default();
        let metadata: Metadata = serde_json::from_value(told)
            .map_err(|error| Failure::new(format!("{url} does not say how to sign in: {error}")))?;
        if metadata.issuer != self.issuer {
            let (named, own) = (&self.issuer, &metadata.issuer);
            return Err(Failure::new(format!("`{named}` calls itself `{own}`: it is another")));
        }
        let device = metadata.device_authorization_endpoint.map(DeviceAuthorizationUrl::new);
        Ok(Client::new(ClientId::new(self.client_id.clone()))
            .set_auth_uri(AuthUrl::new(metadata.authorization_endpoint).doing("its endpoint")?)
            .set_token_uri(TokenUrl::new(metadata.token_endpoint).doing("its endpoint")?)
            .set_device_authorization_url_option(device.transpose().doing("its endpoint")?))
    }

    fn scopes(&self) -> impl Iterator<Item = Scope> {
        self.scopes.iter().cloned().map(Scope::new)
    }

    /// By a browser on this machine.
    pub(super) async fn by_browser(&self, manner: Manner) -> Result<String, Failure> {
        let http = Http::to(&self.issuer)?;
        let provider = self.provider(&http).await?;
        let listener = TcpListener::bind(("127.0.0.1", manner.port)).await;
        let listener = listener.doing("nobody could be sent back here")?;
        let port = listener.local_addr().doing("the listener")?.port();
        let back =
            RedirectUrl::new(format!("http://127.0.0.1:{port}{BACK}")).doing("the way back")?;
        let (state, nonce, verifier) = (drawn(), drawn(), drawn());
        let verifier = oauth2::PkceCodeVerifier::new(verifier);
        let given = CsrfToken::new(state.clone());
        let mut asked = provider
            .authorize_url(|| given)
            .set_redirect_uri(Cow::Borrowed(&back))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .add_scopes(self.scopes())
            .add_extra_param("nonce", &nonce);
        if manner.fresh {
            asked = asked.add_extra_param("prompt", "login").add_extra_param("max_age", "0");
        }
        if self.token == Kind::AccessToken {
            asked = asked.add_extra_param("resource", &self.audience);
        }
        let (url, _state) = asked.url();
        render::note(format_args!("sign in at\n\n  {url}\n"));
        if manner.browser {
            open(&url);
        }
        let returned = tokio::time::timeout(SIGN_IN_MAX, returned(&listener, &state, &self.issuer));
        let code = returned.await.map_err(|_late| Failure::new("nobody signed in in time"))??;
        let exchange = provider
            .exchange_code(AuthorizationCode::new(code))
            .set_redirect_uri(Cow::Borrowed(&back))
            .set_pkce_verifier(verifier);
        let exchange = match self.token {
            Kind::AccessToken => exchange.add_extra_param("resource", &self.audience),
            Kind::IdToken => exchange,
        };
        let tokens = exchange.request_async(&http).await.doing("the sign-in was not completed")?;
        self.token_of(&tokens, Some(&nonce))
    }

    /// By a browser anywhere, with a code that is typed in there.
    pub(super) async fn by_device(&self) -> Result<String, Failure> {
        let http = Http::to(&self.issuer)?;
        let provider = self.provider(&http).await?;
        let unable = || Failure::new("the identity provider has no sign-in for devices");
        let asked = provider.exchange_device_code().map_err(|_unset| unable())?;
        let asked = match self.token {
            Kind::AccessToken => asked.add_extra_param("resource", &self.audience),
            Kind::IdToken => asked,
        };
        let asked = asked.add_scopes(self.scopes()).request_async(&http).await;
        let device: StandardDeviceAuthorizationResponse =
            asked.doing("no sign-in for this device")?;
        let (at, code) = (device.verification_uri().as_str(), device.user_code().secret());
        render::note(format_args!("sign in at\n\n  {at}\n\nwith the code {code}\n"));
        let tokens = provider
            .exchange_device_access_token(&device)
            .request_async(&http, tokio::time::sleep, Some(SIGN_IN_MAX))
            .await
            .doing("the sign-in was not completed")?;
        self.token_of(&tokens, None)
    }

    /// The token that the gateway takes, from an answer that belongs to this sign-in.
    fn token_of(&self, tokens: &Tokens, nonce: Option<&str>) -> Result<String, Failure> {
        let id_token = tokens.extra_fields().id_token.as_deref();
        if let Some(id_token) = id_token {
            self.check(&payload(id_token)?, nonce)?;
        } else if nonce.is_some() && self.scopes.iter().any(|scope| scope == "openid") {
            return Err(Failure::new("the identity provider sent no ID token"));
        }
        match (self.token, id_token) {
            (Kind::AccessToken, _) => Ok(tokens.access_token().secret().clone()),
            (Kind::IdToken, Some(id_token)) => Ok(id_token.to_owned()),
            (Kind::IdToken, None) => Err(Failure::new("the identity provider sent no ID token")),
        }
    }

    /// OpenID Connect Core §3.1.3.7, 2, 3, 5 and 11.
    fn check(&self, claims: &Value, nonce: Option<&str>) -> Result<(), Failure> {
        let says = |name: &str, value: &str| claims.get(name).is_some_and(|said| said == value);
        let audience = match claims.get("aud") {
            Some(Value::Array(all)) => {
                all.iter().any(|one| *one == *self.client_id) && says("azp", &self.client_id)
            }
            Some(one) => *one == *self.client_id,
            None => false,
        };
        let wrong = [
            ("issuer", says("iss", &self.issuer)),
            ("audience", audience),
            ("nonce", nonce.is_none_or(|nonce| says("nonce", nonce))),
        ];
        match wrong.into_iter().find(|(_, holds)| !holds) {
            Some((what, _)) => Err(Failure::new(format!("the ID token is of another {what}"))),
            None => Ok(()),
        }
    }
}

/// What a token says. It is not verified.
pub(super) fn payload(token: &str) -> Result<Value, Failure> {
    let part = token.split('.').nth(1).unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
    serde_json::from_slice(&bytes).map_err(|_secret| Failure::new("what was sent is no token"))
}

/// 32 random bytes as text.
fn drawn() -> String {
    let mut random = [0; 32];
    SystemEntropy.fill(&mut random);
    URL_SAFE_NO_PAD.encode(random)
}

/// Opens a browser, if there is one. The address is shown anyway.
fn open(url: &Url) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let silent = (Stdio::null(), Stdio::null(), Stdio::null());
    let mut command = Command::new(program);
    command.arg(url.as_str()).stdin(silent.0).stdout(silent.1).stderr(silent.2);
    drop(command.spawn()); // Without one, the address is there to be copied.
}

/// The code that the browser brings back with our own state. Whatever else comes is sent away: any
/// page may ask this machine for anything.
async fn returned(listener: &TcpListener, state: &str, issuer: &str) -> Result<String, Failure> {
    loop {
        let (mut stream, _) = listener.accept().await.doing("the listener")?;
        let read = tokio::time::timeout(REQUEST_TIMEOUT, target(&mut stream)).await;
        let Some(target) = read.ok().flatten() else { continue };
        let url = Url::parse(&format!("http://127.0.0.1{target}")).ok();
        let url = url.filter(|url| url.path() == BACK);
        let member = |name: &str| {
            let mut pairs = url.as_ref()?.query_pairs();
            pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        let ours = member("state").as_deref() == Some(state);
        // RFC 9207: where it says who answers, it must be whom we asked.
        let ours = ours && member("iss").is_none_or(|iss| iss == issuer);
        let (said, end) = match (ours, member("code"), member("error")) {
            (true, Some(code), None) => ("You are signed in. This page can be closed.", Ok(code)),
            (true, _, Some(error)) => {
                let error = crate::report::visible(&error);
                let why = format!("the identity provider does not sign you in: {error}");
                ("You are not signed in.", Err(Failure::new(why)))
            }
            _ => {
                reply(&mut stream, "404 Not Found", "There is nothing here.").await;
                continue;
            }
        };
        reply(&mut stream, "200 OK", said).await;
        return end;
    }
}

/// What a request asks for, by its first line.
async fn target(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    let mut chunk = [0; 1024];
    while !read.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        read.extend_from_slice(chunk.get(..count)?);
        if read.len() > REQUEST_BYTES_MAX {
            return None;
        }
    }
    let text = String::from_utf8(read).ok()?;
    let mut words = text.lines().next()?.split(' ');
    let (way, target) = (words.next()?, words.next()?);
    (way == "GET").then(|| target.to_owned())
}

async fn reply(stream: &mut TcpStream, status: &str, text: &str) {
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\ncache-control: no-store\r\nreferrer-policy: no-referrer\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    // Whether the browser shows it changes nothing.
    drop(stream.write_all(answer.as_bytes()).await);
    drop(stream.shutdown().await);
}

/// The client for an identity provider.
struct Http(reqwest::Client);

impl Http {
    fn to(issuer: &str) -> Result<Self, Failure> {
        let url = Url::parse(issuer).doing("the identity provider's name")?;
        let here = match url.host() {
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            Some(url::Host::Domain(_)) | None => false,
        };
        if url.scheme() != "https" && !here {
            return Err(Failure::new(format!("`{issuer}` would be asked unencrypted")));
        }
        client(url.scheme() == "https").build().map(Self).doing("no HTTP client")
    }
}

impl<'c> oauth2::AsyncHttpClient<'c> for Http {
    type Error = oauth2::HttpClientError<reqwest::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Self::Error>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let request = request.try_into().map_err(Box::new)?;
            let mut answer = self.0.execute(request).await.map_err(Box::new)?;
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(Box::new)? {
                body.extend_from_slice(&chunk);
                if body.len() > TOKENS_BYTES_MAX {
                    return Err(oauth2::HttpClientError::Other(
                        "its answer is too long".to_owned(),
                    ));
                }
            }
            let mut response = HttpResponse::new(body);
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            Ok(response)
        })
    }
}
