//! Every small world: some offices write a few operations, each knowing any part of what was written before it, and
//! acknowledge whatever they hold at any moment. Whatever a node then calls settled must stay held, whatever comes to
//! it later: see `violation`. And each mistake that is easily made must show.
//!
//! A world is what was written in all, and who knew what of it. A node holds any part of it that has, with each entry,
//! what lies under it. Which acknowledgements it has heard decides what is settled for it: the more the better, so that
//! it is enough to look at what each office said last of that part.

use std::collections::{BTreeMap, BTreeSet};

use super::held::State;
use super::mutation::{Mutation, is, make};
use super::{Bookings, cover};
use crate::entry::{Entry, Link};
use crate::graph::{Graph, Index};
use crate::ids::{Digest, EntryHash, Incarnation, LogId, OfficeId, ResourceId};
use crate::notice::Acknowledgement;
use crate::resource::{
    Accept, Book, ClaimId, Define, Describe, Description, Grant, Propose, Reservation,
    ResourceKind, Slot, Terms,
};
use crate::row::{Row, Standing};
use crate::time::Dice;

/// A set of entries, by their place in the world.
type Mask = u32;

/// What an office writes. Entries are named by their place in the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Op {
    /// Takes some hours of a resource.
    Claim(usize, i64, i64),
    Cancel(usize),
    /// Gives up one claim and makes another.
    Move(usize, i64, i64),
    Capacity(u32),
    Grant(usize),
    Add(u8),
    Dismiss(u8),
    /// Dismisses another one, to have a say itself.
    TakeOver(u8),
    Accept(usize),
}
use Op::*;

/// Who writes what, in an order in which it can be written.
type Story = Vec<(u8, Op)>;

const A: u8 = 0;
const B: u8 = 1;
const C: u8 = 2;
/// Founds both resources, and may dismiss.
const ADMIN: u8 = 3;
const D: u8 = 4;
const OFFICES: [u8; 5] = [A, B, C, ADMIN, D];

#[derive(Clone)]
struct World {
    salt: u8,
    stakeholders: Vec<u8>,
    admins: Vec<u8>,
    /// Author, what it knew, and what it wrote; the two definitions first.
    entries: Vec<(u8, Mask, Option<Op>)>,
}

fn office(it: u8) -> OfficeId {
    OfficeId([it + 1; 32])
}

fn bits(mask: Mask) -> impl Iterator<Item = usize> {
    (0..32).filter(move |at| mask >> at & 1 == 1)
}

impl World {
    fn new(salt: u8, stakeholders: &[u8]) -> Self {
        let entries = vec![(ADMIN, 0, None), (ADMIN, 1, None)];
        Self { salt, stakeholders: stakeholders.to_vec(), admins: vec![ADMIN], entries }
    }

    fn hash(&self, at: usize) -> EntryHash {
        let mut hash = [at as u8 + 1; 32];
        hash[0] = self.salt;
        EntryHash(hash)
    }

    fn all(&self) -> Mask {
        (1 << self.entries.len()) - 1
    }

    fn own(&self, author: u8) -> Mask {
        let is_own = |at: &usize| self.entries[*at].0 == author;
        (0..self.entries.len()).filter(is_own).fold(0, |mask, at| mask | 1 << at)
    }

    fn is_closed(&self, mask: Mask) -> bool {
        bits(mask).all(|at| self.entries[at].1 & !mask == 0)
    }

    /// All parts that a node may hold, which has the two definitions.
    fn parts(&self) -> Vec<Mask> {
        (0..=self.all()).filter(|mask| mask & 3 == 3 && self.is_closed(*mask)).collect()
    }

    /// Those of a set that lie under no other one of it.
    fn heads(&self, mask: Mask) -> Mask {
        bits(mask).fold(mask, |heads, at| heads & !self.entries[at].1)
    }

