//! A real Prometheus scrapes a real gateway with the real engine under scripted load, until every query of every dashboard has found something.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Behaviour, Gateway, PATIENCE, ScriptedUpstream, http_client};

use super::{filled, of_dashboards, rules};
use crate::real_engine::installed;
use crate::support::{BARE, Reply, chat, hello};
use crate::traces::{collector, traces};

/// What `scripts/prometheus.sh` prints; `scripts/test.sh` sets it.
const FOLDER: &str = "TIDEGATE_TEST_PROMETHEUS";
/// Ports that are tried, as another process may take one before Prometheus does.
const STARTS_MAX: usize = 5;
/// The interval that rates are taken over.
const INTERVAL: &str = "20s";
/// Longest time until everything has been found; it takes some seconds on an idle machine.
const LOAD_MAX: Duration = Duration::from_secs(150);

const POLICY: &str = r#"version: 1
reference: cloud/a
placement:
  - id: personal-data-stays
    when: signals.personal_data > 0
    allow: {localities: [device]}
routes:
  - {id: hedged, when: '"hedged" in request.tags', objective: in_order, candidates: ['cloud/a', 'cloud/b'], limits: {hedge_after_ms: 30}}
  - {id: bought, when: '"cloud" in request.tags', objective: in_order, candidates: ['cloud/a', 'cloud/b'], limits: {}}
  - {id: again, when: '"again" in request.tags', objective: in_order, candidates: ['cloud/a', 'cloud/b'], cache: {ttl_s: 60}}
  - {id: here, objective: in_order, candidates: ['local/*', 'cloud/*']}
"#;
const SHADOW: &str = "version: 1\nroutes: [{id: all, objective: in_order, candidates: ['cloud/*']}]\n";

/// The folder of prometheus and promtool; `None`, and a line that says so, where there is none.
pub(super) fn prometheus() -> Option<PathBuf> {
    let bin = std::env::var_os(FOLDER).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    if bin.is_none() {
        // Past the capture of the test harness.
        let _ =
            writeln!(std::io::stderr(), "skipped: {FOLDER} names no folder with prometheus (scripts/prometheus.sh)");
    }
    bin
}

/// A Prometheus that runs until it is dropped.
struct Prometheus {
    child: Child,
    url: String,
    _data: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// Starts one that scrapes `gateway` twice a second, and waits until it answers.
    async fn start(bin: &Path, gateway: &Gateway) -> Self {
        let data = tempfile::tempdir().unwrap();
        let folder = super::folder();
        let config = format!(
            "global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}\nrule_files: ['{0}/recording.yml', '{0}/alerts.yml']\nscrape_configs: [{{job_name: tidegate, static_configs: [{{targets: ['{1}']}}]}}]\n",
            folder.canonicalize().unwrap().display(),
            gateway.admin_addr()
        );
        let file = data.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        for _ in 0..STARTS_MAX {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let child = Command::new(bin.join("prometheus"))
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.tsdb.path={}", data.path().join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut started =
                Self { child, url: format!("http://127.0.0.1:{port}"), _data: tempfile::tempdir().unwrap() };
            if started.is_ready().await {
                started._data = data;
                return started;
            }
        }
        panic!("Prometheus does not start");
    }

