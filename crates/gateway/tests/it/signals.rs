//! What is found in requests decides where they go: the privacy scan always, the classifier where there is one.

use std::path::Path;

use serde_json::{Value, json};
use testkit::{Behaviour, Gateway, ScriptedUpstream, http_client};

use crate::real_engine::installed;
use crate::support::{LISTEN, Reply, chat, post, settled_metrics};

/// Passes Luhn's check; the number that card networks give for tests.
const CARD: &str = "My card 4111 1111 1111 1111 was declined, why?";

struct Setting {
    cloud: ScriptedUpstream,
    _device: ScriptedUpstream,
    gateway: Gateway,
}

/// A small model on the device and a large one in the cloud under the default policy, with `more` configuration.
async fn setting(more: &str) -> Setting {
    setting_at(more, None).await
}

/// The same with a data folder.
async fn setting_at(more: &str, home: Option<&Path>) -> Setting {
    let (device, cloud) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    device.set_default(Behaviour::answer("from the device"));
    cloud.set_default(Behaviour::answer("from the cloud"));
    let config = format!(
        "{LISTEN}{more}targets:
  - {{id: device/d, provider: openai, model: smollm2-135m-instruct, base_url: '{}', locality: device}}
  - {{id: cloud/c, provider: openai, model: llama-3.3-70b, base_url: '{}'}}\n",
        device.base_url(),
        cloud.base_url()
    );
    let builder = Gateway::builder(&config);
    let gateway = match home {
        Some(home) => builder.home(home).start().await,
        None => builder.start().await,
    };
    Setting { gateway, cloud, _device: device }
}

fn ask(prompt: &str) -> Value {
    json!({"model": "auto", "messages": [{"role": "user", "content": prompt}]})
}

/// The configuration of a gateway that classifies, with the classifier in `folder` or its own.
fn classifying(folder: Option<&Path>) -> String {
    let folder = folder.map_or(String::new(), |folder| format!(", folder: '{}'", folder.display()));
    let runtime = installed("onnxruntime");
    format!("onnxruntime: {{path: '{runtime}'}}\nclassifier: {{deadline_ms: 10000{folder}}}\n")
}

