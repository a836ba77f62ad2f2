//! Says on standard output where the gateway listens, what it can reach, and a first request that works.

use std::net::SocketAddr;

use crate::gateway::Gateway;

/// The announcement of a gateway that listens on `data` and `admin`.
pub(crate) fn announcement(gateway: &Gateway, data: SocketAddr, admin: SocketAddr) -> String {
    let mut text = format!(
        "\nTidegate is up.\n\n  OpenAI endpoint  http://{data}/v1\n  admin            http://{admin} (/healthz /readyz /metrics)\n\n  targets\n"
    );
    let facts = gateway.dispatcher.facts(None);
    let width = facts.iter().map(|target| target.id().as_str().len()).max().unwrap_or(0);
    for target in &facts {
        let (id, locality, state) = (target.id().as_str(), target.locality().as_str(), target.state.as_str());
        text.push_str(&format!("    {id:width$}  {locality:6}  {state}\n"));
    }
    for (id, variable) in &gateway.config.disabled {
        text.push_str(&format!("    {id:width$}  off: set {variable} to use it\n"));
    }
    text.push_str(&format!(
        "\n  try it\n    curl http://{data}/v1/chat/completions -H 'content-type: application/json' \\\n      -d '{{\"model\":\"auto\",\"messages\":[{{\"role\":\"user\",\"content\":\"Say hello in five words.\"}}]}}'\n"
    ));
    text
}
