//! Each small value: what parses, into what, how it prints, and what is said to the rest.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use regex_lite::Regex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Cidr, Duration, Errno, HostPattern, Invalid, Percent, PortRange, Protocol, Rate, Size};

/// Parses each text and compares its print; the schema's pattern must allow it, and serde must give it back.
#[track_caller]
fn good<T>(pattern: &str, cases: &[(&str, &str)])
where
    T: FromStr<Err = Invalid> + Display + Debug + PartialEq + Serialize + DeserializeOwned,
{
    for (text, printed) in cases {
        let value: T = text.parse().unwrap_or_else(|invalid| panic!("{text:?}: {invalid}"));
        assert_eq!(value.to_string(), *printed, "of {text:?}");
        assert_eq!(printed.parse(), Ok(value), "of {printed:?}");
        assert!(Regex::new(pattern).expect("pattern").is_match(text), "{text:?} does not match {pattern}");
        let value: T = text.parse().expect("as before");
        let json = serde_json::to_value(&value).expect("JSON");
        assert_eq!(serde_json::from_value::<T>(json).expect("its own JSON"), value);
    }
}

#[track_caller]
fn bad<T: FromStr<Err = Invalid> + Debug>(cases: &[(&str, &str)]) {
    for (text, message) in cases {
        let invalid = text.parse::<T>().expect_err(text);
        assert_eq!(invalid.to_string(), *message);
    }
}

#[test]
fn durations() {
    good::<Duration>(
        Duration::PATTERN,
        &[
            ("300ms", "300ms"),
            ("2m30s", "2m30s"),
            ("1.5s", "1.5s"),
            (".5s", "500ms"),
            ("5.s", "5s"),
            ("90s", "1m30s"),
            ("24h", "24h"),
            ("1h0m1s", "1h1s"),
            ("1500us", "1.5ms"),
            ("1µs", "1us"),
            ("1μs", "1us"),
            ("7ns", "7ns"),
            ("0s", "0s"),
            ("1m0.25s", "1m0.25s"),
        ],
    );
    bad::<Duration>(&[
        ("100", "\"100\" has no unit; write \"100ms\""),
        ("2.5", "\"2.5\" has no unit; write \"2.5ms\""),
        ("", "\"\" is not a duration; write for example \"100ms\" or \"2m30s\""),
        ("soon", "\"soon\" is not a duration; write for example \"100ms\" or \"2m30s\""),
        ("3 days", "\"3 days\" has the unknown unit \"days\"; use ns, us, ms, s, m or h"),
        ("1S", "\"1S\" is no duration; write \"1s\""),
        ("5 fortnights", "\"5 fortnights\" has the unknown unit \"fortnights\"; use ns, us, ms, s, m or h"),
        ("-5s", "\"-5s\" is negative; write for example \"100ms\""),
        ("1.2.3s", "\"1.2.3s\" holds \"1.2.3\", which is not a number; write for example \"1.5s\""),
        ("9999999h", "\"9999999h\" is too long a duration; nothing here may last longer than \"24h\""),
        ("1h30", "\"1h30\" has no unit; write \"1h30ms\""),
    ]);
    assert_eq!("1.5s".parse::<Duration>().expect("valid").as_nanos(), 1_500_000_000);
}

#[test]
fn rates() {
    good::<Rate>(
        Rate::PATTERN,
        &[
            ("10mbit", "10mbit"),
            ("1gbit", "1gbit"),
            ("500kbit", "500kbit"),
            ("1500kbit", "1500kbit"),
            ("1.5Mbit", "1500kbit"),
            ("1kbps", "8kbit"),
            ("1mibit", "1048576bit"),
            ("1KiBps", "8192bit"),
            ("8bit", "8bit"),
            ("10tbit", "10tbit"),
        ],
    );
    bad::<Rate>(&[
        ("10", "\"10\" has no unit; write \"10mbit\""),
        ("7bit", "\"7bit\" is out of range; write 8bit to 10tbit"),
        ("11tbit", "\"11tbit\" is out of range; write 8bit to 10tbit"),
        ("-1mbit", "\"-1mbit\" is negative; write for example \"10mbit\""),
        ("fast", "\"fast\" does not begin with a number; write for example \"10mbit\""),
        ("10mb", "\"10mb\" has the unknown unit \"mb\"; use bit, kbit, mbit, gbit, or bps, kbps, mbps, gbps (bytes)"),
    ]);
    assert_eq!("10mbit".parse::<Rate>().expect("valid").bytes_per_second(), 1_250_000);
    assert_eq!("1kbps".parse::<Rate>().expect("valid").bytes_per_second(), 1_000);
}