    /// Whether it answers; not where it has ended.
    async fn is_ready(&mut self) -> bool {
        let ready = async {
            let client = http_client();
            loop {
                if self.child.try_wait().unwrap().is_some() {
                    return false;
                }
                let answer = client.get(format!("{}/-/ready", self.url)).send().await;
                if answer.is_ok_and(|answer| answer.status() == 200) {
                    return true;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.unwrap_or(false)
    }

    /// How many series a query finds that have a number.
    async fn found(&self, query: &str) -> Result<usize, String> {
        let url = url::Url::parse_with_params(&format!("{}/api/v1/query", self.url), [("query", query)]).unwrap();
        let reply = Reply::of(http_client().get(url.as_str())).await.json();
        if reply["status"] != "success" {
            return Err(reply["error"].to_string());
        }
        let result = reply["data"]["result"].as_array().unwrap();
        Ok(result.iter().filter(|series| series["value"][1] != "NaN").count())
    }
}

impl Prometheus {
    /// All rules are loaded, and none has failed.
    async fn has_rules(&self) {
        let reply = Reply::of(http_client().get(format!("{}/api/v1/rules", self.url))).await.json();
        let groups = reply["data"]["groups"].as_array().unwrap();
        let loaded: Vec<_> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
        assert_eq!(loaded.len(), rules("recording.yml").len() + rules("alerts.yml").len());
        let failed: Vec<_> = loaded.iter().filter(|rule| rule["health"] == "err").collect();
        assert!(failed.is_empty(), "{failed:?}");
    }
}

/// Two clouds, the real engine and a collector of traces.
struct Setting {
    a: ScriptedUpstream,
    b: ScriptedUpstream,
    gateway: Gateway,
    _collector: ScriptedUpstream,
    _folder: tempfile::TempDir,
}

async fn setting() -> Setting {
    let (a, b, collector) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await, collector().await);
    let folder = tempfile::tempdir().unwrap();
    let (policy, shadow) = (folder.path().join("policy.yaml"), folder.path().join("shadow.yaml"));
    std::fs::write(&policy, POLICY).unwrap();
    std::fs::write(&shadow, SHADOW).unwrap();
    let (engine, model, runtime) =
        (installed("llama-server"), installed("smollm2-135m-instruct"), installed("onnxruntime"));
    let mut config = format!(
        "{BARE}{}network: {{probe: {{enabled: false}}}}\nhedging: {{max_share: 1.0, max_usd_per_hour: 100}}\nengine: {{path: '{engine}'}}\nonnxruntime: {{path: '{runtime}'}}\nclassifier: {{deadline_ms: 10000}}\ndefaults: {{privacy: public}}\npolicy: {{file: '{}', shadow: '{}'}}\ntargets:\n  - {{id: local/m, provider: llama_cpp, model_path: '{model}', context_tokens: 2048, slots: 2, threads: 1}}\n",
        traces(&collector, ""),
        policy.display(),
        shadow.display()
    );
    for (name, upstream) in [("a", &a), ("b", &b)] {
        config += &format!(
            "  - {{id: cloud/{name}, provider: openai, model: {name}, base_url: '{}', price: {{input_usd_per_mtok: 1, output_usd_per_mtok: 4}}, timeouts: {{first_token_ms: 20000}}}}\n",
            upstream.base_url()
        );
    }
    let gateway = Gateway::start(&config).await;
    Setting { a, b, gateway, _collector: collector, _folder: folder }
}

impl Setting {
    /// One round of everything that the dashboards tell of.
    async fn load(&self) {
        let say = |text: &str, tags: &str, stream: bool| {
            let mut body = json!({"model": "auto", "stream": stream, "max_tokens": 8, "messages": [{"role": "user", "content": text}]});
            if !tags.is_empty() {
                body["metadata"] = json!({"tidegate_tags": tags});
            }
            body
        };
        let asked = async |body: Value| Reply::of(chat(&self.gateway, &body)).await;
        // Streams from here and from there; one with the number of a card, which stays.
        asked(say("What is the tide?", "", true)).await;
        asked(say("My card 4111 1111 1111 1111 was declined, why?", "", true)).await;
        asked(say("What is a wave?", "cloud", true)).await;
        asked(say("What is a wave?", "cloud", false)).await;
        // One fails and the other answers; both fail; the second is faster.
        self.a.script([Behaviour::status(502)]);
        asked(say("And now?", "cloud", false)).await;
        self.a.script([Behaviour::status(502)]);
        self.b.script([Behaviour::status(502)]);
        asked(say("Nobody?", "cloud", false)).await;
        self.a.script([Behaviour::SlowFirstToken]);
        asked(say("Who is first?", "hedged", true)).await;
        // The second has the answer of the first.
        asked(say("What is a tide table?", "again", false)).await;
        asked(say("What is a tide table?", "again", true)).await;
        // What is no request, and a caller that leaves.
        asked(json!({"model": "auto"})).await;
        let mut story = say("Tell me a long story of the sea.", "", true);
        story["max_tokens"] = json!(600);
        let mut leaving = chat(&self.gateway, &story).send().await.unwrap();
        let _ = leaving.chunk().await;
        drop(leaving);
        asked(hello()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_every_dashboard_finds_data() {
    let Some(bin) = prometheus() else { return };
    let setting = setting().await;
    let prometheus = Prometheus::start(&bin, &setting.gateway).await;
    let mut left = of_dashboards();
    let all = async {
        while !left.is_empty() {
            setting.load().await;
            let mut empty = Vec::new();
            for found in std::mem::take(&mut left) {
                match prometheus.found(&filled(&found.query, INTERVAL)).await {
                    Ok(0) => empty.push(found),
                    Ok(_) => {}
                    Err(problem) => panic!("{}: {problem}\n{}", found.place, found.query),
                }
            }
            left = empty;
        }
    };
    let done = tokio::time::timeout(LOAD_MAX, all).await;
    let left: Vec<_> = left.iter().map(|found| format!("{}: {}", found.place, found.query)).collect();
    assert!(done.is_ok(), "nothing is found by\n{}", left.join("\n"));
    prometheus.has_rules().await;
}
