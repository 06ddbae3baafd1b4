//! HTTPS: required where others can reach the port, with the node's own certificate or the operator's,
//! which may be renewed while the node runs.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fasti_node::NodeFile;
use fasti_tests::{Api, Cluster, Fasti, wait_for};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

fn fasti() -> Fasti {
    Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test"))
}

/// A certificate with its key, as an operator has them.
struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

impl Pair {
    fn write(folder: &Path, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let pair = Self {
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key.pem")),
        };
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["calendar.example.org".to_owned()]).unwrap();
        change(&mut params);
        fs::write(&pair.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }

    fn args(&self) -> [&str; 6] {
        [
            "--http",
            "127.0.0.1:0",
            "--tls-cert",
            self.certificate.to_str().unwrap(),
            "--tls-key",
            self.key.to_str().unwrap(),
        ]
    }
}

/// A founder's node that stands still, to be run otherwise.
fn stopped() -> Cluster {
    let mut cluster = Cluster::found(&fasti(), "Core").unwrap();
    cluster.nodes[0].stop().unwrap();
    cluster
}

#[track_caller]
fn refused(cluster: &Cluster, args: &[&str], remedy: &str) {
    let said = fasti().says(cluster.nodes[0].dir(), &[&["run"], args].concat()).unwrap();
    assert_eq!((said.status, said.out.as_str()), (1, ""), "{}", said.err);
    assert!(said.err.contains(remedy), "{remedy}: {}", said.err);
    assert!(!said.err.contains("panicked"), "{}", said.err);
}

