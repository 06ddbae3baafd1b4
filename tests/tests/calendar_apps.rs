//! People's calendar apps, as they are: vdirsyncer and khal, and Evolution without its windows, each with an office's
//! node; and a program that tries all that a CalDAV server should do.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use fasti_tests::{Cluster, Dav, Fasti, Node, wait_for};

fn fasti() -> Fasti {
    Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test"))
}

/// A program of the Python environment that has them.
fn app(name: &str) -> Command {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("requirements.txt");
    let environment =
        fasti_python::environment(Path::new(env!("CARGO_TARGET_TMPDIR")), &requirements);
    let mut command = Command::new(environment.join("bin").join(name));
    // What the machine says of proxies, zones and languages is not theirs.
    command.env_remove("http_proxy").env_remove("https_proxy").env("NO_PROXY", "*");
    command.env("LC_ALL", "C.UTF-8").env("TZ", "America/Denver");
    command
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it).into_owned()).concat()
}

/// A new person's.
fn password_of(node: &Node, name: &str) -> String {
    let said = fasti().prints(node.dir(), &["user", "add", name, "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    said["password"].as_str().unwrap().to_owned()
}

/// A person with vdirsyncer, which keeps a folder in step with the office's calendar.
struct Person {
    folder: PathBuf,
    config: PathBuf,
}

impl Person {
    /// With a calendar of the office before them: discovered from the server's address alone.
    fn new(root: &Path, node: &Node, name: &str) -> Self {
        let home = root.join(name);
        fs::create_dir_all(&home).unwrap();
        let password = password_of(node, name);
        let (http, _) = node.api().address();
        let shown = home.display();
        let config = home.join("config");
        let text = format!(
            "[general]\nstatus_path = \"{shown}/status\"\n\
             [pair office]\na = \"here\"\nb = \"there\"\ncollections = [\"from b\"]\nmetadata = [\"displayname\", \"color\"]\n\
             [storage here]\ntype = \"filesystem\"\npath = \"{shown}/calendars\"\nfileext = \".ics\"\n\
             [storage there]\ntype = \"caldav\"\nurl = \"{http}/\"\nusername = \"{name}\"\npassword = \"{password}\"\n"
        );
        fs::write(&config, text).unwrap();
        let person = Self { folder: home.join("calendars/default"), config };
        fs::create_dir_all(&person.folder).unwrap();
        person.vdirsyncer("discover");
        person
    }

    fn vdirsyncer(&self, what: &str) {
        let output = app("vdirsyncer").arg("-c").arg(&self.config).args([what]).output().unwrap();
        assert!(output.status.success(), "{what}: {}", said(&output));
        assert!(!said(&output).contains("error"), "{what}: {}", said(&output));
    }

    fn sync(&self) {
        self.vdirsyncer("sync");
    }

    fn file(&self, uid: &str) -> PathBuf {
        self.folder.join(format!("{uid}.ics"))
    }

    fn read(&self, uid: &str) -> String {
        fs::read_to_string(self.file(uid)).unwrap_or_default().replace("\r\n", "\n")
    }

    fn edit(&self, uid: &str, from: &str, to: &str) {
        let text = self.read(uid);
        assert!(text.contains(from), "{from}: {text}");
        fs::write(self.file(uid), text.replace(from, to)).unwrap();
    }

    /// What khal shows of a day.
    fn agenda(&self, day: &str) -> String {
        let config = self.folder.join("../khal");
        let shown = self.folder.display();
        let text = format!(
            "[calendars]\n[[office]]\npath = {shown}\n[sqlite]\npath = {shown}/../khal.db\n\
             [locale]\ntimeformat = %H:%M\ndateformat = %Y-%m-%d\nlongdateformat = %Y-%m-%d\n\
             datetimeformat = %Y-%m-%d %H:%M\nlongdatetimeformat = %Y-%m-%d %H:%M\n"
        );
        fs::write(&config, text).unwrap();
        let output = app("khal").arg("-c").arg(config).args(["list", day, "1d"]).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// A person with Evolution's data server, on a bus of its own.
struct Evolution {
    process: Child,
    told: Option<ChildStdin>,
    says: BufReader<ChildStdout>,
}

impl Evolution {
    fn new(root: &Path, node: &Node, name: &str) -> Self {
        let home = root.join(name);
        let (sources, run) = (home.join(".config/evolution/sources"), home.join("run"));
        fs::create_dir_all(&sources).unwrap();
        fs::create_dir_all(&run).unwrap();
        let password = password_of(node, name);
        let address = node.api().address().0.replace("http://", "");
        let (host, port) = address.rsplit_once(':').unwrap();
        let source = format!(
            "[Data Source]\nDisplayName=Office\nEnabled=true\nParent=caldav-stub\n\
             [Calendar]\nBackendName=caldav\n\
             [Authentication]\nHost={host}\nPort={port}\nMethod=plain/password\nUser={name}\nRememberPassword=false\n\
             [Security]\nMethod=none\n\
             [WebDAV Backend]\nResourcePath=/dav/calendars/default/\n"
        );
        fs::write(sources.join("office.source"), source).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/evolution.py");
        // The system's Python: that has the bindings.
        let mut process = Command::new("dbus-run-session")
            .args(["--", "/usr/bin/python3"])
            .arg(script)
            .args([name, &password])
            .env("HOME", &home)
            .env("XDG_RUNTIME_DIR", &run)
            .env("GSETTINGS_BACKEND", "memory")
            .env("GIO_USE_PROXY_RESOLVER", "dummy")
            .env_remove("http_proxy")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("dbus-run-session, which .ci/test installs: {error}"));
        let told = process.stdin.take();
        let says = BufReader::new(process.stdout.take().unwrap());
        Self { process, told, says }
    }

    fn try_to(&mut self, words: &[&str]) -> Result<String, String> {
        writeln!(self.told.as_mut().unwrap(), "{}", serde_json::json!(words)).unwrap();
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        let said: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("{words:?}: {line:?}"));
        match said.get("done") {
            Some(done) => Ok(done.as_str().unwrap_or_default().to_owned()),
            None => Err(said["failed"].to_string()),
        }
    }

    fn does(&mut self, words: &[&str]) {
        self.try_to(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
    }

    fn wait_to_read(&mut self, uid: &str, lines: &[&str]) {
        wait_for("Evolution to see it", || {
            let text = self.try_to(&["read", uid]).unwrap_or_default();
            Ok(lines.iter().all(|line| text.contains(line)))
        })
        .unwrap();
    }
}

impl Drop for Evolution {
    fn drop(&mut self) {
        // Without anything more to do it ends, and its bus with it.
        drop(self.told.take());
        let _ = self.process.wait();
    }
}

const MEETING: &str = "BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//People//EN
BEGIN:VEVENT
UID:meeting
DTSTAMP:20240101T000000Z
DTSTART;TZID=America/Denver:20240401T090000
DTEND;TZID=America/Denver:20240401T100000
RRULE:FREQ=WEEKLY
SUMMARY:Réunion of the teams
LOCATION:Room 1
X-MOOD;X-OF=all:hopeful
BEGIN:VALARM
ACTION:DISPLAY
DESCRIPTION:Soon
TRIGGER:-PT15M
END:VALARM
END:VEVENT
END:VCALENDAR
";

#[test]
fn two_people_edit_one_event_apart_with_vdirsyncer_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let faulty = fasti().with_env("FASTI_FAULTS", "1");
    let cluster = Cluster::of(&faulty, &["Denver", "Boston"]).unwrap();
    let (denver, boston) = (&cluster.nodes[0], &cluster.nodes[1]);
    let ann = Person::new(folder.path(), denver, "ann");
    let bob = Person::new(folder.path(), boston, "bob");

    fs::write(ann.file("meeting"), MEETING.replace('\n', "\r\n")).unwrap();
    ann.sync();
    cluster.wait_until_equal().unwrap();
    bob.sync();
    for line in ["X-MOOD;X-OF=all:hopeful", "TRIGGER:-PT15M", "RRULE:FREQ=WEEKLY"] {
        assert!(bob.read("meeting").contains(line), "{line}: {}", bob.read("meeting"));
    }
    assert!(bob.agenda("2024-04-08").contains("09:00-10:00 Réunion of the teams"));

    cluster.divide(&[&[0], &[1]]).unwrap();
    ann.edit("meeting", "SUMMARY:Réunion of the teams", "SUMMARY:Réunion of all teams");
    bob.edit("meeting", "LOCATION:Room 1", "LOCATION:Room 2");
    bob.edit("meeting", "TRIGGER:-PT15M", "TRIGGER:-PT30M");
    fs::write(bob.file("lunch"), MEETING.replace("meeting", "lunch").replace("Réunion", "Lunch"))
        .unwrap();
    ann.sync();
    bob.sync();
    cluster.divide(&[&[0, 1]]).unwrap();
    cluster.wait_until_linked().unwrap();
    cluster.wait_until_equal().unwrap();
    for person in [&ann, &bob] {
        person.sync();
        let text = person.read("meeting");
        for line in ["Réunion of all teams", "LOCATION:Room 2", "TRIGGER:-PT30M", "hopeful"] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(person.agenda("2024-04-15").contains("Lunch of the teams"));
    }
    assert_eq!(denver.api().get("/v1/conflicts").unwrap()["conflicts"], serde_json::json!([]));

    // Deleted by one, it is gone at the other's.
    fs::remove_file(bob.file("meeting")).unwrap();
    bob.sync();
    cluster.wait_until_equal().unwrap();
    ann.sync();
    assert_eq!(ann.read("meeting"), "");
    let event = denver.api().event("meeting").unwrap().unwrap();
    assert_eq!(event["status"], "cancelled");
    // Who wrote it is told beside the office.
    let mut stream = denver.api().follow("?from=0&entries_only=true").unwrap();
    let mut people = Vec::new();
    while people.len() < 5 {
        people.extend(stream.next_entry().unwrap()["person"].as_str().map(str::to_owned));
    }
    assert!(people.contains(&"ann".into()) && people.contains(&"bob".into()), "{people:?}");
}

#[test]
fn two_people_edit_one_event_apart_with_evolution_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let faulty = fasti().with_env("FASTI_FAULTS", "1");
    let cluster = Cluster::of(&faulty, &["Denver", "Boston"]).unwrap();
    let mut ann = Evolution::new(folder.path(), &cluster.nodes[0], "ann");
    let mut bob = Evolution::new(folder.path(), &cluster.nodes[1], "bob");
    let (_, meeting) = MEETING.split_once("PRODID:-//People//EN\n").unwrap();
    ann.does(&["add", &meeting.replace("END:VCALENDAR\n", "")]);
    cluster.wait_until_equal().unwrap();
    bob.wait_to_read("meeting", &["SUMMARY:Réunion of the teams", "X-MOOD;X-OF=all:hopeful"]);

    cluster.divide(&[&[0], &[1]]).unwrap();
    ann.does(&["edit", "meeting", "SUMMARY:Réunion of the teams", "SUMMARY:Réunion of all teams"]);
    bob.does(&["edit", "meeting", "LOCATION:Room 1", "LOCATION:Room 2"]);
    bob.does(&["edit", "meeting", "TRIGGER:-PT15M", "TRIGGER:-PT30M"]);
    cluster.divide(&[&[0, 1]]).unwrap();
    cluster.wait_until_linked().unwrap();
    cluster.wait_until_equal().unwrap();
    for person in [&mut ann, &mut bob] {
        let lines = ["Réunion of all teams", "LOCATION:Room 2", "TRIGGER:-PT30M", "hopeful"];
        person.wait_to_read("meeting", &lines);
    }

    bob.does(&["delete", "meeting"]);
    cluster.wait_until_equal().unwrap();
    wait_for("Ann's not to have it", || Ok(ann.try_to(&["read", "meeting"]).is_err())).unwrap();
    assert_eq!(cluster.nodes[0].dav("eve").unwrap().read("meeting.ics").unwrap(), None);
}

#[test]
fn what_a_server_should_do_is_done() {
    let cluster = Cluster::found(&fasti(), "Denver").unwrap();
    let node = &cluster.nodes[0];
    let said_of_user = fasti().prints(node.dir(), &["user", "add", "ann", "--json"]);
    let user: serde_json::Value = serde_json::from_str(&said_of_user).unwrap();
    let (http, _) = node.api().address();
    let output = app("caldav-server-tester")
        .args(["--format", "json", "--verbose", "--caldav-url", &format!("{http}/dav/")])
        .args(["--caldav-username", "ann", "--caldav-password"])
        .arg(user["password"].as_str().unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let start = text.find('{').unwrap_or_else(|| panic!("{}", said(&output)));
    let report: serde_json::Value = serde_json::from_str(&text[start..]).unwrap();
    // It names what differs from what it expects.
    let features = report["features"].as_object().unwrap_or_else(|| panic!("{report}"));
    let mut missing: Vec<&str> = features
        .iter()
        .filter(|it| !["full", "unknown"].contains(&it.1["support"].as_str().unwrap_or_default()))
        .map(|it| it.0.as_str())
        .collect();
    missing.sort_unstable();
    let left_out = [
        // Journals have no place in JSCalendar, and invitations by mail are another door.
        "save-load.journal",
        "scheduling",
        // Questions that RFC 4791 gives no meaning.
        "search.text.comp-type-optional",
        "search.time-range.comp-type-optional",
        // An address is told in one spelling, whichever it was asked in.
        "url.encode-at.identity",
    ];
    assert_eq!(missing, left_out, "{report:#}");
}

/// What is read of a server that was asked at once, wherever a client begins.
#[test]
fn a_calendar_app_finds_its_way_from_the_host_alone() {
    let cluster = Cluster::found(&fasti(), "Denver").unwrap();
    let node = &cluster.nodes[0];
    let dav = node.dav("ann").unwrap();
    for path in ["/.well-known/caldav", "/.well-known/caldav/"] {
        let moved = dav.at(path).request("PROPFIND", "", &[], "").unwrap();
        assert_eq!((moved.status, moved.header("location")), (301, "/dav/"));
    }
    let who = "<d:prop><d:current-user-principal/></d:prop>";
    for path in ["/", "/principals/", "/dav/", "/dav/calendars/default/"] {
        let found = dav.at(path).ask("PROPFIND", "0", "d:propfind", who).unwrap();
        assert_eq!(found.status, 207, "{path}: {found:?}");
        assert!(found.body.contains("<d:href>/dav/principals/ann/</d:href>"), "{path}: {found:?}");
    }
    let home = "<d:prop><c:calendar-home-set/><c:calendar-user-address-set/><c:schedule-inbox-URL/></d:prop>";
    let found = dav.at("/dav/principals/ann/").ask("PROPFIND", "0", "d:propfind", home).unwrap();
    assert!(
        found.body.contains("<c:calendar-home-set><d:href>/dav/calendars/</d:href>"),
        "{found:?}"
    );
    let kinds = "<d:prop><d:resourcetype/><cs:getctag/></d:prop>";
    let found = dav.at("/dav/calendars/").ask("PROPFIND", "1", "d:propfind", kinds).unwrap();
    assert!(found.body.contains("<c:calendar/>"), "{found:?}");
    let stranger = Dav::new(&format!("{}/dav/", node.api().address().0), "eve", "wrong");
    let refused = stranger.ask("PROPFIND", "0", "d:propfind", who).unwrap();
    assert_eq!(refused.status, 401);
    wait_for("the node to go on", || Ok(node.api().get("/v1/status").is_ok())).unwrap();
}
