//! What of an exchange is told in which span.

use account::{RequestOutcome, StageTimes, Tokens};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use policy::Locality;
use wire::TraceId;

use super::values::finish_reasons;
use super::*;

fn context(id: u8, is_sampled: bool) -> TraceContext {
    TraceContext::root(TraceId::new([id; 16]).unwrap(), SpanId::new([id; 8]).unwrap(), is_sampled)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn made(outcome: Outcome) -> AttemptMade {
    AttemptMade {
        target: TargetId::new("google/m").unwrap(),
        locality: Locality::Cloud,
        outcome,
        begun_after: ms(10),
        duration: ms(30),
        time_to_first_token: Some(ms(20)),
        tokens: Some(Tokens { input: 11, cached: 4, output: 7, is_estimated: false }),
        price: None,
        cost_usd: Some(0.25),
        sent_bytes: 99,
        skipped_events: 0,
        is_hedge: false,
    }
}

fn attempt(parent: &TraceContext) -> TracedAttempt {
    TracedAttempt {
        parent: parent.clone(),
        id: SpanId::new([9; 8]).unwrap(),
        begun_before: Duration::ZERO,
        led_after: None,
        model: Some("m-1".into()),
        finish_reasons: vec![(1, "length"), (0, "stop")],
    }
}

/// An exchange of 50 ms that began at 1 s after 1970 and made one attempt.
fn exchange(kind: ExchangeKind, outcome: RequestOutcome, tried: Outcome) -> TracedExchange {
    let mut settlement = Settlement::begun(kind, "req_1".to_owned(), 1000);
    settlement.outcome = outcome;
    settlement.duration = ms(50);
    settlement.stages = StageTimes { parse: Some(ms(1)), signals: Some(ms(2)), decide: Some(ms(3)) };
    settlement.target = Some((TargetId::new("google/m").unwrap(), Locality::Cloud));
    settlement.attempts.push(made(tried));
    let mut exchange = TracedExchange::new(&settlement, context(1, true), SpanId::new([7; 8]));
    exchange.attempts.push(Some(attempt(&exchange.context.clone())));
    exchange
}

fn tried(exchange: &mut TracedExchange) -> &mut TracedAttempt {
    exchange.attempts[0].as_mut().unwrap()
}

fn spans(exchange: &TracedExchange) -> Vec<Span> {
    let described = Described {
        model: "upstream-m".to_owned(),
        provider: "google".to_owned(),
        server: Some(("h".to_owned(), 443)),
    };
    let targets = HashMap::from([(TargetId::new("google/m").unwrap(), described)]);
    Writer::new(&Resource::default(), targets).spans(exchange)
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span {name} in {spans:?}"))
}

fn value(span: &Span, key: &str) -> Option<Value> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key)?;
    attribute.value.clone()?.value
}

/// Begin and end in milliseconds from the begin of the exchange.
fn lasts(span: &Span) -> (i64, i64) {
    let from_begin = |ns: u64| ns as i64 / 1_000_000 - 1000;
    (from_begin(span.start_time_unix_nano), from_begin(span.end_time_unix_nano))
}

#[test]
fn an_exchange_its_stages_and_its_attempts_are_spans() {
    let mut exchange = exchange(ExchangeKind::Request, RequestOutcome::Answered, Outcome::Answered);
    exchange.status = Some(200);
    exchange.recalled_after = Some(ms(8));
    tried(&mut exchange).led_after = Some(ms(5));
    let spans = spans(&exchange);
    let root = named(&spans, "chat");
    assert_eq!((root.kind(), &*root.parent_span_id, lasts(root)), (SpanKind::Server, &[7; 8][..], (0, 50)));
    assert_eq!(root.flags, 1 | KNOWS_WHERE_PARENT_IS | PARENT_IS_ELSEWHERE);
    assert!(root.status.is_none() && value(root, "error.type").is_none());
    assert_eq!(value(root, "http.response.status_code"), Some(Value::IntValue(200)));
    for (name, lasted) in
        [("parse", (0, 1)), ("signals", (1, 3)), ("decide", (3, 6)), ("recall", (6, 8)), ("relay", (40, 50))]
    {
        let span = named(&spans, name);
        assert_eq!((span.kind(), lasts(span)), (SpanKind::Internal, lasted), "{name}");
        assert_eq!((&span.trace_id, &span.parent_span_id), (&root.trace_id, &root.span_id), "{name}");
    }
    let tried = named(&spans, "chat upstream-m");
    assert_eq!((tried.kind(), lasts(tried), &tried.parent_span_id), (SpanKind::Client, (10, 40), &root.span_id));
    assert_eq!((&*tried.span_id, tried.flags), (&[9; 8][..], 1 | KNOWS_WHERE_PARENT_IS));
    let wait = named(&spans, "wait");
    assert_eq!((lasts(wait), &wait.parent_span_id), ((10, 15), &tried.span_id));
    for (key, expected) in [
        ("gen_ai.operation.name", Value::StringValue("chat".into())),
        ("gen_ai.provider.name", Value::StringValue("gcp.gemini".into())),
        ("gen_ai.request.model", Value::StringValue("upstream-m".into())),
        ("gen_ai.response.model", Value::StringValue("m-1".into())),
        ("gen_ai.response.time_to_first_chunk", Value::DoubleValue(0.02)),
        ("gen_ai.usage.input_tokens", Value::IntValue(11)),
        ("gen_ai.usage.output_tokens", Value::IntValue(7)),
        ("gen_ai.usage.cache_read.input_tokens", Value::IntValue(4)),
        ("server.address", Value::StringValue("h".into())),
        ("server.port", Value::IntValue(443)),
        ("tidegate.cost_usd", Value::DoubleValue(0.25)),
    ] {
        assert_eq!(value(tried, key), Some(expected), "{key}");
    }
    assert_eq!(
        finish_reasons(&exchange.settlement.attempts[0], exchange.attempts[0].as_ref().unwrap()),
        ["stop", "length"]
    );
    let counting = spans.iter().filter(|span| value(span, "gen_ai.usage.output_tokens").is_some()).count();
    assert_eq!((counting, spans.len()), (1, 8), "tokens stand on one span of all");
}

