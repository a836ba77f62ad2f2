//! Checksums of cryptocurrency addresses: Base58Check, Bech32 and EIP-55.

use sha2::{Digest, Sha256};
use tiny_keccak::{Hasher, Keccak};

const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
/// The final constants of Bech32 and Bech32m.
const BECH32_CONSTANTS: [u32; 2] = [1, 0x2bc8_30a3];
/// Version, hash and checksum.
const PAYLOAD_BYTES: usize = 25;

/// Whether the byte belongs to the alphabet of Base58.
pub(crate) fn is_base58(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() && !matches!(byte, b'0' | b'O' | b'I' | b'l')
}

/// A Base58Check address of 25 bytes, as of Bitcoin and its kin.
pub(crate) fn base58check(address: &[u8]) -> bool {
    let mut payload = [0u8; PAYLOAD_BYTES];
    for character in address {
        let Some(mut carry) = BASE58.iter().position(|known| known == character) else { return false };
        for byte in payload.iter_mut().rev() {
            carry += usize::from(*byte) * 58;
            *byte = u8::try_from(carry & 0xFF).unwrap_or(0);
            carry >>= 8;
        }
        if carry != 0 {
            return false;
        }
    }
    let (body, checksum) = payload.split_at(PAYLOAD_BYTES - 4);
    Sha256::digest(Sha256::digest(body)).starts_with(checksum)
}

/// A Bech32 or Bech32m address with this human-readable part, all in one case.
pub(crate) fn bech32(address: &[u8], prefix: &[u8]) -> bool {
    let lower = address.to_ascii_lowercase();
    if lower != address && address.iter().any(u8::is_ascii_lowercase) {
        return false;
    }
    let Some(data) = lower.strip_prefix(prefix).and_then(|rest| rest.strip_prefix(b"1")) else { return false };
    let mut check = 1;
    for byte in prefix {
        polymod(&mut check, byte >> 5);
    }
    polymod(&mut check, 0);
    for byte in prefix {
        polymod(&mut check, byte & 31);
    }
    for byte in data {
        let Some(value) = BECH32.iter().position(|known| known == byte) else { return false };
        polymod(&mut check, u8::try_from(value).unwrap_or(0));
    }
    data.len() >= 6 && BECH32_CONSTANTS.contains(&check)
}

fn polymod(check: &mut u32, value: u8) {
    const GENERATORS: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let top = *check >> 25;
    *check = (*check & 0x1ff_ffff) << 5 ^ u32::from(value);
    for (bit, generator) in GENERATORS.iter().enumerate() {
        if top >> bit & 1 == 1 {
            *check ^= generator;
        }
    }
}

/// Whether 40 hexadecimal digits have the capitals that EIP-55 gives them.
pub(crate) fn eip55(digits: &[u8]) -> bool {
    let mut hash = [0u8; 32];
    let mut keccak = Keccak::v256();
    keccak.update(&digits.to_ascii_lowercase());
    keccak.finalize(&mut hash);
    digits.iter().enumerate().all(|(index, digit)| {
        let byte = hash.get(index / 2).copied().unwrap_or(0);
        let nibble = if index % 2 == 0 { byte >> 4 } else { byte & 15 };
        !digit.is_ascii_alphabetic() || digit.is_ascii_uppercase() == (nibble >= 8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base58check_of_published_addresses() {
        for address in [
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
            "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
            "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
        ] {
            assert!(base58check(address.as_bytes()), "{address}");
            assert!(
                !base58check(address.replace('f', "g").replace('J', "K").as_bytes()) || !address.contains(['f', 'J'])
            );
        }
        assert!(!base58check(&[b'z'; 40]), "overflow");
        assert!(!base58check(b"0OIl"));
    }

    #[test]
    fn bech32_of_bips_173_and_350() {
        for address in [
            "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
            "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
            "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
        ] {
            assert!(bech32(address.as_bytes(), b"bc"), "{address}");
        }
        for address in
            ["bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdp", "bc1Qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "bc1"]
        {
            assert!(!bech32(address.as_bytes(), b"bc"), "{address}");
        }
    }

    #[test]
    fn eip55_of_its_own_examples() {
        for address in [
            "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "fB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "52908400098527886E0F7030069857D2E4169EE7",
        ] {
            assert!(eip55(address.as_bytes()), "{address}");
            assert!(!eip55(address.replace('E', "e").as_bytes()), "{address}");
        }
    }
}