    fn said(&self, at: usize) -> Reservation {
        let id = |number: usize| ResourceId(self.hash(number).0);
        let slots = |start, end| vec![Slot { start, end, occurrence: String::new() }];
        let book = |resource, claims, releases| {
            Reservation::Book(Book { resource, uid: "e".into(), claims, releases })
        };
        let claim = |at: usize| ClaimId { entry: self.hash(at), slot: 0 };
        let described = |capacity| Description {
            name: "Room".into(),
            kind: ResourceKind::Room,
            terms: Terms { capacity, before: 0, after: 0 },
        };
        match self.entries[at].2 {
            None => Reservation::Define(Define {
                description: described(1),
                stakeholders: self.stakeholders.iter().map(|it| office(*it)).collect(),
            }),
            Some(Claim(resource, start, end)) => book(id(resource), slots(start, end), vec![]),
            Some(Cancel(of)) => book(id(self.resource(of)), vec![], vec![claim(of)]),
            Some(Move(of, start, end)) => {
                book(id(self.resource(of)), slots(start, end), vec![claim(of)])
            }
            Some(Capacity(capacity)) => {
                let description = described(capacity);
                Reservation::Describe(Describe { resource: id(0), description })
            }
            Some(Grant(request)) => {
                let requests = vec![self.hash(request)];
                Reservation::Grant(Grant { resource: id(0), requests })
            }
            Some(Add(it)) => Reservation::Propose(Propose {
                resource: id(0),
                add: Some(office(it)),
                dismiss: None,
            }),
            Some(Dismiss(it)) => Reservation::Propose(Propose {
                resource: id(0),
                add: None,
                dismiss: Some(office(it)),
            }),
            Some(TakeOver(it)) => Reservation::Propose(Propose {
                resource: id(0),
                add: Some(office(self.entries[at].0)),
                dismiss: Some(office(it)),
            }),
            Some(Accept(at)) => {
                Reservation::Accept(Accept { resource: id(0), proposal: self.hash(at) })
            }
        }
    }

    fn resource(&self, claim: usize) -> usize {
        match self.entries[claim].2 {
            Some(Claim(resource, ..)) => resource,
            Some(Move(of, ..)) => self.resource(of),
            _ => 0,
        }
    }

    /// What a node has made of this part, if it came in this order; having looked after each, or at the end.
    fn node(&self, order: impl Iterator<Item = usize>, refreshing: bool) -> Node {
        let mut node =
            Node { graph: Graph::default(), bookings: Bookings::default(), at: BTreeMap::new() };
        for at in order {
            let (author, knew, _) = self.entries[at];
            let log = LogId { author: office(author), incarnation: Incarnation(1) };
            let own = knew & self.own(author);
            let seq = u64::from(own.count_ones()) + 1;
            let prev = bits(own).last();
            let heads = bits(self.heads(knew)).filter(|it| Some(*it) != prev);
            let parents: Vec<Index> =
                prev.into_iter().chain(heads).map(|it| node.at[&it]).collect();
            let prev = prev.map_or(EntryHash([0; 32]), |it| self.hash(it));
            let link = Link {
                rules: 1,
                parents: vec![],
                time: 0,
                person: "".into(),
                kind: 0,
                body: vec![],
            };
            let entry = Entry { log, seq, prev, link };
            let (standing, hash) = (Standing::Applied, self.hash(at));
            let row = Row { hash, signature: None, standing, applied: None, entry };
            let index = node.graph.append(&row, parents.into());
            node.bookings.take(&node.graph, index, log.author, &self.said(at), |it| it);
            node.at.insert(at, index);
            if refreshing {
                node.bookings.refresh();
            }
        }
        node.bookings.refresh();
        node
    }

    /// What an office may have acknowledged at some moment: what it holds when it has written so much, all of which lies
    /// under what it writes next.
    fn acknowledged(&self, author: u8, parts: &[Mask]) -> Vec<Mask> {
        let own = self.own(author);
        let may = |held: &Mask| {
            let next = bits(own & !held).next();
            next.is_none_or(|next| held & !self.entries[next].1 == 0)
        };
        parts.iter().copied().filter(may).collect()
    }
}

struct Node {
    graph: Graph,
    bookings: Bookings,
    /// The index of each entry.
    at: BTreeMap<usize, Index>,
}

/// What became of each claim: by the entry, whether it holds, whether it was given up.
type States = BTreeMap<usize, State>;

impl Node {
    fn states(&self, world: &World) -> States {
        let mut states = States::new();
        for docket in self.bookings.dockets() {
            for (key, claimed) in docket.held().claims.iter() {
                let hash = docket.book(key.book).hash;
                let at = (0..world.entries.len()).find(|at| world.hash(*at) == hash);
                states.insert(at.unwrap_or(99), claimed.state);
            }
        }
        states
    }

