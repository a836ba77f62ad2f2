//! `/v1/outbox`: what is kept, one entry with its answer, and its deletion.

use std::collections::HashMap;

use ::http::{Method, StatusCode};
use account::OutboxResult;
use account::outbox::{Entry, EntryId, EntryState};
use bytes::Bytes;
use pingora_core::protocols::http::ServerSession;
use serde::Serialize;
use serde_json::value::RawValue;
use wire::ApiError;

use super::envelope::Told;
use super::{ANONYMOUS, Outbox, unusable};
use crate::gateway::Gateway;
use crate::{intake, reply};

/// The address of the list.
const LIST_PATH: &str = "/v1/outbox";
/// What is told for each entry of a page at most.
const PAGE_MAX: u32 = 100;
const PAGE_DEFAULT: u32 = 20;

/// An entry as its caller sees it. Times are Unix times in seconds.
#[derive(Serialize)]
struct Shown<'a> {
    id: String,
    object: &'static str,
    status: &'static str,
    created_at: i64,
    /// When it stops waiting, or, once it is finished, is removed.
    expires_at: i64,
    finished_at: Option<i64>,
    request_id: &'a str,
    /// How often sending it was begun.
    attempts: u32,
    /// How many of these the end of the process cut off: a target may have answered without the answer being kept.
    interrupted_attempts: u32,
    target: Option<&'a str>,
    locality: Option<&'a str>,
    reason: Option<&'a str>,
    /// Why there is no answer, or none yet.
    error: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Response<'a>>,
}

/// The reply that a caller who waited would have got.
#[derive(Serialize)]
struct Response<'a> {
    status_code: u16,
    request_id: &'a str,
    body: &'a RawValue,
}

impl<'a> Shown<'a> {
    fn of(entry: &'a Entry, told: &'a Told) -> Self {
        let seconds = |ms: i64| ms.div_euclid(1000);
        Self {
            id: entry.id.to_string(),
            object: "outbox.entry",
            status: entry.state.as_str(),
            created_at: seconds(entry.created_ms),
            expires_at: seconds(entry.expires_ms),
            finished_at: entry.finished_ms.map(seconds),
            request_id: &entry.request_id,
            attempts: entry.sends,
            interrupted_attempts: entry.interrupted,
            target: told.target.as_deref(),
            locality: told.locality.as_deref(),
            reason: told.reason.as_deref(),
            error: told.error_object(),
            response: None,
        }
    }
}

