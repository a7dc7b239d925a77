//! Partners that answer with too much.

use std::{io::Write as _, time::Duration};

use engate_egress::{Egress, EgressConfig, Outbound};
use flate2::{Compression, write};

use crate::loopback::{Partner, Reply, egress, open, post, with};

const CAP: usize = 64 * 1024;

fn gzip(body: &[u8], times: usize) -> Vec<u8> {
    let mut encoder = write::GzEncoder::new(Vec::new(), Compression::default());
    for _ in 0..times {
        encoder.write_all(body).unwrap();
    }
    encoder.finish().unwrap()
}

/// The most memory the process ever held, bytes.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn a_body_that_inflates_to_a_gigabyte_is_cut_and_flagged() {
    let bomb = gzip(&vec![0; 1024 * 1024], 1024);
    assert!(bomb.len() < 8 * 1024 * 1024);
    let before = peak_memory();
    let partner = Partner::start(move |_| Reply::Keep(with("200 OK", "content-encoding: gzip\r\n", &bomb))).await;
    let received = egress().send(post(&partner.url("/"))).await.unwrap();
    assert_eq!(received.response.body.len(), CAP);
    assert!(received.response.truncated);
    let grown = peak_memory().saturating_sub(before);
    assert!(grown < 128 * 1024 * 1024, "{grown} bytes more");
}

#[tokio::test]
async fn a_body_is_flagged_only_where_it_is_longer_than_the_cap() {
    for (length, truncated) in [(0, false), (CAP - 1, false), (CAP, false), (CAP + 1, true), (10 * CAP, true)] {
        let body = "x".repeat(length);
        let partner = Partner::start(move |_| Reply::Keep(with("200 OK", "", body.as_bytes()))).await;
        let received = egress().send(post(&partner.url("/"))).await.unwrap();
        assert_eq!(received.response.body.len(), length.min(CAP));
        assert_eq!(received.response.truncated, truncated, "{length}");
    }
}

#[tokio::test]
async fn the_lower_of_both_caps_holds() {
    let partner = Partner::start(|_| Reply::Keep(with("200 OK", "", &[b'x'; 1000]))).await;
    let url = partner.url("/");
    let low = Egress::new(EgressConfig { response_bytes_max: 10, ..open() }).unwrap();
    assert_eq!(low.send(post(&url)).await.unwrap().response.body.len(), 10);
    let asked = egress().send(Outbound { response_bytes_max: 0, ..post(&url) }).await.unwrap();
    assert_eq!((asked.response.body.len(), asked.response.truncated), (0, true));
}

#[tokio::test]
async fn an_endless_body_ends_at_the_cap() {
    let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let partner = Partner::start(move |_| Reply::Endless(head.clone(), vec![b'x'; 4096])).await;
    let received = egress().send(post(&partner.url("/"))).await.unwrap();
    assert_eq!((received.response.body.len(), received.response.truncated), (CAP, true));
}

#[tokio::test]
async fn floods_of_headers_are_cut_off_before_they_fill_memory() {
    let line = || b"x-flood: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(64);
    let head = || b"HTTP/1.1 200 OK\r\n".to_vec();
    let many = Partner::start(move |_| Reply::Endless(head(), line())).await;
    assert_eq!(egress().send(post(&many.url("/"))).await.unwrap_err().failure.code, "protocol_error");
    let one = Partner::start(|_| Reply::Endless(b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'y'; 4096])).await;
    assert_eq!(egress().send(post(&one.url("/"))).await.unwrap_err().failure.code, "protocol_error");
}

#[tokio::test]
async fn interim_responses_for_ever_end_at_the_deadline() {
    let partner = Partner::start(|_| Reply::Endless(vec![], b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec())).await;
    let url = partner.url("/");
    let failed = egress().send(Outbound { deadline: Duration::from_millis(150), ..post(&url) }).await.unwrap_err();
    assert_eq!(failed.failure.code, "timeout", "{:?}", failed.failure);
}

#[tokio::test]
async fn compressed_answers_are_inflated_whatever_was_asked_for() {
    let text = b"taken, thank you. ".repeat(10);
    let mut zlib = write::ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(&text).unwrap();
    for (coding, bytes) in [("gzip", gzip(&text, 1)), ("deflate", zlib.finish().unwrap())] {
        let header = format!("content-encoding: {coding}\r\n");
        let partner = Partner::start(move |_| Reply::Keep(with("200 OK", &header, &bytes))).await;
        let received = egress().send(post(&partner.url("/"))).await.unwrap();
        assert_eq!(received.response.body, text, "{coding}");
        assert_eq!(received.response.header("content-encoding"), None);
    }
}

#[tokio::test]
async fn a_broken_coding_is_body_failed_and_an_empty_body_is_empty() {
    let partner =
        Partner::start(|_| Reply::Keep(with("200 OK", "content-encoding: gzip\r\n", b"not gzip at all"))).await;
    let failed = egress().send(post(&partner.url("/"))).await.unwrap_err();
    assert_eq!(failed.failure.code, "body_failed");
    assert_eq!(failed.response.unwrap().status, 200);
    let half = gzip(b"taken, thank you", 1);
    let partner =
        Partner::start(move |_| Reply::Keep(with("200 OK", "content-encoding: gzip\r\n", &half[..half.len() - 9])))
            .await;
    assert_eq!(egress().send(post(&partner.url("/"))).await.unwrap_err().failure.code, "body_failed");
    let empty = Partner::start(|_| Reply::Keep(with("200 OK", "content-encoding: gzip\r\n", b""))).await;
    assert_eq!(egress().send(post(&empty.url("/"))).await.unwrap().response.body, b"");
}
