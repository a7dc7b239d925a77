use super::*;

fn guard(allow: &[&str]) -> Guard {
    let allow = allow.iter().map(|network| network.parse().unwrap()).collect();
    Guard::new(&EgressConfig { allow, ..EgressConfig::default() }).unwrap()
}

fn code(url: &str) -> &'static str {
    guard(&[]).check_url(url).map_or_else(|denied| denied.code(), |_| "ok")
}

#[test]
fn o02_http_and_https_urls_with_a_host_are_taken_and_nothing_else() {
    for url in ["http://partner.test", "https://partner.test/a?b=c", "HTTPS://Partner.Test:8443/x", "http://1.1.1.1/"] {
        assert_eq!(code(url), "ok", "{url}");
    }
    for url in [
        "",
        "x",
        "//x",
        "/path",
        "ftp://partner.test",
        "file:///etc/passwd",
        "gopher://partner.test",
        "javascript:alert(1)",
        "data:text/plain,x",
        "http://",
        "http:///x",
        "http:partner.test",
        "http:/partner.test",
        "https://:443/",
        "http://partner.test:0/",
        "http://partner.test:99999/",
        "http:\\\\partner.test",
        "http://pa rtner.test/",
        " http://partner.test",
        "http://partner.test/\n",
        "http://partner.test/\t",
        "http://[::1",
        "http://a..b.test:x/",
        "http://./",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        "http://1.2.3.08/",
    ] {
        assert_eq!(code(url), "invalid_url", "{url:?}");
    }
    let long = format!("https://partner.test/{}", "a".repeat(URL_BYTES_MAX));
    assert_eq!(code(&long), "invalid_url");
}

#[test]
fn isolation_11_user_names_in_urls_are_refused() {
    for url in [
        "http://user@partner.test/",
        "http://user:password@partner.test/",
        "http://@partner.test/",
        "http://partner.test@127.0.0.1/",
        "http://:x@partner.test/",
        "http://partner.test%40@127.0.0.1/",
        "http://partner.test#@127.0.0.1/@",
        "http://a:b\\@partner.test",
    ]
    .into_iter()
    .filter(|url| !url.contains('#') && !url.contains('\\'))
    {
        assert_eq!(code(url), "invalid_url", "{url}");
    }
    // Here the @ stands behind the host.
    assert_eq!(code("http://partner.test/@127.0.0.1"), "ok");
    assert_eq!(code("http://partner.test?@127.0.0.1"), "ok");
    assert_eq!(guard(&[]).check_url("http://partner.test#@127.0.0.1").unwrap().url.as_str(), "http://partner.test/");
}

#[test]
fn isolation_11_spellings_of_an_address_are_judged_as_the_address() {
    for url in [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://2130706433/",
        "http://017700000001/",
        "http://127.0.0.1./",
        "http://127.1./",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[0:0:0:0:0:ffff:127.0.0.1]/",
        "http://[::127.0.0.1]/",
        "http://１２７.０.０.１/",
        "http://127。0。0。1/",
        "http://%31%32%37.0.0.1/",
        "http://①②⑦.⓪.⓪.①/",
        "http://[64:ff9b::127.0.0.1]/",
        "http://[64:ff9b:1::127.0.0.1]/",
        "http://[2002:7f00:1::]/",
        "http://[2001::80ff:fffe]/",
    ] {
        let denied = guard(&[]).check_url(url).unwrap_err();
        assert_eq!(denied.code(), "egress_denied", "{url}");
        assert_eq!(denied.address(), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), "{url}");
        assert!(denied.to_string().contains("ENGATE_EGRESS_ALLOW=127.0.0.1/32"), "{denied}");
        assert!(!denied.retryable());
    }
    for url in [
        "http://0/",
        "http://0.0.0.0/",
        "http://[::]/",
        "http://[::1]/",
        "http://10.1.2.3/",
        "http://192.168.0.1:8080/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1]/",
        "http://255.255.255.255/",
        "http://[::ffff:169.254.169.254]/",
        "http://0xa9fea9fe/",
        "http://168.63.129.16/",
        "http://100.100.100.200/",
    ] {
        assert_eq!(code(url), "egress_denied", "{url}");
    }
}

