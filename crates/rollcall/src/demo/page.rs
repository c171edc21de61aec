//! The demo page's files, which are part of the binary.

use super::{Answer, LoopbackHost};
use bytes::Bytes;

pub(super) fn file(path: &str) -> Option<Answer> {
    let (content_type, body) = match path {
        "/" | "/index.html" => ("text/html; charset=utf-8", include_str!("page/index.html")),
        "/demo.js" => ("text/javascript; charset=utf-8", include_str!("page/demo.js")),
        "/demo.css" => ("text/css; charset=utf-8", include_str!("page/demo.css")),
        "/favicon.svg" => ("image/svg+xml", include_str!("page/favicon.svg")),
        _ => return None,
    };
    Some(Answer { content_type, body: Bytes::from_static(body.as_bytes()) })
}

/// The page's own files and nothing else. The socket's address is named since not every browser counts it as `'self'`.
pub(super) fn content_security_policy(host: Option<&LoopbackHost>) -> String {
    let socket = host.map(|host| format!(" ws://{}", host.as_str())).unwrap_or_default();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'{socket}; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
}
