//! Client certificates: what is taken for one, who arrives, and that nobody arrives as somebody else.

use std::path::PathBuf;

use engate_egress::{Egress, EgressConfig, Failed, Outbound, certificate_facts, check_auth};
use engate_model::{
    Secret,
    endpoint::{Auth, ClientIdentity},
};

use crate::{
    asking::{Asking, Authority, Identity, Partner},
    loopback::{open, post},
};

fn auth(certificate: &str, key: &str) -> Auth {
    Auth::Mtls(ClientIdentity { certificate: certificate.to_owned(), key: Secret::new(key) })
}

fn of(identity: &Identity) -> Auth {
    auth(&identity.certificate, &identity.key)
}

/// Trusts `authority` for servers.
fn trusting(authority: &Authority) -> Egress {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &authority.pem).unwrap();
    Egress::new(EgressConfig { ca_file: Some(file.path().to_owned()), ..open() }).unwrap()
}

async fn refused(egress: &Egress, url: &str, auth: &Auth) -> Failed {
    *egress.send(Outbound { auth, ..post(url) }).await.unwrap_err()
}

/// HTTP/1.1 and 2, TLS 1.2 and 1.3: the answer to a certificate comes in another place in each.
const WAYS: [(&[&rustls::SupportedProtocolVersion], &[&str]); 4] = [
    (&[&rustls::version::TLS13], &["h2"]),
    (&[&rustls::version::TLS13], &["http/1.1"]),
    (&[&rustls::version::TLS12], &["h2"]),
    (&[&rustls::version::TLS12], &["http/1.1"]),
];

/// Whether a refusal gives its reason; over TLS 1.3 the connection may take it with it.
fn says(message: &str, reason: &str) -> bool {
    message.contains(reason) || message.contains("closed the connection as soon as")
}

#[tokio::test]
async fn a_partner_that_cuts_the_connection_without_a_word_is_told_from_one_that_asked_for_a_certificate() {
    let authority = Authority::new("authority");
    let (one, asks) = (authority.client("one"), Partner::start(Asking { cuts: true, ..Asking::of(&authority) }).await);
    let asks_nobody = Partner::start(Asking { cuts: true, asks: false, ..Asking::of(&authority) }).await;
    let egress = trusting(&authority);
    for _ in 0..5 {
        let code = async |partner: &Partner, auth: &Auth| refused(&egress, &partner.url("/"), auth).await.failure.code;
        assert_eq!(code(&asks, &Auth::None).await, "client_certificate_required");
        assert_eq!(code(&asks, &of(&one)).await, "client_certificate_refused");
        assert_eq!(code(&asks_nobody, &Auth::None).await, "connection_closed");
        assert_eq!(code(&asks_nobody, &of(&one)).await, "connection_closed");
    }
}