#[test]
fn sizes() {
    good::<Size>(
        Size::PATTERN,
        &[
            ("32kb", "32kb"),
            ("32k", "32kb"),
            ("1500b", "1500b"),
            ("1.5kb", "1536b"),
            ("8kbit", "1kb"),
            ("1MB", "1mb"),
            ("1gb", "1gb"),
        ],
    );
    bad::<Size>(&[
        ("32", "\"32\" has no unit; write \"32b\" (bytes) or \"32kb\""),
        ("0b", "\"0b\" is out of range; write 1b to 1gb"),
        ("2gb", "\"2gb\" is out of range; write 1b to 1gb"),
        ("1kib", "\"1kib\" has the unknown unit \"kib\"; use b, kb, mb, gb, kbit, mbit or gbit"),
    ]);
    assert_eq!("32kb".parse::<Size>().expect("valid").bytes(), 32_768);
}

#[test]
fn percentages() {
    let scaled = |value: f64| Percent::new(value).expect("valid").scaled();
    assert_eq!([scaled(0.0), scaled(25.0), scaled(50.0), scaled(100.0)], [0, 1 << 30, 1 << 31, u32::MAX]);
    assert_eq!(scaled(0.1), 4_294_967);
    for wrong in [-0.1, 100.1, f64::NAN, f64::INFINITY] {
        let message = Percent::new(wrong).expect_err("out of range").to_string();
        assert_eq!(message, format!("{wrong} is no percentage; write a number from 0 to 100"));
    }
    assert_eq!(serde_json::to_string(&[Percent::ALL, Percent::new(0.1).expect("valid")]).expect("JSON"), "[100,0.1]");
}

#[test]
fn ports() {
    good::<PortRange>(
        PortRange::PATTERN,
        &[("5432", "5432"), ("8000-8100", "8000-8100"), ("7-7", "7"), ("65535", "65535")],
    );
    let message =
        |text| format!("{text:?} is no port; write a number from 1 to 65535 or a range such as \"8000-8100\"");
    for text in ["0", "65536", "-1", "http", "", "1-", "1-2-3", "+5", "1-65536"] {
        assert_eq!(text.parse::<PortRange>().expect_err(text).to_string(), message(text));
    }
    bad::<PortRange>(&[("9-8", "\"9-8\" is a range from high to low; write \"8-9\"")]);
    let range: PortRange = "8000-8100".parse().expect("valid");
    assert!(range.contains(8000) && range.contains(8100) && !range.contains(8101) && !range.contains(7999));
    assert_eq!(serde_json::to_string(&[range, PortRange::single(53)]).expect("JSON"), "[\"8000-8100\",53]");
}

#[test]
fn protocols() {
    good::<Protocol>(
        Protocol::PATTERN,
        &[
            ("tcp", "tcp"),
            ("udp", "udp"),
            ("sctp", "sctp"),
            ("icmp", "icmp"),
            ("6", "tcp"),
            ("47", "47"),
            ("255", "255"),
        ],
    );
    bad::<Protocol>(&[
        ("TCP", "\"TCP\" is not in lower case; write tcp"),
        ("256", "\"256\" is no protocol; use tcp, udp, sctp, icmp or a number from 0 to 255"),
        ("http", "\"http\" is no protocol here; write tcp, with ports: [80]"),
        ("smtp", "\"smtp\" is no protocol; use tcp, udp, sctp, icmp or a number from 0 to 255"),
    ]);
    assert_eq!(
        serde_json::from_str::<[Protocol; 2]>("[17, \"47\"]").expect("both forms"),
        [Protocol::Udp, Protocol::Number(47)]
    );
}

