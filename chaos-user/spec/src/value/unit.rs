//! Numbers with a unit behind them, as tc writes rates and sizes.

use super::Invalid;

/// Splits `"1.5mbit"` into its number and the unit in lower case, with the number as a fraction `digits / 10^decimals`.
///
/// # Errors
/// Where the text does not begin with a decimal number, or the number has more than 18 digits.
pub(super) fn split(text: &str, example: &str) -> Result<(Decimal, String), Invalid> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    if text.starts_with('-') {
        return Err(Invalid::new(format!("{text:?} is negative; write for example {example:?}")));
    }
    let decimal = Decimal::parse(number)
        .ok_or_else(|| Invalid::new(format!("{text:?} does not begin with a number; write for example {example:?}")))?;
    Ok((decimal, unit.trim().to_lowercase()))
}

/// A non-negative decimal number kept exactly, so that no rounding creeps in before the unit is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    digits: u64,
    decimals: u32,
}

impl Decimal {
    /// `"12"`, `"1.5"`, `".5"` and `"5."`, as Go and strtod read them; `None` for anything else or over 18 digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || digits.len() > 18 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(Self { digits: digits.parse().ok()?, decimals: u32::try_from(fraction.len()).ok()? })
    }

    /// The number times `numerator / denominator`, rounded down; `None` if it does not fit.
    pub(super) fn times(self, numerator: u64, denominator: u64) -> Option<u64> {
        let product = u128::from(self.digits).checked_mul(u128::from(numerator))?;
        let divisor = 10_u128.checked_pow(self.decimals)?.checked_mul(u128::from(denominator))?;
        u64::try_from(product.checked_div(divisor)?).ok()
    }
}
