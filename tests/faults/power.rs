//! Power loss: the recorded writes of some cycles are replayed into the states that a disk may have afterwards.
//!
//! A state is a point of the record: everything before the last flush is on disk, and any part of the later writes,
//! in any order, the last write torn between sectors. What a cycle had acknowledged before that point must be in
//! every state, after the file system's own recovery.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use crate::Figures;
use crate::disk::{Disk, Event, torn};
use crate::fixture::{Fixture, Verdict, told};
use crate::full::Mounted;
use crate::oracle::Oracle;
use crate::support::run;

struct FileSystem {
    name: &'static str,
    make: &'static [&'static str],
    size: usize,
}

const FILE_SYSTEMS: [FileSystem; 2] = [
    FileSystem { name: "ext4", make: &["mkfs.ext4", "-q", "-F"], size: 48 << 20 },
    // xfsprogs refuses less than 300 MB.
    FileSystem { name: "xfs", make: &["mkfs.xfs", "-q", "-f"], size: 320 << 20 },
];

pub fn states(binary: &Path, most: usize) -> Verdict<Figures> {
    let mut figures = Figures::default();
    names_are_synced(binary)?;
    for (n, fs) in FILE_SYSTEMS.iter().enumerate() {
        let share = (most - figures.faults).div_ceil(FILE_SYSTEMS.len() - n);
        on(binary, fs, share, &mut figures).map_err(|why| format!("{}: {why}", fs.name))?;
    }
    Ok(figures)
}

fn on(binary: &Path, fs: &FileSystem, most: usize, figures: &mut Figures) -> Verdict {
    let mut fixture = Fixture::new(binary);
    let (fuse, mount) = (fixture.path("fuse"), fixture.path("mount"));
    std::fs::create_dir(&fuse).expect("a folder");
    std::fs::create_dir(&mount).expect("a folder");
    let disk = Disk::new(fs.size);
    let session = disk.mount(&fuse).map_err(|e| format!("no FUSE here: {e}"))?;
    let image = fuse.join("disk");
    let mut make = Command::new(fs.make[0]);
    make.args(&fs.make[1..]).arg(&image).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    if !make.output().is_ok_and(|o| o.status.success()) {
        return Err(format!("{} is not installed, or failed", fs.make[0]));
    }
    attach(&image, &mount)?;
    fixture.move_data(mount.join("data"));
    let mounted = Mounted(mount.clone());
    run(&mut Command::new("sync"));
    let (start, base) = {
        let contents = disk.lock();
        (contents.log.len(), contents.base.clone())
    };
    let mut acknowledged = vec![(start, Oracle::default())];
    for tag in ["1.0.0", "1.1.0", "1.2.0", "1.3.0"] {
        fixture.release(tag);
        let output = fixture.mirror("build").output().expect("mirror starts");
        if output.status.code() != Some(0) {
            return Err(told(&output));
        }
        let at = disk.lock().log.len();
        let answers = fixture.observe()?;
        fixture.oracle.admit(&answers)?;
        acknowledged.push((at, fixture.oracle.clone()));
    }
    drop(mounted);
    detach(&mount);
    let log = std::mem::take(&mut disk.lock().log);
    let last = acknowledged.last().map_or(start, |(at, _)| *at);
    // In the order of the record, so that the base only grows.
    let mut cuts: Vec<usize> = (0..most).map(|_| fastrand::usize(start..=last)).collect();
    cuts.sort_unstable();
    let mut durable = start;
    disk.lock().base = base;
    for cut in cuts {
        let flushed = (start..cut).rev().find(|i| matches!(log[*i], Event::Flush)).map_or(start, |i| i + 1);
        {
            let mut contents = disk.lock();
            contents.overlay = None;
            for event in &log[durable..flushed] {
                apply(&mut contents, event, usize::MAX);
            }
            durable = flushed.max(durable);
            contents.overlay = Some(HashMap::new());
            scatter(&mut contents, &log[flushed..cut]);
        }
        let oracle = acknowledged.iter().rev().find(|(at, _)| *at <= cut).map(|(_, oracle)| oracle.clone());
        fixture.oracle = oracle.unwrap_or_default();
        attach(&image, &mount).map_err(|e| format!("the file system did not recover: {e}"))?;
        let mounted = Mounted(mount.clone());
        let verdict = fixture.recover();
        drop(mounted);
        detach(&mount);
        verdict.map_err(|e| format!("power lost at write {cut} of {last}, flushed until {flushed}: {e}"))?;
        figures.faults += 1;
        figures.count(if fs.name == "xfs" { "states of xfs" } else { "states of ext4" }, 1);
    }
    drop(session);
    Ok(())
}

