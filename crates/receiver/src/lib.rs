//! What a system needs that Fasti delivers to: verify the signature, drop repeats and older states, apply, answer. It
//! knows no HTTP server and no database, and works with whichever are there.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use fasti_receiver::{Event, Message, News, Receiver, confirm};
//!
//! /// Stands for a database: what is known of each event, and in which version.
//! type Calendar = BTreeMap<String, (u64, Event)>;
//!
//! /// Takes a request: its headers, its body and the time (seconds since 1970). Gives the status and the answer's body.
//! fn take(
//!     receiver: &Receiver,
//!     calendar: &mut Calendar,
//!     headers: &BTreeMap<String, String>,
//!     body: &[u8],
//!     now: i64,
//! ) -> (u16, String) {
//!     let header = |name: &str| headers.get(name).map(String::as_str);
//!     let state = match receiver.read(header, body, now) {
//!         Ok(Message::State(delivery)) => delivery.data,
//!         Ok(Message::Test) => return (200, String::new()),
//!         Err(refused) => return (refused.status(), refused.to_string()),
//!     };
//!     // One transaction from here on: the version and what is applied must not part in a crash.
//!     let known = calendar.get(&state.uid).map(|it| it.0);
//!     if state.news(known) == News::New {
//!         calendar.insert(state.uid.clone(), (state.version, state.event.clone()));
//!     }
//!     (200, confirm(state.version.max(known.unwrap_or(0))))
//! }
//! # use fasti_receiver::Secret;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//!
//! let secret = Secret::from_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?; // as `fasti subscribe` printed it
//! let receiver = Receiver::new([secret.clone()]);
//! # let body = br#"{"id": "1", "source": "/fasti/a/b", "type": "policy_start", "data":
//! #     {"uid": "policy-YSP-2024", "version": 7, "state": "settled", "event": {"title": "Youth sports"}}}"#;
//! # let signature = secret.sign("1", 1_700_000_000, body);
//! # let headers = [("webhook-id", "1"), ("webhook-timestamp", "1700000000"), ("webhook-signature", &signature)];
//! # let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
//! # let mut calendar = Calendar::new();
//! let (status, answer) = take(&receiver, &mut calendar, &headers, body, 1_700_000_001);
//! assert_eq!((status, answer.as_str()), (200, r#"{"status":"ok","applied":"7"}"#));
//! assert_eq!(calendar["policy-YSP-2024"].1["title"], "Youth sports");
//! # assert_eq!(take(&receiver, &mut calendar, &headers, body, 1_700_000_002), (200, answer));
//! # assert_eq!(take(&receiver, &mut calendar, &headers, b"{}", 1_700_000_002).0, 401);
//! # Ok(())
//! # }
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod delivery;
mod receiver;
mod signature;

pub use delivery::{Approval, Data, Delivery, Event, News, State, confirm};
pub use receiver::{Message, Receiver, Refused};
pub use signature::{NoSecret, Secret, TOLERANCE_S};
