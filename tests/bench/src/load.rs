//! The load: producers that post events one by one, and the wait until the sink has them all.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join_all;

use crate::{Error, http1::Connection, sink::Seen};

/// Longest time a run may take.
const RUN_MAX: Duration = Duration::from_secs(180);

/// Where and how events are posted.
pub(crate) struct Target<'a> {
    /// `host:port`.
    pub(crate) address: &'a str,
    /// Path.
    pub(crate) path: &'a str,
    /// Headers of every post.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// Body of event `n`.
    pub(crate) body: fn(usize) -> Bytes,
    /// Status that means "taken".
    pub(crate) taken: u16,
}

/// Posts `events` events by `producers` connections; each producer waits for one answer before the next post.
pub(crate) async fn produce(target: &Target<'_>, events: usize, producers: usize) -> Result<(), Error> {
    let share = |n: usize| (n..events).step_by(producers);
    try_join_all((0..producers).map(|n| async move {
        let mut connection = Connection::open(target.address).await?;
        for event in share(n) {
            let (status, body) = connection.call("POST", target.path, target.headers, (target.body)(event)).await?;
            if status != target.taken {
                return Err::<(), Error>(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
            }
        }
        Ok(())
    }))
    .await?;
    Ok(())
}

/// Runs the load and waits until the sink has received every event. Answers deliveries per second.
pub(crate) async fn timed(target: &Target<'_>, sink: &str, events: usize, producers: usize) -> Result<f64, Error> {
    let mut watch = Connection::open(sink).await?;
    watch.call("POST", "/reset", &[], Bytes::new()).await?;
    let start = Instant::now();
    produce(target, events, producers).await?;
    loop {
        let (_, body) = watch.call("GET", "/seen", &[], Bytes::new()).await?;
        let seen: Seen = serde_json::from_slice(&body)?;
        if seen.distinct >= events {
            return Ok(events as f64 / start.elapsed().as_secs_f64());
        }
        if start.elapsed() > RUN_MAX {
            return Err(format!("the sink received {} of {events} events within {RUN_MAX:?}", seen.distinct).into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// An order of about 0.7 KB, as the bench plugin expects it.
pub(crate) fn order(n: usize) -> String {
    let items: Vec<_> = (0..6)
        .map(|item| format!(r#"{{"codigo":"P{item:05}","descricao":"Produto de catálogo número {item}","quantidade":{item},"valor":"12.5{item}"}}"#))
        .collect();
    format!(
        r#"{{"pedido":{n},"cliente":{{"codigo":"01400-2","nome":"Companhia de Águas","cidade":"Recife"}},"emissao":"2025-02-20T10:00:00-03:00","total":"75.10","itens":[{}]}}"#,
        items.join(",")
    )
}
