//! Offices behind NAT: real nodes in network namespaces of Linux, with routers that masquerade. They find
//! the relay through the roster, and each other through the relay.
#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fasti_tests::netns::{Internet, Nat, inside};
use fasti_tests::wait_for;
use serde_json::Value;

const PORT: u16 = 8378;

/// A node in a namespace, spoken to with its own command line there.
struct Office {
    namespace: String,
    dir: PathBuf,
    address: String,
    args: Vec<&'static str>,
    process: Option<Child>,
}

impl Office {
    fn new(root: &tempfile::TempDir, name: &str, namespace: String, address: &str) -> Self {
        let dir = root.path().join(name);
        Self { namespace, dir, address: address.into(), args: Vec::new(), process: None }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = inside(&self.namespace, env!("CARGO_BIN_EXE_fasti-under-test"));
        command.args(args).arg("--dir").arg(&self.dir);
        command.env("FASTI_NO_MDNS", "1").env("NO_COLOR", "1");
        command
    }

    fn call(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = self.command(args).output()?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        anyhow::ensure!(output.status.success(), "{args:?}: {}", said(&output.stderr));
        Ok(said(&output.stdout))
    }

    /// Runs the node and waits until it is ready.
    fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        let tcp = format!("/ip4/{}/tcp/{PORT}", self.address);
        let quic = format!("/ip4/{}/udp/{PORT}/quic-v1", self.address);
        let log_of = "warn,fasti=info,fasti_net=debug";
        let http = "127.0.0.1:0";
        let args = ["run", "--listen", &tcp, "--listen", &quic, "--http", http, "--log", log_of];
        let mut command = self.command(&args);
        command.args(&self.args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().unwrap());
        wait_for("the node to be ready", || {
            if let Some(status) = self.process.as_mut().unwrap().try_wait()? {
                anyhow::bail!("it ended with {status}: {}", self.log());
            }
            Ok(self.dir.join("node.json").exists())
        })
        .unwrap();
    }

    /// Ends it as a power failure would.
    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
            let _ = std::fs::remove_file(self.dir.join("node.json"));
        }
    }

    fn log_file(&self) -> PathBuf {
        self.dir.with_extension("log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn status(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.call(&["status", "--json"])?)?)
    }

    fn member(&self, name: &str) -> anyhow::Result<Value> {
        let status = self.status()?;
        let mut members = status["members"].as_array().unwrap().iter();
        Ok(members.find(|it| it["name"] == name).cloned().unwrap_or_default())
    }

    /// How it is linked with another one: "direct", "relayed", or not at all.
    fn link(&self, name: &str) -> anyhow::Result<Value> {
        Ok(self.member(name)?["link"].clone())
    }

    fn wait_for_link(&self, name: &str, link: &str) -> Duration {
        let what = format!("a {link} link with {name}");
        wait_for(&what, || Ok(self.link(name)? == link)).unwrap_or_else(|error| {
            panic!("{error}: {:#}\n{}", self.status().unwrap(), self.log());
        })
    }

    /// Whether it tells others to come through a relay.
    fn is_behind_relay(&self) -> anyhow::Result<bool> {
        let status = self.status()?;
        let mut members = status["members"].as_array().unwrap().iter();
        let own = members.find(|it| it["self"] == true).unwrap();
        Ok(own["addresses"].to_string().contains("/p2p-circuit"))
    }

    fn publish(&self, policy: &str) {
        let start = ["--start", "2024-04-01"];
        self.call(&[&["publish", "policy_start", "--policy", policy][..], &start].concat())
            .unwrap();
    }

    fn has(&self, policy: &str) -> anyhow::Result<bool> {
        Ok(self.call(&["event", "list", "--json"])?.contains(policy))
    }

    fn wait_for_policy(&self, policy: &str) -> Duration {
        wait_for(&format!("{policy} to arrive"), || self.has(policy)).unwrap()
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            println!("---- {}\n{}", self.dir.display(), self.log());
        }
    }
}

/// The core platform, a relay with a public address; Denver and Boston, each behind a NAT, of whom Boston
/// has joined with a ticket of Denver's.
struct Offices {
    core: Office,
    denver: Office,
    boston: Office,
    internet: Internet,
    root: tempfile::TempDir,
}