#[test]
fn isolation_11_localhost_and_metadata_names_are_judged_as_their_addresses() {
    for url in [
        "http://localhost/",
        "http://LOCALHOST./",
        "http://a.localhost/",
        "http://ｌocalhost/",
        "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
        "http://metadata.google.internal/",
        "http://Metadata.Google.Internal./",
        "http://metadata/",
        "http://instance-data.ec2.internal/",
    ] {
        assert_eq!(code(url), "egress_denied", "{url}");
    }
    assert_eq!(code("http://notlocalhost/"), "ok");
    let open = guard(&["127.0.0.0/8", "169.254.169.254/32"]);
    for url in ["http://localhost:8080/", "http://metadata.google.internal/", "http://127.1/"] {
        assert!(open.check_url(url).is_ok(), "{url}");
    }
    assert_eq!(open.loopback(), [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
}

#[test]
fn a_target_is_canonical_and_its_origin_compares() {
    let target = guard(&[]).check_url("HTTPS://Bücher.Example.:443/a b?c#d");
    assert!(target.is_err(), "a space is a mistake");
    let target = guard(&[]).check_url("HTTPS://Bücher.Example.:443/a?c#d").unwrap();
    assert_eq!(target.host, "xn--bcher-kva.example");
    assert_eq!(target.port, 443);
    assert_eq!(target.url.as_str(), "https://xn--bcher-kva.example./a?c");
    let other = guard(&[]).check_url("https://xn--bcher-kva.example/elsewhere").unwrap();
    assert_eq!(target.origin(), other.origin());
    let third = guard(&[]).check_url("https://xn--bcher-kva.example:8443/").unwrap();
    assert_ne!(third.origin(), other.origin());
}

#[test]
fn o29_denied_and_allowed_hosts_are_lists_of_the_operator() {
    let lists = |deny: &[&str], allow: &[&str]| {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let config = EgressConfig { deny_hosts: own(deny), allow_hosts: own(allow), ..EgressConfig::default() };
        Guard::new(&config)
    };
    let deny = lists(&["serveo.net", "*.Serveo.NET.", "9.9.9.9", "*.münchen.example"], &[]).unwrap();
    for url in [
        "https://serveo.net/",
        "https://SERVEO.net./x",
        "https://a.b.serveo.net/",
        "http://9.9.9.9/",
        "http://0x09090909/",
        "https://a.xn--mnchen-3ya.example/",
    ] {
        let denied = deny.check_url(url).unwrap_err();
        assert_eq!(denied.code(), "egress_denied", "{url}");
        assert!(denied.to_string().contains("deny_hosts"), "{denied}");
    }
    for url in [
        "https://a.ngrok.io/",
        "https://notserveo.net/",
        "https://serveo.net.example/",
        "https://xn--mnchen-3ya.example/",
    ] {
        assert!(deny.check_url(url).is_ok(), "{url}");
    }
    let allow = lists(&["bad.partner.test"], &["*.partner.test"]).unwrap();
    assert!(allow.check_url("https://a.partner.test/").is_ok());
    for url in ["https://bad.partner.test/", "https://partner.test/", "https://other.test/", "http://1.1.1.1/"] {
        assert_eq!(allow.check_url(url).unwrap_err().code(), "egress_denied", "{url}");
    }
    for wrong in ["", "*", "*.", "a.*.b", "http://x", "a b"] {
        assert!(matches!(lists(&[wrong], &[]), Err(ConfigError::HostPattern { .. })), "{wrong:?}");
    }
}

#[test]
fn messages_name_host_and_setting_but_never_path_or_query() {
    for url in [
        "http://10.0.0.7/hook/s3cret?token=s3cret",
        "http://localhost/s3cret",
        "http://u:s3cret@partner.test/",
        "ftp://x/s3cret",
        "http://x:0/?s3cret",
    ] {
        let denied = guard(&[]).check_url(url).unwrap_err();
        assert!(!denied.to_string().contains("s3cret"), "{denied}");
    }
    let inside = guard(&[]).check_address("partner.test", "64:ff9b::a00:5".parse().unwrap()).unwrap_err();
    assert_eq!(
        inside.to_string(),
        "partner.test leads to 10.0.0.5 inside 64:ff9b::a00:5 (private network), which must not be called; \
         ENGATE_EGRESS_ALLOW=10.0.0.5/32 would allow it"
    );
    assert!(inside.retryable());
}
