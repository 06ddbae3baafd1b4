//! Several nodes of one network on this machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use crate::node::{Fasti, Node};
use crate::wait_for;

/// A network: the founder first.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes.
    pub nodes: Vec<Node>,
    fasti: Fasti,
    root: PathBuf,
    /// Removed with the cluster, unless it is kept.
    folder: Option<tempfile::TempDir>,
}

impl Cluster {
    /// A network of the first office alone, running, in a folder that goes when the cluster does.
    ///
    /// # Errors
    /// If a node can't be started.
    pub fn found(fasti: &Fasti, name: &str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("fasti-").tempdir()?;
        let root = folder.path().to_owned();
        let mut cluster =
            Self { nodes: Vec::new(), fasti: fasti.clone(), root, folder: Some(folder) };
        let dir = cluster.folder_of(name);
        fasti.call(&dir, &["init", "--office", name])?;
        let mut node = Node::new(fasti, name, &dir);
        node.start()?;
        cluster.nodes.push(node);
        Ok(cluster)
    }

    /// A running network of all these offices, linked with each other, each of which knows that it is
    /// a member.
    ///
    /// # Errors
    /// If a node can't be started or joined.
    pub fn of(fasti: &Fasti, names: &[&str]) -> anyhow::Result<Self> {
        let (first, others) = names.split_first().context("a network has at least one office")?;
        let mut cluster = Self::found(fasti, first)?;
        for name in others {
            cluster.join(name)?;
        }
        cluster.wait_until_linked()?;
        cluster.wait_until_equal()?;
        Ok(cluster)
    }

    /// The folder that an office's node has, made or to be made.
    pub fn folder_of(&self, name: &str) -> PathBuf {
        self.root.join(name.to_lowercase().replace(' ', "-"))
    }

    /// The folder that holds all of the nodes' folders.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How nodes are started.
    pub fn fasti(&self) -> &Fasti {
        &self.fasti
    }

    /// Invites one more office and starts it.
    ///
    /// # Errors
    /// If it can't be joined or started.
    pub fn join(&mut self, name: &str) -> anyhow::Result<&mut Node> {
        let mut node = self.admit(name)?;
        node.start()?;
        self.nodes.push(node);
        self.nodes.last_mut().context("just pushed")
    }

    /// Invites one more office and lets it join, without starting its node.
    ///
    /// # Errors
    /// If it can't be joined.
    pub fn admit(&self, name: &str) -> anyhow::Result<Node> {
        let founder = self.nodes.first().context("no founder")?;
        let ticket = self.fasti.call(founder.dir(), &["invite", "--office", name])?;
        let dir = self.folder_of(name);
        self.fasti.call(&dir, &["join", &ticket])?;
        Ok(Node::new(&self.fasti, name, &dir))
    }

    /// Waits until every running node is linked with every other.
    ///
    /// # Errors
    /// If that takes more than a minute.
    pub fn wait_until_linked(&self) -> anyhow::Result<Duration> {
        let running = self.running().count();
        wait_for("all nodes to be linked", || {
            for node in self.running() {
                let status = node.api().get("/v1/status")?;
                if status["peers"].as_array().map_or(0, Vec::len) + 1 < running {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Waits until all running nodes have the same frontier; gives the time it took.
    ///
    /// # Errors
    /// If that takes more than a minute.
    pub fn wait_until_equal(&self) -> anyhow::Result<Duration> {
        wait_for("all frontiers to be equal", || {
            let mut frontiers = self.running().map(|node| node.api().frontier());
            let Some(first) = frontiers.next().transpose()? else { return Ok(true) };
            for frontier in frontiers {
                if frontier? != first {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Cuts the links between these groups, and heals all others. Nodes must run with faults allowed.
    ///
    /// # Errors
    /// If a node refuses.
    pub fn divide(&self, groups: &[&[usize]]) -> anyhow::Result<()> {
        for group in groups {
            for at in *group {
                let others = groups.iter().filter(|other| other != &group).flat_map(|other| *other);
                let cut: Vec<&str> =
                    others.map(|other| self.nodes[*other].office.as_str()).collect();
                self.nodes[*at].api().send("PUT", "/v1/faults", &json!({ "cut": cut }))?;
            }
        }
        Ok(())
    }

    fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.pid().is_some())
    }

    /// Lets the nodes run on, and their folders stay.
    pub fn keep(mut self) -> PathBuf {
        for node in std::mem::take(&mut self.nodes) {
            node.leave();
        }
        match self.folder.take() {
            Some(folder) => folder.keep(),
            None => self.root.clone(),
        }
    }
}