#[test]
fn networks() {
    good::<Cidr>(
        Cidr::PATTERN,
        &[
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("10.0.0.7/32", "10.0.0.7/32"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ],
    );
    bad::<Cidr>(&[
        ("10.0.0.7", "\"10.0.0.7\" has no prefix length; write \"10.0.0.7/32\""),
        ("::1", "\"::1\" has no prefix length; write \"::1/128\""),
        (
            "10.0.0.7/8",
            "\"10.0.0.7/8\" has bits set behind its prefix; write \"10.0.0.0/8\" for the network or \"10.0.0.7/32\" for the host",
        ),
        (
            "2001:db8::1/32",
            "\"2001:db8::1/32\" has bits set behind its prefix; write \"2001:db8::/32\" for the network or \"2001:db8::1/128\" \
             for the host",
        ),
        ("10.0.0.0/33", "\"10.0.0.0/33\" has a wrong prefix length; write a number from 0 to 32"),
        ("::/129", "\"::/129\" has a wrong prefix length; write a number from 0 to 128"),
        ("10.0.0.0/+8", "\"10.0.0.0/+8\" has a wrong prefix length; write a number from 0 to 32"),
        ("db", "\"db\" is no network; write for example \"10.0.0.0/8\" or \"2001:db8::/32\""),
    ]);
    let private: Cidr = "10.0.0.0/8".parse().expect("valid");
    let inside = |address: &str| private.contains(address.parse().expect("address"));
    assert!(inside("10.255.0.1") && !inside("11.0.0.0") && !inside("::ffff:10.0.0.1"));
}

#[test]
fn hosts() {
    good::<HostPattern>(
        HostPattern::PATTERN,
        &[
            ("db.example.com", "db.example.com"),
            ("*.Example.com", "*.example.com"),
            ("db", "db"),
            ("db.", "db"),
            ("_sip._tcp.a", "_sip._tcp.a"),
        ],
    );
    bad::<HostPattern>(&[
        ("db.*.com", "\"db.*.com\" has a wildcard inside; only a leading \"*.\" is possible: \"*.example.com\""),
        ("*", "\"*\" has a wildcard inside; only a leading \"*.\" is possible: \"*.example.com\""),
        ("http://a", "\"http://a\" is a URL or a network; write the host's name only, or use cidr"),
        ("10.0.0.1", "\"10.0.0.1\" is an address; write it as a peer with cidr"),
        ("-a", "\"-a\" is no host name; write letters, digits, '-' and '.', for example \"db.example.com\""),
        ("a..b", "\"a..b\" is no host name; write letters, digits, '-' and '.', for example \"db.example.com\""),
    ]);
    let below: HostPattern = "*.example.com".parse().expect("valid");
    assert!(below.matches("a.example.com") && below.matches("a.b.EXAMPLE.com."));
    assert!(!below.matches("example.com") && !below.matches("badexample.com") && !below.matches(".example.com"));
    let exact: HostPattern = "db".parse().expect("valid");
    assert!(exact.matches("DB.") && !exact.matches("a.db"));
}

#[test]
fn errnos() {
    good::<Errno>(
        Errno::PATTERN,
        &[
            ("EIO", "EIO"),
            ("5", "EIO"),
            ("EWOULDBLOCK", "EAGAIN"),
            ("ENOTSUP", "EOPNOTSUPP"),
            ("EHWPOISON", "EHWPOISON"),
            ("511", "511"),
            ("531", "531"),
            ("4095", "4095"),
        ],
    );
    bad::<Errno>(&[
        ("0", "\"0\" is no error number; write 1 to 4095 or a name such as EIO"),
        ("4096", "\"4096\" is no error number; write 1 to 4095 or a name such as EIO"),
        ("512", "\"512\" is the kernel's own, and no call returns it; write a name of errno(3), such as EIO"),
        ("530", "\"530\" is the kernel's own, and no call returns it; write a name of errno(3), such as EIO"),
        ("ENOENTT", "\"ENOENTT\" is no error name; did you mean ENOENT?"),
        ("enospc", "\"enospc\" is no error name; did you mean ENOSPC?"),
        ("EBANANA", "\"EBANANA\" is no error name; write one of errno(3), such as EIO, or a number from 1 to 4095"),
    ]);
    assert_eq!("EIO".parse::<Errno>().expect("valid").get(), 5);
}
