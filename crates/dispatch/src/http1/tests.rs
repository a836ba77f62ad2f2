//! Whole exchanges with a server that says exactly what a test wants.

mod framing;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinSet, yield_now};

use super::head::HEAD_BYTES_MAX;
use super::link::READ_BYTES;
use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const PATIENCE: Duration = Duration::from_secs(10);

/// What the server does on a connection, in order; after that it waits until the client leaves.
#[derive(Clone, Debug)]
enum Step {
    /// Reads a request and writes this.
    Answer(String),
    /// Writes this at once.
    Say(String),
    /// Waits until the test goes on.
    Wait,
    /// Closes.
    Close,
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Request(String),
    Closed,
    Left,
}

/// A server with a script for each connection; the last one holds for all that follow.
struct Server {
    client: Client,
    go_on: Arc<Notify>,
    seen: UnboundedReceiver<(usize, Seen)>,
    _accepting: JoinSet<()>,
}

impl Server {
    async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, seen) = unbounded_channel();
        let go_on = Arc::new(Notify::new());
        let wait = Arc::clone(&go_on);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut playing = JoinSet::new();
            for number in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                let script = scripts.get(number).or(scripts.last()).cloned().unwrap_or_default();
                playing.spawn(play(socket, script, number, tell.clone(), Arc::clone(&wait)));
            }
        });
        let address = Address::Tcp { host: "127.0.0.1".to_owned(), port };
        let client = Client::new(address, "test", "/v1/chat/completions", &HeaderMap::new(), PATIENCE);
        Self { client, go_on, seen, _accepting: accepting }
    }

    async fn answering(answer: &str) -> Self {
        Self::start(vec![vec![Step::Answer(answer.to_owned()), Step::Close]]).await
    }

    /// The next thing that the server sees, with the number of its connection.
    async fn next(&mut self) -> (usize, Seen) {
        tokio::time::timeout(PATIENCE, self.seen.recv()).await.unwrap().unwrap()
    }

    async fn ask(&self) -> Result<(u16, String), Error> {
        let mut response =
            self.client.post("application/json", None, Bytes::from_static(b"{}"), &Sent::default()).await?;
        let mut body = BytesMut::new();
        while response.read(&mut body).await? {}
        Ok((response.head().status, String::from_utf8(body.to_vec()).unwrap()))
    }
}

async fn play(
    mut socket: TcpStream,
    script: Vec<Step>,
    number: usize,
    tell: UnboundedSender<(usize, Seen)>,
    wait: Arc<Notify>,
) {
    for step in script {
        let text = match step {
            Step::Answer(text) => {
                let Some(request) = read_request(&mut socket).await else { break };
                tell.send((number, Seen::Request(request))).unwrap();
                text
            }
            Step::Say(text) => text,
            Step::Wait => {
                wait.notified().await;
                continue;
            }
            Step::Close => {
                drop(socket);
                let _ = tell.send((number, Seen::Closed));
                return;
            }
        };
        let _ = socket.write_all(text.as_bytes()).await;
    }
    while let Ok(1..) = socket.read(&mut [0; 1024]).await {}
    let _ = tell.send((number, Seen::Left));
}

async fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    // Every request of these tests ends so.
    while !request.ends_with(b"\r\n\r\n{}") {
        request.push(socket.read_u8().await.ok()?);
    }
    String::from_utf8(request).ok()
}

#[tokio::test]
async fn answers_of_every_shape_are_read_to_their_end() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    let cases = [
        (OK.to_owned(), 200, "ok"),
        (format!("{interim}{OK}"), 200, "ok"),
        ("HTTP/1.0 200 OK\r\n\r\nuntil the end".to_owned(), 200, "until the end"),
        ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), 204, ""),
        ("HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n".to_owned(), 307, ""),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: y\r\n\r\n".to_owned(), 200, "ok"),
    ];
    for (answer, status, body) in cases {
        let server = Server::answering(&answer).await;
        assert_eq!(server.ask().await.unwrap(), (status, body.to_owned()), "{answer}");
    }
}

