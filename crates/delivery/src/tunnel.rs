//! A SOCKS5 proxy (RFC 1928, with the log-in of RFC 1929) on this machine's loopback, for a client that dials by itself
//! and lets nobody check the addresses: through here it reaches those alone that deliveries may go to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::reach::Reach;

/// Whoever else on this machine finds the port doesn't stay for longer.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

const VERSION: u8 = 5;
const LOGIN: u8 = 2;
const LOGIN_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const SUCCEEDED: u8 = 0;
const FAILED: u8 = 1;
const UNACCEPTABLE: u8 = 0xff;

/// Closes all connections when it is dropped.
pub(crate) struct Tunnel {
    pub(crate) address: String,
    /// Known to our client alone; user and password are the same.
    pub(crate) key: String,
    problem: Arc<Mutex<Option<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tunnel {
    pub(crate) async fn open(reach: Reach) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?.to_string();
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let key = data_encoding::HEXLOWER.encode(&random);
        let problem = Arc::<Mutex<Option<String>>>::default();
        let (known, said) = (key.clone(), Arc::clone(&problem));
        let task = tokio::spawn(async move {
            // They end with this task.
            let mut streams = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    // As with too many open files, which may pass.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                while streams.try_join_next().is_some() {}
                streams.spawn(serve(stream, reach, known.clone(), Arc::clone(&said)));
            }
        });
        Ok(Self { address, key, problem, task })
    }

    /// Why the last connection could not be made: the client doesn't hear it.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(
    mut client: TcpStream,
    reach: Reach,
    key: String,
    said: Arc<Mutex<Option<String>>>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (host, port) = tokio::time::timeout(GREETING_TIMEOUT, greet(&mut client, &key)).await??;
    let dialled = reach.dial(&host, port).await;
    let problem = dialled.as_ref().err().cloned();
    let result = if problem.is_some() { FAILED } else { SUCCEEDED };
    *said.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    // The address that it was dialled from, which nobody asks about.
    client.write_all(&[VERSION, result, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    if let Ok(mut server) = dialled {
        tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    }
    Ok(())
}

/// Where the client wants to go.
async fn greet(client: &mut TcpStream, key: &str) -> io::Result<(String, u16)> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    if client.read_u8().await? != VERSION {
        return Err(wrong("not SOCKS5"));
    }
    let ways = short(client).await?;
    if !ways.contains(&LOGIN) {
        client.write_all(&[VERSION, UNACCEPTABLE]).await?;
        return Err(wrong("no log-in"));
    }
    client.write_all(&[VERSION, LOGIN]).await?;
    let version = client.read_u8().await?;
    let (user, password) = (short(client).await?, short(client).await?);
    if version != LOGIN_VERSION || user != key.as_bytes() || password != key.as_bytes() {
        client.write_all(&[LOGIN_VERSION, FAILED]).await?;
        return Err(wrong("not our client"));
    }
    client.write_all(&[LOGIN_VERSION, SUCCEEDED]).await?;
    let mut request = [0; 4];
    client.read_exact(&mut request).await?;
    let host = match request {
        [VERSION, CONNECT, _, 1] => {
            IpAddr::from(Ipv4Addr::from_bits(client.read_u32().await?)).to_string()
        }
        [VERSION, CONNECT, _, 3] => {
            String::from_utf8(short(client).await?).map_err(|_| wrong("no name"))?
        }
        [VERSION, CONNECT, _, 4] => {
            IpAddr::from(Ipv6Addr::from_bits(client.read_u128().await?)).to_string()
        }
        _ => return Err(wrong("not to connect")),
    };
    Ok((host, client.read_u16().await?))
}

/// Bytes after their number.
async fn short(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(client.read_u8().await?)];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the tunnel answers to a greeting with a key and a request for an address.
    async fn ask(tunnel: &Tunnel, key: &str, to: [u8; 6]) -> io::Result<(TcpStream, u8)> {
        let mut stream = TcpStream::connect(&tunnel.address).await?;
        stream.write_all(&[VERSION, 2, 0, LOGIN]).await?;
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).await?;
        assert_eq!(answer, [VERSION, LOGIN]);
        let key = [&[u8::try_from(key.len()).unwrap()], key.as_bytes()].concat();
        stream.write_all(&[&[LOGIN_VERSION], &*key, &*key].concat()).await?;
        stream.read_exact(&mut answer).await?;
        if answer[1] != SUCCEEDED {
            return Ok((stream, answer[1]));
        }
        stream.write_all(&[&[VERSION, CONNECT, 0, 1], &to[..]].concat()).await?;
        let mut answer = [0; 10];
        stream.read_exact(&mut answer).await?;
        Ok((stream, answer[1]))
    }

    #[tokio::test]
    async fn it_leads_our_client_and_no_other_to_where_it_may_go() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let [high, low] = server.local_addr().unwrap().port().to_be_bytes();
        let here = [127, 0, 0, 1, high, low];

        let any = Tunnel::open(Reach::Any).await.unwrap();
        let (mut stream, result) = ask(&any, &any.key, here).await.unwrap();
        assert_eq!((result, any.problem()), (SUCCEEDED, None));
        let (mut other, _) = server.accept().await.unwrap();
        stream.write_all(b"ping").await.unwrap();
        let mut got = [0; 4];
        other.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"ping");
        drop(any);
        assert_eq!(other.read(&mut got).await.unwrap_or_default(), 0, "closed with the tunnel");

        let public = Tunnel::open(Reach::Public).await.unwrap();
        assert_eq!(ask(&public, &public.key, here).await.unwrap().1, FAILED);
        assert!(public.problem().unwrap().contains("private address"));
        assert_eq!(ask(&public, "another", here).await.unwrap().1, FAILED);
    }
}
