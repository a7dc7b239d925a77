//! What a plugin may ask of the engine. Each call costs one of the call's budget.

use super::{
    bindings::engate::plugin::{config, http, log, secrets, state, types},
    convert::outgoing_request,
    sync::fetched,
};
use crate::{http::HttpFailure, instance::CallState, secrets::SecretError, state::StateError};

impl types::Host for CallState {}

impl log::Host for CallState {
    fn write(&mut self, level: log::Level, message: String, fields: Vec<(String, String)>) -> wasmtime::Result<()> {
        self.spend_host_call()?;
        let level = match level {
            log::Level::Debug => "debug",
            log::Level::Info => "info",
            log::Level::Warn => "warn",
            log::Level::Error => "error",
        };
        self.world.log().line(level, &message, &fields);
        Ok(())
    }
}

impl config::Host for CallState {
    fn get(&mut self, pointer: String) -> wasmtime::Result<Option<String>> {
        self.spend_host_call()?;
        Ok(self.config.pointer(&pointer).map(ToString::to_string))
    }
}

impl secrets::Host for CallState {
    fn hmac_sha256(&mut self, name: String, data: Vec<u8>) -> wasmtime::Result<Result<Vec<u8>, secrets::Error>> {
        self.spend_host_call()?;
        let mac = self.secrets.mac(&name, &data, self.hmacs.len());
        Ok(mac.map_err(Into::into).map(|mac| {
            self.hmacs.push((name, mac));
            mac.to_vec()
        }))
    }

    fn reveal(&mut self, name: String) -> wasmtime::Result<Result<String, secrets::Error>> {
        self.spend_host_call()?;
        let secret = self.secrets.reveal(&name);
        Ok(secret.map_err(Into::into).inspect(|_| {
            if !self.revealed.contains(&name) {
                self.revealed.push(name);
            }
        }))
    }
}

impl state::Host for CallState {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, state::Error>> {
        self.spend_host_call()?;
        Ok(Ok(self.state.get(&key)))
    }

    fn put(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<Result<(), state::Error>> {
        self.spend_host_call()?;
        Ok(self.state.put(key, value).map_err(Into::into))
    }

    fn delete(&mut self, key: String) -> wasmtime::Result<Result<(), state::Error>> {
        self.spend_host_call()?;
        Ok(self.state.delete(key).map_err(Into::into))
    }
}

impl http::Host for CallState {
    async fn send(
        &mut self,
        request: types::HttpRequest,
    ) -> wasmtime::Result<Result<types::HttpResponse, http::Error>> {
        self.spend_host_call()?;
        let answer = self.fetch(outgoing_request(request)).await;
        Ok(answer.map(|answer| fetched(&answer)).map_err(Into::into))
    }
}

impl From<HttpFailure> for http::Error {
    fn from(failure: HttpFailure) -> Self {
        match failure {
            HttpFailure::Denied(reason) => Self::Denied(reason),
            HttpFailure::Dns => Self::Dns,
            HttpFailure::Connect => Self::Connect,
            HttpFailure::Tls => Self::Tls,
            HttpFailure::Timeout => Self::Timeout,
            HttpFailure::TooLarge => Self::TooLarge,
            HttpFailure::Budget => Self::Budget,
            HttpFailure::Other(reason) => Self::Other(reason),
        }
    }
}

impl From<SecretError> for secrets::Error {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::Denied => Self::Denied,
            SecretError::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

impl From<StateError> for state::Error {
    fn from(error: StateError) -> Self {
        match error {
            StateError::TooLarge => Self::TooLarge,
            StateError::Quota => Self::Quota,
        }
    }
}