/// Some of the writes since the last flush, in another order; the last of them may be torn.
fn scatter(contents: &mut crate::disk::Contents, since: &[Event]) {
    let keep = [0.0, 0.3, 0.7, 1.0][fastrand::usize(0..4)];
    let mut kept: Vec<&Event> = since.iter().filter(|_| fastrand::f64() < keep).collect();
    // Writes to the same place keep their order, as in a disk's queue.
    if fastrand::bool() {
        let at = |event: &&Event| match event {
            Event::Write(at, _) => *at,
            Event::Flush => 0,
        };
        kept.sort_by_key(at);
    }
    let count = kept.len();
    for (i, event) in kept.into_iter().enumerate() {
        let sectors =
            if i + 1 == count && fastrand::bool() { fastrand::usize(0..16) } else { usize::MAX / 1024 };
        apply(contents, event, sectors);
    }
}

fn apply(contents: &mut crate::disk::Contents, event: &Event, sectors: usize) {
    if let Event::Write(at, bytes) = event {
        contents.write(*at, torn(bytes, sectors.min(usize::MAX / 1024)));
    }
}

fn attach(image: &Path, mount: &Path) -> Result<(), String> {
    let mut command = Command::new("mount");
    command.args(["-o", "loop,noatime"]).arg(image).arg(mount);
    let output = command.output().map_err(|e| e.to_string())?;
    if output.status.success() { Ok(()) } else { Err(told(&output)) }
}

/// Waits until the loop device is gone, so that the next state does not see the cache of this one.
fn detach(mount: &Path) {
    let _ = Command::new("umount").arg(mount).output();
    let image = mount.with_file_name("fuse").join("disk");
    for _ in 0..1000 {
        let mut losetup = Command::new("losetup");
        let output = losetup.arg("-j").arg(&image).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output();
        if output.is_ok_and(|o| o.stdout.is_empty()) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// On these file systems any later sync makes names durable, too, so a missing sync of a folder does not show in a state.
/// So its system call is checked: a sync of the folder follows whatever becomes public.
fn names_are_synced(binary: &Path) -> Verdict {
    let fixture = Fixture::published(binary, &["1.0.0"]);
    fixture.release("1.1.0");
    let mut strace = Command::new("strace");
    let calls = "trace=fsync,fdatasync,rename,renameat,renameat2,link,linkat,mkdir,mkdirat";
    strace
        .args(["-f", "-qq", "-y", "-s", "1000", "-e", "signal=none", "-e", calls, "-o"])
        .arg(fixture.path("trace"));
    let output = fixture.mirror_below(strace, "build").output().expect("strace starts");
    if output.status.code() != Some(0) {
        return Err(told(&output));
    }
    let trace = std::fs::read_to_string(fixture.path("trace")).expect("a trace");
    let repository = fixture.data().join("acme");
    let mut open = std::collections::BTreeMap::new();
    for line in trace.lines().filter(|line| line.ends_with("= 0")) {
        if line.contains("sync(") {
            open.retain(|folder: &String, _| !line.contains(&format!("<{folder}>")));
        } else if let Some(name) = line.rsplit('"').nth(1) {
            let public = ["packages", "snapshots", "ledger.jsonl"];
            let is_public = public.iter().any(|top| Path::new(name).starts_with(repository.join(top)));
            if let (true, Some(folder)) = (is_public, Path::new(name).parent()) {
                open.insert(folder.display().to_string(), line.to_owned());
            }
        }
    }
    match open.values().next() {
        None => Ok(()),
        Some(call) => Err(format!("not durable: no sync of the folder after {call}")),
    }
}
