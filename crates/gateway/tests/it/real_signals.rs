//! The real worker and a scripted cloud under the shipped policy: what a request holds and how hard it is decides where it goes.
//!
//! Two gateways, one with a classifier and one whose classifier is damaged; each start costs a small machine seconds.

use std::path::Path;

use serde_json::{Value, json};
use testkit::{Behaviour, Gateway, ScriptedUpstream, http_client};

use crate::real_engine::installed;
use crate::support::{LISTEN, Reply, chat, settled_metrics};

/// Passes Luhn's check; the number that card networks give for tests.
const CARD: &str = "My card 4111 1111 1111 1111 was declined, why?";
const EASY: &str = "Hi, how are you today?";
const HARD: &str =
    "A train leaves at 9:40 at 84 km/h, another at 10:15 at 112 km/h on the same line. When do they meet?";

/// A gateway with the real engine and the default model on the device and a large model in the cloud, and the folder it keeps its files in.
async fn start(more: &str) -> (Gateway, ScriptedUpstream, tempfile::TempDir) {
    let cloud = ScriptedUpstream::start().await;
    cloud.set_default(Behaviour::answer("from the cloud"));
    let artifacts = Path::new(&installed("llama-server")).ancestors().nth(3).unwrap().to_owned();
    let home = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(artifacts, home.path().join("artifacts")).unwrap();
    let config = format!(
        "{LISTEN}classifier: {{deadline_ms: 10000{more}}}\ntargets:
  - {{id: local/smollm2-135m-instruct, provider: llama_cpp, artifact: smollm2-135m-instruct, context_tokens: 1024, slots: 2, threads: 1, eager: true}}
  - {{id: cloud/c, provider: openai, model: llama-3.3-70b, base_url: '{}'}}\n",
        cloud.base_url()
    );
    let gateway = Gateway::builder(&config).home(home.path()).start().await;
    (gateway, cloud, home)
}

fn ask(prompt: &str) -> Value {
    json!({"model": "auto", "max_tokens": 8, "messages": [{"role": "user", "content": prompt}]})
}

/// Sends a prompt for `auto`, with a header, and gives where it was answered and why.
async fn asked(gateway: &Gateway, prompt: &str, (name, value): (&str, &str)) -> (String, String) {
    let reply = Reply::of(chat(gateway, &ask(prompt)).header(name, value)).await;
    assert_eq!(reply.status, 200, "{prompt}: {}", reply.text);
    assert!(!reply.content().is_empty(), "{prompt}: {}", reply.text);
    (reply.header("x-tidegate-locality").to_owned(), reply.header("x-tidegate-reason").to_owned())
}

/// Says nothing that matters.
const NOTHING: (&str, &str) = ("x-tidegate-tags", "t");
const TO_THE_CLOUD: (&str, &str) = ("x-tidegate-mode", "prefer_in_cloud");

#[tokio::test]
async fn a_card_number_stays_an_easy_prompt_stays_and_a_hard_one_goes_to_the_cloud() {
    let (gateway, cloud, _home) = start("").await;
    // A card stays, whatever is preferred and however hard the rest is, and the reply says why.
    for prompt in [CARD.to_owned(), format!("{HARD} {CARD}")] {
        for header in [NOTHING, TO_THE_CLOUD] {
            let (to, why) = asked(&gateway, &prompt, header).await;
            assert_eq!(to, "device", "{prompt}: {why}");
            assert!(why.contains("placement=personal-data-and-secrets-stay"), "{why}");
        }
    }
    let (to, why) = asked(&gateway, EASY, NOTHING).await;
    assert_eq!((to.as_str(), why.as_str()), ("device", "rule=device-first"));
    assert_eq!(cloud.connections_total(), 0);

    let (to, why) = asked(&gateway, HARD, NOTHING).await;
    assert_eq!((to.as_str(), why.as_str()), ("cloud", "rule=too-hard-for-the-device"));
    assert_eq!(cloud.attempts().len(), 1);
    let (to, _) = asked(&gateway, HARD, ("x-tidegate-privacy", "confidential")).await;
    assert_eq!(to, "device", "hard, and yet it may not");
    assert_eq!(cloud.attempts().len(), 1);

    settled_metrics(&gateway).await;
    let tokens = gateway.metric("tidegate_output_tokens_total", &[("locality", "device")]).await;
    assert!(tokens > Some(0.0), "the worker wrote them: {tokens:?}");
    let cards = gateway.metric("tidegate_scan_findings_total", &[("kind", "payment_card")]).await;
    assert!(cards >= Some(2.0), "{cards:?}");
    assert_eq!(gateway.metric("tidegate_classifier_up", &[]).await, Some(1.0));
}

#[tokio::test]
async fn with_a_damaged_classifier_it_starts_says_so_and_nothing_confidential_leaves() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/router-v1");
    let folder = tempfile::tempdir().unwrap();
    for file in ["tokenizer.json", "encoder.onnx", "heads.json", "SHA256SUMS"] {
        std::fs::copy(shipped.join(file), folder.path().join(file)).unwrap();
    }
    let model = folder.path().join("encoder.onnx");
    let mut bytes = std::fs::read(&model).unwrap();
    bytes[5_000_000] ^= 0xff;
    std::fs::write(&model, bytes).unwrap();
    let (gateway, cloud, _home) = start(&format!(", folder: '{}'", folder.path().display())).await;

    gateway.wait_for_log("requests are not classified").await;
    let ready = Reply::of(http_client().get(gateway.admin_url("/readyz"))).await.json();
    assert_eq!(ready["classifier"]["state"], "missing", "{ready}");
    assert!(ready["classifier"]["reason"].as_str().unwrap().contains("encoder.onnx is damaged"), "{ready}");
    assert_eq!(gateway.metric("tidegate_classifier_up", &[]).await, Some(0.0));
    for (prompt, header) in [
        (CARD, TO_THE_CLOUD),
        (HARD, ("x-tidegate-privacy", "confidential")),
        (EASY, ("x-tidegate-privacy", "restricted")),
        (HARD, ("x-tidegate-mode", "only_on_device")),
    ] {
        let (to, why) = asked(&gateway, prompt, header).await;
        assert_eq!(to, "device", "{prompt}: {why}");
    }
    assert_eq!(cloud.connections_total(), 0);
    // Without a prediction there is nothing that speaks against the device; what may go still goes where it is wanted.
    let other = "Name three rivers.";
    assert_eq!(asked(&gateway, other, NOTHING).await.0, "device");
    assert_eq!(asked(&gateway, other, TO_THE_CLOUD).await.0, "cloud");
}