    /// Which claims are settled, if the offices acknowledged this.
    fn settled(&self, world: &World, covers: &[Vec<bool>]) -> BTreeSet<usize> {
        let covers = |it: &OfficeId, at: Index| covers[it.0[0] as usize - 1][at as usize];
        let mut found = BTreeSet::new();
        for docket in self.bookings.dockets() {
            let admins = |_| world.admins.iter().map(|it| office(*it)).collect();
            let settled = docket.settled(&covers, &admins);
            for (key, claimed) in docket.held().claims.iter() {
                let is_settled = match claimed.state {
                    State::Held(decider) if is(Mutation::NoPrefix) => {
                        let places = [claimed.at, decider].map(|at| docket.entry_at(at));
                        let knows = |it: &OfficeId| {
                            places.iter().flatten().all(|place| covers(it, place.at))
                        };
                        docket.members().iter().all(knows)
                    }
                    _ => docket.is_settled(&settled, key),
                };
                if is_settled {
                    let hash = docket.book(key.book).hash;
                    found.extend((0..world.entries.len()).find(|at| world.hash(*at) == hash));
                }
            }
        }
        found
    }

    fn cover(&self, world: &World, author: u8, held: Mask) -> Vec<bool> {
        let keys = BTreeSet::from([office(author)]);
        let mut heads: Vec<_> = bits(world.heads(held)).map(|it| world.hash(it)).collect();
        heads.sort();
        let seq = u64::from((held & world.own(author)).count_ones());
        let (incarnation, digest) = (Incarnation(1), Digest([0; 32]));
        let said = Acknowledgement { incarnation, seq, understands: true, digest, heads };
        cover(&self.graph, &keys, |_| Some(said.clone()))
    }
}

/// How far what was found may differ later: only by what somebody gave up.
fn stays(state: Option<&State>) -> bool {
    matches!(state, Some(State::Held(_) | State::Released))
}

/// What is wrong in a world. A claim that is settled for a node is held, from then on, for that node, and for each that
/// holds all that lies under the acknowledgements by which it was settled; and it stays settled. Two that overlap are
/// never both held, and so never both settled. Whoever holds the same sees the same.
fn violation(world: &World, thorough: bool) -> Option<String> {
    let parts = world.parts();
    let nodes: Vec<Node> = parts.iter().map(|part| world.node(bits(*part), false)).collect();
    let states: Vec<States> = nodes.iter().map(|node| node.states(world)).collect();
    let acknowledged: Vec<Vec<Mask>> =
        OFFICES.iter().map(|it| world.acknowledged(*it, &parts)).collect();
    // In another order of arrival.
    let mut done = 0;
    let late = std::iter::from_fn(|| {
        let free = |at: &usize| done >> at & 1 == 0 && world.entries[*at].1 & !done == 0;
        let next = (0..world.entries.len()).rev().find(free)?;
        done |= 1 << next;
        Some(next)
    });
    let late: Vec<usize> = late.collect();
    if Some(&world.node(late.into_iter(), true).states(world)) != states.last() {
        return Some("the order of arrival decides".into());
    }
    let mut settled: Vec<BTreeSet<usize>> = Vec::new();
    for (part, node) in parts.iter().zip(&nodes) {
        // Of each office the acknowledgement that says most about this part, and the least that says as much.
        let best = |it: &u8| {
            let all = acknowledged[*it as usize].iter();
            let known = all.map(|held| (node.cover(world, *it, *held), *held));
            known.max_by_key(|(cover, held)| {
                (cover.iter().filter(|it| **it).count(), u32::MAX - held.count_ones())
            })
        };
        let covers: Vec<(Vec<bool>, Mask)> = OFFICES.iter().filter_map(best).collect();
        let by: Vec<Vec<bool>> = covers.iter().map(|it| it.0.clone()).collect();
        let here = node.settled(world, &by);
        for claim in &here {
            for (other, states) in parts.iter().zip(&states) {
                if other & part == *part && !stays(states.get(claim)) {
                    return Some(format!(
                        "{claim} is settled in {part:b} and not held in {other:b}"
                    ));
                }
            }
            if !thorough {
                continue;
            }
            // The least of each office that is enough.
            let mut least: Vec<Mask> = Vec::new();
            for it in world.stakeholders.iter().chain(&[C]) {
                let mut all = acknowledged[*it as usize].clone();
                all.sort_by_key(|held| held.count_ones());
                let enough = |held: &Mask| {
                    let mut by = by.clone();
                    by[*it as usize] = node.cover(world, *it, *held);
                    node.settled(world, &by).contains(claim)
                };
                least.extend(all.into_iter().find(enough));
            }
            // What an office wrote is an acknowledgement of all that lies under it, too.
            let wrote = OFFICES.iter().filter_map(|it| bits(world.own(*it) & part).last());
            least.extend(wrote.map(|last| world.entries[last].1 | 1 << last));
            let known = least.into_iter().fold(1 << claim, |known, it| known | it);
            for (other, states) in parts.iter().zip(&states) {
                if other & known == known && !stays(states.get(claim)) {
                    return Some(format!(
                        "{claim} is settled in {part:b} by {known:b}, and not held in {other:b}"
                    ));
                }
            }
        }
        settled.push(here);
    }
    for (part, here) in parts.iter().zip(&settled) {
        for (other, there) in parts.iter().zip(&settled).filter(|(it, _)| *it & part == *part) {
            let at = parts.iter().position(|it| it == other)?;
            let lost =
                here.difference(there).find(|it| states[at].get(it) != Some(&State::Released));
            if let Some(claim) = lost {
                return Some(format!("{claim} is settled in {part:b} and no more in {other:b}"));
            }
        }
    }
    None
}

