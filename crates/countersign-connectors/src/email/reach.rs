//! How a mail server is reached: where it is, over what, and as whom.

use super::{EmailSystem, chain, slow::Slow};
use crate::http::{Unpermitted, permitted};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::extension::ClientId;
use secrecy::ExposeSecret;
use std::net::{IpAddr, SocketAddr};
use std::{error::Error, fmt, io, time::Duration};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Host;

/// How long a connection may take to come about; the call's own time may end sooner.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How a password is told, over an encrypted connection or on this machine.
const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];

/// Where a mail server is: `smtp.example.com:587`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailServer {
    host: Host,
    port: u16,
}

/// How a mail server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailEncryption {
    /// TLS from the first byte (RFC 8314 §3.3).
    Tls,
    /// TLS after `STARTTLS` (RFC 3207), and nothing without it.
    StartTls,
    /// None.
    Off,
}

/// Why a mail server cannot be reached as it is configured. It never holds what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailServerError {
    /// Anything but the one way to write it.
    #[error(
        "the mail server must be written as `host:port`: in lower case, an address in its usual form, with a port"
    )]
    Form,
    /// The message and the password would cross a network in the clear.
    #[error("`encryption: none` is for an address of this very machine, as `127.0.0.1:25`")]
    Plaintext,
    /// It is where no system of this kind may be.
    #[error(
        "the mail server's own address is not one that the system permits: name its network under `networks`"
    )]
    Address,
    /// The certificates to trust.
    #[error("the certificates to trust cannot be read: {0}")]
    Authorities(String),
}

impl MailServer {
    /// Reads host and port.
    ///
    /// # Errors
    /// [`MailServerError::Form`].
    pub fn parse(text: &str) -> Result<Self, MailServerError> {
        let (host, port) = text.rsplit_once(':').ok_or(MailServerError::Form)?;
        let port = port.parse().ok().filter(|port: &u16| *port > 0);
        let parsed = Host::parse(host).ok().zip(port);
        let (host, port) = parsed.ok_or(MailServerError::Form)?;
        let server = Self { host, port };
        let dotted = matches!(&server.host, Host::Domain(name) if name.ends_with('.'));
        if dotted || server.to_string() != text {
            return Err(MailServerError::Form);
        }
        Ok(server)
    }

    /// The address, if the host is one and not a name.
    fn address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
        }
    }

    /// What its certificate must be for.
    fn name(&self) -> String {
        self.address().map_or_else(|| self.host.to_string(), |address| address.to_string())
    }
}

impl fmt::Display for MailServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Why there is no connection. What it holds the server or the network said.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreached {
    #[error("the mail server cannot be reached: {0}")]
    Nowhere(String),
    #[error("{0}")]
    Foreign(String),
    #[error("the mail server offers no STARTTLS, and nothing is said to it without")]
    Plain,
    #[error("the mail server's encryption cannot be trusted: {0}")]
    Untrusted(String),
    #[error("the mail server does not take the credential: {0}")]
    Unknown(String),
}

/// The way to a server. The credential stays with the system until it is spent.
pub(super) struct Reach {
    tls: Option<TlsParameters>,
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach").field("encrypted", &self.tls.is_some()).finish()
    }
}

impl Reach {
    pub(super) fn new(system: &EmailSystem) -> Result<Self, MailServerError> {
        let address = system.server.address();
        if address.is_some_and(|address| !system.networks.permit(address)) {
            return Err(MailServerError::Address);
        }
        let here = address.is_some_and(|address| address.is_loopback());
        let tls = match system.encryption {
            MailEncryption::Off if here => None,
            MailEncryption::Off => return Err(MailServerError::Plaintext),
            MailEncryption::Tls | MailEncryption::StartTls => Some(verified(system)?),
        };
        Ok(Self { tls })
    }

