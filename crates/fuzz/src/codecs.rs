//! Encodings: of what goes over the wire, of tickets, of `node.json`.

use std::fmt::Debug;

use data_encoding::BASE64URL_NOPAD;
use fasti_core::join::{JoinAnswer, JoinRequest};
use fasti_core::message::Message;
use fasti_core::notice::SignedNotice;
use fasti_core::statement::Statement;
use fasti_core::ticket::Ticket;
use sha2::{Digest as _, Sha256};

/// The file that a node keeps for callers, without the program around it.
#[path = "../../node/src/node_file.rs"]
#[allow(dead_code, unreachable_pub)]
mod node_file;

/// What was read can be written and read again, and is malformed with anything behind it. (The bytes need not
/// be the same: postcard reads a number that is written too long.)
fn assert_same<T: Debug, E>(
    value: &T,
    encode: impl Fn(&T) -> Vec<u8>,
    decode: impl Fn(&[u8]) -> Result<T, E>,
) {
    let mut bytes = encode(value);
    let again = decode(&bytes).unwrap_or_else(|_| panic!("not read again: {value:?}"));
    assert_eq!(encode(&again), bytes, "another one: {value:?}");
    bytes.push(0);
    assert!(decode(&bytes).is_err(), "read with a byte too many: {value:?}");
}

pub(crate) fn message(bytes: &[u8]) {
    if let Ok(message) = Message::decode(bytes) {
        assert_same(&message, Message::encode, Message::decode);
    }
}

pub(crate) fn notice(bytes: &[u8]) {
    if let Ok(notice) = SignedNotice::decode(bytes) {
        let again = SignedNotice::decode(&notice.encode()).expect("reads what it wrote");
        assert_eq!(again, notice);
        let longer = SignedNotice { body: [&notice.body[..], &[0]].concat(), ..notice.clone() };
        assert!(
            notice.acknowledgement().is_none() || longer.acknowledgement().is_none(),
            "an acknowledgement with a byte too many: {notice:?}"
        );
        assert!(
            notice.presence().is_none() || longer.presence().is_none(),
            "a presence with a byte too many: {notice:?}"
        );
    }
}

/// The kind, then the body.
pub(crate) fn statement(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    if let Ok(statement) = Statement::decode((*kind).into(), body) {
        let encode = |statement: &Statement| statement.encode().1;
        assert_same(&statement, encode, |body| Statement::decode((*kind).into(), body));
    }
}

pub(crate) fn join(bytes: &[u8]) {
    if let Ok(request) = JoinRequest::decode(bytes) {
        assert_same(&request, JoinRequest::encode, JoinRequest::decode);
    }
    if let Ok(answer) = JoinAnswer::decode(bytes) {
        assert_same(&answer, JoinAnswer::encode, JoinAnswer::decode);
    }
}

/// As text; and with the checksum that mutations hardly ever hit upon.
pub(crate) fn ticket(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        is_ticket(text);
    }
    if is_ticket(&sealed(bytes)) {
        assert!(!is_ticket(&sealed(&[bytes, &[0]].concat())), "read with a byte too many");
    }
}

fn is_ticket(text: &str) -> bool {
    let ticket = Ticket::from_text(text);
    if let Ok(ticket) = &ticket {
        assert!(Ticket::from_text(&ticket.to_text()).is_ok_and(|again| again == *ticket));
    }
    ticket.is_ok()
}

fn sealed(bytes: &[u8]) -> String {
    let check = Sha256::digest(bytes);
    format!("fasti1-{}", BASE64URL_NOPAD.encode(&[bytes, &check[..4]].concat()))
}

pub(crate) fn node_file(bytes: &[u8]) {
    if let Ok(file) = serde_json::from_slice::<node_file::NodeFile>(bytes) {
        let text = serde_json::to_vec_pretty(&file).expect("writes what it read");
        let again = serde_json::from_slice::<node_file::NodeFile>(&text);
        assert!(again.is_ok_and(|again| again == file));
    }
}
