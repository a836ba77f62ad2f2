//! Keys and tokens by their published shapes: a prefix, an alphabet and a length. A flat table of independent entries.

use std::ops::Range;

use super::entropy;
use crate::scan::{
    candidate::{CERTAIN, DOUBTFUL, Page, STRONG, UNLIKELY},
    kind::{Kind, Validator},
    text::{before, byte, is_placeholder, run, slice},
};

/// Which characters follow a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alphabet {
    /// `0-9a-f`
    Hex,
    /// `A-Z0-9`
    Capitals,
    /// `A-Za-z0-9`
    Alnum,
    /// `A-Za-z0-9_-`
    Word,
    /// `A-Za-z0-9_.-`
    Dotted,
    /// `A-Za-z0-9+/=`
    Base64,
    /// `A-Za-z0-9/_-`
    Path,
}

impl Alphabet {
    fn holds(self, byte: u8) -> bool {
        match self {
            Self::Hex => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            Self::Capitals => byte.is_ascii_digit() || byte.is_ascii_uppercase(),
            Self::Alnum => byte.is_ascii_alphanumeric(),
            Self::Word => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'),
            Self::Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='),
            Self::Path => byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-'),
        }
    }
}

/// One published shape.
#[derive(Debug)]
pub(in crate::scan) struct Shape {
    kind: Kind,
    /// In its own case.
    pub(in crate::scan) prefix: &'static str,
    alphabet: Alphabet,
    /// The least and the most characters behind the prefix.
    least: usize,
    most: usize,
    /// Whether the prefix says so little that the rest has to look random.
    weak: bool,
}

const fn shape(kind: Kind, prefix: &'static str, alphabet: Alphabet, least: usize, most: usize) -> Shape {
    Shape { kind, prefix, alphabet, least, most, weak: false }
}

const fn weak(kind: Kind, prefix: &'static str, alphabet: Alphabet, least: usize, most: usize) -> Shape {
    Shape { kind, prefix, alphabet, least, most, weak: true }
}

use Alphabet::{Alnum, Base64, Capitals, Dotted, Hex, Path, Word};

/// The longest key of the table.
const KEY_BYTES_MAX: usize = 512;

