//! Placement, proven on the wire: of requests that stay on the device not one byte leaves towards the cloud, whatever fails on the
//! device.
//!
//! Worker and cloud run in network namespaces of their own, the cloud behind a pair of virtual interfaces whose counters are the
//! proof. Where namespaces cannot be made (no Linux, no root), the cloud is a scripted upstream that counts connections.

use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testkit::{Gateway, ScriptedUpstream, bin};
use tokio::task::JoinSet;

use crate::support::{BARE, Reply, chat};

/// Requests that have to stay on the device.
const REQUESTS: usize = 192;
/// Of which so many run at the same time.
const TOGETHER: usize = 12;

/// Runs `ip` with these arguments.
fn ip(arguments: &str) -> Result<(), String> {
    let ran = Command::new("ip").args(arguments.split_whitespace()).output();
    let ran = ran.map_err(|error| format!("ip cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
    if ran.status.success() { Ok(()) } else { Err(format!("ip {arguments}: {said}")) }
}

/// Two namespaces, one for the worker with nothing but loopback, and one for the cloud, which this one reaches through `near`.
struct Namespaces {
    worker: String,
    cloud: String,
    near: String,
    /// The cloud's address.
    address: String,
}

impl Namespaces {
    fn make() -> Result<Self, String> {
        let id = std::process::id();
        let (worker, cloud, near, far) =
            (format!("tgw{id}"), format!("tgc{id}"), format!("tgn{id}"), format!("tgf{id}"));
        // Of 198.18.0.0/15, which is set aside for measurements: four addresses for each test run.
        let (third, fourth) = ((id >> 6) & 0xff, (id & 0x3f) << 2);
        let [ours, address] = [1, 2].map(|host| format!("198.18.{third}.{}", fourth + host));
        let made = Self { worker, cloud, near, address };
        let Self { worker, cloud, near, address } = &made;
        ip(&format!("netns add {worker}"))?;
        ip(&format!("netns add {cloud}"))?;
        ip(&format!("link add {near} type veth peer name {far} netns {cloud}"))?;
        // Without addresses of IPv6 there is nothing that an idle interface would send by itself.
        ip(&format!("link set {near} addrgenmode none"))?;
        ip(&format!("-n {cloud} link set {far} addrgenmode none"))?;
        ip(&format!("addr add {ours}/30 dev {near}"))?;
        ip(&format!("-n {cloud} addr add {address}/30 dev {far}"))?;
        ip(&format!("-n {cloud} link set {far} up"))?;
        ip(&format!("link set {near} up"))?;
        Ok(made)
    }

    /// Bytes that went towards the cloud and came from there, and packets, of any protocol.
    fn counters(&self) -> [u64; 4] {
        ["tx_bytes", "rx_bytes", "tx_packets", "rx_packets"].map(|name| {
            let file = format!("/sys/class/net/{}/statistics/{name}", self.near);
            std::fs::read_to_string(&file).unwrap().trim().parse().unwrap()
        })
    }

    /// A program in the namespace of the cloud.
    fn in_cloud(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.cloud]);
        command
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // The pair of interfaces goes with the namespace that one of them is in.
        for namespace in [&self.worker, &self.cloud] {
            let _ = ip(&format!("netns del {namespace}"));
        }
    }
}

/// Where the cloud is, and how it is known that nobody spoke to it.
enum Cloud {
    Namespace { namespaces: Namespaces, child: Child, base_url: String },
    Counting(ScriptedUpstream),
}

impl Cloud {
    async fn start() -> Self {
        match Namespaces::make() {
            Ok(namespaces) => {
                let listen = format!("{}:0", namespaces.address);
                let mut child = namespaces.in_cloud();
                let child = child.arg(bin("bench-upstream")).args(["--listen", &listen]).stdout(Stdio::piped());
                let mut child = child.spawn().unwrap();
                let mut line = String::new();
                BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
                let facts: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
                let base_url = format!("http://{}/v1", facts["addr"].as_str().unwrap());
                Self::Namespace { namespaces, child, base_url }
            }
            Err(error) => {
                eprintln!("SKIPPED: no network namespaces here ({error}); connections are counted instead");
                Self::Counting(ScriptedUpstream::start().await)
            }
        }
    }

    fn base_url(&self) -> String {
        match self {
            Self::Namespace { base_url, .. } => base_url.clone(),
            Self::Counting(upstream) => upstream.base_url(),
        }
    }

    fn assert_untouched(&self, when: &str) {
        match self {
            Self::Namespace { namespaces, .. } => {
                assert_eq!(namespaces.counters(), [0; 4], "{when}: bytes and packets to and from the cloud");
            }
            Self::Counting(upstream) => assert_eq!(upstream.connections_total(), 0, "{when}"),
        }
    }

    /// That the counters count.
    fn assert_touched(&self) {
        match self {
            Self::Namespace { namespaces, .. } => {
                let [sent, received, ..] = namespaces.counters();
                assert!(sent > 100 && received > 100, "{sent} {received}");
            }
            Self::Counting(upstream) => assert!(upstream.connections_total() > 0),
        }
    }

