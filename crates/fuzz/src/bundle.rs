//! Bundles: a report with all that proves it, of somebody who may have put anything into it.

use std::sync::LazyLock;

use fasti_core::Command;
use fasti_core::command::{AsOf, ReportQuery};
use fasti_core::proof::{Check, Record};
use fasti_store::check_bundle;

use crate::network::{Network, signer};
use crate::node::{Disk, Node};

/// As a file; and (after a number) as the records of a sound bundle, of which the one with that number has some of its
/// bytes replaced, each given as place and value.
pub(crate) fn bundle(bytes: &[u8]) {
    let _ = check_bundle(bytes);
    let Some((which, changes)) = bytes.split_first() else { return };
    let records = sound();
    let which = usize::from(*which) % records.len();
    let mut changed = records[which].encode();
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % changed.len();
        changed[at] = change[2];
    }
    let Ok(changed) = Record::decode(&changed) else { return };
    let mut check = Check::default();
    for (place, record) in records.iter().enumerate() {
        let record = if place == which { changed.clone() } else { record.clone() };
        if check.take(record).is_err() {
            return;
        }
    }
    // What is taken says the same.
    if let Ok(found) = check.finish() {
        let mut check = Check::default();
        records.iter().for_each(|record| check.take(record.clone()).expect("it is sound"));
        assert_eq!(found.json, check.finish().expect("it is sound").json);
    }
}

fn sound() -> &'static [Record] {
    static RECORDS: LazyLock<Vec<Record>> = LazyLock::new(|| {
        let network = Network::get();
        let disk = Disk { rows: network.disk.rows.clone(), ..Disk::default() };
        let mut node = Node::open(network.id, signer(1).clone(), disk, None).expect("opens");
        let query = ReportQuery { policy: None, as_of: AsOf::Now };
        let answer = node.ask(Command::Evidence(query)).expect("answers");
        let fasti_core::Answer::Evidence(evidence) = answer else { panic!("{answer:?}") };
        let mut records = vec![Record::Question(evidence.question.clone(), evidence.signature)];
        let mut sealing = evidence.sealing();
        records.extend(network.disk.rows.iter().cloned().filter_map(|row| sealing.add(row)));
        records.push(sealing.finish());
        records.extend(evidence.notices.iter().cloned().map(Record::Notice));
        let mut check = Check::default();
        records.iter().for_each(|record| check.take(record.clone()).expect("it is sound"));
        let pieces: Vec<Record> = check.judge().expect("it is sound").pieces().collect();
        records.extend(pieces);
        records
    });
    &RECORDS
}
