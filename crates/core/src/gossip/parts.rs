//! Lists that come in parts.

use crate::message::Part;

/// What is kept of a peer's list, which may claim any length: more histories than that a network never has, as
/// members are kept from making many (see `push`).
const LIST_MAX: usize = 250_000;

/// A list as far as its parts are here.
#[derive(Debug)]
pub(super) struct Parts<T> {
    pub(super) list: Vec<T>,
    /// All parts are here.
    pub(super) whole: bool,
    next: u32,
}

impl<T> Default for Parts<T> {
    fn default() -> Self {
        Self { list: Vec::new(), whole: false, next: 0 }
    }
}

impl<T> Parts<T> {
    /// Takes a part, and says whether the list is whole with it. The first part begins a new list; one
    /// that doesn't follow the one before is of no use.
    pub(super) fn add(&mut self, part: Part, items: impl Iterator<Item = T>) -> bool {
        if part.at == 0 {
            *self = Self::default();
        } else if part.at != self.next {
            return false;
        }
        self.list.extend(items.take(LIST_MAX - self.list.len()));
        self.next = part.at.saturating_add(1);
        self.whole = part.last;
        self.whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_whole_with_its_last_part_and_only_in_order() {
        let mut parts = Parts::default();
        let list: Vec<u32> = (0..40_000).collect();
        let cut: Vec<_> = Part::cut(&list).collect();
        assert_eq!(cut.len(), 3);
        for (part, items) in cut.clone() {
            assert_eq!(parts.add(part, items.into_iter()), part.last);
        }
        assert_eq!(parts.list, list);
        // One is lost.
        assert!(!parts.add(cut[0].0, cut[0].1.iter().copied()));
        assert!(!parts.add(cut[2].0, cut[2].1.iter().copied()));
        assert!(!parts.whole);
        let nothing: Vec<u32> = Vec::new();
        assert_eq!(Part::cut(&nothing).collect::<Vec<_>>(), [(Part::WHOLE, nothing.clone())]);
        assert!(parts.add(Part::WHOLE, nothing.into_iter()));
        assert!(parts.list.is_empty());
    }

    #[test]
    fn a_list_without_end_is_kept_up_to_the_limit() {
        let mut parts = Parts::default();
        for at in 0..100 {
            parts.add(Part { at, last: false }, 0..10_000);
        }
        assert_eq!(parts.list.len(), LIST_MAX);
    }
}
