//! In folders of this machine.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;

use common::{Subscriber, delivery, refused};
use fasti_core::ids::OfficeId;
use fasti_core::outbox::{DeliveryState, Outcome};
use fasti_delivery::Reach;
use serde_json::json;

fn subscriber(path: &Path) -> Subscriber {
    Subscriber::new(&format!("file://{}", path.display()), &json!({}))
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn each_event_has_a_file_whose_newest_state_stays() {
    let home = tempfile::tempdir().unwrap();
    let mut folder = subscriber(home.path());
    let said = folder.test().await.unwrap();
    assert!(said.starts_with("files can be written to /"), "{said}");
    assert_eq!(names(home.path()), [""; 0], "what was tested leaves nothing");

    folder.confirmed(delivery("town-hall", 5)).await;
    let file = home.path().join("town-hall.ics");
    let read = || fs::read_to_string(&file).unwrap();
    let lines = ["BEGIN:VCALENDAR", "X-FASTI-VERSION:5", "UID:town-hall", "SUMMARY:Version 5"];
    for line in lines {
        assert!(read().contains(&format!("{line}\r\n")), "{line} is missing in\n{}", read());
    }
    assert!(read().lines().all(|it| it.len() <= 75));
    let contents = fasti_calendar::ical::read(read().as_bytes());
    assert_eq!(contents.problems, []);
    assert_eq!(contents.events[0].1["title"], "Version 5");

    // What is older says so and changes nothing.
    let outcome = folder.deliver(delivery("town-hall", 4)).await;
    let applied = Outcome::Confirmed { applied: Some("5".into()), receipt: Vec::new() };
    assert_eq!(outcome, applied);
    assert!(read().contains("SUMMARY:Version 5"));
    // Once more the same mends what somebody broke.
    let whole = read();
    fs::write(&file, whole.replace("Version 5", "Nonsense")).unwrap();
    folder.confirmed(delivery("town-hall", 5)).await;
    assert_eq!(read(), whole);

    // Cancelled, it stays.
    let mut cancelled = delivery("town-hall", 6);
    cancelled.state = DeliveryState::Cancelled;
    folder.confirmed(cancelled).await;
    assert!(read().contains("STATUS:CANCELLED\r\n"), "{}", read());
    assert_eq!(names(home.path()), ["town-hall.ics"]);
}

#[tokio::test]
async fn names_of_events_lead_nowhere_else() {
    let home = tempfile::tempdir().unwrap();
    let inside = home.path().join("inside");
    fs::create_dir(&inside).unwrap();
    // What a crash may have left, and somebody's link: neither is written to, or through.
    fs::write(home.path().join("victim"), "untouched").unwrap();
    for name in ["linked.ics", ".linked.ics.new"] {
        std::os::unix::fs::symlink("../victim", inside.join(name)).unwrap();
    }
    let mut folder = subscriber(&inside);
    let long = "long/".repeat(200);
    for uid in ["../outside", "/etc/fasti", "..", "A", "a", &long] {
        folder.confirmed(delivery(uid, 1)).await;
    }
    assert_eq!(names(home.path()), ["inside", "victim"]);
    // Two links and six files, and what each says is about its own event.
    assert_eq!(names(&inside).len(), 8, "{:?}", names(&inside));
    let problem = folder.failure(delivery("linked", 1)).await;
    assert!(problem.contains("was written by somebody else"), "{problem}");
    fs::remove_file(inside.join("linked.ics")).unwrap();
    folder.confirmed(delivery("linked", 1)).await;
    assert_eq!(fs::read_to_string(home.path().join("victim")).unwrap(), "untouched");
    assert!(!names(&inside).iter().any(|it| it.ends_with(".new")));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_the_newest_stays() {
    let home = tempfile::tempdir().unwrap();
    // Two subscriptions with one folder are no different.
    let mut folders = [subscriber(home.path()), subscriber(home.path())];
    for version in 1..=40 {
        folders[version as usize % 2].send(delivery("busy", version));
    }
    for folder in &mut folders {
        for _ in 0..20 {
            assert!(matches!(folder.next().await.outcome, Outcome::Confirmed { .. }));
        }
    }
    let text = fs::read_to_string(home.path().join("busy.ics")).unwrap();
    assert!(
        text.contains("X-FASTI-VERSION:40\r\n") && text.contains("SUMMARY:Version 40"),
        "{text}"
    );
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let home = tempfile::tempdir().unwrap();
    let missing = home.path().join("with space");
    let url = format!("file://localhost{}/with%20space", home.path().display());
    let mut later = Subscriber::new(&url, &json!({}));
    let problem = later.failure(delivery("a", 1)).await;
    assert_eq!(
        problem,
        format!("there is no folder {}: create it, or mount it", missing.display())
    );
    assert_eq!(later.test().await.unwrap_err(), problem);
    fs::create_dir(&missing).unwrap();
    later.confirmed(delivery("a", 1)).await;

    let file = missing.join("a.ics");
    let problem = subscriber(&file).failure(delivery("a", 1)).await;
    assert!(problem.ends_with("is no folder: subscribe with one"), "{problem}");

    // Versions of two offices can't be compared.
    let mut other = delivery("a", 9);
    other.source.1 = OfficeId([3; 32]);
    let problem = later.failure(other).await;
    assert!(problem.contains("give each office a folder of its own"), "{problem}");

    for wrong in ["file://host/path", "file://", "file://relative", "file:/srv", "file:///a?b"] {
        let problem = refused(Reach::Any, wrong, &json!({}));
        assert!(problem.contains("expected a folder of this machine"), "{wrong}: {problem}");
    }
    assert!(refused(Reach::Any, "file:///srv", &json!({ "mode": 1 })).starts_with("options"));
    // Whoever gives a URL of another kind is told all there are.
    let problem = refused(Reach::Any, "gopher://a", &json!({}));
    for kind in ["https://", "amqps://", "nats://", "kafka+tls://", "file:///"] {
        assert!(problem.contains(kind), "{problem}");
    }
    let problem = refused(Reach::Public, "file:///srv", &json!({}));
    assert!(problem.contains("--public-targets-only"), "{problem}");
}
