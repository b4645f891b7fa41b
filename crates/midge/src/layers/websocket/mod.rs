//! WebSocket: not there yet.

use midge_proto::{DisconnectCause, ServerUrl};

use super::Layer;
use crate::OptionsError;

#[derive(Clone, Debug, Default)]
pub(crate) struct Settings;

impl Settings {
    pub(super) fn check(&self) -> Result<(), OptionsError> {
        Ok(())
    }
}

pub(super) fn start(_: &Settings, _: &ServerUrl) -> Result<Box<dyn Layer>, DisconnectCause> {
    Err(DisconnectCause::WebSocket("it is not supported yet: use a nats or tls URL".into()))
}
