//! HTTP/2 with prior knowledge: a stream that is reset in any phase is an exchange that its caller has left, and harms no other one.

use std::collections::BTreeMap;
use std::time::Duration;

use account::ledger::Filter;
use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use serde_json::{Value, json};
use testkit::{Behaviour, Gateway, ScriptedUpstream};
use tokio::net::TcpStream;

use crate::admission::{self, wait_for_gauge};
use crate::support::{
    Reply, chat, cloud_config, cloud_gateway, hello, hello_stream, ledger_of, phases_of_standstill, settled_metrics,
    sharing,
};

/// One connection.
struct Connection {
    send: SendRequest<Bytes>,
    driver: tokio::task::JoinHandle<()>,
}

/// One request on it.
struct Stream {
    response: ResponseFuture,
    request: SendStream<Bytes>,
}

impl Connection {
    async fn open(gateway: &Gateway) -> Self {
        Self::open_with(gateway, &Builder::new()).await
    }

    async fn open_with(gateway: &Gateway, builder: &Builder) -> Self {
        let socket = TcpStream::connect(gateway.data_addr()).await.unwrap();
        let (send, connection) = builder.handshake(socket).await.unwrap();
        // Ends with an error where the test breaks it.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Self { send, driver }
    }

    async fn begin(&mut self, id: &str) -> Stream {
        let request = http::Request::post("http://t/v1/chat/completions")
            .header("content-type", "application/json")
            .header("x-request-id", id)
            .body(())
            .unwrap();
        std::future::poll_fn(|cx| self.send.poll_ready(cx)).await.unwrap();
        let (response, request) = self.send.send_request(request, false).unwrap();
        Stream { response, request }
    }

    async fn post(&mut self, id: &str, body: &Value) -> Stream {
        let mut stream = self.begin(id).await;
        stream.request.send_data(body.to_string().into(), true).unwrap();
        stream
    }

    /// Without a word to the other side.
    fn break_off(self) {
        self.driver.abort();
    }
}

impl Stream {
    fn reset(mut self) {
        self.request.send_reset(Reason::CANCEL);
    }

    /// The answer, whole.
    async fn read(self) -> String {
        let mut body = self.response.await.unwrap().into_body();
        let mut text = Vec::new();
        while let Some(data) = next(&mut body).await {
            text.extend_from_slice(&data);
        }
        String::from_utf8(text).unwrap()
    }

    /// The body, from whose first piece on.
    async fn first_piece(&mut self) -> RecvStream {
        let mut body = (&mut self.response).await.unwrap().into_body();
        next(&mut body).await.unwrap();
        body
    }
}

async fn next(body: &mut RecvStream) -> Option<Bytes> {
    let data = body.data().await?.unwrap();
    body.flow_control().release_capacity(data.len()).unwrap();
    Some(data)
}

/// Outcomes by request id, each of which may be there only once, when everything is settled.
async fn recorded(gateway: &Gateway) -> BTreeMap<String, String> {
    settled_metrics(gateway).await;
    // A receipt is asked for, so that everything is written.
    let ask = testkit::http_client().get(gateway.url("/v1/receipts/none"));
    Reply::of(ask).await;
    let mut found = BTreeMap::new();
    for row in ledger_of(gateway.home()).rows(&Filter::default()).unwrap() {
        let id = row.record.request_id.to_string();
        assert_eq!(found.insert(id.clone(), row.record.outcome.to_string()), None, "{id} is settled twice");
    }
    found
}

fn are_gone<'a>(ids: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, String> {
    ids.into_iter().map(|id| (id.to_owned(), "caller_gone".to_owned())).collect()
}

