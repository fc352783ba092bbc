//! Rules of `probes`.

use std::collections::HashMap;

use super::Found;
use super::node::Node;
use crate::{Endpoint, Url};

/// Exactly one of http and tcp.
pub(super) fn one_of_http_and_tcp(spec: &Node<'_>, found: &mut Found) {
    for probe in spec.items("probes").iter().filter(|probe| probe.is_object()) {
        match probe.present(&["http", "tcp"]).as_slice() {
            [] => found.error(probe, "asks nothing; add http or tcp"),
            [_] => {}
            _ => found.error(probe, "has http and tcp; write each as an entry of its own"),
        }
    }
}

/// No name is used twice.
pub(super) fn unique_names(spec: &Node<'_>, found: &mut Found) {
    let mut seen = HashMap::new();
    for (index, probe) in spec.items("probes").iter().enumerate() {
        let Some(name) = probe.text("name") else { continue };
        if let Some(first) = seen.get(name) {
            let message = format!("{name:?} is the name of spec.probes[{first}] already; give each probe its own");
            found.error_at(probe, "name", message);
        } else {
            seen.insert(name, index);
        }
    }
}

/// What the pattern lets through but nothing can connect to.
pub(super) fn readable_address(spec: &Node<'_>, found: &mut Found) {
    for probe in spec.items("probes") {
        // What the pattern refused has been reported.
        let http = probe.get("http").filter(|http| http.text("url").is_some_and(|url| url.starts_with("http")));
        if let Some(http) = http
            && let Some(Err(message)) = http.text("url").map(Url::parse)
        {
            found.error_at(&http, "url", message);
        }
        if let Some(http) = probe.get("http") {
            of_tls(&http, found);
        }
        let tcp = probe.get("tcp").filter(|tcp| tcp.text("address").is_some_and(|text| text.contains(':')));
        if let Some(tcp) = tcp
            && let Some(Err(message)) = tcp.text("address").map(Endpoint::parse)
        {
            found.error_at(&tcp, "address", message);
        }
    }
}

/// What says how a certificate is proved.
fn of_tls(http: &Node<'_>, found: &mut Found) {
    let is_tls = http.text("url").is_none_or(|url| url.starts_with("https://"));
    match http.present(&["caBundle", "insecureSkipVerify"]).as_slice() {
        [field] if !is_tls => found.error_at(http, field, "http has no certificate; write https, or leave it out"),
        [_, field] => {
            found.error_at(http, field, "every certificate is taken, and caBundle has no use; leave one of them out")
        }
        _ => {}
    }
}
