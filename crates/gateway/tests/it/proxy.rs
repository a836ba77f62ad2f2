//! The system's proxy: the way to the cloud goes through it, the way to machines of one's own never does.

use testkit::{Behaviour, Gateway, ScriptedUpstream};

use crate::support::{LISTEN, Reply, chat, hello};

#[tokio::test]
async fn only_the_cloud_is_reached_through_the_proxy_that_the_system_names() {
    let (proxy, own) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    proxy.set_default(Behaviour::answer("through the proxy"));
    own.set_default(Behaviour::answer("directly"));
    let through = Some("http://model.invalid/v1/chat/completions");
    // What the system says, the locality of the target, and the request line that the proxy sees, if any.
    let cases = [
        ("http_proxy", "cloud", "http://model.invalid/v1", through),
        ("ALL_PROXY", "cloud", "http://model.invalid/v1", through),
        ("http_proxy", "network", &own.base_url(), None),
        ("http_proxy", "device", &own.base_url(), None),
        // A proxy for TLS alone.
        ("https_proxy", "cloud", &own.base_url(), None),
    ];
    for (variable, locality, base_url, seen) in cases {
        let config = format!(
            "{LISTEN}targets:\n  - {{id: t/t, provider: openai, model: m, base_url: '{base_url}', locality: {locality}}}\n"
        );
        let before = proxy.attempts().len();
        let gateway = Gateway::builder(&config).env(variable, format!("http://{}", proxy.addr())).start().await;
        let reply = Reply::of(chat(&gateway, &hello())).await;
        let expected = if seen.is_some() { "through the proxy" } else { "directly" };
        assert!(reply.text.contains(expected), "{variable} {locality}: {}", reply.text);
        let attempts = proxy.attempts();
        assert_eq!(attempts.get(before).map(|attempt| attempt.path.as_str()), seen, "{variable} {locality}");
    }
}
