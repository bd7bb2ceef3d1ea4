//! The third-party clients: fetched by name, pinned, once, into the build directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const REQUIREMENTS: &str = include_str!("../clients/requirements.txt");
const SLIXMPP: &str = include_str!("../clients/requirements-slixmpp.txt");
const SLIXMPP_1_4: &str = include_str!("../clients/requirements-slixmpp-1.4.txt");
const MANIFEST: &str = include_str!("../clients/package.json");
const MANIFEST_LOCK: &str = include_str!("../clients/package-lock.json");

/// The Python interpreter that has paho-mqtt and aiomqtt.
pub(crate) fn python() -> &'static Path {
    static READY: OnceLock<PathBuf> = OnceLock::new();
    READY.get_or_init(|| {
        let place = prepared("py", REQUIREMENTS, |place| install_python(place, REQUIREMENTS));
        place.join("venv/bin/python")
    })
}

/// The Python interpreter that has slixmpp: the release of the day this was written, or the one that QE's workers have.
pub(crate) fn slixmpp(is_deployed: bool) -> PathBuf {
    let place = if is_deployed {
        prepared("slixmpp-1.4", SLIXMPP_1_4, |place| {
            install_python(place, SLIXMPP_1_4);
        })
    } else {
        prepared("slixmpp", SLIXMPP, |place| install_python(place, SLIXMPP))
    };
    place.join("venv/bin/python")
}

/// The directory below which node finds mqtt.js, @xmpp/client and playwright-core.
pub(crate) fn node_packages() -> &'static Path {
    static READY: OnceLock<PathBuf> = OnceLock::new();
    READY.get_or_init(|| prepared("js", MANIFEST_LOCK, install_node))
}

/// A command that runs a program of mosquitto's clients: the one that is installed, else one of Debian's package.
pub(crate) fn mosquitto(program: &str) -> Command {
    static READY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let place = READY.get_or_init(|| {
        let installed = Command::new("mosquitto_rr").arg("--version").output();
        let is_there = installed.is_ok();
        (!is_there).then(|| prepared("mosquitto", &MOSQUITTO.join(" "), install_mosquitto))
    });
    // Its own messages come line by line, into a pipe, too.
    let mut command = Command::new("stdbuf");
    command.arg("-oL");
    let Some(place) = place else {
        command.arg(program);
        return command;
    };
    let libraries = fs::read_dir(place.join("usr/lib")).unwrap();
    let libraries: Vec<PathBuf> = libraries.map(|entry| entry.unwrap().path()).collect();
    command.arg(place.join("usr/bin").join(program));
    command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap());
    command
}

/// Debian's packages of mosquitto's clients, and the libraries that nothing else here needs.
const MOSQUITTO: [&str; 3] = ["mosquitto-clients", "libmosquitto1", "libcjson1"];

/// `clients/<name>` in the build directory, filled by `install` unless that was done for `pins` before.
/// A file lock keeps other test processes out meanwhile.
fn prepared(name: &str, pins: &str, install: fn(&Path)) -> PathBuf {
    let build = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("the build directory");
    let clients = build.join("clients");
    fs::create_dir_all(&clients).unwrap();
    let lock = File::create(clients.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let place = clients.join(name);
    let stamp = place.join("pins");
    if fs::read_to_string(&stamp).is_ok_and(|done| done == pins) {
        return place;
    }
    if place.exists() {
        fs::remove_dir_all(&place).unwrap();
    }
    fs::create_dir_all(&place).unwrap();
    install(&place);
    fs::write(stamp, pins).unwrap();
    place
}

fn install_python(place: &Path, requirements: &str) {
    let pins = place.join("requirements.txt");
    fs::write(&pins, requirements).unwrap();
    let venv = place.join("venv");
    run(
        Command::new("python3").args(["-m", "venv"]).arg(&venv),
        "Python 3 with its venv module is needed (Debian: python3 python3-venv)",
    );
    run(
        Command::new(venv.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args([
                "--require-hashes",
                "--no-deps",
                "--only-binary",
                ":all:",
                "--requirement",
            ])
            .arg(&pins),
        "pip could not fetch what tests/clients/requirements*.txt names (slixmpp: Python 3.11 or later)",
    );
}

fn install_node(place: &Path) {
    fs::write(place.join("package.json"), MANIFEST).unwrap();
    fs::write(place.join("package-lock.json"), MANIFEST_LOCK).unwrap();
    run(
        Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
            .current_dir(place),
        "npm could not fetch the packages of tests/clients/package.json (Debian: nodejs npm; node 20.10 or later)",
    );
}

fn install_mosquitto(place: &Path) {
    let need = "mosquitto's clients are needed (Debian: mosquitto-clients)";
    run(
        Command::new("apt-get")
            .args(["--quiet", "download"])
            .args(MOSQUITTO)
            .current_dir(place),
        need,
    );
    for entry in fs::read_dir(place).unwrap() {
        let package = entry.unwrap().path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("-x").arg(&package).arg(place), need);
        }
    }
}

fn run(command: &mut Command, need: &str) {
    let shown = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{need}: {shown}: {error}"));
    assert!(
        output.status.success(),
        "{need}: {shown}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}
