//! Secrets stay where they are meant to be: no log has them at any level, no other file, and nobody else
//! on the machine may read those files.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD};
use fasti_core::ticket::Ticket;
use fasti_node::NodeFile;
use fasti_tests::{Cluster, Fasti, Node, wait_for};
use serde_json::{Value, json};

fn fasti() -> Fasti {
    Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test"))
}

/// Something that must not be found, in all its spellings, but in the files named here.
struct Secret {
    what: String,
    spellings: Vec<Vec<u8>>,
    meant_for: Vec<PathBuf>,
}

impl Secret {
    fn text(what: &str, text: &str, meant_for: &[PathBuf]) -> Self {
        Self { what: what.into(), spellings: vec![text.into()], meant_for: meant_for.to_vec() }
    }

    fn bytes(what: &str, bytes: &[u8], meant_for: &[PathBuf]) -> Self {
        // In base64 the last letter may also hold what follows.
        let base64 = |text: String| text.as_bytes()[..text.len() - 1].to_vec();
        let debug = format!("{bytes:?}");
        let spellings = vec![
            bytes.to_vec(),
            hex::encode(bytes).into(),
            hex::encode_upper(bytes).into(),
            base64(BASE64_NOPAD.encode(bytes)),
            base64(BASE64URL_NOPAD.encode(bytes)),
            debug.trim_matches(['[', ']']).into(),
        ];
        Self { what: what.into(), spellings, meant_for: meant_for.to_vec() }
    }

