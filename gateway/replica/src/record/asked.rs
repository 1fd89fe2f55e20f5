//! What somebody asks for about an alarm, as bytes of a record.

use detect::alarm::{Request, Verb};
use schemas::DecodeError;
use schemas::limits::{KIND_BYTES_MAX, REASON_BYTES_MAX, SERIES_BYTES_MAX, WHO_BYTES_MAX};
use schemas::wire::{self, Reader};

/// Appends a request.
pub fn encode(request: &Request<'_>, out: &mut Vec<u8>) {
    wire::put_u64(out, request.id);
    out.push(request.verb as u8);
    wire::put_str(out, request.series);
    wire::put_str(out, request.kind);
    wire::put_str(out, request.by);
    wire::put_str(out, request.reason);
    wire::put_varint(out, request.for_ms.unsigned_abs());
}

/// Reads one back.
///
/// # Errors
/// The reader's, and for a verb that is not known.
pub fn decode<'a>(r: &mut Reader<'a>) -> Result<Request<'a>, DecodeError> {
    Ok(Request {
        id: r.u64()?,
        verb: Verb::of(r.u8()?).ok_or(DecodeError::Invalid("what is asked for"))?,
        series: r.str(SERIES_BYTES_MAX)?,
        kind: r.str(KIND_BYTES_MAX)?,
        by: r.str(WHO_BYTES_MAX)?,
        reason: r.str(REASON_BYTES_MAX)?,
        for_ms: i64::try_from(r.varint()?).map_err(|_| DecodeError::Invalid("time on the shelf"))?,
    })
}
