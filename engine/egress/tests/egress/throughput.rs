//! What Egress costs over the bare client. Not a test of anything; run by hand:
//! `cargo test -p engate-egress --release -- --ignored --nocapture throughput`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use engate_egress::{Outbound, SignInput, generate_signing_secret};
use engate_model::{Secret, Timestamp, endpoint::Auth};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::loopback::{egress, post};

const POSTS: usize = 40_000;
const LANES: usize = 16;
const BODY: [u8; 1024] = [b'x'; 1024];

/// The least a server can do: it answers whenever the bytes of one more body have come.
async fn sink() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = Vec::with_capacity(64 * 1024);
                while stream.read_buf(&mut bytes).await.unwrap_or(0) > 0 {
                    if bytes.ends_with(&BODY) {
                        bytes.clear();
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                    }
                }
            });
        }
    });
    format!("http://{address}/in")
}

/// Processor time of this process so far, microseconds; on a busy machine it says more than the clock.
fn cpu_us() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<f64> = stat.rsplit(')').next().unwrap().split(' ').filter_map(|field| field.parse().ok()).collect();
    // Behind the name and the state, user and system time are the 11th and 12th numbers, in hundredths of a second.
    (fields[10] + fields[11]) * 10_000.0
}

/// Posts per second, and processor time per post in microseconds; client and sink together.
async fn figures<F>(once: impl Fn() -> F + Send + Sync + Clone + 'static) -> (f64, f64)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (started, cpu) = (Instant::now(), cpu_us());
    let lanes = (0..LANES).map(|_| {
        let once = once.clone();
        tokio::spawn(async move {
            for _ in 0..POSTS / LANES {
                once().await;
            }
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await.unwrap();
    }
    (POSTS as f64 / started.elapsed().as_secs_f64(), (cpu_us() - cpu) / POSTS as f64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure, not a test"]
async fn throughput_against_the_bare_client() {
    let url = sink().await;
    let bare = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(plain_tls()).build().unwrap();
    let guarded = Arc::new(egress());
    let key = Arc::new(generate_signing_secret([1; 32]));
    let auth = Arc::new(Auth::Authorization { value: Secret::new("ninguemsabe") });
    for round in 1..=3 {
        let (client, to) = (bare.clone(), url.clone());
        let plain = figures(move || {
            let request = client.post(&to).headers(same_headers()).body(Bytes::from_static(&BODY));
            let request = request.timeout(Duration::from_secs(20)).send();
            async move { drop(request.await.unwrap().bytes().await.unwrap()) }
        });
        let plain = plain.await;
        let (egress, to, key, auth) = (Arc::clone(&guarded), url.clone(), Arc::clone(&key), Arc::clone(&auth));
        let full = figures(move || {
            let (egress, to, key, auth) = (Arc::clone(&egress), to.clone(), Arc::clone(&key), Arc::clone(&auth));
            async move {
                let at = Timestamp::from_millis(1_700_000_000_000);
                let sign = Some(SignInput { webhook_id: "dlv_1", timestamp: at, keys: vec![&key] });
                let body = Bytes::from_static(&BODY);
                egress.send(Outbound { sign, body, auth: &auth, ..post(&to) }).await.unwrap();
            }
        });
        let full = full.await;
        println!(
            "round {round}: bare {:.0}/s {:.1} us, egress {:.0}/s {:.1} us; ratio {:.2}, cpu {:.2}",
            plain.0,
            plain.1,
            full.0,
            full.1,
            full.0 / plain.0,
            full.1 / plain.1
        );
    }
}

/// The headers that `Egress` sends, so that both send the same bytes.
fn same_headers() -> http::HeaderMap {
    let pairs = [
        ("content-type", "application/json"),
        ("authorization", "ninguemsabe"),
        ("webhook-id", "dlv_1"),
        ("webhook-timestamp", "1700000000"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ("user-agent", "engate/0.1.0"),
    ];
    pairs.into_iter().map(|(n, v)| (n.parse().unwrap(), http::HeaderValue::from_static(v))).collect::<http::HeaderMap>()
}

fn plain_tls() -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}
