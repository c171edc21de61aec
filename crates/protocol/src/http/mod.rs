//! The HTTP API: paths, request signing, bodies, errors.
