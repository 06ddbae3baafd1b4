//! `If` (RFC 4918, section 10.4), as far as it is about entity tags. There are no locks here, so that whoever names a
//! lock's token names one that isn't held.

/// Whether what it says holds; none if it can't be read. `etag_of` knows the tags, without quotes, of what is at an
/// address, or, without one, of what the request is about.
pub(crate) fn holds(
    header: &str,
    etag_of: impl Fn(Option<&str>) -> Option<String>,
) -> Option<bool> {
    let (mut rest, mut about, mut is_any, mut is_list) = (header.trim_start(), None, false, false);
    while !rest.is_empty() {
        if let Some(tagged) = rest.strip_prefix('<') {
            let (address, after) = tagged.split_once('>')?;
            (about, rest) = (Some(address), after.trim_start());
            continue;
        }
        let mut list = rest.strip_prefix('(')?.trim_start();
        let (mut is_all, mut is_empty) = (true, true);
        while !list.starts_with(')') {
            let wanted = list.get(..3).is_none_or(|it| !it.eq_ignore_ascii_case("not"));
            list = if wanted { list } else { list[3..].trim_start() };
            let (is_so, after) = if let Some(token) = list.strip_prefix('<') {
                (false, token.split_once('>')?.1)
            } else {
                // A weak tag is never the same as a strong one.
                let (tag, after) = list.strip_prefix('[')?.split_once(']')?;
                let told = tag.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
                (told.is_some() && etag_of(about).as_deref() == told, after)
            };
            is_all &= is_so == wanted;
            (list, is_empty) = (after.trim_start(), false);
        }
        if is_empty {
            return None;
        }
        (is_any, is_list) = (is_any | is_all, true);
        rest = list[1..].trim_start();
    }
    is_list.then_some(is_any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_as_rfc_4918_writes_them() {
        let etags = |about: Option<&str>| match about {
            None => Some("a".to_owned()),
            Some("/b") => Some("b".to_owned()),
            Some(_) => None,
        };
        for (header, expected) in [
            ("([\"a\"])", Some(true)),
            ("([\"b\"])", Some(false)),
            ("([W/\"a\"])", Some(false)),
            ("(Not [\"b\"])", Some(true)),
            ("(<urn:uuid:1>)", Some(false)),
            ("(<urn:uuid:1> [\"a\"]) (Not <DAV:no-lock> [\"a\"])", Some(true)),
            ("</b> ([\"b\"])", Some(true)),
            ("</c> ([\"b\"])", Some(false)),
            ("</c> (Not [\"b\"])", Some(true)),
            ("", None),
            ("()", None),
            ("([\"a\"]", None),
            ("[\"a\"]", None),
            ("(nö)", None),
        ] {
            assert_eq!(holds(header, etags), expected, "{header}");
        }
    }
}
