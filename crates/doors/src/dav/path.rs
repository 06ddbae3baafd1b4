//! What a path under `/dav/` leads to, and back.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What WebDAV calls a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// `/dav/`
    Root,
    /// `/dav/principals/`
    Principals,
    /// A person, `/dav/principals/NAME/`.
    Principal(String),
    /// Where invitations to a person would come in; there are none.
    Inbox(String),
    /// Where a person's would go out.
    Outbox(String),
    /// All calendars, `/dav/calendars/`.
    Home,
    /// `/dav/calendars/ID/`
    Calendar(String),
    /// `/dav/calendars/ID/NAME`
    Object(String, String),
}

/// All that RFC 3986 gives a meaning to; names of people and events may hold anything.
const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'@');

impl Target {
    /// What a path, or an absolute URL, leads to; none if to nothing under `/dav/`.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let path = match path.split_once("://") {
            Some((_, rest)) => rest.split_once('/').map_or("", |it| it.1),
            None => path.strip_prefix('/')?,
        };
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let rest = path.strip_prefix("dav").filter(|it| it.is_empty() || it.starts_with('/'))?;
        let mut segments = Vec::new();
        for segment in rest.split('/').filter(|it| !it.is_empty()) {
            segments.push(percent_decode_str(segment).decode_utf8().ok()?.into_owned());
        }
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        Some(match *segments.as_slice() {
            [] => Self::Root,
            ["principals"] => Self::Principals,
            ["principals", name] => Self::Principal(name.into()),
            ["principals", name, "inbox"] => Self::Inbox(name.into()),
            ["principals", name, "outbox"] => Self::Outbox(name.into()),
            ["calendars"] => Self::Home,
            ["calendars", id] => Self::Calendar(id.into()),
            ["calendars", id, name] => Self::Object(id.into(), name.into()),
            _ => return None,
        })
    }

    pub(crate) fn href(&self) -> String {
        match self {
            Self::Root => "/dav/".into(),
            Self::Principals => "/dav/principals/".into(),
            Self::Principal(name) => format!("/dav/principals/{}/", segment(name)),
            Self::Inbox(name) => format!("/dav/principals/{}/inbox/", segment(name)),
            Self::Outbox(name) => format!("/dav/principals/{}/outbox/", segment(name)),
            Self::Home => "/dav/calendars/".into(),
            Self::Calendar(id) => format!("/dav/calendars/{}/", segment(id)),
            Self::Object(id, name) => {
                format!("/dav/calendars/{}/{}", segment(id), segment(name))
            }
        }
    }
}

fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_what_they_were_made_of() {
        let name = || "ü/?#%.ics@x".to_owned();
        for target in [
            Target::Root,
            Target::Principals,
            Target::Principal(name()),
            Target::Inbox(name()),
            Target::Outbox(name()),
            Target::Home,
            Target::Calendar(name()),
            Target::Object(name(), name()),
        ] {
            let href = target.href();
            assert_eq!(Target::of(&href), Some(target.clone()), "{href}");
            assert_eq!(Target::of(&format!("http://host:1{href}")), Some(target), "{href}");
        }
        assert_eq!(Target::of("/dav"), Some(Target::Root));
        assert_eq!(Target::of("/dav/calendars"), Some(Target::Home));
        for nothing in ["/davx", "/dav/other/", "/dav/calendars/a/b/c", "/dav/calendars/%ff/"] {
            assert_eq!(Target::of(nothing), None, "{nothing}");
        }
    }
}
