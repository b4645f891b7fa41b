//! A reconnect storm: very many clients lose their cluster at once.