/// `None`, and a line that says why, where namespaces can't be made.
fn offices(nat: Nat) -> Option<Offices> {
    let mut internet = match Internet::new() {
        Ok(internet) => internet,
        Err(why) => {
            println!("SKIPPED: no network namespaces with NAT on this machine: {why:#}");
            return None;
        }
    };
    let root = tempfile::tempdir().unwrap();
    let (namespace, address) = internet.public("core").unwrap();
    let mut core = Office::new(&root, "core", namespace, &address);
    core.args = vec!["--relay"];
    core.call(&["init", "--office", "Core"]).unwrap();
    core.start();

    let mut private = |name: &str| {
        let namespace = internet.private(name, nat).unwrap();
        Office::new(&root, name, namespace, "192.168.1.2")
    };
    let (mut denver, mut boston) = (private("denver"), private("boston"));
    let ticket = core.call(&["invite", "--office", "Denver", "--role", "admin"]).unwrap();
    denver.call(&["join", &ticket]).unwrap();
    denver.start();
    denver.wait_for_link("Core", "direct");
    let took = wait_for("Denver to be reachable through the relay", || denver.is_behind_relay());
    println!("Denver has a place at the relay {:?} after its link", took.unwrap());

    let ticket = denver.call(&["invite", "--office", "Boston"]).unwrap();
    // The relay must know the ticket before its holder comes.
    let equal = || Ok(core.status()?["frontier"] == denver.status()?["frontier"]);
    wait_for("the relay to hear of the invitation", equal).unwrap();
    boston.call(&["join", &ticket]).unwrap();
    boston.start();
    boston.wait_for_link("Core", "direct");
    Some(Offices { core, denver, boston, internet, root })
}

#[test]
fn two_behind_port_preserving_nat_become_direct() {
    let Some(offices) = offices(Nat::PortPreserving) else { return };
    let Offices { mut core, denver, boston, mut internet, root } = offices;
    let took =
        denver.wait_for_link("Boston", "direct").max(boston.wait_for_link("Denver", "direct"));
    println!("direct after {took:?}");
    let upgraded = |it: &Office| it.log().contains("a direct connection in place of a relayed one");
    assert!(upgraded(&denver) && upgraded(&boston), "{}", denver.log());

    // Somebody who can be dialled asks for no place at the relay.
    let (namespace, address) = internet.public("austin").unwrap();
    let mut austin = Office::new(&root, "austin", namespace, &address);
    let ticket = core.call(&["invite", "--office", "Austin"]).unwrap();
    austin.call(&["join", &ticket]).unwrap();
    austin.start();
    wait_for("the relay to dial Austin", || Ok(austin.log().contains("proven=true"))).unwrap();
    for office in [&denver, &boston] {
        office.wait_for_link("Austin", "direct");
    }

    // A direct link needs no relay.
    core.kill();
    denver.publish("WITHOUT-RELAY");
    boston.wait_for_policy("WITHOUT-RELAY");
    assert_eq!(denver.link("Boston").unwrap(), "direct");
    assert!(!austin.is_behind_relay().unwrap());
    assert!(!austin.log().contains("others reach this office through a relay"), "{}", austin.log());
}

#[test]
fn two_behind_symmetric_nat_stay_relayed_and_converge() {
    let Some(offices) = offices(Nat::Symmetric) else { return };
    let Offices { core, denver, mut boston, .. } = offices;
    denver.wait_for_link("Boston", "relayed");
    boston.wait_for_link("Denver", "relayed");
    denver.publish("PUSHED");
    boston.wait_for_policy("PUSHED");
    let given_up = || Ok([&denver, &boston].iter().any(|it| it.log().contains("Giving up after")));
    let took = wait_for("the attempts at a direct link to end", given_up).unwrap();
    println!("given up after {took:?}");
    assert_eq!(denver.link("Boston").unwrap(), "relayed");
    assert_eq!(boston.link("Denver").unwrap(), "relayed");
    assert!(!denver.log().contains("link down"), "{}", denver.log());

    boston.kill();
    for n in 0..20 {
        denver.publish(&format!("MISSED-{n}"));
    }
    boston.start();
    boston.wait_for_link("Denver", "relayed");
    let equal = || {
        let frontier = core.status()?["frontier"].clone();
        Ok(denver.status()?["frontier"] == frontier && boston.status()?["frontier"] == frontier)
    };
    wait_for("all frontiers to be equal", equal).unwrap();
}

#[test]
fn a_relay_that_is_restarted_is_used_again() {
    let Some(offices) = offices(Nat::Symmetric) else { return };
    let Offices { mut core, denver, boston, .. } = offices;
    denver.wait_for_link("Boston", "relayed");
    core.kill();
    for (office, other) in [(&denver, "Boston"), (&boston, "Denver")] {
        wait_for("the relayed link to be lost", || Ok(office.link(other)?.is_null())).unwrap();
        assert!(!office.is_behind_relay().unwrap());
    }
    boston.publish("WHILE-APART");
    core.start();
    let took =
        denver.wait_for_link("Boston", "relayed").max(boston.wait_for_link("Denver", "relayed"));
    println!("linked through the relay again {took:?} after its restart");
    denver.wait_for_policy("WHILE-APART");
    denver.publish("PUSHED");
    boston.wait_for_policy("PUSHED");
    for office in [&denver, &boston] {
        wait_for("a place at the relay again", || office.is_behind_relay()).unwrap();
    }
}