#[test]
fn a_failure_is_an_error_and_what_the_caller_did_is_none() {
    let status = |outcome, tried, status| {
        let mut exchange = exchange(ExchangeKind::Request, outcome, tried);
        exchange.status = status;
        self::tried(&mut exchange).finish_reasons.clear();
        let spans = spans(&exchange);
        let word = |name: &str| {
            let span = named(&spans, name);
            let said = span.status.as_ref().map(|status| status.message.clone());
            let word = value(span, "error.type").map(|word| match word {
                Value::StringValue(word) => word,
                other => panic!("{other:?}"),
            });
            assert_eq!(said, word, "{name}");
            word.unwrap_or_default()
        };
        (word("chat"), word("chat upstream-m"))
    };
    let check = |of: (String, String), root: &str, tried: &str| assert_eq!((&*of.0, &*of.1), (root, tried));
    check(status(RequestOutcome::TargetsFailed, Outcome::ConnectFailed, Some(502)), "targets_failed", "connect_failed");
    check(status(RequestOutcome::RejectedByTarget, Outcome::Rejected(400), Some(400)), "", "rejected");
    check(status(RequestOutcome::CallerGone, Outcome::CallerGone, None), "", "");
    check(status(RequestOutcome::OverLimit, Outcome::Answered, Some(503)), "over_limit", "");
    check(status(RequestOutcome::Interrupted, Outcome::Interrupted, Some(200)), "interrupted", "interrupted");
    let cut = exchange(ExchangeKind::Request, RequestOutcome::CallerGone, Outcome::CallerGone);
    let none = TracedAttempt { finish_reasons: Vec::new(), ..attempt(&cut.context) };
    assert_eq!(finish_reasons(&cut.settlement.attempts[0], &none), ["error"]);
}

#[test]
fn the_decision_on_a_kept_request_comes_before_it_is_sent() {
    let mut kept = exchange(ExchangeKind::Outbox, RequestOutcome::Answered, Outcome::Answered);
    kept.settlement.stages.parse = None;
    kept.parent = None;
    let spans = spans(&kept);
    let root = named(&spans, "chat");
    assert_eq!((root.kind(), lasts(root), root.parent_span_id.len()), (SpanKind::Internal, (-5, 50), 0));
    assert_eq!((lasts(named(&spans, "signals")), lasts(named(&spans, "decide"))), ((-5, -3), (-3, 0)));
    assert!(value(root, "http.route").is_none());
    assert!(!spans.iter().any(|span| span.name == "relay"), "nobody waits for it");
}

#[test]
fn a_shared_answer_is_told_in_the_trace_of_who_asked_for_it() {
    // Accounted for by a caller who joined 5 ms after the attempt began.
    let mut payer = exchange(ExchangeKind::Request, RequestOutcome::Answered, Outcome::Answered);
    let first = context(2, true);
    payer.settlement.attempts[0].begun_after = Duration::ZERO;
    payer.attempts[0] = Some(TracedAttempt { begun_before: ms(5), ..attempt(&first) });
    payer.shared = Some(first.clone());
    let all = spans(&payer);
    let tried = named(&all, "chat upstream-m");
    assert_eq!((&*tried.trace_id, &*tried.parent_span_id), (&first.trace_id.bytes()[..], &first.span_id.bytes()[..]));
    assert_eq!((lasts(tried), &*tried.links[0].span_id), ((-5, 25), &[1; 8][..]));
    assert_eq!(&*named(&all, "chat").links[0].trace_id, &[2; 16]);

    // Each is recorded where its own trace is.
    payer.context = context(1, false);
    assert_eq!(spans(&payer).iter().map(|span| &*span.name).collect::<Vec<_>>(), ["chat upstream-m"]);
    payer.attempts[0] = None;
    assert!(spans(&payer).is_empty());
}
