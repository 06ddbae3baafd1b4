//! How long a report on one policy takes, as of now and as of moments before: 100,000 changes of 10,000 events, of which
//! 1,000 are policies, and one policy that was approved in the middle and is edited all along.
//!
//! `cargo run --release -p fasti-core --example report`
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::convert::Infallible;
use std::time::{Duration, Instant};

use fasti_core::command::{AsOf, Condition, ReportQuery};
use fasti_core::entry::Signer;
use fasti_core::policy::PolicyEvent;
use fasti_core::{Answer, Command, Config, Core, Effect, Input, Now, Stored};
use serde_json::{Value, json};

const CHANGES: i64 = 100_000;
const EVENTS: i64 = 10_000;
const POLICIES: i64 = 1_000;
/// How often each question is asked.
const RUNS: usize = 15;
const START: i64 = 1_700_000_000_000;

struct Node {
    core: Core,
    now: Now,
}

impl Node {
    fn ask(&mut self, command: Command) -> Answer {
        self.core.handle(self.now, Input::Command(1, command));
        let effects = self.core.step(self.now).persist(|_| Ok::<_, Infallible>(())).unwrap();
        let reply = effects.into_iter().find_map(|effect| match effect {
            Effect::Reply(_, reply) => Some(reply),
            _ => None,
        });
        reply.unwrap().unwrap()
    }

    fn patch(&mut self, uid: &str, patch: Value) {
        let Value::Object(patch) = patch else { unreachable!() };
        self.ask(Command::Patch { uid: uid.into(), patch, condition: Condition::Always });
    }
}

fn main() {
    let signer = Signer::from_seed(&[1; 32]);
    let (network, log, row) = fasti_core::found(&signer, "Core", [7; 16], START).unwrap();
    let stored = Stored { incarnation: Some(log.incarnation), ..Stored::default() };
    let now = Now { monotonic: fasti_core::Instant(0), wall: START };
    let rows = || Ok([Ok::<_, Infallible>(row.clone())].into_iter());
    let core = Core::open(Config::new(network, signer, [1; 32]), stored, rows, now).unwrap();
    let mut node = Node { core, now };
    for n in 0..EVENTS {
        node.now.wall += 1000;
        if n < POLICIES {
            let payload =
                json!({"policy_id": format!("P{n}"), "start_date": "2024-04-01", "title": "P"});
            let event = PolicyEvent::from_json(json!({"type": "policy_start", "payload": payload}));
            node.ask(Command::Publish(vec![event.unwrap()]));
        } else {
            let event = json!({"@type": "Event", "title": "E", "start": "2024-04-01T09:00:00"});
            let Value::Object(event) = event else { unreachable!() };
            let (uid, condition) = (format!("e{n}"), Condition::Always);
            node.ask(Command::Put { uid, event, condition });
        }
    }
    for n in EVENTS..CHANGES {
        node.now.wall += 1000;
        match n % 100 {
            0 => node.patch("policy-P7", json!({"title": format!("at {n}")})),
            _ => node.patch(
                &format!("e{}", POLICIES + n % (EVENTS - POLICIES)),
                json!({"title": format!("{n}")}),
            ),
        }
        if n == CHANGES / 2 {
            let (policy, condition) = ("P7".into(), Condition::Always);
            node.ask(Command::Approve { policy, supersedes: Vec::new(), condition });
        }
    }
    let at = |part: i64| AsOf::Time(START + 1000 * (CHANGES * part / 10));
    let questions = [("now", AsOf::Now), ("9/10", at(9)), ("6/10", at(6)), ("3/10", at(3))];
    println!("{} entries", node.core.entries());
    for (name, as_of) in questions {
        let mut took: Vec<Duration> = (0..RUNS)
            .map(|_| {
                let policy = Some("P7".to_owned());
                let begin = Instant::now();
                let answer =
                    node.ask(Command::Report(ReportQuery { policy, as_of: as_of.clone() }));
                let took = begin.elapsed();
                assert!(matches!(answer, Answer::Report(report) if report.policies.len() == 1));
                took
            })
            .collect();
        took.sort();
        println!(
            "one policy, as of {name}: median {:?}, worst {:?}",
            took[RUNS / 2],
            took[RUNS - 1]
        );
    }
}