#[tokio::test]
async fn personal_data_stays_on_the_device_wherever_it_stands_and_the_reply_says_why() {
    let s = setting("").await;
    let bodies = [
        ask(CARD),
        json!({"model": "auto", "messages": [{"role": "user", "content": CARD}, {"role": "assistant", "content": "?"},
            {"role": "user", "content": "Write a poem."}]}),
        json!({"model": "auto", "messages": [{"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type":
            "function", "function": {"name": "pay", "arguments": "{\"card\": \"\\u0034111111111111111\"}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "paid"}]}),
        json!({"model": "auto", "user": "anna.keller@firm.ch", "messages": [{"role": "user", "content": "hi"}]}),
        json!({"model": "auto", "messages": [{"role": "user", "content": "hi"}], "tools": [{"type": "function",
            "function": {"name": "f", "description": "Bills IBAN DE89370400440532013000", "parameters": {}}}]}),
    ];
    for body in bodies {
        let reply = Reply::of(chat(&s.gateway, &body).header("x-tidegate-mode", "prefer_in_cloud")).await;
        assert_eq!(reply.header("x-tidegate-locality"), "device", "{body}: {}", reply.text);
        assert!(reply.header("x-tidegate-reason").contains("placement=personal-data-and-secrets-stay"), "{reply:?}");
    }
    assert_eq!(s.cloud.connections_total(), 0);
    let only_cloud = Reply::of(chat(&s.gateway, &ask(CARD)).header("x-tidegate-mode", "only_in_cloud")).await;
    assert!((400..600).contains(&only_cloud.status), "{}", only_cloud.text);
    assert!(only_cloud.text.contains("personal-data-and-secrets-stay"), "{}", only_cloud.text);
    assert!(!only_cloud.text.contains("4111"), "{}", only_cloud.text);
    assert_eq!(s.cloud.connections_total(), 0);
    let harmless =
        Reply::of(chat(&s.gateway, &ask("Write a poem.")).header("x-tidegate-mode", "prefer_in_cloud")).await;
    assert_eq!(harmless.header("x-tidegate-locality"), "cloud");
    settled_metrics(&s.gateway).await;
    let cards = s.gateway.metric("tidegate_scan_findings_total", &[("kind", "payment_card")]).await;
    assert!(cards.is_some_and(|cards| cards >= 3.0), "{cards:?}");
}

#[tokio::test]
async fn an_easy_prompt_stays_and_a_hard_one_goes_to_the_cloud() {
    let s = setting(&classifying(None)).await;
    let easy = Reply::of(chat(&s.gateway, &ask("Hi, how are you today?"))).await;
    assert_eq!((easy.header("x-tidegate-locality"), easy.header("x-tidegate-reason")), ("device", "rule=device-first"));
    let hard =
        ask("A train leaves at 9:40 at 84 km/h, another at 10:15 at 112 km/h on the same line. When do they meet?");
    let reply = Reply::of(chat(&s.gateway, &hard)).await;
    assert_eq!(
        (reply.header("x-tidegate-locality"), reply.header("x-tidegate-reason")),
        ("cloud", "rule=too-hard-for-the-device"),
    );
    let stated = Reply::of(chat(&s.gateway, &hard).header("x-tidegate-mode", "prefer_on_device")).await;
    assert_eq!(stated.header("x-tidegate-locality"), "device", "a stated preference is not overruled");
    let confidential = Reply::of(chat(&s.gateway, &hard).header("x-tidegate-privacy", "confidential")).await;
    assert_eq!(confidential.header("x-tidegate-locality"), "device");
    let account = Reply::of(post(s.gateway.client(), &s.gateway, "/v1/route", &hard)).await.json();
    assert_eq!(account["facts"]["signals.task"], "maths", "{account}");
    let first = &account["attempts"][0];
    assert!(first["quality"].as_f64().is_some_and(|p| (0.2..1.0).contains(&p)), "{account}");
    assert!(first["quality_stderr"].as_f64().is_some_and(|error| (0.0..0.5).contains(&error)), "{account}");
    assert_eq!(s.gateway.metric("tidegate_classifier_up", &[]).await, Some(1.0));
}

#[tokio::test]
async fn a_damaged_classifier_is_said_and_nothing_confidential_leaves() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/router-v1");
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(shipped).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
    }
    let model = folder.path().join("encoder.onnx");
    let mut bytes = std::fs::read(&model).unwrap();
    bytes[5_000_000] ^= 0xff;
    std::fs::write(&model, bytes).unwrap();
    let s = setting(&classifying(Some(folder.path()))).await;
    let ready = Reply::of(http_client().get(s.gateway.admin_url("/readyz"))).await;
    assert_eq!((ready.status, &ready.json()["classifier"]["state"]), (200, &json!("missing")));
    assert!(
        ready.json()["classifier"]["reason"].as_str().unwrap().contains("encoder.onnx is damaged"),
        "{}",
        ready.text
    );
    for (prompt, privacy) in
        [(CARD, "internal"), ("Prove Fermat's last theorem.", "confidential"), ("hello", "restricted")]
    {
        let request = chat(&s.gateway, &ask(prompt)).header("x-tidegate-privacy", privacy);
        let reply = Reply::of(request.header("x-tidegate-mode", "prefer_in_cloud")).await;
        assert_eq!(reply.header("x-tidegate-locality"), "device", "{prompt}");
    }
    assert_eq!(s.cloud.connections_total(), 0);
    let plain = Reply::of(chat(&s.gateway, &ask("hello"))).await;
    assert_eq!(plain.header("x-tidegate-reason"), "rule=device-first");
    assert_eq!(s.gateway.metric("tidegate_classifier_up", &[]).await, Some(0.0));
}

/// A policy by which prompts that name a person stay on the device.
const NAMES_STAY: &str = "version: 1
placement:
  - {id: names-stay, when: \"'person' in signals.entities\", allow: {localities: [device]}}
routes:
  - {id: any, objective: prefer_in_cloud}
";

#[tokio::test]
async fn names_are_looked_for_where_a_policy_asks_and_what_is_not_known_stays() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.yaml");
    std::fs::write(&policy, NAMES_STAY).unwrap();
    let policy = format!("policy: {{file: '{}'}}\n", policy.display());
    let named = ask("Write a reference letter for my colleague Anna Keller.");
    let plain = ask("write a haiku about rain");
    let locality = async |s: &Setting, body: &Value| {
        let reply = Reply::of(chat(&s.gateway, body).header("x-tidegate-mode", "prefer_in_cloud")).await;
        (reply.header("x-tidegate-locality").to_owned(), reply.header("x-tidegate-reason").to_owned())
    };

    // With the tagger: its weights are those of the user's own data folder.
    installed("minilm-l6-v2");
    let artifacts = Path::new(&installed("onnxruntime")).ancestors().nth(3).unwrap().to_owned();
    let home = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(artifacts, home.path().join("artifacts")).unwrap();
    let s = setting_at(
        &format!("{policy}classifier: {{deadline_ms: 10000, tagger_deadline_ms: 30000}}\n"),
        Some(home.path()),
    )
    .await;
    let (to, why) = locality(&s, &named).await;
    assert_eq!(to, "device", "{why}");
    assert!(why.contains("placement=names-stay"), "{why}");
    let (to, why) = locality(&s, &plain).await;
    assert_eq!(to, "cloud", "{why} {:?}", s.gateway.logs());
    let ready = Reply::of(http_client().get(s.gateway.admin_url("/readyz"))).await.json();
    assert_eq!(ready["classifier"]["tagger"], "ready", "{ready}");
    let account = Reply::of(post(s.gateway.client(), &s.gateway, "/v1/route", &named)).await.json();
    assert_eq!(account["facts"]["signals.entities"], json!(["person"]), "{account}");

    // Without it nobody knows, so that everything stays.
    let s = setting(&format!("{policy}{}", classifying(None))).await;
    for body in [&named, &plain] {
        assert_eq!(locality(&s, body).await.0, "device");
    }
    assert_eq!(s.cloud.connections_total(), 0);
    let ready = Reply::of(http_client().get(s.gateway.admin_url("/readyz"))).await.json();
    assert_eq!(ready["classifier"]["tagger"], "missing", "{ready}");
    assert!(ready["classifier"]["tagger_reason"].as_str().unwrap().contains("minilm-l6-v2"), "{ready}");
}

#[tokio::test]
async fn the_profile_with_transformer_layers_decides_as_the_other_does() {
    let artifacts = Path::new(&installed("minilm-l6-v2")).ancestors().nth(3).unwrap().to_owned();
    let home = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(artifacts, home.path().join("artifacts")).unwrap();
    let s = setting_at("classifier: {profile: layers2, deadline_ms: 10000}\n", Some(home.path())).await;
    let account =
        Reply::of(post(s.gateway.client(), &s.gateway, "/v1/route", &ask("What is 17 * 23 + 4?"))).await.json();
    assert_eq!(account["facts"]["signals.task"], "maths", "{account}");
    assert!(account["facts"]["signals.entities"].is_array(), "tagged though no policy asks: {account}");
    assert_eq!(s.gateway.metric("tidegate_classifier_up", &[]).await, Some(1.0));
}
