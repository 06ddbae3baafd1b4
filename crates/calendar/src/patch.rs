//! PatchObjects (RFC 8984, 1.4.9): what an override says of its occurrence.

use serde_json::Value;

use crate::Object;

/// Why a patch is refused, as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// It goes into something that is no object, or is not there.
    #[error("{pointer}: expected an object to hold it")]
    NoParent {
        /// The key of the patch.
        pointer: String,
    },
    /// Two of its keys are about the same place.
    #[error("{pointer}: expected no other patch of a part of it, found {other}")]
    Overlap {
        /// The key of the patch.
        pointer: String,
        /// The key of the other one.
        other: String,
    },
    /// A key is no JSON Pointer, without the leading slash.
    #[error("{pointer}: expected a JSON pointer without the leading slash")]
    Pointer {
        /// The key of the patch.
        pointer: String,
    },
}

/// What overrides leave alone: RFC 8984, 4.3.5 has it ignored. `excluded` is for the occurrence as a
/// whole.
pub(crate) const NOT_OVERRIDDEN: &[&str] = &[
    "@type",
    "excludedRecurrenceRules",
    "method",
    "privacy",
    "prodId",
    "recurrenceId",
    "recurrenceIdTimeZone",
    "recurrenceOverrides",
    "recurrenceRules",
    "relatedTo",
    "replyTo",
    "sentBy",
    "timeZones",
    "uid",
    "excluded",
];

/// Applies a PatchObject: each key is a JSON Pointer without the leading slash, and null removes.
///
/// # Errors
/// [`PatchError`], and then the object is as it was.
pub fn apply_patch(object: &mut Object, patch: &Object) -> Result<(), PatchError> {
    apply(object, patch.iter())
}

/// As [`apply_patch`], without what no override may touch.
pub(crate) fn apply_override(object: &mut Object, patch: &Object) -> Result<(), PatchError> {
    apply(object, allowed(patch))
}

/// Whether [`apply_override`] would do it.
pub(crate) fn check_override(object: &Object, patch: &Object) -> Result<(), PatchError> {
    checked(object, allowed(patch)).map(drop)
}

fn allowed(patch: &Object) -> impl Iterator<Item = (&String, &Value)> {
    patch.iter().filter(|(pointer, _)| {
        !NOT_OVERRIDDEN.contains(&pointer.split('/').next().unwrap_or_default())
    })
}

fn apply<'a>(
    object: &mut Object,
    patch: impl Iterator<Item = (&'a String, &'a Value)>,
) -> Result<(), PatchError> {
    for (parts, value) in checked(object, patch)? {
        let Some((key, parents)) = parts.split_last() else { continue };
        let parent = parents
            .iter()
            .try_fold(&mut *object, |object, part| object.get_mut(part)?.as_object_mut());
        let Some(parent) = parent else { continue };
        if value.is_null() {
            parent.shift_remove(key);
        } else {
            parent.insert(key.clone(), value.clone());
        }
    }
    Ok(())
}

/// The parts of the keys with their values, where all of them fit the object. No patch makes or removes
/// the parent of another, so that all can be checked before the first is done.
fn checked<'a>(
    object: &Object,
    patch: impl Iterator<Item = (&'a String, &'a Value)>,
) -> Result<Vec<(Vec<String>, &'a Value)>, PatchError> {
    let mut patches: Vec<(Vec<String>, &String, &Value)> = patch
        .map(|(pointer, value)| Ok((parts(pointer)?, pointer, value)))
        .collect::<Result<_, PatchError>>()?;
    // In the order of their parts, so that what overlaps is side by side.
    patches.sort_by(|a, b| a.0.cmp(&b.0));
    for pair in patches.windows(2) {
        if pair[1].0.starts_with(&pair[0].0) {
            let (pointer, other) = (pair[0].1.clone(), pair[1].1.clone());
            return Err(PatchError::Overlap { pointer, other });
        }
    }
    for (parts, pointer, _) in &patches {
        let parents = &parts[..parts.len() - 1];
        if parents.iter().try_fold(object, |object, part| object.get(part)?.as_object()).is_none() {
            return Err(PatchError::NoParent { pointer: (*pointer).clone() });
        }
    }
    Ok(patches.into_iter().map(|(parts, _, value)| (parts, value)).collect())
}

fn parts(pointer: &str) -> Result<Vec<String>, PatchError> {
    let unescape = |part: &str| {
        // A tilde stands before 0 or 1 only (RFC 6901, 3).
        let is_sound = part
            .match_indices('~')
            .all(|(at, _)| matches!(part.as_bytes().get(at + 1), Some(b'0' | b'1')));
        is_sound.then(|| part.replace("~1", "/").replace("~0", "~"))
    };
    pointer
        .split('/')
        .map(unescape)
        .collect::<Option<Vec<_>>>()
        .filter(|_| !pointer.is_empty())
        .ok_or_else(|| PatchError::Pointer { pointer: pointer.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn a_patch_sets_replaces_and_removes() {
        let mut event = object(json!({
            "title": "Review", "description": "Bring figures",
            "locations": { "a/b": { "name": "Denver" } },
        }));
        let patch = object(json!({
            "title": "Short review", "description": null, "color": "red", "nothing": null,
            "locations/a~1b/name": "Boston",
        }));
        apply_patch(&mut event, &patch).unwrap();
        let wanted = json!({
            "title": "Short review", "color": "red", "locations": { "a/b": { "name": "Boston" } },
        });
        assert_eq!(event, object(wanted));
    }

    #[test]
    fn a_wrong_patch_changes_nothing() {
        let before = object(json!({ "title": "Review", "alerts": {}, "list": [1] }));
        for patch in [
            json!({ "title": "x", "locations/1/name": "y" }),
            json!({ "title": "x", "list/0": 2 }),
            json!({ "title": "x", "alerts": {}, "alerts/1": {} }),
            json!({ "title": "x", "": 1 }),
            json!({ "title": "x", "a~2": 1 }),
        ] {
            let mut event = before.clone();
            assert!(apply_patch(&mut event, &object(patch.clone())).is_err(), "{patch}");
            assert_eq!(event, before);
        }
    }

    #[test]
    fn an_override_leaves_the_series_alone() {
        let mut event = object(json!({ "uid": "a", "title": "Review", "relatedTo": {} }));
        let patch =
            object(json!({ "uid": "b", "relatedTo/x": {}, "excluded": false, "title": "T" }));
        apply_override(&mut event, &patch).unwrap();
        assert_eq!(event, object(json!({ "uid": "a", "title": "T", "relatedTo": {} })));
    }
}
