//! What a sync asks of a target.

use std::{collections::BTreeMap, future::Future};

use engate_model::{
    delivery::Response,
    sink::{Page, Pass, Settlement, StreamInfo, Totals},
    verdict::Failure,
};

/// What a plugin wants kept; none: the key goes.
pub(crate) type Writes = BTreeMap<String, Option<Vec<u8>>>;

/// An answer of the plugin, and what it wants kept with what comes of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked<V> {
    pub(crate) value: V,
    pub(crate) writes: Writes,
}

/// Something that can be sent, as often as it takes.
pub(crate) trait Sendable: Send + Sync {
    /// Bytes of its body before it is packed.
    fn bytes(&self) -> u64;
}

/// The far side: a plugin that says what to send and what answers mean, and a way there. `kept` is what earlier calls for
/// the same page want kept.
pub(crate) trait Target: Send + Sync {
    /// What is sent.
    type Request: Sendable;
    /// The requests that prepare the target.
    fn open(&self, info: &StreamInfo) -> impl Future<Output = Result<Asked<Vec<Self::Request>>, Failure>> + Send;
    /// The request that carries a page.
    fn encode(&self, pass: &Pass, page: &Page) -> impl Future<Output = Result<Asked<Self::Request>, Failure>> + Send;
    /// Sends a request; any status is a response.
    fn send(&self, request: &Self::Request) -> impl Future<Output = Result<Response, Failure>> + Send;
    /// What a response means for a page.
    fn settle(
        &self,
        pass: &str,
        page: &str,
        size: u32,
        response: &Response,
        kept: &Writes,
    ) -> impl Future<Output = Result<Asked<Settlement>, Failure>> + Send;
    /// The request that tells the target that the pass is over.
    fn close(
        &self,
        pass: &Pass,
        totals: Totals,
    ) -> impl Future<Output = Result<Asked<Option<Self::Request>>, Failure>> + Send;
}
