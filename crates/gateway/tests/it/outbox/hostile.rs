//! Limits, file modes, and callers who mean harm.

use std::os::unix::fs::PermissionsExt;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Behaviour, DEFAULT_TEXT, http_client};

use super::{delete, finished, get, id, kept, later, offline, prompt, text};
use crate::support::{Reply, hello, settled_metrics};

#[tokio::test]
async fn past_a_limit_a_request_is_refused_and_the_rest_stays_as_it_is() {
    let (upstream, gateway) = offline("outbox: {entries_max: 2, bytes_max: 6000}").await;
    let long = json!({"model": "auto", "messages": [{"role": "user", "content": "x".repeat(6000)}]});
    let reply = Reply::of(later(&gateway, &long)).await;
    assert_eq!((reply.status, reply.error("code").as_str()), (507, "outbox_full"));
    assert!(reply.error("message").contains("bytes, and its limit is 6000"), "{}", reply.text);
    assert_eq!((reply.error("fault").as_str(), reply.header("location")), ("gateway", ""));
    let first = kept(later(&gateway, &prompt())).await;
    let second = kept(later(&gateway, &prompt())).await;
    let reply = Reply::of(later(&gateway, &hello())).await;
    assert!(reply.error("message").contains("2 entries, and its limit is 2"), "{}", reply.text);
    assert!(reply.error("message").contains("cloud/a"), "and why not now: {}", reply.text);
    assert_eq!(delete(&gateway, id(&first)).await.status, 200);
    let third = kept(later(&gateway, &hello())).await;
    upstream.come_back().await;
    for entry in [second, third] {
        assert_eq!(text(&finished(&gateway, id(&entry), "completed").await), DEFAULT_TEXT);
    }
    let metrics = settled_metrics(&gateway).await;
    assert!(metrics.contains(r#"tidegate_outbox_results_total{result="refused"} 2"#), "{metrics}");
    assert!(metrics.contains(r#"outcome="over_limit",target="none"} 2"#), "{metrics}");
}

#[tokio::test]
async fn whatever_is_no_id_names_nothing() {
    let (_upstream, gateway) = offline("").await;
    let entry = kept(later(&gateway, &prompt())).await;
    let own = id(&entry);
    let (long, upper) = ("a".repeat(9000), own.to_uppercase());
    for path in [
        "..",
        "../../../etc/passwd",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "outbox.sqlite3",
        "lock",
        "' OR 1=1 --",
        "outbox_00000000000000000000000000000000",
        "%00",
        &long,
        &upper,
        &own[..own.len() - 1],
        &format!("{own}/"),
        &format!("{own}%00"),
    ] {
        for method in [Method::GET, Method::DELETE] {
            let address = format!("/v1/outbox/{}", path.replace(' ', "%20").replace('\'', "%27"));
            // reqwest would resolve the dots itself.
            let (status, body) = raw(&gateway, method.as_str(), &address).await;
            assert_eq!(status, 404, "{method} {address} {body}");
            assert!(!body.contains("root:"), "{body}");
        }
    }
    for (method, path, allow) in [
        (Method::POST, "/v1/outbox".to_owned(), "GET"),
        (Method::PUT, format!("/v1/outbox/{own}"), "GET, DELETE"),
        (Method::DELETE, "/v1/outbox".to_owned(), "GET"),
    ] {
        let reply = Reply::of(http_client().request(method, gateway.url(&path))).await;
        assert_eq!((reply.status, reply.header("allow")), (405, allow), "{path}");
    }
    for query in
        ["limit=0", "limit=1000", "limit=x", "after=../x", "order=asc", "after=outbox_00000000000000000000000000000000"]
    {
        assert_eq!(get(&gateway, &format!("/v1/outbox?{query}")).await.status, 400, "{query}");
    }
    let page = Reply::of(http_client().get(gateway.url("/v1/outbox")).header("origin", "https://evil.example")).await;
    assert_eq!(page.status, 400, "not for web pages of elsewhere");
    for (host, status) in [
        ("evil.example", 400),
        ("127.0.0.1.evil.example:8787", 400),
        ("localhost.evil.example", 400),
        ("", 400),
        ("127.0.0.1", 200),
        ("[::1]:8787", 200),
        ("LOCALHOST:1", 200),
        ("app.localhost", 200),
        ("tidegate:8787", 200),
    ] {
        let reply = Reply::of(http_client().get(gateway.url("/v1/outbox")).header("host", host)).await;
        assert_eq!(reply.status, status, "a name that was made to point here: {host:?} {}", reply.text);
    }
    assert_eq!(get(&gateway, &format!("/v1/outbox/{own}")).await.status, 200, "still there");
    assert_eq!(get(&gateway, "/v1/outboxes").await.error("code"), "not_found");
}

async fn raw(gateway: &testkit::Gateway, method: &str, target: &str) -> (u16, String) {
    let mut client = testkit::RawClient::connect(gateway.data_addr()).await;
    client.send(format!("{method} {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await.unwrap();
    let reply = client.read_reply().await.unwrap();
    (reply.status, reply.text())
}

/// Ten thousand requests: as many as the limit are kept, the rest is refused, memory and metrics stay bounded.
#[tokio::test]
async fn a_flood_fills_the_outbox_to_its_limit_and_no_further() {
    let (upstream, gateway) = offline("outbox: {entries_max: 50, concurrency: 4}").await;
    let first = kept(later(&gateway, &hello())).await;
    let before = gateway.resident_bytes();
    let request = later(&gateway, &prompt());
    let flood: Vec<_> = (0..8)
        .map(|_| {
            let request = request.try_clone().unwrap();
            tokio::spawn(async move {
                let (mut accepted, mut refused) = (0, 0);
                for _ in 0..250 {
                    match request.try_clone().unwrap().send().await.unwrap().status().as_u16() {
                        202 => accepted += 1,
                        507 => refused += 1,
                        other => panic!("{other}"),
                    }
                }
                (accepted, refused)
            })
        })
        .collect();
    let (mut accepted, mut refused) = (1, 0);
    for task in flood {
        let (a, r) = task.await.unwrap();
        (accepted, refused) = (accepted + a, refused + r);
    }
    assert_eq!((accepted, refused), (50, 1951));
    assert!(gateway.resident_bytes() < before + (64 << 20), "{before} {}", gateway.resident_bytes());
    upstream.come_back().await;
    finished(&gateway, id(&first), "completed").await;
    upstream.wait_attempts(50).await;
    let attempts = upstream.attempts();
    let is_open = |at| attempts.iter().filter(move |a| a.arrived_at <= at && a.ended.is_none_or(|ended| ended.at > at));
    let most = attempts.iter().map(|attempt| is_open(attempt.arrived_at).count()).max().unwrap();
    assert!(most <= 4, "a network that returns is not hammered: {most} at once");
}

#[tokio::test]
async fn a_large_request_and_a_large_answer_pass_whole() {
    let (upstream, gateway) = offline("").await;
    let content = "0123456789abcdef".repeat(1 << 18);
    let body = json!({"model": "auto", "messages": [{"role": "user", "content": content}]});
    let entry = kept(later(&gateway, &body)).await;
    upstream.come_back().await;
    let answer = "low water ".repeat(400_000);
    upstream.set_default(Behaviour::answer(answer.clone()));
    let done = finished(&gateway, id(&entry), "completed").await;
    assert!(text(&done) == answer, "every byte of the answer");
    assert_eq!(upstream.attempts()[0].json()["messages"], body["messages"]);
}

#[tokio::test]
async fn what_is_kept_is_readable_by_its_owner_alone() {
    let (upstream, gateway) = offline("").await;
    let entry = kept(later(&gateway, &prompt()).header("authorization", "Bearer sk-never-kept")).await;
    let folder = gateway.home().join("outbox");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let bytes = || -> Vec<u8> {
        let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
        files.flat_map(|path| std::fs::read(path).unwrap_or_default()).collect()
    };
    let holds = |text: &str| bytes().windows(text.len()).any(|window| window == text.as_bytes());
    assert_eq!(mode(&folder), 0o700);
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    assert!(holds("heron") && !holds("sk-never-kept"));
    upstream.come_back().await;
    finished(&gateway, id(&entry), "completed").await;
    assert!(!holds("heron") && holds("The tide turns"), "the prompt goes when the answer comes");
    delete(&gateway, id(&entry)).await;
    assert!(!holds("The tide turns"));
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let (_upstream, gateway) = offline("").await;
    let mut ids: Vec<String> = Vec::new();
    for _ in 0..3 {
        ids.push(id(&kept(later(&gateway, &prompt())).await).to_owned());
    }
    ids.reverse();
    let page = |query: &str| {
        let path = format!("/v1/outbox?{query}");
        let gateway = &gateway;
        async move { get(gateway, &path).await.json() }
    };
    let first = page("limit=2").await;
    let of =
        |page: &Value| page["data"].as_array().unwrap().iter().map(|entry| id(entry).to_owned()).collect::<Vec<_>>();
    assert_eq!((of(&first), &first["has_more"]), (ids[..2].to_vec(), &json!(true)));
    assert_eq!((&first["first_id"], &first["last_id"]), (&json!(ids[0]), &json!(ids[1])));
    let rest = page(&format!("after={}", ids[1])).await;
    assert_eq!((of(&rest), &rest["has_more"]), (ids[2..].to_vec(), &json!(false)));
    assert!(!rest.to_string().contains("heron"), "no prompt is told");
}
