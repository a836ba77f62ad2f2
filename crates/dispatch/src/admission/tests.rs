//! Waiting for a seat: limits, leaving, what is given on.

use tokio::time::timeout;
use wire::{ChatChunk, ChatRequest};
use worker::Endpoint;

use super::*;
use crate::NoMeter;
use crate::worker_slots::WorkerSlots;

const GENERATION: u64 = 1;
const SOON: Duration = Duration::from_secs(1);

fn admission(queue_max: usize) -> Admission {
    let limits = AdmissionLimits { slots: 1, batch_tokens: 32, queue_max, wait_max: Duration::from_secs(5) };
    Admission::new(TargetId::new("local/m").unwrap(), limits, 1000.0, Arc::new(NoMeter))
}

fn asking(text: &str) -> Asking {
    let body = format!(r#"{{"model":"auto","stream":true,"messages":[{{"role":"user","content":"{text}"}}]}}"#);
    let request = ChatRequest::parse(body.into()).unwrap();
    Asking::of(&request, request.prefixes(), None, None)
}

/// A worker that is gone: its slots are free.
fn gone() -> Arc<WorkerSlots> {
    Arc::new(WorkerSlots::new(&Endpoint::Unix("/nonexistent/worker.sock".into())))
}

async fn seat(admission: &Admission, text: &str) -> Result<Seat, NotSeated> {
    let asking = asking(text);
    admission.join(&asking, None)?.seat(&asking, GENERATION, gone()).await
}

fn busy_and_queued(admission: &Admission) -> (usize, usize) {
    let Load { busy, queued, .. } = admission.load();
    (busy, queued)
}

fn chunk(seat: &mut Seat, data: &str) {
    seat.saw(&ChatChunk::parse(data.as_bytes()).unwrap());
}

const CONTENT: &str = r#"{"choices":[{"delta":{"content":"a"}}]}"#;
const LAST: &str = r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"timings":{"cache_n":1,"prompt_n":20,"prompt_ms":40.0,"predicted_n":11,"predicted_ms":100.0}}"#;

