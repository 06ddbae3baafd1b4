//! The offices' scheduling systems: the example `office`, a process for each with a database of its own. The node of its
//! office delivers to it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;
use fasti_tests::{Cluster, Node, wait_for};
use serde_json::{Value, json};

use crate::AS_SYSTEM;
use crate::show::{Show, millis, millis_fact};

const UID: &str = "policy-YSP-2024";
/// The name of the subscription at each office.
const NAME: &str = "Scheduling";

pub(crate) struct Systems(Vec<System>);

/// A scheduling system. It is killed when this is dropped.
struct System {
    office: String,
    db: PathBuf,
    secret: PathBuf,
    url: String,
    process: Option<Child>,
}

impl Systems {
    /// Starts one for each office but the core platform, and subscribes it.
    pub(crate) fn start(show: &mut Show, cluster: &Cluster) -> anyhow::Result<Self> {
        show.act("Each office has a scheduling system of its own, and registers it with its node");
        let mut systems = Vec::new();
        for (at, node) in cluster.nodes.iter().enumerate().skip(1) {
            let system = System::start(cluster.root(), at, node)?;
            show.aside(&format!(
                "{}: fasti subscribe {NAME} {}/fasti   (process {})",
                node.name,
                system.url,
                system.process.as_ref().map_or(0, Child::id)
            ));
            systems.push(system);
        }
        Ok(Self(systems))
    }

    /// What the systems show of the policy, and that everyone knows it.
    pub(crate) fn show(&self, show: &mut Show, cluster: &Cluster) -> anyhow::Result<()> {
        show.act("The offices' systems have it too, and the core platform knows");
        let began = Instant::now();
        let confirmed = || Ok(self.confirmed(&cluster.nodes[0])?.0 == self.0.len() as u64);
        wait_for("all systems to have confirmed", confirmed)?;
        let took = began.elapsed();
        self.table(show)?;
        self.say_reach(show, &cluster.nodes[0])?;
        show.fact("systems_known_ms", millis_fact(took));
        Ok(())
    }

    fn table(&self, show: &Show) -> anyhow::Result<()> {
        let mut rows =
            vec![["office", "its system shows", "on", "state"].map(String::from).to_vec()];
        for system in &self.0 {
            let event = system.event(UID)?.unwrap_or_default();
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            rows.push(vec![
                system.office.clone(),
                text(&event["event"]["title"]),
                text(&event["event"]["start"]).chars().take(10).collect(),
                text(&event["state"]),
            ]);
        }
        show.table(&rows);
        Ok(())
    }

    fn say_reach(&self, show: &Show, node: &Node) -> anyhow::Result<()> {
        let (confirmed, held) = self.confirmed(node)?;
        let (systems, name) = (self.0.len(), &node.name);
        show.say(&format!(
            "{name}: fasti status --policy YSP-2024   held by {held} offices, confirmed by {confirmed} of {systems} systems"
        ));
        Ok(())
    }

    /// How many systems confirmed the policy as it stands at a node, and how many offices hold it.
    fn confirmed(&self, node: &Node) -> anyhow::Result<(u64, u64)> {
        let status = node.api().get("/v1/status?policy=YSP-2024")?;
        let number = |name: &str| status["policy"][name].as_u64().unwrap_or(0);
        Ok((number("confirmed_by"), number("held_by")))
    }

