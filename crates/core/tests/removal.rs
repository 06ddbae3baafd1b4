//! Removing members: what counts of what they wrote, and that every node finds the same.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::mallory::{Dice, shown};
use common::{World, signer};
use fasti_core::command::{FormerMemberView, MemberView};
use fasti_core::entry::{Entry, Link, RULES, Run, Signer};
use fasti_core::event::Leaf;
use fasti_core::message::Message;
use fasti_core::statement::{
    Admit, DocumentChange, EventEdit, Invite, Remove, Role, Statement, Succeed,
};
use fasti_core::{
    Answer, Command, CommandError, DocumentId, EntryHash, Incarnation, Input, LogId, NetworkId,
    OfficeId, TicketId,
};
use serde_json::{Value, json};

fn members(world: &mut World, id: OfficeId) -> Vec<MemberView> {
    match world.ask(id, Command::Members).unwrap() {
        Answer::Members(members) => members,
        other => panic!("{other:?}"),
    }
}

fn former(world: &mut World, id: OfficeId) -> Vec<FormerMemberView> {
    match world.ask(id, Command::FormerMembers).unwrap() {
        Answer::FormerMembers(former) => former,
        other => panic!("{other:?}"),
    }
}

fn remove(world: &mut World, by: OfficeId, office: OfficeId) {
    match world.ask(by, Command::Remove { office }) {
        Ok(Answer::Removed) => {}
        other => panic!("{other:?}"),
    }
}

fn title(world: &mut World, id: OfficeId, uid: &str) -> Option<String> {
    Some(world.event(id, uid)?.event["title"].as_str()?.to_owned())
}

/// Found by review: a removal of an office whose admission was cut off meanwhile took effect or not, by what had
/// come first.
#[test]
fn a_removal_counts_for_whom_is_admitted_only_later() {
    let (mut base, founder) = World::new();
    for (seed, roles) in [
        (2, &[Role::Admin, Role::Office][..]),
        (3, &[Role::Admin, Role::Office]),
        (6, &[Role::Office]),
    ] {
        let id = join_as(&mut base, founder, seed, roles);
        base.offices.remove(&id);
    }
    let mut history = History::of(&base, founder);
    let start = history.all();
    let x = signer(40).office();
    let tickets = [signer(150), signer(151)];
    for (n, ticket) in tickets.iter().enumerate() {
        let invite = Invite {
            ticket: TicketId(ticket.office().0),
            name: format!("X{n}"),
            roles: vec![Role::Office],
            expires: i64::MAX,
        };
        history.write(&signer(1), &Statement::Invite(invite), &start, 0);
    }
    let invited = history.all();
    let admit = |ticket| Statement::Admit(Admit::new(&base.network, x, ticket));
    let (founders, a, b) = (signer(1), signer(2), signer(3));
    history.write(&b, &admit(&tickets[0]), &invited, 1);
    let first = history.all();
    history.write(&founders, &Statement::Remove(Remove { office: x }), &first, 2);
    for office in [founders.office(), b.office()] {
        history.write(&a, &Statement::Remove(Remove { office }), &invited, 3);
    }
    history.write(&a, &admit(&tickets[1]), &invited, 4);
    let found = observe(&history, &base, founder, 1);
    for order in 2..40 {
        assert_eq!(observe(&history, &base, founder, order), found, "in order {order}");
    }
}

/// As the world's `join`, with these roles.
fn join_as(world: &mut World, sponsor: OfficeId, seed: u8, roles: &[Role]) -> OfficeId {
    let ticket = signer(seed.wrapping_add(100));
    let id = TicketId(ticket.office().0);
    let name = format!("Office {seed}");
    let invite = Invite { ticket: id, name, roles: roles.to_vec(), expires: i64::MAX };
    world.ask(sponsor, Command::Invite(invite)).unwrap();
    world.start_with(sponsor, seed, &ticket)
}

