//! A CalDAV server that is not ours: Radicale, with one calendar, which a person uses with a calendar program.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};

use crate::{Dav, wait_for};

const NAME: &str = "anna";
const PASSWORD: &str = "p:ss word";

/// Radicale on a free port of loopback. It is ended when it is dropped.
#[derive(Debug)]
pub struct Radicale {
    home: PathBuf,
    python: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Radicale {
    /// Starts one that has one calendar, empty, with its files in this folder. Installs it, in `tmp`.
    ///
    /// # Errors
    /// If it doesn't start.
    pub fn start(home: &Path, tmp: &Path) -> anyhow::Result<Self> {
        let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("requirements.txt");
        let python = fasti_python::environment(tmp, &requirements).join("bin/python");
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let home = home.to_owned();
        fs::create_dir_all(&home)?;
        fs::write(home.join("users"), format!("{NAME}:{PASSWORD}\n"))?;
        let shown = home.display();
        let config = format!(
            "[server]\nhosts = 127.0.0.1:{port}\n[auth]\ntype = htpasswd\nhtpasswd_filename = {shown}/users\n\
             htpasswd_encryption = plain\ndelay = 0\n[storage]\nfilesystem_folder = {shown}/storage\n"
        );
        fs::write(home.join("config"), config)?;
        let mut radicale = Self { home, python, port, child: None };
        radicale.go_on()?;
        radicale.make()?;
        Ok(radicale)
    }

    /// Makes the calendar.
    ///
    /// # Errors
    /// If the server refuses that.
    pub fn make(&self) -> anyhow::Result<()> {
        let made = self.dav().request("MKCALENDAR", "", &[], "")?;
        if made.status != 201 {
            bail!("no calendar is made: {made:?}");
        }
        Ok(())
    }

    /// Loses all that it keeps, while it is ended.
    pub fn lose_all(&self) {
        let _ = fs::remove_dir_all(self.home.join("storage"));
    }

    /// Goes on where it was ended.
    ///
    /// # Errors
    /// If it doesn't start.
    pub fn go_on(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(self.home.join("log"))?;
        let mut command = Command::new(&self.python);
        command.args(["-m", "radicale", "-C"]).arg(self.home.join("config"));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().context("Radicale does not start")?);
        wait_for("Radicale", || Ok(self.dav().is_up()))?;
        Ok(())
    }

    /// Ends it, as a crash does.
    pub fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The calendar, as a target of Fasti.
    pub fn target(&self) -> String {
        let password = PASSWORD.replace(':', "%3A").replace(' ', "%20");
        format!("caldav://{NAME}:{password}@127.0.0.1:{}/{NAME}/office", self.port)
    }

    /// The calendar, as a person's calendar app has it.
    pub fn dav(&self) -> Dav {
        Dav::new(&format!("http://127.0.0.1:{}/{NAME}/office/", self.port), NAME, PASSWORD)
    }

    /// Where the calendar's events are kept, a file for each.
    pub fn folder(&self) -> PathBuf {
        self.home.join("storage/collection-root").join(NAME).join("office")
    }

    /// See [`Dav::read`].
    ///
    /// # Errors
    /// If the server can't be asked.
    pub fn read(&self, name: &str) -> anyhow::Result<Option<(String, String)>> {
        self.dav().read(name)
    }

    /// See [`Dav::write`].
    ///
    /// # Errors
    /// If the server refuses it.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        self.dav().write(name, text)
    }

    /// See [`Dav::delete`].
    ///
    /// # Errors
    /// If the server refuses that.
    pub fn delete(&self, name: &str) -> anyhow::Result<()> {
        self.dav().delete(name)
    }
}

impl Drop for Radicale {
    fn drop(&mut self) {
        self.end();
    }
}
