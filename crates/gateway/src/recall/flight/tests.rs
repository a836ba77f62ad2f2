//! Callers of one answer, driven by hand: who drives, who waits, who leaves.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dispatch::StreamEnd;
use futures_util::FutureExt;
use tokio::sync::mpsc;

use super::*;

/// What a scripted work does next.
enum Act {
    Piece(&'static str),
    End(&'static str),
    Panic,
}

/// Sees when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A row of callers, and the hand that says what their work does.
struct Row {
    flights: Arc<Flights>,
    is_dropped: Arc<AtomicBool>,
    begun: Arc<AtomicUsize>,
}

impl Row {
    fn new() -> Self {
        Self { flights: Arc::default(), is_dropped: Arc::default(), begun: Arc::default() }
    }

    fn joining(targets: &[&str], is_stream: bool, lag_bytes_max: usize) -> Joining {
        let targets = targets.iter().map(|id| TargetId::new(id).unwrap()).collect();
        Joining {
            key: [1; 32],
            is_stream,
            targets,
            may_join: true,
            age_max: Duration::from_secs(60),
            keep_bytes_max: 5,
            lag_bytes_max,
            trace: None,
        }
    }

    fn enter(&self, joining: Joining) -> (Option<Arc<Seat>>, mpsc::UnboundedSender<Act>) {
        let (hand, mut acts) = mpsc::unbounded_channel();
        let (is_dropped, begun) = (Arc::clone(&self.is_dropped), Arc::clone(&self.begun));
        let seat = self.flights.enter(joining, |flight| {
            let flight = Arc::downgrade(flight);
            Box::pin(async move {
                let _dropped = Dropped(is_dropped);
                begun.fetch_add(1, Ordering::SeqCst);
                let target = (TargetId::new("cloud/a").unwrap(), Locality::Cloud);
                while let Some(act) = acts.recv().await {
                    let flight = flight.upgrade().unwrap();
                    match act {
                        Act::Piece(piece) => {
                            flight.begin(Head::Stream, Some(target.clone()), None);
                            flight.wanted().await;
                            flight.push(Bytes::from_static(piece.as_bytes()), &target, None);
                        }
                        Act::End(piece) => {
                            let end = End { how: StreamEnd::Complete, usage: None, is_usage_estimated: false };
                            flight.push(Bytes::from_static(piece.as_bytes()), &target, Some(end));
                            return;
                        }
                        Act::Panic => panic!("scripted"),
                    }
                }
            })
        });
        (seat, hand)
    }

    fn stream(&self) -> (Arc<Seat>, mpsc::UnboundedSender<Act>) {
        let (seat, hand) = self.enter(Self::joining(&["cloud/a"], true, 1000));
        (seat.unwrap(), hand)
    }
}

/// Reads all that is there now.
fn now(seat: &Seat, at: &mut usize) -> String {
    let mut all = String::new();
    while let Some(Next::Pieces { events, at: next, .. }) = seat.next(*at).now_or_never() {
        all += std::str::from_utf8(&events).unwrap();
        *at = next;
    }
    all
}

#[test]
fn all_have_the_same_at_their_own_pace() {
    let row = Row::new();
    let (first, hand) = row.stream();
    assert!(first.begun().now_or_never().is_none());
    let (second, _) = row.stream();
    assert!(first.leads() && !second.leads());
    hand.send(Act::Piece("a")).unwrap();
    assert!(matches!(first.begun().now_or_never(), Some(Head::Stream)));
    let (mut at, mut at_second, mut at_third) = (0, 0, 0);
    assert_eq!(now(&first, &mut at), "a");
    hand.send(Act::Piece("b")).unwrap();
    assert_eq!(now(&second, &mut at_second), "ab", "driven by the second");
    let (third, _) = row.stream();
    assert_eq!((now(&third, &mut at_third), now(&first, &mut at)), ("ab".to_owned(), "b".to_owned()));
    hand.send(Act::End("c")).unwrap();
    for (seat, at) in [(&first, &mut at), (&second, &mut at_second), (&third, &mut at_third)] {
        let Some(Next::Pieces { events, at: next, end: Some(end) }) = seat.next(*at).now_or_never() else { panic!() };
        assert_eq!((events, end.how), (Bytes::from_static(b"c"), StreamEnd::Complete));
        assert!(matches!(seat.next(next).now_or_never(), Some(Next::End(_))));
    }
    assert_eq!(row.begun.load(Ordering::SeqCst), 1);
    let (next, _) = row.stream();
    assert!(next.leads(), "what is over is not joined");
}

#[test]
fn nothing_is_read_ahead_of_the_fastest() {
    let row = Row::new();
    let (seat, hand) = row.stream();
    for piece in ["a", "b", "c"] {
        hand.send(Act::Piece(piece)).unwrap();
    }
    assert!(seat.begun().now_or_never().is_some());
    let pieces = || seat.flight.state().pieces.len();
    assert_eq!(pieces(), 0, "nobody has asked for one");
    let Some(Next::Pieces { at, .. }) = seat.next(0).now_or_never() else { panic!() };
    assert_eq!((at, pieces()), (1, 1));
}

#[test]
fn whoever_leaves_takes_nothing_along_and_the_last_ends_it_at_once() {
    let row = Row::new();
    let (first, hand) = row.stream();
    let (second, _) = row.stream();
    hand.send(Act::Piece("a")).unwrap();
    let mut at = 0;
    assert_eq!(now(&first, &mut at), "a");
    assert!(first.leave().is_none(), "another one will account for it");
    assert!(first.leave().is_none(), "once is enough");
    hand.send(Act::Piece("b")).unwrap();
    assert_eq!(now(&second, &mut 0), "ab");
    assert!(!row.is_dropped.load(Ordering::SeqCst));
    assert!(second.leave().is_some(), "the last one accounts for it");
    assert!(row.is_dropped.load(Ordering::SeqCst));
    assert!(row.flights.running().is_empty());
}

#[test]
fn one_accounts_for_what_was_tried_and_only_one() {
    let row = Row::new();
    let (first, hand) = row.stream();
    let (second, _) = row.stream();
    let (third, _) = row.stream();
    assert!(second.leave().is_none() && first.leave().is_none());
    let mut at = 0;
    hand.send(Act::Piece("a")).unwrap();
    hand.send(Act::End("b")).unwrap();
    assert_eq!(now(&third, &mut at), "ab");
    let late = third.leave();
    assert!(late.is_some());
    let row = Row::new();
    let (first, hand) = row.stream();
    let (second, _) = row.stream();
    hand.send(Act::Piece("a")).unwrap();
    hand.send(Act::End("b")).unwrap();
    assert_eq!(now(&second, &mut 0), "ab");
    assert!(second.leave().is_none(), "the first is still there");
    assert!(first.leave().is_some());
}

#[test]
fn who_falls_behind_is_cut_off_and_nobody_joins_what_has_lost_its_beginning() {
    let row = Row::new();
    let (fast, hand) = row.enter(Row::joining(&["cloud/a"], true, 10));
    let (slow, _) = row.enter(Row::joining(&["cloud/a"], true, 10));
    let (fast, slow) = (fast.unwrap(), slow.unwrap());
    let (mut at, mut all) = (0, String::new());
    for _ in 0..100 {
        hand.send(Act::Piece("four")).unwrap();
        all += &now(&fast, &mut at);
        assert!(fast.flight.state().bytes <= 10);
    }
    assert_eq!(all.len(), 400);
    assert!(matches!(slow.next(0).now_or_never(), Some(Next::Lagged)));
    assert!(fast.flight.so_far().is_none());
    assert!(row.enter(Row::joining(&["cloud/a"], true, 10)).0.is_none(), "it goes by itself");
}

#[test]
fn only_answers_of_targets_that_may_answer_are_shared() {
    let row = Row::new();
    let (first, _hand) = row.enter(Row::joining(&["cloud/a", "cloud/b"], true, 10));
    let leads = |joining: Joining| row.enter(joining).0.map(|seat| seat.leads());
    assert!(first.unwrap().leads());
    let (first, _hand) = row.enter(Row::joining(&["cloud/a", "cloud/b"], true, 10));
    let first = first.unwrap();
    assert_eq!(leads(Row::joining(&["cloud/a"], true, 10)), None, "it might be answered by cloud/b");
    assert_eq!(leads(Row::joining(&["cloud/c", "cloud/b", "cloud/a"], true, 10)), Some(false));
    let other = Joining { key: [2; 32], ..Row::joining(&["cloud/a", "cloud/b"], true, 10) };
    assert_eq!(leads(other), Some(true), "another question");
    let anew = Joining { may_join: false, ..Row::joining(&["cloud/a", "cloud/b"], true, 10) };
    assert_eq!(leads(anew), None);
    assert_eq!(leads(Row::joining(&["cloud/a", "cloud/b"], false, 10)), Some(false), "one piece of a stream");
    first.leave();
    let (whole, _hand) = row.enter(Row::joining(&["cloud/a"], false, 10));
    assert!(whole.unwrap().leads());
    let (_whole, _hand) = row.enter(Row::joining(&["cloud/a"], false, 10));
    assert_eq!(leads(Row::joining(&["cloud/a"], true, 10)), Some(true), "a stream of its own");
}

#[test]
fn a_panic_reaches_one_and_the_others_learn_of_it() {
    let row = Row::new();
    let (first, hand) = row.stream();
    let (second, _) = row.stream();
    hand.send(Act::Panic).unwrap();
    let driven = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| first.begun().now_or_never().is_some()));
    assert!(driven.is_err());
    assert!(matches!(second.begun().now_or_never(), Some(Head::Failed(_))));
    assert!(matches!(second.next(0).now_or_never(), Some(Next::End(_))));
}

