//! With a proxy, and with one that the environment tries to slip in.

use std::process::Command;

use engate_egress::{Egress, EgressConfig};
use engate_model::endpoint::Auth;
use url::Url;

use crate::loopback::{Names, Partner, Reply, ok, open, post, with};

fn through(partner: &Partner, names: std::sync::Arc<Names>) -> Egress {
    let url = format!("http://someone:hush@{}", partner.address);
    let config = EgressConfig { proxy: Some(Url::parse(&url).unwrap()), ..EgressConfig::default() };
    Egress::with_lookup(config, names).unwrap()
}

#[tokio::test]
async fn requests_go_to_the_configured_proxy_and_its_password_is_not_recorded() {
    let mut proxy = Partner::start(|_| Reply::Keep(ok("via proxy"))).await;
    let egress = through(&proxy, Names::new("partner.test", &[&["1.1.1.1"]]));
    let received = egress.send(post("http://partner.test/in?q=1")).await.unwrap();
    assert_eq!(received.response.body, b"via proxy");
    let seen = proxy.seen.recv().await.unwrap();
    assert_eq!(seen.line, "POST http://partner.test/in?q=1 HTTP/1.1");
    assert_eq!(seen.header("host").as_deref(), Some("partner.test"));
    assert!(seen.header("proxy-authorization").unwrap().starts_with("Basic "));
    assert!(received.sent.headers.iter().all(|(name, _)| name != "proxy-authorization"));
}

#[tokio::test]
async fn isolation_11_the_guard_judges_the_target_before_the_proxy_gets_it() {
    let proxy = Partner::obliging().await;
    let egress = through(&proxy, Names::new("inside.test", &[&["10.0.0.1"]]));
    for url in ["http://127.0.0.1/", "http://169.254.169.254/", "http://localhost/", "http://inside.test/"] {
        assert_eq!(egress.send(post(url)).await.unwrap_err().failure.code, "egress_denied", "{url}");
    }
    assert_eq!(proxy.connections(), 0);
    // Behind some proxies no outside name resolves here; the proxy is the guard then.
    assert!(egress.send(post("http://only-the-proxy-knows.test/")).await.is_ok());
}

#[tokio::test]
async fn tls_goes_through_a_tunnel_that_the_proxy_may_refuse() {
    let mut proxy = Partner::start(|_| Reply::Close(with("403 Forbidden", "", b""))).await;
    let egress = through(&proxy, Names::new("partner.test", &[&["1.1.1.1"]]));
    let auth = Auth::Authorization { value: engate_model::Secret::new("hush") };
    let outbound = engate_egress::Outbound { auth: &auth, ..post("https://partner.test/?hush") };
    let failed = egress.send(outbound).await.unwrap_err();
    assert_eq!(failed.failure.code, "connect_failed");
    assert!(!failed.failure.message.contains("hush"), "{}", failed.failure.message);
    let seen = proxy.seen.recv().await.unwrap();
    assert_eq!(seen.line, "CONNECT partner.test:443 HTTP/1.1");
    assert_eq!(seen.header("authorization"), None);
}

/// Runs one ignored test of this binary in a process with another environment.
async fn in_environment(test: &str, variables: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).envs(variables.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
async fn proxies_of_the_environment_are_ignored() {
    let trap = Partner::obliging().await;
    let url = format!("http://{}", trap.address);
    let variables = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let variables: Vec<_> = variables.iter().map(|name| (*name, url.as_str())).collect();
    in_environment("proxy::child_sends_directly", &variables).await;
    assert_eq!(trap.connections(), 0);
}

#[tokio::test]
#[ignore = "runs within proxies_of_the_environment_are_ignored"]
async fn child_sends_directly() {
    let partner = Partner::obliging().await;
    let received = Egress::new(open()).unwrap().send(post(&partner.url("/"))).await.unwrap();
    assert_eq!(received.response.body, b"taken");
}

#[tokio::test]
async fn a_machine_without_certificates_can_send() {
    let nowhere = [("SSL_CERT_FILE", "/nonexistent/file"), ("SSL_CERT_DIR", "/nonexistent/dir")];
    in_environment("proxy::child_sends_directly", &nowhere).await;
}
