//! A client of CalDAV servers, ours and others, that says what it is told to.

use std::net::TcpStream;

use anyhow::{Context as _, bail};
use ureq::http::{HeaderMap, Method, Request};

/// A collection at a server, and who asks.
#[derive(Clone, Debug)]
pub struct Dav {
    agent: ureq::Agent,
    base: String,
    authorization: String,
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct DavAnswer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
}

impl DavAnswer {
    /// A header's value; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default()
    }

    /// How often something stands in the body.
    pub fn count(&self, text: &str) -> usize {
        self.body.matches(text).count()
    }

    /// What stands in the first element of this name, with its prefix.
    pub fn element(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.body.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|it| it.0)
    }
}

impl Dav {
    /// Of a collection at an address, such as `http://127.0.0.1:8377/dav/calendars/default/`.
    pub fn new(base: &str, name: &str, password: &str) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
        let agent: ureq::Agent = config.allow_non_standard_methods(true).build().into();
        let login = data_encoding::BASE64.encode(format!("{name}:{password}").as_bytes());
        Self { agent, base: base.to_owned(), authorization: format!("Basic {login}") }
    }

    /// The same with a connection of its own.
    pub fn apart(&self) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
        let agent = config.allow_non_standard_methods(true).build().into();
        Self { agent, ..self.clone() }
    }

    /// Another collection at the same server, by its path.
    pub fn at(&self, path: &str) -> Self {
        let end = self.base.find("://").map_or(0, |at| at + 3);
        let host = self.base[end..].split('/').next().unwrap_or_default();
        Self { base: format!("{}{host}{path}", &self.base[..end]), ..self.clone() }
    }

    /// Sends a request to something in it.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn request(
        &self,
        method: &str,
        name: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> anyhow::Result<DavAnswer> {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes())?)
            .uri(format!("{}{name}", self.base))
            .header("authorization", &self.authorization);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.agent.run(request.body(body.to_owned())?);
        let mut answer = answer.with_context(|| format!("{method} {name}"))?;
        Ok(DavAnswer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: answer.body_mut().with_config().limit(1 << 30).read_to_string()?,
        })
    }

    /// A resource's etag and text, if it is there. Line ends are those of Unix.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub fn read(&self, name: &str) -> anyhow::Result<Option<(String, String)>> {
        let found = self.request("GET", name, &[], "")?;
        if found.status == 404 {
            return Ok(None);
        }
        if found.header("etag").is_empty() {
            bail!("{name} has no etag: {found:?}");
        }
        Ok(Some((found.header("etag").to_owned(), found.body.replace("\r\n", "\n"))))
    }

    /// Writes a resource over whatever is there, as a person does.
    ///
    /// # Errors
    /// If the server refuses it.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        self.write_if(name, text, &[])
    }

    /// The same, on a condition.
    ///
    /// # Errors
    /// If the server refuses it.
    pub fn write_if(
        &self,
        name: &str,
        text: &str,
        condition: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
        let mut headers = vec![("content-type", "text/calendar; charset=utf-8")];
        headers.extend(condition);
        let answer = self.request("PUT", name, &headers, &text)?;
        if !(200..300).contains(&answer.status) {
            bail!("{name}: {} {}", answer.status, answer.body);
        }
        Ok(())
    }

    /// Deletes a resource.
    ///
    /// # Errors
    /// If the server refuses that.
    pub fn delete(&self, name: &str) -> anyhow::Result<()> {
        let answer = self.request("DELETE", name, &[], "")?;
        if !(200..300).contains(&answer.status) {
            bail!("{name}: {}", answer.status);
        }
        Ok(())
    }

    /// Asks with a body in XML, which may use the prefixes `d`, `c`, `cs` and `ical`.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn ask(
        &self,
        method: &str,
        depth: &str,
        root: &str,
        inner: &str,
    ) -> anyhow::Result<DavAnswer> {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><{root} xmlns:d=\"DAV:\" \
             xmlns:c=\"urn:ietf:params:xml:ns:caldav\" xmlns:cs=\"http://calendarserver.org/ns/\" \
             xmlns:ical=\"http://apple.com/ns/ical/\">{inner}</{root}>"
        );
        let headers = [("depth", depth), ("content-type", "application/xml; charset=utf-8")];
        self.request(method, "", &headers, &body)
    }

    /// Whether something listens there.
    pub fn is_up(&self) -> bool {
        let host = self.base.split("://").nth(1).and_then(|it| it.split('/').next());
        host.is_some_and(|host| TcpStream::connect(host).is_ok())
    }
}
