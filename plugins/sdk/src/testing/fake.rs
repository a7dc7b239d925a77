//! The imports as the engine would serve them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value;

use crate::log::Level;
use crate::{
    Answer, Call, Context, Event, Exchange, Feed, Integrator, Page, Pass, Plan, Problem, Pull, Receiver, Request,
    Response, Sent, Settlement, Sink, Source, Stream, Totals, Verdict, http,
};

/// What all keys and values of the state may come to together.
pub const STATE_BYTES_MAX: usize = 64 * 1024;

/// One line that the plugin logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// The sentence.
    pub message: String,
    /// Name and value.
    pub fields: Vec<(String, String)>,
}

#[derive(Debug)]
struct Fake {
    config: Value,
    secrets: BTreeMap<String, Secret>,
    state: BTreeMap<String, Vec<u8>>,
    logs: Vec<LogLine>,
    web: Web,
    requests: Vec<Request>,
}

/// What answers to requests.
type Answering = dyn FnMut(&Request) -> Result<Response, http::Error>;

/// The world outside, as far as a source can see it.
#[derive(Default)]
struct Web(Option<Box<Answering>>);

impl std::fmt::Debug for Web {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Web" } else { "no web" })
    }
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            config: Value::Object(serde_json::Map::new()),
            secrets: BTreeMap::new(),
            state: BTreeMap::new(),
            logs: Vec::new(),
            web: Web::default(),
            requests: Vec::new(),
        }
    }
}

#[derive(Debug)]
enum Secret {
    Key { bytes: Vec<u8>, may_be_revealed: bool },
    Unavailable(String),
}

thread_local! {
    /// The host whose call is running; outside a call the imports answer as one that has nothing.
    static RUNNING: RefCell<Rc<RefCell<Fake>>> = RefCell::default();
}

/// A fake engine with one installation of a plugin.
#[derive(Debug, Default)]
pub struct Host {
    fake: Rc<RefCell<Fake>>,
}

impl Host {
    /// No settings, no secrets, no state.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the settings, all of them.
    #[must_use]
    pub fn config(self, config: Value) -> Self {
        self.fake.borrow_mut().config = config;
        self
    }

    /// Grants a secret: the key that HMACs are made with.
    #[must_use]
    pub fn secret(self, name: &str, key: impl AsRef<[u8]>) -> Self {
        self.with_secret(name, Secret::Key { bytes: key.as_ref().to_vec(), may_be_revealed: false })
    }

    /// Grants a secret that may also be revealed.
    #[must_use]
    pub fn revealed_secret(self, name: &str, secret: &str) -> Self {
        self.with_secret(name, Secret::Key { bytes: secret.as_bytes().to_vec(), may_be_revealed: true })
    }

    /// Grants a secret that cannot be read now.
    #[must_use]
    pub fn unavailable_secret(self, name: &str, why: &str) -> Self {
        self.with_secret(name, Secret::Unavailable(why.to_owned()))
    }

    fn with_secret(self, name: &str, secret: Secret) -> Self {
        self.fake.borrow_mut().secrets.insert(name.to_owned(), secret);
        self
    }

    /// Sets what an earlier call would have left in the state.
    #[must_use]
    pub fn state(self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.fake.borrow_mut().state.insert(key.to_owned(), value.as_ref().to_vec());
        self
    }

    /// Sets what answers to a source's requests; without it no name resolves.
    #[must_use]
    pub fn web(self, answer: impl FnMut(&Request) -> Result<Response, http::Error> + 'static) -> Self {
        self.fake.borrow_mut().web = Web(Some(Box::new(answer)));
        self
    }

