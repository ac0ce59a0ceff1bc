//! A volume without free space or inodes: serving continues, nothing is lost, and with more space a cycle completes.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixture::{Fixture, Verdict, copy, told};
use crate::support::run;
use crate::{Figures, error};

/// A file system that is unmounted when it goes out of scope.
pub struct Mounted(pub PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

const PAGE: u64 = 4096;

pub fn at_each_size(binary: &Path, most: usize) -> Verdict<Figures> {
    let mut figures = Figures::default();
    let mut fixture = Fixture::published(binary, &["1.0.0", "1.1.0"]);
    let (template, mount) = (fixture.path("template"), fixture.path("small"));
    std::fs::create_dir(&mount).expect("a folder");
    let mut tmpfs = Command::new("mount");
    tmpfs.args(["-t", "tmpfs", "-o", "size=64m,nr_inodes=100000", "none"]).arg(&mount);
    if !tmpfs.output().is_ok_and(|o| o.status.success()) {
        return Err("a file system cannot be mounted here: this needs root".into());
    }
    let mounted = Mounted(mount.clone());
    fixture.move_data(mount.clone());
    // Half of the sizes are too small.
    (0..most.div_ceil(16)).for_each(|patch| fixture.release(&format!("1.2.{patch}")));
    copy(&template, &mount);
    let used = run(Command::new("stat").args(["-f", "-c", "%b %f %c %d"]).arg(&mount));
    let used: Vec<u64> = used.split_whitespace().map(|n| n.parse().expect("a number")).collect();
    let (pages, inodes) = (used[0] - used[1], used[2] - used[3]);
    let remount = |options: String| {
        run(Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&mount));
    };
    for n in 0..most as u64 {
        copy(&template, &mount);
        let spare = n / 2;
        if n.is_multiple_of(2) {
            remount(format!("size={}", (pages + spare) * PAGE));
        } else {
            remount(format!("nr_inodes={}", inodes + spare));
        }
        let before = fixture.oracle.clone();
        let server = fixture.serve()?;
        let output = fixture.mirror("build").output().expect("mirror starts");
        let at = |e: String| format!("{spare} spare, {}: {e}", told(&output));
        error::still_served(&fixture).map_err(at)?;
        drop(server);
        if output.status.code() != Some(0) {
            figures.faults += 1;
            if !String::from_utf8_lossy(&output.stderr).contains("rror") {
                return Err(at("unreported".into()));
            }
        } else {
            figures.count("sizes with room enough", 1);
        }
        remount("size=64m,nr_inodes=100000".into());
        fixture.recover().map_err(at)?;
        fixture.oracle = before;
    }
    figures.count("sizes tried", most);
    drop(mounted);
    Ok(figures)
}
