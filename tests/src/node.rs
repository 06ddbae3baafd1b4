//! One node: its folder, its process, and how to end it kindly or not.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use fasti_node::NodeFile;

use crate::api::Api;
use crate::dav::Dav;

/// How to start `fasti`: a program, which some set apart by an environment variable when they start
/// themselves.
#[derive(Clone, Debug)]
pub struct Fasti {
    program: PathBuf,
    env: Vec<(String, String)>,
    listen: Vec<String>,
}

impl Fasti {
    /// The program itself.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".into(), "/ip4/127.0.0.1/tcp/0".into()];
        Self { program: program.into(), env: Vec::new(), listen }
    }

    /// The running program, which is to act as `fasti` when it sees this variable.
    ///
    /// # Errors
    /// If the system doesn't say which program runs.
    pub fn myself(variable: &str) -> anyhow::Result<Self> {
        Ok(Self::new(std::env::current_exe()?).with_env(variable, "1"))
    }

    /// With one more environment variable.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// With nodes that listen there and nowhere else.
    #[must_use]
    pub fn listening_on(mut self, address: &str) -> Self {
        self.listen = vec![address.into()];
        self
    }

    /// A call, ready to be run.
    pub fn command(&self, dir: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).arg("--dir").arg(dir).env("FASTI_NO_MDNS", "1").env("NO_COLOR", "1");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a call to its end.
    ///
    /// # Errors
    /// If it can't be run.
    pub fn output(&self, dir: &Path, args: &[&str]) -> anyhow::Result<Output> {
        Ok(self.command(dir, args).output()?)
    }

    /// Runs a call to its end; gives its status and what it said.
    ///
    /// # Errors
    /// If it can't be run, or was ended by a signal.
    pub fn says(&self, dir: &Path, args: &[&str]) -> anyhow::Result<Said> {
        let output = self.output(dir, args)?;
        Ok(Said {
            status: output.status.code().context("ended by a signal")?,
            out: String::from_utf8(output.stdout)?,
            err: String::from_utf8(output.stderr)?,
        })
    }

    /// What a call prints that must succeed, and complain of nothing.
    ///
    /// # Panics
    /// If it doesn't.
    #[track_caller]
    pub fn prints(&self, dir: &Path, args: &[&str]) -> String {
        match self.says(dir, args) {
            Ok(Said { status: 0, out, err }) if err.is_empty() => out,
            said => panic!("fasti {}: {said:?}", args.join(" ")),
        }
    }

    /// Runs a call that must succeed, and gives what it prints.
    ///
    /// # Errors
    /// With what it said on stderr.
    pub fn call(&self, dir: &Path, args: &[&str]) -> anyhow::Result<String> {
        let output = self.output(dir, args)?;
        if !output.status.success() {
            bail!("fasti {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

/// What a call said.
#[derive(Debug)]
pub struct Said {
    /// Its exit status.
    pub status: i32,
    /// What it printed on stdout.
    pub out: String,
    /// What it printed on stderr.
    pub err: String,
}

/// A node of a test or an example. It is killed when it is dropped.
#[derive(Debug)]
pub struct Node {
    /// The office's name.
    pub name: String,
    /// The office's id: 64 hex digits.
    pub office: String,
    fasti: Fasti,
    dir: PathBuf,
    /// Further arguments for `fasti run`; how it serves HTTP is among them.
    run: Vec<String>,
    /// Once it has run, it runs again at the same addresses.
    listen: Vec<String>,
    process: Option<Child>,
    api: Option<Api>,
}

impl Node {
    /// A node whose folder has been made by `init` or `join`; not running yet.
    pub fn new(fasti: &Fasti, name: &str, dir: &Path) -> Self {
        Self {
            name: name.into(),
            office: String::new(),
            fasti: fasti.clone(),
            dir: dir.into(),
            run: vec!["--http".into(), "127.0.0.1:0".into()],
            listen: fasti.listen.clone(),
            process: None,
            api: None,
        }
    }

    /// With these arguments for `fasti run`, which say how it serves HTTP, from its next start on.
    pub fn run_with(&mut self, args: &[&str]) {
        self.run = args.iter().map(|&arg| arg.to_owned()).collect();
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its log file.
    pub fn log(&self) -> PathBuf {
        self.dir.with_extension("log")
    }

    /// How it is talked to.
    ///
    /// # Panics
    /// If it isn't running.
    pub fn api(&self) -> &Api {
        self.api.as_ref().unwrap_or_else(|| panic!("{} is not running", self.name))
    }

    /// Adds a person, who has its calendar `default` before them.
    ///
    /// # Errors
    /// If the node refuses that.
    pub fn dav(&self, person: &str) -> anyhow::Result<Dav> {
        let said = self.fasti.call(&self.dir, &["user", "add", person, "--json"])?;
        let said: serde_json::Value = serde_json::from_str(&said)?;
        let password = said["password"].as_str().context("a password")?;
        let base = format!("{}/dav/calendars/default/", NodeFile::read(&self.dir)?.http);
        Ok(Dav::new(&base, person, password))
    }

    /// The process's number, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// If it ends instead, with the last of its log.
    pub fn start(&mut self) -> anyhow::Result<()> {
        // What a killed process left there would be taken for the new one's.
        let _ = std::fs::remove_file(self.dir.join("node.json"));
        let mut log = File::options().create(true).append(true).open(self.log())?;
        writeln!(log, "--- start")?;
        let mut args = vec!["run"];
        args.extend(self.run.iter().map(String::as_str));
        for address in &self.listen {
            args.extend(["--listen", address]);
        }
        let mut command = self.fasti.command(&self.dir, &args);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        let start = Instant::now();
        let file = loop {
            if let Ok(file) = NodeFile::read(&self.dir) {
                break file;
            }
            if let Some(status) = process.try_wait()? {
                bail!("{} ended with {status}: {}", self.name, self.last_of_log());
            }
            if start.elapsed() > Duration::from_secs(60) {
                let _ = process.kill();
                bail!("{} is not ready after a minute: {}", self.name, self.last_of_log());
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        self.listen = file.listen.iter().map(|address| without_peer(address)).collect();
        let api = Api::new(&file)?;
        self.process = Some(process);
        if self.office.is_empty() {
            let status = api.get("/v1/status")?;
            self.office = status["office"].as_str().context("a status without office")?.to_owned();
        }
        self.api = Some(api);
        Ok(())
    }

    fn last_of_log(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// Ends it without warning, as a power failure would end a process.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.api = None;
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Errors
    /// If it ends with another status than success.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.api = None;
        if let Some(mut process) = self.process.take() {
            Command::new("kill").arg(process.id().to_string()).status()?;
            let status = process.wait()?;
            if !status.success() {
                bail!("{} stopped with {status}", self.name);
            }
        }
        Ok(())
    }

    /// Lets it run on after this program has ended.
    pub fn leave(mut self) {
        self.process = None;
    }

    /// CPU seconds it has used, and the most memory it had, in bytes.
    pub fn usage(&self) -> Option<(f64, u64)> {
        let pid = self.pid()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Fields 14 and 15 (user and system time in hundredths of a second), counted after the name.
        let fields: Vec<&str> = stat.rsplit(") ").next()?.split(' ').collect();
        let ticks: u64 =
            fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse().ok()?;
        Some((ticks as f64 / 100.0, kib * 1024))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn without_peer(address: &str) -> String {
    address.split("/p2p/").next().unwrap_or(address).to_owned()
}
