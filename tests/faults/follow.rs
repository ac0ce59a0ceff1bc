//! A mirror that follows two others. One of them is behind a failing network, lies or is killed; or the follower itself is killed,
//! and takes turns with its recipe. Nothing wrong is published, nothing published is lost, the other mirror is used, and the one
//! that fails is named. The seed determines all but the moments of kills.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fastrand::Rng;
use mirror::util::digest::Sha256;
use serde_json::Value;

use crate::Figures;
use crate::fixture::{Fixture, Server, Verdict, told};
use crate::liveness::BOUND;
use crate::oracle::{self, Answers};
use crate::property::shelf;
use crate::proxy::{self, Fault, Proxy};
use crate::support::git::WorkTree;
use crate::workers;

mod lies;

use lies::{Liar, Lie, Published};

/// After so many faults a worker begins with new mirrors, since cycles of many versions take longer.
const FAULTS_PER_MIRROR: usize = 20;

/// In microseconds, longer than most cycles take.
const CYCLE: u64 = 400_000;

/// More than a cycle that finds one version asks for.
const REQUESTS: usize = 7;

/// What a busy mirror answers, and the login to a network, beside what breaks any transfer.
const PAGES: [proxy::Kind; 3] = [proxy::Kind::Page(429), proxy::Kind::Page(503), proxy::Kind::Page(302)];

/// The packages of the fixture, and one that contains the base URL.
const RECIPE: &str = "sources:\n  - {name: modules, git: 'https://git.example/modules', packages: [{each: app}]}\n  - {name: tool, git: 'https://git.example/tool', packages: [{one: ''}]}\n  - name: shop\n    git: https://git.example/shop\n    packages:\n      - derive:\n          package: acme/project\n          part: [{resource: parts, path: part.json}]\n          set: {version: '{tag}', type: project, repositories: [{type: composer, url: '{base_url}'}]}\n          require: [root]\nresources: {parts: {git: 'https://git.example/parts'}}\n";

#[derive(Clone, Copy, Debug)]
enum Kind {
    Network(Fault),
    Lie(Lie),
    KilledOrigin,
    KilledFollower,
    /// `follow` and `recipe` take turns.
    Turns,
}

/// Where the failing mirror is among the followed ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Alone,
    First,
    Second,
}

const ORDERS: [Order; 3] = [Order::Alone, Order::First, Order::Second];

impl Kind {
    /// Each lie in each order comes up in turn: of random ones, some would come only after hundreds of faults.
    fn nth_lie(n: u64) -> (Self, Order) {
        let n = n as usize;
        let round = n / lies::LIES.len();
        (Self::Lie(lies::LIES[n % lies::LIES.len()]), ORDERS[(n + round) % ORDERS.len()])
    }

    fn random(rng: &mut Rng) -> Self {
        match rng.u8(0..7) {
            0..=3 => {
                let kinds = [&proxy::KINDS[..], &PAGES[..]].concat();
                Self::Network(Fault::new(rng, &kinds, REQUESTS))
            }
            4 => Self::KilledOrigin,
            5 => Self::KilledFollower,
            _ => Self::Turns,
        }
    }
}

pub fn faults(binary: &Path, most: usize) -> Verdict<Figures> {
    let prepare = || Ok((Mirrors::start(binary)?, 0));
    workers::each(&workers::seeds(most), 2, prepare, |(mirrors, faults), seed, figures| {
        if *faults == FAULTS_PER_MIRROR {
            *mirrors = Mirrors::start(binary)?;
            *faults = 0;
        }
        *faults += 1;
        let mut rng = Rng::with_seed(*seed);
        let (kind, order) = match seed % 2 {
            0 => Kind::nth_lie(seed / 2),
            _ => (Kind::random(&mut rng), ORDERS[rng.usize(0..ORDERS.len())]),
        };
        inject(mirrors, &mut rng, kind, order, figures)
            .map_err(|why| workers::with_seed(*seed, &format!("{kind:?}, {order:?}: {why}")))
    })
}

