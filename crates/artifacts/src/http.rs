//! HTTP downloads that go on where they were cut off: `Range`, `If-Range`, redirects, stalls.
//!
//! Only https, or plain HTTP to this machine or to the Hub mirror that the configuration names. The
//! digest decides in the end; everything else here is about not starting over.

use std::fs;
use std::path::Path;

use futures_util::StreamExt;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, RANGE};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Response, StatusCode, Url};

use crate::error::SourceError;
use crate::manifest::Pinned;
use crate::part::{self, Part, tag_of};
use crate::progress::{Progress, Stage, Unit};
use crate::settings::Settings;
use crate::source::is_loopback;

/// Tries in a row that bring less than [`GAIN_BYTES_MIN`] before a source is given up.
pub(crate) const FRUITLESS_TRIES_MAX: u32 = 3;
/// Bytes that a try must bring to count as one that got on.
pub(crate) const GAIN_BYTES_MIN: u64 = 64 << 10;
/// Redirects that are followed for one request.
pub(crate) const REDIRECTS_MAX: usize = 10;

/// One file to download.
pub(crate) struct Download<'a> {
    pub(crate) what: &'a str,
    pub(crate) url: &'a Url,
    pub(crate) part: &'a Path,
    pub(crate) pinned: &'a Pinned,
    pub(crate) settings: &'a Settings,
    pub(crate) progress: &'a dyn Progress,
}

/// What to do about a failed try.
enum Failure {
    /// Nothing will change: the source is given up.
    Final(SourceError),
    /// Go on from what is there.
    Again(SourceError),
    /// What is there is of no use: begin anew.
    Afresh(SourceError),
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Self::Final(error)
    }
}

