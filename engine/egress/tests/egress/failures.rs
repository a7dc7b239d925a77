//! Every way a partner can fail to answer, and the code it gets.

use std::time::Duration;

use engate_egress::{Egress, Failed, Outbound};
use engate_model::{Secret, endpoint::Auth};
use tokio::net::TcpListener;

use crate::loopback::{Names, Partner, Reply, egress, open, post};

async fn failed(outbound: Outbound<'_>) -> Box<Failed> {
    egress().send(outbound).await.unwrap_err()
}

#[tokio::test]
async fn a_closed_port_is_connect_refused_and_the_request_is_recorded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?token=hush", listener.local_addr().unwrap());
    drop(listener);
    let auth = Auth::Authorization { value: Secret::new("hush-hush") };
    let failed = failed(Outbound { auth: &auth, ..post(&url) }).await;
    assert_eq!(failed.failure.code, "connect_refused");
    assert!(failed.failure.retryable);
    assert!(!failed.failure.message.contains("hush"), "{}", failed.failure.message);
    let sent = failed.sent.unwrap();
    assert_eq!((sent.method.as_str(), sent.url.as_str()), ("POST", url.as_str()));
    assert_eq!(sent.body, br#"{"n":1}"#);
    assert!(!format!("{sent:?}").contains("hush-hush"));
    assert_eq!(failed.response, None);
}

#[tokio::test]
async fn a_name_without_address_is_dns_failed() {
    for names in [Names::new("other.test", &[]), Names::new("partner.test", &[&[]])] {
        let egress = Egress::with_lookup(open(), names).unwrap();
        let failed = egress.send(post("https://partner.test/?token=hush")).await.unwrap_err();
        assert_eq!(failed.failure.code, "dns_failed", "{:?}", failed.failure);
        assert!(failed.failure.retryable);
        assert!(!failed.failure.message.contains("hush"));
    }
}

#[tokio::test]
async fn a_partner_that_closes_instead_of_answering_is_connection_closed() {
    let partner = Partner::start(|_| Reply::Close(vec![])).await;
    let failed = failed(post(&partner.url("/?hush"))).await;
    assert_eq!(failed.failure.code, "connection_closed", "{:?}", failed.failure);
    assert!(!failed.failure.message.contains("hush"));
    let half = Partner::start(|_| Reply::Close(b"HTTP/1.1 200 OK\r\ncontent-".to_vec())).await;
    assert_eq!(egress().send(post(&half.url("/"))).await.unwrap_err().failure.code, "connection_closed");
}

#[tokio::test]
async fn what_is_not_http_is_protocol_error() {
    for bytes in ["SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 99999 x\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n"] {
        let partner = Partner::start(|_| Reply::Close(bytes.as_bytes().to_vec())).await;
        assert_eq!(failed(post(&partner.url("/"))).await.failure.code, "protocol_error", "{bytes}");
    }
}

#[tokio::test]
async fn a_silent_partner_costs_the_deadline_and_no_more() {
    let partner = Partner::start(|_| Reply::Hang).await;
    let deadline = Duration::from_millis(80);
    let failed = failed(Outbound { deadline, ..post(&partner.url("/")) }).await;
    assert_eq!(failed.failure.code, "timeout");
    assert!(failed.failure.message.contains("80 ms"), "{}", failed.failure.message);
    assert!(failed.elapsed >= deadline && failed.elapsed < deadline + Duration::from_secs(2));
    assert!(failed.sent.is_some());
}

#[tokio::test]
async fn a_body_that_drips_does_not_push_the_deadline_on() {
    for head in ["HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"] {
        let partner = Partner::start(|_| Reply::Drip(head.as_bytes().to_vec())).await;
        let deadline = Duration::from_millis(120);
        let failed = failed(Outbound { deadline, ..post(&partner.url("/")) }).await;
        assert_eq!(failed.failure.code, "timeout");
        assert!(failed.elapsed < deadline + Duration::from_secs(2));
        let response = failed.response.unwrap();
        assert_eq!(response.status, 200);
        assert!(response.body.iter().all(|byte| *byte == b'.'));
    }
}

#[tokio::test]
async fn a_head_that_drips_does_not_push_the_deadline_on() {
    let partner = Partner::start(|_| Reply::Drip(b"HTTP/1.1 200 OK\r\nx-slow: ".to_vec())).await;
    let failed = failed(Outbound { deadline: Duration::from_millis(120), ..post(&partner.url("/")) }).await;
    assert_eq!(failed.failure.code, "timeout");
    assert_eq!(failed.response, None);
}

#[tokio::test]
async fn a_listener_that_never_takes_part_in_tls_is_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let config = engate_egress::EgressConfig { connect_timeout: Duration::from_millis(80), ..open() };
    let failed = Egress::new(config).unwrap().send(post(&url)).await.unwrap_err();
    assert_eq!(failed.failure.code, "timeout");
    assert!(failed.failure.message.starts_with("no connection to"), "{}", failed.failure.message);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_body_failed_with_what_came() {
    let partner =
        Partner::start(|_| Reply::Close(b"HTTP/1.1 201 Created\r\ncontent-length: 10\r\n\r\nabc".to_vec())).await;
    let failed = failed(post(&partner.url("/"))).await;
    assert_eq!(failed.failure.code, "body_failed");
    let response = failed.response.unwrap();
    assert_eq!((response.status, response.body.as_slice()), (201, b"abc".as_slice()));
}

#[tokio::test]
async fn isolation_10_what_cannot_be_built_is_refused_before_the_wire() {
    let partner = Partner::obliging().await;
    let url = partner.url("/");
    let long = format!("{url}{}", "a".repeat(1_000_000));
    let mut wrong = vec![
        Outbound { method: "GET / HTTP/1.1\r\nX: y", ..post(&url) },
        Outbound { method: "CONNECT", ..post(&url) },
        post(&long),
        post("ftp://127.0.0.1/"),
        post("http://user:pass@127.0.0.1/"),
    ];
    for (name, value) in [("x\r\ny", "v"), ("x", "a\r\nb: c"), ("x", "\0")] {
        let mut outbound = post(&url);
        outbound.headers.push((name.to_owned(), value.to_owned()));
        wrong.push(outbound);
    }
    let auth = Auth::Authorization { value: Secret::new("a\r\nb") };
    wrong.push(Outbound { auth: &auth, ..post(&url) });
    for outbound in wrong {
        let failed = failed(outbound).await;
        assert_eq!(failed.failure.code, "invalid_request", "{:?}", failed.failure);
        assert!(!failed.failure.retryable);
        assert_eq!(failed.sent, None);
    }
    assert_eq!(partner.connections(), 0);
}