fn inject(mirrors: &mut Mirrors, rng: &mut Rng, kind: Kind, order: Order, figures: &mut Figures) -> Verdict {
    mirrors.release()?;
    match kind {
        Kind::Network(fault) => {
            mirrors.follow(order, mirrors.proxy.port);
            mirrors.proxy.set(Some(fault));
            let end = mirrors.cycle()?;
            let spoiled = mirrors.proxy.set(None);
            figures.faults += usize::from(spoiled > 0);
            mirrors.judge(&end, order, mirrors.proxy.port, false, figures)?;
        }
        Kind::Lie(lie) => {
            mirrors.follow(order, mirrors.liar.port());
            mirrors.liar.lie(lie, &mirrors.origin, &mirrors.history);
            let end = mirrors.cycle()?;
            let lies = mirrors.liar.be_honest();
            figures.faults += usize::from(lies > 0);
            figures.count("lies", usize::from(lies > 0));
            let is_to_be_named = lies > 0 && lie.is_proof(order != Order::Second);
            mirrors.judge(&end, order, mirrors.liar.port(), is_to_be_named, figures)?;
        }
        Kind::KilledOrigin => {
            mirrors.follow(order, mirrors.origin.port);
            let server = mirrors.origin_server.take().expect("a running origin");
            let end = std::thread::scope(|scope| {
                let killer = scope.spawn(|| {
                    pause(rng);
                    server.stop();
                });
                let end = mirrors.cycle();
                killer.join().expect("no panic");
                end
            })?;
            figures.faults += 1;
            figures.count("kills", 1);
            mirrors.judge(&end, order, mirrors.origin.port, false, figures)?;
            mirrors.origin_server = Some(serve(&mirrors.origin)?);
        }
        Kind::KilledFollower => {
            mirrors.follow(order, mirrors.origin.port);
            for _ in 0..rng.usize(1..4) {
                mirrors.killed_cycle(rng, figures)?;
            }
        }
        Kind::Turns => {
            mirrors.follow(order, mirrors.origin.port);
            mirrors.require_complete()?;
            mirrors.build_by_recipe();
            if rng.bool() {
                mirrors.killed_cycle(rng, figures)?;
            }
            mirrors.require_complete()?;
            figures.count("turns", 1);
        }
    }
    mirrors.require_intact()?;
    mirrors.follow(Order::First, mirrors.origin.port);
    mirrors.require_complete()?;
    mirrors.require_served()
}

fn pause(rng: &mut Rng) {
    std::thread::sleep(Duration::from_micros(rng.u64(0..CYCLE)));
}

/// A mirror that builds, one that follows it, and one that follows both, which is under test.
struct Mirrors {
    origin: Fixture,
    origin_server: Option<Server>,
    shop: WorkTree,
    good: Fixture,
    _good_server: Server,
    follower: Fixture,
    proxy: Proxy,
    liar: Liar,
    /// The origin before its last two releases, the later one last.
    history: [Published; 2],
    releases: usize,
    /// The archives that the follower has published.
    known: BTreeMap<String, Sha256>,
}

/// How a cycle of the follower ended.
struct End {
    code: Option<i32>,
    log: String,
}

