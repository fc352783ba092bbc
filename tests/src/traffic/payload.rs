//! What measuring packets carry: who sent them, when, and a checksum of their own. The checksum of UDP cannot tell whether
//! the application got damaged data: between hosts of one machine nobody computes it.

/// The smallest payload that holds all fields.
pub const MIN_SIZE: usize = 32;

const MAGIC: u32 = 0x6368_3031;

/// The fields of a measuring packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Which flow of the sender.
    pub flow: u32,
    /// Its place in the flow, from 0.
    pub sequence: u64,
    /// When it was sent, `CLOCK_MONOTONIC`.
    pub sent_ns: u64,
}

/// What a receiver makes of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Every byte is as sent.
    Intact(Payload),
    /// One of ours, or what is left of it; the flow is what it claims.
    Damaged(u32),
}

impl Payload {
    /// Fills a buffer: the fields, filler that differs from packet to packet, the checksum.
    pub fn write(&self, buffer: &mut [u8]) {
        assert!(buffer.len() >= MIN_SIZE, "a payload needs {MIN_SIZE} bytes");
        let (body, checksum) = buffer.split_at_mut(buffer.len() - 8);
        body[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        body[4..8].copy_from_slice(&self.flow.to_le_bytes());
        body[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        body[16..24].copy_from_slice(&self.sent_ns.to_le_bytes());
        for (place, byte) in body[24..].iter_mut().enumerate() {
            *byte = (place as u64).wrapping_mul(31).wrapping_add(self.sequence) as u8;
        }
        checksum.copy_from_slice(&fnv1a(body).to_le_bytes());
    }

    /// Reads what arrived.
    pub fn read(buffer: &[u8]) -> Reading {
        if buffer.len() < MIN_SIZE {
            return Reading::Damaged(u32::MAX);
        }
        let (body, checksum) = buffer.split_at(buffer.len() - 8);
        let flow = u32::from_le_bytes(field(body, 4));
        if u64::from_le_bytes(field(checksum, 0)) != fnv1a(body) || u32::from_le_bytes(field(body, 0)) != MAGIC {
            return Reading::Damaged(flow);
        }
        let sequence = u64::from_le_bytes(field(body, 8));
        Reading::Intact(Self { flow, sequence, sent_ns: u64::from_le_bytes(field(body, 16)) })
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the length was checked")
}

/// FNV-1a, 64 bits: any single flipped bit changes it.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_seen() {
        let sent = Payload { flow: 7, sequence: 123_456, sent_ns: 99 };
        let mut buffer = [0u8; 100];
        sent.write(&mut buffer);
        assert_eq!(Payload::read(&buffer), Reading::Intact(sent));
        for bit in 0..buffer.len() * 8 {
            buffer[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Payload::read(&buffer), Reading::Damaged(_)), "bit {bit}");
            buffer[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(matches!(Payload::read(&buffer[..99]), Reading::Damaged(_)), "a byte short");
    }
}
