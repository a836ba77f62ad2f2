//! One connection from accept to end: read a request, take a behaviour, perform its steps, log it all.
//!
//! What the steps are is decided in `steps.rs`.

use super::link::{Link, PeerLeft};
use super::log::{Attempt, Ending, Kind, Recorder};
use super::request::{Ask, NoRequest, Request};
use super::steps::{Step, steps};
use super::{Behaviour, Shared};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

/// Serves a connection until either side ends it.
pub(super) async fn serve(mut link: Link, connection: usize, shared: Arc<Shared>) {
    if let Some(behaviour) = shared.take_reset_on_accept() {
        let nothing = Request {
            method: String::new(),
            path: String::new(),
            headers: Vec::new(),
            body: Bytes::new(),
            wants_close: false,
        };
        let recorder = Recorder::begin(&shared.log, Kind::Scripted, attempt(connection, nothing, behaviour));
        link.reset();
        return recorder.ended(Ending::Reset);
    }
    loop {
        let request = match Request::read(&mut link).await {
            Ok(request) => request,
            Err(NoRequest::PeerLeft) => return,
            Err(NoRequest::Malformed(reason)) => {
                let reply = format!("HTTP/1.1 400 Scripted\r\ncontent-length: {}\r\n\r\n{reason}", reason.len());
                let _ = link.send(reply.as_bytes(), |_| ()).await;
                return link.close().await;
            }
        };
        let kind = if request.is_probe() { Kind::Probe } else { Kind::Scripted };
        let behaviour = shared.take(kind, &request.path);
        let ask = request.ask();
        let wants_close = request.wants_close;
        let recorder = Recorder::begin(&shared.log, kind, attempt(connection, request, behaviour.clone()));
        link = match play(link, &behaviour, &ask, &recorder, &shared).await {
            Some(link) if !wants_close => link,
            Some(link) => return link.close().await,
            None => return,
        };
    }
}

/// Performs one behaviour; the connection comes back if it can be used again.
async fn play(mut link: Link, behaviour: &Behaviour, ask: &Ask, recorder: &Recorder, shared: &Shared) -> Option<Link> {
    for step in steps(behaviour, ask, &shared.defaults(recorder.index())) {
        let outcome = match step {
            Step::Send(bytes) => link.send(&bytes, |progress| recorder.progress(progress)).await,
            Step::SendByteByByte(bytes) => send_singly(&mut link, &bytes, recorder).await,
            Step::Hold => hold(&mut link, recorder, shared).await,
            Step::Repeat(bytes) => loop {
                if let Err(left) = link.send(&bytes, |progress| recorder.progress(progress)).await {
                    break Err(left);
                }
                // The peer may take bytes without end; others on this thread must have their turn.
                tokio::task::yield_now().await;
            },
            Step::Finish => {
                recorder.ended(Ending::Completed);
                return Some(link);
            }
            Step::Close => {
                link.close().await;
                recorder.ended(Ending::Closed);
                return None;
            }
            Step::Reset => {
                link.reset();
                recorder.ended(Ending::Reset);
                return None;
            }
        };
        if outcome.is_err() {
            recorder.ended(Ending::PeerClosed);
            return None;
        }
    }
    unreachable!("the last step of a behaviour ends it");
}

async fn send_singly(link: &mut Link, bytes: &[u8], recorder: &Recorder) -> Result<(), PeerLeft> {
    for byte in bytes {
        link.send(std::slice::from_ref(byte), |progress| recorder.progress(progress)).await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn hold(link: &mut Link, recorder: &Recorder, shared: &Shared) -> Result<(), PeerLeft> {
    recorder.held(true);
    let outcome = tokio::select! {
        () = link.peer_left() => Err(PeerLeft),
        permit = shared.releases.acquire() => {
            permit.expect("the semaphore is never closed").forget();
            Ok(())
        }
    };
    recorder.held(false);
    outcome
}

fn attempt(connection: usize, request: Request, behaviour: Behaviour) -> Attempt {
    Attempt {
        connection,
        method: request.method,
        path: request.path,
        headers: request.headers,
        body: request.body,
        behaviour,
        arrived_at: Instant::now(),
        bytes_sent: 0,
        is_held: false,
        is_blocked: false,
        ended: None,
    }
}
