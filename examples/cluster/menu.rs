//! What a person can make happen once the play is over, again and again, with the offices' pages open beside it: a
//! partition, a conflict, and bookings of which one is settled.

use std::io::{BufRead as _, Write as _};

use anyhow::Context as _;
use fasti_tests::{Cluster, Node, wait_for};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use crate::acts::{UID, edit, text};
use crate::show::Show;

/// The first two offices, behind the core platform. The room is theirs together: either has to say a word to each booking.
const ONE: usize = 1;
const OTHER: usize = 2;
const ROOM: &str = "Meeting room";

/// What one can do, and what it is called.
const KEYS: [(&str, &str); 6] = [
    ("d", "divide: cut the links between the two offices' sides"),
    ("c", "conflict: both edit the title of one policy while they are apart"),
    ("b", "book: both book the same room for the same hour while they are apart"),
    ("h", "heal: link all again, and see what becomes of it"),
    ("l", "links: new ones, as each logs in once"),
    ("q", "quit: the nodes run on (Ctrl-C ends them as well)"),
];

/// Shows each office's page.
pub(crate) fn show_pages(show: &mut Show, cluster: &Cluster) -> anyhow::Result<()> {
    show.act("Each office has a page; open two of them side by side");
    say_links(show, cluster)
}

fn say_links(show: &mut Show, cluster: &Cluster) -> anyhow::Result<()> {
    let mut rows = vec![["office", "its page"].map(String::from).to_vec()];
    let mut pages = Vec::new();
    for node in &cluster.nodes {
        let url = page(node)?;
        rows.push(vec![node.name.clone(), url.clone()]);
        pages.push(json!({ "office": node.name, "url": url }));
    }
    show.table(&rows);
    show.fact("pages", pages);
    Ok(())
}

/// A link that logs in once.
fn page(node: &Node) -> anyhow::Result<String> {
    let answer = node.api().send("POST", "/v1/session/link", &json!({}))?;
    let path = answer["path"].as_str().context("a link leads somewhere")?;
    Ok(format!("{}{path}", node.api().address().0))
}

/// Asks what is to happen, until that is nothing more. All are linked in the end.
pub(crate) fn run(show: &mut Show, cluster: &Cluster) -> anyhow::Result<()> {
    let stage = &mut Stage::new(cluster)?;
    show.act(&format!(
        "Now you: what happens between {} and {}?",
        stage.one().name,
        stage.other().name
    ));
    say_keys(show);
    let mut lines = std::io::stdin().lock().lines();
    loop {
        anstream::print!("   d c b h l q > ");
        std::io::stdout().flush()?;
        let key = lines.next().transpose()?.unwrap_or_else(|| "q".into());
        let done = match key.trim() {
            "d" => stage.divide(show),
            "c" => stage.conflict(show),
            "b" => stage.book(show),
            "h" => stage.heal(show),
            "l" => say_links(show, cluster),
            "q" if stage.apart => stage.heal(show),
            "q" => Ok(()),
            "" => continue,
            _ => {
                say_keys(show);
                continue;
            }
        };
        // What one does to the nodes meanwhile is no reason to end.
        if let Err(error) = done {
            show.verdict(false, &format!("{error:#}"));
        }
        if key.trim() == "q" {
            return Ok(());
        }
    }
}

fn say_keys(show: &Show) {
    for (key, text) in KEYS {
        show.say(&format!("{key}  {text}"));
    }
}

struct Stage<'a> {
    cluster: &'a Cluster,
    apart: bool,
    /// How often something was edited or booked: each time it is another title, and another hour.
    round: i32,
    /// The titles of bookings that were made since the sides were linked.
    booked: Vec<String>,
}

impl<'a> Stage<'a> {
    /// Both offices know the room.
    fn new(cluster: &'a Cluster) -> anyhow::Result<Self> {
        let stage = Self { cluster, apart: false, round: 0, booked: Vec::new() };
        let (one, other) = (stage.one(), stage.other());
        let room = json!({ "name": ROOM, "stakeholders": [one.office, other.office] });
        one.api().send("POST", "/v1/resources", &room)?;
        cluster.wait_until_equal()?;
        Ok(stage)
    }

