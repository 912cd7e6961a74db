//! How a database is reached: where it is, as whom, and over what.

use super::query::said;
use super::wire::{Bounded, BoundedTls};
use super::{Encryption, PostgresSystem};
use crate::fault;
use countersign_core::refusal::{SystemFault, SystemFaultKind};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_native_certs::load_native_certs;
use secrecy::{ExposeSecret, SecretString};
use std::{fmt, io, net::IpAddr, path::PathBuf, sync::Arc};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{CancelToken, Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::either::Either;
use tokio_util::task::AbortOnDropHandle;

/// The task that carries a connection, until it ends, and why it did. Dropping it ends it.
pub(super) type Wire = AbortOnDropHandle<Result<(), tokio_postgres::Error>>;

/// The port of PostgreSQL, if the connection names none.
const PORT: u16 = 5432;

/// Why a database cannot be reached as it is configured. It never holds the connection.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// The driver cannot read it, or it has several hosts.
    #[error(
        "the connection cannot be read: write `postgres://user:password@host/database`, with one host and without `sslmode`"
    )]
    Connection,
    /// It does not say where or as whom.
    #[error("the connection names no {0}")]
    Missing(&'static str),
    /// Rows and the password would cross a network in the clear.
    #[error("`tls: none` is for a database on this machine alone")]
    Plaintext,
    /// The certificates to trust.
    #[error("the certificates to trust cannot be read: {0}")]
    Authorities(String),
}

/// Where a database is, as whom to speak to it, and over what. The credential stays where it is
/// until it is spent.
pub(super) struct Reach {
    connection: SecretString,
    place: Place,
    tls: Option<MakeRustlsConnect>,
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach").field("place", &self.place).finish_non_exhaustive()
    }
}

/// A stream to the server.
type Stream = Either<UnixStream, TcpStream>;

#[derive(Debug)]
enum Place {
    Socket(PathBuf),
    Network { host: String, address: Option<IpAddr>, port: u16 },
}

impl Place {
    /// The one that a connection names.
    fn of(config: &Config) -> Result<Self, Unreachable> {
        let port = match config.get_ports() {
            [] => PORT,
            [port] => *port,
            _ => return Err(Unreachable::Connection),
        };
        let address = match config.get_hostaddrs() {
            [] => None,
            [address] => Some(*address),
            _ => return Err(Unreachable::Connection),
        };
        match (config.get_hosts(), address) {
            ([Host::Unix(folder)], None) => {
                Ok(Self::Socket(folder.join(format!(".s.PGSQL.{port}"))))
            }
            ([Host::Tcp(host)], _) => Ok(Self::Network { host: host.clone(), address, port }),
            ([], Some(known)) => Ok(Self::Network { host: known.to_string(), address, port }),
            ([], None) => Err(Unreachable::Missing("host")),
            _ => Err(Unreachable::Connection),
        }
    }

    /// Whether it is on this machine, as far as its name says.
    fn is_here(&self) -> bool {
        match self {
            Self::Socket(_) => true,
            Self::Network { address: Some(address), .. } => address.is_loopback(),
            Self::Network { host, .. } => {
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        }
    }
}

/// A connection's text, with what does not depend on the place.
fn read(connection: &SecretString, encrypted: bool) -> Result<Config, Unreachable> {
    // The driver's own words could repeat a part of the password.
    let config = connection.expose_secret().parse::<Config>();
    let mut config = config.map_err(|_hidden| Unreachable::Connection)?;
    config.ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable });
    if config.get_application_name().is_none() {
        config.application_name("countersign");
    }
    Ok(config)
}

impl Reach {
    pub(super) fn new(system: &PostgresSystem) -> Result<Self, Unreachable> {
        let config = read(&system.connection, false)?;
        if config.get_user().is_none() {
            return Err(Unreachable::Missing("user"));
        }
        let place = Place::of(&config)?;
        let encryption = match (system.encryption, place.is_here()) {
            (Some(Encryption::Off), false) => return Err(Unreachable::Plaintext),
            (Some(encryption), _) => encryption,
            (None, true) => Encryption::Off,
            (None, false) => Encryption::VerifyFull,
        };
        let tls = match encryption {
            Encryption::VerifyFull => Some(verified(system.authorities.as_deref())?),
            Encryption::Off => None,
        };
        Ok(Self { connection: system.connection.clone(), place, tls })
    }

