//! The ledger of a running gateway, and what follows where the operator demands that every request is recorded.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use account::Settlement;
use account::ledger::{Ledger, LedgerCounts, LedgerError, LedgerHealth, LedgerReader, Spent};
use tokio::sync::Semaphore;

use crate::config::LedgerConfig;
use crate::receipts::LOOK_UPS_MAX;

/// Where the ledger lies below the data folder.
pub(crate) fn ledger_path(home: &Path) -> PathBuf {
    home.join("ledger").join("ledger.sqlite3")
}

/// The ledger while the gateway runs.
pub(crate) struct Recording {
    pub ledger: Arc<Ledger>,
    pub path: PathBuf,
    /// For receipts.
    pub look_ups: Semaphore,
    is_required: bool,
}

impl Recording {
    /// Opens the ledger below `home`. Blocks.
    ///
    /// # Errors
    /// When it cannot be used.
    pub(crate) fn open(config: LedgerConfig, home: &Path) -> Result<Self, LedgerError> {
        let path = ledger_path(home);
        let ledger = Arc::new(Ledger::open(&path, config.limits)?);
        Ok(Self { ledger, path, look_ups: Semaphore::new(LOOK_UPS_MAX), is_required: config.required })
    }

    /// Records an exchange; never waits and never fails.
    pub(crate) fn settled(&self, settlement: &Settlement) {
        self.ledger.settled(settlement);
    }

    /// Whether nothing may be answered now, as it could not be recorded.
    pub(crate) fn forbids(&self) -> bool {
        self.is_required && !self.ledger.can_write()
    }

    /// How it fares.
    pub(crate) fn health(&self) -> LedgerHealth {
        self.ledger.health()
    }

    /// What exchanges of a kind since a time came to. Blocks.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub(crate) fn spent(&self, kind: &str, since_ms: u64) -> Result<Spent, LedgerError> {
        LedgerReader::open(&self.path)?.spent(kind, since_ms)
    }
}

/// Why there is no ledger.
pub(crate) struct NoRecording {
    pub reason: String,
    /// Whether the operator wants one.
    is_wanted: bool,
    /// What was not recorded for that.
    lost: AtomicU64,
}

impl NoRecording {
    /// The operator wants none, or it is not opened yet.
    pub(crate) fn off(reason: &str) -> Self {
        Self { reason: reason.to_owned(), is_wanted: false, lost: AtomicU64::new(0) }
    }

    /// It cannot be opened.
    pub(crate) fn failed(error: &LedgerError) -> Self {
        Self { is_wanted: true, ..Self::off(&error.to_string()) }
    }

    /// Counts an exchange that is recorded nowhere.
    pub(crate) fn settled(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// As of a ledger that cannot be written; `None` where none is wanted.
    pub(crate) fn health(&self) -> Option<LedgerHealth> {
        let counts = LedgerCounts { failed: self.lost.load(Ordering::Relaxed), ..LedgerCounts::default() };
        let health = LedgerHealth { failure: Some(self.reason.clone()), counts, ..LedgerHealth::default() };
        self.is_wanted.then_some(health)
    }
}