    fn one(&self) -> &'a Node {
        &self.cluster.nodes[ONE]
    }

    fn other(&self) -> &'a Node {
        &self.cluster.nodes[OTHER]
    }

    fn divide(&mut self, show: &Show) -> anyhow::Result<()> {
        if self.apart {
            show.say("They are apart already; h heals.");
            return Ok(());
        }
        let near = [0, ONE];
        let far: Vec<usize> = (OTHER..self.cluster.nodes.len()).collect();
        self.cluster.divide(&[&near, &far])?;
        self.apart = true;
        wait_for("the links to be cut", || {
            let status = self.one().api().get("/v1/status")?;
            Ok(status["peers"].as_array().map_or(0, Vec::len) + 1 == near.len())
        })?;
        let names = |side: &[usize]| {
            side.iter()
                .map(|at| self.cluster.nodes[*at].name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        show.say(&format!("On one side: {}. On the other: {}.", names(&near), names(&far)));
        show.say("Look: each page says which offices are out of reach. What you change on one page stays on its side.");
        Ok(())
    }

    fn conflict(&mut self, show: &Show) -> anyhow::Result<()> {
        self.be_apart(show)?;
        let round = self.round;
        for node in [self.one(), self.other()] {
            edit(show, node, &json!({ "title": format!("{}'s title, no. {round}", node.name) }))?;
        }
        show.say("Look: each page shows its own side's title of policy YSP-2024. After h one of them shows on both, and a conflict");
        show.say("that you can settle on either page.");
        Ok(())
    }

    fn book(&mut self, show: &Show) -> anyhow::Result<()> {
        self.be_apart(show)?;
        // Tomorrow from nine on, and so on the day after.
        let (day, hour) = ((self.round - 1) / 8 + 1, (self.round - 1) % 8 + 9);
        let day = TimeZone::UTC.to_datetime(Timestamp::now()).date().checked_add(day.days())?;
        let start = format!("{day}T{hour:02}:00:00");
        for node in [self.one(), self.other()] {
            let title = format!("{}'s meeting, no. {}", node.name, self.round);
            let event = json!({ "@type": "Event", "title": title, "start": start, "timeZone": "Etc/UTC", "duration": "PT1H" });
            let body = json!({ "resource": ROOM, "zone": "Etc/UTC", "event": event });
            let made = node.api().send("POST", "/v1/bookings", &body)?;
            show.aside(&format!(
                "{} books the {} for {day} {hour:02}:00 UTC: {}",
                node.name,
                ROOM.to_lowercase(),
                text(&made["bookings"][0], "state")
            ));
            self.booked.push(title);
        }
        show.say("Look: both bookings are tentative, each on its own side. After h one is settled on both pages, and the other displaced.");
        Ok(())
    }

    fn heal(&mut self, show: &Show) -> anyhow::Result<()> {
        let all: Vec<usize> = (0..self.cluster.nodes.len()).collect();
        self.cluster.divide(&[&all])?;
        self.apart = false;
        self.cluster.wait_until_linked()?;
        self.cluster.wait_until_equal()?;
        let booked = std::mem::take(&mut self.booked);
        wait_for("the bookings to be decided", || {
            Ok(!self
                .states(&booked)?
                .iter()
                .any(|row| row[1..].iter().any(|state| state == "tentative")))
        })?;
        let title =
            |node: &Node| anyhow::Ok(text(&node.api().event(UID)?.context("no policy")?, "title"));
        show.say(&format!(
            "All are linked. The policy's title is {:?} everywhere.",
            title(self.one())?
        ));
        if !booked.is_empty() {
            let names = [
                "booking",
                &format!("at {}", self.one().name),
                &format!("at {}", self.other().name),
            ];
            let mut rows = vec![names.map(String::from).to_vec()];
            rows.extend(self.states(&booked)?);
            show.table(&rows);
        }
        let conflicts = self.one().api().get("/v1/conflicts")?;
        let conflicts = conflicts["conflicts"].as_array().map_or(0, Vec::len);
        show.say(&format!(
            "Look: both pages show the same, and {conflicts} that need a person. What you settle on one goes from both."
        ));
        Ok(())
    }

    /// A new round, with the sides cut.
    fn be_apart(&mut self, show: &Show) -> anyhow::Result<()> {
        self.round += 1;
        if self.apart { Ok(()) } else { self.divide(show) }
    }

    /// Each of these bookings, and its state at both offices.
    fn states(&self, titles: &[String]) -> anyhow::Result<Vec<Vec<String>>> {
        let list = |node: &Node| node.api().get("/v1/bookings?limit=1000");
        let lists = [list(self.one())?, list(self.other())?];
        let state = |list: &Value, title: &String| {
            let found =
                list["bookings"].as_array()?.iter().find(|it| it["title"] == title.as_str())?;
            Some(text(found, "state"))
        };
        let row = |title: &String| {
            let states =
                lists.iter().map(|list| state(list, title).unwrap_or_else(|| "tentative".into()));
            std::iter::once(title.clone()).chain(states).collect()
        };
        Ok(titles.iter().map(row).collect())
    }
}
