//! What Slack says of a message, and what to do when it does not take it.

use crate::report::delivery::{Answer, Unsent};

/// Slack says `ok`, and nothing else, when it has taken a message.
///
/// # Errors
/// It said something else.
pub fn judged(answer: &Answer) -> Result<(), Unsent> {
    let is_taken = (200..=299).contains(&answer.status) && answer.body.trim() == "ok";
    if is_taken { Ok(()) } else { Err(answer.refusal("Slack")) }
}

/// Returns the next step, where there is one: words that Slack documents for webhooks.
pub fn hint(why: &Unsent) -> Option<&'static str> {
    let (status, words) = match why {
        Unsent::Refused { status, words } => (*status, words.as_str()),
        Unsent::Strange { .. } => return Some("set the webhook's variable to the address that Slack gave"),
        Unsent::Busy { .. } | Unsent::Away(_) | Unsent::Late(_) => return None,
    };
    match (status, words) {
        (_, "action_prohibited") => Some("ask an administrator of the workspace to allow the app"),
        (_, "channel_is_archived") => Some("choose another channel for the webhook"),
        (_, "invalid_payload" | "no_text") => Some("report it: this program made a bad message"),
        (404 | 410, _) | (_, "no_service" | "no_team" | "invalid_token" | "channel_not_found") => {
            Some("make a new webhook, and set its variable to the new address")
        }
        (300..=399, _) => Some("set the webhook's variable to where it leads: a message is never sent on"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, retry_after: None, body: body.to_owned() }
    }

    #[test]
    fn only_ok_is_yes_and_what_slack_documents_has_a_next_step() {
        assert_eq!(judged(&answer(200, "ok\n")), Ok(()));
        for (status, body) in [
            (400, "invalid_payload"),
            (403, "action_prohibited"),
            (404, "no_service"),
            (410, "channel_is_archived"),
            (302, ""),
            (200, "<html>"),
        ] {
            let why = judged(&answer(status, body)).unwrap_err();
            assert!(hint(&why).is_some() && !why.is_passing(), "{why}");
        }
        assert_eq!(hint(&judged(&answer(503, "")).unwrap_err()), None);
    }
}