#[tokio::test]
async fn the_right_identity_arrives_and_nobody_else_is_let_in() {
    for (versions, protocols) in WAYS {
        let authority = Authority::new("authority");
        let partner = Partner::start(Asking { versions, protocols, ..Asking::of(&authority) }).await;
        let (one, stranger) = (authority.client("one"), Authority::new("elsewhere").client("stranger"));
        let expired = authority.expired("expired");
        partner.meet(&one);
        let (egress, url) = (trusting(&authority), partner.url("/"));
        let auth = of(&one);
        let received = egress.send(Outbound { auth: &auth, ..post(&url) }).await.unwrap();
        assert_eq!((received.response.status, partner.callers()), (200, vec!["one".to_owned()]));
        assert!(!received.sent.headers.iter().any(|(name, _)| name == "authorization"), "{:?}", received.sent);

        let way = format!("{versions:?} {protocols:?}");
        for n in 0..5 {
            let nobody = refused(&egress, &url, &Auth::None).await.failure;
            assert_eq!(nobody.code, "client_certificate_required", "{way} {n} {nobody:?}");
            assert!(nobody.message.contains("mtls") && nobody.retryable, "{nobody:?}");
            let unknown = refused(&egress, &url, &of(&stranger)).await.failure;
            assert_eq!(unknown.code, "client_certificate_refused", "{way} {n} {unknown:?}");
            assert!(says(&unknown.message, "UnknownCA"), "{unknown:?}");
        }
        let old = refused(&egress, &url, &of(&expired)).await.failure;
        assert_eq!(old.code, "client_certificate_refused", "{way} {old:?}");
        assert!(says(&old.message, "run out"), "{old:?}");
        assert_eq!(partner.callers(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn identities_never_share_a_connection_or_a_session() {
    for (versions, protocols) in WAYS {
        let authority = Authority::new("authority");
        let asking = Asking { versions, protocols, required: false, ..Asking::of(&authority) };
        let partner = Partner::start(asking).await;
        let all: Vec<_> = ["one", "two", "three"].into_iter().map(|name| authority.client(name)).collect();
        all.iter().for_each(|identity| partner.meet(identity));
        let (egress, url) = (trusting(&authority), partner.url("/"));
        let auths: Vec<_> = all.iter().map(of).chain([Auth::None]).collect();
        for round in 0..8 {
            for (n, auth) in auths.iter().enumerate() {
                let outbound = Outbound { auth, http1_title_case: round % 4 == 3, ..post(&url) };
                let sent = egress.send(outbound).await;
                if round % 4 == 3 && protocols == ["h2"] {
                    // A partner that speaks nothing else than HTTP/2.
                    assert_eq!(sent.unwrap_err().failure.code, "tls_failed");
                    continue;
                }
                sent.unwrap();
                let heard = partner.take();
                let expected = ["one", "two", "three"].get(n).map(|name| (*name).to_owned());
                assert_eq!(heard.iter().map(|heard| heard.who.clone()).collect::<Vec<_>>(), [expected]);
            }
        }
    }
}

#[tokio::test]
async fn connections_are_kept_for_their_identity_and_a_renewed_one_gets_its_own() {
    let authority = Authority::new("authority");
    let partner = Partner::start(Asking::of(&authority)).await;
    let one = authority.client("one");
    let (renewed, replaced) = (authority.renewed(&one, "renewed"), authority.client("replaced"));
    [&one, &renewed, &replaced].into_iter().for_each(|identity| partner.meet(identity));
    let (egress, url) = (trusting(&authority), partner.url("/"));
    let send = async |auth: &Auth| drop(egress.send(Outbound { auth, ..post(&url) }).await.unwrap());
    for identity in [&one, &one, &renewed, &renewed, &replaced, &one] {
        send(&of(identity)).await;
    }
    let heard: Vec<_> =
        partner.take().into_iter().map(|heard| (heard.who.unwrap(), heard.connection, heard.resumed)).collect();
    let expected = [("one", 1), ("one", 1), ("renewed", 2), ("renewed", 2), ("replaced", 3), ("one", 1)];
    assert_eq!(heard, expected.map(|(who, connection)| (who.to_owned(), connection, false)));
}

#[tokio::test]
async fn a_certificate_is_shown_over_tls_only() {
    let authority = Authority::new("authority");
    let failed = refused(&trusting(&authority), "http://127.0.0.1:9/", &of(&authority.client("one"))).await;
    assert_eq!((failed.failure.code.as_str(), failed.failure.retryable), ("invalid_request", false));
}

fn fixture(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "egress", "tls", name].iter().collect();
    std::fs::read_to_string(path).unwrap()
}

fn complaints(auth: &Auth) -> Vec<(String, String)> {
    let invalid = check_auth(auth).err().map(|invalid| invalid.0).unwrap_or_default();
    invalid.into_iter().map(|error| (error.field, error.message)).collect()
}

#[test]
fn every_form_of_a_key_is_taken() {
    for (certificate, key) in [
        ("client-rsa.pem", "client-rsa.pkcs1.key"),
        ("client-rsa.pem", "client-rsa.pkcs8.key"),
        ("client-ec.pem", "client-ec.sec1.key"),
        ("client-ec.pem", "client-ec.pkcs8.key"),
        ("client-ed25519.pem", "client-ed25519.key"),
    ] {
        assert_eq!(complaints(&auth(&fixture(certificate), &fixture(key))), [], "{key}");
    }
    // What `openssl` writes around them, and a chain.
    let chain = format!("Bag Attributes\n    friendlyName: x\n{}\n{}", fixture("client-ec.pem"), fixture("ca.pem"));
    let key = format!(
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{}",
        fixture("client-ec.sec1.key")
    );
    assert_eq!(complaints(&auth(&chain, &key)), []);
}

#[test]
fn what_is_no_identity_is_refused_by_field_and_says_why() {
    let (certificate, key) = (fixture("client-ec.pem"), fixture("client-ec.pkcs8.key"));
    let cut = |pem: &str| pem.get(..pem.len() / 2).unwrap().to_owned();
    let certificates = [
        (String::new(), "no certificate"),
        ("hush".to_owned(), "no certificate"),
        (cut(&certificate), "END line"),
        (certificate.replace("MII", "M!I"), "base64"),
        ("-----BEGIN CERTIFICATE-----\naHVzaA==\n-----END CERTIFICATE-----\n".to_owned(), "cannot be read"),
        (format!("{certificate}{key}"), "private key"),
        (certificate.repeat(11), "at most 10"),
        (format!("{certificate}{}", "x".repeat(65_536)), "65536 bytes"),
    ];
    for (given, why) in certificates {
        let told = complaints(&auth(&given, &key));
        let [(field, message)] = told.as_slice() else { panic!("{why}: {told:?}") };
        assert!(field == "auth.certificate" && message.contains(why), "{why}: {told:?}");
    }
    let keys = [
        (String::new(), "no private key"),
        ("hush".to_owned(), "no private key"),
        (cut(&key), "not PEM"),
        (key.replace("MI", "M!"), "not PEM"),
        ("-----BEGIN PRIVATE KEY-----\naHVzaA==\n-----END PRIVATE KEY-----\n".to_owned(), "no key"),
        (certificate.clone(), "certificate"),
        (format!("{key}{key}"), "several"),
        (fixture("client-rsa.pkcs8.key"), "not the key of"),
        (fixture("client-encrypted.pkcs8.key"), "passphrase"),
        (fixture("client-encrypted.pkcs1.key"), "passphrase"),
        (format!("{key}{}", "x".repeat(65_536)), "65536 bytes"),
    ];
    for (given, why) in keys {
        let told = complaints(&auth(&certificate, &given));
        let [(field, message)] = told.as_slice() else { panic!("{why}: {told:?}") };
        assert!(field == "auth.key" && message.contains(why), "{why}: {told:?}");
        let body: Vec<_> = given.lines().filter(|line| !line.contains("-----") && line.len() > 20).collect();
        assert!(!body.iter().any(|line| message.contains(line)), "repeats the key: {message}");
    }
    let both: Vec<_> = complaints(&auth("", "")).into_iter().map(|(field, _)| field).collect();
    assert_eq!(both, ["auth.certificate", "auth.key"]);
}

#[test]
fn a_certificate_says_whom_it_names_and_until_when() {
    let facts = certificate_facts(&fixture("client-ec.pem")).unwrap();
    assert_eq!((facts.subject.as_str(), facts.sha256.len()), ("C=BR, O=Acme, CN=engate.acme.example", 64));
    assert!(facts.not_before < facts.not_after, "{facts:?}");
    let expired = Authority::new("a").expired("old");
    let facts = certificate_facts(&expired.certificate).unwrap();
    assert_eq!(facts.not_after.to_string(), "2020-01-01T00:00:00.000000Z");
    assert!(facts.subject.contains("CN=old"), "{facts:?}");
    assert!(certificate_facts("x").is_err());
}