#[tokio::test]
async fn a_reset_in_any_phase_closes_the_connection_upstream_and_is_settled_once() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = cloud_gateway(&[&upstream]).await;
    let mut connection = Connection::open(&gateway).await;
    let phases = phases_of_standstill();
    for (place, (phase, behaviour, body)) in phases.iter().enumerate() {
        upstream.script([behaviour.clone()]);
        let stream = connection.post(phase, body).await;
        let held = upstream.wait_held(place).await;
        stream.reset();
        let ended = upstream.wait_ended(place).await;
        // Half of the shortest timeout of the target: it was the caller leaving, not a limit.
        assert!(ended.at.duration_since(held) < Duration::from_millis(750), "{phase}");
    }
    // Before its body is there.
    let mut uploads = connection.begin("uploads").await;
    uploads.request.send_data(Bytes::from_static(b"{\"model\""), false).unwrap();
    let in_flight = async { while gateway.metric("tidegate_in_flight_requests", &[]).await != Some(1.0) {} };
    tokio::time::timeout(testkit::PATIENCE, in_flight).await.unwrap();
    uploads.reset();
    let gone = are_gone(phases.iter().map(|(phase, ..)| *phase).chain(["uploads"]));
    assert_eq!(recorded(&gateway).await, gone);
    assert_eq!(gateway.metric("tidegate_requests_total", &[]).await, Some(6.0));
    // The connection serves on.
    assert!(connection.post("after", &hello_stream()).await.read().await.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_connection_that_breaks_ends_all_its_streams() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = cloud_gateway(&[&upstream]).await;
    let mut connection = Connection::open(&gateway).await;
    upstream.script([Behaviour::StallBeforeHeaders, Behaviour::SlowFirstToken]);
    let mut streams = Vec::new();
    for (place, (id, body)) in [("whole", hello()), ("stream", hello_stream())].iter().enumerate() {
        streams.push(connection.post(id, body).await);
        upstream.wait_held(place).await;
    }
    connection.break_off();
    for place in 0..2 {
        upstream.wait_ended(place).await;
    }
    assert_eq!(recorded(&gateway).await, are_gone(["whole", "stream"]));
}

#[tokio::test]
async fn a_caller_that_gives_no_window_is_let_go_after_the_write_timeout() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = Gateway::start(&cloud_config(&[&upstream], "limits: {write_timeout_ms: 300}")).await;
    upstream.set_default(Behaviour::Endless { chunk: "x".repeat(4096) });
    let mut connection = Connection::open_with(&gateway, Builder::new().initial_window_size(4096)).await;
    let stream = connection.post("deaf", &hello_stream()).await;
    upstream.wait_ended(0).await;
    assert_eq!(recorded(&gateway).await, are_gone(["deaf"]));
    drop(stream);
    // Others on the same connection are read.
    upstream.set_default(Behaviour::SetText);
    let mut other = connection.post("other", &hello()).await;
    drop(other.first_piece().await);
}

#[tokio::test]
async fn a_reset_frees_the_slot_of_a_worker_and_the_place_in_its_queue() {
    let folder = tempfile::tempdir().unwrap();
    let keys = "slots: 1\n    eager: true";
    let config = admission::config(folder.path(), keys, "--fake-stall-after, '1'", &[]);
    let gateway = Gateway::start(&config).await;
    let becomes = async |name: &str, value: f64| wait_for_gauge(&gateway, name, value).await;
    let mut connection = Connection::open(&gateway).await;
    let mut holds = connection.post("holds", &hello_stream()).await;
    let _answer = holds.first_piece().await;
    let waits = [connection.post("waits", &hello_stream()).await, connection.post("waits-whole", &hello()).await];
    becomes("tidegate_worker_queue_depth", 2.0).await;
    waits.into_iter().for_each(Stream::reset);
    becomes("tidegate_worker_queue_depth", 0.0).await;
    becomes("tidegate_worker_slots_busy", 1.0).await;
    holds.reset();
    becomes("tidegate_worker_slots_busy", 0.0).await;
    assert_eq!(recorded(&gateway).await, are_gone(["holds", "waits", "waits-whole"]));
    // The slot is there for the next one.
    drop(connection.post("next", &hello_stream()).await.first_piece().await);
}