/// Every shape.
pub(in crate::scan) const SHAPES: &[Shape] = &[
    shape(Kind::AwsKey, "AKIA", Capitals, 16, 16),
    shape(Kind::AwsKey, "ASIA", Capitals, 16, 16),
    shape(Kind::AwsKey, "ABIA", Capitals, 16, 16),
    shape(Kind::AwsKey, "ACCA", Capitals, 16, 16),
    shape(Kind::AwsKey, "ABSK", Base64, 109, 269),
    shape(Kind::GoogleKey, "AIza", Word, 35, 35),
    shape(Kind::GoogleKey, "GOCSPX-", Word, 28, 28),
    shape(Kind::GoogleKey, "ya29.", Word, 30, KEY_BYTES_MAX),
    shape(Kind::AzureKey, "AccountKey=", Base64, 86, 88),
    shape(Kind::AzureKey, "SharedAccessKey=", Base64, 43, 88),
    shape(Kind::AzureKey, "SharedAccessSignature=", Base64, 40, KEY_BYTES_MAX),
    shape(Kind::GithubToken, "ghp_", Alnum, 36, 251),
    shape(Kind::GithubToken, "gho_", Alnum, 36, 251),
    shape(Kind::GithubToken, "ghu_", Alnum, 36, 251),
    shape(Kind::GithubToken, "ghs_", Alnum, 36, 251),
    shape(Kind::GithubToken, "ghr_", Alnum, 36, 251),
    shape(Kind::GithubToken, "github_pat_", Word, 82, 82),
    shape(Kind::GitlabToken, "glpat-", Dotted, 20, 300),
    shape(Kind::GitlabToken, "gldt-", Word, 20, 64),
    shape(Kind::GitlabToken, "glrt-", Dotted, 20, 300),
    shape(Kind::GitlabToken, "glcbt-", Word, 20, 64),
    shape(Kind::GitlabToken, "glptt-", Word, 40, 64),
    shape(Kind::GitlabToken, "glsoat-", Word, 20, 64),
    shape(Kind::GitlabToken, "glimt-", Word, 25, 64),
    shape(Kind::GitlabToken, "glagent-", Word, 50, 64),
    shape(Kind::GitlabToken, "glft-", Word, 20, 64),
    shape(Kind::SlackToken, "xoxb-", Word, 20, 255),
    shape(Kind::SlackToken, "xoxp-", Word, 20, 255),
    shape(Kind::SlackToken, "xoxa-", Word, 20, 255),
    shape(Kind::SlackToken, "xoxr-", Word, 20, 255),
    shape(Kind::SlackToken, "xoxs-", Word, 20, 255),
    shape(Kind::SlackToken, "xoxe-", Word, 20, 255),
    shape(Kind::SlackToken, "xoxe.xoxp-", Word, 20, 255),
    shape(Kind::SlackToken, "xoxe.xoxb-", Word, 20, 255),
    shape(Kind::SlackToken, "xapp-", Word, 40, 255),
    shape(Kind::SlackToken, "hooks.slack.com/services/", Path, 30, 90),
    shape(Kind::SlackToken, "hooks.slack.com/workflows/", Path, 30, 120),
    shape(Kind::StripeKey, "sk_live_", Alnum, 16, 250),
    shape(Kind::StripeKey, "sk_test_", Alnum, 16, 250),
    shape(Kind::StripeKey, "rk_live_", Alnum, 16, 250),
    shape(Kind::StripeKey, "rk_test_", Alnum, 16, 250),
    shape(Kind::StripeKey, "whsec_", Base64, 24, 100),
    shape(Kind::OpenaiKey, "sk-proj-", Word, 40, 250),
    shape(Kind::OpenaiKey, "sk-svcacct-", Word, 40, 250),
    shape(Kind::OpenaiKey, "sk-admin-", Word, 40, 250),
    weak(Kind::OpenaiKey, "sk-", Word, 32, 200),
    shape(Kind::AnthropicKey, "sk-ant-", Word, 40, 200),
    shape(Kind::HuggingfaceToken, "hf_", Alnum, 30, 60),
    shape(Kind::HuggingfaceToken, "api_org_", Alnum, 30, 60),
    shape(Kind::NpmToken, "npm_", Alnum, 36, 36),
    shape(Kind::PypiToken, "pypi-AgE", Word, 50, 300),
    shape(Kind::SendgridKey, "SG.", Dotted, 60, 70),
    shape(Kind::ApiKey, "sk-or-v1-", Hex, 64, 64),
    shape(Kind::ApiKey, "dop_v1_", Hex, 64, 64),
    shape(Kind::ApiKey, "doo_v1_", Hex, 64, 64),
    shape(Kind::ApiKey, "dor_v1_", Hex, 64, 64),
    shape(Kind::ApiKey, "shpat_", Alnum, 32, 32),
    shape(Kind::ApiKey, "shpca_", Alnum, 32, 32),
    shape(Kind::ApiKey, "shppa_", Alnum, 32, 32),
    shape(Kind::ApiKey, "shpss_", Alnum, 32, 32),
    shape(Kind::ApiKey, "sq0atp-", Word, 22, 60),
    shape(Kind::ApiKey, "sq0csp-", Word, 43, 60),
    shape(Kind::ApiKey, "key-", Hex, 32, 32),
    shape(Kind::ApiKey, "dapi", Hex, 32, 34),
    shape(Kind::ApiKey, "lin_api_", Alnum, 40, 48),
    shape(Kind::ApiKey, "ntn_", Alnum, 40, 60),
    shape(Kind::ApiKey, "PMAK-", Word, 59, 59),
    shape(Kind::ApiKey, "dp.pt.", Alnum, 40, 44),
    shape(Kind::ApiKey, "dp.st.", Dotted, 40, 80),
    shape(Kind::ApiKey, "hvs.", Word, 24, 200),
    shape(Kind::ApiKey, "hvb.", Word, 100, 300),
    shape(Kind::ApiKey, "NRAK-", Capitals, 27, 27),
    shape(Kind::ApiKey, "glc_", Base64, 32, 400),
    shape(Kind::ApiKey, "glsa_", Word, 41, 41),
    shape(Kind::ApiKey, "sntrys_", Base64, 60, 400),
    shape(Kind::ApiKey, "sntryu_", Hex, 64, 64),
    shape(Kind::ApiKey, "figd_", Word, 40, 60),
    shape(Kind::ApiKey, "fo1_", Word, 43, 43),
    shape(Kind::ApiKey, "pscale_tkn_", Dotted, 32, 64),
    shape(Kind::ApiKey, "pscale_pw_", Dotted, 32, 64),
    shape(Kind::ApiKey, "pscale_oauth_", Dotted, 32, 64),
    shape(Kind::ApiKey, "sbp_", Hex, 40, 40),
    shape(Kind::ApiKey, "sb_secret_", Word, 20, 60),
    shape(Kind::ApiKey, "gsk_", Alnum, 48, 60),
    shape(Kind::ApiKey, "xai-", Alnum, 70, 90),
    shape(Kind::ApiKey, "r8_", Alnum, 37, 40),
    shape(Kind::ApiKey, "pplx-", Alnum, 40, 60),
    shape(Kind::ApiKey, "nvapi-", Word, 50, 80),
    shape(Kind::ApiKey, "tvly-", Word, 24, 60),
    shape(Kind::ApiKey, "lsv2_pt_", Word, 40, 50),
    shape(Kind::ApiKey, "lsv2_sk_", Word, 40, 50),
    shape(Kind::ApiKey, "pcsk_", Word, 40, 90),
    shape(Kind::ApiKey, "ATATT3", Dotted, 150, 250),
    shape(Kind::ApiKey, "ATCTT3", Dotted, 150, 250),
    shape(Kind::ApiKey, "ATBB", Alnum, 28, 32),
    shape(Kind::ApiKey, "EAACEdEose0cBA", Alnum, 20, 300),
    shape(Kind::ApiKey, "HRKU-", Word, 36, 64),
    shape(Kind::ApiKey, "rubygems_", Hex, 48, 48),
    shape(Kind::ApiKey, "cio", Alnum, 32, 32),
    shape(Kind::ApiKey, "dckr_pat_", Word, 27, 40),
    shape(Kind::ApiKey, "dckr_oat_", Word, 27, 40),
    shape(Kind::ApiKey, "AGE-SECRET-KEY-1", Capitals, 58, 58),
    shape(Kind::ApiKey, "tskey-", Word, 20, 80),
    shape(Kind::ApiKey, "sqp_", Hex, 40, 40),
    shape(Kind::ApiKey, "squ_", Hex, 40, 40),
    shape(Kind::ApiKey, "sqa_", Hex, 40, 40),
    shape(Kind::ApiKey, "xkeysib-", Word, 80, 90),
    shape(Kind::ApiKey, "CFPAT-", Word, 43, 43),
    shape(Kind::ApiKey, "duffel_live_", Word, 43, 43),
    shape(Kind::ApiKey, "EZAK", Alnum, 54, 54),
    shape(Kind::ApiKey, "tfp_", Dotted, 40, 70),
    shape(Kind::ApiKey, "phc_", Alnum, 43, 43),
    shape(Kind::ApiKey, "phx_", Alnum, 43, 47),
    shape(Kind::ApiKey, "pul-", Hex, 40, 40),
    shape(Kind::ApiKey, "sgp_", Word, 40, 60),
    shape(Kind::ApiKey, "vercel_", Alnum, 24, 60),
    shape(Kind::ApiKey, "rnd_", Alnum, 28, 40),
    shape(Kind::ApiKey, "secret_", Alnum, 43, 43),
];

