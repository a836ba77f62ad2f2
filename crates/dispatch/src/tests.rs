//! The egress assertion and the sorting of addresses; the rest is tested through the built gateway.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use policy::{Facts, Locality, Outcome, Placement, Privacy, RequestFacts, TargetId, TargetProfile};
use testkit::ScriptedUpstream;

use crate::Destination;
use crate::egress::{self, Message, Wait};
use crate::sent::Sent;
use crate::way::Way;

fn destination(base_url: &str, locality: Locality) -> Result<Destination, crate::DestinationError> {
    Destination::openai(base_url, None, HeaderMap::new(), locality, Duration::from_secs(2))
}

fn wait() -> Wait<'static> {
    let due = tokio::time::Instant::now() + Duration::from_secs(2);
    Wait { due, late: Outcome::TotalTimeout, way: Way::new(None) }
}

#[tokio::test]
async fn egress_never_connects_to_a_destination_that_the_placement_forbids() {
    let upstream = ScriptedUpstream::start().await;
    let cloud = destination(&upstream.base_url(), Locality::Cloud).unwrap();
    let placement = |privacy| {
        let request = RequestFacts { privacy, ..RequestFacts::default() };
        Placement::of_request(&Facts { request, ..Facts::default() }).unwrap()
    };
    let profile = |locality| TargetProfile::new(TargetId::new("cloud/a").unwrap(), locality);
    let (device_only, in_cloud) = (placement(Privacy::Restricted), profile(Locality::Cloud));
    let send = async |placement: &Placement, profile: &TargetProfile| {
        let out = Sent::default();
        let message = Message { body: Bytes::from_static(b"{}"), stream: false, trace: None };
        let sent = egress::send(placement, profile, &cloud, message, &out, wait()).await;
        (sent.map(|response| response.status()).map_err(|failure| failure.outcome), out.bytes())
    };
    assert_eq!(send(&device_only, &in_cloud).await, (Err(Outcome::ConnectFailed), 0));
    assert_eq!(upstream.connections_total(), 0);

    // A destination elsewhere than its target is said to be.
    assert_eq!(send(&device_only, &profile(Locality::Device)).await, (Err(Outcome::ConnectFailed), 0));
    assert_eq!(upstream.connections_total(), 0);

    assert_eq!(send(&placement(Privacy::Public), &in_cloud).await, (Ok(200), 2));
    assert_eq!(upstream.connections_total(), 1);
}

#[test]
fn only_loopback_addresses_are_on_the_device() {
    for base in ["http://127.0.0.1:1/v1", "http://127.9.9.9/v1", "http://[::1]:1/v1", "http://localhost:1/v1/"] {
        assert_eq!(destination(base, Locality::Device).unwrap().locality(), Locality::Device, "{base}");
    }
    for base in ["http://10.0.0.1/v1", "http://0.0.0.0/v1", "http://localhost.example.com/v1", "https://example.com/v1"]
    {
        assert!(destination(base, Locality::Device).is_err(), "{base}");
        assert!(destination(base, Locality::Cloud).is_ok(), "{base}");
    }
}

#[test]
fn addresses_that_are_none_and_credentials_in_them_are_refused() {
    for base in [
        "",
        "example.com/v1",
        "/v1",
        "ftp://example.com",
        "unix:/tmp/x",
        "http://user:pw@example.com/v1",
        "ftp://user:pw@h/v1",
        "http://h/v1?key=pw@",
        "http://h#@evil.com/v1",
        "http://h/v1/chat/completions/",
    ] {
        let error = destination(base, Locality::Cloud).unwrap_err().to_string();
        assert!(!error.contains("pw@"), "{error}");
    }
    let key =
        Destination::openai("http://a/v1", Some("a\nb"), HeaderMap::new(), Locality::Cloud, Duration::from_secs(1));
    assert!(key.is_err());
}

#[test]
fn a_key_never_shows_in_debug() {
    for base in ["https://example.com/v1", "http://example.com/v1"] {
        let (headers, connect) = (HeaderMap::new(), Duration::from_secs(1));
        let destination = Destination::openai(base, Some("sk-secret"), headers, Locality::Cloud, connect).unwrap();
        assert!(!format!("{destination:?}").contains("sk-secret"), "{base}");
    }
}
