//! One stream of a link. A writer batches what is waiting into one write and one flush; a reader
//! turns bytes into frames and stops reading while the consumer is busy, which is the back-pressure
//! that the peer feels. Leaves opening and acknowledging to `handler`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use futures::{AsyncRead, AsyncWrite, FutureExt};
use libp2p::Stream;
use tokio::sync::mpsc;

use crate::counters::Cells;
use crate::event::{Event, Lane};
use crate::inbox::{Room, Share};
use crate::outbox::Outbox;
use crate::wire::{BadFrame, Decoder};

/// What the acceptor of a lane writes once it is reading: opening alone proves nothing, as a busy
/// acceptor may drop a stream that the opener believes to be open.
pub(crate) const ACK: u8 = 1;

/// Frames that one turn of a reader hands on before other work of the connection gets its turn.
const FRAMES_PER_TURN: usize = 64;

/// A batch buffer that once held a large frame is given back.
const KEEP_BYTES: usize = 256 << 10;

pub(crate) struct Writer {
    stream: Stream,
    lane: Lane,
    batch: Vec<u8>,
    written: usize,
    flushed: bool,
}

impl Writer {
    pub(crate) fn new(stream: Stream, lane: Lane) -> Self {
        Self { stream, lane, batch: Vec::new(), written: 0, flushed: true }
    }

    /// Writes until the queue is empty or the stream is full. Frames that arrive during a write go
    /// out with the next batch, and the flush comes after the last of them.
    pub(crate) fn poll(
        &mut self,
        outbox: &Outbox,
        cells: &Cells,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.written < self.batch.len() {
                let rest = &self.batch[self.written..];
                let n = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.written += n;
                self.flushed = false;
                continue;
            }
            self.written = 0;
            self.batch.clear();
            if self.batch.capacity() > KEEP_BYTES {
                self.batch = Vec::new();
            }
            let frames = outbox.take(self.lane, &mut self.batch, cx);
            if frames > 0 {
                cells.sent(self.lane, frames, self.batch.len());
            } else if self.flushed {
                return Poll::Pending;
            } else {
                ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
                self.flushed = true;
            }
        }
    }
}

/// Why a reader stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Bad(#[from] BadFrame),
    #[error("the peer closed its lane")]
    Ended,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the consumer of events is gone")]
    Unwanted,
}

pub(crate) struct Reader {
    stream: Stream,
    lane: Lane,
    acknowledged: Ack,
    decoder: Decoder,
    chunk: Box<[u8]>,
    start: usize,
    end: usize,
    used: bool,
    waiting: Option<Waiting>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ack {
    Write,
    Flush,
    Done,
}

/// A frame for which the consumer has no room yet.
struct Waiting {
    frame: Vec<u8>,
    room: BoxFuture<'static, Option<(Room, mpsc::OwnedPermit<Event>)>>,
}

impl Reader {
    pub(crate) fn new(stream: Stream, lane: Lane, decoder: Decoder) -> Self {
        Self {
            stream,
            lane,
            acknowledged: Ack::Write,
            decoder,
            chunk: vec![0; 16 << 10].into(),
            start: 0,
            end: 0,
            used: false,
            waiting: None,
        }
    }

    /// Whether nothing has come yet.
    pub(crate) fn unused(&self) -> bool {
        !self.used
    }

    /// Tells the opener that someone reads here.
    pub(crate) fn poll_acknowledge(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.acknowledged == Ack::Write {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &[ACK]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.acknowledged = Ack::Flush;
        }
        if self.acknowledged == Ack::Flush {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.acknowledged = Ack::Done;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads frames and hands them on, as `event` makes events of them. Ready only with the error
    /// that ends the lane.
    pub(crate) fn poll(
        &mut self,
        share: &Share,
        events: &mpsc::Sender<Event>,
        cells: &Cells,
        event: impl Fn(Lane, Vec<u8>, Room) -> Event,
        cx: &mut Context<'_>,
    ) -> Poll<ReadError> {
        for _ in 0..FRAMES_PER_TURN {
            if let Some(waiting) = &mut self.waiting {
                let Some((room, place)) = ready!(waiting.room.poll_unpin(cx)) else {
                    return Poll::Ready(ReadError::Unwanted);
                };
                if let Some(waiting) = self.waiting.take() {
                    place.send(event(self.lane, waiting.frame, room));
                }
            }
            match self.poll_frame(cells, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(error),
                Poll::Ready(Ok(frame)) => {
                    let room = share.try_take(frame.len());
                    match room.zip(events.clone().try_reserve_owned().ok()) {
                        Some((room, place)) => drop(place.send(event(self.lane, frame, room))),
                        None => {
                            let (room, place) = (share.take(frame.len()), events.clone());
                            let room = async move {
                                let room = room.await?;
                                Some((room, place.reserve_owned().await.ok()?))
                            };
                            self.waiting = Some(Waiting { frame, room: Box::pin(room) });
                        }
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_frame(
        &mut self,
        cells: &Cells,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Vec<u8>, ReadError>> {
        loop {
            let mut input = &self.chunk[self.start..self.end];
            let taken = self.decoder.take(&mut input);
            self.start = self.end - input.len();
            if let Some((frame, wire_len)) = taken? {
                cells.received(self.lane, wire_len);
                return Poll::Ready(Ok(frame));
            }
            let n = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut self.chunk))?;
            if n == 0 {
                return Poll::Ready(Err(ReadError::Ended));
            }
            self.used = true;
            (self.start, self.end) = (0, n);
        }
    }
}

/// Waits for the acceptor's byte.
pub(crate) async fn acknowledged(
    mut stream: Stream,
    within: std::time::Duration,
) -> io::Result<Stream> {
    let mut byte = [0];
    let read = futures::AsyncReadExt::read_exact(&mut stream, &mut byte);
    tokio::time::timeout(within, read).await??;
    if byte[0] == ACK { Ok(stream) } else { Err(io::ErrorKind::InvalidData.into()) }
}
