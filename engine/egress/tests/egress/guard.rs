//! The guard at work: at registration, at every dial.

use std::sync::Arc;

use engate_egress::{Egress, EgressConfig, Resolved};

use crate::loopback::{Names, Partner, open, post};

#[tokio::test]
async fn isolation_11_a_name_that_turns_to_loopback_after_the_check_is_denied_at_the_dial() {
    let partner = Partner::obliging().await;
    let names = Names::new("partner.test", &[&["1.1.1.1"], &["127.0.0.1"]]);
    let egress = Egress::with_lookup(EgressConfig::default(), names).unwrap();
    let url = format!("http://partner.test:{}/", partner.address.port());
    assert_eq!(egress.check_resolved(&url).await, Ok(Resolved::Addresses(vec!["1.1.1.1".parse().unwrap()])));
    for _ in 0..3 {
        let failed = egress.send(post(&url)).await.unwrap_err();
        assert_eq!(failed.failure.code, "egress_denied");
        assert!(failed.failure.message.contains("partner.test leads to 127.0.0.1"), "{}", failed.failure.message);
        assert!(failed.failure.message.contains("ENGATE_EGRESS_ALLOW"));
        assert!(failed.failure.retryable, "DNS may answer otherwise later");
        assert!(failed.sent.is_some());
    }
    assert_eq!(partner.connections(), 0);
}

#[tokio::test]
async fn isolation_11_one_denied_address_denies_the_name() {
    let answers: [&[&str]; 4] =
        [&["1.1.1.1", "10.0.0.1"], &["::ffff:127.0.0.1"], &["64:ff9b::a9fe:a9fe"], &["2606:4700::1", "fd00:ec2::254"]];
    for answer in answers {
        let egress = Egress::with_lookup(EgressConfig::default(), Names::new("partner.test", &[answer])).unwrap();
        let denied = egress.check_resolved("https://partner.test/").await.unwrap_err();
        assert_eq!(denied.code(), "egress_denied", "{answer:?}");
        let failed = egress.send(post("https://partner.test/")).await.unwrap_err();
        assert_eq!(failed.failure.code, "egress_denied", "{answer:?}");
    }
}

#[tokio::test]
async fn isolation_11_literal_addresses_are_denied_at_every_send() {
    let partner = Partner::obliging().await;
    let egress = Egress::new(EgressConfig::default()).unwrap();
    let port = partner.address.port();
    for host in ["127.0.0.1", "127.1", "0x7f000001", "0177.0.0.1", "[::ffff:127.0.0.1]", "localhost", "127.0.0.1."] {
        let failed = egress.send(post(&format!("http://{host}:{port}/?hush"))).await.unwrap_err();
        assert_eq!(failed.failure.code, "egress_denied", "{host}");
        assert!(!failed.failure.retryable && !failed.failure.message.contains("hush"));
        assert!(failed.sent.is_some());
    }
    assert_eq!(partner.connections(), 0);
}

#[tokio::test]
async fn the_checked_address_is_dialled_and_asked_for_once_per_connection() {
    let partner = Partner::obliging().await;
    let names = Names::new("partner.test", &[&["127.0.0.1"]]);
    let egress = Egress::with_lookup(open(), Arc::clone(&names) as _).unwrap();
    let url = format!("http://partner.test:{}/", partner.address.port());
    for _ in 0..5 {
        let received = egress.send(post(&url)).await.unwrap();
        assert!(received.sent.headers.contains(&("host".to_owned(), url[7..url.len() - 1].to_owned())));
    }
    assert_eq!((names.asked(), partner.connections()), (1, 1));
}

#[tokio::test]
async fn localhost_never_asks_a_name_server() {
    let partner = Partner::obliging().await;
    let names = Names::new("localhost", &[&["1.1.1.1"]]);
    let egress = Egress::with_lookup(open(), Arc::clone(&names) as _).unwrap();
    for host in ["localhost", "partner.localhost", "LOCALHOST."] {
        egress.send(post(&format!("http://{host}:{}/", partner.address.port()))).await.unwrap();
    }
    assert_eq!(names.asked(), 0);
}

#[tokio::test]
async fn o29_the_operators_list_holds_at_registration_and_at_every_send() {
    let config = EgressConfig { deny_hosts: vec!["*.serveo.net".to_owned()], ..open() };
    let names = Names::new("a.serveo.net", &[&["127.0.0.1"]]);
    let egress = Egress::with_lookup(config, Arc::clone(&names) as _).unwrap();
    let url = "https://a.serveo.net/hook";
    assert_eq!(egress.check_resolved(url).await.unwrap_err().code(), "egress_denied");
    let failed = egress.send(post(url)).await.unwrap_err();
    assert_eq!(failed.failure.code, "egress_denied");
    assert!(!failed.failure.retryable);
    assert_eq!(names.asked(), 0);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_can_be_registered() {
    let egress = Egress::with_lookup(EgressConfig::default(), Arc::new(Names::default())).unwrap();
    let resolved = egress.check_resolved("https://tomorrow.test/").await.unwrap();
    assert!(matches!(resolved, Resolved::Unresolved(_)));
    assert_eq!(egress.check_resolved("https://").await.unwrap_err().code(), "invalid_url");
}