/// Whether this path is the list or something below it.
pub(crate) fn is_below(path: &str) -> bool {
    path.strip_prefix(LIST_PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The address of an entry.
pub(super) fn location(id: EntryId) -> String {
    format!("{LIST_PATH}/{id}")
}

/// An entry without its answer.
pub(super) fn entry_json(entry: &Entry) -> Bytes {
    let told = Told::read(&entry.outcome);
    serde_json::to_vec(&Shown::of(entry, &told)).unwrap_or_default().into()
}

/// Answers a request for `/v1/outbox` or what is below it.
pub(crate) async fn answer(gateway: &Gateway, session: &mut ServerSession, request_id: &str) {
    let header = session.req_header();
    let (path, method) = (header.uri.path().to_owned(), header.method.clone());
    let query = header.uri.query().unwrap_or_default().to_owned();
    if gateway.config.listen.ip().is_loopback()
        && let Err(error) = intake::check_host(header)
    {
        reply::error(session, request_id, &error).await;
        return;
    }
    let Ok(_permit) = gateway.in_flight.try_acquire() else {
        reply::error(session, request_id, &ApiError::too_many_in_flight(gateway.config.limits.in_flight_max)).await;
        return;
    };
    let id = path.strip_prefix(LIST_PATH).and_then(|rest| rest.strip_prefix('/'));
    let allowed = if id.is_some() { "GET, DELETE" } else { "GET" };
    let _reading = match (&gateway.outbox, id) {
        // The semaphore is never closed.
        (Ok(outbox), Some(_)) => outbox.reads.acquire().await.ok(),
        _ => None,
    };
    let answered = match (&gateway.outbox, id, &method) {
        (_, None, method) if method != Method::GET => {
            return reply::refuse_method(session, request_id, method, allowed).await;
        }
        (_, Some(_), method) if !matches!(*method, Method::GET | Method::DELETE) => {
            return reply::refuse_method(session, request_id, method, allowed).await;
        }
        (Err(reason), ..) => Err(Box::new(ApiError::outbox_off(reason))),
        (Ok(outbox), None, _) => list(outbox, &query).await,
        (Ok(outbox), Some(id), &Method::DELETE) => delete(gateway, outbox, id).await,
        (Ok(outbox), Some(id), _) => show(outbox, id).await,
    };
    match answered {
        Ok(body) => reply::json(session, request_id, StatusCode::OK, body).await,
        Err(error) => reply::error(session, request_id, &error).await,
    };
}

/// An id that is none and one that names nothing are the same to a caller.
fn parse(id: &str) -> Result<EntryId, Box<ApiError>> {
    EntryId::parse(id).map_err(|_| Box::new(ApiError::outbox_entry_not_found(id)))
}

async fn show(outbox: &Outbox, id: &str) -> Result<Bytes, Box<ApiError>> {
    let id = parse(id)?;
    let found = outbox.blocking(move |store| store.entry(id, Some(ANONYMOUS))).await;
    let found = found.map_err(|failed| unusable(&failed))?;
    let (entry, answer) = found.ok_or_else(|| ApiError::outbox_entry_not_found(&id.to_string()))?;
    shown(&entry, answer).ok_or_else(|| Box::new(ApiError::internal()))
}

/// An entry with the reply that a caller who waited would have got; `None` for an answer that is not JSON.
pub(crate) fn shown(entry: &Entry, answer: Option<Vec<u8>>) -> Option<Bytes> {
    let told = Told::read(&entry.outcome);
    let body = match answer {
        Some(answer) => Some(RawValue::from_string(String::from_utf8(answer).ok()?).ok()?),
        None => None,
    };
    let mut shown = Shown::of(entry, &told);
    if let (true, Some(status_code)) = (entry.state.is_finished(), told.status_code) {
        let body = body.as_deref().or(told.error.as_deref())?;
        shown.response = Some(Response { status_code, request_id: &entry.request_id, body });
    }
    serde_json::to_vec(&shown).ok().map(Bytes::from)
}

/// Why an entry has no answer, or none yet, in one line.
pub(crate) fn why_not(entry: &Entry) -> Option<String> {
    Told::read(&entry.outcome).message()
}

#[derive(Serialize)]
struct Listed<'a> {
    object: &'static str,
    data: Vec<Shown<'a>>,
    first_id: Option<String>,
    last_id: Option<String>,
    has_more: bool,
}

async fn list(outbox: &Outbox, query: &str) -> Result<Bytes, Box<ApiError>> {
    let (after, limit) = page(query)?;
    let listed = outbox.blocking(move |store| store.list(Some(ANONYMOUS), after, limit)).await;
    let page = listed.map_err(|failed| unusable(&failed))?.ok_or_else(|| {
        Box::new(ApiError::invalid_value(
            "after",
            "`after` names no entry of the outbox; it may have been removed meanwhile",
        ))
    })?;
    let told: Vec<_> = page.entries.iter().map(|entry| Told::read(&entry.outcome)).collect();
    let id = |entry: Option<&Entry>| entry.map(|entry| entry.id.to_string());
    let listed = Listed {
        object: "list",
        data: page.entries.iter().zip(&told).map(|(entry, told)| Shown::of(entry, told)).collect(),
        first_id: id(page.entries.first()),
        last_id: id(page.entries.last()),
        has_more: page.has_more,
    };
    serde_json::to_vec(&listed).map(Bytes::from).map_err(|_| Box::new(ApiError::internal()))
}

/// `after` and `limit` of a query.
fn page(query: &str) -> Result<(Option<EntryId>, u32), Box<ApiError>> {
    let invalid = |param: &str, message: &str| Box::new(ApiError::invalid_value(param, message));
    let mut said: HashMap<&str, &str> = HashMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !matches!(name, "after" | "limit") {
            return Err(invalid("query", "the list of the outbox takes `after` and `limit`"));
        }
        if said.insert(name, value).is_some() {
            return Err(invalid(name, "is given twice"));
        }
    }
    let after = said.get("after").map(|id| {
        EntryId::parse(id).map_err(|error| invalid("after", &format!("`after` is the id of an entry: {error}")))
    });
    let limit = said.get("limit").map(|number| {
        let number = number.parse().ok().filter(|number| (1..=PAGE_MAX).contains(number));
        number.ok_or_else(|| invalid("limit", &format!("`limit` is a number from 1 to {PAGE_MAX}")))
    });
    Ok((after.transpose()?, limit.transpose()?.unwrap_or(PAGE_DEFAULT)))
}

async fn delete(gateway: &Gateway, outbox: &Outbox, id: &str) -> Result<Bytes, Box<ApiError>> {
    let id = parse(id)?;
    let deleted = outbox.delete(id).await.map_err(|failed| unusable(&failed))?;
    let state: EntryState = deleted.ok_or_else(|| ApiError::outbox_entry_not_found(&id.to_string()))?;
    if !state.is_finished() {
        gateway.metrics.outbox_result(OutboxResult::Deleted);
    }
    Ok(format!(r#"{{"id":"{id}","object":"outbox.entry.deleted","deleted":true}}"#).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_and_what_is_wrong_is_named() {
        let id = EntryId::random().unwrap();
        assert_eq!(page("").unwrap(), (None, PAGE_DEFAULT));
        assert_eq!(page(&format!("limit=7&after={id}")).unwrap(), (Some(id), 7));
        for (query, param) in [
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("limit=-1", "limit"),
            ("limit=", "limit"),
            ("limit=1&limit=2", "limit"),
            ("after=../../etc", "after"),
            ("after=", "after"),
            ("order=asc", "query"),
        ] {
            let error = page(query).unwrap_err();
            assert_eq!((error.status, error.param.as_deref()), (400, Some(param)), "{query}");
        }
    }
}