#[tokio::test]
async fn no_broken_answer_ends_as_if_it_were_whole() {
    let head = "HTTP/1.1 200 OK\r\n";
    let cases = [
        (String::new(), "connection closed before message completed"),
        ("HTTP/1.1 200".to_owned(), "connection closed before message completed"),
        (format!("{head}content-length: 5\r\n\r\nhell"), "connection closed before message completed"),
        (format!("{head}transfer-encoding: chunked\r\n\r\n2\r\nok\r\n"), "connection closed before message completed"),
        (format!("{head}transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"), "connection closed before"),
        (format!("{head}transfer-encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n"), "a chunk longer than its size"),
        ("\u{1}\u{2}garbage\r\n\r\n".to_owned(), "not an HTTP/1 response"),
        (format!("{head}x: {}\r\n\r\n", "y".repeat(HEAD_BYTES_MAX)), "a response header beyond the limit"),
        (format!("{head}{}\r\n", "x: y\r\n".repeat(101)), "too many response header lines"),
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n".to_owned(), "interim responses"),
        ("HTTP/1.1 100 Continue\r\n\r\n".repeat(INTERIM_MAX + 1), "interim responses"),
    ];
    for (answer, reason) in cases {
        let server = Server::answering(&answer).await;
        let error = server.ask().await.unwrap_err().to_string();
        assert!(error.starts_with(reason), "{error}: {}", &answer[..answer.len().min(80)]);
        assert_eq!(server.client.pool.idle(), 0);
    }
}

#[tokio::test]
async fn what_came_before_a_fault_is_given_and_then_the_fault_again_and_again() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\nnonsense";
    let server = Server::answering(chunked).await;
    let mut response = server.client.post("a/b", None, Bytes::from_static(b"{}"), &Sent::default()).await.unwrap();
    let mut out = BytesMut::new();
    assert!(response.read(&mut out).await.unwrap());
    assert_eq!(out, "ok");
    for _ in 0..2 {
        assert_eq!(response.read(&mut out).await.unwrap_err().to_string(), "a chunk without a size");
    }
}

#[tokio::test]
async fn a_request_says_what_it_must_and_a_connection_that_left_nothing_behind_is_used_again() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: y\r\n\r\n";
    let script = [OK, chunked, "HTTP/1.1 204 No Content\r\n\r\n", OK].map(|text| Step::Answer(text.to_owned()));
    let mut server = Server::start(vec![script.to_vec()]).await;
    for _ in 0..4 {
        server.ask().await.unwrap();
        let request = "POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\naccept: application/json\r\n\
                       content-length: 2\r\n\r\n{}";
        assert_eq!(server.next().await, (0, Seen::Request(request.to_owned())));
    }
    for behind in [format!("{OK}HTTP/1.1 200 OK\r\n"), OK.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")] {
        let server = Server::start(vec![vec![Step::Answer(behind.clone())]]).await;
        assert_eq!(server.ask().await.unwrap().1, "ok");
        assert_eq!(server.client.pool.idle(), 0, "{behind}");
    }
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_or_talks_unasked_is_not_used() {
    for end in [Step::Close, Step::Say("HTTP/1.1 408 Too Late\r\n\r\n".to_owned())] {
        let answer = Step::Answer(OK.to_owned());
        let mut server = Server::start(vec![vec![answer.clone(), Step::Wait, end.clone()], vec![answer]]).await;
        server.ask().await.unwrap();
        assert!(matches!(server.next().await, (0, Seen::Request(_))));
        assert_eq!(server.client.pool.idle(), 1);
        server.go_on.notify_one();
        // Until the server has done what it does next, and the runtime has looked at the sockets after that.
        while server.client.pool.is_quiet() {
            yield_now().await;
        }
        assert_eq!(server.ask().await.unwrap().1, "ok", "{end:?}");
        let mut requests = 0;
        while requests == 0 {
            if let (1, Seen::Request(_)) = server.next().await {
                requests += 1;
            }
        }
        assert!(server.seen.try_recv().is_err(), "the request went out once");
    }
}