    /// The requests that were sent so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.fake.borrow().requests.clone()
    }

    /// What the state holds now under a key. Every write counts at once: this host knows no transactions.
    #[must_use]
    pub fn state_of(&self, key: &str) -> Option<Vec<u8>> {
        self.fake.borrow().state.get(key).cloned()
    }

    /// The lines logged so far.
    #[must_use]
    pub fn logs(&self) -> Vec<LogLine> {
        self.fake.borrow().logs.clone()
    }

    /// Calls the plugin's `transform`.
    ///
    /// # Errors
    /// The plugin's.
    pub fn transform<P: Integrator>(&self, event: &Event, context: &Context) -> Result<Plan, Problem> {
        self.run(|| P::transform(event, context))
    }

    /// Calls the plugin's `interpret`.
    #[must_use]
    pub fn interpret<P: Integrator>(&self, exchange: &Exchange) -> Verdict {
        self.run(|| P::interpret(exchange))
    }

    /// Calls the plugin's `receive`.
    ///
    /// # Errors
    /// The plugin's.
    pub fn receive<P: Receiver>(&self, call: &Call) -> Result<Answer, Problem> {
        self.run(|| P::receive(call))
    }

    /// Calls the plugin's `open`.
    ///
    /// # Errors
    /// The plugin's.
    pub fn open<P: Sink>(&self, stream: &Stream) -> Result<Vec<Request>, Problem> {
        self.run(|| P::open(stream))
    }

    /// Calls the plugin's `encode`.
    ///
    /// # Errors
    /// The plugin's.
    pub fn encode<P: Sink>(&self, pass: &Pass, page: &Page) -> Result<Request, Problem> {
        self.run(|| P::encode(pass, page))
    }

    /// Calls the plugin's `settle`.
    #[must_use]
    pub fn settle<P: Sink>(&self, page: &Sent, response: &Response) -> Settlement {
        self.run(|| P::settle(page, response))
    }

    /// Calls the plugin's `close`.
    ///
    /// # Errors
    /// The plugin's.
    pub fn close<P: Sink>(&self, pass: &Pass, totals: &Totals) -> Result<Option<Request>, Problem> {
        self.run(|| P::close(pass, totals))
    }

    /// Calls the plugin's `pull`.
    ///
    /// # Errors
    /// The plugin's.
    pub fn pull<P: Source>(&self, pull: &Pull) -> Result<Feed, Problem> {
        self.run(|| P::pull(pull))
    }

    /// Runs anything that uses the imports.
    pub fn run<T>(&self, call: impl FnOnce() -> T) -> T {
        let _back = Restore(RUNNING.replace(Rc::clone(&self.fake)));
        call()
    }
}

/// Puts the former host back, also when the plugin panics.
struct Restore(Rc<RefCell<Fake>>);

impl Drop for Restore {
    fn drop(&mut self) {
        RUNNING.replace(Rc::clone(&self.0));
    }
}

fn with_running<T>(answer: impl FnOnce(&mut Fake) -> T) -> T {
    RUNNING.with_borrow(|fake| answer(&mut fake.borrow_mut()))
}

/// The same names and types as the generated imports.
pub(crate) mod imports {
    pub(crate) mod config {
        use super::super::with_running;

        pub(crate) fn get(pointer: &str) -> Option<String> {
            with_running(|fake| fake.config.pointer(pointer).map(ToString::to_string))
        }
    }

    pub(crate) mod log {
        use super::super::{LogLine, with_running};
        use crate::log::Level;

        pub(crate) fn write(level: Level, message: &str, fields: &[(String, String)]) {
            let line = LogLine { level, message: message.to_owned(), fields: fields.to_vec() };
            with_running(|fake| fake.logs.push(line));
        }
    }

    pub(crate) mod http {
        use super::super::with_running;
        use crate::{Request, Response, http::Error};

        pub(crate) fn send(request: &Request) -> Result<Response, Error> {
            with_running(|fake| {
                fake.requests.push(request.clone());
                fake.web.0.as_mut().map_or(Err(Error::Dns), |answer| answer(request))
            })
        }
    }

    pub(crate) mod secrets {
        use hmac::{Hmac, KeyInit, Mac};
        use sha2::Sha256;

        use super::super::{Secret, with_running};
        use crate::secrets::Error;

        pub(crate) fn hmac_sha256(name: &str, data: &[u8]) -> Result<Vec<u8>, Error> {
            with_running(|fake| match fake.secrets.get(name) {
                None => Err(Error::Denied),
                Some(Secret::Unavailable(why)) => Err(Error::Unavailable(why.clone())),
                Some(Secret::Key { bytes, .. }) => {
                    let mac = Hmac::<Sha256>::new_from_slice(bytes).map_err(|_| Error::Denied)?;
                    Ok(mac.chain_update(data).finalize().into_bytes().to_vec())
                }
            })
        }

        pub(crate) fn reveal(name: &str) -> Result<String, Error> {
            with_running(|fake| match fake.secrets.get(name) {
                Some(Secret::Unavailable(why)) => Err(Error::Unavailable(why.clone())),
                Some(Secret::Key { bytes, may_be_revealed: true }) => {
                    String::from_utf8(bytes.clone()).map_err(|_| Error::Denied)
                }
                _ => Err(Error::Denied),
            })
        }
    }

