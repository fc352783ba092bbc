//! Where a probe goes to: host and port, alone or in a URL (RFC 3986, sections 3.2 and 3.3).

/// Host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port, never 0.
    pub port: u16,
}

/// What an http probe asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// https.
    pub tls: bool,
    /// Whom to connect to.
    pub endpoint: Endpoint,
    /// Host and port as they stand in the URL, for the header `Host`.
    pub authority: String,
    /// Path and query, beginning with `/`.
    pub target: String,
}

fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("{text:?} is no port; write 1 to 65535")),
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`; `None` as port: none is written.
fn split(authority: &str) -> Result<(String, Option<u16>), String> {
    let (host, rest) = if let Some(bracketed) = authority.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']').ok_or_else(|| format!("{authority:?} has no closing bracket"))?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| format!("{host:?} is no IPv6 address"))?;
        (host, rest)
    } else {
        authority.find(':').map_or((authority, ""), |at| authority.split_at(at))
    };
    if host.is_empty() {
        return Err(format!("{authority:?} names no host"));
    }
    let number = match rest.strip_prefix(':') {
        Some(number) => Some(port(number)?),
        None if rest.is_empty() => None,
        None => return Err(format!("{rest:?} follows the address; write [ADDRESS]:PORT")),
    };
    Ok((host.to_owned(), number))
}

impl Endpoint {
    /// Reads `host:port` or `[v6]:port`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        match split(text)? {
            (host, Some(port)) => Ok(Self { host, port }),
            (_, None) => Err(format!("{text:?} has no port; write db:5432")),
        }
    }
}

impl Url {
    /// Reads an `http` or `https` URL. The fragment is dropped, as it never leaves a client (RFC 9110, section 4.2).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (tls, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(format!("{text:?} is not of http or https")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err("a name or password in a URL is not sent; leave it out".to_owned());
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("{text:?} has a character that a URL may not hold; write it as %XX"));
        }
        let (host, port) = split(authority)?;
        let target = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let port = port.unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, endpoint: Endpoint { host, port }, authority: authority.to_owned(), target })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let read = |text: &str| {
            let url = Url::parse(text).unwrap();
            (url.tls, url.endpoint.host, url.endpoint.port, url.authority, url.target)
        };
        let s = str::to_owned;
        assert_eq!(read("http://a"), (false, s("a"), 80, s("a"), s("/")));
        assert_eq!(read("https://a:81/b?c#d"), (true, s("a"), 81, s("a:81"), s("/b?c")));
        assert_eq!(read("http://[::1]:8080?x=1"), (false, s("::1"), 8080, s("[::1]:8080"), s("/?x=1")));
        assert_eq!(read("https://[fd00::1]"), (true, s("fd00::1"), 443, s("[fd00::1]"), s("/")));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["http://", "http:///x", "http://a:0", "http://a:65536", "http://u:p@a/", "http://[::1", "http://[x]/"]
        {
            assert!(Url::parse(text).is_err(), "{text}");
        }
        assert!(Url::parse("http://a/\u{e9}").is_err() && Url::parse("http://a/b\r\nX: y").is_err());
        for text in ["db", "db:", "db:70000", ":80", "[::1]", "[::1]80"] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_are_taken_apart() {
        assert_eq!(Endpoint::parse("db:5432"), Ok(Endpoint { host: "db".into(), port: 5432 }));
        assert_eq!(Endpoint::parse("[fd00::1]:1"), Ok(Endpoint { host: "fd00::1".into(), port: 1 }));
    }
}
