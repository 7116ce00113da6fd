//! A PostgreSQL server for the tests: the one that `OVERNIGHT_TEST_POSTGRES` names by its URL, or one that is
//! started in a temporary folder and ends with this process.
//!
//! Where there is neither, tests that need it are skipped and say so. `OVERNIGHT_TEST_POSTGRES=require` fails
//! them instead.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

use tokio_postgres::NoTls;

/// The variable that names the server, or requires one.
const VARIABLE: &str = "OVERNIGHT_TEST_POSTGRES";

static SERVER: LazyLock<Result<Server, String>> = LazyLock::new(find_server);

/// Number of databases that this process has made.
static DATABASES: AtomicU32 = AtomicU32::new(0);

struct Server {
    /// The URL of its first database, and what comes after the name of a database in it.
    url: String,
    /// Ends the server when it is closed; `None` if it was running before.
    _stdin: Option<ChildStdin>,
}

/// Returns whether there is a server. Says so if the calling test is skipped for that.
pub(crate) fn is_available() -> bool {
    match &*SERVER {
        Ok(_) => true,
        Err(reason) => {
            let is_required = env::var(VARIABLE).is_ok_and(|value| value == "require");
            assert!(!is_required, "{VARIABLE} requires a server: {reason}");
            say(&format!("SKIPPED: {reason}"));
            false
        }
    }
}

#[expect(clippy::print_stdout, reason = "the output of a test")]
fn say(text: &str) {
    println!("{text}");
}

/// Creates an empty database and returns its URL.
pub(crate) fn create_database() -> String {
    let Ok(server) = &*SERVER else {
        panic!("there is no server")
    };
    let number = DATABASES.fetch_add(1, Ordering::Relaxed);
    let name = format!("overnight_test_{}_{number}", std::process::id());
    execute(&server.url, &format!("CREATE DATABASE {name}"));
    let (start, query) = server.url.split_once('?').unwrap_or((&server.url, ""));
    let (host, _) = start.rsplit_once('/').expect("a database in the URL");
    format!("{host}/{name}?{query}")
}

/// Runs a statement in a database.
pub(crate) fn execute(url: &str, sql: &str) {
    let (url, sql) = (url.to_owned(), sql.to_owned());
    // Of its own thread, because the caller's may serve asynchronous code.
    let executed = std::thread::spawn(move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
            tokio::spawn(connection);
            client.batch_execute(&sql).await
        })
    });
    executed.join().expect("no panic").expect("executed");
}

fn find_server() -> Result<Server, String> {
    match env::var(VARIABLE) {
        Ok(url) if url != "require" => Ok(Server { url, _stdin: None }),
        _ => start_server(),
    }
}

/// Returns the folder of the newest installed server.
fn find_programs() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut installed: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    installed.sort();
    let newest_first = installed.into_iter().rev();
    let mut folders = newest_first.chain(env::split_paths(&path));
    folders.find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

fn start_server() -> Result<Server, String> {
    let programs = find_programs().ok_or("no PostgreSQL is installed (no initdb)")?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    // The server refuses to run as root.
    let is_root = folder
        .path()
        .metadata()
        .is_ok_and(|metadata| metadata.uid() == 0);
    let user = is_root.then(|| user_id("postgres")).flatten();
    if let Some((uid, gid)) = user {
        chown(folder.path(), Some(uid), Some(gid)).map_err(|error| error.to_string())?;
    }
    let run = |program: OsString| {
        let mut command = Command::new(program);
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        command.current_dir(folder.path()).env("LC_ALL", "C.UTF-8");
        command
    };
    let data = folder.path().join("data");
    let initialized = run(programs.join("initdb").into())
        .args([
            "--username=overnight",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-sync",
            "-D",
        ])
        .arg(&data)
        .output()
        .map_err(|error| error.to_string())?;
    if !initialized.status.success() {
        return Err(String::from_utf8_lossy(&initialized.stderr).into_owned());
    }
    // The shell outlives this process just long enough to end the server and to remove its folder.
    let script = "\"$1\" -D \"$2/data\" -k \"$2\" -c listen_addresses= -c fsync=off -c max_connections=200 \
                  >\"$2/log\" 2>&1 & server=$!; \
                  until grep -q 'ready to accept' \"$2/log\" || ! kill -0 $server; do sleep 0.05; done; \
                  echo started; exec >/dev/null; cat >/dev/null; \
                  kill -QUIT $server; wait $server; rm -rf \"$2\"";
    let mut shell = run("sh".into())
        .args(["-c", script, "sh"])
        .arg(programs.join("postgres"))
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut said = [0; 8];
    let stdout = shell.stdout.take();
    let read = stdout.map(|mut stdout| stdout.read_exact(&mut said));
    if !matches!(read, Some(Ok(()))) || &said != b"started\n" {
        return Err("the server did not start".into());
    }
    let folder = folder.keep();
    Ok(Server {
        url: format!("postgres://overnight@/postgres?host={}", escape(&folder)),
        _stdin: shell.stdin.take(),
    })
}

fn escape(folder: &Path) -> String {
    folder.display().to_string().replace('/', "%2F")
}

/// Returns the number of a user, and of its group.
fn user_id(name: &str) -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let user = users
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let mut fields = user.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}
