//! Limits, turns and slots of the line.

use super::*;

const BATCH: u64 = 32;

fn need(caller: u64, conversation: u64, prompt: u32) -> Need {
    let flow = Flow { caller, conversation };
    Need { flow, slots: 1, prompt: prompt.into(), unread: prompt.into(), output: 10.0, prefixes: Prefixes::default() }
}

fn granted(line: &mut Line) -> Vec<Granted> {
    let (caches, speed) = (Caches::new(4), EngineSpeed::new(BATCH, 0.0));
    std::iter::from_fn(|| line.grant(&caches, &speed)).collect()
}

fn slots(granted: &[Granted]) -> Vec<(Ticket, Option<usize>)> {
    granted.iter().map(|granted| (granted.ticket, granted.slot)).collect()
}

/// Tells that the prompt of each running request is read.
fn all_read(line: &mut Line) {
    line.running.iter_mut().for_each(|running| running.unread = 0.0);
}

#[test]
fn never_more_run_than_there_are_slots() {
    let mut line = Line::new(2, BATCH);
    let tickets: Vec<_> = (0..3).map(|n| line.join(need(n, 0, 1))).collect();
    let first = granted(&mut line);
    assert_eq!(first.iter().map(|granted| granted.ticket).collect::<Vec<_>>(), tickets[..2]);
    assert_eq!((first[0].slot, first[1].slot, line.waiting()), (Some(0), Some(1), 1));
    assert!(line.release(tickets[0]) && !line.release(tickets[0]), "once");
    assert_eq!(slots(&granted(&mut line)), [(tickets[2], Some(0))]);
    assert!(!line.leave(tickets[2]), "it does not wait any more");
}

#[test]
fn prompts_are_read_together_only_within_one_batch() {
    let check = |unread: [u32; 3], at_once: usize| {
        let mut line = Line::new(4, BATCH);
        for unread in unread {
            line.join(need(unread.into(), 0, unread));
        }
        assert_eq!(granted(&mut line).len(), at_once, "{unread:?}");
        all_read(&mut line);
        assert!(!granted(&mut line).is_empty() || at_once == 3, "{unread:?}");
    };
    check([10, 20, 2], 3);
    check([10, 20, 3], 2);
    check([1000, 1, 1], 1);
    check([32, 1, 1], 1);
    check([1, 1000, 1], 1);
}

#[test]
fn a_chatty_caller_waits_for_its_turn() {
    let mut line = Line::new(1, BATCH);
    let running = line.join(need(9, 9, 1));
    granted(&mut line);
    // Caller 0 has two conversations, one of which asks three times at once; caller 1 comes last.
    let asks = [need(0, 0, 1), need(0, 0, 2), need(0, 0, 3), need(0, 1, 4), need(1, 0, 5)];
    let tickets: Vec<_> = asks.into_iter().map(|need| line.join(need)).collect();
    let ahead: Vec<_> = line.ahead_of(Flow { caller: 2, conversation: 0 }).iter().map(|need| need.prompt).collect();
    assert_eq!(ahead, [1.0, 5.0], "a newcomer waits for one of each");
    let ahead: Vec<_> = line.ahead_of(Flow { caller: 0, conversation: 0 }).iter().map(|need| need.prompt).collect();
    assert_eq!(ahead, [1.0, 5.0, 4.0, 2.0, 3.0]);
    let (mut order, mut last) = (Vec::new(), running);
    for _ in &tickets {
        line.release(last);
        last = granted(&mut line)[0].ticket;
        order.push(tickets.iter().position(|ticket| *ticket == last).unwrap());
    }
    assert_eq!(order, [0, 4, 3, 1, 2]);
}