/// What a node answers to plain HTTP.
fn in_clear(http: &str) -> String {
    let address = http.split("://").nth(1).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET /healthz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn where_others_reach_the_port_there_is_tls_and_calls_trust_this_node_alone() {
    let mut cluster = stopped();
    let dir = cluster.nodes[0].dir().to_owned();
    cluster.nodes[0].run_with(&["--http", "0.0.0.0:0", "--http-name", "calendar.example.org"]);
    cluster.nodes[0].start().unwrap();
    let file = NodeFile::read(&dir).unwrap();
    assert!(file.http.starts_with("https://127.0.0.1:"), "{}", file.http);
    assert!(!in_clear(&file.http).contains("ok"), "answered in clear");
    let status = fasti().call(&dir, &["status"]).unwrap();
    assert!(status.starts_with("Core"), "{status}");
    // The fingerprint is told, as browsers show it.
    let pinned = file.certificate.clone().unwrap();
    let told = fs::read_to_string(cluster.nodes[0].log()).unwrap().to_lowercase().replace(':', "");
    assert!(told.contains(&pinned) && told.contains("told to trust it"), "{pinned} in {told}");

    // Another node's certificate is not trusted, nor is any if none is named.
    for wrong in [Some("00".repeat(32)), Some("nonsense".into()), None] {
        NodeFile { certificate: wrong.clone(), ..file.clone() }.write(&dir).unwrap();
        let said = fasti().says(&dir, &["status"]).unwrap();
        assert_eq!((said.status, said.out.as_str()), (1, ""), "{wrong:?}");
        assert!(said.err.contains("another certificate"), "{}", said.err);
    }

    // The same certificate after a restart; with another name another one, of the same key.
    cluster.nodes[0].stop().unwrap();
    let key = fs::read(dir.join("http.key")).unwrap();
    cluster.nodes[0].start().unwrap();
    assert_eq!(NodeFile::read(&dir).unwrap().certificate.unwrap(), pinned);
    cluster.nodes[0].stop().unwrap();
    cluster.nodes[0].run_with(&["--http", "0.0.0.0:0", "--http-name", "intra:8443"]);
    cluster.nodes[0].start().unwrap();
    assert_ne!(NodeFile::read(&dir).unwrap().certificate.unwrap(), pinned);
    assert_eq!(fs::read(dir.join("http.key")).unwrap(), key);
    assert!(fasti().call(&dir, &["status"]).unwrap().starts_with("Core"));
}

#[test]
fn plain_http_is_for_this_machine_and_for_proxies() {
    let mut cluster = stopped();
    let dir = cluster.nodes[0].dir().to_owned();
    for args in [&["--http", "127.0.0.1:0"][..], &["--http", "0.0.0.0:0", "--http-behind-proxy"]] {
        cluster.nodes[0].run_with(args);
        cluster.nodes[0].start().unwrap();
        let file = NodeFile::read(&dir).unwrap();
        assert!(file.http.starts_with("http://127.0.0.1:"), "{}", file.http);
        assert_eq!(file.certificate, None);
        assert!(in_clear(&file.http).ends_with("ok\n"));
        let log = fs::read_to_string(cluster.nodes[0].log()).unwrap();
        assert_eq!(log.contains("in clear"), args.len() == 3, "{log}");
        assert!(fasti().call(&dir, &["status"]).unwrap().starts_with("Core"));
        cluster.nodes[0].stop().unwrap();
    }
    assert!(!dir.join("http.key").exists());
}

#[test]
fn the_operators_certificate_is_used_and_its_renewal_too() {
    let mut cluster = stopped();
    let dir = cluster.nodes[0].dir().to_owned();
    let pair = Pair::write(cluster.root(), "cert", |_| ());
    cluster.nodes[0].run_with(&pair.args());
    cluster.nodes[0].start().unwrap();
    let before = NodeFile::read(&dir).unwrap();
    let status = |file: &NodeFile| Api::new(file).and_then(|api| api.get("/v1/status"));
    status(&before).unwrap();

    // A renewal writes one file after the other. In between nothing changes.
    let renewed = Pair::write(cluster.root(), "renewed", |_| ());
    fs::rename(&renewed.certificate, &pair.certificate).unwrap();
    let log = cluster.nodes[0].log();
    wait_for("the node to look", || Ok(fs::read_to_string(&log)?.contains("the old one still is")))
        .unwrap();
    status(&before).unwrap();
    fs::rename(&renewed.key, &pair.key).unwrap();
    wait_for("the renewed certificate", || {
        Ok(NodeFile::read(&dir)?.certificate != before.certificate)
    })
    .unwrap();
    status(&NodeFile::read(&dir).unwrap()).unwrap();
    assert!(status(&before).is_err(), "the old certificate is shown");
    assert!(fasti().call(&dir, &["status"]).unwrap().starts_with("Core"));
}

#[test]
fn certificates_that_cannot_be_used_are_refused_with_a_remedy() {
    let cluster = stopped();
    let root = cluster.root().to_owned();
    let (pair, other) = (Pair::write(&root, "a", |_| ()), Pair::write(&root, "b", |_| ()));
    let file = |name: &str, text: &str| {
        let path = root.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let certificate = fs::read_to_string(&pair.certificate).unwrap();
    let key = fs::read_to_string(&pair.key).unwrap();
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let cases = [
        (root.join("none"), pair.key.clone(), "check its name"),
        (pair.certificate.clone(), root.join("none"), "check its name"),
        (root.clone(), pair.key.clone(), "can't be read"),
        (pair.certificate.clone(), other.key, "doesn't fit"),
        (file("half", &half(&certificate)), pair.key.clone(), "copy the whole file"),
        (pair.certificate.clone(), file("half.key", &half(&key)), "copy the whole file"),
        (file("empty", ""), pair.key.clone(), "BEGIN CERTIFICATE"),
        (pair.key.clone(), pair.key.clone(), "BEGIN CERTIFICATE"),
        (pair.certificate.clone(), pair.certificate.clone(), "no private key"),
        (pair.certificate.clone(), file("encrypted", &encrypted), "passphrase"),
        (
            pair.certificate,
            file("nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
            "ECDSA, RSA or Ed25519",
        ),
    ];
    for (certificate, key, remedy) in cases {
        refused(&cluster, &Pair { certificate, key }.args(), remedy);
    }
}

#[test]
fn a_certificate_that_has_expired_is_used_and_complained_about() {
    let mut cluster = stopped();
    let expired = Pair::write(cluster.root(), "expired", |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    cluster.nodes[0].run_with(&expired.args());
    cluster.nodes[0].start().unwrap();
    let log = fs::read_to_string(cluster.nodes[0].log()).unwrap();
    assert!(log.contains("has expired") && log.contains("renew it"), "{log}");
    // Those on this machine know it anyway.
    assert!(fasti().call(cluster.nodes[0].dir(), &["status"]).unwrap().starts_with("Core"));
}
