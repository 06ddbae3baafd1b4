//! Every number that can be set, its default, and why. Leaves the meaning of frames to the core.

use std::fmt;
use std::time::Duration;

use libp2p::Multiaddr;

/// How a node takes part in the network.
#[derive(Clone)]
pub struct Config {
    /// The office's Ed25519 secret key (the 32-byte seed). It is the node's libp2p identity, so that
    /// holding a connection proves who is at its other end.
    pub key: [u8; 32],
    /// Where to listen. Empty: `/ip4/0.0.0.0/tcp/0` and `/ip4/0.0.0.0/udp/0/quic-v1`, free ports on
    /// all interfaces.
    pub listen: Vec<Multiaddr>,
    /// Look for members on the local network (multicast DNS). Default: yes, because offices in one
    /// building should find each other while the way out is down. Only members are dialled.
    pub mdns: bool,
    /// Relay between members that can't reach each other directly. Default: no, because it takes an address
    /// that all of them can reach, and carries their traffic.
    pub relay: bool,
    /// Where others reach us besides the addresses at which we listen: a name, or the outer end of a port
    /// that a router forwards. Default: nowhere.
    pub announce: Vec<Multiaddr>,
    /// How long a relay may take to dial us back before we reserve a place there. Default 3 s: a dial that
    /// gets through takes a few round trips, and one that a NAT drops takes many seconds to fail, in which
    /// nobody could reach us.
    pub dial_back_patience: Duration,
    /// What a peer can make us hold.
    pub limits: Limits,
    /// Time between two pings of a connection, sent by both sides so that a live one is never silent.
    /// Default 3 s: with [`Config::ping_timeout`] a dead link is closed after 8 s, within the 10 s
    /// that people are promised.
    pub ping_interval: Duration,
    /// How long past the interval nothing at all may be heard. Default 5 s: longer than a stalled
    /// disk or a busy machine holds up a healthy node. A ping that is not answered while other bytes
    /// arrive has four times as long, as it may wait behind a range on a slow line.
    pub ping_timeout: Duration,
    /// Pause before the second attempt to reach a neighbour (the first is made at once). It doubles
    /// with every failure. Default 200 ms: a restarting node is back within about that time.
    pub redial_backoff_min: Duration,
    /// The pause stops growing here. Default 30 s: an office that comes back after a day is linked
    /// again within half a minute, and a dial costs next to nothing.
    pub redial_backoff_max: Duration,
    /// How long a second connection to a linked peer may stay before it counts as proof that the
    /// peer has lost the first, if it doesn't say that it was started anew. Default 2 s: above the
    /// round trip of a satellite link and the stalls of a loaded machine, so that two dials that
    /// crossed never look like a restart.
    pub duplicate_grace: Duration,
    /// How long a stream's acknowledgement may take before it is opened again (three times in all).
    /// Default 5 s.
    pub open_timeout: Duration,
}

impl Config {
    /// The defaults, for this secret key.
    pub fn new(key: [u8; 32]) -> Self {
        Self {
            key,
            listen: Vec::new(),
            mdns: true,
            relay: false,
            announce: Vec::new(),
            dial_back_patience: Duration::from_secs(3),
            limits: Limits::default(),
            ping_interval: Duration::from_secs(3),
            ping_timeout: Duration::from_secs(5),
            redial_backoff_min: Duration::from_millis(200),
            redial_backoff_max: Duration::from_secs(30),
            duplicate_grace: Duration::from_secs(2),
            open_timeout: Duration::from_secs(5),
        }
    }

    /// A connection on which nothing at all is heard for so long is dead: the transport fails it.
    pub(crate) fn silence(&self) -> Duration {
        self.ping_interval + self.ping_timeout
    }

    /// One that says something but answers no ping for so long is closed too. Four times as much: a
    /// ping may wait behind megabytes of a range on a slow line.
    pub(crate) fn unanswered_max(&self) -> Duration {
        self.silence() * 4
    }
}

impl fmt::Debug for Config {
    /// Everything but the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("mdns", &self.mdns)
            .field("relay", &self.relay)
            .field("announce", &self.announce)
            .field("limits", &self.limits)
            .field("ping_interval", &self.ping_interval)
            .field("ping_timeout", &self.ping_timeout)
            .field("redial_backoff_min", &self.redial_backoff_min)
            .field("redial_backoff_max", &self.redial_backoff_max)
            .finish_non_exhaustive()
    }
}