/// Writes the rest of a story in every way there is: everyone's entries in their order, each knowing any part of what
/// was written before that has his own.
fn explore(
    world: &World,
    rest: &[(usize, u8, Op)],
    places: &BTreeMap<usize, usize>,
    seen: &mut BTreeSet<Vec<(usize, Mask)>>,
    found: &mut dyn FnMut(&World),
) {
    if rest.is_empty() {
        // The same world is met once for each order in which it could be written.
        let story_of = |at: usize| places.iter().find(|it| *it.1 == at).map_or(99, |it| *it.0);
        let mut key: Vec<(usize, Mask)> = (2..world.entries.len())
            .map(|at| {
                let knew = bits(world.entries[at].1).filter(|it| *it > 1);
                (story_of(at), knew.fold(0, |mask, it| mask | 1 << story_of(it)))
            })
            .collect();
        key.sort_unstable();
        if seen.insert(key) {
            found(world);
        }
        return;
    }
    for (index, (story, author, op)) in rest.iter().enumerate() {
        if rest[..index].iter().any(|it| it.1 == *author) {
            continue;
        }
        let named = match op {
            Cancel(of) | Move(of, ..) | Grant(of) | Accept(of) => Some(*of),
            _ => None,
        };
        let needed = match named.map(|it| places.get(&it)) {
            Some(None) => continue,
            Some(Some(place)) => 1 << place,
            None => 0,
        };
        let here = named.map_or(*op, |of| op.at(places[&of]));
        let must = needed | world.own(*author) | 3;
        for knew in world.parts().into_iter().filter(|it| it & must == must) {
            let mut next = world.clone();
            next.entries.push((*author, knew, Some(here)));
            let mut places = places.clone();
            places.insert(*story, world.entries.len());
            let mut rest = rest.to_vec();
            rest.remove(index);
            explore(&next, &rest, &places, seen, found);
        }
    }
}

impl Op {
    /// The same of the entry at this place.
    fn at(self, of: usize) -> Self {
        match self {
            Cancel(_) => Cancel(of),
            Move(_, start, end) => Move(of, start, end),
            Grant(_) => Grant(of),
            Accept(_) => Accept(of),
            other => other,
        }
    }
}

/// How many worlds were looked at, and the first that is wrong, and how.
type Found = (u64, Option<(World, String)>);

/// All worlds of a story.
fn tell(stakeholders: &[u8], story: &Story) -> Found {
    let rest: Vec<(usize, u8, Op)> =
        story.iter().enumerate().map(|(at, (author, op))| (at, *author, *op)).collect();
    let (mut count, mut wrong) = (0, None);
    // Priorities differ by the name of the resource.
    for salt in 0..3 {
        let world = World::new(salt, stakeholders);
        let mut found = |world: &World| {
            if wrong.is_none() {
                count += 1;
                wrong = violation(world, true).map(|it| (world.clone(), it));
            }
        };
        explore(&world, &rest, &BTreeMap::new(), &mut BTreeSet::new(), &mut found);
    }
    (count, wrong)
}

