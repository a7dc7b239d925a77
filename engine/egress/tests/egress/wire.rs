//! What goes on the wire, and that the record says so.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use engate_egress::Outbound;
use engate_model::{Secret, delivery::Request, endpoint::Auth};
use tokio::sync::mpsc::error::TryRecvError;

use crate::loopback::{Partner, Reply, Seen, egress, post, with};

async fn exchange(auth: &Auth, change: impl FnOnce(&mut Outbound<'_>)) -> (Seen, Request) {
    let mut partner = Partner::obliging().await;
    let url = partner.url("/in?q=1");
    let mut outbound = Outbound { auth, ..post(&url) };
    change(&mut outbound);
    let received = egress().send(outbound).await.unwrap();
    assert_eq!(received.response.status, 200);
    assert_eq!(received.response.body, b"taken");
    (partner.seen.recv().await.unwrap(), received.sent)
}

#[tokio::test]
async fn o09_basic_auth_reaches_the_partner_as_utf8() {
    let auth = Auth::Basic { username: "ons".to_owned(), password: Secret::new("a:b ç") };
    let (seen, sent) = exchange(&auth, |_| ()).await;
    let value = seen.header("authorization").unwrap();
    assert_eq!(STANDARD.decode(value.strip_prefix("Basic ").unwrap()).unwrap(), "ons:a:b ç".as_bytes());
    assert!(sent.headers.contains(&("authorization".to_owned(), "***".to_owned())));
}

#[tokio::test]
async fn o09_a_rejected_password_is_a_response_for_the_verdict() {
    let partner = Partner::start(|_| Reply::Keep(with("401 Unauthorized", "", b"who?"))).await;
    let received = egress().send(post(&partner.url("/"))).await.unwrap();
    assert_eq!(received.response.status, 401);
}

#[tokio::test]
async fn o10_the_token_goes_out_exactly_as_given() {
    for value in ["ninguemsabe", "Bearer x"] {
        let auth = Auth::Authorization { value: Secret::new(value) };
        let (seen, sent) = exchange(&auth, |_| ()).await;
        assert_eq!(seen.all("authorization"), [value]);
        assert!(!format!("{sent:?}").contains(value));
    }
    let auth = Auth::Authorization { value: Secret::new("chavé") };
    let (seen, _) = exchange(&auth, |_| ()).await;
    assert_eq!(seen.all("authorization"), ["chavé"]);
}

#[tokio::test]
async fn o11_without_auth_there_is_no_header_even_if_a_plugin_sets_one() {
    let (seen, sent) = exchange(&Auth::None, |outbound| {
        outbound.headers.push(("Authorization".to_owned(), "Bearer stolen".to_owned()));
    })
    .await;
    assert_eq!(seen.header("authorization"), None);
    assert!(sent.headers.iter().all(|(name, _)| name != "authorization"));
}

#[tokio::test]
async fn a_header_of_any_name_can_carry_the_secret_and_is_masked() {
    let auth = Auth::Header { name: "X-Api-Key".to_owned(), value: Secret::new("hush") };
    let (seen, sent) = exchange(&auth, |outbound| {
        outbound.headers.push(("x-api-key".to_owned(), "the plugin's".to_owned()));
    })
    .await;
    assert_eq!(seen.all("x-api-key"), ["hush"]);
    assert!(sent.headers.contains(&("x-api-key".to_owned(), "***".to_owned())));
}

#[tokio::test]
async fn isolation_12_framing_headers_of_a_plugin_are_dropped() {
    let own = ["Host", "Content-Length", "Transfer-Encoding", "Connection", "User-Agent", "Webhook-Id", "Expect", "TE"];
    let (seen, _) = exchange(&Auth::None, |outbound| {
        outbound.headers.extend(own.iter().map(|name| ((*name).to_owned(), "999".to_owned())));
    })
    .await;
    assert!(seen.headers.iter().all(|(_, value)| value != b"999"), "{seen:?}");
    assert_eq!(seen.header("content-length").as_deref(), Some("7"));
    assert_eq!(seen.header("user-agent").unwrap(), concat!("engate/", env!("CARGO_PKG_VERSION")));
}

/// The record must give the bytes of the head, but for what is masked.
fn assert_recorded(seen: &Seen, sent: &Request) {
    let url = url::Url::parse(&sent.url).unwrap();
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    assert_eq!(seen.line, format!("{} {target} HTTP/1.1", sent.method));
    let wire: Vec<(String, String)> = seen
        .headers
        .iter()
        .map(|(name, value)| {
            let masked = name.eq_ignore_ascii_case("authorization");
            (name.clone(), if masked { "***".to_owned() } else { String::from_utf8(value.clone()).unwrap() })
        })
        .collect();
    assert_eq!(wire, sent.headers);
}

#[tokio::test]
async fn the_record_is_what_went_on_the_wire() {
    let auth = Auth::Authorization { value: Secret::new("hush") };
    for title_case in [false, true] {
        for (method, body) in [("POST", "{}"), ("PUT", ""), ("GET", ""), ("DELETE", "x"), ("M-SEARCH", "")] {
            let (seen, sent) = exchange(&auth, |outbound| {
                outbound.method = method;
                outbound.http1_title_case = title_case;
                outbound.body = body.into();
                for (name, value) in [("X-One", "1"), ("x-two", "a, b"), ("x-one", "çé"), ("accept", "text/plain")] {
                    outbound.headers.push((name.to_owned(), value.to_owned()));
                }
            })
            .await;
            assert_recorded(&seen, &sent);
            assert_eq!(seen.body, body.as_bytes());
            assert_eq!(sent.body, body.as_bytes());
            assert_eq!(seen.all("x-one"), ["1", "çé"]);
            let case = if title_case { "X-Two" } else { "x-two" };
            assert!(seen.headers.iter().any(|(name, _)| name == case), "{seen:?}");
        }
    }
}

#[tokio::test]
async fn a_compressed_body_is_announced_and_recorded_as_it_was_before() {
    for size in [1_000, 300_000] {
        let body = "engate ".repeat(size / 7);
        let (seen, sent) = exchange(&Auth::None, |outbound| {
            outbound.compress = true;
            outbound.body = body.clone().into();
        })
        .await;
        assert_eq!(seen.header("content-encoding").as_deref(), Some("gzip"));
        assert!(seen.body.len() < body.len() / 10);
        assert_eq!(crate::signing::inflate(&seen.body), body.as_bytes());
        assert_eq!(sent.body, body.as_bytes());
        assert_recorded(&seen, &sent);
    }
    let (seen, _) = exchange(&Auth::None, |outbound| {
        outbound.compress = true;
        outbound.body = "".into();
    })
    .await;
    assert_eq!(seen.header("content-encoding"), None);
    let (seen, _) = exchange(&Auth::None, |outbound| {
        outbound.compress = true;
        outbound.headers.push(("content-encoding".to_owned(), "zstd".to_owned()));
    })
    .await;
    assert_eq!(seen.all("content-encoding"), ["zstd"]);
    assert_eq!(seen.body, br#"{"n":1}"#);
}

#[tokio::test]
async fn o28_redirects_are_not_followed() {
    let mut elsewhere = Partner::obliging().await;
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let location = format!("location: {}\r\n", elsewhere.url("/trap"));
        let partner = Partner::start(move |_| Reply::Keep(with(status, &location, b""))).await;
        let received = egress().send(post(&partner.url("/"))).await.unwrap();
        assert_eq!(received.response.status.to_string(), status[..3]);
        assert_eq!(received.response.header("location").unwrap(), elsewhere.url("/trap"));
    }
    assert_eq!(elsewhere.seen.try_recv().unwrap_err(), TryRecvError::Empty);
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn connections_are_kept_and_used_again() {
    let partner = Partner::obliging().await;
    let (egress, url) = (egress(), partner.url("/"));
    for _ in 0..20 {
        egress.send(post(&url)).await.unwrap();
    }
    assert_eq!(partner.connections(), 1);
}

#[tokio::test]
async fn an_idle_connection_that_the_partner_closed_is_no_failure() {
    let mut partner = Partner::start(|_| Reply::Close(with("200 OK", "", b""))).await;
    let (egress, url) = (egress(), partner.url("/"));
    for _ in 0..20 {
        egress.send(post(&url)).await.unwrap();
        partner.closed.recv().await.unwrap();
        // The end of the connection is in the kernel by now; a timer lets this one thread ask the kernel for it.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    assert_eq!(partner.connections(), 20);
}

#[tokio::test]
async fn response_headers_come_in_lower_case_and_in_order() {
    let partner =
        Partner::start(|_| Reply::Keep(with("202 Accepted", "X-B: 1\r\nx-a: 2\r\nX-B: \u{e7}\r\n", b"y"))).await;
    let received = egress().send(post(&partner.url("/"))).await.unwrap();
    let pairs: Vec<_> = received.response.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(pairs, [("x-b", "1"), ("x-b", "\u{e7}"), ("x-a", "2"), ("content-length", "1")]);
    assert!(!received.response.truncated);
}
