//! Processor, memory and process limits for what `BuildKit` runs.
//!
//! `BuildKit` in Docker's engine takes no limits with a build (`cgroupparent` and the like are read
//! by the classic builder only, in Docker 20.10 and in today's alike). But the commands of its
//! builds run below one cgroup, `/docker/buildkit`, where the engine drives cgroups itself. So the
//! limits are set there. They hold for all `BuildKit` builds of the engine together, and stay until
//! the next build sets its own.
//!
//! Where the engine lets systemd drive them, each command gets a cgroup of its own and there is no
//! common one to set; where it was started with another `--cgroup-parent`, the limits have no
//! effect.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Where Linux shows its cgroups.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";
const GROUP: &str = "docker/buildkit";
const PERIOD_US: u64 = 100_000;
/// The kernel takes no smaller share.
const MIN_QUOTA_US: u64 = 1_000;
/// Of 1024 (version 1 of cgroups) and of 100 (version 2): where processors are short, what serves goes
/// first. A quota alone leaves a build an equal share until it is used up.
const SHARES: &str = "64";
const WEIGHT: &str = "6";
/// Processes and threads.
const MAX_PROCESSES: &str = "4096";
const MEBIBYTE: u64 = 1024 * 1024;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Thousandths of a processor; 0 is no limit.
    pub(crate) cpu_milli: u32,
    /// 0 is no limit.
    pub(crate) memory_mb: u32,
}

impl Limits {
    pub(crate) fn quota_us(self) -> Option<u64> {
        let quota = u64::from(self.cpu_milli) * PERIOD_US / 1_000;
        (self.cpu_milli > 0).then_some(quota.max(MIN_QUOTA_US))
    }

    pub(crate) fn memory_bytes(self) -> Option<u64> {
        (self.memory_mb > 0).then_some(u64::from(self.memory_mb) * MEBIBYTE)
    }

    pub(crate) fn period_us() -> u64 {
        PERIOD_US
    }
}

/// Sets the limits, or says which could not be set and why.
pub(crate) fn set(root: &Path, limits: Limits) -> Result<(), String> {
    if root.join("cgroup.controllers").exists() {
        set_unified(root, limits)
    } else {
        set_separate(root, limits)
    }
}

/// cgroup v2: one tree.
fn set_unified(root: &Path, limits: Limits) -> Result<(), String> {
    let group = root.join(GROUP);
    make(&group)?;
    // From the top down: a group only has what the one above it passes on.
    for above in [root.to_owned(), root.join("docker")] {
        write(&above.join("cgroup.subtree_control"), "+cpu +memory +pids")?;
    }
    let number = |value: Option<u64>| value.map_or_else(|| "max".to_owned(), |it| it.to_string());
    let quota = number(limits.quota_us());
    write(&group.join("cpu.max"), &format!("{quota} {PERIOD_US}"))?;
    write(&group.join("cpu.weight"), WEIGHT)?;
    write(&group.join("memory.max"), &number(limits.memory_bytes()))?;
    let swap = group.join("memory.swap.max");
    if swap.exists() {
        let none = if limits.memory_mb > 0 { "0" } else { "max" };
        write(&swap, none)?;
    }
    write(&group.join("pids.max"), MAX_PROCESSES)
}

/// cgroup v1: a tree for each controller.
fn set_separate(root: &Path, limits: Limits) -> Result<(), String> {
    let group = |controller: &str| -> Result<PathBuf, String> {
        let tree = root.join(controller);
        if !tree.is_dir() {
            return Err(format!("there is no {}", tree.display()));
        }
        let group = tree.join(GROUP);
        make(&group)?;
        Ok(group)
    };
    let number = |value: Option<u64>| value.map_or_else(|| "-1".to_owned(), |it| it.to_string());
    let cpu = group("cpu")?;
    write(&cpu.join("cpu.cfs_period_us"), &PERIOD_US.to_string())?;
    write(&cpu.join("cpu.cfs_quota_us"), &number(limits.quota_us()))?;
    write(&cpu.join("cpu.shares"), SHARES)?;
    let memory = group("memory")?;
    let bytes = number(limits.memory_bytes());
    // Memory and swap together; never smaller than memory alone, so which one is to be written
    // first depends on what was there.
    let with_swap = memory.join("memory.memsw.limit_in_bytes");
    let has_swap = with_swap.exists();
    let was_raised = has_swap && write(&with_swap, &bytes).is_ok();
    write(&memory.join("memory.limit_in_bytes"), &bytes)?;
    if has_swap && !was_raised {
        write(&with_swap, &bytes)?;
    }
    write(&group("pids")?.join("pids.max"), MAX_PROCESSES)
}