/// Stories that are told in every way, with who has a say.
fn stories() -> Vec<(&'static [u8], Story)> {
    let cancel =
        vec![(B, Claim(0, 0, 2)), (A, Claim(0, 1, 3)), (B, Cancel(0)), (B, Claim(0, 2, 4))];
    let mut two = cancel.clone();
    two.insert(2, (A, Claim(1, 0, 2)));
    two[3] = (B, Cancel(0));
    vec![
        (&[A, B], cancel.clone()),
        (&[A, B], two),
        (
            &[A, B],
            vec![(A, Claim(0, 0, 2)), (B, Claim(0, 1, 3)), (A, Move(0, 2, 4)), (B, Claim(0, 3, 5))],
        ),
        (
            &[A, B],
            vec![(A, Claim(0, 0, 2)), (B, Capacity(2)), (B, Claim(0, 1, 3)), (A, Claim(0, 1, 4))],
        ),
        (&[A, B, C], {
            let mut story = cancel;
            story[3] = (C, Claim(0, 2, 4));
            story
        }),
        (
            &[A, B, C],
            vec![
                (A, Claim(0, 0, 2)),
                (B, Claim(0, 1, 3)),
                (C, Claim(0, 2, 4)),
                (C, Claim(1, 0, 2)),
            ],
        ),
        // Asked for, and granted twice.
        (&[A, B], vec![(C, Claim(0, 0, 2)), (A, Grant(0)), (B, Grant(0)), (B, Claim(0, 1, 3))]),
        (
            &[A],
            vec![
                (C, Claim(0, 0, 2)),
                (C, Cancel(0)),
                (A, Grant(0)),
                (A, Grant(1)),
                (A, Claim(0, 1, 3)),
            ],
        ),
        // A newcomer.
        (&[A], vec![(A, Add(C)), (A, Claim(0, 0, 2)), (C, Claim(0, 1, 3)), (A, Claim(0, 2, 4))]),
        (
            &[A, B],
            vec![
                (A, Add(C)),
                (B, Accept(0)),
                (C, Claim(0, 1, 3)),
                (B, Claim(0, 0, 2)),
                (A, Claim(1, 0, 2)),
            ],
        ),
        // One who is gone. The third doesn't know what the newcomer's consent was about.
        (
            &[A, C],
            vec![
                (A, Add(B)),
                (C, Accept(0)),
                (ADMIN, Dismiss(C)),
                (A, Accept(2)),
                (B, Accept(2)),
                (C, Claim(0, 0, 2)),
                (A, Claim(0, 1, 3)),
            ],
        ),
        (
            &[A, C],
            vec![
                (C, Claim(0, 0, 2)),
                (ADMIN, Dismiss(C)),
                (A, Accept(1)),
                (A, Claim(0, 1, 3)),
                (C, Claim(0, 2, 4)),
            ],
        ),
        (
            &[A, B, C],
            vec![
                (C, Claim(0, 0, 2)),
                (ADMIN, Dismiss(C)),
                (A, Accept(1)),
                (B, Accept(1)),
                (B, Claim(0, 1, 3)),
            ],
        ),
    ]
}