/// Many callers on several threads, each reading all, some leaving on the way: every one that stays has everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_is_forgotten_on_several_threads() {
    for _ in 0..50 {
        let row = Row::new();
        let (leader, hand) = row.stream();
        let callers = (0..16).map(|_| row.stream().0).chain([leader]).collect::<Vec<_>>();
        let tasks: Vec<_> = callers
            .into_iter()
            .enumerate()
            .map(|(n, seat)| {
                tokio::spawn(async move {
                    let (mut at, mut all) = (0, String::new());
                    loop {
                        match seat.next(at).await {
                            Next::Pieces { events, at: next, .. } => {
                                all += std::str::from_utf8(&events).unwrap();
                                at = next;
                                if n % 3 == 0 && at >= 10 {
                                    return None;
                                }
                            }
                            Next::End(_) => return Some(all),
                            Next::Lagged => panic!("within the limit"),
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for _ in 0..40 {
            hand.send(Act::Piece("x")).unwrap();
            tokio::task::yield_now().await;
        }
        hand.send(Act::End("y")).unwrap();
        for task in tasks {
            let all = tokio::time::timeout(testkit::PATIENCE, task).await.expect("nobody is forgotten").unwrap();
            assert!(all.is_none_or(|all| all == "x".repeat(40) + "y"));
        }
    }
}