    /// Connects, greets, has the connection encrypted and proves who it is.
    pub(super) async fn connect(
        &self,
        system: &EmailSystem,
    ) -> Result<AsyncSmtpConnection, Unreached> {
        let greeting = ClientId::Domain(system.from.domain().to_string());
        let places = places(system).await?;
        let mut connection = match (system.encryption, &self.tls) {
            (MailEncryption::Off, _) => greeted(&places, &greeting).await?,
            (MailEncryption::Tls, Some(tls)) => encrypted(&places, &greeting, tls).await?,
            (MailEncryption::StartTls, Some(tls)) => {
                let mut connection = greeted(&places, &greeting).await?;
                if !connection.can_starttls() {
                    return Err(Unreached::Plain);
                }
                let secured = connection.starttls(tls.clone(), &greeting).await;
                secured.map_err(|error| Unreached::Untrusted(chain(&error)))?;
                connection
            }
            (MailEncryption::Tls | MailEncryption::StartTls, None) => return Err(Unreached::Plain),
        };
        // INVARIANT: neither the password nor a message is sent before the connection is what it must be.
        if system.encryption != MailEncryption::Off && !connection.is_encrypted() {
            return Err(Unreached::Plain);
        }
        if let Some((user, password)) = &system.credential {
            let (user, password) = (user.expose_secret(), password.expose_secret());
            let credentials = Credentials::new(user.to_owned(), password.to_owned());
            let known = connection.auth(&MECHANISMS, &credentials).await;
            known.map_err(|error| Unreached::Unknown(chain(&error)))?;
        }
        Ok(connection)
    }
}

/// Where it may be connected to, in the order in which that is tried.
async fn places(system: &EmailSystem) -> Result<Vec<SocketAddr>, Unreached> {
    let EmailSystem { server, networks, names, .. } = system;
    let addresses = match server.address() {
        Some(address) => vec![address],
        None => {
            let host = server.host.to_string();
            permitted(&**names, networks, &host).await.map_err(|why| match why {
                Unpermitted::Unknown(error) => Unreached::Nowhere(error.to_string()),
                Unpermitted::Foreign(said) => Unreached::Foreign(said),
            })?
        }
    };
    Ok(addresses.into_iter().map(|address| SocketAddr::new(address, server.port)).collect())
}

/// A connection without encryption, to the first place that takes one.
async fn greeted(
    places: &[SocketAddr],
    greeting: &ClientId,
) -> Result<AsyncSmtpConnection, Unreached> {
    let mut failed = String::new();
    for place in places {
        match timeout(CONNECT_MAX, TcpStream::connect(place)).await {
            Ok(Ok(stream)) => {
                let stream = Box::new(Slow::new(stream));
                let greeted = AsyncSmtpConnection::connect_with_transport(stream, greeting).await;
                return greeted.map_err(|error| Unreached::Nowhere(chain(&error)));
            }
            Ok(Err(error)) => failed = error.to_string(),
            Err(_elapsed) => failed = "nobody answers there in time".to_owned(),
        }
    }
    Err(Unreached::Nowhere(failed))
}

/// A connection that is encrypted from its first byte, to the first place that takes one.
async fn encrypted(
    places: &[SocketAddr],
    greeting: &ClientId,
    tls: &TlsParameters,
) -> Result<AsyncSmtpConnection, Unreached> {
    let mut failed = String::new();
    for place in places {
        let (tls, time) = (Some(tls.clone()), Some(CONNECT_MAX));
        match AsyncSmtpConnection::connect_tokio1(place, time, greeting, tls, None).await {
            Ok(connection) => return Ok(connection),
            Err(error) if is_of_tls(&error) => return Err(Unreached::Untrusted(chain(&error))),
            Err(error) => failed = chain(&error),
        }
    }
    Err(Unreached::Nowhere(failed))
}

/// Whether it was the encryption that failed.
fn is_of_tls(error: &(dyn Error + 'static)) -> bool {
    let of_tls =
        |error: &io::Error| error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    error.downcast_ref().is_some_and(of_tls) || error.source().is_some_and(is_of_tls)
}

/// TLS that trusts these certificates, or the machine's own, and the host's name in them.
fn verified(system: &EmailSystem) -> Result<TlsParameters, MailServerError> {
    let unreadable = |error| MailServerError::Authorities(chain(&error));
    let mut builder = TlsParameters::builder(system.server.name());
    if let Some(pem) = &system.authorities {
        let authority = Certificate::from_pem(pem.as_bytes()).map_err(unreadable)?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(authority);
    }
    builder.build_rustls().map_err(unreadable)
}
