//! The kernel's own counters of a network namespace, by the names that `nstat` gives them.

use std::collections::BTreeMap;
use std::fs;

use super::netns::NetNs;

/// A reading of `/proc/net/snmp`, `netstat` and `snmp6`: "TcpRetransSegs", "IpExtInCsumErrors", "Udp6InErrors" and so on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    values: BTreeMap<String, i64>,
}

impl Counters {
    /// Reads the counters of a namespace now.
    pub fn of(ns: &NetNs) -> Self {
        // Not /proc/net: that is the namespace of the process's first thread.
        let texts = ns.run(|| {
            ["snmp", "netstat", "snmp6"].map(|file| fs::read_to_string(format!("/proc/thread-self/net/{file}")))
        });
        let mut values = BTreeMap::new();
        for text in texts {
            let text = text.expect("the counters of the namespace");
            if text.starts_with("Ip6") { read_lines(&text, &mut values) } else { read_table(&text, &mut values) }
        }
        Self { values }
    }

    /// What was counted since an earlier reading. Some lines (`IcmpMsgOutType3`) appear only once they count.
    pub fn since(&self, earlier: &Self) -> Self {
        let values = self
            .values
            .iter()
            .map(|(name, value)| (name.clone(), value - earlier.values.get(name).unwrap_or(&0)))
            .collect();
        Self { values }
    }

    /// One counter; panics when the kernel has none of that name (a typo would otherwise read as zero).
    pub fn get(&self, name: &str) -> i64 {
        *self.values.get(name).unwrap_or_else(|| panic!("the kernel has no counter {name}"))
    }

    /// The sum of several counters.
    pub fn sum(&self, names: &[&str]) -> i64 {
        names.iter().map(|name| self.get(name)).sum()
    }

    /// All that differ from zero, for messages of failed tests.
    pub fn moved(&self) -> String {
        let moved = self.values.iter().filter(|(_, value)| **value != 0).map(|(name, value)| format!("{name} {value}"));
        moved.collect::<Vec<_>>().join(", ")
    }
}

/// Pairs of lines, `Tcp: A B` and `Tcp: 1 2`.
fn read_table(text: &str, values: &mut BTreeMap<String, i64>) {
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.chunks_exact(2) {
        let (Some((group, names)), Some((_, numbers))) = (pair[0].split_once(':'), pair[1].split_once(':')) else {
            continue;
        };
        for (name, number) in names.split_whitespace().zip(numbers.split_whitespace()) {
            if let Ok(number) = number.parse() {
                values.insert(format!("{group}{name}"), number);
            }
        }
    }
}

/// One counter on each line, `Ip6InReceives 7`.
fn read_lines(text: &str, values: &mut BTreeMap<String, i64>) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(Ok(number))) = (words.next(), words.next().map(str::parse)) {
            values.insert(name.to_owned(), number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_lines_are_read_by_nstat_names() {
        let mut values = BTreeMap::new();
        read_table("Tcp: MaxConn RetransSegs\nTcp: -1 12\nIpExt: InCsumErrors\nIpExt: 3\n", &mut values);
        read_lines("Ip6InReceives \t7\nUdp6InErrors 2\n", &mut values);
        let counters = Counters { values };
        assert_eq!(counters.get("TcpMaxConn"), -1);
        assert_eq!(counters.get("TcpRetransSegs"), 12);
        assert_eq!(counters.get("IpExtInCsumErrors"), 3);
        assert_eq!(counters.sum(&["Ip6InReceives", "Udp6InErrors"]), 9);
    }
}