    pub(crate) mod state {
        use super::super::{STATE_BYTES_MAX, with_running};
        use crate::state::Error;

        pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
            with_running(|fake| Ok(fake.state.get(key).cloned()))
        }

        pub(crate) fn put(key: &str, value: &[u8]) -> Result<(), Error> {
            let size = |key: &str, value: &[u8]| key.len() + value.len();
            if size(key, value) > STATE_BYTES_MAX {
                return Err(Error::TooLarge);
            }
            with_running(|fake| {
                let others = fake.state.iter().filter(|(other, _)| *other != key);
                let used: usize = others.map(|(key, value)| size(key, value)).sum();
                if used + size(key, value) > STATE_BYTES_MAX {
                    return Err(Error::Quota);
                }
                fake.state.insert(key.to_owned(), value.to_vec());
                Ok(())
            })
        }

        pub(crate) fn delete(key: &str) -> Result<(), Error> {
            with_running(|fake| {
                fake.state.remove(key);
                Ok(())
            })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::{config, encoding, log, secrets, state};

    #[test]
    fn outside_a_call_there_is_nothing() {
        assert_eq!(config::get::<u32>("/a").unwrap(), None);
        assert_eq!(secrets::hmac_sha256("k", b"").unwrap_err().code, "secret_denied");
        assert_eq!(state::get("k").unwrap(), None);
    }

    #[test]
    fn settings_are_typed_and_found_by_pointer() {
        let host = Host::new().config(json!({"link": {"ttl_s": 5}, "names": "camel"}));
        host.run(|| {
            assert_eq!(config::get::<u32>("/link/ttl_s").unwrap(), Some(5));
            assert_eq!(config::get_or("/link/base", "x".to_owned()).unwrap(), "x");
            assert_eq!(config::all::<Value>().unwrap()["names"], "camel");
            let problem = config::get::<u32>("/names").unwrap_err();
            assert_eq!(problem.code, "invalid_config");
            assert!(problem.message.contains("`/names`"), "{}", problem.message);
        });
    }

    #[test]
    fn secrets_sign_and_do_not_show() {
        let host = Host::new().secret("k", "key").unavailable_secret("away", "sealed").revealed_secret("open", "s");
        host.run(|| {
            let signature = secrets::hmac_sha256("k", b"The quick brown fox jumps over the lazy dog").unwrap();
            let known = "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
            assert_eq!(encoding::hex(&signature), known);
            assert_eq!(secrets::reveal("k").unwrap_err().code, "secret_denied");
            assert_eq!(secrets::reveal("open").unwrap(), "s");
            assert!(secrets::hmac_sha256_is("k", b"x", &secrets::hmac_sha256("k", b"x").unwrap()).unwrap());
            assert!(!secrets::hmac_sha256_is("k", b"y", &secrets::hmac_sha256("k", b"x").unwrap()).unwrap());
            assert!(!secrets::hmac_sha256_is("k", b"x", &secrets::hmac_sha256("k", b"x").unwrap()[..31]).unwrap());
            assert!(!secrets::hmac_sha256_is("k", b"x", b"").unwrap());
            let problem = secrets::hmac_sha256("away", b"").unwrap_err();
            assert_eq!((problem.code.as_str(), problem.retryable), ("secret_unavailable", true));
        });
    }

    #[test]
    fn state_is_kept_and_has_an_end() {
        let host = Host::new().state("seen", "1");
        host.run(|| {
            assert_eq!(state::get_json::<u32>("seen").unwrap(), Some(1));
            state::put_json("seen", &2).unwrap();
            state::put("half", &vec![0; STATE_BYTES_MAX / 2]).unwrap();
            assert_eq!(state::put("more", &vec![0; STATE_BYTES_MAX / 2]).unwrap_err().code, "state_quota");
            assert_eq!(state::put("huge", &vec![0; STATE_BYTES_MAX]).unwrap_err().code, "state_too_large");
            state::delete("half").unwrap();
        });
        assert_eq!(host.state_of("seen"), Some(b"2".to_vec()));
        assert_eq!(host.state_of("half"), None);
    }

    #[test]
    fn log_lines_are_caught() {
        let host = Host::new();
        host.run(|| {
            log::info!("{} orders", 3);
            log::write(log::Level::Warn, "late", &[("by", "2 s")]);
        });
        let logs = host.logs();
        assert_eq!((logs[0].level, logs[0].message.as_str()), (Level::Info, "3 orders"));
        assert_eq!(logs[1].fields, [("by".to_owned(), "2 s".to_owned())]);
    }
}
