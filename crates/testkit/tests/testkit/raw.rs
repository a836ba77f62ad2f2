//! The raw client against a peer that the test plays itself.

use testkit::RawClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn pair() -> (RawClient, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let client = RawClient::connect(listener.local_addr().unwrap()).await;
    (client, listener.accept().await.unwrap().0)
}

#[tokio::test]
async fn half_closing_ends_one_direction_only() {
    let (mut client, mut peer) = pair().await;
    client.send("ask").await.unwrap();
    client.half_close().await.unwrap();
    let mut asked = String::new();
    peer.read_to_string(&mut asked).await.unwrap();
    peer.write_all(b"answer").await.unwrap();
    drop(peer);
    assert_eq!((asked.as_str(), client.read_to_end().await.unwrap()), ("ask", b"answer".to_vec()));
}

#[tokio::test]
async fn a_reset_is_seen_as_one() {
    let (client, mut peer) = pair().await;
    client.reset();
    assert_eq!(peer.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn reading_until_keeps_what_follows() {
    let (mut client, mut peer) = pair().await;
    peer.write_all(b"one;two;thr").await.unwrap();
    drop(peer);
    assert_eq!(client.read_until(";").await.unwrap(), b"one;");
    assert_eq!(client.read_some(3).await.unwrap(), b"two");
    assert_eq!(client.read_until(";").await.unwrap(), b";");
    assert_eq!(client.read_until(";").await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(client.read_to_end().await.unwrap(), b"thr");
}

#[tokio::test]
async fn replies_are_read_by_their_framing() {
    let (mut client, mut peer) = pair().await;
    peer.write_all(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi\
          HTTP/1.1 201 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
          HTTP/1.1 204 None\r\n\r\nHTTP/1.0 500 Bad\r\nX-A: b\r\n\r\nrest",
    )
    .await
    .unwrap();
    drop(peer);
    for (status, body) in [(200, "hi"), (201, "abc"), (204, ""), (500, "rest")] {
        let reply = client.read_reply().await.unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (status, body));
    }
}
