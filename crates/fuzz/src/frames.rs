//! Frames as bytes on a lane.

/// The decoder itself, without libp2p: built with a fuzzer's instrumentation, that alone takes minutes.
#[path = "../../net/src/wire.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod wire;

use fasti_core::message::Message;

use wire::Decoder;

/// Small limits, so that they are met.
const FRAME_MAX: usize = 4 << 10;
const INFLATED_MAX: usize = 64 << 10;

/// The first byte says how long the pieces are in which the rest arrives.
pub(crate) fn frames(bytes: &[u8]) {
    let Some((step, stream)) = bytes.split_first() else { return };
    let whole = read(stream, stream.len().max(1));
    assert_eq!(
        read(stream, usize::from(*step).max(1)),
        whole,
        "where it was cut decided something"
    );
    for frame in whole.0 {
        assert!(frame.len() <= INFLATED_MAX);
        let _ = Message::decode(&frame);
    }
}

/// The frames, and why there are no more.
fn read(stream: &[u8], step: usize) -> (Vec<Vec<u8>>, Option<String>) {
    let mut decoder = Decoder::new(FRAME_MAX, INFLATED_MAX);
    let mut frames = Vec::new();
    for mut piece in stream.chunks(step) {
        while !piece.is_empty() {
            match decoder.take(&mut piece) {
                Ok(frame) => frames.extend(frame.map(|(frame, _)| frame)),
                Err(error) => return (frames, Some(error.to_string())),
            }
        }
    }
    (frames, None)
}
