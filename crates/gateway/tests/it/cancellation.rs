//! A caller that leaves: the connection upstream is dropped in every phase.

use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{Behaviour, RawClient, ScriptedUpstream};

use crate::support::{cloud_gateway, phases_of_standstill, settled_metrics};

/// Sends `body`, waits until the upstream stands still, leaves, and says how long the upstream took to see it.
async fn leave_while_held(behaviour: Behaviour, body: &Value, after_request: &str) -> (Duration, String) {
    let upstream = ScriptedUpstream::start().await;
    let gateway = cloud_gateway(&[&upstream]).await;
    upstream.set_default(behaviour);
    let mut client = RawClient::connect(gateway.data_addr()).await;
    client.post("/v1/chat/completions", body).await.unwrap();
    upstream.wait_held(0).await;
    // Bytes too many, as of a client that sends its next request early, do not hide that it leaves.
    client.send(after_request).await.unwrap();
    let left = Instant::now();
    drop(client);
    let ended = upstream.wait_ended(0).await;
    gateway.wait_for_log("request finished").await;
    let metrics = settled_metrics(&gateway).await;
    (ended.at.duration_since(left), metrics)
}

#[tokio::test]
async fn leaving_closes_the_connection_upstream_in_every_phase() {
    for (phase, behaviour, body) in phases_of_standstill() {
        for after_request in ["", "\r\n", "GET /v1/models HTTP/1.1\r\nhost: t\r\n\r\n"] {
            let (took, metrics) = leave_while_held(behaviour.clone(), &body, after_request).await;
            println!("{phase}, then {after_request:?}: {took:?}");
            // Half of the shortest timeout of these targets: it was the caller leaving, not a limit.
            assert!(took < Duration::from_millis(750), "{phase}: {took:?}");
            assert!(metrics.contains(r#"outcome="caller_gone""#), "{phase}: {metrics}");
            assert!(metrics.contains("tidegate_in_flight_requests 0"), "{phase}");
        }
    }
}
