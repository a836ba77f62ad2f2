//! The real llama-server under load: callers that leave in every phase, and how well first tokens are predicted. Figures are
//! printed (`--nocapture`); what is asserted holds on a machine that is busy with other tests too.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::Gateway;

use crate::real_engine::{config, kill_worker, slots, worker_client};
use crate::support::{Reply, chat};

const CALLERS: usize = 24;
const SLOTS: usize = 4;
/// Two cores that do other work meanwhile read a prompt at a few ten tokens a second.
const PATIENCE: Duration = Duration::from_secs(120);

/// Numbers without any order, the same each time.
struct Shuffled(u32);

impl Shuffled {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 16) as usize % limit
    }
}

/// A prompt of so many words that no other caller has.
fn prompt(caller: usize, words: usize) -> String {
    const WORDS: [&str; 8] = ["harbour", "lantern", "because", "seven", "window", "quietly", "they", "river"];
    let words: Vec<_> = (0..words).map(|n| WORDS[(n * 7 + caller * 3 + n / 8) % WORDS.len()]).collect();
    format!("Caller {caller} writes: {}", words.join(" "))
}

fn ask(messages: &Value, max_tokens: usize, stream: bool) -> Value {
    json!({
        "model": "auto", "stream": stream, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": true,
        "messages": messages,
    })
}

fn user(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}

async fn gauge(gateway: &Gateway, name: &str) -> f64 {
    gateway.metric(name, &[]).await.unwrap_or(0.0)
}

