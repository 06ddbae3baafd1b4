//! Joining, both ends: what a newcomer sends with its ticket, and what a member answers.

use std::collections::BTreeMap;

use fasti_core::join::{JoinAnswer, JoinRequest};
use fasti_core::statement::Admit;
use fasti_core::{Answer, Command, OfficeId, TicketId};
use fasti_doors::Handle;
use tokio::sync::oneshot;

type Members = BTreeMap<OfficeId, Vec<String>>;

/// Admits a newcomer, if its ticket is good, and tells it where the others are.
pub(crate) async fn answer(
    handle: Handle,
    ticket: TicketId,
    request: Vec<u8>,
    reply: oneshot::Sender<Vec<u8>>,
) {
    let answer = match JoinRequest::decode(&request) {
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
    let _ = reply.send(JoinAnswer(answer).encode());
}

async fn admit(handle: &Handle, ticket: TicketId, admit: Admit) -> Result<Members, String> {
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
