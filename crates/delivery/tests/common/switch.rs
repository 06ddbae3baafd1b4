//! What stands between a client and a server, and breaks.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// Leads from a free port to another.
pub(crate) struct Switch {
    address: SocketAddr,
    cut: watch::Sender<()>,
    cuts: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Switch {
    pub(crate) async fn new(to: u16) -> Self {
        Self::with(to, None).await
    }

    /// One that takes TLS off.
    pub(crate) async fn tls(to: u16, tls: ServerConfig) -> Self {
        Self::with(to, Some(TlsAcceptor::from(Arc::new(tls)))).await
    }

    async fn with(to: u16, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (cut, broken) = watch::channel(());
        let cuts = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&cuts);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (mut broken, counted) = (broken.clone(), Arc::clone(&counted));
                let tls = tls.clone();
                broken.mark_unchanged();
                tokio::spawn(async move {
                    // Where nobody listens the client is hung up on.
                    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await else {
                        return;
                    };
                    let through = async {
                        match tls {
                            Some(tls) => {
                                let mut client = tls.accept(client).await?;
                                tokio::io::copy_bidirectional(&mut client, &mut server).await
                            }
                            None => {
                                let mut client = client;
                                tokio::io::copy_bidirectional(&mut client, &mut server).await
                            }
                        }
                    };
                    tokio::select! {
                        _ = through => {}
                        _ = broken.changed() => drop(counted.fetch_add(1, Ordering::Relaxed)),
                    }
                });
            }
        });
        Self { address, cut, cuts, task }
    }

    pub(crate) fn address(&self) -> String {
        // By name, for those who ask for a certificate.
        format!("localhost:{}", self.address.port())
    }

    /// Ends the connections that there are.
    pub(crate) fn cut(&self) {
        self.cut.send_replace(());
    }

    /// How many connections were ended.
    pub(crate) fn cuts(&self) -> usize {
        self.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
