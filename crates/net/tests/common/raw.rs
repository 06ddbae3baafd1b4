//! A peer that speaks libp2p but not our manners.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::swarm::{Swarm, SwarmEvent, dial_opts::DialOpts};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, noise, tcp, yamux};
use libp2p_stream::Control;

pub const PUSH: StreamProtocol = StreamProtocol::new("/fasti/push/1");
pub const SYNC: StreamProtocol = StreamProtocol::new("/fasti/sync/1");

pub struct Raw {
    pub control: Control,
    pub to: PeerId,
    /// What swarm events said, for a failing story to show.
    pub log: Arc<Mutex<Vec<String>>>,
}

impl Raw {
    /// Connects with this key.
    pub async fn dial(seed: u8, to: &Multiaddr) -> Self {
        let mut swarm: Swarm<libp2p_stream::Behaviour> =
            libp2p::SwarmBuilder::with_existing_identity(super::key(seed))
                .with_tokio()
                .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
                .unwrap()
                .with_behaviour(|_| libp2p_stream::Behaviour::new())
                .unwrap()
                .with_swarm_config(|it| it.with_idle_connection_timeout(Duration::from_secs(60)))
                .build();
        let control = swarm.behaviour().new_control();
        swarm.dial(DialOpts::from(to.clone())).unwrap();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let (connected, established) = tokio::sync::oneshot::channel();
        let mut connected = Some(connected);
        tokio::spawn({
            let log = log.clone();
            async move {
                loop {
                    let event = swarm.select_next_some().await;
                    log.lock().unwrap().push(format!("{event:?}"));
                    if let SwarmEvent::ConnectionEstablished { peer_id, .. } = event
                        && let Some(connected) = connected.take()
                    {
                        let _ = connected.send(peer_id);
                    }
                }
            }
        });
        let to = tokio::time::timeout(super::PATIENCE, established).await.unwrap().unwrap();
        Self { control, to, log }
    }

    /// Acknowledges the other side's lanes and ignores what comes.
    pub fn accept_lanes(&mut self) {
        for protocol in [PUSH, SYNC] {
            let mut inbound = self.control.accept(protocol).unwrap();
            tokio::spawn(async move {
                while let Some((_, mut stream)) = inbound.next().await {
                    tokio::spawn(async move {
                        stream.write_all(&[1]).await.unwrap();
                        stream.flush().await.unwrap();
                        let _ = futures::io::copy(stream, &mut futures::io::sink()).await;
                    });
                }
            });
        }
    }

    /// Opens a lane and waits for its acknowledgement.
    pub async fn lane(&mut self, protocol: StreamProtocol) -> Stream {
        self.try_lane(protocol).await.unwrap()
    }

    /// The same with a node that may refuse: it lets a dialler finish the handshake before it closes.
    pub async fn try_lane(&mut self, protocol: StreamProtocol) -> std::io::Result<Stream> {
        let opened = self.control.open_stream(self.to, protocol).await;
        let mut stream = opened.map_err(std::io::Error::other)?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        assert_eq!(byte, [1]);
        Ok(stream)
    }

    pub async fn closed(&self) {
        super::eventually(|| {
            self.log.lock().unwrap().iter().any(|it| it.starts_with("ConnectionClosed"))
        })
        .await;
    }
}
