//! Streams as unfriendly targets send them, in paused time.

use std::sync::Arc;

use futures_util::stream;
use policy::{ConnectivityLimits, Locality, TargetId, TargetProfile};
use wire::ChatRequest;

use super::*;
use crate::output::Output;
use crate::{Journal, Network, ProbeConfig, Target, TargetHealth, Timeouts, Unavailable};

const PIECE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
const FINISH: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// What follows the last piece.
#[derive(Clone, Copy)]
enum Then {
    Close,
    Break,
    /// This text, for ever, each time after so many milliseconds.
    Repeat(&'static str, u64),
}

fn response(pieces: &[&str], then: Then) -> Response {
    let pieces: Vec<String> = pieces.iter().map(|piece| (*piece).to_owned()).collect();
    let body = stream::unfold(pieces.into_iter(), move |mut pieces| async move {
        let next = match (pieces.next(), then) {
            (Some(piece), _) => Ok(piece),
            (None, Then::Close) => return None,
            (None, Then::Break) => Err(std::io::Error::other("reset")),
            (None, Then::Repeat(text, ms)) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(text.to_owned())
            }
        };
        Some((next, pieces))
    });
    Response::General(reqwest::Response::from(http::Response::new(reqwest::Body::wrap_stream(body))))
}

fn target() -> Target {
    let id = TargetId::new("local/a").unwrap();
    let probe = ProbeConfig { addresses: Vec::new(), captive: None, timeout: Duration::from_secs(1) };
    let network = Network::new(Vec::new(), ConnectivityLimits::default(), probe, None).unwrap();
    Target {
        health: TargetHealth::new(id.clone(), None, Duration::from_secs(60), true, Arc::new(network), None),
        profile: Arc::new(TargetProfile::new(id, Locality::Device)),
        provider: Box::new(Unavailable::new("none")),
        timeouts: Timeouts::remote(),
    }
}

/// How a stream ends for a request for `n` choices, what of it went on, and after how long.
async fn read(n: u64, pieces: &[&str], then: Then) -> (Result<String, Outcome>, Duration) {
    let target = target();
    let journal = Journal::default();
    let body = format!(r#"{{"model":"m","stream":true,"n":{n},"messages":[{{"role":"user","content":"x"}}]}}"#);
    let mut output = Output::new(&ChatRequest::parse(body.into()).unwrap());
    let begun = Instant::now();
    let limits = Limits {
        first_token: begun + Duration::from_secs(30),
        idle: Duration::from_secs(60),
        total: begun + Duration::from_secs(600),
    };
    let mut leg = Leg::new(Try::begin(&journal, &target, None, 1, false), response(pieces, then), limits, n);
    let mut progress = leg.begin(&mut output).await;
    while progress.as_ref().is_ok_and(|progress| *progress == Progress::More) {
        progress = leg.pull(&mut output).await;
    }
    let text = String::from_utf8(output.take().to_vec()).unwrap();
    (progress.map(|_| text).map_err(|failure| failure.outcome), begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_is_whole_whatever_the_connection_does_then() {
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tok";
    for (pieces, then) in [
        (vec![PIECE, FINISH], Then::Close),
        (vec![PIECE, FINISH], Then::Break),
        (vec![PIECE, FINISH, usage], Then::Close),
        (vec![PIECE, FINISH, usage, "\n\n"], Then::Close),
        (vec![PIECE, FINISH], Then::Repeat(": still here\n\n", 400)),
        (vec![PIECE, FINISH], Then::Repeat(": still here\n\n", 0)),
        (vec![PIECE, FINISH], Then::Repeat("x", 100)),
    ] {
        let (read, took) = read(1, &pieces, then).await;
        assert!(read.is_ok_and(|text| text.starts_with(&format!("{PIECE}{FINISH}"))), "{pieces:?}");
        assert!(took <= REST_WAIT, "{pieces:?} took {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn fewer_choices_than_asked_for_are_all_only_where_the_target_says_so() {
    let lost = Err(Outcome::ConnectionLost);
    assert_eq!(read(2, &[PIECE, FINISH], Then::Close).await.0, lost);
    assert_eq!(read(2, &[PIECE, FINISH], Then::Break).await.0, lost);
    assert_eq!(read(1, &[PIECE], Then::Close).await.0, lost);
    assert!(read(2, &[PIECE, FINISH, DONE], Then::Close).await.0.is_ok());
    assert!(read(2, &[PIECE, FINISH, DONE.trim_end()], Then::Close).await.0.is_ok());
}

#[tokio::test(start_paused = true)]
async fn comments_do_not_stand_for_an_answer() {
    let seconds = Duration::from_secs;
    // Before the first content, and between two pieces.
    let ping = Then::Repeat(": ping\n\n", 7_000);
    assert_eq!(read(1, &[": ping\n\n"], ping).await, (Err(Outcome::FirstTokenTimeout), seconds(30)));
    assert_eq!(read(1, &[PIECE], ping).await, (Err(Outcome::IdleTimeout), seconds(60)));
    assert_eq!(read(1, &[PIECE], Then::Repeat("data:\n\n", 7_000)).await, (Err(Outcome::IdleTimeout), seconds(60)));
    // Pieces do, and so does one that comes slowly; all of it has an end.
    let total = (Err(Outcome::TotalTimeout), seconds(600));
    assert_eq!(read(1, &[PIECE], Then::Repeat(PIECE, 50_000)).await, total);
    assert_eq!(read(1, &[PIECE, "data: {"], Then::Repeat(" ", 50_000)).await, total);
}

#[tokio::test(start_paused = true)]
async fn nothing_that_may_be_a_piece_is_skipped() {
    let ok = |text: &[&str]| Ok(text.concat());
    let ping = "data: ping\n\n";
    assert_eq!(read(1, &[ping, PIECE, ping, FINISH], Then::Close).await.0, ok(&[PIECE, FINISH]));
    let pings = "data:\n\n".repeat(100);
    assert_eq!(read(1, &[PIECE, &pings, FINISH], Then::Close).await.0, ok(&[PIECE, &pings, FINISH]));
    for broken in [&PIECE[..40], "data: \"delta\":{\"content\":\"b\"}}]}", "data: [{\"choices\":[]}]", "data: data: {}"]
    {
        let event = format!("{broken}\n\n");
        let (read, _) = read(1, &[PIECE, &event, FINISH], Then::Close).await;
        assert_eq!(read, Err(Outcome::InvalidAnswer), "{broken}");
    }
}
