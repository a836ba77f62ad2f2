//! No caller can add a series to the metrics.

use serde_json::json;
use testkit::{ScriptedUpstream, http_client};

use crate::support::{Reply, cloud_gateway, hello, post, settled_metrics};

/// Thousands of callers that name what there is not: no series more than before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_cannot_add_series() {
    const REQUESTS: usize = 3000;
    let upstream = ScriptedUpstream::start().await;
    let gateway = cloud_gateway(&[&upstream]).await;
    let client = http_client();
    let strange = async |n: usize| {
        let body = json!({"model": format!("model-{n}"), "messages": [{"role": "user", "content": "hello"}],
                          "metadata": {"note": format!("note-{n}")}});
        let body = if n.is_multiple_of(2) { body } else { hello() };
        let request = post(&client, &gateway, &format!("/v1/chat/completions?way={n}"), &body);
        let request = request.header("x-tidegate-tags", format!("t{n}")).bearer_auth(format!("key-{n}"));
        Reply::of(request.header("x-tidegate-session", format!("s{n}"))).await;
        Reply::of(client.get(gateway.url(&format!("/v1/way/{n}")))).await;
    };
    let series = async || {
        let metrics = settled_metrics(&gateway).await;
        metrics.lines().filter(|line| !line.starts_with('#')).count()
    };
    for n in 0..20 {
        strange(n).await;
    }
    let before = series().await;
    for begin in (20..REQUESTS).step_by(16) {
        futures_util::future::join_all((begin..begin + 16).map(&strange)).await;
    }
    assert_eq!(series().await, before);
}
