//! The test vectors of `docs/protocol.md`, computed anew: what other implementations are written from must
//! be what this one does. The hex digits stand in the document alone, so that the two can't differ.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::convert::Infallible;

use fasti_core::entry::{Run, Signer};
use fasti_core::message::{Line, Message, Part};
use fasti_core::notice::{Acknowledgement, SignedNotice, Topic};
use fasti_core::policy::PolicyEvent;
use fasti_core::resource::{
    Accept, Book, ClaimId, Define, Describe, Description, Grant, Propose, Reservation,
    ResourceKind, Slot, Terms,
};
use fasti_core::row::Row;
use fasti_core::statement::{Admit, Invite, Remove, Role, Statement, Succeed};
use fasti_core::ticket::Ticket;
use fasti_core::{
    Command, Config, Core, Digest, EntryHash, Input, NetworkId, Now, OfficeId, ResourceId, Stored,
    TicketId, Write,
};
use serde_json::json;
use sha2::Digest as _;

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

/// When the vectors' entries were written: 2024-01-01T00:00:00Z.
const WALL: i64 = 1_704_067_200_000;

/// What the document says: lines of `name value` in the blocks marked `vectors`; a value goes on in
/// lines that are indented.
fn documented() -> BTreeMap<String, String> {
    let mut vectors: BTreeMap<String, String> = BTreeMap::new();
    let mut last = String::new();
    let mut inside = false;
    for line in DOCUMENT.lines() {
        if line.starts_with("```") {
            inside = line == "```vectors";
        } else if inside && line.starts_with(' ') {
            vectors.get_mut(&last).unwrap().push_str(line.trim());
        } else if inside {
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            let double = vectors.insert(name.into(), value.trim().into());
            assert!(double.is_none(), "{name} stands there twice");
            last = name.into();
        }
    }
    vectors
}

fn computed() -> BTreeMap<String, String> {
    let mut vectors = BTreeMap::new();
    let mut put = |name: &str, value: String| {
        vectors.insert(name.to_owned(), value);
    };
    let founder = Signer::from_seed(&[1; 32]);
    let office = founder.office();
    put("founder.office", office.to_string());
    put("founder.peer_id", peer_id(&office.0));

    let now = Now { wall: WALL, ..Now::default() };
    let (network, log, row) = fasti_core::found(&founder, "Core", [7; 16], now.wall).unwrap();
    put("found.entry", entry(&row));
    put("found.hash", row.hash.to_string());
    put("found.signature", hex::encode(row.signature.unwrap().to_bytes()));
    put("network", network.to_string());

    let mut config = Config::new(network, founder.clone(), [4; 32]);
    config.version = "0.1.0".into();
    let stored = Stored { incarnation: Some(log.incarnation), ..Stored::default() };
    let rows = || Ok(std::iter::once(Ok::<_, Infallible>(row.clone())));
    let mut core = Core::open(config, stored, rows, now).unwrap();
    put("found.frontier", core.frontier().to_string());

    let event = json!({
        "type": "policy_start",
        "payload": {"policy_id": "YSP-2024", "start_date": "2024-04-01"}
    });
    let policy = PolicyEvent::from_json(event).unwrap();
    core.handle(now, Input::Command(1, Command::Publish(vec![policy])));
    let mut written = Vec::new();
    let keep = |writes: &[Write]| {
        written.extend(writes.iter().filter_map(|write| match write {
            Write::Entry { row, .. } => Some(row.clone()),
            _ => None,
        }));
        Ok::<_, Infallible>(())
    };
    drop(core.step(now).persist(keep));
    let [change] = written.as_slice() else { panic!("one entry") };
    put("change.entry", entry(change));
    put("change.hash", change.hash.to_string());
    put("change.signature", hex::encode(change.signature.unwrap().to_bytes()));
    put("change.body", hex::encode(&change.entry.link.body));
    let applied = change.applied.as_ref().unwrap();
    put("change.automerge_hash", hex::encode(applied.change));
    put("change.max_op", applied.max_op.to_string());
    put("change.frontier", core.frontier().to_string());

    let ticket = Signer::from_seed(&[2; 32]);
    let id = TicketId(ticket.office().0);
    let expires = WALL + 24 * 60 * 60 * 1000;
    let invite = Invite { ticket: id, name: "Denver".into(), roles: vec![Role::Office], expires };
    put("ticket.id", id.to_string());
    put("ticket.text", {
        let addresses = vec!["/ip4/192.0.2.1/tcp/8378".to_owned()];
        Ticket::new(network, [2; 32], "Denver".into(), expires, office, addresses).to_text()
    });
    put("invite.body", hex::encode(Statement::Invite(invite).encode().1));
    let newcomer = Signer::from_seed(&[3; 32]).office();
    let admit = Admit::new(&network, newcomer, &ticket);
    put("admit.body", hex::encode(Statement::Admit(admit).encode().1));
    let remove = Remove { office: newcomer };
    put("remove.body", hex::encode(Statement::Remove(remove).encode().1));
    let succeed = Succeed::new(&network, &office, &Signer::from_seed(&[5; 32]));
    put("succeed.body", hex::encode(Statement::Succeed(succeed).encode().1));

    for (name, said) in reservations(office, row.hash) {
        let (kind, body) = Statement::Reservation(said).encode();
        put(&format!("{name}.body"), format!("{kind} {}", hex::encode(body)));
    }

    let frontier = core.frontier();
    let notices = no_notices();
    put("hello.frame", hex::encode(Message::Hello { boot: 1, frontier, notices }.encode()));
    let line = Line { log, seq: 2, hash: change.hash };
    let lines = vec![line];
    let message = Message::Frontier { boot: 1, ask: true, entries: 2, part: Part::WHOLE, lines };
    put("frontier.frame", hex::encode(message.encode()));
    let signature = change.signature.unwrap();
    let links = vec![change.entry.link.clone()];
    let run = Run { log, first: 2, prev: row.hash, links, signature };
    let push = Message::Push(vec![run]).encode();
    put("push.frame.sha256", hex::encode(sha2::Sha256::digest(push)));
    let want = Message::Want { fetch: 7, entries: 2, part: Part::WHOLE, from: vec![(log, 2)] };
    put("want.frame", hex::encode(want.encode()));
    put("notice", notice(&founder, log.incarnation, frontier, change));
    check_types(network, office);
    vectors
}

