//! Building an engine, with scripts in the place of CMake and Ninja.

use artifacts::{Check, Error, Origin, Settings, SilentProgress, Store};

use crate::support::wheels::{FakePip, Wheel};
use crate::support::{Place, Recorder, names};

const CMAKE: &str = "#!/bin/sh\nfor last; do :; done\nwhile [ $# -gt 0 ]; do case \"$1\" in -S) tree=$2 ;; -B) out=$2 ;; -DCMAKE_MAKE_PROGRAM=*) ninja=${1#*=} ;; esac; shift; done\n[ -x \"$ninja\" ] || exit 8\nmkdir -p $out/bin && cp $tree/main.cpp $out/main.cpp && echo \"-- configured with $last\" && echo \"$last\" > $out/last\n";
const NINJA: &str = "#!/bin/sh\ncd $2 || exit 7\necho '[1/3] a'; echo '[2/3] b'\ncp main.cpp bin/engine && chmod 755 bin/engine\necho \"[3/3] $5\"\n";
const ENGINE: &str = "#!/bin/sh\necho 'version: 5 (built)' >&2\n";

struct Case {
    place: Place,
    pip: FakePip,
    tree: Wheel,
    cmake: Wheel,
    ninja: Wheel,
}

impl Case {
    fn new(cmake: &str, ninja: &str, source: &str) -> Self {
        let place = Place::new();
        let pip = FakePip::new(&place);
        let tree =
            pip.wheel("tree", &[("v/llama/main.cpp", source.as_bytes()), ("v/llama/d/x.h", b""), ("v/other", b"")]);
        let cmake = pip.wheel("cmake", &[("cmake/data/bin/cmake", cmake.as_bytes()), ("cmake/data/share/x", b"")]);
        let ninja = pip.wheel("ninja", &[("ninja.data/scripts/ninja", ninja.as_bytes())]);
        Self { place, pip, tree, cmake, ninja }
    }

    fn manifest(&self) -> String {
        let archive = |wheel: &Wheel, folder: &str, rest: &str| {
            let Wheel { project, sha256, size_bytes } = wheel;
            format!(
                "[{{sha256: {sha256}, size_bytes: {size_bytes}, folder: {folder}, unpacked_bytes: 5000{rest}, sources: [{{from: 'pypi:{project}==1'}}]}}]"
            )
        };
        format!(
            "artifacts:\n  - name: engine\n    version: '2'\n    role: engine\n    licence: MIT\n    about: a\n    file_name: engine\n    build:\n      tree: {}\n      cmake: {}\n      ninja: {}\n      definitions: {{A: 'ON', B: x y}}\n      target: engine\n      output: bin/engine\n      scratch_bytes: 1000\n",
            archive(&self.tree, "v/llama", ""),
            archive(&self.cmake, "cmake/data", ", executable: bin/cmake"),
            archive(&self.ninja, "ninja.data/scripts", ", executable: ninja"),
        )
    }

    fn store(&self) -> Store {
        // Any executable passes for a compiler here: nothing compiles.
        let settings = Settings { cxx: Some("/bin/sh".into()), build_jobs: Some(2), ..self.pip.settings() };
        self.place.store_with(&self.manifest(), settings)
    }

    async fn failure(&self) -> String {
        let error = self.store().install("engine", &SilentProgress).await.unwrap_err();
        assert!(!self.place.home().join("artifacts").exists());
        error.to_string()
    }

    fn builds(&self) -> Vec<String> {
        names(&self.place.home().join("builds/engine-2"))
    }
}