    /// One is killed while the policy moves, and is told when it is back.
    pub(crate) fn kill_one(&mut self, show: &mut Show, cluster: &Cluster) -> anyhow::Result<()> {
        let (core, node) = (&cluster.nodes[0], &cluster.nodes[1]);
        let system = self.0.first_mut().context("no systems")?;
        let office = system.office.clone();
        show.act(&format!("{office}'s scheduling system is killed, and the policy moves to May 1"));
        system.kill()?;
        core.api().publish("YSP-2024", "2024-05-01", "Youth Sports Grants")?;
        let owed = || {
            let owed = node.api().get(&format!("/v1/deliveries?uid={UID}&status=pending"))?;
            Ok(owed["deliveries"][0]["attempts"].as_u64().unwrap_or(0) >= 2)
        };
        wait_for("some attempts", owed)?;
        let listed = cluster.fasti().call(node.dir(), &["deliveries"])?;
        show.aside(&format!("{office}: fasti deliveries"));
        listed.lines().take(2).for_each(|line| show.say(&line.replace("client error ", "")));
        let seen = || Ok(self.confirmed(core)?.0 + 1 == self.0.len() as u64);
        wait_for("the others to have confirmed", seen)?;
        self.say_reach(show, core)?;
        let began = Instant::now();
        let system = self.0.first_mut().context("no systems")?;
        system.run()?;
        let has_it = || {
            let event = system.event(UID)?.unwrap_or_default();
            Ok(event["event"]["start"] == json!("2024-05-01T00:00:00"))
        };
        wait_for("the system to catch up", has_it)?;
        let took = began.elapsed();
        show.verdict(
            true,
            &format!("restarted: it has what it was owed after {}, by itself", millis(took)),
        );
        show.fact("system_caught_up_ms", millis_fact(took));
        Ok(())
    }

    /// Whether all have all.
    pub(crate) fn compare(&self, show: &mut Show, cluster: &Cluster) -> anyhow::Result<bool> {
        show.act("What the offices' systems have confirmed in the end");
        let mut rows = vec![
            ["office", "owed", "given up", "events here", "events in its system"]
                .map(String::from)
                .to_vec(),
        ];
        let mut good = true;
        for (node, system) in cluster.nodes.iter().skip(1).zip(&self.0) {
            let all_confirmed = || {
                let status = node.api().get("/v1/status")?;
                Ok(status["deliveries"]["pending"] == 0)
            };
            let confirmed = wait_for("nothing to be owed", all_confirmed);
            let status = node.api().get("/v1/status")?;
            let there = system.events()?.len() as u64;
            rows.push(vec![
                system.office.clone(),
                status["deliveries"]["pending"].to_string(),
                status["deliveries"]["dead"].to_string(),
                status["events"].to_string(),
                there.to_string(),
            ]);
            good &= confirmed.is_ok() && status["events"] == json!(there);
        }
        show.table(&rows);
        let text = if good { "every system has every event" } else { "some lack something" };
        show.verdict(good, text);
        show.fact("systems_equal", good);
        Ok(good)
    }
}

impl System {
    fn start(root: &Path, at: usize, node: &Node) -> anyhow::Result<Self> {
        let file = |kind: &str| root.join(format!("system-{at}.{kind}"));
        let (db, secret) = (file("db"), file("secret"));
        std::fs::write(&secret, "")?;
        let (office, url) = (node.name.clone(), "http://127.0.0.1:0".to_owned());
        let mut system = Self { office, db, secret, url, process: None };
        system.run()?;
        let wanted = json!({ "name": NAME, "callback_url": format!("{}/fasti", system.url) });
        let made = node.api().send("POST", "/v1/subscriptions", &wanted)?;
        let secret = made["secret"].as_str().context("no secret")?;
        std::fs::write(&system.secret, format!("{secret}\n"))?;
        Ok(system)
    }

    /// Starts the process, at the address that it had before.
    fn run(&mut self) -> anyhow::Result<()> {
        let mut process = Command::new(std::env::current_exe()?)
            .env(AS_SYSTEM, "1")
            .args(["--listen", self.url.trim_start_matches("http://")])
            .arg("--db")
            .arg(&self.db)
            .arg("--secret-file")
            .arg(&self.secret)
            .stdout(Stdio::piped())
            .spawn()?;
        let out = process.stdout.take().context("no output")?;
        self.process = Some(process);
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        line.trim().clone_into(&mut self.url);
        anyhow::ensure!(self.url.starts_with("http"), "{}'s system doesn't start", self.office);
        Ok(())
    }

    fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    fn events(&self) -> anyhow::Result<Vec<Value>> {
        let text = ureq::get(format!("{}/events", self.url)).call()?.body_mut().read_to_string()?;
        Ok(serde_json::from_str(&text)?)
    }

    fn event(&self, uid: &str) -> anyhow::Result<Option<Value>> {
        Ok(self.events()?.into_iter().find(|it| it["uid"] == uid))
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
