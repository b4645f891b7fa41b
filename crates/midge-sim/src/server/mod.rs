//! The model of a NATS server, and of a cluster of them: it does no I/O either.
