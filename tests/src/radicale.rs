//! A CalDAV server that is not ours: Radicale, with one calendar, which a person uses with a calendar program.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use ureq::http::{Method, Request, Response};

use crate::wait_for;

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
        let made = self.request("MKCALENDAR", "", &[], "")?;
        if made.status() != 201 {
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
        wait_for("Radicale", || Ok(self.request("OPTIONS", "", &[], "").is_ok()))?;
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

    fn request(
        &self,
        method: &str,
        name: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> anyhow::Result<Response<ureq::Body>> {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent: ureq::Agent = config.allow_non_standard_methods(true).build().into();
        let login = data_encoding::BASE64.encode(format!("{NAME}:{PASSWORD}").as_bytes());
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes())?)
            .uri(format!("http://127.0.0.1:{}/{NAME}/office/{name}", self.port))
            .header("authorization", format!("Basic {login}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(agent.run(request.body(body.to_owned())?)?)
    }

    /// A resource's etag and text, if it is there.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub fn read(&self, name: &str) -> anyhow::Result<Option<(String, String)>> {
        let mut found = self.request("GET", name, &[], "")?;
        if found.status() == 404 {
            return Ok(None);
        }
        let etag = found.headers().get("etag").context("it has an etag")?.to_str()?.to_owned();
        Ok(Some((etag, found.body_mut().read_to_string()?.replace("\r\n", "\n"))))
    }

    /// Writes a resource over whatever is there, as a person does.
    ///
    /// # Errors
    /// If the server refuses it.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let text = text.replace('\n', "\r\n");
        let headers = [("content-type", "text/calendar; charset=utf-8")];
        let mut answer = self.request("PUT", name, &headers, &text)?;
        if !answer.status().is_success() {
            bail!("{name}: {} {}", answer.status(), answer.body_mut().read_to_string()?);
        }
        Ok(())
    }

    /// Deletes a resource.
    ///
    /// # Errors
    /// If the server refuses that.
    pub fn delete(&self, name: &str) -> anyhow::Result<()> {
        let answer = self.request("DELETE", name, &[], "")?;
        if !answer.status().is_success() {
            bail!("{name}: {}", answer.status());
        }
        Ok(())
    }
}

impl Drop for Radicale {
    fn drop(&mut self) {
        self.end();
    }
}
