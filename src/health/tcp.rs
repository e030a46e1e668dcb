//! Connects to an address. Docker's proxy for published ports accepts for everybody, also when nothing listens in the
//! container, and then closes: so a connection counts when it is still open a moment later, or when the server speaks.

use std::time::Duration;

use tokio::net::TcpStream;

use super::answer::Answer;
use crate::host::http::io_in_words;

/// How long a connection must stay open when the server waits for the client to speak.
const STAYS_OPEN: Duration = Duration::from_millis(200);

/// Makes one attempt, which takes at most `limit`.
pub(super) async fn ask(address: &str, limit: Duration) -> Answer {
    match tokio::time::timeout(limit, TcpStream::connect(address)).await {
        Err(_) => Answer::NotYet(super::http::no_answer(limit)),
        Ok(Err(error)) => Answer::NotYet(io_in_words(&error)),
        Ok(Ok(stream)) => after_connecting(&stream).await,
    }
}

async fn after_connecting(stream: &TcpStream) -> Answer {
    let mut byte = [0; 1];
    match tokio::time::timeout(STAYS_OPEN, stream.peek(&mut byte)).await {
        Ok(Ok(0)) => Answer::NotYet("connected, and closed by the other side at once".to_owned()),
        Ok(Err(error)) => Answer::NotYet(format!("connected, then {}", io_in_words(&error))),
        Ok(Ok(_)) | Err(_) => Answer::Good("connected".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_listener_that_waits_for_us_to_speak_is_well() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (answer, _kept) = tokio::join!(ask(&address, LIMIT), listener.accept());
        assert_eq!(answer, Answer::Good("connected".to_owned()));
    }

    #[tokio::test]
    async fn a_connection_that_is_closed_at_once_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let closing = async { drop(listener.accept().await.unwrap()) };
        let (answer, ()) = tokio::join!(ask(&address, LIMIT), closing);
        assert_eq!(answer, Answer::NotYet("connected, and closed by the other side at once".to_owned()));
    }

    #[tokio::test]
    async fn nobody_there_is_connection_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        assert_eq!(ask(&address, LIMIT).await, Answer::NotYet("connection refused".to_owned()));
    }
}
