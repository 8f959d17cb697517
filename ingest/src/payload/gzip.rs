//! Unpacking, after verification and with a limit on what comes out.

use std::io::Read;

use flate2::read::MultiGzDecoder;

/// Why a body cannot be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnpackError {
    /// It is no gzip, or is damaged.
    Malformed,
    /// More comes out than may.
    TooLarge,
}

/// Whether bytes begin as gzip does; neither JSON nor CBOR can.
pub(crate) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b, 0x08])
}

/// Unpacks gzip up to a limit in bytes.
pub(crate) fn unpack(packed: &[u8], limit: usize) -> Result<Vec<u8>, UnpackError> {
    let mut unpacked = Vec::with_capacity(limit.min(packed.len().saturating_mul(4)));
    let beyond = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(packed)
        .take(beyond)
        .read_to_end(&mut unpacked)
        .map_err(|_| UnpackError::Malformed)?;
    if unpacked.len() > limit {
        Err(UnpackError::TooLarge)
    } else {
        Ok(unpacked)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_was_packed_comes_out_up_to_the_limit() {
        let packed = pack(&[b' '; 1000]);
        assert!(is_gzip(&packed));
        assert_eq!(unpack(&packed, 1000), Ok(vec![b' '; 1000]));
        assert_eq!(unpack(&packed, 999), Err(UnpackError::TooLarge));
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = pack(&vec![0; 64 << 20]);
        assert!(bomb.len() < 262_144);
        assert_eq!(unpack(&bomb, 262_144), Err(UnpackError::TooLarge));
    }

    #[test]
    fn damage_is_noticed() {
        let packed = pack(b"{}");
        assert_eq!(
            unpack(&packed[..packed.len() - 1], 100),
            Err(UnpackError::Malformed)
        );
        assert_eq!(unpack(b"{}", 100), Err(UnpackError::Malformed));
    }
}