#[tokio::test(start_paused = true)]
async fn past_its_limit_the_queue_refuses_and_says_when_to_come_again() {
    let admission = admission(1);
    let mut first = seat(&admission, "a").await.unwrap();
    let second = tokio::spawn({
        let admission = admission.clone();
        async move { seat(&admission, "b").await.map(drop) }
    });
    tokio::task::yield_now().await;
    assert_eq!(busy_and_queued(&admission), (1, 1));
    match seat(&admission, "c").await.map(drop) {
        Err(NotSeated::QueueFull { retry_after }) => assert!(retry_after >= Duration::from_secs(2), "{retry_after:?}"),
        other => panic!("{other:?}"),
    }
    first.finish();
    drop(first);
    assert_eq!(second.await.unwrap(), Ok(()), "who waits is served");
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_its_limit_and_leaves_nothing_behind() {
    let admission = admission(4);
    let mut first = seat(&admission, "a").await.unwrap();
    let waited = seat(&admission, "b").await.map(drop);
    assert!(matches!(waited, Err(NotSeated::WaitedTooLong { .. })), "{waited:?}");
    assert_eq!(busy_and_queued(&admission), (1, 0));
    first.finish();
    drop(first);
    assert_eq!(busy_and_queued(&admission), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_queue_is_gone_at_once() {
    let admission = admission(1);
    let mut first = seat(&admission, "a").await.unwrap();
    assert!(timeout(SOON, seat(&admission, "b")).await.is_err(), "it waits");
    assert_eq!(busy_and_queued(&admission), (1, 0));
    let asking = asking("c");
    let place = admission.join(&asking, None).unwrap();
    first.finish();
    drop(first);
    // Granted before anybody looks.
    let seated = place.seat(&asking, GENERATION, gone());
    drop(seated);
    assert_eq!(busy_and_queued(&admission), (0, 0));
    assert!(timeout(SOON, seat(&admission, "d")).await.is_ok());
}

#[tokio::test]
async fn a_slot_whose_caller_left_is_given_on_when_the_worker_has_freed_it() {
    let admission = admission(1);
    let mut left = seat(&admission, "a").await.unwrap();
    chunk(&mut left, CONTENT);
    drop(left);
    assert_eq!(admission.load().busy, 1, "nobody has looked yet");
    drop(timeout(SOON, seat(&admission, "b")).await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_prompt_waits_until_another_is_read_and_no_longer() {
    let limits = AdmissionLimits { slots: 2, batch_tokens: 8, queue_max: 8, wait_max: Duration::from_secs(60) };
    let admission = Admission::new(TargetId::new("local/m").unwrap(), limits, 0.0, Arc::new(NoMeter));
    let mut first = seat(&admission, &"long ".repeat(100)).await.unwrap();
    let waiting = |admission: &Admission| {
        let admission = admission.clone();
        tokio::spawn(async move { seat(&admission, &"other ".repeat(100)).await })
    };
    let second = waiting(&admission);
    tokio::task::yield_now().await;
    assert_eq!(busy_and_queued(&admission), (1, 1), "a slot is free, but a prompt is read");
    chunk(&mut first, r#"{"choices":[],"prompt_progress":{"total":200,"cache":0,"processed":96,"time_ms":5}}"#);
    tokio::task::yield_now().await;
    assert_eq!(busy_and_queued(&admission), (1, 1));
    chunk(&mut first, r#"{"choices":[],"prompt_progress":{"total":200,"cache":0,"processed":200,"time_ms":9}}"#);
    let second = second.await.unwrap().unwrap();
    assert_eq!(admission.load().busy, 2);
    assert_ne!(first.slot(), second.slot());
}

/// Of an answer that comes in one piece it cannot be told when its prompt has been read.
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_prompt_of_which_nothing_is_seen() {
    let limits = AdmissionLimits { slots: 2, batch_tokens: 8, queue_max: 8, wait_max: SOON };
    let admission = Admission::new(TargetId::new("local/m").unwrap(), limits, 0.0, Arc::new(NoMeter));
    let first = seat(&admission, &"long ".repeat(100)).await.unwrap();
    first.hide();
    drop(seat(&admission, &"other ".repeat(100)).await.unwrap());
}

/// A lead that was taken just before a crash changes nothing of what is known of the next run.
#[tokio::test(start_paused = true)]
async fn an_old_run_does_not_come_back() {
    let admission = admission(4);
    for generation in [2, 1] {
        let asking = asking("a");
        let place = admission.join(&asking, None).unwrap();
        place.seat(&asking, generation, gone()).await.unwrap().finish();
    }
    assert_eq!(admission.shared.lock().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_measured_is_predicted() {
    let admission = admission(4);
    let asked = asking("how long does it take");
    assert_eq!(admission.predict(&asked, None), None);
    for _ in 0..5 {
        let mut seat = seat(&admission, "something else").await.unwrap();
        chunk(&mut seat, CONTENT);
        chunk(&mut seat, LAST);
    }
    let warm = admission.predict(&asked, None).unwrap();
    assert!(warm.ttft_ms.mean < 1000.0, "{warm:?}");
    assert!((50.0..200.0).contains(&warm.tokens_per_s.mean), "10 ms a token: {warm:?}");
    let cold = admission.predict(&asked, Some(admission.load_left(Duration::ZERO))).unwrap();
    assert!((cold.ttft_ms.mean - warm.ttft_ms.mean - 1000.0).abs() < 1.0, "{cold:?}");
    let _busy = seat(&admission, "another").await.unwrap();
    let queued = admission.predict(&asked, None).unwrap();
    assert!(queued.ttft_ms.mean > warm.ttft_ms.mean + 50.0, "{queued:?}");
}

/// The slot that has read a conversation is asked for its next turn, of which little is to be read.
#[tokio::test(start_paused = true)]
async fn a_conversation_goes_back_to_its_slot() {
    let limits = AdmissionLimits { slots: 3, batch_tokens: 8, queue_max: 8, wait_max: SOON };
    let admission = Admission::new(TargetId::new("local/m").unwrap(), limits, 0.0, Arc::new(NoMeter));
    let turn = |later: &str| {
        let body = format!(
            r#"{{"model":"auto","messages":[{{"role":"user","content":"{}"}}{later}]}}"#,
            "a long story ".repeat(50)
        );
        let request = ChatRequest::parse(body.into()).unwrap();
        Asking::of(&request, request.prefixes(), None, None)
    };
    let (first, other) = (turn(""), asking("else"));
    let next = turn(r#",{"role":"assistant","content":"x"},{"role":"user","content":"and?"}"#);
    let sit = async |asking: &Asking| {
        let place = admission.join(asking, None).unwrap();
        place.seat(asking, GENERATION, gone()).await.unwrap()
    };
    let mut slots = Vec::new();
    for asking in [&other, &first, &other, &next] {
        let mut seat = sit(asking).await;
        slots.push(seat.slot());
        chunk(&mut seat, CONTENT);
        chunk(&mut seat, LAST);
    }
    assert_eq!((slots[0], slots[2]), (Some(0), Some(0)), "the same request");
    assert_eq!((slots[1], slots[3]), (Some(1), Some(1)));
    // Of a new run nothing is cached.
    let place = admission.join(&next, None).unwrap();
    let seat = place.seat(&next, GENERATION + 1, gone()).await.unwrap();
    assert_eq!(seat.slot(), Some(2), "the longest unused");
}
