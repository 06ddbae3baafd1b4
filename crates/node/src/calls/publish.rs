//! `fasti publish`

use serde_json::{Value, json};

use crate::cli::PublishArgs;
use crate::client::Client;
use crate::print;

pub(crate) fn publish(client: &Client, args: PublishArgs, json: bool) -> anyhow::Result<String> {
    let mut payload = args.data.unwrap_or_default();
    payload.insert("policy_id".into(), json!(args.policy));
    let day = |day: jiff::civil::Date| Value::from(day.to_string());
    let named = [
        ("start_date", args.start.map(day)),
        ("end_date", args.end.map(day)),
        ("title", args.title.map(Value::from)),
    ];
    for (field, value) in named {
        if let Some(value) = value {
            payload.insert(field.into(), value);
        }
    }
    let event = json!({ "type": args.kind.as_str(), "payload": payload });
    Ok(print::written(&client.post("/v1/publish", &event)?, json))
}
