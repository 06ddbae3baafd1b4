//! What an office is known to hold: all that lies under its acknowledgement, and under what it wrote last. Only where
//! all that it wrote before is held here too, as else something of that may still come.

use std::collections::BTreeSet;

use super::mutation::{Mutation, is};
use crate::graph::{Graph, Index};
use crate::ids::{LogId, OfficeId};
use crate::notice::{ACK_HEADS_MAX, Acknowledgement};

/// Which of the entries held here the office, which has these keys, holds too: true at their index.
pub(crate) fn cover(
    graph: &Graph,
    keys: &BTreeSet<OfficeId>,
    acknowledged: impl Fn(&OfficeId) -> Option<Acknowledgement>,
) -> Vec<bool> {
    let mut heads: Vec<Index> = Vec::new();
    for key in keys {
        if let Some(it) = acknowledged(key)
            && is_whole(graph, key, &it)
        {
            heads.extend(it.heads.iter().filter_map(|head| graph.index(head)));
        }
    }
    // Whatever it writes next builds upon its last entry. Not if there are several, which lie side by side: two nodes
    // write under its key, or it forgot one of them.
    let lasts: Vec<Index> = keys.iter().flat_map(|key| graph.last_of(*key)).collect();
    if let Some(last) = lasts.iter().max() {
        let under = graph.under(&[*last]);
        if lasts.iter().all(|it| under[*it as usize]) {
            heads.push(*last);
        }
    }
    graph.under(&heads)
}

/// Whether all is held here that the office had written when it acknowledged this.
fn is_whole(graph: &Graph, office: &OfficeId, it: &Acknowledgement) -> bool {
    if is(Mutation::NoGapCheck) {
        return true;
    }
    let log = LogId { author: *office, incarnation: it.incarnation };
    // What it doesn't understand it doesn't build upon.
    let is_held = it.seq > 0 && graph.length(&log) >= it.seq;
    // One that has written nothing in this log may have written others, which lie under its heads.
    let is_known = || {
        let mut heads = it.heads.iter();
        it.heads.len() < ACK_HEADS_MAX && heads.all(|head| graph.index(head).is_some())
    };
    it.understands && (is_held || is_known())
}