/// A founder, Denver who is an admin, Boston and Chicago, all linked.
fn four() -> (World, [OfficeId; 4]) {
    let (mut world, founder) = World::new();
    let denver = join_as(&mut world, founder, 2, &[Role::Admin, Role::Office]);
    let boston = join_as(&mut world, founder, 3, &[Role::Office]);
    let chicago = join_as(&mut world, founder, 4, &[Role::Office]);
    let all = [founder, denver, boston, chicago];
    for a in all {
        for b in all {
            world.link(a, b);
        }
    }
    world.settle();
    world.publish(boston, "A", "2024-04-01");
    world.settle();
    (world, all)
}

fn part(world: &mut World, a: &[OfficeId], b: &[OfficeId]) {
    for a in a {
        for b in b {
            world.cut(*a, *b);
        }
    }
}

fn heal(world: &mut World, all: &[OfficeId]) {
    for a in all {
        for b in all {
            world.link(*a, *b);
        }
    }
    world.settle();
}

#[test]
fn a_removed_office_is_gone_at_once_and_what_was_known_of_it_stays() {
    let (mut world, all) = four();
    let [founder, denver, boston, chicago] = all;
    remove(&mut world, founder, boston);
    world.deliver();
    for id in [founder, denver, chicago] {
        assert!(members(&mut world, id).iter().all(|member| member.office != boston));
        let gone = former(&mut world, id);
        assert_eq!((gone[0].office, gone[0].removed_by, gone[0].cut), (boston, founder, 0));
        assert!(!world.status(id).peers.contains(&boston), "still linked");
        assert_eq!(title(&mut world, id, "policy-A").unwrap(), "A");
    }
    // It has heard of it, and says so to who tries to write.
    let refused = world.try_patch(boston, "policy-A", json!({"title": "B"})).unwrap_err();
    assert!(refused.to_string().contains("was removed from the network by Core"), "{refused}");
    // Its ticket and its key are worth nothing any more.
    let ticket = signer(103);
    assert!(matches!(world.admit(denver, &ticket, boston), Err(CommandError::Ticket(_))));
    world.offices.remove(&boston);
    world.settle();
    world.assert_agreed();
}

#[test]
fn what_nobody_had_seen_of_a_removed_office_counts_for_nothing_anywhere() {
    let (mut world, all) = four();
    let [founder, denver, boston, chicago] = all;
    part(&mut world, &[founder, denver], &[boston, chicago]);
    world.patch(boston, "policy-A", json!({"title": "unseen"}));
    world.publish(boston, "B", "2024-05-01");
    world.settle();
    // Chicago has it and writes nothing: nothing hangs on it.
    assert_eq!(title(&mut world, chicago, "policy-A").unwrap(), "unseen");
    remove(&mut world, founder, boston);
    world.cut(boston, chicago);
    heal(&mut world, &[founder, denver, chicago]);
    for id in [founder, denver, chicago] {
        assert_eq!(title(&mut world, id, "policy-A").unwrap(), "A");
        assert!(world.event(id, "policy-B").is_none());
        assert_eq!(former(&mut world, id)[0].cut, 2);
    }
    world.offices.remove(&boston);
    world.assert_agreed();
}

#[test]
fn what_others_had_built_upon_before_they_knew_stays() {
    let (mut world, all) = four();
    let [founder, denver, boston, chicago] = all;
    part(&mut world, &[founder, denver], &[boston, chicago]);
    world.publish(boston, "B", "2024-05-01");
    world.settle();
    world.patch(chicago, "policy-B", json!({"description": "Chicago's"}));
    world.settle();
    world.publish(boston, "C", "2024-06-01");
    world.settle();
    remove(&mut world, founder, boston);
    world.patch(founder, "policy-A", json!({"description": "after the removal"}));
    world.cut(boston, chicago);
    heal(&mut world, &[founder, denver, chicago]);
    for id in [founder, denver, chicago] {
        assert_eq!(title(&mut world, id, "policy-B").unwrap(), "B");
        assert_eq!(world.event(id, "policy-B").unwrap().event["description"], "Chicago's");
        assert!(world.event(id, "policy-C").is_none(), "nobody had built upon it");
        assert_eq!(former(&mut world, id)[0].cut, 1);
    }
    world.offices.remove(&boston);
    world.assert_agreed();
    for id in [founder, denver, chicago] {
        let before = shown(&mut world, id);
        world.restart(id);
        world.settle();
        assert_eq!(shown(&mut world, id), before, "not the same after a restart");
    }
}

