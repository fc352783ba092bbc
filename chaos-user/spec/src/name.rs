//! Patterns of names, and what to say to a name that does not match.

/// A DNS label (RFC 1123): names of namespaces, services, containers, faults.
pub(crate) const LABEL: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";

/// A DNS subdomain (RFC 1123): names of most Kubernetes objects.
pub(crate) const SUBDOMAIN: &str = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$";

/// A DNS label, or * for all.
pub(crate) const LABEL_OR_ALL: &str = r"^(\*|[a-z0-9]([a-z0-9-]*[a-z0-9])?)$";

/// A kind of Kubernetes objects.
pub(crate) const OBJECT_KIND: &str = "^[A-Z][A-Za-z0-9]*$";

/// A network device: printable ASCII without '/' and ':' (`dev_valid_name` in net/core/dev.c allows little more).
pub(crate) const INTERFACE: &str = "^[!-.0-9;-~]+$";

/// A unit of systemd (systemd.unit(5)).
pub(crate) const UNIT: &str = r"^[A-Za-z0-9:_.\\@-]+$";

/// The id of a container, or its beginning, with or without the runtime in front as kubectl shows it.
pub(crate) const CONTAINER: &str = "^([a-z][a-z0-9-]*://)?[A-Za-z0-9][A-Za-z0-9_.-]*$";

/// A system call, or a group of them.
pub(crate) const CALL: &str = "^@?[a-z0-9_]+$";

/// A path from the root.
pub(crate) const ABSOLUTE: &str = "^/";

/// A web address.
pub(crate) const URL: &str = "^https?://[^ ]+$";

/// Host and port.
pub(crate) const ADDRESS: &str = r"^(\[[0-9A-Fa-f:.]+\]|[^:\s\[\]]+):[0-9]{1,5}$";

/// What to write instead of a text that does not match the pattern.
pub(crate) fn remedy(pattern: &str) -> &'static str {
    match pattern {
        LABEL => "use lower-case letters, digits and '-', with a letter or digit at both ends",
        SUBDOMAIN => "use lower-case letters, digits, '-' and '.', with a letter or digit at both ends of each part",
        LABEL_OR_ALL => "write a name of lower-case letters, digits and '-', or \"*\" for all",
        OBJECT_KIND => "write a kind such as Deployment, StatefulSet, DaemonSet or Job",
        INTERFACE => "write a device's name, without '/', ':' and blanks, such as eth0",
        UNIT => "write a unit's name such as nginx.service",
        CONTAINER => "write a container's id or a unique prefix of it, such as 3f2a9c, or its name",
        CALL => "write a system call in lower case such as openat, or a group: @file, @network, @memory, @process",
        ABSOLUTE => "write a path from the root, such as /var/lib/db/**",
        URL => "write an address such as http://shop.example.com/health",
        ADDRESS => "write host and port, such as db:5432 or [2001:db8::1]:5432",
        _ => "see the documentation of the field",
    }
}
