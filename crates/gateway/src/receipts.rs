//! `GET /v1/receipts/{request id}`: what became of a request, told to its caller.
//!
//! Names and numbers of the ledger, no text. Callers are anonymous, so whoever knows an id may ask; ids that the gateway makes cannot be
//! guessed. One that callers name may come again: the newest exchange with it is the receipt, and `earlier` holds the others.
//! `comparisons` are there once they have ended, which is after the answer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use account::ledger::{Ledger, LedgerError, LedgerReader, Receipt, Record, RecordedTokens, Row};
use bytes::Bytes;
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use pingora_core::protocols::http::ServerSession;
use serde_json::{Value, json};
use tracing::error;
use wire::ApiError;

use crate::gateway::Gateway;
use crate::{intake, reply};

const PREFIX: &str = "/v1/receipts/";
/// Receipts that are looked up at the same time; others wait.
pub(crate) const LOOK_UPS_MAX: usize = 2;

/// How often, and how long apart, it is looked for a receipt that is not there: a caller has its answer a moment before its exchange is
/// settled.
const LOOKS: usize = 10;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Whether a path is answered here.
pub(crate) fn is_below(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// Answers for the receipt that the request on `session` asks for.
pub(crate) async fn answer(gateway: &Arc<Gateway>, session: &mut ServerSession, request_id: &str) {
    let header = session.req_header();
    if header.method != Method::GET {
        let method = header.method.clone();
        return reply::refuse_method(session, request_id, &method, "GET").await;
    }
    // Callers' ids may hold a colon, which many programs escape.
    let wanted = percent_decode_str(header.uri.path().strip_prefix(PREFIX).unwrap_or_default());
    let wanted = wanted.decode_utf8_lossy().into_owned();
    let found = match intake::check_host(header) {
        Ok(()) => find(gateway, wanted).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(body) => reply::json(session, request_id, StatusCode::OK, body).await,
        Err(error) => reply::error(session, request_id, &error).await,
    };
}

async fn find(gateway: &Gateway, wanted: String) -> Result<Bytes, Box<ApiError>> {
    let recording = gateway.recording.as_ref().map_err(|none| Box::new(ApiError::no_receipts(&none.reason)))?;
    let Ok(_permit) = recording.look_ups.acquire().await else { return Err(Box::new(ApiError::internal())) };
    let (ledger, path, id) = (Arc::clone(&recording.ledger), recording.path.clone(), wanted.clone());
    let mut found = look_up(&ledger, &path, &id).await;
    for _ in 1..LOOKS {
        if !matches!(found, Ok(Ok(None))) {
            break;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        found = look_up(&ledger, &path, &id).await;
    }
    match found.map_err(|failed| failed.to_string()).and_then(|found| found.map_err(|failed| failed.to_string())) {
        Ok(Some(receipt)) => Ok(to_json(&receipt).to_string().into()),
        Ok(None) => Err(Box::new(ApiError::receipt_not_found(&wanted))),
        Err(failed) => {
            error!(error = failed, "a receipt cannot be read");
            Err(Box::new(ApiError::internal()))
        }
    }
}

/// What was settled before is written first: a caller asks as soon as it has its answer.
async fn look_up(
    ledger: &Arc<Ledger>,
    path: &Path,
    id: &str,
) -> Result<Result<Option<Receipt>, LedgerError>, tokio::task::JoinError> {
    let (ledger, path, id) = (Arc::clone(ledger), path.to_owned(), id.to_owned());
    let read = move || {
        // Where that fails there may be a receipt all the same.
        let _ = ledger.flush();
        LedgerReader::open(&path)?.receipt(&id)
    };
    tokio::task::spawn_blocking(read).await
}

fn to_json(receipt: &Receipt) -> Value {
    let Receipt { newest: row, earlier, comparisons } = receipt;
    let mut newest = one(row);
    // What was compared since then left the device with it.
    let compared = comparisons.iter().filter(|other| other.head.seq > row.head.seq);
    let left = std::iter::once(row).chain(compared).map(|row| row.record.left_device());
    let (what, bytes) = left.fold(("nothing", 0), |(what, sum), (of_one, bytes)| {
        (if of_one == "nothing" { what } else { of_one }, sum + bytes)
    });
    newest["left_device"] = json!({"what": what, "bytes": bytes});
    for (name, rows) in [("earlier", earlier), ("comparisons", comparisons)] {
        if !rows.is_empty() {
            newest[name] = rows.iter().map(one).collect();
        }
    }
    newest
}

/// All of them, also those that a record leaves out as they are zero.
fn tokens(RecordedTokens { input, cached, output, estimated }: RecordedTokens) -> Value {
    json!({"input": input, "cached": cached, "output": output, "estimated": estimated})
}

/// What is told of one exchange.
pub(crate) fn one(row: &Row) -> Value {
    let Record { decision, attempts, .. } = &row.record;
    let record = &row.record;
    let (what, bytes) = record.left_device();
    let attempts: Vec<_> = attempts
        .iter()
        .map(|attempt| {
            json!({
                "target": attempt.target, "locality": attempt.locality, "outcome": attempt.outcome,
                "hedge": attempt.hedge, "duration_ms": attempt.duration_ms, "sent_bytes": attempt.sent_bytes,
                "tokens": attempt.tokens.map(tokens), "cost_usd": attempt.cost_usd,
            })
        })
        .collect();
    json!({
        "object": "receipt",
        "request_id": record.request_id,
        "at_ms": record.at_ms,
        "kind": record.kind,
        "outcome": record.outcome,
        "target": record.target,
        "locality": record.locality,
        "reason": decision.as_ref().map(|decision| &decision.reason),
        "policy": decision.as_ref().map(|decision| &decision.policy),
        "left_device": {"what": what, "bytes": bytes},
        "cache": record.cache,
        "duration_ms": record.duration_ms,
        "ttft_ms": record.ttft_ms,
        "tokens": record.tokens.map(tokens),
        "cost_usd": record.cost_usd,
        "cost_avoided_usd": record.cost_avoided_usd,
        "reference": record.reference.as_ref().map(|reference| &reference.target),
        "attempts": attempts,
        "ledger": {"seq": row.head.seq, "hash": row.head.hash.to_string()},
    })
}
