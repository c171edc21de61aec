//! Whole WebSocket frames (RFC 6455 §5.2) from a server: a message to many is framed once, and the same bytes are
//! written to all.

use crate::Close;
use bytes::{BufMut, Bytes, BytesMut};

const TEXT: u8 = 0x81; // FIN and opcode 1
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;

#[must_use]
pub fn text(payload: &str) -> Bytes {
    frame(TEXT, payload.as_bytes())
}

#[must_use]
pub fn ping() -> Bytes {
    Bytes::from_static(&[PING, 0])
}

#[must_use]
pub fn close(close: &Close) -> Bytes {
    let payload = [&close.code.number().to_be_bytes(), close.reason.as_bytes()].concat();
    frame(CLOSE, &payload)
}

fn frame(head: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(payload.len() + 10);
    frame.put_u8(head);
    match payload.len() {
        length @ 0..126 => frame.put_u8(length as u8),
        length @ 126..=0xffff => {
            frame.put_u8(126);
            frame.put_u16(length as u16);
        }
        length => {
            frame.put_u8(127);
            frame.put_u64(length as u64);
        }
    }
    frame.put_slice(payload);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CloseCode;

    #[test]
    fn the_length_takes_one_three_or_nine_bytes() {
        assert_eq!(text("hi")[..], [0x81, 2, b'h', b'i']);
        assert_eq!(text(&"x".repeat(125))[..2], [0x81, 125]);
        assert_eq!(text(&"x".repeat(126))[..4], [0x81, 126, 0, 126]);
        assert_eq!(text(&"x".repeat(65_535))[..4], [0x81, 126, 0xff, 0xff]);
        assert_eq!(text(&"x".repeat(65_536))[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(text(&"x".repeat(65_536)).len(), 65_546);
    }

    #[test]
    fn a_close_frame_fits_a_control_frame() {
        let frame = close(&Close::new(CloseCode::Unauthorized, "é".repeat(100)));
        assert_eq!(frame[..4], [0x88, 2 + 122, 0x0f, 0xa9]);
        assert_eq!(frame.len(), 126);
    }
}