impl Mirrors {
    fn start(binary: &Path) -> Verdict<Self> {
        // Its archives are there compressed, those of the other mirror are not.
        let origin = Fixture::new(binary);
        origin.write("recipe.yaml", RECIPE);
        let upstream = |name: &str| WorkTree::init(origin.path("git").join(name));
        upstream("parts").write("part.json", r#"{"name": "acme/project"}"#).release("1.0.0");
        let shop = upstream("shop");
        let release_first = |version: &str| -> Verdict<Published> {
            release(&origin, &shop, version);
            origin.run(&["build"])?;
            Ok(Published::of(&origin))
        };
        let history = [release_first("1.0.0")?, release_first("1.1.0")?];
        let origin_server = Some(serve(&origin)?);
        let good = Fixture::new(binary);
        follow(&good, &[origin.port]);
        good.run(&["build"])?;
        let good_server = serve(&good)?;
        let mut mirrors = Self {
            proxy: Proxy::start(origin.port),
            liar: Liar::before(origin.port),
            history,
            follower: Fixture::new(binary),
            known: BTreeMap::new(),
            releases: 0,
            _good_server: good_server,
            origin,
            origin_server,
            shop,
            good,
        };
        mirrors.follow(Order::First, mirrors.origin.port);
        mirrors.require_complete()?;
        Ok(mirrors)
    }

    /// Releases a version of each package, which both mirrors serve then.
    fn release(&mut self) -> Verdict {
        self.releases += 1;
        let version = format!("2.{}.0", self.releases);
        self.history.swap(0, 1);
        self.history[1] = Published::of(&self.origin);
        release(&self.origin, &self.shop, &version);
        for mirror in [&self.origin, &self.good] {
            mirror.run(&["build"])?;
            wait_for(&format!("{version} is served"), || {
                let metadata = oracle::below(mirror.port, "p2/acme/tool.json");
                let archive = format!("tool-{version}.zip");
                metadata.is_some_and(|(_, body)| String::from_utf8_lossy(&body).contains(&archive))
            })?;
        }
        Ok(())
    }

    /// Lets the follower follow the mirror at a port, and the good one.
    fn follow(&self, order: Order, failing: u16) {
        let good = self.good.port;
        match order {
            Order::Alone => follow(&self.follower, &[failing]),
            Order::First => follow(&self.follower, &[failing, good]),
            Order::Second => follow(&self.follower, &[good, failing]),
        }
    }

    /// Lets the follower build what it follows otherwise.
    fn build_by_recipe(&self) {
        self.follower.write("recipe.yaml", RECIPE);
        let git = self.origin.path("git");
        let git =
            format!("{{parallel: 1, rewrite: {{'https://git.example/': 'file://{}/'}}}}", git.display());
        configure(&self.follower, "recipe: ./recipe.yaml", &git);
    }

    /// Runs a cycle of the follower.
    fn cycle(&self) -> Verdict<End> {
        let began = Instant::now();
        let output = self.follower.mirror("build").output().expect("mirror starts");
        if began.elapsed() > BOUND {
            return Err(format!("stuck: the cycle took {:?}: {}", began.elapsed(), told(&output)));
        }
        Ok(End { code: output.status.code(), log: String::from_utf8_lossy(&output.stderr).into_owned() })
    }

    /// Kills a cycle of the follower at a random moment.
    fn killed_cycle(&mut self, rng: &mut Rng, figures: &mut Figures) -> Verdict {
        let mut mirror = self.follower.mirror("build");
        let mut child = mirror.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("mirror starts");
        pause(rng);
        let was_running = child.try_wait().expect("a child").is_none();
        child.kill().expect("killed");
        let _ = child.wait();
        figures.faults += usize::from(was_running);
        figures.count("kills", usize::from(was_running));
        self.require_intact().map_err(|why| format!("after a kill: {why}"))
    }

    /// The cycle with the fault has withstood it, or has named the failing mirror; the other one was used.
    fn judge(
        &mut self,
        end: &End,
        order: Order,
        failing: u16,
        is_to_be_named: bool,
        figures: &mut Figures,
    ) -> Verdict {
        self.require_intact()?;
        let is_complete = ledger(&self.follower) == ledger(&self.origin);
        let wrong = |what: &str| Err(format!("{what}; exit code {:?}\n{}", end.code, end.log));
        if order != Order::Alone && !is_complete {
            return wrong("the other mirror is not used");
        }
        match end.code {
            Some(0) if is_to_be_named => wrong("the failing mirror is not named"),
            Some(0) if !is_complete => wrong("unreported: not everything was copied"),
            Some(0) => {
                figures.count("withstood", 1);
                Ok(())
            }
            Some(1) if self.names(failing) && end.log.contains(&url(failing)) => {
                figures.count("named", 1);
                Ok(())
            }
            Some(1) => wrong("the failing mirror is not named"),
            _ => wrong("the cycle failed as a whole"),
        }
    }

    /// Whether the report of the last cycle names a mirror as failed.
    fn names(&self, mirror: u16) -> bool {
        let report = std::fs::read(self.follower.data().join("acme/current/report.json")).unwrap_or_default();
        let report: Value = serde_json::from_slice(&report).unwrap_or_default();
        report["sources"][url(mirror)]["error"].is_string()
    }

    /// What holds at any time: the follower has the beginning of the origin's ledger, the same archives, and all that it has ever
    /// published.
    fn require_intact(&mut self) -> Verdict {
        if !ledger(&self.origin).starts_with(&ledger(&self.follower)) {
            return Err("forked: the ledger is not the beginning of the origin's".into());
        }
        let now = shelf(&self.follower.data().join("acme"))?;
        let origin = shelf(&self.origin.data().join("acme"))?;
        for (path, sha256) in &self.known {
            match now.get(path) {
                Some(now) if now == sha256 => {}
                Some(_) => return Err(format!("changed: {path}")),
                None => return Err(format!("lost: {path}")),
            }
        }
        for (path, sha256) in &now {
            if origin.get(path).is_some_and(|origin| origin != sha256) {
                return Err(format!("wrong bytes: {path} is not what the origin has"));
            }
        }
        self.known.extend(now);
        Ok(())
    }

    /// A cycle without a fault copies everything.
    fn require_complete(&mut self) -> Verdict {
        let End { code, log } = self.cycle()?;
        self.require_intact()?;
        if code != Some(0) {
            return Err(format!("the cycle without a fault did not complete: exit code {code:?}\n{log}"));
        }
        // Archives of the bound package have another name here.
        let count = |mirror: &Fixture| shelf(&mirror.data().join("acme")).map(|archives| archives.len());
        if ledger(&self.follower) != ledger(&self.origin) || count(&self.follower)? != count(&self.origin)? {
            return Err(format!("lost: the cycle without a fault has not copied everything\n{log}"));
        }
        Ok(())
    }

    /// The first oracle: over HTTP, nothing is lost or changed.
    fn require_served(&mut self) -> Verdict {
        let _server = serve(&self.follower)?;
        let answers = Answers::of(self.follower.port)?;
        self.follower.oracle.require(&answers)?;
        self.follower.oracle.admit(&answers)
    }
}

fn release(origin: &Fixture, shop: &WorkTree, version: &str) {
    origin.release(version);
    let manifest =
        format!(r#"{{"name": "acme/shop", "version": "{version}", "require": {{"acme/a": "{version}"}}}}"#);
    shop.write("composer.json", &manifest).release(version);
}

fn serve(mirror: &Fixture) -> Verdict<Server> {
    match mirror.launch(mirror.mirror("serve"), BOUND)? {
        (server, true) => Ok(server),
        (server, false) => Err(format!("stuck: the mirror is not ready: {}", server.stop())),
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/mirror/")
}

fn follow(mirror: &Fixture, ports: &[u16]) {
    let urls: Vec<_> = ports.iter().map(|port| format!("'{}'", url(*port))).collect();
    let git = "{connect_timeout: 2s, timeout: 2s, total_timeout: 9s}";
    configure(mirror, &format!("follow: [{}]", urls.join(", ")), git);
}

fn configure(mirror: &Fixture, content: &str, git: &str) {
    let (data, port) = (mirror.data().display(), mirror.port);
    let url = url(port);
    mirror.write(
        "mirror.yaml",
        &format!(
            "data: '{data}'\nserve: {{listen: ['127.0.0.1:{port}'], notice: 0s, drain: 1s, compression: none}}\nrepositories:\n  - {{name: acme, url: '{url}', {content}}}\ngit: {git}\n"
        ),
    );
}

fn ledger(mirror: &Fixture) -> Vec<u8> {
    std::fs::read(mirror.data().join("acme/ledger.jsonl")).unwrap_or_default()
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) -> Verdict {
    let began = Instant::now();
    while !is_so() {
        if began.elapsed() > BOUND {
            return Err(format!("stuck: this did not happen: {what}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
