//! git's own http server behind Apache and nginx, and repositories that these only serve as files.

use mirror::git::FetchErrorKind;

use crate::support::git::BareRepository;
use crate::support::local_clone::{LocalClone, names, unmixed};
use crate::support::web_server::{WebServer, is_root, open_to_all};

/// Fetches from a server with the smart protocol below `/git/` and the files below `/files/`.
fn check(server: &WebServer, upstream: &BareRepository) {
    let url = format!("http://127.0.0.1:{}/git/x.git", server.port());
    let local = LocalClone::new();
    assert_eq!(local.fetch(&url).unwrap_or_else(|error| panic!("{error} {}", server.output())).new.len(), 2);
    upstream.release("1.2");
    assert_eq!(names(&local.fetch(&url).unwrap().new), ["refs/tags/1.2"]);
    assert_eq!(local.versions(), unmixed(&["1.0", "1.1", "1.2"]));
    assert!(matches!(local.cause(&url.replace("x.git", "none.git")), FetchErrorKind::NotFound));
    upstream.git(&["update-server-info"]);
    let error = LocalClone::new().fails(&url.replace("/git/", "/files/"));
    assert!(matches!(error.kind, FetchErrorKind::Dumb), "{error:?}");
}

fn upstream() -> BareRepository {
    let upstream = BareRepository::with_tags(&["1.0", "1.1"]);
    open_to_all(upstream.root());
    upstream
}

#[test]
fn git_behind_apache_is_fetched_from() {
    let upstream = upstream();
    let root = upstream.root().display();
    let server = WebServer::start(
        "/usr/sbin/apache2",
        &|dir| {
            ["-D", "FOREGROUND", "-f"]
                .map(str::to_owned)
                .into_iter()
                .chain([dir.join("conf").display().to_string()])
                .collect()
        },
        &|dir, port| {
            let modules = ["mpm_event", "authz_core", "alias", "env", "setenvif", "cgid", "mime"];
            let load = modules
                .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
                .concat();
            let user = if is_root() { "User www-data\nGroup www-data\n" } else { "" };
            let dir = dir.display();
            std::fs::write(format!("{dir}/gitconfig"), "[safe]\ndirectory = *\n").unwrap();
            format!(
                "ServerRoot {dir}\nPidFile {dir}/pid\nScriptSock {dir}/socket\nErrorLog {dir}/output\nTypesConfig /dev/null\n\
             ServerName localhost\nListen 127.0.0.1:{port}\n{load}{user}\
             SetEnv GIT_PROJECT_ROOT {root}\nSetEnv GIT_HTTP_EXPORT_ALL 1\nSetEnv GIT_CONFIG_GLOBAL {dir}/gitconfig\n\
             SetEnvIf Git-Protocol .+ GIT_PROTOCOL=$0\nScriptAlias /git/ /usr/lib/git-core/git-http-backend/\n\
             Alias /files/ {root}/\n<Directory />\nRequire all granted\n</Directory>\n"
            )
        },
    );
    check(&server, &upstream);
}

#[test]
fn git_behind_nginx_is_fetched_from() {
    let upstream = upstream();
    let root = upstream.root().display();
    let sockets = tempfile::tempdir().unwrap();
    let socket = sockets.path().join("socket");
    let mut cgi = std::process::Command::new("fcgiwrap")
        .arg("-s")
        .arg(format!("unix:{}", socket.display()))
        .spawn()
        .unwrap();
    crate::support::until("fcgiwrap listens", || socket.exists());
    let server = WebServer::start(
        "/usr/sbin/nginx",
        &|dir| vec!["-c".into(), dir.join("conf").display().to_string()],
        &|dir, port| {
            let (dir, socket) = (dir.display(), socket.display());
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|name| format!("{name}_temp_path {dir}/{name};\n"))
                .concat();
            format!(
                "daemon off; master_process off; pid {dir}/pid; error_log {dir}/output;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}\
             server {{\nlisten 127.0.0.1:{port};\nlocation /files/ {{ alias {root}/; }}\n\
             location ~ ^/git(/.*)$ {{\nfastcgi_pass unix:{socket};\n\
             fastcgi_param SCRIPT_FILENAME /usr/lib/git-core/git-http-backend;\nfastcgi_param PATH_INFO $1;\n\
             fastcgi_param GIT_PROJECT_ROOT {root};\nfastcgi_param GIT_HTTP_EXPORT_ALL 1;\n\
             fastcgi_param GIT_PROTOCOL $http_git_protocol;\nfastcgi_param REQUEST_METHOD $request_method;\n\
             fastcgi_param QUERY_STRING $query_string;\nfastcgi_param CONTENT_TYPE $content_type;\n\
             fastcgi_param CONTENT_LENGTH $content_length;\n}}\n}}\n}}\n"
            )
        },
    );
    check(&server, &upstream);
    // Without compression the request would have more than the 1 MB that nginx accepts by default.
    upstream.add_empty_tags(22_000);
    let mut local = LocalClone::new();
    local.limits.pack = 1;
    let cause = local.cause(&format!("http://127.0.0.1:{}/git/x.git", server.port()));
    assert!(matches!(cause, FetchErrorKind::PackTooLarge { .. }), "{cause:?} {}", server.output());
    cgi.kill().unwrap();
    cgi.wait().unwrap();
}
