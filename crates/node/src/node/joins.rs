//! Joining, both ends: what a newcomer sends with its ticket, and what a member answers.

use std::collections::BTreeMap;

use fasti_core::statement::Admit;
use fasti_core::{Answer, Command, OfficeId, TicketId};
use fasti_doors::Handle;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// The answer to a join: where the members can be reached, or why not.
pub(crate) type JoinAnswer = Result<BTreeMap<OfficeId, Vec<String>>, String>;

/// What a newcomer sends.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct JoinRequest {
    pub(crate) admit: Admit,
}

/// Admits a newcomer, if its ticket is good, and tells it where the others are.
pub(crate) async fn answer(
    handle: Handle,
    ticket: TicketId,
    request: Vec<u8>,
    reply: oneshot::Sender<Vec<u8>>,
) {
    let answer = match postcard::from_bytes(&request) {
        Ok(JoinRequest { admit: asked }) => {
            let office = asked.office;
            let answer = admit(&handle, ticket, asked).await;
            if answer.is_ok() {
                tracing::info!(%office, ?ticket, "admitted a new member");
            }
            answer
        }
        Err(_) => Err("the request can't be read; is its fasti of another version?".to_owned()),
    };
    if let Err(why) = &answer {
        tracing::warn!(?ticket, why, "refused a newcomer");
    }
    let _ = reply.send(postcard::to_stdvec(&answer).unwrap_or_default());
}

async fn admit(handle: &Handle, ticket: TicketId, admit: Admit) -> JoinAnswer {
    // The connection proved one ticket's key; the request must be about the same.
    if admit.ticket != ticket {
        return Err("the request is about another ticket".into());
    }
    handle.ask(Command::Admit(admit)).await.map_err(|error| error.to_string())?;
    match handle.ask(Command::Members).await {
        Ok(Answer::Members(members)) => {
            Ok(members.into_iter().map(|member| (member.office, member.addresses)).collect())
        }
        Ok(_) => Ok(BTreeMap::new()),
        Err(error) => Err(error.to_string()),
    }
}
