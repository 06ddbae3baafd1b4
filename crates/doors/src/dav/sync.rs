//! `sync-collection` (RFC 6578): what changed in a calendar since a client asked last.

use std::fmt;

use axum::http::StatusCode;
use axum::response::Response;
use fasti_core::{Answer, Command};

use super::multistatus::{Multistatus, error};
use super::path::Target;
use super::properties::View;
use super::shelf::Shelf;
use super::xml::{DAV, Element, Name};
use super::{Asked, Refusal};
use crate::routes::Door;

/// Where a client is. Good for as long as the node numbers its log so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    numbering: u64,
    /// All changes before this index are known.
    next: u64,
    /// What was known when the client began: where an answer was cut off, what left since then is still to be told.
    since: u64,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "data:,{:016x}-{}", self.numbering, self.next)?;
        if self.since == self.next { Ok(()) } else { write!(f, "-{}", self.since) }
    }
}

impl Token {
    pub(crate) fn now(shelf: &Shelf) -> Self {
        Self { numbering: shelf.numbering, next: shelf.end, since: shelf.end }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().strip_prefix("data:,")?.split('-');
        let numbering = u64::from_str_radix(parts.next()?, 16).ok()?;
        let next = parts.next()?.parse().ok()?;
        let since = parts.next().map_or(Some(next), |it| it.parse().ok())?;
        (parts.next().is_none() && since <= next).then_some(Self { numbering, next, since })
    }
}

/// What is told of: by when it changed last.
enum News {
    Changed(Target),
    Left(String),
}

pub(crate) async fn answer(
    door: &Door,
    asked: &Asked,
    calendar: String,
    body: &Element,
) -> Result<Response, Refusal> {
    let told = body.child(DAV, "sync-token").map(Element::text).unwrap_or_default();
    let limit = match body.child(DAV, "limit").and_then(|it| it.child(DAV, "nresults")) {
        None => usize::MAX,
        Some(limit) => limit
            .text()
            .trim()
            .parse()
            .ok()
            .filter(|limit| *limit > 0)
            .ok_or_else(|| Refusal::malformed("nresults is a number from 1 on"))?,
    };
    match body.child(DAV, "sync-level").map(|it| it.text().trim().to_owned()).as_deref() {
        // A calendar has no collections in it.
        None | Some("1" | "infinite") => {}
        Some(_) => return Err(Refusal::malformed("sync-level is 1 or infinite")),
    }
    let names = asked.names_in(body)?;
    let token = if told.trim().is_empty() { None } else { Some(Token::parse(&told)) };
    let end = asked.library.shelf().await.end;
    let numbering = asked.library.shelf().await.numbering;
    let token = match token {
        None => None,
        Some(Some(it)) if it.numbering == numbering && it.next <= end => Some(it),
        Some(_) => {
            let detail =
                "this token is not of this node as it is now: ask without one, and compare";
            let answer = error(StatusCode::FORBIDDEN, "d:valid-sync-token", "", detail);
            return Err(Refusal::Answer(Box::new(answer)));
        }
    };
    let left = match token {
        Some(Token { next, since, .. }) => {
            let ask = Command::Departed { calendar: calendar.clone(), since, from: next };
            match door.handle.ask(ask).await? {
                Answer::Departed(left) => left,
                _ => Vec::new(),
            }
        }
        None => Vec::new(),
    };
    let calendar_id = calendar.clone();
    asked
        .look(move |view: &View<'_>, is_minimal| {
            let shelf = view.shelf;
            let since = token.map_or(0, |it| it.next);
            let found = shelf.calendar(&calendar_id).into_iter().flat_map(|it| it.changed(since));
            let mut news: Vec<(u64, News)> = found
                .map(|it| {
                    (
                        it.at,
                        News::Changed(Target::Object(calendar_id.clone(), it.place.name.clone())),
                    )
                })
                .collect();
            for (at, name) in left {
                // It may have come back, or another one in its place.
                if at < shelf.end && shelf.item(&calendar_id, &name).is_none() {
                    news.push((at, News::Left(name)));
                }
            }
            news.sort_by_key(|it| it.0);
            let mut end = news.len().min(limit);
            // Changes of one entry stay together: between them there is no token.
            while end > 0 && end < news.len() && news[end].0 == news[end - 1].0 {
                end += 1;
            }
            let is_cut = end < news.len();
            let mut answer = Multistatus::new(is_minimal);
            for (_, it) in &news[..end] {
                match it {
                    News::Changed(target) => properties(&mut answer, view, target, &names),
                    News::Left(name) => {
                        let href = Target::Object(calendar_id.clone(), name.clone()).href();
                        answer.status(&href, StatusCode::NOT_FOUND, None);
                    }
                }
            }
            let mut token_now = Token::now(shelf);
            if is_cut {
                let next = news[end - 1].0 + 1;
                token_now = Token { next, since: token.map_or(next, |it| it.since), ..token_now };
                let href = Target::Calendar(calendar_id.clone()).href();
                let cause = Some("d:number-of-matches-within-limits");
                answer.status(&href, StatusCode::INSUFFICIENT_STORAGE, cause);
            }
            answer.sync_token(&token_now.to_string());
            answer.finish()
        })
        .await
}

/// What was asked of a resource that is there.
pub(crate) fn properties(
    answer: &mut Multistatus,
    view: &View<'_>,
    target: &Target,
    names: &[Name],
) {
    let (mut found, mut missing) = (Vec::with_capacity(names.len()), Vec::new());
    for name in names {
        match view.value(target, name) {
            Some(value) => found.push((name.clone(), value)),
            None => missing.push(name.clone()),
        }
    }
    answer.properties(target, &found, &missing);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_are_written() {
        for token in [
            Token { numbering: 7, next: 3, since: 3 },
            Token { numbering: u64::MAX, next: 9, since: 2 },
        ] {
            assert_eq!(Token::parse(&token.to_string()), Some(token));
        }
        for bad in
            ["", "data:,", "data:,7", "data:,7-1-2", "data:,7-2-1-1", "http://x/7-1", "data:,x-1"]
        {
            assert_eq!(Token::parse(bad), None, "{bad}");
        }
    }
}
