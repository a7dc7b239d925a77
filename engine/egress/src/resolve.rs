//! Names to addresses, and nothing unchecked in between.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use crate::guard::{Denied, Guard, HostKind, Target};

/// Look-ups under way at once at most. The system's resolver blocks a thread for each, for seconds where a name server
/// does not answer; this keeps threads for other work.
const LOOKUPS_MAX: usize = 128;
/// Addresses of one name that are dialled at most; all of them are checked.
const ADDRESSES_MAX: usize = 16;

/// Where addresses of names come from.
pub trait Lookup: Send + Sync + 'static {
    /// The addresses of `host`, in the order to try them.
    fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// A look-up that everybody who asks for the same name waits for.
type Running = Shared<BoxFuture<'static, Result<Vec<IpAddr>, Arc<io::Error>>>>;

/// The machine's own resolver: its hosts file, its name servers. One name is looked up once at a time, however many
/// ask for it, so that a partner whose name servers are silent holds one thread and not all of them.
pub(crate) struct SystemLookup {
    permits: Arc<Semaphore>,
    running: Arc<Mutex<HashMap<String, Running>>>,
}

impl SystemLookup {
    pub(crate) fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(LOOKUPS_MAX)), running: Arc::default() }
    }

    fn join(&self, host: &str) -> Running {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = running.get(host) {
            return same.clone();
        }
        let (permits, all, name) = (Arc::clone(&self.permits), Arc::clone(&self.running), host.to_owned());
        // A task of its own, since those who ask may give up before the resolver does.
        let task = tokio::spawn(async move {
            let answer = ask_system(permits, name.clone()).await;
            all.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            answer
        });
        let joined = async move { task.await.map_err(io::Error::other).flatten().map_err(Arc::new) };
        let shared = joined.boxed().shared();
        running.insert(host.to_owned(), shared.clone());
        shared
    }
}

async fn ask_system(permits: Arc<Semaphore>, host: String) -> io::Result<Vec<IpAddr>> {
    let _permit = permits.acquire().await.map_err(io::Error::other)?;
    let found = tokio::task::spawn_blocking(move || {
        let mut addresses = Vec::new();
        for found in (host.as_str(), 0).to_socket_addrs()? {
            if !addresses.contains(&found.ip()) {
                addresses.push(found.ip());
            }
        }
        Ok(addresses)
    });
    found.await.map_err(io::Error::other)?
}

impl Lookup for SystemLookup {
    fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let running = self.join(host);
        Box::pin(async move { running.await.map_err(|error| io::Error::new(error.kind(), error.to_string())) })
    }
}

/// What a registered URL leads to now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// Every one of them may be called.
    Addresses(Vec<IpAddr>),
    /// The name has no address at the moment, and why. Each send checks again.
    Unresolved(String),
}

/// Why a name leads nowhere.
#[derive(Debug)]
pub(crate) enum Unreachable {
    Denied(Denied),
    NotFound(io::Error),
}

/// Resolves names and lets no address through that the guard refuses.
#[derive(Clone)]
pub(crate) struct Resolver {
    guard: Arc<Guard>,
    lookup: Arc<dyn Lookup>,
    /// Host name of the configured proxy, which the operator chose and the guard does not judge.
    proxy: Option<Arc<str>>,
}

impl Resolver {
    pub(crate) fn new(guard: Arc<Guard>, lookup: Arc<dyn Lookup>, proxy: Option<&str>) -> Self {
        Self { guard, lookup, proxy: proxy.map(Arc::from) }
    }

    /// The addresses behind a target that passed [`Guard::check_url`].
    pub(crate) async fn target(&self, target: &Target) -> Result<Vec<IpAddr>, Unreachable> {
        match target.kind {
            HostKind::Address(address) => Ok(vec![address]),
            HostKind::Localhost => self.loopback(&target.host),
            HostKind::Name => self.name(&target.host).await,
        }
    }

    fn loopback(&self, host: &str) -> Result<Vec<IpAddr>, Unreachable> {
        let addresses = self.guard.loopback();
        if addresses.is_empty() {
            let first = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
            self.guard.check_address(host, first).map_err(Unreachable::Denied)?;
        }
        Ok(addresses)
    }

    /// One refused address refuses the name: which address would be dialled is not ours to choose, and a name that
    /// mixes public and private addresses is an attack or a mistake.
    async fn name(&self, host: &str) -> Result<Vec<IpAddr>, Unreachable> {
        let mut addresses = self.lookup.lookup(host).await.map_err(Unreachable::NotFound)?;
        for address in &addresses {
            self.guard.check_address(host, *address).map_err(Unreachable::Denied)?;
        }
        if addresses.is_empty() {
            let none = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            return Err(Unreachable::NotFound(none));
        }
        addresses.truncate(ADDRESSES_MAX);
        Ok(addresses)
    }

    /// The addresses a connection may be made to; called by the HTTP client for every new connection.
    async fn dial(&self, name: &str) -> Result<Vec<IpAddr>, Unreachable> {
        let host = name.trim_end_matches('.').to_ascii_lowercase();
        if self.proxy.as_deref().is_some_and(|proxy| proxy == host) {
            return self.lookup.lookup(&host).await.map_err(Unreachable::NotFound);
        }
        if host == "localhost" || host.ends_with(".localhost") {
            return self.loopback(&host);
        }
        self.name(&host).await
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            match resolver.dial(name.as_str()).await {
                Ok(addresses) => {
                    // Port 0 is replaced by the URL's own.
                    Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
                }
                Err(Unreachable::Denied(denied)) => Err(denied.into()),
                Err(Unreachable::NotFound(error)) => Err(error.into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_name_is_looked_up_once_at_a_time() {
        let system = SystemLookup::new();
        let (first, second) = (system.join("localhost"), system.join("localhost"));
        assert!(first.ptr_eq(&second));
        let addresses = first.await.unwrap();
        assert!(addresses.iter().all(IpAddr::is_loopback) && !addresses.is_empty(), "{addresses:?}");
        assert!(system.running.lock().unwrap().is_empty());
    }
}