fn make(group: &Path) -> Result<(), String> {
    std::fs::create_dir_all(group)
        .map_err(|error| format!("cannot make {}: {error}", group.display()))
}

/// Into a file that the kernel has put there.
fn write(path: &Path, value: &str) -> Result<(), String> {
    let opened = std::fs::OpenOptions::new().write(true).open(path);
    opened
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        cpu_milli: 1_500,
        memory_mb: 64,
    };

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[&str]) -> Self {
            let name = format!("flukedeploy-cgroup-{}-{name}", std::process::id());
            let tree = Self(std::env::temp_dir().join(name));
            for file in files {
                let path = tree.0.join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "").unwrap();
            }
            tree
        }

        fn read(&self, file: &str) -> String {
            std::fs::read_to_string(self.0.join(file)).unwrap()
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn one_tree_gets_all_limits() {
        let tree = Tree::new(
            "v2",
            &[
                "cgroup.controllers",
                "cgroup.subtree_control",
                "docker/cgroup.subtree_control",
                "docker/buildkit/cpu.max",
                "docker/buildkit/cpu.weight",
                "docker/buildkit/memory.max",
                "docker/buildkit/memory.swap.max",
                "docker/buildkit/pids.max",
            ],
        );
        set(&tree.0, LIMITS).unwrap();
        assert_eq!(
            tree.read("docker/cgroup.subtree_control"),
            "+cpu +memory +pids"
        );
        assert_eq!(tree.read("docker/buildkit/cpu.max"), "150000 100000");
        assert_eq!(tree.read("docker/buildkit/cpu.weight"), "6");
        assert_eq!(tree.read("docker/buildkit/memory.max"), "67108864");
        assert_eq!(tree.read("docker/buildkit/memory.swap.max"), "0");
        assert_eq!(tree.read("docker/buildkit/pids.max"), "4096");
    }

    #[test]
    fn separate_trees_get_one_each() {
        let tree = Tree::new(
            "v1",
            &[
                "cpu/docker/buildkit/cpu.cfs_period_us",
                "cpu/docker/buildkit/cpu.cfs_quota_us",
                "cpu/docker/buildkit/cpu.shares",
                "memory/docker/buildkit/memory.limit_in_bytes",
                "memory/docker/buildkit/memory.memsw.limit_in_bytes",
                "pids/docker/buildkit/pids.max",
            ],
        );
        set(&tree.0, LIMITS).unwrap();
        assert_eq!(tree.read("cpu/docker/buildkit/cpu.cfs_quota_us"), "150000");
        assert_eq!(tree.read("cpu/docker/buildkit/cpu.shares"), "64");
        let memory = "memory/docker/buildkit/memory";
        assert_eq!(tree.read(&format!("{memory}.limit_in_bytes")), "67108864");
        assert_eq!(
            tree.read(&format!("{memory}.memsw.limit_in_bytes")),
            "67108864"
        );
        assert_eq!(tree.read("pids/docker/buildkit/pids.max"), "4096");
    }

    #[test]
    fn what_cannot_be_set_is_said() {
        let tree = Tree::new("none", &["cpu/docker/buildkit/cpu.cfs_period_us"]);
        let why = set(&tree.0, LIMITS).unwrap_err();
        assert!(why.contains("cpu.cfs_quota_us"), "{why}");
        let why = set(&tree.0.join("nothing"), LIMITS).unwrap_err();
        assert!(why.contains("there is no"), "{why}");
    }

    #[test]
    fn nothing_is_no_limit_and_the_smallest_is_what_the_kernel_takes() {
        let none = Limits {
            cpu_milli: 0,
            memory_mb: 0,
        };
        assert_eq!((none.quota_us(), none.memory_bytes()), (None, None));
        let tiny = Limits {
            cpu_milli: 1,
            memory_mb: 1,
        };
        assert_eq!(tiny.quota_us(), Some(1_000));
    }
}