    /// The files that have it.
    fn found_in<'a>(&self, files: &'a [(PathBuf, Vec<u8>)]) -> Vec<&'a Path> {
        let has = |content: &[u8], spelling: &[u8]| {
            content.windows(spelling.len()).any(|window| window == spelling)
        };
        let holds = |content: &[u8]| self.spellings.iter().any(|spelling| has(content, spelling));
        files.iter().filter(|(_, content)| holds(content)).map(|(path, _)| &**path).collect()
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn seed(dir: &Path) -> [u8; 32] {
    let text = fs::read_to_string(dir.join("office.key")).unwrap();
    hex::decode(text.trim()).unwrap().try_into().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Everything that a node does with secrets, with both nodes telling all they can: one over HTTPS with a
/// certificate of its own, one plainly on this machine.
#[test]
fn no_secret_is_in_a_log_or_in_a_file_that_is_not_meant_for_it() {
    let fasti = fasti();
    let mut cluster = Cluster::found(&fasti, "Core").unwrap();
    let core = cluster.nodes[0].dir().to_owned();
    cluster.nodes[0].stop().unwrap();
    cluster.nodes[0].run_with(&["--http", "0.0.0.0:0", "--log", "trace"]);
    cluster.nodes[0].start().unwrap();

    let mut said = Vec::new();
    let mut says = |dir: &Path, args: &[&str]| {
        let said_now = fasti.says(dir, args).unwrap();
        said.push(said_now.err.clone());
        said_now
    };
    let ticket = says(&core, &["invite", "--office", "Denver"]).out.trim().to_owned();
    let denver = cluster.folder_of("Denver");
    assert_eq!(says(&denver, &["join", &ticket]).status, 0);
    let mut node = Node::new(&fasti, "Denver", &denver);
    node.run_with(&["--http", "127.0.0.1:0", "--log", "trace", "--log-format", "json"]);
    node.start().unwrap();
    cluster.nodes.push(node);
    assert_eq!(says(&cluster.folder_of("Austin"), &["join", &ticket]).status, 1, "used twice");
    let damaged = format!("{}x", &ticket[..ticket.len() - 1]);
    assert_eq!(says(&cluster.folder_of("Austin"), &["join", &damaged]).status, 1);

    // What people send, right and wrong, and what a mistyped header has.
    let (mut passwords, mut wrong) = (Vec::new(), vec!["guessed-4f1c0d".to_owned()]);
    for node in &cluster.nodes {
        let password = says(node.dir(), &["user", "add", "ann"]).out.trim().to_owned();
        let basic = |password: &str| BASE64.encode(format!("ann:{password}").as_bytes());
        for (authorization, status) in [
            (format!("Basic {}", basic(&password)), 200),
            (format!("Basic {}", basic(&wrong[0])), 401),
            (format!("Bearer {}", wrong[0]), 401),
            (format!("Nonsense {password}"), 401),
        ] {
            let answer = node.api().without_token("/v1/status", Some(&authorization)).unwrap();
            assert_eq!(answer.status, status, "{authorization}");
        }
        wrong.push(basic(&wrong[0]));
        passwords.extend([basic(&password), password.replace('-', ""), password]);
        // A link into the page, used once, and once too often.
        let link = says(node.dir(), &["login"]).out;
        let code = link.trim().rsplit('/').next().unwrap().to_owned();
        let body = serde_json::json!({ "code": code }).to_string();
        for status in [201, 401] {
            let json = [("content-type", "application/json")];
            let answer = node.api().ask("POST", "/v1/session", &json, &body).unwrap();
            assert_eq!(answer.status, status);
        }
        passwords.push(code);
        node.api().publish("A", "2024-04-01", "an edit").unwrap();
    }
    cluster.wait_until_equal().unwrap();

    let mut secrets = Vec::new();
    for node in &cluster.nodes {
        let (name, dir) = (&node.name, node.dir());
        let token = NodeFile::read(dir).unwrap().token;
        let places = [dir.join("http.token"), dir.join("node.json")];
        secrets.push(Secret::text(&format!("{name}'s token"), &token, &places));
        let key = [dir.join("office.key")];
        secrets.push(Secret::bytes(&format!("{name}'s key"), &seed(dir), &key));
    }
    let key = fs::read_to_string(core.join("http.key")).unwrap();
    let key = key.lines().nth(2).unwrap();
    secrets.push(Secret::text("the key for HTTPS", key, &[core.join("http.key")]));
    secrets.push(Secret::text("the ticket", &ticket["fasti1-".len()..], &[]));
    let ticket = Ticket::from_text(&ticket).unwrap();
    secrets.push(Secret::bytes("the ticket's secret", ticket.secret(), &[]));
    secrets.extend(passwords.iter().map(|text| Secret::text("a password", text, &[])));
    secrets.extend(wrong.iter().map(|text| Secret::text("a guess", text, &[])));

    let read = |path: PathBuf| {
        let content = fs::read(&path).unwrap();
        (path, content)
    };
    let mut all: Vec<_> = files(cluster.root()).into_iter().map(read).collect();
    all.push(("what calls said on stderr".into(), said.concat().into_bytes()));
    for node in &cluster.nodes {
        let log = fs::read_to_string(node.log()).unwrap();
        for proof in ["TRACE", "fasti_net", "libp2p"] {
            assert!(log.contains(proof), "the log says too little: {proof}");
        }
    }
    for secret in &secrets {
        let mut found = secret.found_in(&all);
        found.sort();
        // Also that those are found which are there: or this would find nothing anywhere.
        assert_eq!(found, secret.meant_for, "{}", secret.what);
    }
    for (path, _) in
        all.iter().filter(|(path, _)| path.parent().is_some_and(|p| p != cluster.root()))
    {
        if path.exists() {
            assert_eq!(mode(path), 0o600, "{}", path.display());
        }
    }
}

/// Runs a call under `umask 0`, as some service managers and containers do.
fn without_umask(dir: &Path, args: &[&str]) -> Command {
    let call = fasti().command(dir, args);
    let mut command = Command::new("sh");
    command.args(["-c", "umask 0 && exec \"$0\" \"$@\""]).arg(call.get_program());
    command.args(call.get_args());
    command.env("FASTI_NO_MDNS", "1");
    command
}

/// Ends with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn secret_files_are_their_owners_alone_whatever_the_umask_and_whatever_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("core");
    let made = without_umask(&dir, &["init", "--office", "Core"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let run = |log: &Path| {
        let args = ["run", "--http", "0.0.0.0:0", "--listen", "/ip4/127.0.0.1/tcp/0"];
        let _ = fs::remove_file(dir.join("node.json"));
        let stderr = fs::File::create(log).unwrap();
        let mut node = Running(without_umask(&dir, &args).stderr(stderr).spawn().unwrap());
        wait_for("the node", || {
            assert!(node.0.try_wait()?.is_none(), "{}", fs::read_to_string(log)?);
            Ok(NodeFile::read(&dir).is_ok())
        })
        .unwrap();
        node
    };
    let all_private = || {
        assert_eq!(mode(&dir), 0o700);
        let names = ["office.key", "http.token", "http.key", "http.crt", "node.json", "fasti.redb"];
        for name in names {
            assert_eq!(mode(&dir.join(name)), 0o600, "{name}");
        }
    };
    let log = folder.path().join("log");
    let node = run(&log);
    all_private();
    drop(node);
    assert!(!fs::read_to_string(&log).unwrap().contains("could be used by others"));

    // As a copy or a backup may leave them.
    for path in files(&dir).iter().chain([&dir]) {
        fs::set_permissions(
            path,
            fs::Permissions::from_mode(if path.is_dir() { 0o755 } else { 0o644 }),
        )
        .unwrap();
    }
    // What a crash left, where node.json and a new key are written first.
    fs::write(dir.join("node.json.new"), "left by a crash").unwrap();
    let _node = run(&log);
    // A certificate is no secret, and stays as it was.
    fs::set_permissions(dir.join("http.crt"), fs::Permissions::from_mode(0o600)).unwrap();
    all_private();
    let said = fs::read_to_string(&log).unwrap();
    for name in ["office.key", "http.token", "http.key", "fasti.redb"] {
        let told =
            said.lines().any(|line| line.contains(name) && line.contains("could be used by"));
        assert!(told, "{name}: {said}");
    }
}

#[test]
fn a_ticket_can_be_read_where_nobody_sees_it() {
    let cluster = Cluster::found(&fasti(), "Core").unwrap();
    let ticket = fasti().call(cluster.nodes[0].dir(), &["invite", "--office", "Denver"]).unwrap();
    let mut join = fasti()
        .command(&cluster.folder_of("Denver"), &["join", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(join.stdin.take().unwrap(), "{ticket}").unwrap();
    let output = join.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn app_passwords_are_added_listed_and_taken_back_and_outlive_restarts() {
    let mut cluster = Cluster::found(&fasti(), "Core").unwrap();
    let dir = cluster.nodes[0].dir().to_owned();
    let call = |args: &[&str]| fasti().call(&dir, args).unwrap();
    assert!(call(&["user", "list"]).contains("fasti user add NAME"));
    let ann = call(&["user", "add", "ann"]);
    assert_eq!((ann.lines().count(), ann.split('-').count()), (1, 7), "{ann}");
    let bob: Value = serde_json::from_str(&call(&["user", "add", "Bob B", "--json"])).unwrap();
    assert_eq!(bob["name"], "Bob B");
    let status = |cluster: &Cluster, name: &str, password: &str| {
        let basic = format!("Basic {}", BASE64.encode(format!("{name}:{password}").as_bytes()));
        cluster.nodes[0].api().without_token("/v1/events", Some(&basic)).unwrap().status
    };
    assert_eq!(status(&cluster, "ann", &ann), 200);
    cluster.nodes[0].kill().unwrap();
    cluster.nodes[0].start().unwrap();
    assert_eq!(status(&cluster, "ann", &ann), 200);
    assert_eq!(status(&cluster, "Bob B", bob["password"].as_str().unwrap()), 200);
    let list: Value = serde_json::from_str(&call(&["user", "list", "--json"])).unwrap();
    let names: Vec<_> =
        list["users"].as_array().unwrap().iter().map(|user| &user["name"]).collect();
    assert_eq!(names, [&json!("Bob B"), &json!("ann")]);
    assert!(call(&["user", "list"]).starts_with("NAME"));
    call(&["user", "remove", "Bob B"]);
    assert_eq!(status(&cluster, "Bob B", bob["password"].as_str().unwrap()), 401);
    for (args, remedy) in [
        (["user", "remove", "Bob B"], "fasti user list"),
        (["user", "add", "ann"], "fasti user remove"),
        (["user", "add", "a:b"], "without colons"),
    ] {
        let said = fasti().says(&dir, &args).unwrap();
        assert_eq!((said.status, said.out.as_str()), (1, ""));
        assert!(said.err.contains(remedy), "{}", said.err);
    }
}