/// Bounds on what peers, and a slow consumer, can make a node hold.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Inbound connections whose handshake is not done. Default 64: strangers are only known after
    /// it, so this bounds their cost; a whole network of neighbours reconnecting at once fits.
    pub pending_in: u32,
    /// Our dials under way. Default 64: a restart dials all neighbours at once.
    pub pending_out: u32,
    /// Connections to one peer. Default 4: two for dials that crossed, and as many for the ones
    /// that they replace and that are not yet noticed to be dead. All but one close within
    /// [`Config::duplicate_grace`].
    pub per_peer: u32,
    /// Established connections in all. Default 512: far above the some 30 neighbours of a node, far
    /// below the file descriptors of a process (1,024 by default on Linux).
    pub connections: u32,
    /// Streams that one connection may have open. Default 128: it needs two lanes each way, ping, identify,
    /// and with a relay one for each of [`Limits::relay_circuits_per_peer`].
    pub streams: u32,
    /// Largest frame on the wire, in bytes. Default 4 MiB: sixteen of the core's 256 kB chunks.
    pub frame_bytes_max: usize,
    /// Largest frame once decompressed, in bytes. Default 16 MiB: zstd at level 1 rarely does better
    /// than 4:1 on signed entries.
    pub inflated_bytes_max: usize,
    /// Push frames waiting for one peer. Default 4,096: some seconds of a busy network's edits. Past
    /// it frames are dropped, which costs one anti-entropy round and nothing else.
    pub push_frames_max: usize,
    /// Bytes of push frames waiting for one peer. Default 4 MiB.
    pub push_bytes_max: usize,
    /// Bytes of sync frames waiting for one peer; past it [`crate::Handle::sync`] waits. Default
    /// 1 MiB: enough to keep a long fat link busy while the next range is read from disk.
    pub sync_bytes_max: usize,
    /// Sync frames of at least this many bytes are compressed. Default 1,024: below, the header of
    /// zstd and its time cost more than it saves. Push frames never are.
    pub compress_bytes_min: usize,
    /// Bytes of frames from one connection that wait for the consumer; a larger frame waits alone. Default
    /// 4 MiB: what a busy peer sends while the disk takes a breath.
    pub inbox_bytes_max: usize,
    /// Frames from one connection that wait for the consumer. Default 256: so whoever sends many small ones
    /// keeps nobody else waiting for long, and a group commit still has enough to share.
    pub inbox_frames_max: u32,
    /// Bytes of frames from all connections that wait for the consumer. Default 64 MiB.
    pub inbox_bytes_total: usize,
    /// Events waiting for the consumer. Default 1,024; when it is full nothing more is read from
    /// the peers, whose windows then fill.
    pub events_max: usize,
    /// Largest request and answer of a join, in bytes. Default 1 MiB: an answer carries the roster.
    pub join_bytes_max: usize,
    /// How long a join may take on the side that answers. Default 30 s.
    pub join_time_max: Duration,
    /// Offices that hold a place at us as a relay. Default 512, as many as connections: each costs a timer.
    pub relay_reservations: usize,
    /// Circuits through us in all. Default 2,048: four hundred offices behind the worst of NATs with ten
    /// neighbours each. One costs some 50 kB of buffers when it is busy.
    pub relay_circuits: usize,
    /// Circuits that begin or end at one office. Default 96: three for each of the 30 neighbours that it has
    /// at most, as those that are replaced are noticed late.
    pub relay_circuits_per_peer: usize,
    /// Bytes that a circuit may carry. Default 0, which is no limit: links are for ever, and what passes is
    /// bounded by how fast its reader reads.
    pub relay_circuit_bytes: u64,
    /// How long a circuit may last. Default 24 h: the two offices then link again at once, and try
    /// again whether they can without a relay.
    pub relay_circuit_time: Duration,
    /// How long a place holds without being renewed, which is done after three quarters of it by the
    /// client's clock. Default 7 days: so the two clocks may differ by two days. It ends with its
    /// connection anyway.
    pub relay_reservation_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pending_in: 64,
            pending_out: 64,
            per_peer: 4,
            connections: 512,
            streams: 128,
            frame_bytes_max: 4 << 20,
            inflated_bytes_max: 16 << 20,
            inbox_bytes_max: 4 << 20,
            inbox_frames_max: 256,
            inbox_bytes_total: 64 << 20,
            push_frames_max: 4096,
            push_bytes_max: 4 << 20,
            sync_bytes_max: 1 << 20,
            compress_bytes_min: 1024,
            events_max: 1024,
            join_bytes_max: 1 << 20,
            join_time_max: Duration::from_secs(30),
            relay_reservations: 512,
            relay_circuits: 2048,
            relay_circuits_per_peer: 96,
            relay_circuit_bytes: 0,
            relay_circuit_time: Duration::from_secs(24 * 3600),
            relay_reservation_time: Duration::from_secs(7 * 24 * 3600),
        }
    }
}
