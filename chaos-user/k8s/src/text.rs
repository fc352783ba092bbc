//! Texts in objects.

/// No text is longer than its schema allows.
pub fn cut(text: &str, bytes: usize) -> String {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].to_owned()
}

/// A fingerprint: FNV-1a, twice, in hexadecimal. It guards against mistakes, not against people: who may write the text may write what this
/// says of it.
pub fn digest(text: &[u8]) -> String {
    let hash =
        |start: u64| text.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{:016x}{:016x}", hash(0xcbf2_9ce4_8422_2325), hash(0x8422_2325_cbf2_9ce4))
}