/// A world by chance, of more operations than can be tried in every way.
fn by_chance(dice: &mut Dice) -> World {
    let stakeholders: &[u8] = match dice.below(4) {
        0 => &[A],
        1 => &[A, C],
        2 => &[A, B, C],
        _ => &[A, B],
    };
    let mut world = World::new(dice.below(200) as u8, stakeholders);
    let steps = 4 + dice.below(5);
    while (world.entries.len() as u64) < 2 + steps {
        let author = dice.below(4) as u8;
        let must = world.own(author) | 3;
        let parts: Vec<Mask> = world.parts().into_iter().filter(|it| it & must == must).collect();
        let knew = parts[dice.below(parts.len() as u64) as usize];
        let of = |is: fn(u8, Op) -> bool| -> Vec<usize> {
            let of =
                |at: &usize| world.entries[*at].2.is_some_and(|op| is(world.entries[*at].0, op));
            bits(knew).filter(of).collect()
        };
        let claims = of(|_, op| matches!(op, Claim(..) | Move(..)));
        let own: Vec<usize> =
            claims.iter().copied().filter(|at| world.entries[*at].0 == author).collect();
        let proposals = of(|_, op| matches!(op, Add(_) | Dismiss(_)));
        let mut one_of = |all: &[usize]| all.get(dice.below(all.len() as u64) as usize).copied();
        let picks = [one_of(&claims), one_of(&own), one_of(&proposals)];
        let start = dice.below(4) as i64;
        let end = start + 1 + dice.below(3) as i64;
        let op = match (dice.below(12), picks) {
            (0, _) => Some(Claim(1, start, end)),
            (1, [_, Some(own), _]) => Some(Move(own, start, end)),
            (2 | 3, [_, Some(own), _]) => Some(Cancel(own)),
            (4, [Some(claim), ..]) => Some(Grant(claim)),
            (5, _) => Some(Add([B, C][dice.below(2) as usize])),
            (6, _) if author == ADMIN => Some(Dismiss([B, C][dice.below(2) as usize])),
            (7 | 8, [_, _, Some(proposal)]) => Some(Accept(proposal)),
            (9, _) if dice.below(4) == 0 => Some(Capacity(1 + dice.below(2) as u32)),
            (9.., _) => Some(Claim(0, start, end)),
            _ => None,
        };
        if let Some(op) = op
            && (author != ADMIN || matches!(op, Dismiss(_)))
        {
            world.entries.push((author, knew, Some(op)));
        }
    }
    world
}

/// Whether nobody but the only stakeholder is dismissed: then what it believed settled may be void, as no one else
/// knew of it.
fn dismisses_the_last(world: &World) -> bool {
    let dismissed = world.entries.iter().any(|it| matches!(it.2, Some(Dismiss(_))));
    dismissed && world.stakeholders.len() == 1
}

fn draw(seeds: std::ops::Range<u64>) -> Found {
    let mut count = 0;
    for seed in seeds {
        let world = by_chance(&mut Dice(seed));
        if dismisses_the_last(&world) {
            continue;
        }
        count += 1;
        if let Some(it) = violation(&world, seed % 16 == 0) {
            return (count, Some((world, format!("{it}: seed {seed}"))));
        }
    }
    (count, None)
}

/// How many worlds to draw: more for whoever has the time, with `WORLDS=200000`.
fn draws(otherwise: u64) -> std::ops::Range<u64> {
    let wanted = std::env::var("WORLDS").ok().and_then(|it| it.parse().ok());
    0..wanted.unwrap_or(otherwise)
}

fn assert_sound(worlds: u64, wrong: Option<(World, String)>) {
    if let Some((world, how)) = wrong {
        panic!("{how}, after {worlds} worlds: salt {}, {:?}", world.salt, world.entries);
    }
}

#[test]
fn what_is_settled_stays_held_in_every_small_world() {
    let mut total = 0;
    for (stakeholders, story) in stories() {
        let (worlds, wrong) = tell(stakeholders, &story);
        assert_sound(worlds, wrong);
        total += worlds;
    }
    println!("{total} worlds");
}

#[test]
fn what_is_settled_stays_held_in_worlds_by_chance() {
    let (worlds, wrong) = draw(draws(5000));
    assert_sound(worlds, wrong);
}

/// Tells the stories, and draws as many worlds by chance as it takes. It must be the mistake that is found.
fn shows(mutation: Mutation) {
    make(Some(mutation));
    let told = stories().into_iter().map(|(stakeholders, story)| tell(stakeholders, &story));
    let found = told.chain(std::iter::once_with(|| draw(draws(5000)))).find_map(|it| it.1);
    make(None);
    let (world, how) = found.unwrap_or_else(|| panic!("{mutation:?} shows nowhere"));
    println!("{mutation:?}: {how}, salt {}, {:?}", world.salt, world.entries);
    assert_sound(1, violation(&world, true).map(|it| (world, it)));
}

#[test]
fn settling_with_a_gap_shows() {
    shows(Mutation::NoGapCheck);
}

#[test]
fn settling_without_the_deciding_operation_shows() {
    shows(Mutation::NoDecider);
}

#[test]
fn waiting_for_a_newcomer_too_late_shows() {
    shows(Mutation::NewcomerTooLate);
}

#[test]
fn taking_a_newcomers_claim_too_early_shows() {
    shows(Mutation::NewcomerTooEarly);
}

