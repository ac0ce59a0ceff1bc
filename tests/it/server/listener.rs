//! Addresses to listen on: ports and Unix sockets.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::Instant;

use crate::support::http::is_ready;
use crate::support::served_mirror::ServedMirror;
use crate::support::server::*;
use crate::support::{run, until};
use mirror::cli::healthcheck::check;
use mirror::config::{Address, Serve};
use mirror::server::HealthEndpoint;
use mirror::server::{ContentKind, PublishedSite, Site};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

#[test]
fn port_in_use_is_reported() {
    let mirror = TestServer::start(None);
    let runtime = Runtime::new().expect("a runtime");
    let listen = vec![mirror.address.into()];
    let server = bind(Serve { listen, ..settings() }, PublishedSite::default());
    let error = runtime.block_on(server).err().expect("a port in use").to_string();
    let expected = format!(
        "failed to listen on `{}`: Address already in use (os error 98)\nhint: another process has the port",
        mirror.address
    );
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn unix_socket_is_served_replaced_and_removed() {
    let files = PublishedFiles::new();
    let path = files.path("mirror.sock");
    // A killed process leaves its socket behind.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let listen = vec![([127, 0, 0, 1], 0).into(), Address::Unix(path.clone().into())];
    let runtime = Runtime::new().expect("a runtime");
    let published = PublishedSite::default();
    let site = vec![
        files.publish("packages.json", ContentKind::Metadata, PACKAGES),
        files.publish("large.zip", ContentKind::Archive, large()),
    ];
    published.replace(Site::new([repository("/", site)]).expect("a valid site"));
    let bind = |listen: &[Address]| {
        let serve = Serve { listen: listen.to_vec(), ..settings() };
        runtime.block_on(bind(serve, published.clone()))
    };
    let server = bind(&listen).expect("both addresses");
    let (stop, stopped) = oneshot::channel::<()>();
    let running = runtime.spawn(server.run(async move { stopped.await.unwrap_or_default() }));
    let socket = Address::Unix(path.clone().into());
    check(&socket, HealthEndpoint::Ready, SOON).expect("ready");
    let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("a server");
    stream
        .write_all(b"GET /packages.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("a connection");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(PACKAGES), "{answer}");
    let busy = bind(&[socket]).err().expect("a socket in use").to_string();
    assert!(busy.ends_with("another process is listening there"), "{busy}");
    let mut begun = std::os::unix::net::UnixStream::connect(&path).expect("a server");
    begun.write_all(b"GET /large.zip HTTP/1.1\r\nHost: x\r\n\r\n").expect("a connection");
    begun.read_exact(&mut [0]).expect("an answer");
    stop.send(()).expect("a running server");
    let began = Instant::now();
    let successor = loop {
        match bind(&[Address::Unix(path.clone().into())]) {
            Ok(successor) => break successor,
            Err(_) => assert!(began.elapsed() < SOON, "the address is given up first"),
        }
    };
    begun.read_to_end(&mut Vec::new()).expect("an answer");
    drop(begun);
    assert_eq!(runtime.block_on(running).expect("no panic"), 0);
    assert!(path.exists(), "the socket of a successor is left alone");
    let (stop, stopped) = oneshot::channel::<()>();
    let running = runtime.spawn(successor.run(async move { stopped.await.unwrap_or_default() }));
    stop.send(()).expect("a running server");
    assert_eq!(runtime.block_on(running).expect("no panic"), 0);
    assert!(!path.exists(), "the socket is removed");
    std::fs::write(&path, "").expect("a file in its place");
    let refused = bind(&[Address::Unix(path.clone().into())]).err().expect("no socket");
    assert!(refused.to_string().contains("the file exists and is not a socket"), "{refused}");
    assert!(path.exists());
}

#[test]
fn unix_socket_has_its_mode_and_group() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mirror.sock");
    let runtime = Runtime::new().expect("a runtime");
    let group = folder.path().metadata().expect("a folder").gid();
    for (options, mode) in [
        (String::new(), 0o666),
        (",mode=0600".to_owned(), 0o600),
        (format!(",group={group}"), 0o660),
        (format!(",mode=0620,group={group}"), 0o620),
    ] {
        let address = format!("unix:{}{options}", path.display()).parse().expect("an address");
        let serve = Serve { listen: vec![address], ..settings() };
        let server = runtime.block_on(bind(serve, PublishedSite::default())).expect("a socket");
        let found = path.metadata().expect("a socket");
        assert_eq!((found.mode() & 0o777, found.gid()), (mode, group), "{options}");
        drop(server);
    }
    let address = format!("unix:{},group=no-such-group", path.display()).parse().expect("an address");
    let refused =
        runtime.block_on(bind(Serve { listen: vec![address], ..settings() }, PublishedSite::default()));
    let refused = format!("{:#}", refused.err().expect("no such group"));
    assert!(refused.contains("`/etc/group` has no group `no-such-group`\nhint: a number"), "{refused}");
    assert!(!path.exists(), "nothing is left behind");
}

#[test]
fn unix_socket_in_closed_folder_is_reported() {
    let (env, port) = ServedMirror::built();
    let folder = env.path("closed");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).expect("a mode");
    let config = env.read("mirror.yaml");
    for (options, is_reported) in [("", true), (",mode=0600", false)] {
        let sockets = format!("'127.0.0.1:{port}', 'unix:{}/s{options}'", folder.display());
        env.write("mirror.yaml", &config.replace(&format!("'127.0.0.1:{port}'"), &sockets));
        let output = env.command(&["serve"]).stderr(std::process::Stdio::piped()).spawn().expect("a process");
        let id = output.id();
        until("it is ready", || is_ready(port));
        run(std::process::Command::new("kill").arg(id.to_string()));
        let log = String::from_utf8(output.wait_with_output().expect("a log").stderr).expect("text");
        let message = format!("it may not enter the folder `{}`", folder.display());
        assert_eq!(log.contains(&message), is_reported, "{log}");
    }
}
