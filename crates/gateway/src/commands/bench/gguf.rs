//! What a GGUF file says of its model: name, size and quantisation. Reads the beginning of the file and no tensor.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use serde::Serialize;

/// Entries looked at, at most; the general ones come first.
const ENTRIES_MAX: u64 = 4096;
/// Longest text that is read, in bytes.
const TEXT_BYTES_MAX: u64 = 64 << 10;
/// Elements of an array that are passed over, at most.
const ELEMENTS_MAX: u64 = 1 << 22;
const MAGIC: [u8; 4] = *b"GGUF";
/// The versions whose lengths have 64 bits.
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;

/// What is known of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Model {
    /// `general.name`.
    pub name: Option<String>,
    /// `general.size_label`, such as `135M`.
    pub size: Option<String>,
    /// By `general.file_type`, such as `Q4_1`.
    pub quantisation: Option<String>,
}

/// Reads a file; `None` where it is none, and what was found before anything odd where it is one.
pub(super) fn read(path: &Path) -> Option<Model> {
    let mut file = BufReader::new(File::open(path).ok()?);
    let mut head = [0; 8];
    file.read_exact(&mut head).ok()?;
    let version = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    if head[..4] != MAGIC || !VERSIONS.contains(&version) {
        return None;
    }
    let mut model = Model::default();
    // What cannot be read any more does not undo what was.
    let _ = entries(&mut file, &mut model);
    Some(model)
}

fn entries(file: &mut impl Read, model: &mut Model) -> io::Result<()> {
    let (_tensors, count) = (number(file)?, number(file)?);
    for _ in 0..count.min(ENTRIES_MAX) {
        let key = text(file)?;
        let kind = u32::from_le_bytes(bytes(file)?);
        match (key.as_str(), kind) {
            ("general.name", TEXT) => model.name = Some(text(file)?),
            ("general.size_label", TEXT) => model.size = Some(text(file)?),
            ("general.file_type", 4) => {
                model.quantisation = quantisation(u32::from_le_bytes(bytes(file)?)).map(str::to_owned);
            }
            _ => skip(file, kind)?,
        }
        if let Model { name: Some(_), size: Some(_), quantisation: Some(_) } = model {
            break;
        }
    }
    Ok(())
}

/// The kind of a value that is a text, and of one that is an array.
const TEXT: u32 = 8;
const ARRAY: u32 = 9;

fn skip(file: &mut impl Read, kind: u32) -> io::Result<()> {
    match kind {
        TEXT => text(file).map(drop),
        ARRAY => {
            let of = u32::from_le_bytes(bytes(file)?);
            let count = number(file)?;
            match width(of) {
                Some(width) => pass(file, count.saturating_mul(width)),
                None if of == TEXT && count <= ELEMENTS_MAX => (0..count).try_for_each(|_| text(file).map(drop)),
                None => Err(io::Error::other("an array of something unknown")),
            }
        }
        _ => pass(file, width(kind).ok_or_else(|| io::Error::other("an unknown kind of value"))?),
    }
}

/// Bytes of a number of this kind.
fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn pass(file: &mut impl Read, count: u64) -> io::Result<()> {
    let passed = io::copy(&mut file.take(count), &mut io::sink())?;
    if passed == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn text(file: &mut impl Read) -> io::Result<String> {
    let length = number(file)?;
    if length > TEXT_BYTES_MAX {
        pass(file, length)?;
        return Ok(String::new());
    }
    let mut text = vec![0; length as usize];
    file.read_exact(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn number(file: &mut impl Read) -> io::Result<u64> {
    Ok(u64::from_le_bytes(bytes(file)?))
}

fn bytes<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// llama.cpp's `llama_ftype`.
fn quantisation(kind: u32) -> Option<&'static str> {
    Some(match kind {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        32 => "BF16",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
    }

    fn entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
        [string(key), kind.to_le_bytes().to_vec(), value.to_vec()].concat()
    }

    fn file(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(7_u64.to_le_bytes());
        bytes.extend((entries.len() as u64).to_le_bytes());
        bytes.extend(entries.concat());
        bytes
    }

    fn read_bytes(bytes: &[u8]) -> Option<Model> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        std::fs::write(&path, bytes).unwrap();
        read(&path)
    }

    #[test]
    fn finds_what_is_said_behind_whatever_else_stands_there() {
        let tokens = [&8_u32.to_le_bytes()[..], &2_u64.to_le_bytes(), &string("a"), &string("b")].concat();
        let scores = [&6_u32.to_le_bytes()[..], &2_u64.to_le_bytes(), &[0; 8]].concat();
        let whole = file(&[
            entry("general.architecture", 8, &string("llama")),
            entry("tokenizer.ggml.tokens", 9, &tokens),
            entry("tokenizer.ggml.scores", 9, &scores),
            entry("x.flag", 7, &[1]),
            entry("general.name", 8, &string("Smol")),
            entry("general.file_type", 4, &3_u32.to_le_bytes()),
            entry("general.size_label", 8, &string("135M")),
        ]);
        let expected = Model {
            name: Some("Smol".to_owned()),
            size: Some("135M".to_owned()),
            quantisation: Some("Q4_1".to_owned()),
        };
        assert_eq!(read_bytes(&whole), Some(expected));
        // Cut anywhere it says less, and never fails.
        for end in 0..whole.len() {
            read_bytes(&whole[..end]);
        }
    }

    #[test]
    fn what_is_no_such_file_or_lies_about_its_lengths_says_nothing() {
        assert_eq!(read_bytes(b""), None);
        assert_eq!(read_bytes(b"GGML\x03\0\0\0"), None);
        assert_eq!(read(Path::new("/nonexistent/m.gguf")), None);
        let endless = [&8_u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat();
        assert_eq!(read_bytes(&file(&[entry("a", 9, &endless)])), Some(Model::default()));
        assert_eq!(read_bytes(&file(&[entry("a", 8, &u64::MAX.to_le_bytes())])), Some(Model::default()));
        assert_eq!(read_bytes(&file(&[entry("a", 77, &[])])), Some(Model::default()));
    }
}