impl Download<'_> {
    /// Fetches the file into the part, verified. Whatever the part held before is used where it can be.
    pub(crate) async fn run(&self) -> Result<(), SourceError> {
        if self.url.scheme() != "https" && !may_be_plain(self.url, self.url, &self.settings.hub_base) {
            return Err(SourceError::NotEncrypted { url: self.url.to_string() });
        }
        let client = self.client()?;
        let mut has_begun_anew = false;
        let mut fruitless = 0;
        loop {
            let before = size_of(self.part);
            let failure = match self.attempt(&client).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            self.progress.finished();
            let error = match failure {
                Failure::Final(error) => return Err(error),
                Failure::Afresh(error) => {
                    part::discard(self.part);
                    if std::mem::replace(&mut has_begun_anew, true) {
                        return Err(error);
                    }
                    continue;
                }
                Failure::Again(error) => error,
            };
            let gain = size_of(self.part).saturating_sub(before);
            fruitless = if gain >= GAIN_BYTES_MIN { 0 } else { fruitless + 1 };
            if fruitless >= FRUITLESS_TRIES_MAX {
                return Err(error);
            }
            self.progress.note(&format!("{}: {error}; going on from {} bytes", self.what, size_of(self.part)));
            tokio::time::sleep(self.settings.retry_delay * fruitless).await;
        }
    }

    async fn attempt(&self, client: &Client) -> Result<(), Failure> {
        let total = self.pinned.size_bytes;
        let mut part = Part::open(self.part, total).await?;
        let offset = part.len_bytes();
        if offset < total {
            let response = self.ask(client, offset).await?;
            if offset > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
                part.restart().await?;
            }
            self.note_tag(response.headers());
            self.receive(response, &mut part).await?;
        }
        let is_resumed = offset > 0;
        match part.check(self.pinned, self.what).await {
            Ok(()) => {
                self.progress.finished();
                let _ = fs::remove_file(tag_of(self.part));
                Ok(())
            }
            Err(error @ SourceError::WrongDigest { .. }) if is_resumed => Err(Failure::Afresh(error)),
            Err(error) => {
                part::discard(self.part);
                Err(Failure::Final(error))
            }
        }
    }

    /// Sends the request and judges the answer's head.
    async fn ask(&self, client: &Client, offset: u64) -> Result<Response, Failure> {
        let mut request = client.get(self.url.clone()).header(ACCEPT_ENCODING, "identity");
        if offset > 0 {
            request = request.header(RANGE, format!("bytes={offset}-"));
            if let Some(tag) = self.noted_tag() {
                request = request.header(IF_RANGE, tag);
            }
        }
        let response = request.send().await.map_err(|error| {
            let is_final = error.is_connect() || error.is_redirect();
            let failure = SourceError::Unreachable { reason: chain(error) };
            if is_final { Failure::Final(failure) } else { Failure::Again(failure) }
        })?;
        let status = response.status();
        let error = SourceError::Status { status: status.as_u16() };
        match status {
            StatusCode::PARTIAL_CONTENT => self.check_range(response, offset),
            StatusCode::OK => self.check_length(response),
            StatusCode::RANGE_NOT_SATISFIABLE => Err(Failure::Afresh(error)),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(Failure::Again(error)),
            _ if status.is_server_error() => Err(Failure::Again(error)),
            _ => Err(Failure::Final(error)),
        }
    }

    fn check_range(&self, response: Response, offset: u64) -> Result<Response, Failure> {
        let got = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or("none");
        let total = self.pinned.size_bytes;
        let stated = got.strip_prefix("bytes ").and_then(|range| range.split_once('/'));
        let is_right = stated.is_some_and(|(range, of)| {
            range.split('-').next().and_then(|first| first.parse().ok()) == Some(offset)
                && (of == "*" || of.parse() == Ok(total))
        });
        match is_right {
            true => Ok(response),
            false => Err(Failure::Afresh(SourceError::WrongRange { got: got.to_owned() })),
        }
    }

    fn check_length(&self, response: Response) -> Result<Response, Failure> {
        let expected_bytes = self.pinned.size_bytes;
        match response.content_length() {
            Some(actual_bytes) if actual_bytes != expected_bytes => {
                Err(Failure::Final(SourceError::WrongSize { what: self.what.to_owned(), expected_bytes, actual_bytes }))
            }
            _ => Ok(response),
        }
    }

    async fn receive(&self, response: Response, part: &mut Part) -> Result<(), Failure> {
        let total = self.pinned.size_bytes;
        self.progress.began(&Stage {
            what: format!("downloading {}", self.what).into(),
            unit: Unit::Bytes,
            total: Some(total),
            already: part.len_bytes(),
        });
        let mut body = response.bytes_stream();
        let ended = loop {
            match body.next().await {
                None => break "the server closed it".to_owned(),
                Some(Err(error)) => break chain(error),
                Some(Ok(bytes)) => match part.write(&bytes).await {
                    Ok(()) => self.progress.advanced(bytes.len() as u64),
                    Err(error @ SourceError::TooLong { .. }) => {
                        part::discard(self.part);
                        return Err(Failure::Final(error));
                    }
                    Err(error) => return Err(Failure::Final(error)),
                },
            }
        };
        part.flush().await?;
        match part.len_bytes() == total {
            true => Ok(()),
            false => Err(Failure::Again(SourceError::Cut {
                got_bytes: part.len_bytes(),
                expected_bytes: total,
                reason: ended,
            })),
        }
    }

    fn client(&self) -> Result<Client, SourceError> {
        // A second call finds a provider installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (first, hub_base) = (self.url.clone(), self.settings.hub_base.clone());
        let follow = move |attempt: Attempt<'_>| {
            if attempt.previous().len() > REDIRECTS_MAX {
                return attempt.error(format!("more than {REDIRECTS_MAX} redirects"));
            }
            let url = attempt.url().clone();
            match url.scheme() == "https" || may_be_plain(&url, &first, &hub_base) {
                true => attempt.follow(),
                false => {
                    let origin = url.origin().ascii_serialization();
                    attempt.error(format!("it redirects to {origin}, which is not https"))
                }
            }
        };
        let mut builder = Client::builder()
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.settings.connect_timeout)
            .read_timeout(self.settings.stall_timeout)
            .redirect(Policy::custom(follow));
        if is_loopback(self.url) {
            builder = builder.no_proxy();
        }
        builder.build().map_err(|error| SourceError::Unreachable { reason: chain(error) })
    }

    /// Notes a strong entity tag beside the part, with the address it is of.
    fn note_tag(&self, headers: &HeaderMap) {
        let tag = headers.get(ETAG).and_then(|value| value.to_str().ok()).filter(|tag| tag.starts_with('"'));
        let noted = tag_of(self.part);
        // Without the note a resumed download is still checked by its digest, so failing here is no harm.
        let _ = match tag {
            Some(tag) => fs::write(noted, format!("{}\n{tag}", self.url)),
            None => fs::remove_file(noted),
        };
    }

    fn noted_tag(&self) -> Option<String> {
        let noted = fs::read_to_string(tag_of(self.part)).ok()?;
        let (url, tag) = noted.split_once('\n')?;
        (url == self.url.as_str()).then(|| tag.to_owned())
    }
}

/// Plain HTTP stays on this machine when it began there, or goes to the mirror that somebody chose.
fn may_be_plain(url: &Url, first: &Url, hub_base: &str) -> bool {
    let is_mirror = Url::parse(hub_base).is_ok_and(|base| base.origin() == url.origin());
    url.scheme() == "http" && ((is_loopback(url) && is_loopback(first)) || is_mirror)
}

fn size_of(part: &Path) -> u64 {
    fs::metadata(part).map_or(0, |data| data.len())
}

/// The error with all its causes, without the address: the failure names the source already, and where a
/// redirect led may be signed.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine_or_goes_to_the_chosen_mirror() {
        let check = |url: &str, first: &str, allowed| {
            let (url, first) = (Url::parse(url).unwrap(), Url::parse(first).unwrap());
            assert_eq!(may_be_plain(&url, &first, "http://mirror.lan:8080/hub"), allowed, "{url} from {first}");
        };
        check("http://127.0.0.1:1/f", "http://localhost/f", true);
        check("http://mirror.lan:8080/f", "https://other/f", true);
        check("http://127.0.0.1:1/f", "https://other/f", false);
        check("http://mirror.lan/f", "http://mirror.lan:8080/f", false);
        check("http://other/f", "http://127.0.0.1/f", false);
        check("ftp://127.0.0.1/f", "http://127.0.0.1/f", false);
    }
}