/// The shape with this index, whose prefix stands at `prefix` in some case.
pub(in crate::scan) fn shaped(page: &mut Page<'_>, index: usize, prefix: Range<usize>) {
    let text = page.text;
    let Some(shape) = SHAPES.get(index) else { return };
    if slice(text, prefix.clone()) != shape.prefix.as_bytes() || !begins(text, prefix.start) {
        return;
    }
    let len = run(text, prefix.end, shape.most + 1, |byte| shape.alphabet.holds(byte));
    let body = trimmed(slice(text, prefix.end..prefix.end + len));
    let end = prefix.end + body.len();
    let goes_on = byte(text, end).is_ascii_alphanumeric();
    if !(shape.least..=shape.most).contains(&body.len()) || goes_on || !plausible(shape, body) {
        return;
    }
    let confidence = match shape.weak {
        _ if is_placeholder(body) => UNLIKELY,
        true if entropy::is_random(body) => STRONG,
        true => DOUBTFUL,
        false => CERTAIN,
    };
    page.add(shape.kind.clone(), prefix.start..end, confidence, Validator::Shape);
}

/// Without the punctuation of the sentence around it.
fn trimmed(body: &[u8]) -> &[u8] {
    let tail = body.iter().rev().take_while(|byte| matches!(byte, b'.' | b'-' | b'_' | b'/')).count();
    // A key may end in a dash; a full stop behind it is the sentence's.
    let stops = body.iter().rev().take_while(|byte| **byte == b'.').count();
    body.get(..body.len() - if tail == stops { tail } else { stops }).unwrap_or(body)
}

/// A word may end in a prefix by chance, but not one that begins behind a dash or dot of the same word.
fn begins(text: &[u8], at: usize) -> bool {
    let previous = before(text, at);
    !(previous.is_ascii_alphanumeric() || matches!(previous, b'-' | b'_' | b'+'))
}

/// Keys mix letters and digits; a name such as `hf_transfer_something` does not.
fn plausible(shape: &Shape, body: &[u8]) -> bool {
    let letters = body.iter().any(u8::is_ascii_alphabetic);
    let digits = body.iter().any(u8::is_ascii_digit);
    let dots = || body.iter().position(|byte| *byte == b'.') == Some(22) && body.len() == 66;
    match shape.kind {
        Kind::SendgridKey => dots(),
        Kind::HuggingfaceToken => letters && entropy::bits(body) > 3.0,
        _ => letters && (digits || body.len() < 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_well_formed() {
        for shape in SHAPES {
            assert!(
                shape.prefix.len() >= 3 && shape.least <= shape.most && shape.most <= KEY_BYTES_MAX,
                "{}",
                shape.prefix
            );
        }
        let mut prefixes: Vec<_> = SHAPES.iter().map(|shape| shape.prefix).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        assert_eq!(prefixes.len(), SHAPES.len());
    }
}