#[tokio::test]
async fn an_engine_is_built_recorded_and_verified() {
    let case = Case::new(CMAKE, NINJA, ENGINE);
    let (store, recorder) = (case.store(), Recorder::default());
    let found = store.install("engine", &recorder).await.unwrap();
    assert_eq!((found.origin, found.version.as_deref()), (Origin::Installed, Some("2")));
    assert_eq!(std::fs::read_to_string(&found.path).unwrap(), ENGINE);
    assert!(recorder.noted("version 5 (built)"));
    let stage = recorder.stages.lock().unwrap().pop().unwrap();
    assert_eq!(stage, ("building engine".to_owned(), 1, Some(3)));
    assert_eq!((case.builds(), case.place.downloads()), (Vec::new(), Vec::new()));
    let receipt = std::fs::read_to_string(found.path.with_file_name("receipt.json")).unwrap();
    for wheel in [&case.tree, &case.cmake, &case.ninja] {
        assert!(receipt.contains(&wheel.sha256) && receipt.contains(wheel.project), "{receipt}");
    }
    assert_eq!(store.verify("engine").await.unwrap().check, Check::Matches);
    std::fs::write(&found.path, ENGINE.replace('5', "6")).unwrap();
    assert!(matches!(store.verify("engine").await, Err(Error::Corrupt { .. })));
    store.install("engine", &recorder).await.unwrap();
    assert_eq!(case.pip.calls().len(), 3);
}

#[tokio::test]
async fn without_a_compiler_nothing_is_downloaded() {
    let case = Case::new(CMAKE, NINJA, ENGINE);
    let store = case.place.store_with(&case.manifest(), case.pip.settings());
    let error = store.install("engine", &SilentProgress).await.unwrap_err();
    assert!(matches!(error, Error::NoCompiler { .. }), "{error}");
    assert!(case.pip.calls().is_empty());
}

#[tokio::test]
async fn a_step_that_fails_shows_the_end_of_its_output() {
    let loud = "#!/bin/sh\ni=0; while [ $i -lt 40 ]; do i=$((i+1)); echo \"line $i.\"; done\nexit 2\n";
    let case = Case::new(loud, NINJA, ENGINE);
    let error = case.failure().await;
    assert!(
        error.contains("cmake failed: exit status: 2") && error.contains("line 21.") && !error.contains("line 20."),
        "{error}"
    );
    assert_eq!(case.builds(), ["cmake", "ninja", "tree", "unpacked"]);
    let error = Case::new(CMAKE, loud, ENGINE).failure().await;
    assert!(error.contains("ninja failed") && error.contains("line 40."), "{error}");
}

#[tokio::test]
async fn what_was_unpacked_is_used_by_the_next_try_unless_the_manifest_changed() {
    let mut case = Case::new("#!/bin/sh\nexit 2\n", NINJA, ENGINE);
    case.failure().await;
    case.failure().await;
    assert_eq!(case.pip.calls().len(), 3);
    case.cmake = case.pip.wheel("cmake", &[("cmake/data/bin/cmake", CMAKE.as_bytes())]);
    case.store().install("engine", &SilentProgress).await.unwrap();
    assert_eq!(case.pip.calls().len(), 6);
}

#[tokio::test]
async fn an_executable_that_does_not_run_or_is_not_there_is_not_installed() {
    let error = Case::new(CMAKE, NINJA, "#!/bin/sh\nexit 1\n").failure().await;
    assert!(error.contains("no version in its output"), "{error}");
    let error = Case::new(CMAKE, "#!/bin/sh\nexit 0\n", ENGINE).failure().await;
    assert!(error.contains("it left no bin/engine"), "{error}");
}

#[tokio::test]
async fn an_archive_cannot_write_outside_its_folder_or_beyond_its_size() {
    for (entry, bytes, reason) in [
        ("v/llama/../../../evil", &b"x"[..], "would not stay in its folder"),
        ("v/llama//etc/evil", b"x", "would not stay in its folder"),
        ("v/llama/a\\evil", b"x", "would not stay in its folder"),
        ("v/llama/big", &[0; 5001], "more than the 5000 bytes"),
        ("elsewhere/main.cpp", b"x", "nothing below v/llama"),
    ] {
        let mut case = Case::new(CMAKE, NINJA, ENGINE);
        case.tree = case.pip.wheel("tree", &[(entry, bytes)]);
        let error = case.failure().await;
        assert!(error.contains(reason), "{entry}: {error}");
        assert_eq!(case.place.downloads(), Vec::<String>::new());
        for folder in [case.place.folder().to_owned(), case.place.home(), case.place.home().join("builds")] {
            assert!(!names(&folder).contains(&"evil".to_owned()), "{entry}");
        }
    }
}
