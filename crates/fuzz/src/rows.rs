//! Rows of a damaged disk. The store's checksums find what a disk loses; this is what they wouldn't.

use std::sync::LazyLock;

use fasti_core::row::Row;

use crate::network::{Network, office, signer};
use crate::node::{Disk, Node};

/// Which row is replaced, then with what: bytes, or (after a 0) the row itself with some of its bytes
/// replaced, each given as place and value.
pub(crate) fn rows(bytes: &[u8]) {
    static ENCODED: LazyLock<Vec<Vec<u8>>> =
        LazyLock::new(|| Network::get().disk.rows.iter().map(Row::encode).collect());
    let Some((which, bytes)) = bytes.split_first() else { return };
    let which = usize::from(*which) % ENCODED.len();
    let bytes = match bytes {
        [0, changes @ ..] => {
            let mut row = ENCODED[which].clone();
            for change in changes.chunks_exact(3) {
                let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % row.len();
                row[at] = change[2];
            }
            row
        }
        bytes => bytes.to_vec(),
    };
    let Ok(row) = Row::decode(&bytes) else { return };
    assert_eq!(Row::decode(&row.encode()).expect("reads what it wrote"), row);
    let network = Network::get();
    for judge_again in [false, true] {
        let mut disk = Disk { rows: network.disk.rows.clone(), judge_again, ..Disk::default() };
        disk.rows[which] = row.clone();
        let opened = Node::open(network.id, signer(90).clone(), disk, Some(office(91)));
        if let Ok(mut node) = opened {
            node.shown();
        }
    }
}
