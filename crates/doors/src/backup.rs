//! The backup: what the node has stored, as it streams it. The format is the store's.

use std::io;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::stream::{self, StreamExt as _};
use tokio::sync::mpsc;

use crate::problem::Problem;
use crate::routes::Door;

/// An answer that breaks off is no backup: its last piece says that it is whole.
pub(crate) async fn stream(State(door): State<Door>) -> Result<Response, Problem> {
    pieces(door.handle.node().back_up()).await
}

/// Streams what a node writes, once its first piece has come.
pub(crate) async fn pieces(
    begun: Result<mpsc::Receiver<io::Result<Vec<u8>>>, String>,
) -> Result<Response, Problem> {
    let unavailable =
        |why: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", why);
    let mut pieces = begun.map_err(unavailable)?;
    let first = match pieces.recv().await {
        Some(Ok(first)) => first,
        Some(Err(error)) => {
            let detail = format!("it could not be made: {error}");
            return Err(Problem::new(StatusCode::INSUFFICIENT_STORAGE, "storage", detail));
        }
        None => return Err(unavailable("the node is stopping".into())),
    };
    let rest = stream::poll_fn(move |context| pieces.poll_recv(context));
    let body = Body::from_stream(stream::iter([Ok::<_, io::Error>(first)]).chain(rest));
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response())
}