#[test]
fn of_admins_who_remove_each_other_at_once_the_senior_stays() {
    let (mut world, all) = four();
    let [founder, denver, boston, chicago] = all;
    part(&mut world, &[founder, boston], &[denver, chicago]);
    remove(&mut world, founder, denver);
    remove(&mut world, denver, founder);
    let ticket = signer(150);
    world.invite(denver, &ticket, "Late", i64::MAX).unwrap();
    let late = world.start_with(denver, 50, &ticket);
    world.link(late, denver);
    world.settle();
    world.publish(denver, "D", "2024-05-01");
    world.deliver();
    world.cut(denver, chicago);
    world.cut(denver, late);
    heal(&mut world, &[founder, boston, chicago]);
    world.offices.remove(&denver);
    // Whom the junior admin had admitted is no member; nor does its work count.
    world.offices.remove(&late);
    for id in [founder, boston, chicago] {
        let left: BTreeSet<_> = members(&mut world, id).iter().map(|it| it.office).collect();
        assert_eq!(left, BTreeSet::from([founder, boston, chicago]));
        assert!(world.event(id, "policy-D").is_none());
    }
    world.assert_agreed();
}

/// Found by the simulator: it went on asking its sponsor.
#[test]
fn whom_only_a_removed_office_admitted_lets_nobody_connect_once_it_knows() {
    let (mut world, all) = four();
    let [founder, denver, boston, chicago] = all;
    part(&mut world, &[founder, boston], &[denver, chicago]);
    remove(&mut world, founder, denver);
    let ticket = signer(150);
    world.invite(denver, &ticket, "Late", i64::MAX).unwrap();
    let late = world.start_with(denver, 50, &ticket);
    world.link(late, denver);
    world.settle();
    assert!(world.offices[&late].admits.contains(&denver));
    world.cut(denver, chicago);
    world.cut(denver, late);
    heal(&mut world, &[founder, boston, chicago]);
    assert!(!world.offices[&chicago].admits.contains(&late));
    world.link(late, chicago);
    world.settle();
    assert!(!world.offices[&late].admits.contains(&denver), "it waits for its sponsor");
}

/// Found by the simulator: whoever was admitted by what a removal cuts off could still remove one office.
#[test]
fn whom_a_removed_admin_makes_an_admin_removes_nobody() {
    let (mut world, all) = four();
    let [founder, denver, boston, chicago] = all;
    part(&mut world, &[founder, boston], &[denver, chicago]);
    remove(&mut world, founder, denver);
    world.settle();
    let accomplice = join_as(&mut world, denver, 50, &[Role::Admin]);
    world.link(accomplice, denver);
    world.settle();
    remove(&mut world, accomplice, boston);
    world.settle();
    // Chicago has heard all of it, and wrote nothing.
    world.cut(denver, chicago);
    heal(&mut world, &[founder, boston, chicago]);
    world.link(accomplice, founder);
    world.link(accomplice, chicago);
    world.settle();
    for id in [founder, boston, chicago] {
        let left: BTreeSet<_> = members(&mut world, id).iter().map(|it| it.office).collect();
        assert_eq!(left, BTreeSet::from([founder, boston, chicago]));
    }
}

/// Found by the simulator: a leave was decided before, and what lay under it with it.
#[test]
fn who_leaves_has_no_say_in_which_admin_stays() {
    let (mut world, founder) = World::new();
    let admin = [Role::Admin, Role::Office];
    let roles = [&[Role::Office][..], &admin, &admin];
    let mut all = vec![founder];
    for (seed, roles) in (2..).zip(roles) {
        world.pass(1000);
        all.push(join_as(&mut world, founder, seed, roles));
        world.settle();
    }
    // Boston was invited before both, and Denver before Chicago.
    let [_, boston, denver, chicago] = all[..] else { unreachable!() };
    heal(&mut world, &all);
    part(&mut world, &[founder, denver], &[boston, chicago]);
    remove(&mut world, denver, chicago);
    remove(&mut world, chicago, denver);
    world.deliver();
    remove(&mut world, boston, boston);
    world.settle();
    // Chicago hands all it has to the others, by way of Boston's old link.
    world.link(boston, founder);
    world.link(chicago, founder);
    world.settle();
    let left: BTreeSet<_> = members(&mut world, founder).iter().map(|it| it.office).collect();
    let gone: BTreeSet<_> = former(&mut world, founder).iter().map(|it| it.office).collect();
    assert_eq!(left, BTreeSet::from([founder, denver]));
    assert_eq!(gone, BTreeSet::from([boston, chicago]));
}

