//! Tokens by OAuth 2 client credentials.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use engate_egress::{Egress, EgressConfig, Outbound};
use engate_model::{
    Secret,
    endpoint::{Auth, Oauth2},
};
use futures_util::future::join_all;

use crate::loopback::{Partner, Reply, Seen, egress, ok, open, post, with};

/// Gives out `token-1`, `token-2` and so on; the body of the answer is made by `answer`.
async fn server(answer: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static) -> (Partner, Arc<AtomicUsize>) {
    let given = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&given);
    let partner = Partner::start(move |_| Reply::Keep(answer(count.fetch_add(1, Ordering::SeqCst) + 1))).await;
    (partner, given)
}

fn token(number: usize, expires_in: u64) -> Vec<u8> {
    ok(&format!(r#"{{"access_token":"token-{number}","token_type":"Bearer","expires_in":{expires_in}}}"#))
}

fn client(server: &Partner) -> Auth {
    Auth::Oauth2(Oauth2 {
        token_url: server.url("/connect/token"),
        client_id: "engate & co".to_owned(),
        client_secret: Secret::new("hush+hush"),
        scope: Some("authorization_api".to_owned()),
    })
}

/// The bearer tokens that a partner saw, in order.
fn bearers(partner: &mut Partner) -> Vec<String> {
    let mut tokens = Vec::new();
    while let Ok(seen) = partner.seen.try_recv() {
        tokens.extend(seen.header("authorization"));
    }
    tokens
}

#[tokio::test]
async fn p14_a_hundred_parallel_calls_ask_for_one_token() {
    let (mut tokens, given) = server(|number| token(number, 3_600)).await;
    let mut partner = Partner::obliging().await;
    let (egress, url, auth) = (egress(), partner.url("/in"), client(&tokens));
    let calls = (0..100).map(|_| egress.send(Outbound { auth: &auth, ..post(&url) }));
    let answers = join_all(calls).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|received| received.response.status == 200)));
    assert_eq!(given.load(Ordering::SeqCst), 1);
    let bearers = bearers(&mut partner);
    assert_eq!((bearers.len(), bearers.iter().all(|bearer| bearer == "Bearer token-1")), (100, true));
    let asked = tokens.seen.recv().await.unwrap();
    assert_eq!(asked.line, "POST /connect/token HTTP/1.1");
    assert_eq!(asked.header("content-type").as_deref(), Some("application/x-www-form-urlencoded"));
    let form =
        "grant_type=client_credentials&client_id=engate+%26+co&client_secret=hush%2Bhush&scope=authorization_api";
    assert_eq!(String::from_utf8(asked.body).unwrap(), form);
    // What is recorded has the token masked.
    let sent = &answers[0].as_ref().unwrap().sent;
    let recorded = sent.headers.iter().find(|(name, _)| name == "authorization").unwrap();
    assert_eq!(recorded.1, "***");
}

#[tokio::test]
async fn p14_a_401_has_the_token_fetched_once_more_and_the_request_sent_again() {
    let (tokens, given) = server(|number| token(number, 3_600)).await;
    let stale = |seen: &Seen| seen.header("authorization").as_deref() == Some("Bearer token-1");
    let reply =
        move |seen: &Seen| Reply::Keep(if stale(seen) { with("401 Unauthorized", "", b"") } else { ok("taken") });
    let mut partner = Partner::start(reply).await;
    let (egress, url, auth) = (egress(), partner.url("/in"), client(&tokens));
    let calls = (0..20).map(|_| egress.send(Outbound { auth: &auth, ..post(&url) }));
    assert!(join_all(calls).await.into_iter().all(|answer| answer.unwrap().response.status == 200));
    assert_eq!(given.load(Ordering::SeqCst), 2, "all of them were given the same second token");
    assert!(bearers(&mut partner).ends_with(&["Bearer token-2".to_owned()]));
    // One that says 401 to every token is asked twice, not for ever.
    let mut never = Partner::start(|_| Reply::Keep(with("401 Unauthorized", "", b""))).await;
    let url = never.url("/in");
    let received = egress.send(Outbound { auth: &auth, ..post(&url) }).await.unwrap();
    assert_eq!(received.response.status, 401);
    assert_eq!(bearers(&mut never), ["Bearer token-2", "Bearer token-3"]);
}

