use super::super::super::access::Access;
use super::super::super::connection::Limits;
use super::super::super::test_node::{TestNode, exchange};

/// The page of a node with this configuration.
async fn page(lines: &str) -> String {
    let mut node = TestNode::start().await;
    let address = node.listen(Access::loopback(), Limits::default()).await;
    exchange(address, format!("{lines}\nquit\n").as_bytes()).await;
    exchange(
        address,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )
    .await
}

#[tokio::test]
async fn it_shows_what_there_is() {
    let page = page(
        "CREATE POOL web\nPOOL web ADD 10.0.0.1:80\nCREATE SERVICE www\nSET www.role = reverse_proxy\nSET www.pool = web",
    )
    .await;
    for wanted in [
        "HTTP/1.1 200 OK",
        "<section id=\"nodes\">",
        "<td>n1 *</td>",
        "<h3>web <span class=\"soft\">1 of 1 up</span></h3>",
        "<td>10.0.0.1:80</td><td class=\"good\">up</td>",
        "<td>www</td><td>reverse_proxy</td>",
        "<th class=\"number more\">Weight</th>",
        "<td class=\"number more\">1</td>",
        "<td class=\"text\">SET www.pool = web</td>",
        "Nobody waits.",
        "Every node does all of the configuration.",
        "<noscript><meta http-equiv=\"refresh\"",
    ] {
        assert!(page.contains(wanted), "no {wanted} in {page}");
    }
}

#[tokio::test]
async fn its_own_script_runs_and_no_other() {
    let (one, other) = (page("").await, page("").await);
    let nonce = |page: &str| {
        let (_, rest) = page.split_once("script-src 'nonce-").unwrap();
        rest.split_once('\'').unwrap().0.to_owned()
    };
    assert!(
        one.contains("content-security-policy: default-src 'none'; style-src 'nonce-"),
        "{one}"
    );
    assert!(
        one.contains(&format!("<script nonce=\"{}\">", nonce(&one))),
        "{one}"
    );
    assert_eq!(one.matches("<script").count(), 1);
    assert!(
        !one.contains("://") && !one.contains("onclick"),
        "it leads elsewhere: {one}"
    );
    assert_ne!(nonce(&one), nonce(&other));
}

#[tokio::test]
async fn names_are_text() {
    let page = page("CREATE POOL web\nCREATE POOL <script>alert(1)</script>\nSET web.health_path = /\"><script>alert(2)</script>").await;
    assert!(!page.contains("<script>alert"), "{page}");
    assert!(page.contains("&lt;script&gt;alert(2)"), "{page}");
}
