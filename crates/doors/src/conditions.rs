//! `If-Match` and `If-None-Match` (RFC 9110, sections 13.1.1 and 13.1.2) as the core's [`Condition`].

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use fasti_core::command::Condition;

use crate::problem::Problem;

/// What a header lists.
#[derive(Debug, PartialEq, Eq)]
enum Tags {
    Any,
    /// The strong ones and the weak ones.
    Listed {
        strong: Vec<String>,
        weak: Vec<String>,
    },
}

/// The condition of a write.
pub(crate) fn of_write(headers: &HeaderMap) -> Result<Condition, Problem> {
    let if_match = tags(headers, &header::IF_MATCH)?;
    let if_none_match = tags(headers, &header::IF_NONE_MATCH)?;
    match (if_match, if_none_match) {
        (None, None) => Ok(Condition::Always),
        (Some(Tags::Any), None) => Ok(Condition::Exists),
        // Weak tags never match here: the comparison is the strong one (RFC 9110, section 13.1.1).
        (Some(Tags::Listed { strong, .. }), None) => Ok(Condition::Matches(strong)),
        (None, Some(Tags::Any)) => Ok(Condition::Absent),
        (None, Some(Tags::Listed { .. })) => Err(Problem::malformed(
            "for a write only \"If-None-Match: *\" is understood; use If-Match with an etag",
        )),
        (Some(_), Some(_)) => {
            Err(Problem::malformed("send either If-Match or If-None-Match, not both"))
        }
    }
}

/// Whether a reader already has what bears this tag.
pub(crate) fn is_fresh(headers: &HeaderMap, etag: &str) -> Result<bool, Problem> {
    Ok(match tags(headers, &header::IF_NONE_MATCH)? {
        None => false,
        Some(Tags::Any) => true,
        Some(Tags::Listed { strong, weak }) => strong.iter().chain(&weak).any(|tag| tag == etag),
    })
}

/// The tag as a header.
pub(crate) fn etag(tag: &str) -> Result<[(HeaderName, HeaderValue); 1], Problem> {
    match HeaderValue::try_from(format!("\"{tag}\"")) {
        Ok(value) => Ok([(header::ETAG, value)]),
        Err(_) => Err(Problem::unexpected()),
    }
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Problem> {
    let mut lines = Vec::new();
    for value in headers.get_all(name) {
        lines.push(value.to_str().map_err(|_| not_tags(name))?);
    }
    match lines.as_slice() {
        [] => Ok(None),
        [line] if line.trim() == "*" => Ok(Some(Tags::Any)),
        _ => listed(&lines.join(",")).map(Some).ok_or_else(|| not_tags(name)),
    }
}

/// A comma-separated list of `"tag"` and `W/"tag"`; a tag may hold commas.
fn listed(text: &str) -> Option<Tags> {
    let (mut strong, mut weak) = (Vec::new(), Vec::new());
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (list, quoted) = match rest.strip_prefix("W/") {
            Some(quoted) => (&mut weak, quoted),
            None => (&mut strong, rest),
        };
        let (tag, after) = quoted.strip_prefix('"')?.split_once('"')?;
        list.push(tag.to_owned());
        let after = after.trim_start();
        if !after.is_empty() && !after.starts_with(',') {
            return None;
        }
        rest = after.trim_start_matches([',', ' ', '\t']);
    }
    Some(Tags::Listed { strong, weak })
}

fn not_tags(name: &HeaderName) -> Problem {
    Problem::malformed(format!(
        "{name} is * or entity tags in double quotes, as ETag gave them: \"0123abcd\""
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(name: &'static str, value: &'static str) -> Option<Condition> {
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )]);
        of_write(&headers).ok()
    }

    #[test]
    fn conditions_are_read_as_rfc_9110_writes_them() {
        let matches = |tags: &[&str]| Condition::Matches(tags.iter().map(|&t| t.into()).collect());
        assert_eq!(of_write(&HeaderMap::new()).unwrap(), Condition::Always);
        assert_eq!(condition("if-match", "*"), Some(Condition::Exists));
        assert_eq!(condition("if-match", "\"a\""), Some(matches(&["a"])));
        assert_eq!(condition("if-match", "\"a,b\" ,\"c\""), Some(matches(&["a,b", "c"])));
        assert_eq!(condition("if-match", "W/\"a\""), Some(matches(&[])));
        assert_eq!(condition("if-none-match", "*"), Some(Condition::Absent));
        for unquoted in ["a", "\"a", "\"a\"b", "*, \"a\""] {
            assert_eq!(condition("if-match", unquoted), None, "{unquoted}");
        }
        assert_eq!(condition("if-none-match", "\"a\""), None);
    }
}
