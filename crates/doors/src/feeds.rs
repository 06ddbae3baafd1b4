//! Read-only feeds: a calendar under an address with a secret in it, for apps that can subscribe and nothing else. Kept
//! as hashes: a list that leaks opens nothing.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64URL_NOPAD;
use fasti_calendar::ical;
use fasti_core::collection::is_name;
use fasti_core::command::Object;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::problem::Problem;
use crate::routes::{Door, Id, path_segment, query};
use crate::{Handle, auth, body, conditions};

/// Far above what an office needs; all of them are written at once.
const FEEDS_MAX: usize = 1000;

/// How often an app should look again (RFC 7986, section 5.7).
const REFRESH: &str = "PT15M";

/// A feed, apart from its secret.
#[derive(Clone, Serialize, Deserialize)]
struct Feed {
    calendar: String,
    /// SHA-256 of the secret, which is random: nothing slower is needed.
    hash: String,
    /// Milliseconds since 1970.
    added: i64,
}

/// All feeds, by their ids.
#[derive(Clone, Default)]
pub(crate) struct Feeds {
    feeds: Arc<Mutex<BTreeMap<String, Feed>>>,
}

impl Feeds {
    /// Those that the node keeps.
    pub(crate) fn load(handle: &Handle) -> io::Result<Self> {
        let feeds = match handle.node().feeds()? {
            Some(bytes) => serde_json::from_slice(&bytes)?,
            None => BTreeMap::new(),
        };
        Ok(Self { feeds: Arc::new(Mutex::new(feeds)) })
    }

    fn list(&self) -> BTreeMap<String, Feed> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes and keeps them. Blocks on the disk.
    fn change<T>(
        &self,
        handle: &Handle,
        change: impl FnOnce(&mut BTreeMap<String, Feed>) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = feeds.clone();
        let done = change(&mut changed)?;
        let kept = serde_json::to_vec(&changed).map_err(io::Error::from);
        kept.and_then(|bytes| handle.node().keep_feeds(&bytes)).map_err(|error| {
            let detail = format!("the change could not be stored: {error}; try again");
            Problem::new(StatusCode::INSUFFICIENT_STORAGE, "storage", detail)
        })?;
        *feeds = changed;
        Ok(done)
    }

    fn opens(&self, calendar: &str, secret: &str) -> bool {
        let hash = hash(secret);
        let feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        let of_calendar = feeds.values().filter(|it| it.calendar == calendar);
        // All of them, so that how long it takes tells nothing.
        of_calendar
            .fold(false, |opens, it| opens | bool::from(it.hash.as_bytes().ct_eq(hash.as_bytes())))
    }
}

fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewFeed {
    calendar: String,
}

pub(crate) async fn list(State(door): State<Door>) -> Json<Value> {
    let feeds = door.feeds.list().into_iter();
    let feeds =
        feeds.map(|(id, it)| json!({ "id": id, "calendar": it.calendar, "added": it.added }));
    Json(json!({ "feeds": feeds.collect::<Vec<_>>() }))
}

pub(crate) async fn add(
    State(door): State<Door>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let NewFeed { calendar } = body::parsed(&headers, body).await?;
    let invalid =
        |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail);
    door.library.refresh(&door.handle).await?;
    if !is_name(&calendar) || door.library.shelf().await.calendar(&calendar).is_none() {
        let known: Vec<String> =
            door.library.shelf().await.calendars().map(|(id, _)| format!("{id:?}")).collect();
        let detail =
            format!("calendar: there is no calendar {calendar:?}; there are {}", known.join(", "));
        return Err(invalid(detail));
    }
    let mut random = [0; 24];
    getrandom::fill(&mut random).map_err(|_| Problem::unexpected())?;
    let secret = BASE64URL_NOPAD.encode(&random);
    let id = hex::encode(&Sha256::digest(format!("id {secret}"))[..4]);
    let added = jiff::Timestamp::now().as_millisecond();
    let feed = Feed { calendar: calendar.clone(), hash: hash(&secret), added };
    let (feeds, handle, key) = (door.feeds.clone(), door.handle.clone(), id.clone());
    let kept = tokio::task::spawn_blocking(move || {
        feeds.change(&handle, |feeds| {
            if feeds.len() >= FEEDS_MAX {
                return Err(invalid(format!("a node has at most {FEEDS_MAX} feeds: remove some")));
            }
            feeds.insert(key, feed);
            Ok(())
        })
    });
    kept.await.map_err(|_| Problem::unexpected())??;
    let path = format!("/feeds/{}.ics?token={secret}", path_segment(&calendar));
    let answer = json!({ "id": id, "calendar": calendar, "path": path });
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

pub(crate) async fn remove(State(door): State<Door>, Id(id): Id) -> Result<Json<Value>, Problem> {
    let (feeds, handle) = (door.feeds.clone(), door.handle.clone());
    let removed = tokio::task::spawn_blocking(move || {
        feeds.change(&handle, |feeds| match feeds.remove(&id) {
            Some(feed) => Ok(json!({ "id": id, "calendar": feed.calendar })),
            None => {
                let detail = "there is no feed with this id; see fasti feed list";
                Err(Problem::new(StatusCode::NOT_FOUND, "unknown-feed", detail))
            }
        })
    });
    Ok(Json(removed.await.map_err(|_| Problem::unexpected())??))
}

#[derive(Deserialize)]
struct Secret {
    token: Option<String>,
}

/// The feed itself: whoever has its address may read it, and no more.
pub(crate) async fn read(
    State(door): State<Door>,
    Id(file): Id,
    uri: Uri,
    request: Request,
) -> Result<Response, Problem> {
    let source = auth::source(&door, &request);
    let headers = request.headers();
    let calendar = file.strip_suffix(".ics").unwrap_or(&file).to_owned();
    let secret = query::<Secret>(&uri)?.token.unwrap_or_default();
    if !door.feeds.opens(&calendar, &secret) {
        // Guesses wait as those of tokens do; and nobody learns which calendars there are.
        if let Some(wait) = door.people.wrong_token(source) {
            return Err(auth::too_often(wait));
        }
        let detail =
            "there is no feed at this address; fasti feed add CALENDAR makes one, with its token";
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown-feed", detail));
    }
    door.library.refresh(&door.handle).await?;
    let shelf = door.library.shelf_for_long().await;
    let made = tokio::task::spawn_blocking(move || {
        let found = shelf.calendar(&calendar)?;
        let events: Vec<Object> = found.items().map(|it| (*it.event).clone()).collect();
        let name = found.display_name(&calendar);
        Some(ical::write_as(
            &events,
            &[("X-WR-CALNAME", name), ("NAME", name), ("REFRESH-INTERVAL", REFRESH)],
        ))
    });
    let text = made.await.map_err(|_| Problem::unexpected())?.unwrap_or_else(|| ical::write(&[]));
    let etag = hex::encode(&Sha256::digest(&text)[..8]);
    if conditions::is_fresh(headers, &etag)? {
        return Ok((StatusCode::NOT_MODIFIED, conditions::etag(&etag)?).into_response());
    }
    let content_type = [(header::CONTENT_TYPE, "text/calendar; charset=utf-8")];
    let mut response = (conditions::etag(&etag)?, content_type, text).into_response();
    // It has a secret in its address: no cache but the reader's.
    let private = HeaderValue::from_static("private, no-cache");
    response.headers_mut().insert(header::CACHE_CONTROL, private);
    Ok(response)
}