#[test]
fn reviving_before_those_who_hold_shows() {
    shows(Mutation::ReviveBeforeHeld);
}

/// `D` has a say as soon as `B` has accepted that, which comes after all claims in the order: so for these nobody waits
/// for `D`. `C` is dismissed by `A`, `B` and `D`, and none of the three knew its claim when saying so. A node that holds
/// all but what `D` said must not call settled what hangs on that claim.
fn dismissed_behind_a_newcomer(salt: u8) -> World {
    let mut world = World::new(salt, &[A, B, C]);
    let knew = |these: &[usize]| these.iter().fold(3, |mask, at| mask | 1 << at);
    let entries = [
        (A, knew(&[]), Add(D)),
        (A, knew(&[2]), Claim(0, 1, 3)),
        (A, knew(&[2, 3]), Claim(0, 2, 4)),
        (C, knew(&[2]), Accept(2)),
        (C, knew(&[2, 5]), Claim(0, 0, 2)),
        (B, knew(&[2]), Accept(2)),
        (ADMIN, knew(&[2, 5, 7]), Dismiss(C)),
        (A, knew(&[2, 3, 4, 5, 7, 8]), Accept(8)),
        (B, knew(&[2, 5, 7, 8]), Accept(8)),
        (D, knew(&[2, 5, 7, 8]), Accept(8)),
    ];
    world.entries.extend(entries.map(|(author, knew, op)| (author, knew, Some(op))));
    world
}

/// `C`'s claim displaces one of `A`'s, so that another one of `A`'s holds. `A` and `B` acknowledge that one and what
/// decided it (itself), but don't know `C`'s when they dismiss `C`.
fn dismissed_unheard(salt: u8) -> World {
    let mut world = World::new(salt, &[A, B, C]);
    let knew = |these: &[usize]| these.iter().fold(3, |mask, at| mask | 1 << at);
    let entries = [
        (A, knew(&[]), Claim(0, 1, 3)),
        (A, knew(&[2]), Claim(0, 2, 4)),
        (C, knew(&[]), Claim(0, 0, 2)),
        (ADMIN, knew(&[]), Dismiss(C)),
        (A, knew(&[2, 3, 5]), Accept(5)),
        (B, knew(&[2, 3, 5]), Accept(5)),
    ];
    world.entries.extend(entries.map(|(author, knew, op)| (author, knew, Some(op))));
    world
}

/// Looks for the mistake in worlds that differ by who comes first.
fn shows_in(mutation: Mutation, worlds: impl Fn(u8) -> World) {
    make(Some(mutation));
    let mut all = (0..100).map(worlds);
    let found = all.find_map(|world| violation(&world, false).map(|it| (world, it)));
    make(None);
    let (world, how) = found.unwrap_or_else(|| panic!("{mutation:?} shows nowhere"));
    println!("{mutation:?}: {how}, salt {}, {:?}", world.salt, world.entries);
    assert_sound(1, violation(&world, true).map(|it| (world, it)));
}

#[test]
fn settling_without_all_that_comes_before_shows() {
    shows_in(Mutation::NoPrefix, dismissed_unheard);
}

#[test]
fn trusting_who_is_being_dismissed_shows() {
    shows_in(Mutation::NoRisk, dismissed_behind_a_newcomer);
}

/// Two admins, who don't know of each other, dismiss the only one who has a say, to take over, and each books.
fn taken_over_twice(salt: u8) -> World {
    let mut world = World::new(salt, &[A]);
    world.admins = vec![B, C];
    let entries = [
        (B, 3, TakeOver(A)),
        (C, 3, TakeOver(A)),
        (B, 3 | 1 << 2, Claim(0, 0, 2)),
        (C, 3 | 1 << 3, Claim(0, 1, 3)),
    ];
    world.entries.extend(entries.map(|(author, knew, op)| (author, knew, Some(op))));
    world
}

#[test]
fn waiting_for_no_other_admin_when_taking_over_shows() {
    shows_in(Mutation::NoAdmins, taken_over_twice);
    // Once all know of all, one of the two bookings is settled.
    let world = taken_over_twice(0);
    let node = world.node(bits(world.all()), false);
    let covers: Vec<Vec<bool>> =
        OFFICES.iter().map(|it| node.cover(&world, *it, world.all())).collect();
    assert_eq!(node.settled(&world, &covers).len(), 1);
}
