//! Object stores with the S3 interface, which `tests/run tools` installs, and configurations for them.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use mirror::bucket::Bucket;
use mirror::config::{self, Git};
use mirror::util::cancel::CancelFlag;
use tempfile::TempDir;

use super::env::TestEnv;
use super::{free_port, missing, run, until};

pub const KEY: &str = "mirror";
pub const SECRET: &str = "secret-of-the-mirror";

/// The name of the bucket on each server.
pub const BUCKET: &str = "packages";

/// A running server; it ends when it goes out of scope.
pub struct ObjectStore {
    pub port: u16,
    command: Command,
    child: Child,
    dir: TempDir,
}

impl ObjectStore {
    /// SeaweedFS, which does everything that a commit needs. Tests that run at the same time share one.
    pub fn seaweed() -> Arc<Self> {
        static SHARED: Mutex<Weak<ObjectStore>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start_seaweed());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// SeaweedFS for one test, which may kill it.
    pub fn start_seaweed() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let identity = format!(
            r#"{{"identities": [{{"name": "mirror", "credentials": [{{"accessKey": "{KEY}", "secretKey": "{SECRET}"}}], "actions": ["Admin", "Read", "Write", "List"]}}]}}"#
        );
        std::fs::write(dir.path().join("s3.json"), identity).unwrap();
        let [port, master, volume, filer] = [(); 4].map(|()| free_port());
        // The ports of gRPC are those plus 10,000 unless they are given.
        let [grpc, master_grpc, volume_grpc, filer_grpc] = [(); 4].map(|()| free_port());
        let mut command = Command::new(program("weed"));
        command.arg("server").args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]).args([
            format!("-dir={}", dir.path().display()),
            format!("-master.port={master}"),
            format!("-master.port.grpc={master_grpc}"),
            format!("-volume.port={volume}"),
            format!("-volume.port.grpc={volume_grpc}"),
            format!("-filer.port={filer}"),
            format!("-filer.port.grpc={filer_grpc}"),
            format!("-s3.port={port}"),
            format!("-s3.port.grpc={grpc}"),
            "-s3.port.iceberg=0".to_owned(),
            "-s3.port.lance=0".to_owned(),
            format!("-s3.config={}", dir.path().join("s3.json").display()),
            "-master.volumeSizeLimitMB=64".to_owned(),
            "-volume.max=200".to_owned(),
        ]);
        let server = Self::start(command, port, dir);
        // A bucket is a folder of its file server.
        until("SeaweedFS has the bucket", || {
            let url = format!("http://127.0.0.1:{filer}/buckets/{BUCKET}/");
            let made = Command::new("curl").args(["-sf", "-X", "POST", &url]).output();
            made.unwrap_or_else(|error| panic!("{}", missing("curl", &error))).status.success()
        });
        until("SeaweedFS takes objects", || server.is_writable());
        server
    }

    /// rclone, which accepts conditions and ignores them.
    pub fn rclone() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("data").join(BUCKET)).unwrap();
        let port = free_port();
        let mut command = Command::new(program("rclone"));
        command.args(["serve", "s3", "--config=/dev/null"]);
        command.arg(format!("--cache-dir={}", dir.path().join("cache").display()));
        command.arg(format!("--addr=127.0.0.1:{port}")).arg(format!("--auth-key={KEY},{SECRET}"));
        command.arg(dir.path().join("data"));
        let server = Self::start(command, port, dir);
        until("rclone takes objects", || server.is_writable());
        server
    }

    /// s3s-fs, which holds conditions for one writer after another, but lets several win at once.
    pub fn s3s() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (root, port) = (dir.path().join("data"), free_port());
        std::fs::create_dir_all(root.join(BUCKET)).unwrap();
        let mut command = Command::new(program("s3s-fs"));
        command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--access-key", KEY, "--secret-key", SECRET]).arg(root);
        let server = Self::start(command, port, dir);
        until("s3s-fs takes objects", || server.is_writable());
        server
    }

    /// moto, a server for tests, which compares no digests.
    pub fn moto() -> Self {
        let port = free_port();
        let mut command = Command::new(program("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let server = Self::start(command, port, tempfile::tempdir().unwrap());
        run(Command::new("curl").args(["-sf", "-X", "PUT", &format!("http://127.0.0.1:{port}/{BUCKET}")]));
        until("moto takes objects", || server.is_writable());
        server
    }

    fn start(mut command: Command, port: u16, dir: TempDir) -> Self {
        let log = std::fs::File::create(dir.path().join("output")).unwrap();
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}", missing(&program, &error)));
        let mut server = Self { port, command, child, dir };
        server.wait();
        server
    }

    /// Waits until it listens.
    fn wait(&mut self) {
        until("the object store listens", || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{:?}: {ended:?} {}", self.command, self.output());
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, with what it has stored.
    pub fn restart(&mut self) {
        self.child = self.command.spawn().unwrap();
        self.wait();
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("output")).unwrap_or_default()
    }

    fn is_writable(&self) -> bool {
        let ready = mirror::bucket::Upload::new(&b"ready"[..], Default::default());
        let condition = mirror::bucket::Condition::Always;
        self.bucket("started").put("ready", &ready, condition).is_ok()
    }

    /// The bucket with this prefix, without a mirror.
    pub fn bucket(&self, prefix: &str) -> Bucket {
        open(prefix, self.port)
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The bucket with this prefix on the server at this port.
pub fn open(prefix: &str, port: u16) -> Bucket {
    open_cancellable(prefix, port, &CancelFlag::default())
}

/// The same, with requests that end when the flag is set.
pub fn open_cancellable(prefix: &str, port: u16, cancel: &CancelFlag) -> Bucket {
    let text = format!(
        "repositories: [{{name: acme, url: 'http://127.0.0.1/', import: true}}]\n{}",
        section(prefix, port, "")
    );
    let variable = |name: &str| Some(if name == "BUCKET_KEY" { KEY } else { SECRET }.to_owned());
    let loaded = config::load_text(None, text, &variable).unwrap();
    let config = loaded.config.bucket.unwrap();
    let git = Git { timeout: std::time::Duration::from_secs(20), ..Git::default() };
    Bucket::open(&config, &git, cancel).unwrap()
}

/// The section of a configuration. The secrets are in the environment.
fn section(prefix: &str, port: u16, keys: &str) -> String {
    format!(
        "bucket: {{url: 's3://{BUCKET}/{prefix}', endpoint: 'http://127.0.0.1:{port}', access_key_id: '${{BUCKET_KEY}}', secret_access_key: '${{BUCKET_SECRET}}'{keys}}}\n"
    )
}

/// Adds the section to the configuration of an environment, with the key in files.
pub fn configure(env: &TestEnv, prefix: &str, port: u16, keys: &str) {
    configure_in(env.root(), prefix, port, keys);
}

/// The same for `mirror.yaml` in a folder.
pub fn configure_in(folder: &Path, prefix: &str, port: u16, keys: &str) {
    std::fs::write(folder.join("key"), KEY).unwrap();
    std::fs::write(folder.join("secret"), SECRET).unwrap();
    let with_files = section(prefix, port, keys)
        .replace("access_key_id: '${BUCKET_KEY}'", "access_key_id_file: key")
        .replace("secret_access_key: '${BUCKET_SECRET}'", "secret_access_key_file: secret");
    let file = folder.join("mirror.yaml");
    let config = std::fs::read_to_string(&file).unwrap();
    let without: String = config.split_inclusive('\n').filter(|line| !line.starts_with("bucket:")).collect();
    std::fs::write(file, format!("{without}{with_files}")).unwrap();
}

/// Removes the section from the configuration of an environment.
pub fn remove(env: &TestEnv) {
    let config = env.read("mirror.yaml");
    let without: String = config.split_inclusive('\n').filter(|line| !line.starts_with("bucket:")).collect();
    env.write("mirror.yaml", &without);
}

/// A program that `tests/run tools` installs.
pub fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/object-stores/bin").join(name)
}
