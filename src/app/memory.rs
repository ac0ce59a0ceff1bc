//! How much memory this process and its children may use together: the limit of its cgroup, else that of the machine.

use std::fs;
use std::path::Path;

/// In bytes; `None` if it cannot be determined.
pub(crate) fn available() -> Option<u64> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = cgroups.lines().flat_map(|line| limits_of(line, Path::new("/sys/fs/cgroup")));
    limits.chain(machine_memory()).min()
}

/// The limits of a cgroup and of those above it. A line of `/proc/self/cgroup` is `0::/path` (version 2) or
/// `4:memory:/path` (version 1); see cgroups(7). In a container the path may be that of the host, while the container's own
/// cgroup is mounted at the root.
fn limits_of(line: &str, root: &Path) -> Vec<u64> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, Some(path)) = (fields.next(), fields.next(), fields.next()) else {
        return Vec::new();
    };
    let (root, file) = match controllers {
        Some("") => (root.to_owned(), "memory.max"),
        Some(names) if names.split(',').any(|name| name == "memory") => {
            (root.join("memory"), "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let folders = Path::new(path.trim_start_matches('/')).ancestors().map(|folder| root.join(folder));
    // `max` in version 2, a huge number in version 1: no limit.
    folders.filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()).collect()
}

fn machine_memory() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_a_cgroup_and_those_above_it_are_read() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let limits = |line| limits_of(line, root.path());
        write("memory.max", "536870912\n");
        write("system.slice/memory.max", "max\n");
        write("system.slice/mirror.service/memory.max", "268435456\n");
        assert_eq!(limits("0::/"), [536_870_912]);
        assert_eq!(limits("0::/system.slice/mirror.service"), [268_435_456, 536_870_912]);
        write("memory/memory.limit_in_bytes", "1073741824\n");
        assert_eq!(limits("4:cpu,memory:/docker/0a1b"), [1_073_741_824]);
        assert_eq!(limits("3:cpuset:/docker/0a1b"), [0_u64; 0]);
        assert_eq!(limits(""), [0_u64; 0]);
        assert!(machine_memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