    /// A program by which the worker is started: in its own namespace where there is one.
    fn engine(&self, folder: &Path) -> PathBuf {
        let worker = bin("fake-llama-server");
        let Self::Namespace { namespaces, .. } = self else { return worker };
        let script = folder.join("llama-server");
        let (namespace, worker) = (&namespaces.worker, worker.display());
        std::fs::write(&script, format!("#!/bin/sh\nexec ip netns exec {namespace} '{worker}' \"$@\"\n")).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        script
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        if let Self::Namespace { child, .. } = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A request that has to stay on the device, for one of several reasons.
fn device_only(gateway: &Gateway, n: usize) -> reqwest::RequestBuilder {
    let text = if n % 4 == 3 { "Why was 4111 1111 1111 1111 declined?" } else { "hello" };
    let mut body = json!({"model": "auto", "messages": [{"role": "user", "content": format!("{text} ({n})")}]});
    body["stream"] = n.is_multiple_of(2).into();
    let cloudwards = chat(gateway, &body);
    match n % 4 {
        0 => cloudwards.header("x-tidegate-mode", "prefer_in_cloud").header("x-tidegate-privacy", "restricted"),
        1 => cloudwards.header("x-tidegate-mode", "only_on_device"),
        2 => cloudwards.header("x-tidegate-mode", "prefer_in_cloud").header("x-tidegate-privacy", "confidential"),
        _ => cloudwards.header("x-tidegate-mode", "prefer_in_cloud"),
    }
}

/// Kills the youngest worker again and again, at moments that nobody planned, as long as requests run.
async fn kill_workers(starts: PathBuf) {
    loop {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(60..300))).await;
        let pids = std::fs::read_to_string(&starts).unwrap_or_default();
        if let Some(pid) = pids.lines().last().and_then(|pid| Pid::from_raw(pid.parse().ok()?)) {
            // One that is dead already is as good.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_one_byte_of_a_device_only_request_leaves_towards_the_cloud() {
    let folder = tempfile::tempdir().unwrap();
    let (model, starts) = (folder.path().join("m.gguf"), folder.path().join("starts"));
    std::fs::write(&model, "GGUF").unwrap();
    let cloud = Cloud::start().await;
    let mut config = format!("{BARE}engine: {{path: '{}'}}\n", cloud.engine(folder.path()).display());
    config += "network: {probe: {enabled: false}}\ntargets:\n";
    // One that dies of its third request, one that breaks off in each stream, one that is only killed.
    for (name, behaviour) in
        [("a", "--fake-crash-on-chat, '3'"), ("b", "--fake-crash-after, '2'"), ("c", "--fake-chunks, '8'")]
    {
        write!(
            config,
            "  - id: local/{name}\n    provider: llama_cpp\n    model_path: '{}'\n    extra_args: [{behaviour}, --fake-start-log, '{}']\n    timeouts: {{connect_ms: 1500}}\n",
            model.display(),
            starts.display()
        )
        .unwrap();
    }
    writeln!(config, "  - {{id: cloud/x, provider: openai, model: m, base_url: '{}'}}", cloud.base_url()).unwrap();
    let gateway = Arc::new(Gateway::start(&config).await);

    let chaos = tokio::spawn(kill_workers(starts.clone()));
    let mut running = JoinSet::new();
    let (mut answered, mut refused, mut broken) = (0, 0, 0);
    let mut sort = |reply: Reply| {
        let target = reply.header("x-tidegate-target").to_owned();
        assert!(target.is_empty() || target.starts_with("local/"), "{target}");
        match reply.status {
            200 if reply.text.contains("\"error\"") => broken += 1,
            200 => answered += 1,
            status => {
                assert!(status >= 429, "{}", reply.text);
                refused += 1;
            }
        }
    };
    for n in 0..REQUESTS {
        if running.len() == TOGETHER {
            sort(running.join_next().await.unwrap().unwrap());
        }
        let gateway = Arc::clone(&gateway);
        running.spawn(async move { Reply::of(device_only(&gateway, n)).await });
    }
    while let Some(reply) = running.join_next().await {
        sort(reply.unwrap());
    }
    chaos.abort();
    let children = std::fs::read_to_string(&starts).unwrap().lines().count();
    println!(
        "{REQUESTS} requests: {answered} answered, {broken} broken off, {refused} refused; {children} workers started"
    );
    assert!(answered > REQUESTS / 4 && children > 5, "the chaos was one, and not all of it");
    cloud.assert_untouched("after the requests that stay");

    // One that may leave: the cloud is there, and the counters count.
    let body = json!({"model": "auto", "messages": [{"role": "user", "content": "hello"}]});
    let reply = Reply::of(chat(&gateway, &body).header("x-tidegate-mode", "only_in_cloud")).await;
    assert_eq!((reply.status, reply.header("x-tidegate-target")), (200, "cloud/x"), "{}", reply.text);
    cloud.assert_touched();
}