async fn wait_for(gateway: &Gateway, name: &str, reached: impl Fn(f64) -> bool) {
    let waiting = async {
        while !reached(gauge(gateway, name).await) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{name} does not get there"));
}

/// How many of the slots were free within each bound, in seconds.
async fn freed(gateway: &Gateway) -> Vec<(f64, f64)> {
    let metrics = gateway.metrics().await;
    let buckets = metrics.lines().filter(|line| line.starts_with("tidegate_cancellation_duration_seconds_bucket"));
    let parsed = buckets.filter_map(|line| {
        let bound = line.split("le=\"").nth(1)?.split('"').next()?;
        Some((bound.parse().unwrap_or(f64::INFINITY), line.rsplit(' ').next()?.parse().ok()?))
    });
    parsed.collect()
}

#[tokio::test]
async fn callers_that_leave_in_any_phase_free_their_slots() {
    leave_in_any_phase(1).await;
}

#[tokio::test]
#[ignore = "a measurement, for a machine that does nothing else: cargo test -p gateway --test it real_engine_busy -- --ignored --nocapture --test-threads 1"]
async fn slots_are_free_soon_after_their_callers_left() {
    leave_in_any_phase(10).await;
}

async fn leave_in_any_phase(rounds: usize) {
    let config = config().replace("slots: 2", &format!("slots: {SLOTS}")).replace("threads: 1", "threads: 2");
    let gateway = Gateway::start(&config).await;
    gateway.wait_for_log("\"state\":\"ready\"").await;
    let worker = worker_client(&gateway);
    let mut random = Shuffled(7);
    for round in 0..rounds {
        let mut callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let caller = round * CALLERS + caller;
                let body = ask(&user(&prompt(caller, 10 + caller % 5 * 15)), 600, !caller.is_multiple_of(3));
                let request = chat(&gateway, &body).send();
                tokio::spawn(async move {
                    // Until it is left: the rest of the answer is read as it comes.
                    let mut response = request.await.unwrap();
                    while response.chunk().await.unwrap().is_some() {}
                })
            })
            .collect();
        wait_for(&gateway, "tidegate_worker_slots_busy", |busy| busy == SLOTS as f64).await;
        wait_for(&gateway, "tidegate_worker_queue_depth", |queued| queued == (CALLERS - SLOTS) as f64).await;
        while !callers.is_empty() {
            // Those that have slots leave as often as those that wait for one.
            let caller = callers.swap_remove(random.below(callers.len()));
            assert!(!caller.is_finished(), "an answer of 600 tokens is not over yet");
            caller.abort();
            tokio::time::sleep(Duration::from_millis(random.below(250) as u64)).await;
        }
        wait_for(&gateway, "tidegate_worker_slots_busy", |busy| busy == 0.0).await;
        assert_eq!(gauge(&gateway, "tidegate_worker_queue_depth").await, 0.0);
        // Nothing is generated for nobody, now and a while later.
        for _ in 0..20 {
            let slots = slots(&worker).await;
            let busy: Vec<_> = slots.iter().filter(|slot| slot["is_processing"] == json!(true)).collect();
            assert!(busy.is_empty(), "a slot works for nobody: {busy:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let freed = freed(&gateway).await;
    let all = freed.last().map_or(0.0, |(_, count)| *count);
    let within = |share: f64| freed.iter().find(|(_, count)| *count >= share * all).map_or(0.0, |(bound, _)| *bound);
    println!("{all} slots freed: half within {} s, 99 in 100 within {} s {freed:?}", within(0.5), within(0.99));
    assert!(all >= rounds as f64, "in each round at least the last has left a slot");
    assert_eq!(gateway.metric("tidegate_worker_slots_not_freed_total", &[]).await.unwrap_or(0.0), 0.0);
    // The worker is as good as before, for several choices too, which have a slot each.
    for choices in [1, SLOTS] {
        let mut body = ask(&user("hello"), 4, false);
        body["n"] = json!(choices);
        let reply = Reply::of(chat(&gateway, &body)).await;
        assert_eq!(reply.json()["choices"].as_array().map(Vec::len), Some(choices), "{}", reply.text);
    }
}

/// Situation, predicted and actual milliseconds of every first token that was predicted.
fn predictions(gateway: &Gateway) -> Vec<(String, f64, f64)> {
    let lines = gateway.logs().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    let told = lines.filter(|line| line["fields"]["message"] == "first token");
    let parse = |line: Value| {
        let fields = &line["fields"];
        let number = |name: &str| fields[name].as_f64().unwrap();
        (fields["situation"].as_str().unwrap().to_owned(), number("predicted_ms"), number("actual_ms"))
    };
    told.map(parse).collect()
}

#[tokio::test]
#[ignore = "a measurement of the real engine under load, which other work on the machine disturbs: cargo test -p gateway --test it real_engine_busy -- --ignored --nocapture"]
async fn the_time_to_the_first_token_is_predicted() {
    let config = config().replace("slots: 2", "slots: 2\n    eager: false").replace("    eager: true\n", "");
    let gateway = Gateway::start(&format!("{config}log: {{level: debug}}\n")).await;
    let mut random = Shuffled(3);
    // Warm: prompts of any length, one after the other.
    for caller in 0..30 {
        let body = ask(&user(&prompt(100 + caller, 5 + random.below(150))), 4, true);
        assert_eq!(Reply::of(chat(&gateway, &body)).await.status, 200);
    }
    // Cached: conversations that go on.
    for conversation in 0..4 {
        let mut messages = vec![json!({"role": "user", "content": prompt(200 + conversation, 120)})];
        for turn in 0..4 {
            let reply = Reply::of(chat(&gateway, &ask(&json!(messages), 8, false))).await;
            messages.push(json!({"role": "assistant", "content": reply.content()}));
            messages.push(json!({"role": "user", "content": format!("And then, in turn {turn}?")}));
        }
    }
    // Queued: more at once than there are slots.
    for round in 0..3 {
        let bodies = (0..8).map(|n| ask(&user(&prompt(300 + round * 8 + n, 10 + n * 6)), 24, true));
        let asked: Vec<_> = bodies.map(|body| tokio::spawn(Reply::of(chat(&gateway, &body)))).collect();
        for reply in asked {
            let reply = reply.await.unwrap();
            assert_eq!(reply.status, 200, "{}", reply.text);
        }
    }
    // Cold: the worker has to be started first.
    for caller in 0..4 {
        kill_worker(&gateway);
        let body = ask(&user(&prompt(400 + caller, 20)), 4, true);
        assert_eq!(Reply::of(chat(&gateway, &body)).await.status, 200);
    }
    let predicted = predictions(&gateway);
    for situation in ["warm", "cached", "queued", "cold"] {
        let of = predicted.iter().filter(|(of, ..)| of == situation);
        let mut errors: Vec<_> = of.map(|(_, predicted, actual)| (predicted - actual).abs() / actual).collect();
        errors.sort_by(f64::total_cmp);
        let median = errors.get(errors.len() / 2).copied();
        if std::env::var_os("TIDEGATE_SHOW_PREDICTIONS").is_some() {
            predicted.iter().filter(|(of, ..)| of == situation).for_each(|each| println!("{each:?}"));
        }
        println!("{situation}: {} first tokens predicted, median relative error {median:.2?}", errors.len());
        if situation == "warm" {
            assert!(median.unwrap() < 1.0, "{errors:?}");
        }
    }
}
