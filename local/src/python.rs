//! The pinned Python tools, in an environment of their own that all stacks of this checkout share.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

use crate::{
    Interrupt, StartError,
    process::{Guard, run},
    workspace::{Workspace, clean_of_cargo},
};

/// Where the tools are.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    pub(crate) guard: Guard,
    pub(crate) launcher: PathBuf,
    /// `site-packages`
    pub(crate) packages: PathBuf,
}

impl Tools {
    /// Is the environment there?
    pub(crate) fn find(workspace: &Workspace, python: &Path) -> Result<Self, StartError> {
        let home = home(workspace, python)?;
        let packages = fs::read_to_string(home.join(COMPLETE))
            .map_err(|error| StartError::failed("reading the Python environment", error))?;
        Ok(Self::at(workspace, &home, packages.trim().into()))
    }

    /// Makes the environment if it is not there. Only then the network is needed.
    pub(crate) fn install(
        workspace: &Workspace,
        python: &Path,
        log: &Path,
        interrupt: &Interrupt,
    ) -> Result<Self, StartError> {
        let home = home(workspace, python)?;
        let _lock = workspace.lock("python.lock", interrupt)?;
        if let Ok(tools) = Self::find(workspace, python) {
            return Ok(tools);
        }
        // A start that was killed may have left half of one.
        let _ = fs::remove_dir_all(&home);
        let script = scripts(workspace).join("guard.py");
        let guard = Guard { python: python.to_path_buf(), script: script.clone() };
        let none: [&str; 0] = [];
        let mut venv = guard.command(none, python);
        clean_of_cargo(&mut venv);
        run(venv.args(["-I", "-m", "venv"]).arg(&home), "python -m venv", log, interrupt).map_err(|error| {
            let _ = fs::remove_dir_all(&home);
            if interrupt.is_raised() {
                error
            } else {
                StartError::new(error.to_string(), "on Debian and Ubuntu: apt-get install python3-venv")
            }
        })?;
        let own = home.join("bin/python");
        let mut pip = guard.command(none, &own);
        clean_of_cargo(&mut pip);
        // Python compiles what it imports; compiling all that is there would take as long as the rest.
        pip.args([
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--no-input",
            "--no-compile",
            "--requirement",
        ]);
        pip.arg(scripts(workspace).join("requirements.txt")).env_remove("PYTHONPATH").env_remove("PYTHONHOME");
        run(&mut pip, "installing the Python tools with pip", log, interrupt)?;
        let output =
            Command::new(&own).args(["-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).output();
        let packages = output.map_err(|error| StartError::failed("asking Python for its packages", error))?.stdout;
        fs::write(home.join(COMPLETE), &packages)
            .map_err(|error| StartError::failed("finishing the Python environment", error))?;
        Self::find(workspace, python)
    }

    fn at(workspace: &Workspace, home: &Path, packages: PathBuf) -> Self {
        let guard = Guard { python: home.join("bin/python"), script: scripts(workspace).join("guard.py") };
        Self { guard, launcher: scripts(workspace).join("ministack_launcher.py"), packages }
    }

    /// `sam`, guarded.
    pub(crate) fn sam(&self) -> Command {
        // Not bin/sam: the path in its first line may be longer than the kernel allows.
        let none: [&str; 0] = [];
        let mut command = self.guard.command(none, &self.guard.python);
        command.args(["-I", "-m", "samcli"]);
        command
    }
}

/// Written last: names the packages' folder.
const COMPLETE: &str = "signalbox-complete";

fn scripts(workspace: &Workspace) -> PathBuf {
    workspace.root.join("local/python")
}

/// The environment's folder, named after all that determines what is in it.
fn home(workspace: &Workspace, python: &Path) -> Result<PathBuf, StartError> {
    let requirements = fs::read(scripts(workspace).join("requirements.txt"))
        .map_err(|error| StartError::failed("reading local/python/requirements.txt", error))?;
    let mut hash = Sha256::new();
    hash.update(&requirements);
    // Without links: after an upgrade of the system's Python the environment would point to what is gone.
    let python = python.canonicalize().unwrap_or_else(|_| python.to_path_buf());
    hash.update(python.as_os_str().as_encoded_bytes());
    Ok(workspace.cache().join(format!("python-{}", &hex::encode(hash.finalize())[..12])))
}
