//! Machines that carry little.

use std::process::Command;

use crate::support::{CommandOutput, TestEnv, high_limits};

#[test]
fn a_run_that_may_open_few_files_saves_every_clip() {
    let env = TestEnv::new(high_limits());
    env.load(40, "eachlabs,fal,aimlapi");
    let line = format!(
        "ulimit -n 64; exec {} run --workers 64",
        env!("CARGO_BIN_EXE_overnight")
    );
    let mut shell = Command::new("/bin/sh");
    shell
        .current_dir(env.dir.path())
        .args(["-c", &line])
        .env_clear();
    shell.envs(env.simulator.environment());
    let run = CommandOutput::from_output(shell.output().expect("a shell starts"));
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.contains("instead of 64"), "{run:?}");
    env.assert_all_rendered_once(40);
}

#[test]
fn a_run_whose_standard_output_is_closed_or_full_saves_every_clip() {
    for output in ["run >&-", "run >/dev/full"] {
        let env = TestEnv::new(high_limits());
        env.load(3, "fal");
        let run = env.shell(&format!("overnight {output}"));
        assert!(!run.stderr.contains("panicked"), "{run:?}");
        env.assert_all_rendered_once(3);
    }
}
