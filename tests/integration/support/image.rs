//! One image for all test containers: busybox with its applets, and the shop of `examples/shop`.
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use super::process::output;
use super::tools::{cache_dir, find, machine_lock};

const SHOP: &str = include_str!("../../../examples/shop/shop.rs");
/// Part of the tag: count up when [`layer`] changes.
const RECIPE: &str = "2";
/// Who runs in the container, and who owns /data.
const USER: u64 = 10_001;

/// Name of the base image, which is on the engine: `ffe-test/base:<hash>`. Made once a machine.
///
/// It has `shop` and busybox's applets in /bin, a /tmp for all, and a /data of its USER (10001); its command is
/// `shop serve` (port 8000), and it has no healthcheck.
pub(crate) fn base_image() -> String {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let busybox = fs::read(find("busybox").expect("busybox is there")).expect("read busybox");
        let name = format!("ffe-test/base:{}", short_hash(&[RECIPE.as_bytes(), SHOP.as_bytes(), &busybox]));
        let _guard = machine_lock("image");
        if !is_on_engine(&name) {
            import(&name, &layer(&busybox, &fs::read(shop_binary()).expect("read the shop")));
        }
        name
    })
    .clone()
}

/// Path of the compiled shop, for build contexts with `FROM scratch` and `COPY shop`. Made once a machine.
pub(crate) fn shop_binary() -> PathBuf {
    let dir = cache_dir().join(format!("shop-{}", short_hash(&[SHOP.as_bytes()])));
    let program = dir.join("shop");
    let _guard = machine_lock("shop");
    if !program.exists() {
        fs::create_dir_all(&dir).expect("make the shop's directory");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shop/shop.rs");
        let fresh = dir.join("fresh");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let static_and_small =
            ["-C", "target-feature=+crt-static", "-C", "strip=symbols", "-C", "panic=abort"];
        let mut command = Command::new(rustc);
        command.args(["--edition", "2021", "-O"]).args(static_and_small).arg("-o").arg(&fresh).arg(source);
        output(&mut command);
        fs::rename(&fresh, &program).expect("put the shop in its place");
    }
    program
}

fn short_hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hex::encode(hash.finalize())[..12].to_owned()
}

fn is_on_engine(name: &str) -> bool {
    let inspected = Command::new("docker").args(["image", "inspect", name]).output();
    inspected.is_ok_and(|inspected| inspected.status.success())
}

/// The whole file system as a tar archive: no builder is needed to make an image of that.
fn layer(busybox: &[u8], shop: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (dir, mode, owner) in
        [("bin", 0o755, 0), ("etc", 0o755, 0), ("tmp", 0o1777, 0), ("data", 0o755, USER)]
    {
        entry(&mut archive, tar::EntryType::Directory, dir, (mode, owner), b"");
    }
    let users = format!("root:x:0:0::/:/bin/sh\nshop:x:{USER}:{USER}::/data:/bin/sh\n");
    entry(&mut archive, tar::EntryType::Regular, "etc/passwd", (0o644, 0), users.as_bytes());
    entry(&mut archive, tar::EntryType::Regular, "bin/busybox", (0o755, 0), busybox);
    entry(&mut archive, tar::EntryType::Regular, "bin/shop", (0o755, 0), shop);
    let applets = output(Command::new("busybox").arg("--list"));
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        let mut header = header(tar::EntryType::Symlink, (0o777, 0), 0);
        archive.append_link(&mut header, format!("bin/{applet}"), "busybox").expect("archive an applet");
    }
    archive.into_inner().expect("end the archive")
}

fn header(kind: tar::EntryType, (mode, owner): (u32, u64), size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner);
    header.set_gid(owner);
    header.set_size(size as u64);
    header
}

fn entry(
    archive: &mut tar::Builder<Vec<u8>>,
    kind: tar::EntryType,
    path: &str,
    access: (u32, u64),
    content: &[u8],
) {
    archive.append_data(&mut header(kind, access, content.len()), path, content).expect("archive a file");
}

fn import(name: &str, layer: &[u8]) {
    let user = format!("USER {USER}");
    let changes = [r#"CMD ["shop", "serve"]"#, "ENV PATH=/bin", &user].map(|change| ["--change", change]);
    let mut command = Command::new("docker");
    command.arg("import").args(changes.as_flattened()).args(["-", name]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("start docker import");
    child.stdin.take().expect("it has a stdin").write_all(layer).expect("send the layer");
    assert!(child.wait().expect("wait for docker import").success(), "docker import {name} failed");
}
