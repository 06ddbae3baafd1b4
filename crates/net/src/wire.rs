//! A frame as bytes on a lane. Knows nothing of streams or of what is in a frame.
//!
//! ```text
//!  0       4        5
//!  +-------+--------+------------------+
//!  | len   | coding | len bytes        |    len: u32, little endian
//!  +-------+--------+------------------+    coding: 0 raw, 1 zstd
//! ```
//!
//! Everything here is peer data: a reader holds at most one frame, grows only by bytes that
//! have arrived, and never inflates past its limit.

use std::io::{self, Read};

use bytes::Bytes;

pub(crate) const HEADER: usize = 5;

/// A window of 4 MiB bounds what a frame can make the decoder allocate before it has produced
/// anything. Level 1 uses an eighth of that; the rest is for peers with a newer choice of level.
const WINDOW_LOG_MAX: u32 = 22;

/// Fast enough (some 400 MB/s) not to be the bottleneck of a range transfer.
const LEVEL: i32 = 1;

/// How a frame's payload is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Raw = 0,
    Zstd = 1,
}

/// A frame that is ready to be written.
pub(crate) struct Coded {
    pub(crate) coding: Coding,
    pub(crate) payload: Bytes,
}

impl Coded {
    pub(crate) fn raw(payload: Bytes) -> Self {
        Self { coding: Coding::Raw, payload }
    }

    /// Compressed if that makes it smaller.
    pub(crate) fn squeezed(payload: Bytes) -> Self {
        match zstd::bulk::compress(&payload, LEVEL) {
            Ok(small) if small.len() < payload.len() => {
                Self { coding: Coding::Zstd, payload: small.into() }
            }
            Ok(_) | Err(_) => Self::raw(payload),
        }
    }

    pub(crate) fn wire_len(&self) -> usize {
        HEADER + self.payload.len()
    }

    /// Appends header and payload. The outbox has checked the length against the frame limit.
    pub(crate) fn write_to(&self, buffer: &mut Vec<u8>) {
        let len = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        buffer.extend_from_slice(&len.to_le_bytes());
        buffer.push(self.coding as u8);
        buffer.extend_from_slice(&self.payload);
    }
}

/// Why bytes from a peer are not a frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadFrame {
    #[error("{len} bytes announced, at most {max} allowed")]
    TooLong { len: usize, max: usize },
    #[error("unknown coding {0}, expected 0 (raw) or 1 (zstd)")]
    Coding(u8),
    #[error("inflates past {max} bytes")]
    Bomb { max: usize },
    #[error("does not inflate: {0}")]
    Zstd(io::Error),
}

/// Puts frames together from whatever pieces arrive.
pub(crate) struct Decoder {
    frame_max: usize,
    inflated_max: usize,
    header: [u8; HEADER],
    header_len: usize,
    coding: Coding,
    want: usize,
    body: Vec<u8>,
}

impl Decoder {
    pub(crate) fn new(frame_max: usize, inflated_max: usize) -> Self {
        Self {
            frame_max,
            inflated_max,
            header: [0; HEADER],
            header_len: 0,
            coding: Coding::Raw,
            want: 0,
            body: Vec::new(),
        }
    }

    /// Takes bytes off the front of `input`, up to the end of one frame. Returns that frame and its
    /// length on the wire, or `None` if it needs more (then `input` is empty).
    pub(crate) fn take(&mut self, input: &mut &[u8]) -> Result<Option<(Vec<u8>, usize)>, BadFrame> {
        if self.header_len < HEADER {
            let n = input.len().min(HEADER - self.header_len);
            self.header[self.header_len..][..n].copy_from_slice(&input[..n]);
            self.header_len += n;
            *input = &input[n..];
            if self.header_len < HEADER {
                return Ok(None);
            }
            self.open()?;
        }
        let n = input.len().min(self.want - self.body.len());
        self.body.extend_from_slice(&input[..n]);
        *input = &input[n..];
        if self.body.len() < self.want {
            return Ok(None);
        }
        self.header_len = 0;
        let body = std::mem::take(&mut self.body);
        let wire_len = HEADER + body.len();
        let frame = match self.coding {
            Coding::Raw => body,
            Coding::Zstd => inflate(&body, self.inflated_max)?,
        };
        Ok(Some((frame, wire_len)))
    }

    /// Checks a complete header, before anything is held for its body.
    fn open(&mut self) -> Result<(), BadFrame> {
        let [a, b, c, d, coding] = self.header;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        if len > self.frame_max {
            return Err(BadFrame::TooLong { len, max: self.frame_max });
        }
        self.coding = match coding {
            0 => Coding::Raw,
            1 => Coding::Zstd,
            other => return Err(BadFrame::Coding(other)),
        };
        self.want = len;
        // Small frames in one allocation; large ones grow with what really arrives.
        self.body = Vec::with_capacity(len.min(64 << 10));
        Ok(())
    }
}

fn inflate(body: &[u8], max: usize) -> Result<Vec<u8>, BadFrame> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(BadFrame::Zstd)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(BadFrame::Zstd)?;
    let mut frame = Vec::new();
    decoder.take(max as u64 + 1).read_to_end(&mut frame).map_err(BadFrame::Zstd)?;
    if frame.len() > max {
        return Err(BadFrame::Bomb { max });
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoder() -> Decoder {
        Decoder::new(1 << 20, 1 << 20)
    }

    #[test]
    fn frames_survive_being_cut_anywhere() {
        let mut wire = Vec::new();
        let big = Bytes::from(vec![9; 100_000]);
        for coded in
            [Coded::raw("a".into()), Coded::raw(Bytes::new()), Coded::squeezed(big.clone())]
        {
            coded.write_to(&mut wire);
        }
        for step in [1, 2, 3, 7, 4096] {
            let mut decoder = decoder();
            let mut frames = Vec::new();
            for mut piece in wire.chunks(step) {
                while !piece.is_empty() {
                    frames.extend(decoder.take(&mut piece).unwrap().map(|(frame, _)| frame));
                }
            }
            assert_eq!(frames, [b"a".to_vec(), Vec::new(), big.to_vec()], "in steps of {step}");
        }
    }

    #[test]
    fn an_oversized_length_is_refused_before_its_body_is_held() {
        let error = decoder().take(&mut &[0xff, 0xff, 0xff, 0xff, 0][..]).unwrap_err();
        assert!(matches!(error, BadFrame::TooLong { .. }), "{error}");
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let mut wire = Vec::new();
        Coded::squeezed(vec![0; 64 << 20].into()).write_to(&mut wire);
        assert!(wire.len() < 64 << 10, "it is small on the wire: {}", wire.len());
        let error = decoder().take(&mut &wire[..]).unwrap_err();
        assert!(matches!(error, BadFrame::Bomb { .. }), "{error}");
    }

    #[test]
    fn rubbish_is_an_error_and_never_a_panic() {
        // A small deterministic generator: the seed is the loop's number.
        for seed in 1..2000_u64 {
            let mut x = seed;
            let mut wire = vec![0_u8; 64];
            for byte in &mut wire {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                *byte = x as u8;
            }
            wire[1..4].fill(0);
            wire[4] = (seed % 3) as u8;
            let mut decoder = decoder();
            let mut input = &wire[..];
            while !input.is_empty() && decoder.take(&mut input).is_ok() {}
        }
    }
}
