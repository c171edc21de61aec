//! Control from outside: a node and an owner are played by the test, on the in-process broker.

mod grpc;
mod shutdown;
mod support;
mod verbs;
mod watch;
