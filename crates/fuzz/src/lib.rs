//! What reads bytes of others, and the gate for entries, under inputs that nobody meant.
//!
//! Each target is a function that takes bytes, and panics if what it watches doesn't hold. libFuzzer runs them
//! (`fuzz_targets/`, `.ci/fuzz`), and so does an ordinary test, over the inputs in `corpus/`. What they watch:
//!
//! | target | takes | watches |
//! |---|---|---|
//! | `frames` | what comes over a lane, in pieces | no frame beyond its limit; the cuts decide nothing |
//! | `message`, `notice`, `statement`, `join`, `ticket` | encodings of the protocol | what was read is the same when it is written and read again, and nothing may follow it |
//! | `rows` | rows of a damaged disk | a core opens on them or says why not |
//! | `store` | values in a damaged file | the store gives what it finds or says what is wrong |
//! | `bundle` | reports that prove themselves, as files and as records | what is taken says the same as the sound one |
//! | `event` | JSCalendar and publications | fields make the event again; an edit made twice is an edit made once |
//! | `node_file` | `node.json` | as for encodings |
//! | `http` | requests | no request is answered with an error of ours, and what was written loads again |
//! | `guard` | signed entries of members | see `guard` |
//! | `frame_of_member` | a frame of a member | the core goes on, and what it stored loads again |
//!
//! A snapshot is not among them: the store gives one to the core only if its SHA-256 is right, so that nobody
//! else's bytes get there.

mod bundle;
mod codecs;
mod dice;
mod event;
mod frames;
mod guard;
mod history;
mod http;
pub mod mutations;
mod network;
mod node;
mod rows;
mod store;

/// A target: panics if something doesn't hold.
pub type Target = fn(&[u8]);

/// All of them, by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("bundle", bundle::bundle),
    ("event", event::event),
    ("frame_of_member", guard::frame_of_member),
    ("frames", frames::frames),
    ("guard", guard::guard),
    ("http", http::http),
    ("join", codecs::join),
    ("message", codecs::message),
    ("node_file", codecs::node_file),
    ("notice", codecs::notice),
    ("rows", rows::rows),
    ("statement", codecs::statement),
    ("store", store::store),
    ("ticket", codecs::ticket),
];

/// Runs the target of that name.
///
/// # Panics
/// If there is none, or if it found something.
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a known target");
    target(bytes);
}