#[tokio::test]
async fn a_closed_connection_is_seen_by_a_task_that_has_done_much_already() {
    let answer = Step::Answer(OK.to_owned());
    let mut server = Server::start(vec![vec![answer.clone(), Step::Wait, Step::Close], vec![answer]]).await;
    server.ask().await.unwrap();
    assert!(matches!(server.next().await, (0, Seen::Request(_))));
    server.go_on.notify_one();
    while server.client.pool.is_quiet() {
        yield_now().await;
    }
    // What tokio lets a task do at once is used up: everything that would read is told to wait.
    while tokio::task::coop::has_budget_remaining() {
        tokio::task::consume_budget().await;
    }
    assert_eq!(server.ask().await.unwrap().1, "ok");
}

#[tokio::test]
async fn a_connection_is_used_again_on_its_own_runtime_alone() {
    let mut server = Server::start(vec![vec![Step::Answer(OK.to_owned()); 3]]).await;
    let elsewhere = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let client = server.client.clone();
    let ask_there = || {
        let client = client.clone();
        elsewhere.spawn(async move {
            let mut response = client.post("*/*", None, Bytes::from_static(b"{}"), &Sent::default()).await.unwrap();
            while response.read(&mut BytesMut::new()).await.unwrap() {}
        })
    };
    server.ask().await.unwrap();
    ask_there().await.unwrap();
    assert_eq!(server.client.pool.idle(), 2);
    ask_there().await.unwrap();
    server.ask().await.unwrap();
    let mut used = Vec::new();
    for _ in 0..4 {
        used.push(server.next().await.0);
    }
    assert_eq!(used, [0, 1, 1, 0]);
    elsewhere.shutdown_background();
}

#[tokio::test]
async fn a_connection_lost_after_the_request_was_sent_is_told_and_takes_the_other_idle_ones_along() {
    let answer = Step::Answer(OK.to_owned());
    let twice = vec![answer.clone(), Step::Answer(String::new()), Step::Close];
    let mut server = Server::start(vec![twice]).await;
    let (first, second) = tokio::join!(server.ask(), server.ask());
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(server.client.pool.idle(), 2);
    assert!(matches!(server.ask().await, Err(Error::Closed)));
    assert_eq!(server.client.pool.idle(), 0);
    let mut requests = 0;
    while let Ok((_, seen)) = server.seen.try_recv() {
        requests += usize::from(matches!(seen, Seen::Request(_)));
    }
    assert_eq!(requests, 3, "what the target may have begun is not sent again from here");
    assert!(server.ask().await.is_ok(), "on a fresh connection");
}

#[tokio::test]
async fn dropping_a_request_or_a_response_closes_its_connection() {
    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok";
    let mut server = Server::start(vec![vec![Step::Answer(String::new())], vec![Step::Answer(begun.to_owned())]]).await;
    let waiting = server.client.clone();
    let waiting =
        tokio::spawn(
            async move { waiting.post("a/b", None, Bytes::from_static(b"{}"), &Sent::default()).await.is_ok() },
        );
    assert!(matches!(server.next().await, (0, Seen::Request(_))));
    waiting.abort();
    assert_eq!(server.next().await, (0, Seen::Left));
    let mut response = server.client.post("a/b", None, Bytes::from_static(b"{}"), &Sent::default()).await.unwrap();
    assert!(matches!(server.next().await, (1, Seen::Request(_))));
    assert!(response.read(&mut BytesMut::new()).await.unwrap());
    drop(response);
    assert_eq!(server.next().await, (1, Seen::Left));
}

#[tokio::test]
async fn a_request_that_has_to_be_heard_is_given_up_at_the_first_word() {
    let word = vec![Step::Answer(String::new()), Step::Wait, Step::Say("HTTP".to_owned())];
    let mut server = Server::start(vec![word]).await;
    let unheard = Unheard::default();
    unheard.heard().await;
    let (client, mut sent) = (server.client.clone(), Sent::default());
    sent.unheard = Some(unheard.clone());
    let asked = tokio::spawn(async move { client.post("a/b", None, Bytes::from_static(b"{}"), &sent).await.is_ok() });
    assert!(matches!(server.next().await, (0, Seen::Request(_))));
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    let mut heard = std::pin::pin!(unheard.heard());
    tokio::select! {
        biased;
        () = &mut heard => panic!("the target has said nothing yet"),
        () = std::future::ready(()) => {}
    }
    server.go_on.notify_one();
    heard.await;
    assert_eq!(server.next().await, (0, Seen::Left));
}

