//! nginx in front of a Unix socket, as another user than the mirror's.

use super::{Proxy, folder, front_port};
use crate::support::served_mirror::ServedMirror;

#[test]
fn nginx_of_another_user_connects_to_unix_socket() {
    let (env, port) = ServedMirror::built();
    let config = env.read("mirror.yaml").replace("notice: 0s", "notice: 0s, trusted_proxies: ['unix:']");
    let folder = folder();
    let socket = folder.path().join("http.sock").display().to_string();
    let front = front_port();
    let site = format!(
        "server {{ listen 127.0.0.1:{front}; location / {{ proxy_pass http://unix:{socket}:; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}"
    );
    let proxy = Proxy::nginx_with("nginx", front, &site);
    for (options, status) in [("", 200), (",group=www-data", 200), (",mode=0600", 502)] {
        let listen = format!("'127.0.0.1:{port}', 'unix:{socket}{options}'");
        let config = config.replace(&format!("'127.0.0.1:{port}'"), &listen);
        env.write("mirror.yaml", &format!("{config}log: {{access: full, format: json}}\n"));
        let running = env.serve("serve", port);
        let answer = proxy.stranger().request("GET", "/mirror/packages.json", &[]);
        assert_eq!(answer.status, status, "{options}");
        assert_eq!(running.stop(), Some(0));
        let is_named = env.read("log").contains(r#""client":"127.0.0.2""#);
        assert_eq!(is_named, status == 200, "{options}");
    }
}
