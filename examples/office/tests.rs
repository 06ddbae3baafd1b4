//! The office on loopback, called as a node calls it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::patch;
use fasti_receiver::Secret;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use ureq::Agent;

use super::*;

struct Running {
    url: String,
    agent: Agent,
    secret: Secret,
}

fn secret(byte: u8) -> Secret {
    Secret::new([byte; 32])
}

/// Starts one in this process.
async fn start(db: &Path, secrets: Secrets, node: Node, fail_rate: f64) -> Running {
    let chaos = Chaos { fail_rate, delay: Duration::ZERO };
    let store = Store::open(db).unwrap();
    let office = Office { secrets, store, node, chaos, counts: web::Counts::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(web::serve(listener, Arc::new(office)));
    let config = Agent::config_builder().http_status_as_error(false).proxy(None);
    Running { url, agent: config.build().new_agent(), secret: secret(1) }
}

async fn start_simply(db: &Path) -> Running {
    start(db, Secrets::new(vec![secret(1)], None).unwrap(), Node::None, 0.0).await
}

impl Running {
    fn deliver(&self, uid: &str, version: u64, title: &str) -> (u16, String) {
        let event = json!({ "title": title, "start": "2024-04-01T00:00:00" });
        let body = json!({
            "id": format!("o-{version}"), "source": "/fasti/n/o", "type": "event_update",
            "data": { "uid": uid, "version": version, "state": "settled", "event": event },
        });
        let (id, body, now) = (format!("o-{version}"), body.to_string(), web::now());
        let request = self
            .agent
            .post(format!("{}/fasti", self.url))
            .header("webhook-id", &id)
            .header("webhook-timestamp", now.to_string())
            .header("webhook-signature", self.secret.sign(&id, now, body.as_bytes()));
        let mut response = request.send(body).unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    fn json(&self, path: &str) -> Value {
        let mut response = self.agent.get(format!("{}{path}", self.url)).call().unwrap();
        serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap()
    }

    fn titles(&self) -> Vec<String> {
        let events = self.json("/events");
        let title = |it: &Value| it["event"]["title"].as_str().unwrap().to_owned();
        events.as_array().unwrap().iter().map(title).collect()
    }
}

fn applied(version: u64) -> (u16, String) {
    (200, fasti_receiver::confirm(version))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_is_applied_once_and_none_that_is_older_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("office.db");
    let office = start_simply(&db).await;
    assert_eq!(office.deliver("a", 7, "seventh"), applied(7));
    assert_eq!(office.deliver("a", 7, "seventh"), applied(7));
    assert_eq!(office.deliver("a", 6, "sixth"), applied(7));
    assert_eq!(office.deliver("b", 1, "another"), applied(1));
    let counts = office.json("/counts");
    let expected = json!({ "applied": 2, "repeated": 1, "stale": 1, "refused": 0, "failed": 0 });
    assert_eq!(counts, expected);

    let office = start_simply(&db).await;
    assert_eq!(office.titles(), ["seventh", "another"]);
    assert_eq!(office.deliver("a", 6, "sixth"), applied(7));
    assert_eq!(office.deliver("a", 8, "eighth"), applied(8));
    assert_eq!(office.titles(), ["eighth", "another"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_at_once_end_with_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let office = start_simply(&dir.path().join("office.db")).await;
    std::thread::scope(|scope| {
        for version in (1..=64).rev() {
            let office = &office;
            scope.spawn(move || {
                let (status, body) = office.deliver("a", version, &format!("no. {version}"));
                let confirmed: Value = serde_json::from_str(&body).unwrap();
                let confirmed: u64 = confirmed["applied"].as_str().unwrap().parse().unwrap();
                assert!(status == 200 && confirmed >= version, "{body}");
            });
        }
    });
    assert_eq!(office.titles(), ["no. 64"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_at_random_is_applied_once_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let secrets = Secrets::new(vec![secret(1)], None).unwrap();
    let office = start(&dir.path().join("office.db"), secrets, Node::None, 0.5).await;
    for version in 1..=40 {
        while office.deliver("a", version, "x").0 != 200 {}
    }
    let counts = office.json("/counts");
    assert_eq!((&counts["applied"], &counts["stale"]), (&json!(40), &json!(0)), "{counts}");
    assert!(counts["failed"].as_u64() > Some(0), "{counts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_may_come_later_and_be_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secrets");
    assert!(Secrets::new(Vec::new(), None).is_err());
    let secrets = Secrets::new(Vec::new(), Some(file.clone())).unwrap();
    let mut office = start(&dir.path().join("office.db"), secrets, Node::None, 0.0).await;
    assert_eq!(office.deliver("a", 1, "x").0, 401);
    std::fs::write(&file, secret(1).to_text()).unwrap();
    assert_eq!(office.deliver("a", 1, "x"), applied(1));
    std::fs::write(&file, format!("{}\n{}\n", secret(1).to_text(), secret(2).to_text())).unwrap();
    office.secret = secret(2);
    assert_eq!(office.deliver("a", 2, "x"), applied(2));
    office.secret = secret(3);
    assert_eq!(office.deliver("a", 3, "x").0, 401);
    assert_eq!(office.json("/counts")["refused"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_posted_to_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let token_file = dir.path().join("token");
    std::fs::write(&token_file, "t1\n").unwrap();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let noted = Arc::clone(&asked);
    let edit = async move |axum::extract::Path(uid): axum::extract::Path<String>,
                           headers: HeaderMap,
                           body: String| {
        let header = |name: &str| headers[name].to_str().unwrap_or_default().to_owned();
        let (kind, login) = (header("content-type"), header("authorization"));
        noted.lock().unwrap().extend([uid, kind, login, body]);
        (StatusCode::CONFLICT, "{\"detail\":\"no\"}")
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().route("/v1/events/{uid}", patch(edit));
    tokio::spawn(async move { axum::serve(listener, app).await });

    let secrets = Secrets::new(vec![secret(1)], None).unwrap();
    let node = Node::new(None, Some((url, token_file)));
    let office = start(&dir.path().join("office.db"), secrets, node, 0.0).await;
    let post = |body: &str| {
        let change = office.agent.post(format!("{}/events/a%2Fb%20c", office.url));
        let mut response = change.send(body).unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    };
    assert_eq!(post("[]").0, 400);
    // What the node says is passed on.
    assert_eq!(post(r#"{"title":"New"}"#), (409, "{\"detail\":\"no\"}".to_owned()));
    let asked = asked.lock().unwrap();
    let patch = ["a/b c", "application/merge-patch+json", "Bearer t1", r#"{"title":"New"}"#];
    assert_eq!(*asked, patch);
    assert_eq!(office.titles(), Vec::<String>::new());
}
