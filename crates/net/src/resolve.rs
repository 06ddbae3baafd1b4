//! Names of hosts in addresses (`/dns/office.example.org/tcp/7411`), by the system's own resolver, so
//! that its hosts file and split DNS hold. Leaves when to ask to `driver` and `join`.

use std::net::IpAddr;
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// A resolver that hasn't answered by then is as good as down; the dial goes on with the rest.
const TIME_MAX: Duration = Duration::from_secs(5);

/// Whether there is anything to resolve.
pub(crate) fn has_name(address: &Multiaddr) -> bool {
    matches!(address.iter().next(), Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)))
}

/// The addresses that this one stands for: itself unless it has a name, none if the name is unknown.
pub(crate) async fn resolve(address: &Multiaddr) -> Vec<Multiaddr> {
    let (name, v4, v6) = match address.iter().next() {
        Some(Protocol::Dns(name)) => (name, true, true),
        Some(Protocol::Dns4(name)) => (name, true, false),
        Some(Protocol::Dns6(name)) => (name, false, true),
        _ => return vec![address.clone()],
    };
    let found = tokio::time::timeout(TIME_MAX, tokio::net::lookup_host((name.as_ref(), 0))).await;
    let Ok(Ok(found)) = found else {
        tracing::debug!(%address, "name not resolved");
        return Vec::new();
    };
    let ips = found.map(|it| it.ip()).filter(|ip| if ip.is_ipv4() { v4 } else { v6 });
    ips.map(|ip| {
        let ip = match ip {
            IpAddr::V4(ip) => Protocol::Ip4(ip),
            IpAddr::V6(ip) => Protocol::Ip6(ip),
        };
        std::iter::once(ip).chain(address.iter().skip(1)).collect()
    })
    .collect()
}

/// All of them, asked at once.
pub(crate) async fn resolve_all(addresses: &[Multiaddr]) -> Vec<Multiaddr> {
    let mut all = futures::future::join_all(addresses.iter().map(resolve)).await.concat();
    all.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_becomes_its_addresses() {
        let local = resolve(&"/dns4/localhost/tcp/7411".parse().unwrap()).await;
        assert!(local.contains(&"/ip4/127.0.0.1/tcp/7411".parse().unwrap()), "{local:?}");
        let ip: Multiaddr = "/ip4/10.0.0.1/tcp/1".parse().unwrap();
        assert_eq!(resolve(&ip).await, [ip]);
    }
}
