//! A request's body, whole, within bounds of size and time.

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use protocol::http::Error;
use std::time::Duration;
use tokio::time::timeout;

/// A batch of ten events with 10 KiB of data each, when every other byte is an escaped quotation mark, with room for names.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// SDKs give up after 5 to 30 seconds themselves.
const BODY_TIME: Duration = Duration::from_secs(10);

/// # Errors
/// 413 above the limit, 408 if it takes too long, 400 if it breaks off.
pub(super) async fn collect<B>(body: B) -> Result<Bytes, Error>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let too_large = Error::BodyTooLarge { limit: MAX_BODY_BYTES };
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(too_large);
    }
    match timeout(BODY_TIME, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large),
        Ok(Err(_)) => Err(Error::BodyBrokeOff),
        Err(_) => Err(Error::BodyTooSlow),
    }
}