#[test]
fn an_admin_can_be_removed_by_a_junior_one_but_nobody_leaves_the_network_without() {
    let (mut world, [founder, denver, boston, chicago]) = four();
    let refused = world.ask(boston, Command::Remove { office: chicago }).unwrap_err();
    assert!(refused.to_string().contains("only admins remove others"), "{refused}");
    let refused = world.ask(founder, Command::Remove { office: founder }).unwrap_err();
    assert!(refused.to_string().contains("an admin can't leave by itself"), "{refused}");
    let nobody = signer(99).office();
    assert!(matches!(
        world.ask(founder, Command::Remove { office: nobody }),
        Err(CommandError::UnknownMember(_))
    ));
    // Who is no admin may leave.
    remove(&mut world, chicago, chicago);
    remove(&mut world, denver, founder);
    world.settle();
    let left: Vec<_> = members(&mut world, denver).iter().map(|it| it.name.clone()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    let again = world.ask(denver, Command::Remove { office: founder }).unwrap_err();
    assert!(again.to_string().contains("there is nothing to do: Core was removed"), "{again}");
}

#[test]
fn tickets_of_a_removed_admin_are_void() {
    let (mut world, [founder, denver, boston, _]) = four();
    let ticket = signer(150);
    world.invite(denver, &ticket, "Back door", i64::MAX).unwrap();
    world.settle();
    remove(&mut world, founder, denver);
    world.settle();
    match world.admit(boston, &ticket, signer(50).office()) {
        Err(CommandError::Ticket(why)) => assert!(why.contains("removed"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_office_goes_on_under_a_new_key_and_the_old_one_is_worth_nothing() {
    let (mut world, [founder, denver, boston, chicago]) = four();
    let (old, new) = (world.offices[&denver].signer.clone(), signer(60));
    let succeed = Succeed::new(&world.network, &denver, &new);
    world.ask(denver, Command::Succeed(succeed)).unwrap();
    world.settle();
    let disk = world.offices[&denver].disk.clone();
    world.offices.remove(&denver);
    let renewed = world.start_again_as(60, disk);
    assert_eq!(renewed, new.office());
    for other in [founder, boston, chicago] {
        world.cut(denver, other);
        world.link(renewed, other);
    }
    world.settle();
    remove(&mut world, renewed, denver);
    world.settle();
    for id in [founder, boston, chicago, renewed] {
        let all = members(&mut world, id);
        let found = all.iter().find(|it| it.office == renewed).unwrap();
        assert_eq!((&*found.name, &*found.roles), ("Office 2", &[Role::Admin, Role::Office][..]));
        assert!(all.iter().all(|it| it.office != denver));
    }
    // It may do what the old one might.
    let ticket = signer(150);
    world.invite(renewed, &ticket, "New", i64::MAX).unwrap();
    world.settle();
    world.assert_agreed();
    // A thief of the old key can't name another successor.
    let mut history = History::of(&world, founder);
    let thief = Succeed::new(&world.network, &denver, &signer(61));
    let entry = history.write(&old, &Statement::Succeed(thief), &history.all(), 0);
    world.input(founder, Input::Received(boston, Message::Push(vec![entry]).encode()));
    assert_eq!(world.status(founder).void, 1);
    assert!(members(&mut world, founder).iter().all(|it| it.office != signer(61).office()));
}

/// Found by the simulator: the new key was used, and the old one not removed yet.
#[test]
fn an_office_that_changes_its_key_twice_removes_the_first_one_before() {
    let (mut world, [founder, denver, boston, chicago]) = four();
    let mut key = denver;
    for seed in [60, 61] {
        let succeed = Succeed::new(&world.network, &key, &signer(seed));
        world.ask(key, Command::Succeed(succeed)).unwrap();
        world.settle();
        let disk = world.offices.remove(&key).unwrap().disk;
        for other in [founder, boston, chicago] {
            world.cut(key, other);
        }
        key = world.start_again_as(seed, disk);
        for other in [founder, boston, chicago] {
            world.link(key, other);
        }
        world.settle();
    }
    assert!(world.offices[&founder].admits.contains(&key));
    let members: BTreeSet<_> = members(&mut world, founder).iter().map(|it| it.office).collect();
    assert!(!members.contains(&denver) && members.contains(&signer(60).office()));
    world.assert_agreed();
}

/// One office could make itself as many as it likes, and be everyone's neighbour.
#[test]
fn an_office_has_one_place_however_many_new_keys_it_has() {
    let (mut world, [founder, denver, boston, _]) = four();
    let old = world.offices[&denver].signer.clone();
    let tell = |world: &mut World, run: Run| {
        world.input(boston, Input::Received(founder, Message::Push(vec![run]).encode()));
        world.settle_for(10);
    };
    let succeed = |world: &World, old: &Signer, seed| {
        Statement::Succeed(Succeed::new(&world.network, &old.office(), &signer(seed)))
    };
    let history = History::of(&world, founder);
    let seeds = 60..66;
    for seed in seeds.clone() {
        // Side by side, each in a log of its own.
        let mut aside = History::of(&world, founder);
        aside.incarnation = u64::from(seed);
        let run = aside.write(&old, &succeed(&world, &old, seed), &history.all(), 0);
        tell(&mut world, run);
    }
    let new: BTreeSet<_> = seeds.map(|seed| signer(seed).office()).collect();
    assert_eq!(members(&mut world, boston).len(), 4 + 6);
    let admits = world.offices[&boston].admits.clone();
    let placed: Vec<_> = admits.intersection(&new).copied().collect();
    assert_eq!((admits.len(), placed.len()), (4, 1), "the old key, one new key, and the others");
    assert!(world.alarms(boston).iter().any(|it| it.contains("several new keys")));
    // Nor one after the other, as long as the old ones stay.
    let seed = (60..66).find(|seed| signer(*seed).office() == placed[0]).unwrap();
    let mut history = History::of(&world, boston);
    let next = succeed(&world, &signer(seed), 70);
    let run = history.write(&signer(seed), &next, &history.all(), 0);
    tell(&mut world, run);
    let third = signer(70).office();
    assert!(!world.offices[&boston].admits.contains(&third));
    remove(&mut world, founder, denver);
    world.settle();
    assert!(world.offices[&boston].admits.contains(&third));
    assert!(!world.offices[&boston].admits.contains(&denver));
}

// ---- Any history, in any order ----

/// Entries that a network might have, whoever wrote them.
struct History {
    network: NetworkId,
    /// With all that lies under each, itself included.
    entries: Vec<(Run, BTreeSet<usize>)>,
    place: BTreeMap<EntryHash, usize>,
    last: BTreeMap<OfficeId, (u64, EntryHash)>,
    incarnation: u64,
}

impl History {
    /// What an office holds.
    fn of(world: &World, office: OfficeId) -> Self {
        let mut history = Self {
            network: world.network,
            entries: Vec::new(),
            place: BTreeMap::new(),
            last: BTreeMap::new(),
            incarnation: 77,
        };
        for row in &world.offices[&office].disk.rows {
            let Entry { log, seq, prev, link } = row.entry.clone();
            let signature = signer(0).sign(&[0; 32]);
            let run = Run { log, first: seq, prev, links: vec![link], signature };
            history.add(run, row.hash);
        }
        history
    }

    fn add(&mut self, run: Run, hash: EntryHash) {
        let at = self.entries.len();
        let mut under = BTreeSet::from([at]);
        for parent in run.links[0].parents.iter().chain([&run.prev]) {
            if let Some(place) = self.place.get(parent) {
                under.extend(&self.entries[*place].1);
            }
        }
        self.place.insert(hash, at);
        self.entries.push((run, under));
    }

    fn all(&self) -> BTreeSet<usize> {
        (0..self.entries.len()).collect()
    }

    fn hash(&self, at: usize) -> EntryHash {
        self.entries[at].0.hashes()[0]
    }

    /// Writes what someone says who holds this, and what they wrote before.
    fn write(
        &mut self,
        author: &Signer,
        statement: &Statement,
        view: &BTreeSet<usize>,
        time: i64,
    ) -> Run {
        let log = LogId { author: author.office(), incarnation: Incarnation(self.incarnation) };
        let (seq, prev) = match self.last.get(&log.author) {
            Some((seq, prev)) => (seq + 1, *prev),
            None => (1, EntryHash(self.network.0)),
        };
        let below = |at: &usize| view.iter().any(|o| o != at && self.entries[*o].1.contains(at));
        let heads = view.iter().filter(|at| !below(at)).map(|at| self.hash(*at));
        let mut parents: Vec<_> = heads.filter(|hash| *hash != prev).collect();
        parents.sort();
        let (kind, body) = statement.encode();
        let link = Link { rules: RULES, parents, time, person: "".into(), kind, body };
        let mut run =
            Run { log, first: seq, prev, links: vec![link], signature: author.sign(&[0; 32]) };
        let hash = run.hashes()[0];
        run.signature = author.sign(&hash.0);
        self.last.insert(log.author, (seq, hash));
        self.add(run.clone(), hash);
        run
    }
}

/// Anything that anybody with a key could do: members, those who were removed, and those who were never
/// admitted write on top of whatever they like to have seen.
fn wild_history(world: &World, founder: OfficeId, dice: &mut Dice) -> History {
    let mut history = History::of(world, founder);
    let base = history.entries.len();
    let mut offices: Vec<u8> = (1..=5).collect();
    let mut tickets: Vec<u8> = Vec::new();
    for step in 0..14 + dice.roll(20) {
        let author = offices[dice.roll(offices.len())];
        let mut view: BTreeSet<usize> = (0..base).collect();
        let own = signer(author).office();
        for at in base..history.entries.len() {
            if dice.roll(3) == 0 || history.entries[at].0.log.author == own {
                view.extend(history.entries[at].1.clone());
            }
        }
        let statement = match dice.roll(10) {
            0..=2 => {
                let all = if dice.roll(2) == 0 { 3 } else { offices.len() };
                let office = signer(offices[dice.roll(all)]).office();
                Statement::Remove(Remove { office })
            }
            3 => {
                let seed = 150 + tickets.len() as u8;
                tickets.push(seed);
                let roles = if dice.roll(2) == 0 { vec![Role::Admin] } else { vec![Role::Office] };
                let ticket = TicketId(signer(seed).office().0);
                Statement::Invite(Invite {
                    ticket,
                    name: format!("by {seed}"),
                    roles,
                    expires: i64::MAX,
                })
            }
            4 if !tickets.is_empty() => {
                let ticket = signer(tickets[dice.roll(tickets.len())]);
                let seed = 20 + dice.roll(4) as u8;
                if !offices.contains(&seed) {
                    offices.push(seed);
                }
                Statement::Admit(Admit::new(&world.network, signer(seed).office(), &ticket))
            }
            5 if dice.roll(2) == 0 => {
                let seed = 30 + dice.roll(3) as u8;
                if !offices.contains(&seed) {
                    offices.push(seed);
                }
                Statement::Succeed(Succeed::new(&world.network, &own, &signer(seed)))
            }
            _ => {
                let uid = ["e1", "e2", "policy-A"][dice.roll(3)].to_owned();
                let value = Leaf::Text(format!("{author} in step {step}"));
                let fields = vec![(["description", "title"][dice.roll(2)].into(), Some(value))];
                let edits = vec![EventEdit { uid, fields }];
                Statement::Change(DocumentChange { document: DocumentId::CALENDAR, edits })
            }
        };
        history.write(&signer(author), &statement, &view, step as i64);
    }
    history
}

/// Gives an observer everything, in some order in which it can be taken, and says what it shows.
fn observe(history: &History, base: &World, founder: OfficeId, seed: u64) -> Value {
    let mut dice = Dice(seed);
    let mut world = base.copy_of(founder, 90);
    let observer = signer(90).office();
    // Nobody ever removes this one.
    let carrier = signer(6).office();
    world.link(observer, carrier);
    let mut rest: Vec<usize> =
        (base.offices[&founder].disk.rows.len()..history.entries.len()).collect();
    let mut held: BTreeSet<usize> = (0..base.offices[&founder].disk.rows.len()).collect();
    while !rest.is_empty() {
        let ready: Vec<usize> = rest
            .iter()
            .copied()
            .filter(|at| history.entries[*at].1.iter().all(|o| o == at || held.contains(o)))
            .collect();
        let next = ready[dice.roll(ready.len())];
        rest.retain(|at| *at != next);
        held.insert(next);
        let frame = Message::Push(vec![history.entries[next].0.clone()]).encode();
        world.input(observer, Input::Received(carrier, frame));
        match dice.roll(12) {
            0 => world.restart(observer),
            1 => world.settle(),
            _ => {}
        }
    }
    // What was refused, as nobody had spoken of its author yet, is offered again.
    loop {
        let before = world.status(observer).entries;
        for (run, _) in &history.entries {
            let frame = Message::Push(vec![run.clone()]).encode();
            world.input(observer, Input::Received(carrier, frame));
        }
        if world.status(observer).entries == before {
            break;
        }
    }
    // Longer than a liar can make us wait before we judge again.
    world.settle();
    world.settle();
    let found = all_shown(&mut world, observer);
    // What was found step by step is what is found at once.
    let disk = common::Disk { judge_again: true, ..world.offices[&observer].disk.clone() };
    world.restore(observer, disk);
    assert_eq!(found, all_shown(&mut world, observer), "judged again, it is something else");
    found
}

fn all_shown(world: &mut World, id: OfficeId) -> Value {
    let mut shown = shown(world, id);
    let members = members(world, id);
    let facts: Vec<_> = members.iter().map(|it| (&it.office, &it.name, &it.roles)).collect();
    shown["members"] = json!(facts);
    shown["former"] = json!(former(world, id));
    shown
}

/// The proof by trial: whatever was written, on top of whatever, by whomever; in whatever order it comes, with
/// restarts between: all nodes show the same, and there is always an admin.
#[test]
fn any_history_of_removals_is_judged_alike_in_any_order() {
    let (mut base, founder) = World::new();
    for (seed, roles) in [
        (2, &[Role::Admin, Role::Office][..]),
        (3, &[Role::Admin]),
        (4, &[Role::Office]),
        (5, &[Role::Office]),
        (6, &[Role::Office]),
    ] {
        let id = join_as(&mut base, founder, seed, roles);
        base.offices.remove(&id);
    }
    base.publish(founder, "A", "2024-04-01");
    let seeds = std::env::var("FASTI_SEEDS").map_or(100, |seeds| seeds.parse().unwrap());
    let (mut cuts, mut vouched, mut removals) = (0, 0, 0);
    // What was found once: an admin's removal decided by a roster that had lost the admin; nobody was left.
    for seed in (0..seeds).chain([1825]) {
        let history = wild_history(&base, founder, &mut Dice(seed));
        let first = observe(&history, &base, founder, 1000 + seed);
        for order in 1..4 {
            let other = observe(&history, &base, founder, 1000 * (order + 1) + seed);
            assert_eq!(first, other, "seed {seed}: the order of arrival decided something");
        }
        let admin = |member: &Value| member[2].as_array().unwrap().contains(&json!("admin"));
        assert!(first["members"].as_array().unwrap().iter().any(admin), "seed {seed}: {first:#}");
        for gone in first["former"].as_array().unwrap() {
            removals += 1;
            cuts += gone["cut"].as_u64().unwrap();
        }
        vouched += first["events"].as_array().unwrap().len();
    }
    // That it happens at all.
    assert!(removals > seeds && cuts > seeds && vouched > 0, "{removals} {cuts} {vouched}");
}
