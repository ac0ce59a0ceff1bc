//! Reloading of the configuration by a running program.

use crate::support::env::TestEnv;
use crate::support::http::get;
use crate::support::{free_port, until};
const SOURCE: &str =
    "  - name: modules\n    git: https://git.example/modules\n    packages:\n      - {each: ''}\n";

fn env(port: u16) -> TestEnv {
    let env = TestEnv::new();
    let upstream = env.upstream("modules");
    upstream.write("a/composer.json", r#"{"name": "acme/a", "version": "1.0.0"}"#);
    upstream.release("1.0.0");
    env.configure(port, SOURCE);
    env
}

fn config(env: &TestEnv) -> String {
    std::fs::read_to_string(env.path("mirror.yaml")).unwrap()
}

fn log(env: &TestEnv) -> String {
    std::fs::read_to_string(env.path("log")).unwrap()
}

/// The configuration with the same repository a second time, at `/second/`.
fn with_second(config: &str, port: u16) -> String {
    let first = "repositories:\n";
    let second = format!(
        "{first}  - {{name: second, url: 'http://127.0.0.1:{port}/second/', recipe: ./recipe.yaml}}\n"
    );
    config.replace(first, &second)
}

#[test]
fn changed_configuration_is_loaded_and_broken_one_is_rejected() {
    let port = free_port();
    let env = env(port);
    let server = env.serve("run", port);
    let before = config(&env);
    assert_eq!(get(port, "/second/packages.json").status, 404);

    env.write("mirror.yaml", &before.replace("drain: 5s", "drian: 5s"));
    until("a broken file is reported", || log(&env).contains("new configuration rejected"));
    assert!(log(&env).contains("did you mean `drain`?"), "{}", log(&env));
    let refused =
        |is: u8| get(port, "/-/metrics").text().contains(&format!("mirror_configuration_refused {is}\n"));
    assert!(refused(1));
    assert_eq!(get(port, "/mirror/packages.json").status, 200);

    env.write("mirror.yaml", &with_second(&before, port));
    until("the second repository is built and served", || {
        get(port, "/second/packages/acme/a-1.0.0.zip").status == 200
    });
    assert_eq!(log(&env).matches("new configuration rejected").count(), 1);
    assert!(refused(0));

    env.write("mirror.yaml", &before.replace("/mirror/", "/elsewhere/"));
    until("the first moves and the second goes", || get(port, "/elsewhere/packages.json").status == 200);
    assert_eq!(get(port, "/second/packages.json").status, 404);
    assert_eq!(get(port, "/mirror/packages.json").status, 404);
    let metadata = String::from_utf8(get(port, "/elsewhere/p2/acme/a.json").body).unwrap();
    assert!(metadata.contains("/elsewhere/packages/acme/a-1.0.0.zip"), "{metadata}");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn change_made_while_stopped_is_built_at_start() {
    let port = free_port();
    let env = env(port);
    assert_eq!(env.serve("run", port).stop(), Some(0));
    let cycles = || log(&env).matches("cycle finished").count();

    let server = env.serve("run", port);
    assert_eq!(server.stop(), Some(0));
    assert_eq!(cycles(), 0, "unchanged, it waits for its schedule: {}", log(&env));

    env.write("mirror.yaml", &config(&env).replace("/mirror/", "/elsewhere/"));
    let server = env.serve("run", port);
    until("the archives are named where they are", || {
        let metadata = get(port, "/elsewhere/p2/acme/a.json").body;
        String::from_utf8_lossy(&metadata).contains("/elsewhere/packages/acme/a-1.0.0.zip")
    });
    assert_eq!(server.stop(), Some(0));

    let recipe = std::fs::read_to_string(env.path("recipe.yaml")).unwrap();
    let second = SOURCE.replace("name: modules", "name: more");
    env.write("recipe.yaml", &format!("{recipe}{second}"));
    let server = env.serve("run", port);
    until("the new source is looked at", || cycles() == 1);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn changed_recipe_is_loaded() {
    let port = free_port();
    let env = env(port);
    let server = env.serve("run", port);
    let with_b = "sources:\n  - name: modules\n    git: https://git.example/modules\n    packages:\n      - {each: ''}\n  - name: more\n    git: https://git.example/more\n    packages:\n      - {each: ''}\n";
    let more = env.upstream("more");
    more.write("b/composer.json", r#"{"name": "acme/b", "version": "2.0.0"}"#);
    more.release("2.0.0");
    env.write("recipe.yaml", with_b);
    until("the new source is built", || get(port, "/mirror/packages/acme/b-2.0.0.zip").status == 200);
    // Settings that only the pages show take effect without a new snapshot.
    let noted = format!("{with_b}notes: [{{package: acme/b, note: Mind the gap}}]\n");
    env.write("recipe.yaml", &noted);
    until("the note is shown", || {
        String::from_utf8_lossy(&get(port, "/mirror/").body).contains("every version: Mind the gap")
    });
    assert_eq!(server.stop(), Some(0));
}

/// The kubelet writes a new folder and replaces the symbolic link to the old one by a rename.
#[test]
fn config_map_symlink_swap_is_noticed() {
    let port = free_port();
    let env = env(port);
    let (config, recipe) = (config(&env), std::fs::read_to_string(env.path("recipe.yaml")).unwrap());
    std::fs::remove_file(env.path("mirror.yaml")).unwrap();
    env.write("v1/mirror.yaml", &config);
    env.write("v1/recipe.yaml", &recipe);
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, env.path(name)).unwrap();
    link("v1", "..data");
    link("..data/mirror.yaml", "mirror.yaml");
    let server = env.serve("run", port);

    env.write("v2/mirror.yaml", &with_second(&config, port));
    env.write("v2/recipe.yaml", &recipe);
    link("v2", "..new");
    std::fs::rename(env.path("..new"), env.path("..data")).unwrap();
    until("the second repository is served", || get(port, "/second/packages.json").status == 200);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn sighup_reloads_configuration_and_logs_it() {
    let port = free_port();
    let env = env(port);
    env.build(0);
    let server = env.serve("serve", port);
    server.signal("HUP");
    until("the configuration is loaded", || log(&env).contains("configuration reloaded"));
    assert_eq!(get(port, "/mirror/packages.json").status, 200);
    env.write("mirror.yaml", &config(&env).replace("drain: 5s", "drain: 6s"));
    until("what needs a restart is named", || log(&env).contains("takes effect at the next start"));
    assert_eq!(server.stop(), Some(0));
}

/// A container must not be killed because of a broken file that the running server does not use.
#[test]
fn broken_configuration_keeps_the_mirror_healthy() {
    let port = free_port();
    let env = env(port);
    let server = env.serve("run", port);
    assert!(env.mirror("health").status.success());
    env.write("mirror.yaml", "repositories: 1\n");
    until("the broken file is reported", || log(&env).contains("new configuration rejected"));
    let output = env.mirror("health");
    assert!(output.status.success(), "{output:?}");
    // Nor because of new addresses, which take effect at the next start.
    env.configure(free_port(), SOURCE);
    assert!(env.mirror("health").status.success());
    assert_eq!(server.stop(), Some(0));

    assert_eq!(env.mirror("health").status.code(), Some(2));
    env.write("mirror.yaml", "repositories: 1\n");
    let output = env.mirror("health");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("repositories"), "{said}");
}

/// A stopped process is unhealthy although its sockets accept connections.
#[test]
fn unresponsive_server_is_unhealthy() {
    let port = free_port();
    let env = env(port);
    let server = env.serve("run", port);
    server.suspend();
    let output = env.mirror("health");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("no answer within"), "{said}");
    server.signal("CONT");
    assert!(env.mirror("health").status.success());
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn private_repository_stays_private_when_repositories_swap_urls() {
    let port = free_port();
    let env = env(port);
    let open = env.upstream("open");
    open.write("composer.json", r#"{"name": "acme/b", "version": "1.0.0"}"#).release("1.0.0");
    env.write(
        "open.yaml",
        "sources: [{name: open, git: 'https://git.example/open', packages: [{one: ''}]}]\n",
    );
    let token = mirror::util::digest::Sha256::digest(b"long-and-random");
    env.write("users", &format!("ci:sha256:{token}\n"));
    let at = |private: &str, open: &str| {
        let first = "repositories:\n";
        let open = format!(
            "{first}  - {{name: open, url: 'http://127.0.0.1:{port}/{open}/', recipe: ./open.yaml}}\n"
        );
        let all = std::fs::read_to_string(env.path("plain.yaml")).unwrap();
        all.replace("/mirror/'", &format!("/{private}/', users: ./users")).replace(first, &open)
    };
    env.write("plain.yaml", &config(&env));
    env.write("mirror.yaml", &at("mirror", "second"));
    let _server = env.serve("run", port);
    until("all is built and served", || {
        log(&env).matches("cycle finished").count() == 2
            && get(port, "/second/packages/acme/b-1.0.0.zip").status == 200
    });
    let statuses =
        || ["mirror", "second"].map(|base| get(port, &format!("/{base}/packages/acme/a-1.0.0.zip")).status);
    assert_eq!(statuses(), [401, 404]);
    // Users take effect at once, and the new URLs when they are built.
    env.write("mirror.yaml", &at("second", "mirror"));
    until("the other one is served there", || {
        let found = statuses();
        assert!(!found.contains(&200), "{found:?}");
        get(port, "/mirror/packages/acme/b-1.0.0.zip").status == 200
    });
    assert_eq!(statuses(), [404, 401]);

    // A broken users file does not lock everybody out.
    env.write("users", "ana:second\n");
    until("it is named", || log(&env).contains("keeping the previous users"));
    env.write("mirror.yaml", &format!("{}# again\n", at("second", "mirror")));
    until("the configuration is refused", || log(&env).contains("new configuration rejected"));
}

#[test]
fn requests_sent_before_shutdown_are_answered() {
    use std::io::{Read as _, Write as _};
    let port = free_port();
    let env = env(port);
    env.build(0);
    for _ in 0..5 {
        let server = env.serve("serve", port);
        let connect = || std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let request = b"GET /mirror/packages.json HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut clients: Vec<_> = (0..100).map(|_| connect()).collect();
        for client in &mut clients {
            client.write_all(request).unwrap();
            assert_ne!(client.read(&mut [0; 4096]).unwrap(), 0);
        }
        clients.extend((0..100).map(|_| connect()));
        std::thread::sleep(std::time::Duration::from_millis(50));
        for client in &mut clients {
            client.write_all(request).unwrap();
        }
        server.signal("TERM");
        for client in &mut clients {
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.contains("HTTP/1.1 200 OK"), "{answer}");
        }
    }
}
