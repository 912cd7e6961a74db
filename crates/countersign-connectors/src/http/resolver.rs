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
            let found = names.addresses(name.as_str()).await?;
            let permitted = found.iter().filter(|&&address| networks.permit(address));
            // Port 0 leaves it to the URL.
            let permitted = permitted.map(|&address| SocketAddr::new(address, 0));
            let permitted: Vec<_> = permitted.take(ADDRESSES_MAX).collect();
            if permitted.is_empty() {
                let found: Vec<_> =
                    found.iter().take(ADDRESSES_MAX).map(Address::to_string).collect();
                let why = match found.as_slice() {
                    [] => "the system's name stands for no address".to_owned(),
                    found => format!(
                        "the system's name stands for {}, and no such address is permitted",
                        found.join(", ")
                    ),
                };
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why).into());
            }
            let addresses: Addrs = Box::new(permitted.into_iter());
            Ok(addresses)
        })
    }
}
