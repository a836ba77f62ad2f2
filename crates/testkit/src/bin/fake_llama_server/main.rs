//! A stand-in for `llama-server`: takes its flags, answers its endpoints at once, and misbehaves on request.
//! Knows no model: the answer is always `fake worker answers: <number of the chat request in this process>`.
//!
//! What it can be made to do is listed at [`args::Arguments`]; what it answers is in `chat.rs`.

mod args;
mod chat;
mod http;

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use args::Arguments;
use http::Request;

/// Shared by all connections.
struct Server {
    arguments: Arguments,
    probes: AtomicU64,
    chats: AtomicU64,
    /// Whether each slot is used.
    busy: Mutex<Vec<bool>>,
}

/// What both kinds of socket can do.
trait Stream: Read + Write + Send {}
impl Stream for TcpStream {}
impl Stream for UnixStream {}

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(1);
        }
    };
    if arguments.version {
        println!("version: 0 (fake)");
        return ExitCode::SUCCESS;
    }
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("E fake-llama-server: {error}");
            ExitCode::from(1)
        }
    }
}

fn run(arguments: Arguments) -> io::Result<ExitCode> {
    if let Some(path) = &arguments.start_log {
        // One write, so that starts at the same moment do not mix.
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes())?;
    }
    // Held until the end: with a handler in place the signal no longer ends the process.
    let _signals = if arguments.ignore_sigterm { Some(ignore_sigterm()?) } else { None };
    for line in &arguments.say {
        eprintln!("{line}");
    }
    if let Some(code) = arguments.exit_code {
        return Ok(ExitCode::from(code));
    }
    let host = arguments.host.clone();
    let address = (host.clone(), arguments.port);
    let busy = Mutex::new(vec![false; usize::try_from(arguments.slots).unwrap_or(usize::MAX)]);
    let server = Arc::new(Server { arguments, probes: AtomicU64::new(0), chats: AtomicU64::new(0), busy });
    if host.ends_with(".sock") {
        let listener = UnixListener::bind(&host)?;
        eprintln!("0.00.000.001 I srv  llama_server: listening on unix://{host}");
        for stream in listener.incoming() {
            server.spawn(stream?);
        }
    } else {
        let listener = TcpListener::bind(address)?;
        eprintln!("0.00.000.001 I srv  llama_server: listening on http://{}", listener.local_addr()?);
        for stream in listener.incoming() {
            server.spawn(stream?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn ignore_sigterm() -> io::Result<(tokio::runtime::Runtime, tokio::signal::unix::Signal)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    drop(_entered);
    Ok((runtime, signal))
}

impl Server {
    fn spawn(self: &Arc<Self>, stream: impl Stream + 'static) {
        let server = Arc::clone(self);
        std::thread::spawn(move || {
            let mut stream = stream;
            // A peer that leaves is no fault of anybody.
            let _ = server.serve(&mut stream);
        });
    }

    fn serve(&self, stream: &mut dyn Stream) -> io::Result<()> {
        while let Some(request) = http::read_request(stream)? {
            self.answer(&request, stream)?;
            if request.closes {
                std::thread::sleep(Duration::from_millis(self.arguments.close_late_ms));
                break;
            }
        }
        Ok(())
    }

    fn answer(&self, request: &Request, stream: &mut dyn Stream) -> io::Result<()> {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/health") => self.health(stream),
            ("GET", "/slots") => http::write_json(stream, 200, &self.slots()),
            ("GET", "/v1/models") => {
                let model = json!({"id": self.arguments.alias, "object": "model", "owned_by": "llamacpp"});
                http::write_json(stream, 200, &json!({"object": "list", "data": [model]}))
            }
            ("POST", "/v1/chat/completions" | "/chat/completions") => self.chat(request, stream),
            _ => http::write_json(stream, 404, &http::error(404, "not_found_error", "File Not Found")),
        }
    }

    fn health(&self, stream: &mut dyn Stream) -> io::Result<()> {
        let probe = self.probes.fetch_add(1, Ordering::SeqCst) + 1;
        let arguments = &self.arguments;
        if arguments.silent_after.is_some_and(|last| probe > last) {
            return http::wait_for_close(stream);
        }
        if arguments.never_healthy || probe <= arguments.healthy_after {
            return http::write_json(stream, 503, &http::error(503, "unavailable_error", "Loading model"));
        }
        http::write_json(stream, 200, &json!({"status": "ok"}))
    }

    fn slots(&self) -> serde_json::Value {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = |(id, busy): (usize, &bool)| json!({"id": id, "n_ctx": self.arguments.context_per_slot(), "is_processing": busy});
        busy.iter().enumerate().map(slot).collect()
    }
}
