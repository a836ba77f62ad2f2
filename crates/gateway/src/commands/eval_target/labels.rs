//! The file of labels: one line for each answer, written when it is there, so that a run that was cut off goes on.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use policy::TargetId;
use serde::{Deserialize, Serialize};

/// Largest file of labels, in bytes.
const LABELS_BYTES_MAX: u64 = 1 << 30;

/// What one answer is worth.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Label {
    pub id: String,
    pub task: String,
    pub score: f64,
    pub metric: String,
    pub target: String,
    /// What the target calls its model.
    pub model: Option<String>,
    pub finish_reason: Option<String>,
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<f64>,
    pub duration_ms: f64,
    /// Only with `--answers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// The file, open for writing and locked against a second run.
pub(super) struct LabelFile {
    file: File,
    labels: Vec<Label>,
    ids: HashSet<String>,
}

impl LabelFile {
    /// Opens the file, or makes it. A last line that was cut off is removed.
    ///
    /// # Errors
    /// A file that is not one of labels, or of another target, with the line; one that another run writes to.
    pub(super) fn open(path: &Path, target: &TargetId) -> anyhow::Result<Self> {
        let name = path.display();
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = opened.with_context(|| format!("{name} cannot be opened"))?;
        if file.try_lock().is_err() {
            bail!("{name} is being written to by another run");
        }
        let mut bytes = Vec::new();
        let read = Read::take(&file, LABELS_BYTES_MAX + 1).read_to_end(&mut bytes);
        read.with_context(|| format!("{name} cannot be read"))?;
        ensure!(bytes.len() as u64 <= LABELS_BYTES_MAX, "{name} is longer than {LABELS_BYTES_MAX} bytes");
        let mut whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (lines, rest) = bytes.split_at(whole);
        let mut labels: Vec<Label> = Vec::new();
        for (index, line) in lines.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let label: Label =
                serde_json::from_slice(line).with_context(|| format!("{name}:{}: is no label", index + 1))?;
            let other = &label.target;
            ensure!(other == target.as_str(), "{name}:{}: is a label of {other}, not {target}", index + 1);
            labels.push(label);
        }
        // What stands behind the last end of a line was being written. It may be whole but for that.
        if let Ok(label) = serde_json::from_slice(rest) {
            labels.push(label);
            file.write_all(b"\n").with_context(|| format!("{name} cannot be written"))?;
            whole = bytes.len() + 1;
        }
        file.set_len(whole as u64).with_context(|| format!("{name} cannot be written"))?;
        file.seek(SeekFrom::End(0)).with_context(|| format!("{name} cannot be written"))?;
        let ids = labels.iter().map(|label| label.id.clone()).collect();
        Ok(Self { file, labels, ids })
    }

    /// Whether this row is labelled.
    pub(super) fn has(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// All labels.
    pub(super) fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// Adds a label as one line, in one write.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn add(&mut self, label: Label) -> anyhow::Result<()> {
        let mut line = serde_json::to_string(&label)?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).context("the label cannot be written")?;
        self.ids.insert(label.id.clone());
        self.labels.push(label);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str) -> String {
        format!(
            r#"{{"id":"{id}","task":"t","score":1.0,"metric":"exact","target":"a/b","model":null,"finish_reason":"stop","prompt_tokens":1,"completion_tokens":1,"duration_ms":1.0}}"#
        )
    }

    fn open(path: &Path) -> anyhow::Result<LabelFile> {
        LabelFile::open(path, &TargetId::new("a/b").unwrap())
    }

    #[test]
    fn a_line_that_was_cut_off_is_removed_and_the_rest_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.jsonl");
        let (one, two) = (line("one"), line("two"));
        let cases = [
            (String::new(), vec![], String::new()),
            (format!("{one}\n"), vec!["one"], format!("{one}\n")),
            (format!("{one}\n{}", &two[..20]), vec!["one"], format!("{one}\n")),
            (two[..20].to_owned(), vec![], String::new()),
            // Whole but for its end.
            (format!("{one}\n{two}"), vec!["one", "two"], format!("{one}\n{two}\n")),
        ];
        for (before, ids, after) in cases {
            std::fs::write(&path, &before).unwrap();
            let mut labels = open(&path).unwrap();
            assert!(labels.labels().iter().map(|label| label.id.as_str()).eq(ids.iter().copied()), "{before}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
            let new: Label = serde_json::from_str(&line("new")).unwrap();
            labels.add(new).unwrap();
            drop(labels);
            assert_eq!(open(&path).unwrap().labels().len(), ids.len() + 1, "{before}");
        }
    }

    #[test]
    fn what_is_no_label_is_reported_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.jsonl");
        for (text, part) in [
            (format!("{}\n{{}}\n{}\n", line("one"), line("two")), ":2: is no label"),
            (format!("{}\n", line("one").replace("a/b", "c/d")), ":1: is a label of c/d"),
        ] {
            std::fs::write(&path, &text).unwrap();
            let error = format!("{:#}", open(&path).err().unwrap());
            assert!(error.contains(part), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "left as it was");
        }
        std::fs::write(&path, "").unwrap();
        let _first = open(&path).unwrap();
        assert!(open(&path).err().unwrap().to_string().contains("another run"));
    }
}