#[tokio::test]
async fn p14_a_token_is_fetched_anew_before_it_ends() {
    // In its last tenth a short-lived one is not used any more; one of no life at all is used once.
    for (expires_in, requests) in [(0, 3), (3_600, 1)] {
        let (tokens, given) = server(move |number| token(number, expires_in)).await;
        let partner = Partner::obliging().await;
        let (egress, url, auth) = (egress(), partner.url("/in"), client(&tokens));
        for _ in 0..3 {
            egress.send(Outbound { auth: &auth, ..post(&url) }).await.unwrap();
        }
        assert_eq!(given.load(Ordering::SeqCst), requests, "a life of {expires_in} s");
    }
}

#[tokio::test]
async fn p14_a_refusal_tells_the_servers_words_and_never_the_secret() {
    let body = r#"{"error":"invalid_client","error_description":"no client has hush+hush\u001b[31m"}"#;
    let (tokens, given) = server(|_| with("400 Bad Request", "", body.as_bytes())).await;
    let mut partner = Partner::obliging().await;
    let (egress, url, auth) = (egress(), partner.url("/in"), client(&tokens));
    let failed = egress.send(Outbound { auth: &auth, ..post(&url) }).await.unwrap_err();
    assert_eq!((failed.failure.code.as_str(), failed.failure.retryable), ("oauth2_refused", false));
    let message = failed.failure.message;
    assert!(message.contains("/connect/token") && message.contains("invalid_client: no client has ***"), "{message}");
    assert!(!message.contains("hush") && !message.contains('\x1b'), "{message}");
    assert_eq!(bearers(&mut partner), Vec::<String>::new(), "nothing was sent");
    // Those who wait for the same answer do not ask again, one after the other.
    let calls = (0..50).map(|_| egress.send(Outbound { auth: &auth, ..post(&url) }));
    assert!(join_all(calls).await.iter().all(Result::is_err));
    assert_eq!(given.load(Ordering::SeqCst), 2);
    for answer in ["{}", r#"{"access_token":""}"#, r#"{"access_token":"a\nb"}"#, "no JSON"] {
        let (tokens, _) = server(move |_| ok(answer)).await;
        let auth = client(&tokens);
        let failed = egress.send(Outbound { auth: &auth, ..post(&url) }).await.unwrap_err();
        assert_eq!((failed.failure.code.as_str(), failed.failure.retryable), ("oauth2_refused", true), "{answer}");
    }
}

#[tokio::test]
async fn p14_a_server_that_is_away_or_not_allowed_is_a_typed_failure() {
    let partner = Partner::obliging().await;
    let url = partner.url("/in");
    let hanging = Partner::start(|_| Reply::Hang).await;
    let (egress, auth) = (egress(), client(&hanging));
    let deadline = Duration::from_millis(50);
    let failed = egress.send(Outbound { auth: &auth, deadline, ..post(&url) }).await.unwrap_err();
    assert_eq!((failed.failure.code.as_str(), failed.failure.retryable), ("oauth2_failed", true));
    // The guard judges the token URL at every fetch.
    let outside = Auth::Oauth2(Oauth2 {
        token_url: "http://169.254.169.254/token".to_owned(),
        client_id: "a".to_owned(),
        client_secret: Secret::new("b"),
        scope: None,
    });
    let guarded = Egress::new(EgressConfig { ..open() }).unwrap();
    let failed = guarded.send(Outbound { auth: &outside, ..post(&url) }).await.unwrap_err();
    assert_eq!(failed.failure.code, "egress_denied", "{}", failed.failure.message);
}

#[tokio::test]
async fn several_headers_of_a_credential_go_out_and_are_masked() {
    let mut partner = Partner::obliging().await;
    let url = partner.url("/in");
    let pair = |name: &str, value: &str| (name.to_owned(), Secret::new(value));
    let auth = Auth::Headers { headers: vec![pair("x-auth-key", "hush"), pair("x-auth-connectorid", "c-1")] };
    let received = egress().send(Outbound { auth: &auth, ..post(&url) }).await.unwrap();
    let seen = partner.seen.recv().await.unwrap();
    assert_eq!(
        (seen.header("x-auth-key").as_deref(), seen.header("x-auth-connectorid").as_deref()),
        (Some("hush"), Some("c-1"))
    );
    assert!(!format!("{:?}", received.sent).contains("hush"));
}