/// Each in turn, on a resource whose `Define` has the hash of the founding entry.
fn reservations(office: OfficeId, hash: EntryHash) -> Vec<(&'static str, Reservation)> {
    let resource = ResourceId(hash.0);
    let terms = Terms { capacity: 1, before: 0, after: 900 };
    let description = Description { name: "Room 1".into(), kind: ResourceKind::Room, terms };
    let stakeholders = vec![office];
    let slot = Slot { start: 1_711_962_000, end: 1_711_965_600, occurrence: String::new() };
    let releases = vec![ClaimId { entry: hash, slot: 0 }];
    let book = Book { resource, uid: "standup".into(), releases, claims: vec![slot] };
    let propose = Propose { resource, add: Some(office), dismiss: None };
    vec![
        ("define", Reservation::Define(Define { description: description.clone(), stakeholders })),
        ("describe", Reservation::Describe(Describe { resource, description })),
        ("book", Reservation::Book(book)),
        ("grant", Reservation::Grant(Grant { resource, requests: vec![hash] })),
        ("propose", Reservation::Propose(propose)),
        ("accept", Reservation::Accept(Accept { resource, proposal: hash })),
    ]
}

fn entry(row: &Row) -> String {
    hex::encode(postcard::to_stdvec(&row.entry).unwrap())
}

fn notice(
    signer: &Signer,
    incarnation: fasti_core::Incarnation,
    digest: Digest,
    head: &Row,
) -> String {
    let body =
        Acknowledgement { incarnation, seq: 2, understands: true, digest, heads: vec![head.hash] };
    let notice = SignedNotice::new(signer, Topic::Acknowledgement, WALL as u64, &body);
    hex::encode(postcard::to_stdvec(&notice).unwrap())
}

fn no_notices() -> [u8; 16] {
    sha2::Sha256::digest(b"fasti/notices/1\0")[..16].try_into().unwrap()
}

/// What the document says of ids: 64 hex digits for people.
fn check_types(network: NetworkId, office: OfficeId) {
    assert_eq!(network.to_string().parse::<NetworkId>().unwrap(), network);
    assert_eq!(office.to_string().len(), 64);
}

/// The libp2p name of an Ed25519 key: base58 over an identity multihash of its protobuf.
fn peer_id(key: &[u8; 32]) -> String {
    const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let bytes = [&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20][..], key].concat();
    let mut digits: Vec<u32> = Vec::new();
    for byte in &bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += *digit << 8;
            *digit = carry % 58;
            carry /= 58;
        }
        while carry > 0 {
            digits.push(carry % 58);
            carry /= 58;
        }
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).map(|_| '1');
    zeros.chain(digits.iter().rev().map(|digit| char::from(ALPHABET[*digit as usize]))).collect()
}

#[test]
fn the_vectors_of_the_protocol_are_what_this_program_does() {
    let (documented, computed) = (documented(), computed());
    for (name, value) in &computed {
        assert_eq!(documented.get(name), Some(value), "{name} is {value}");
    }
    assert_eq!(documented.len(), computed.len(), "a vector of the document is not checked");
}