    /// Connects and proves who it is.
    pub(super) async fn connect(&self) -> Result<(Client, Wire), SystemFault> {
        let config = read(&self.connection, self.tls.is_some());
        let config = config.map_err(|error| unavailable(&error))?;
        let stream = self.stream().await?;
        if let Some(tls) = self.verifier()? {
            let greeted = config.connect_raw(stream, BoundedTls(tls)).await;
            let (client, wire) = greeted.map_err(|error| refused(&error))?;
            return Ok((client, AbortOnDropHandle::new(tokio::spawn(wire))));
        }
        let greeted = config.connect_raw(Bounded::new(stream), NoTls).await;
        let (client, wire) = greeted.map_err(|error| refused(&error))?;
        Ok((client, AbortOnDropHandle::new(tokio::spawn(wire))))
    }

    /// Asks the server, over a connection of its own, to stop what another is doing.
    pub(super) async fn cancel(&self, token: &CancelToken) -> Result<(), SystemFault> {
        let stream = self.stream().await?;
        let asked = match self.verifier()? {
            Some(tls) => token.cancel_query_raw(stream, tls).await,
            None => token.cancel_query_raw(stream, NoTls).await,
        };
        asked.map_err(|error| refused(&error))
    }

    async fn stream(&self) -> Result<Stream, SystemFault> {
        let stream = match &self.place {
            Place::Socket(path) => UnixStream::connect(path).await.map(Either::Left),
            Place::Network { host, address, port } => {
                let host = address.map_or_else(|| host.clone(), |address| address.to_string());
                tcp(&host, *port, self.tls.is_none()).await.map(Either::Right)
            }
        };
        stream.map_err(|error| unavailable(&error))
    }

    /// What proves that the server is the host that was meant.
    fn verifier(&self) -> Result<Option<Verifier>, SystemFault> {
        let (Some(mut tls), Place::Network { host, .. }) = (self.tls.clone(), &self.place) else {
            return Ok(None);
        };
        let verifier = MakeTlsConnect::<Stream>::make_tls_connect(&mut tls, host);
        verifier.map(Some).map_err(|error| unavailable(&error))
    }
}

type Verifier = <MakeRustlsConnect as MakeTlsConnect<Stream>>::TlsConnect;

/// The first address that takes a connection; if `here`, only one of this machine.
async fn tcp(host: &str, port: u16, here: bool) -> io::Result<TcpStream> {
    let mut failed = io::Error::other("the host has no address that may be used");
    for address in lookup_host((host, port)).await? {
        if here && !address.ip().is_loopback() {
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// TLS that trusts these certificates, or the machine's own, and the host's name in them.
fn verified(authorities: Option<&str>) -> Result<MakeRustlsConnect, Unreachable> {
    let unreadable = |error: &dyn fmt::Display| Unreachable::Authorities(error.to_string());
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|error| unreadable(&error))?;
                roots.add(certificate).map_err(|error| unreadable(&error))?;
            }
        }
        // Some of the machine's may be of a kind that is not read; those that are will do.
        None => drop(roots.add_parsable_certificates(load_native_certs().certs)),
    }
    if roots.is_empty() {
        return Err(unreadable(&"there are none"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unreadable(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn unavailable(why: &dyn fmt::Display) -> SystemFault {
    fault(SystemFaultKind::Unavailable, format!("the database cannot be reached: {why}"))
}

/// What it means that a connection does not come about.
fn refused(error: &tokio_postgres::Error) -> SystemFault {
    let full = error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS);
    let kind = if full { SystemFaultKind::Busy } else { SystemFaultKind::Unavailable };
    fault(kind, format!("the database takes no connection: {}", said(error)))
}