#[tokio::test]
async fn a_reset_takes_nothing_from_others_who_share_the_answer() {
    let upstream = ScriptedUpstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.yaml");
    std::fs::write(&policy, "{version: 1, routes: [{id: all, objective: in_order, cache: {ttl_s: 60}}]}").unwrap();
    let gateway =
        Gateway::start(&cloud_config(&[&upstream], &format!("policy: {{file: '{}'}}", policy.display()))).await;
    let (mut one, mut two) = (Connection::open(&gateway).await, Connection::open(&gateway).await);
    upstream.script([Behaviour::StallBetweenChunks { after: 2 }]);
    // Deterministic, so that it may be shared.
    let (mut whole, mut stream) = (hello(), hello_stream());
    (whole["temperature"], stream["temperature"]) = (json!(0), json!(0));
    let leads = one.post("leads", &stream).await;
    upstream.wait_held(0).await;
    let (follows, stays) = (one.post("follows", &whole).await, two.post("stays", &stream).await);
    let last = tokio::spawn(Reply::of(chat(&gateway, &stream).header("x-request-id", "http1")));
    sharing(&gateway, 4).await;
    leads.reset();
    sharing(&gateway, 3).await;
    follows.reset();
    sharing(&gateway, 2).await;
    upstream.release();
    assert!(stays.read().await.ends_with("data: [DONE]\n\n"));
    assert!(last.await.unwrap().text.ends_with("data: [DONE]\n\n"));
    assert_eq!(upstream.attempts().len(), 1);
    let expected = [("leads", "caller_gone"), ("follows", "caller_gone"), ("stays", "answered"), ("http1", "answered")];
    assert_eq!(recorded(&gateway).await, expected.map(|(id, how)| (id.to_owned(), how.to_owned())).into());
    assert_eq!(gateway.metric("tidegate_attempts_total", &[]).await, Some(1.0), "accounted for by one of them");
}

/// Asks with a header of so many bytes; the status.
async fn with_header(gateway: &Gateway, bytes: usize) -> u16 {
    let mut connection = Connection::open(gateway).await;
    let request = http::Request::get("http://t/v1/models").header("x-long", "y".repeat(bytes)).body(()).unwrap();
    std::future::poll_fn(|cx| connection.send.poll_ready(cx)).await.unwrap();
    let (response, _) = connection.send.send_request(request, true).unwrap();
    response.await.unwrap().status().as_u16()
}

#[tokio::test]
async fn the_limit_of_headers_is_that_of_the_configuration() {
    let upstream = ScriptedUpstream::start().await;
    for header_bytes_max in [2048, 200_000] {
        let limits = format!("limits: {{header_bytes_max: {header_bytes_max}}}");
        let gateway = Gateway::start(&cloud_config(&[&upstream], &limits)).await;
        assert_eq!(with_header(&gateway, header_bytes_max - 500).await, 200, "of {header_bytes_max}");
        assert_eq!(with_header(&gateway, header_bytes_max).await, 431, "of {header_bytes_max}");
        let counted = gateway.metric("tidegate_turned_away_requests_total", &[("reason", "header_too_large")]).await;
        assert_eq!(counted, Some(1.0), "of {header_bytes_max}");
    }
}

#[tokio::test]
async fn a_flood_of_resets_leaves_nothing_behind() {
    const STREAMS: usize = 400;
    let upstream = ScriptedUpstream::start().await;
    let gateway = cloud_gateway(&[&upstream]).await;
    upstream.set_default(Behaviour::StallBeforeHeaders);
    let mut sent = 0;
    while sent < STREAMS {
        let mut connection = Connection::open(&gateway).await;
        // A server may end a connection on which too many are reset.
        while sent < STREAMS && std::future::poll_fn(|cx| connection.send.poll_ready(cx)).await.is_ok() {
            let request = http::Request::post("http://t/v1/chat/completions").body(()).unwrap();
            let Ok((_, mut stream)) = connection.send.send_request(request, false) else { break };
            // Refused where the stream is gone already.
            let _ = stream.send_data(hello().to_string().into(), true);
            stream.send_reset(Reason::CANCEL);
            sent += 1;
        }
    }
    let outcomes = recorded(&gateway).await;
    assert!(outcomes.values().all(|outcome| outcome == "caller_gone"), "{outcomes:?}");
    assert_eq!(gateway.metric("tidegate_requests_total", &[]).await.unwrap_or(0.0), outcomes.len() as f64);
    upstream.set_default(Behaviour::SetText);
    assert_eq!(
        Reply::of(chat(&gateway, &json!({"model": "auto", "messages": [{"role": "user", "content": "still there?"}]})))
            .await
            .status,
        200
    );
}