#[tokio::test]
async fn one_read_brings_all_that_is_there_and_no_more_than_its_limit() {
    let piece = format!("{:x}\r\n{}\r\n", 100, "x".repeat(100));
    let pieces = |count| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}", piece.repeat(count));
    let server = Server::answering(&pieces(3)).await;
    let mut response = server.client.post("a/b", None, Bytes::from_static(b"{}"), &Sent::default()).await.unwrap();
    let mut out = BytesMut::new();
    assert!(response.read(&mut out).await.unwrap());
    assert_eq!(out.len(), 300);

    let server = Server::answering(&pieces(10_000)).await;
    let mut response = server.client.post("a/b", None, Bytes::from_static(b"{}"), &Sent::default()).await.unwrap();
    for _ in 0..20 {
        let mut out = BytesMut::new();
        assert!(response.read(&mut out).await.unwrap());
        assert!(out.len() <= READ_BYTES, "{}", out.len());
    }
}

#[tokio::test]
async fn a_target_may_answer_before_it_has_taken_the_whole_request() {
    let refusal = "HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig";
    let server = Server::start(vec![vec![Step::Say(refusal.to_owned()), Step::Answer(String::new())]]).await;
    let mut response = server.client.post("a/b", None, vec![b'x'; 32 << 20].into(), &Sent::default()).await.unwrap();
    let mut body = BytesMut::new();
    while response.read(&mut body).await.unwrap() {}
    assert_eq!((response.head().status, &body[..]), (413, &b"big"[..]));
    assert_eq!(server.client.pool.idle(), 0, "half a request was sent on it");
}

#[tokio::test]
async fn a_connection_that_was_to_be_closed_is_not_used_again() {
    // The target does not repeat that it will be closed.
    let mut server = Server::start(vec![vec![Step::Answer(OK.to_owned()), Step::Answer(OK.to_owned())]]).await;
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let address = server.client.address().clone();
    let posting = Client::new(address.clone(), "test", "/", &headers, PATIENCE);
    // A worker has a thread for each that is open, also for looks at it.
    let getting = Client::getting(address, "test", "/", PATIENCE);
    for (connection, client) in [&posting, &posting, &getting, &getting].into_iter().enumerate() {
        let mut response = client.post("*/*", None, Bytes::from_static(b"{}"), &Sent::default()).await.unwrap();
        while response.read(&mut BytesMut::new()).await.unwrap() {}
        let (number, seen) = server.next().await;
        let Seen::Request(head) = seen else { panic!("{seen:?}") };
        assert!(number == connection && head.contains("connection: close"), "{number} {head}");
        assert_eq!(server.next().await, (connection, Seen::Left));
    }
}

#[tokio::test]
async fn idle_connections_are_few_and_do_not_stay_for_ever() {
    let mut server = Server::start(vec![vec![Step::Answer(OK.to_owned())]]).await;
    let mut responses = Vec::new();
    for _ in 0..IDLE_CONNECTIONS_MAX + 2 {
        responses.push(server.client.post("a/b", None, Bytes::from_static(b"{}"), &Sent::default()).await.unwrap());
    }
    for mut response in responses {
        while response.read(&mut BytesMut::new()).await.unwrap() {}
    }
    assert_eq!(server.client.pool.idle(), IDLE_CONNECTIONS_MAX);
    tokio::time::pause();
    tokio::time::advance(IDLE_MAX).await;
    while server.client.pool.idle() > 0 {
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    tokio::time::resume();
    let mut left = 0;
    while left < IDLE_CONNECTIONS_MAX + 2 {
        left += usize::from(server.next().await.1 == Seen::Left);
    }
}

#[tokio::test]
async fn no_connection_is_told_from_a_lost_one() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    for address in [
        Address::Tcp { host: "127.0.0.1".to_owned(), port },
        Address::Tcp { host: "localhost".to_owned(), port },
        Address::Unix("/nonexistent/socket".into()),
    ] {
        let client = Client::new(address.clone(), "test", "/", &HeaderMap::new(), PATIENCE);
        let failed = client.post("a/b", None, Bytes::new(), &Sent::default()).await.err();
        assert!(matches!(failed, Some(Error::Connect(_))), "{address:?}: {failed:?}");
    }
}
