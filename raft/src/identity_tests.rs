use super::*;

fn founded(path: &Path) -> (DataDir, Identity) {
    let dir = DataDir::open(path).unwrap();
    let node = NodeName::parse("n1").unwrap();
    let identity = found(&dir, "acme", node, "127.0.0.1:7400".parse().unwrap()).unwrap();
    (dir, identity)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn founds_and_reads_back() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("deep/er");
    let (dir, identity) = founded(&path);
    assert_eq!(mode(&path), 0o700);
    for file in [NODE_KEY, CA_KEY, IDENTITY, MEMBERS, LOCK] {
        assert_eq!(mode(&path.join(file)), 0o600, "{file}");
    }
    drop(dir);
    let dir = DataDir::open(&path).unwrap();
    let mut again = dir.identity().unwrap().unwrap();
    assert_eq!(again.fleet, "acme");
    assert_eq!(again.fleet_id, identity.fleet_id);
    assert_eq!(
        (again.node_id, again.name.as_str(), again.generation),
        (1, "n1", 0)
    );
    assert_eq!(again.keys.key, identity.keys.key);
    assert_eq!(again.keys.ca_key, identity.keys.ca_key);
    dir.next_generation(&mut again).unwrap();
    assert_eq!(dir.identity().unwrap().unwrap().generation, 1);
    let known = dir.known_members().unwrap();
    assert_eq!(known.members[&1].key_hash, identity.keys.key_hash().unwrap());
}

#[test]
fn a_directory_is_one_process_s_and_one_node_s() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, _) = founded(temp.path());
    let error = DataDir::open(temp.path()).unwrap_err();
    assert!(matches!(error, OpenError::Locked(_)), "{error}");
    let node = NodeName::parse("n9").unwrap();
    let error = found(&dir, "other", node, "127.0.0.1:7400".parse().unwrap()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("belongs to node 'n1' of fleet 'acme' already"),
        "{error}"
    );
}

#[test]
fn refuses_what_is_not_its_own_and_leaves_it_alone() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("letters.txt"), "x").unwrap();
    std::fs::set_permissions(temp.path(), Permissions::from_mode(0o755)).unwrap();
    let error = DataDir::open(temp.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("holds 'letters.txt' but no fleetbal node"),
        "{error}"
    );
    assert_eq!(mode(temp.path()), 0o755);
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);

    let file = temp.path().join("letters.txt");
    let error = DataDir::open(&file).unwrap_err();
    assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
}

#[test]
fn what_an_interrupted_start_left_is_no_obstacle() {
    let temp = tempfile::tempdir().unwrap();
    for name in [LOCK, NODE_KEY, "identity.json.new", PENDING] {
        std::fs::write(temp.path().join(name), "").unwrap();
    }
    let dir = DataDir::open(temp.path()).unwrap();
    assert!(dir.identity().unwrap().is_none());
}

#[test]
fn refuses_a_later_format_and_damaged_files() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, _) = founded(temp.path());
    std::fs::write(temp.path().join(NODE_CERTIFICATE), "rubbish").unwrap();
    let error = dir.identity().unwrap_err();
    assert!(error.to_string().contains("node.crt: damaged"), "{error}");
    std::fs::remove_file(temp.path().join(CA_KEY)).unwrap();
    std::fs::remove_file(temp.path().join(NODE_CERTIFICATE)).unwrap();
    let error = dir.identity().unwrap_err();
    assert!(error.to_string().contains("damaged (missing)"), "{error}");
    drop(dir);

    std::fs::write(temp.path().join(IDENTITY), r#"{"format": 2, "who": "knows"}"#).unwrap();
    let error = DataDir::open(temp.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("written by a later release (format 2, this one reads up to 1)"),
        "{error}"
    );

    std::fs::write(temp.path().join(IDENTITY), r#"{"format": 1, "fleet"#).unwrap();
    let error = DataDir::open(temp.path()).unwrap_err();
    assert!(error.to_string().contains("identity.json: damaged"), "{error}");
}

#[test]
fn a_changed_digit_is_not_taken_for_another_node() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, _) = founded(temp.path());
    let path = temp.path().join(IDENTITY);
    let written = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, written.replace("\"node_id\": 1", "\"node_id\": 2")).unwrap();
    let error = dir.identity().unwrap_err().to_string();
    assert!(
        error.contains("identity.json") && error.contains("not as it was written"),
        "{error}"
    );
    // Files of the first releases have no checksum.
    let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&written).unwrap();
    assert!(fields.remove("sha256").is_some());
    std::fs::write(&path, serde_json::to_vec(&fields).unwrap()).unwrap();
    assert_eq!(dir.identity().unwrap().unwrap().node_id, 1);
}

#[test]
fn a_begun_join_is_remembered_until_it_is_done() {
    let temp = tempfile::tempdir().unwrap();
    let dir = DataDir::open(temp.path()).unwrap();
    assert!(dir.pending_join().unwrap().is_none());
    let pending = PendingJoin {
        token_id: "ab".into(),
        node: "n2".into(),
        request_id: "00".into(),
    };
    let key = keys::generate_key().unwrap();
    dir.save_pending_join(&pending, &key).unwrap();
    assert_eq!(dir.pending_join().unwrap(), Some((pending, key)));
    let node = NodeName::parse("n1").unwrap();
    found(&dir, "acme", node, "127.0.0.1:7400".parse().unwrap()).unwrap();
    assert!(dir.pending_join().unwrap().is_none());
}

#[test]
fn fleet_names() {
    for good in ["acme", "A.b-c_1"] {
        assert!(check_fleet_name(good).is_ok(), "{good}");
    }
    for bad in ["", "-a", "a b", "é", &"x".repeat(64)] {
        assert!(check_fleet_name(bad).is_err(), "{bad}");
    }
}

/// Each file that a node cannot be without, damaged in each way that a disk or a hand does it.
#[test]
fn damaged_files_of_an_identity_are_named() {
    let other = tempfile::tempdir().unwrap();
    founded(other.path());
    for name in [NODE_KEY, NODE_CERTIFICATE, CA_KEY, CA_CERTIFICATE, IDENTITY] {
        let temp = tempfile::tempdir().unwrap();
        let (dir, _) = founded(temp.path());
        let path = temp.path().join(name);
        let bytes = std::fs::read(&path).unwrap();
        let refused = |what: &str| {
            let error = dir.identity().map(|found| found.is_some()).unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains(&temp.path().display().to_string()),
                "{name} {what}: {text}"
            );
            text
        };
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(refused("torn").contains(name));
        std::fs::write(&path, b"").unwrap();
        assert!(refused("empty").contains(name));
        if [NODE_KEY, CA_KEY, IDENTITY].contains(&name) {
            let mut flipped = bytes.clone();
            flipped[bytes.len() / 2] ^= 1;
            std::fs::write(&path, &flipped).unwrap();
            refused("flipped");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(refused("unreadable").contains(name));
        std::fs::remove_dir(&path).unwrap();
        if name != IDENTITY {
            assert!(refused("missing").contains("missing"));
            std::fs::copy(other.path().join(name), &path).unwrap();
            assert!(refused("of another node").contains("certificate is not of the key beside it"));
        }
        std::fs::write(&path, &bytes).unwrap();
        assert!(dir.identity().unwrap().is_some());
    }
}
