//! Networks of their own on one machine: namespaces of Linux with an internet between them, and NAT. Needs
//! root; installs `ip` and `nft` on Debian if they are missing.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, bail};

/// What every namespace's name begins with; the process that made it comes next.
const PREFIX: &str = "fasti";

/// How a router gives out its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// The same ones outside as inside, to whomever the packets go: holes can be punched.
    PortPreserving,
    /// Others for each destination, by chance: nobody can tell where to punch.
    Symmetric,
}

/// An internet, and what is on it. All of it goes when it is dropped.
#[derive(Debug)]
pub struct Internet {
    name: String,
    namespaces: Vec<String>,
    hosts: u8,
}

impl Internet {
    /// An internet with nobody on it; or why this machine can't have one.
    ///
    /// # Errors
    /// If `ip` or `nft` is missing and can't be installed, or namespaces, veth pairs, bridges or masquerading
    /// are not to be had.
    pub fn new() -> anyhow::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        install("ip", "iproute2")?;
        install("nft", "nftables")?;
        sweep()?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}-{}-{count}", std::process::id());
        let mut internet = Self { name, namespaces: Vec::new(), hosts: 0 };
        let exchange = internet.namespace("net")?;
        ip(&exchange, "link add exchange type bridge")?;
        ip(&exchange, "link set exchange up")?;
        let probe = internet.namespace("probe")?;
        masquerade(&probe, Nat::Symmetric)?;
        Ok(internet)
    }

    /// A host with a public address; gives its namespace and the address.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn public(&mut self, name: &str) -> anyhow::Result<(String, String)> {
        let namespace = self.namespace(name)?;
        let address = self.plug_in(&namespace)?;
        Ok((namespace, address))
    }

    /// A host with a private address behind a router; gives its namespace. All of them have the same
    /// private address, as in so many homes.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn private(&mut self, name: &str, nat: Nat) -> anyhow::Result<String> {
        let router = self.namespace(&format!("{name}-r"))?;
        self.plug_in(&router)?;
        let host = self.namespace(name)?;
        ip(&router, &format!("link add lan type veth peer name eth0 netns {host}"))?;
        ip(&router, "addr add 192.168.1.1/24 dev lan")?;
        ip(&router, "link set lan up")?;
        ip(&host, "addr add 192.168.1.2/24 dev eth0")?;
        ip(&host, "link set eth0 up")?;
        ip(&host, "route add default via 192.168.1.1")?;
        run(inside(&router, "sh").args(["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]))?;
        masquerade(&router, nat)?;
        Ok(host)
    }

    fn namespace(&mut self, name: &str) -> anyhow::Result<String> {
        let namespace = format!("{}-{name}", self.name);
        run(Command::new("ip").args(["netns", "add", &namespace]))?;
        self.namespaces.push(namespace.clone());
        ip(&namespace, "link set lo up")?;
        Ok(namespace)
    }

    /// Links a namespace with the exchange; gives its address (of those that RFC 5737 keeps for examples).
    fn plug_in(&mut self, namespace: &str) -> anyhow::Result<String> {
        self.hosts += 1;
        let (exchange, port) = (format!("{}-net", self.name), format!("port{}", self.hosts));
        ip(namespace, &format!("link add wan type veth peer name {port} netns {exchange}"))?;
        ip(&exchange, &format!("link set {port} master exchange up"))?;
        let address = format!("203.0.113.{}", self.hosts);
        ip(namespace, &format!("addr add {address}/24 dev wan"))?;
        ip(namespace, "link set wan up")?;
        Ok(address)
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            let _ = run(Command::new("ip").args(["netns", "del", namespace]));
        }
    }
}

/// A command that is run in a namespace.
pub fn inside(namespace: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

/// What a home's router does: lets out what comes from inside, and in what answers it.
fn masquerade(router: &str, nat: Nat) -> anyhow::Result<()> {
    let ports = match nat {
        Nat::PortPreserving => "",
        Nat::Symmetric => "random,fully-random",
    };
    let rules = format!(
        "table ip home {{
            chain outward {{
                type nat hook postrouting priority srcnat
                oifname wan masquerade {ports}
            }}
            chain inward {{
                type filter hook input priority filter
                iifname wan ct state established,related accept
                iifname wan drop
            }}
            chain through {{
                type filter hook forward priority filter
                ct state established,related accept
                iifname lan accept
                drop
            }}
        }}"
    );
    run(inside(router, "nft").arg(rules))
}

fn ip(namespace: &str, args: &str) -> anyhow::Result<()> {
    run(Command::new("ip").args(["-n", namespace]).args(args.split(' ')))
}

/// Removes what runs left behind that were killed.
fn sweep() -> anyhow::Result<()> {
    let listed = Command::new("ip").args(["netns", "list"]).output()?;
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let name = line.split(' ').next().unwrap_or_default();
        let mut parts = name.split('-');
        if parts.next() == Some(PREFIX)
            && let Some(pid) = parts.next().and_then(|pid| pid.parse::<u32>().ok())
            && !std::path::Path::new(&format!("/proc/{pid}")).exists()
        {
            // Another test may be quicker.
            let _ = run(Command::new("ip").args(["netns", "del", name]));
        }
    }
    Ok(())
}

fn install(program: &str, package: &str) -> anyhow::Result<()> {
    if Command::new(program).arg("-V").output().is_ok() {
        return Ok(());
    }
    // Tests run side by side: whoever comes second waits for the lock.
    let lock = ["-o", "DPkg::Lock::Timeout=120"];
    let apt = |args: &[&str]| run(Command::new("apt-get").args(lock).args(["-qy"]).args(args));
    let installed = apt(&["install", "--no-install-recommends", package])
        .or_else(|_| apt(&["update"]).and_then(|()| apt(&["install", package])));
    installed.with_context(|| format!("{program} is missing, and {package} can't be installed"))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