#[test]
fn who_leaves_makes_room_at_once() {
    let mut line = Line::new(1, BATCH);
    let running = line.join(need(0, 0, 1));
    granted(&mut line);
    let (gone, next) = (line.join(need(1, 0, 1)), line.join(need(2, 0, 1)));
    assert!(line.leave(gone) && !line.leave(gone) && line.waiting() == 1);
    line.release(running);
    assert_eq!(granted(&mut line)[0].ticket, next);
    assert_eq!((line.waiting(), line.callers.len()), (0, 0));
}

#[test]
fn a_request_for_all_slots_is_not_passed_over() {
    let mut line = Line::new(2, BATCH);
    let one = line.join(need(0, 0, 1));
    granted(&mut line);
    let all = line.join(Need { slots: 2, ..need(1, 0, 1) });
    let after = line.join(need(2, 0, 1));
    assert_eq!(granted(&mut line), [], "not even by one that would fit");
    line.release(one);
    assert_eq!(slots(&granted(&mut line)), [(all, None)]);
    line.release(all);
    assert_eq!(slots(&granted(&mut line)), [(after, Some(0))]);
}

#[test]
fn a_slot_is_chosen_by_its_cache_and_else_the_longest_unused() {
    let body = r#"{"model":"auto","messages":[{"role":"user","content":"a"}]}"#;
    let prefixes: Prefixes = wire::ChatRequest::parse(body.into()).unwrap().prefixes();
    let mut caches = Caches::new(3);
    caches.used(Some(2), &prefixes, 1.0, true);
    let mut line = Line::new(3, BATCH);
    let ask = |line: &mut Line, prefixes: &Prefixes| {
        let ticket = line.join(Need { prefixes: prefixes.clone(), ..need(0, 0, 1000) });
        let granted = line.grant(&caches, &EngineSpeed::new(BATCH, 0.0)).unwrap();
        let unread = line.running_mut(ticket).map(|running| std::mem::take(&mut running.unread));
        (ticket, granted.slot, unread)
    };
    let (first, slot, unread) = ask(&mut line, &prefixes);
    assert_eq!((slot, unread), (Some(2), Some(1.0)));
    let (second, slot, unread) = ask(&mut line, &prefixes);
    assert_eq!((slot, unread), (Some(0), Some(1000.0)), "the slot that has it is busy");
    line.release(first);
    line.release(second);
    let order: Vec<_> = (0..3).map(|_| ask(&mut line, &Prefixes::default()).1).collect();
    assert_eq!(order, [Some(1), Some(2), Some(0)]);
}

/// Whatever happens, slots are neither lost nor given twice, and everybody is served.
#[test]
fn slots_are_neither_lost_nor_given_twice() {
    let mut line = Line::new(3, BATCH);
    let (mut running, mut waiting, mut served, mut seed): (Vec<Granted>, Vec<Ticket>, u32, u32) =
        (Vec::new(), Vec::new(), 0, 1);
    let mut random = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % below
    };
    for _ in 0..5000 {
        match random(4) {
            0 | 1 => {
                let slots = if random(10) == 0 { 3 } else { 1 };
                let need = need(random(3).into(), random(3).into(), random(50));
                waiting.push(line.join(Need { slots, ..need }));
            }
            2 if !running.is_empty() => {
                let ended = running.swap_remove(random(running.len() as u32) as usize);
                assert!(line.release(ended.ticket));
            }
            3 if !waiting.is_empty() => {
                let gone = waiting.swap_remove(random(waiting.len() as u32) as usize);
                assert!(line.leave(gone));
            }
            _ => all_read(&mut line),
        }
        for granted in granted(&mut line) {
            waiting.retain(|ticket| *ticket != granted.ticket);
            running.push(granted);
            served += 1;
        }
        let alone = running.iter().any(|granted| granted.slot.is_none());
        let mut slots: Vec<_> = running.iter().filter_map(|granted| granted.slot).collect();
        slots.sort_unstable();
        slots.dedup();
        assert!(if alone { running.len() == 1 } else { slots.len() == running.len() && slots.len() <= 3 });
        assert_eq!(line.waiting(), waiting.len());
    }
    assert!(served > 500, "{served}");
}
