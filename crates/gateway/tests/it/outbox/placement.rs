//! A kept request is decided anew when it is sent, and what held for it when it came still holds.

use std::path::Path;

use serde_json::{Value, json};
use testkit::{Behaviour, Gateway, ScriptedUpstream, http_client};

use super::{TIMEOUTS, config, entry_when, finished, id, kept, later, prompt, text};
use crate::support::{LISTEN, Reply, chat};

const ANYWHERE: &str = "version: 1\nroutes: [{id: anywhere}]\n";
const NOT_IN_CLOUD: &str =
    "version: 1\nplacement: [{id: stays, allow: {localities: [device, network]}}]\nroutes: [{id: anywhere}]\n";

async fn put_in_force(gateway: &Gateway, file: &Path, text: &str) {
    std::fs::write(file, text).unwrap();
    let reply = Reply::of(http_client().post(gateway.admin_url("/admin/reload"))).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

fn rule_in(entry: &Value) -> bool {
    entry["error"]["message"].as_str().is_some_and(|message| message.contains("the placement rule stays"))
}

#[tokio::test]
async fn the_policy_of_the_moment_decides() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.yaml");
    std::fs::write(&policy, ANYWHERE).unwrap();
    let upstream = ScriptedUpstream::start_down().await;
    let extra = format!("policy: {{file: {}}}", policy.display());
    let gateway = Gateway::start(&config(&upstream.base_url(), &extra)).await;
    let entry = kept(later(&gateway, &prompt())).await;
    put_in_force(&gateway, &policy, NOT_IN_CLOUD).await;
    entry_when(&gateway, id(&entry), rule_in).await;
    upstream.come_back().await;
    // Another generation of the same policy has every entry looked at again, with the target there.
    put_in_force(&gateway, &policy, &format!("{NOT_IN_CLOUD}# again\n")).await;
    let public = json!({"model": "auto", "messages": [{"role": "user", "content": "x"}]});
    assert_eq!(Reply::of(later(&gateway, &public)).await.status, 503, "forbidden for ever by this policy");
    let waiting = entry_when(&gateway, id(&entry), rule_in).await;
    assert_eq!(
        (&waiting["status"], &waiting["attempts"], upstream.connections_total()),
        (&json!("queued"), &json!(0), 0)
    );
    put_in_force(&gateway, &policy, ANYWHERE).await;
    assert_eq!(finished(&gateway, id(&entry), "completed").await["target"], "cloud/a");
}

struct Both {
    device: ScriptedUpstream,
    cloud: ScriptedUpstream,
    home: tempfile::TempDir,
}

impl Both {
    async fn new() -> Self {
        let (device, cloud) = (ScriptedUpstream::start_down().await, ScriptedUpstream::start().await);
        cloud.set_default(Behaviour::answer("from the cloud"));
        Self { device, cloud, home: tempfile::tempdir().unwrap() }
    }

    async fn gateway(&self) -> Gateway {
        let config = format!(
            "{LISTEN}targets:\n  - {{id: device/d, provider: openai, model: m, base_url: '{}', locality: device, timeouts: {TIMEOUTS}}}\n  \
             - {{id: cloud/a, provider: openai, model: m, base_url: '{}', timeouts: {TIMEOUTS}}}\n",
            self.device.base_url(),
            self.cloud.base_url()
        );
        Gateway::builder(&config).home(self.home.path()).start().await
    }
}

/// The class of a conversation is forgotten when the process ends; what was kept remembers it.
#[tokio::test]
async fn the_class_of_a_conversation_holds_beyond_the_process_that_knew_it() {
    let both = Both::new().await;
    let mut gateway = both.gateway().await;
    let with = |gateway: &Gateway, class: Option<&str>| {
        let request = later(gateway, &prompt()).header("x-tidegate-session", "s");
        match class {
            Some(class) => request.header("x-tidegate-privacy", class),
            None => request,
        }
    };
    let said = kept(with(&gateway, Some("confidential"))).await;
    let follows = kept(with(&gateway, None)).await;
    gateway.kill().await;
    let gateway = both.gateway().await;
    // Not this one, of another conversation: the cloud is there.
    let other = json!({"model": "auto", "messages": [{"role": "user", "content": "something else"}]});
    assert_eq!(Reply::of(chat(&gateway, &other)).await.content(), "from the cloud");
    let seen = both.cloud.attempts().len();
    both.device.come_back().await;
    let device = &both.device;
    device.set_default(Behaviour::answer("from the device"));
    for entry in [said, follows] {
        let done = finished(&gateway, id(&entry), "completed").await;
        assert_eq!((text(&done), &done["locality"]), ("from the device", &json!("device")));
    }
    assert_eq!(both.cloud.attempts().len(), seen);
}

/// Personal data is found again whenever the request is decided.
#[tokio::test]
async fn what_the_scan_finds_keeps_a_request_here_whenever_it_is_sent() {
    let both = Both::new().await;
    let gateway = both.gateway().await;
    let body = json!({"model": "auto", "messages": [{"role": "user", "content": "write to jane.roe@example.org, my card is 4111 1111 1111 1111"}]});
    let entry = kept(later(&gateway, &body)).await;
    both.device.come_back().await;
    let device = &both.device;
    device.set_default(Behaviour::answer("from the device"));
    assert_eq!(text(&finished(&gateway, id(&entry), "completed").await), "from the device");
    assert_eq!(both.cloud.connections_total(), 0);
}
