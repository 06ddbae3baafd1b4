//! Which addresses are delivered to. Whoever may subscribe makes this node send requests, and could have it knock at doors
//! that are closed to himself.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use tokio::net::TcpStream;
use tower_service::Service;

/// To which addresses deliveries go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// All but those of links, among them the metadata services of clouds: an office's systems are in its own network.
    #[default]
    Any,
    /// Public ones alone.
    Public,
}

impl Reach {
    /// Why an address is none to deliver to, if so.
    pub(crate) fn refuses(self, ip: IpAddr) -> Option<String> {
        let ip = ip.to_canonical();
        let (never, private) = match ip {
            IpAddr::V4(it) => {
                let [a, b, ..] = it.octets();
                let shared = a == 100 && (64..128).contains(&b);
                (
                    it.is_link_local()
                        || it.is_unspecified()
                        || it.is_broadcast()
                        || it.is_multicast(),
                    it.is_private() || it.is_loopback() || shared,
                )
            }
            IpAddr::V6(it) => (
                it.is_unicast_link_local() || it.is_unspecified() || it.is_multicast(),
                it.is_loopback() || it.is_unique_local(),
            ),
        };
        match self {
            _ if never => Some(format!("{ip} is no address that deliveries go to")),
            Self::Public if private => Some(format!(
                "{ip} is a private address, and this node delivers to public ones alone (fasti run \
                 --public-targets-only)"
            )),
            _ => None,
        }
    }

    /// The addresses of a name, all of which it must be possible to deliver to: those that are checked are those that
    /// are dialled.
    pub(crate) async fn resolve(self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
        match found.iter().find_map(|it| self.refuses(it.ip())) {
            Some(problem) => Err(io::Error::other(problem)),
            None => Ok(found),
        }
    }
}

impl Reach {
    /// A connection with a host, for people where there is none.
    pub(crate) async fn dial(self, host: &str, port: u16) -> Result<TcpStream, String> {
        let found = self.resolve(host, port).await.map_err(|error| format!("{host}: {error}"))?;
        let mut problem = format!("{host} has no address");
        for address in found {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Without it nothing is lost but some time.
                    drop(stream.set_nodelay(true));
                    return Ok(stream);
                }
                Err(error) => problem = format!("{host}:{port} can not be reached: {error}"),
            }
        }
        Err(problem)
    }
}

/// As the HTTP client asks for them. It never asks for an address that is written out: see [`crate::http`].
impl Service<Name> for Reach {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let reach = *self;
        Box::pin(async move { Ok(reach.resolve(name.as_str(), 0).await?.into_iter()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart_however_they_are_written() {
        let refused = |reach: Reach, ip: &str| reach.refuses(ip.parse().unwrap()).is_some();
        for never in
            ["169.254.169.254", "0.0.0.0", "224.0.0.1", "fe80::1", "::", "::ffff:169.254.1.1"]
        {
            assert!(refused(Reach::Any, never) && refused(Reach::Public, never), "{never}");
        }
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.9",
            "100.64.0.1",
            "::1",
            "fd00::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(!refused(Reach::Any, private) && refused(Reach::Public, private), "{private}");
        }
        for public in ["198.51.100.7", "2001:db8::1", "100.128.0.1"] {
            assert!(!refused(Reach::Public, public), "{public}");
        }
    }
}
