//! One request on one connection: header within limits, path to handler, connection kept or closed.

use std::sync::Arc;
use std::time::Duration;

use account::TurnedAway;
use async_trait::async_trait;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::server::ShutdownWatch;
use tokio::time::timeout;
use wire::{ApiError, ModelList};

use crate::connection::Connection;
use crate::gateway::Gateway;
use crate::request_id::request_id;
use crate::{admin, exchange, intake, learning, outbox, receipts, reply, route};

/// How much longer than a body may take a single read may take.
const READ_TIMEOUT_MARGIN: Duration = Duration::from_secs(5);
/// How much longer than the limit the headers of an HTTP/2 request may be, as that counts them (32 bytes for each field), before they are answered by its
/// implementation and not here.
const H2_HEADER_SLACK_BYTES: u32 = 16 << 10;
/// The address of one model; ids hold slashes.
const ONE_MODEL_PREFIX: &str = "/v1/models/";

/// Which port a connection came in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Data,
    Admin,
}

/// Serves one port, as HTTP/1.1 or as HTTP/2 with prior knowledge.
pub(crate) struct App {
    pub gateway: Arc<Gateway>,
    pub port: Port,
    pub options: HttpServerOptions,
}

impl App {
    /// `h2c` says that the connection has begun with HTTP/2's preface.
    pub(crate) fn new(gateway: Arc<Gateway>, port: Port, h2c: bool) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2c = h2c;
        options.h2_idle_timeout = Some(gateway.config.limits.keepalive_timeout);
        Self { gateway, port, options }
    }

    /// Reads the header of the next request; `None` when there is none or it was refused here.
    async fn next_request(&self, session: &mut ServerSession) -> Option<()> {
        let limits = &self.gateway.config.limits;
        session.set_keepalive(Some(limits.keepalive_timeout.as_secs().max(1)));
        session.set_pipelining_enabled(true);
        session.set_write_timeout(Some(limits.write_timeout));
        // Only a second line: were it as short as the limit of the body, it could end the read first, and without a reply.
        session.set_read_timeout(Some(limits.body_timeout + READ_TIMEOUT_MARGIN));
        match timeout(limits.header_timeout, session.read_request()).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) | Err(_) => return None,
            Ok(Err(error)) if intake::has_left(&error) => return None,
            Ok(Err(_)) => {
                session.set_keepalive(None);
                self.turned_away(TurnedAway::Unreadable);
                // Fails only for a caller that left.
                let _ = reply::unreadable(session, &request_id(None)).await;
                return None;
            }
        }
        // Not before: reading a header sets it to what the caller wishes. A probe's connection is not kept: idle ones would use up
        // the few that the admin port has.
        if self.port == Port::Admin || self.gateway.is_draining() {
            session.set_keepalive(None);
        }
        let header = session.req_header();
        let is_framed_twice =
            header.headers.contains_key(TRANSFER_ENCODING) && header.headers.contains_key(CONTENT_LENGTH);
        let fields = header.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
        let target = header.uri.path_and_query().map_or(0, |target| target.as_str().len());
        let header_bytes = fields.sum::<usize>() + target;
        if is_framed_twice {
            // Whoever is in front may have read another request (RFC 9112, section 6.1).
            session.set_keepalive(None);
        }
        if header_bytes > limits.header_bytes_max {
            session.set_keepalive(None);
            self.turned_away(TurnedAway::HeaderTooLarge);
            reply::error(session, &request_id(None), &ApiError::header_too_large(limits.header_bytes_max)).await;
            return None;
        }
        Some(())
    }

    async fn next_exchange(&self, session: &mut ServerSession) -> Option<()> {
        self.next_request(session).await?;
        self.answer(session).await;
        Some(())
    }

    async fn answer(&self, session: &mut ServerSession) {
        let request_id = request_id(session.get_header("x-request-id"));
        if self.port == Port::Admin {
            return admin::answer(&self.gateway, session, &request_id).await;
        }
        let header = session.req_header();
        let (path, method) = (header.uri.path().to_owned(), header.method.clone());
        if let Err(error) = intake::check_origin(&header.headers) {
            self.turned_away(TurnedAway::ForeignOrigin);
            reply::error(session, &request_id, &error).await;
            return;
        }
        match (path.as_str(), &method) {
            ("/v1/chat/completions", &Method::POST) => {
                exchange::chat_completion(&self.gateway, session, &request_id).await;
            }
            ("/v1/route", &Method::POST) => route::explain(&self.gateway, session, &request_id).await,
            ("/v1/feedback", &Method::POST) => {
                learning::feedback::feedback(&self.gateway, session, &request_id).await;
            }
            (path, _) if receipts::is_below(path) => receipts::answer(&self.gateway, session, &request_id).await,
            (path, _) if outbox::is_below(path) => outbox::answer(&self.gateway, session, &request_id).await,
            ("/v1/models", &Method::GET) => {
                reply::json(session, &request_id, StatusCode::OK, self.models().to_json()).await;
            }
            (path, &Method::GET) if path.starts_with(ONE_MODEL_PREFIX) => {
                // Some clients escape the slash of an id.
                let id = &percent_decode_str(&path[ONE_MODEL_PREFIX.len()..]).decode_utf8_lossy();
                match self.models().one_to_json(id) {
                    Some(model) => reply::json(session, &request_id, StatusCode::OK, model).await,
                    None => reply::error(session, &request_id, &ApiError::model_not_found(id, self.ids())).await,
                };
            }
            ("/v1/chat/completions" | "/v1/route" | "/v1/feedback", _) => {
                self.turned_away(TurnedAway::MethodNotAllowed);
                reply::refuse_method(session, &request_id, &method, "POST").await;
            }
            ("/v1/models", _) => {
                self.turned_away(TurnedAway::MethodNotAllowed);
                reply::refuse_method(session, &request_id, &method, "GET").await;
            }
            _ => {
                self.turned_away(TurnedAway::NotFound);
                reply::error(session, &request_id, &ApiError::not_found(&path)).await;
            }
        }
    }

    /// Counts a request that does not become an exchange. Probes of the admin port are none.
    fn turned_away(&self, reason: TurnedAway) {
        if self.port == Port::Data {
            self.gateway.metrics.turned_away(reason);
        }
    }

    fn ids(&self) -> impl Iterator<Item = &str> {
        self.gateway.dispatcher.ids().map(policy::TargetId::as_str)
    }

    fn models(&self) -> ModelList {
        ModelList::new(std::iter::once(policy::AUTO_MODEL).chain(self.ids()), self.gateway.started_s)
    }
}

#[async_trait]
impl HttpServerApp for App {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.next_exchange(&mut session).await?;
        // A body that was refused unread is read away for a moment, so that the reply is not lost in a reset.
        if !session.is_body_done() {
            session.set_keepalive(None);
            let _ = timeout(crate::UNREAD_BODY_LIMIT, session.drain_request_body()).await;
        }
        let mut settings = HttpPersistentSettings::for_session(&session);
        let (stream, sent_ahead) = session.finish().await.ok()??.into_parts();
        match sent_ahead {
            Some(bytes) => settings.set_pipelined_prefix(bytes),
            // Here and not with the header, whose time begins with its first byte.
            None => timeout(self.gateway.config.limits.keepalive_timeout, Connection::comes(&stream)).await.ok()?,
        }
        Some(ReusedHttpStream::new(stream, Some(settings)))
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = default_h2_options();
        let header_bytes_max = u32::try_from(self.gateway.config.limits.header_bytes_max).unwrap_or(u32::MAX);
        options.max_header_list_size(header_bytes_max.saturating_add(H2_HEADER_SLACK_BYTES));
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
