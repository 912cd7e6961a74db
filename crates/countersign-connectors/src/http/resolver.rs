//! Our own resolver: an address that is not permitted is never connected to, however a name came to
//! stand for it. What is checked here is what is connected to, so a name that says something else a
//! moment later changes nothing.

use super::address::{Address, Networks};
use countersign_core::port::Eventually;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{fmt::Debug, io, net::SocketAddr, sync::Arc};

/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

/// What names stand for in the network.
pub trait Names: Send + Sync + Debug {
    /// The addresses of a host, now. Nothing about them is to be believed.
    ///
    /// # Errors
    /// There are none, or nobody could be asked.
    fn addresses<'a>(&'a self, host: &'a str) -> Eventually<'a, io::Result<Vec<Address>>>;
}

/// The names that this machine knows.
#[derive(Debug)]
pub struct SystemNames;

impl Names for SystemNames {
    fn addresses<'a>(&'a self, host: &'a str) -> Eventually<'a, io::Result<Vec<Address>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Why a name leads nowhere that may be connected to.
#[derive(Debug)]
pub(crate) enum Unpermitted {
    /// Nobody knows it.
    Unknown(io::Error),
    /// It stands for nothing, or for what the system does not permit.
    Foreign(String),
}

/// What a name stands for, as far as it may be connected to: at least one address.
pub(crate) async fn permitted(
    names: &dyn Names,
    networks: &Networks,
    host: &str,
) -> Result<Vec<Address>, Unpermitted> {
    let found = names.addresses(host).await.map_err(Unpermitted::Unknown)?;
    let permitted = found.iter().copied().filter(|&address| networks.permit(address));
    let permitted: Vec<_> = permitted.take(ADDRESSES_MAX).collect();
    if !permitted.is_empty() {
        return Ok(permitted);
    }
    let found: Vec<_> = found.iter().take(ADDRESSES_MAX).map(Address::to_string).collect();
    Err(Unpermitted::Foreign(match found.as_slice() {
        [] => "the system's name stands for no address".to_owned(),
        found => format!(
            "the system's name stands for {}, and no such address is permitted",
            found.join(", ")
        ),
    }))
}

/// Those of the addresses that a system may have.
#[derive(Debug)]
pub(super) struct Permitted {
    networks: Networks,
    names: Arc<dyn Names>,
}

impl Permitted {
    pub(super) const fn new(networks: Networks, names: Arc<dyn Names>) -> Self {
        Self { networks, names }
    }
}

impl Resolve for Permitted {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { networks, names } = self;
        let (networks, names) = (networks.clone(), Arc::clone(names));
        Box::pin(async move {
            let permitted = permitted(&*names, &networks, name.as_str()).await;
            let permitted = permitted.map_err(|why| match why {
                Unpermitted::Unknown(error) => error,
                Unpermitted::Foreign(why) => io::Error::new(io::ErrorKind::PermissionDenied, why),
            })?;
            // Port 0 leaves it to the URL.
            let addresses = permitted.into_iter().map(|address| SocketAddr::new(address, 0));
            let addresses: Addrs = Box::new(addresses);
            Ok(addresses)
        })
    }
}
