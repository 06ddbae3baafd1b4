//! Events and publications, as people and programs send them.

use fasti_core::command::Object;
use fasti_core::event::{FieldEdits, Flat, etag, flatten, local_span, merge_patch, replace};
use fasti_core::event::{unflatten, validate};
use fasti_core::policy::PolicyEvent;
use serde_json::Value;

/// Two objects in JSON, with a line break between: an event, and a patch of it. Each may as well be a
/// publication.
pub(crate) fn event(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let mut next = || serde_json::from_slice::<Value>(parts.next().unwrap_or_default()).ok();
    let (event, patch) = (next(), next());
    for value in [&event, &patch].into_iter().flatten() {
        publication(value);
    }
    let Some(Value::Object(event)) = event else { return };
    let _ = validate(&event, None);
    let Ok(flat) = flatten(&event) else { return };
    let shown = assert_unflattens(&flat);
    local_span(&shown);
    etag(&shown);
    let Some(Value::Object(patch)) = patch else { return };
    if let Ok(wanted) = flatten(&patch) {
        assert_eq!(applied(&flat, replace(&flat, &wanted)), wanted, "replaced by something else");
    }
    if let Ok(edits) = merge_patch(&flat, &patch) {
        let after = applied(&flat, edits);
        let shown = unflatten(&after);
        let _ = validate(&shown, Some(&event));
        let again = merge_patch(&after, &patch).expect("as good as before");
        assert!(
            again.is_empty(),
            "{patch:?} on {flat:?} is another edit the second time: {again:?}"
        );
    }
}

fn assert_unflattens(flat: &Flat) -> Object {
    let object = unflatten(flat);
    assert_eq!(flatten(&object).as_ref(), Ok(flat), "other fields than before");
    object
}

fn applied(flat: &Flat, edits: FieldEdits) -> Flat {
    let mut flat = flat.clone();
    for (path, leaf) in edits {
        match leaf {
            Some(leaf) => flat.insert(path, leaf),
            None => flat.remove(&path),
        };
    }
    flat
}

fn publication(value: &Value) {
    let Ok(policy) = PolicyEvent::from_json(value.clone()) else { return };
    let Ok(patch) = policy.patch(None) else { return };
    let Ok(edits) = merge_patch(&Flat::new(), &patch) else { return };
    let event = unflatten(&applied(&Flat::new(), edits));
    let _ = validate(&event, None);
    let _ = policy.patch(Some(&event));
}
