"""What the four packages must not contain, read from their source: loaders that execute, shells, archives."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.security.attack import Attack
from tests.test_architecture import ROOT, imported, modules

EXECUTING = frozenset(
    (
        *("pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "dbm"),
        *("tarfile", "code", "codeop", "runpy", "pty", "ctypes", "cffi", "xmlrpc", "jsonpickle", "copyreg"),
    )
)
"""Modules that make code of data, unpack archives or run commands."""
ALLOWED: Mapping[str, frozenset[str]] = {
    "exec": frozenset({"trainers/tasks/user_tasks.py"}),  # the file that the command line names
    "compile": frozenset({"trainers/tasks/user_tasks.py"}),
    # The exception of a broken .npz; what a job is sent, which is only written; archives of studies, read one
    # file at a time once every hash was verified, each written by a name that stays in the study's folder.
    "zipfile": frozenset(
        (
            "trainers/tasks/bundled_tables.py",
            *(f"studies/{part}.py" for part in ("cluster/package_upload", "lifecycle/archive")),
        )
    ),
    # MLflow's pages; the watchdog over Ray's processes.
    "subprocess": frozenset({"studies/tracking/ui.py", "studies/execution/local_cluster.py"}),
    # A file of ours by its path, before anything of our names is imported.
    "runpy": frozenset(
        (
            *(f"{package}/__init__.py" for package in ("trainers", "reports", "studies")),
            "studies/interface/groundrules/__init__.py",
            "studies/execution/trainable.py",
        )
    ),
    # The trainer's class, from our own driver by way of Ray, which pickles all that it carries; tasks that
    # are objects of the driver, from a folder of mode 0700 that it has made itself.
    "pickle": frozenset({"studies/execution/task_objects.py", "studies/execution/trainable.py"}),
    # Templates of Python text, in which everything that goes in is a literal (an attack of this list).
    "Environment without autoescape": frozenset({"reports/export/torch_file.py"}),
    # Archives of studies: files are read one at a time, by the names that the archive's own list gives.
    "zipfile.ZipFile to read": frozenset({"studies/lifecycle/archive.py"}),
    # The interface's own modules, from the table beside it.
    "import_module of a name from elsewhere": frozenset({"studies/interface/groundrules/__init__.py"}),
    "os.execv": frozenset({"studies/execution/restart.py"}),  # this Python, with the words it was begun with
    "Markup": frozenset({"reports/pages/study_page.py"}),  # pictures drawn by us
}
"""What may stand in one place only."""


def _calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def _argument(call: ast.Call, name: str) -> str:
    return next((ast.unparse(one.value) for one in call.keywords if one.arg == name), "")


def _unsafe_call(name: str, call: ast.Call) -> str:
    """What is wrong with one call; '' where nothing is."""
    last = name.split(".")[-1]
    if name in ("eval", "input", "__import__", "breakpoint", "vars().update"):
        return name
    if last in ("unpack_archive", "extractall", "read_pickle", "mktemp", "popen", "system"):
        return name
    if name in ("torch.load", "torch.jit.load", "torch.hub.load", "os.execvp", "os.spawnl"):
        return name
    if last in ("restore", "from_checkpoint") and "tune" in name.lower():
        return name
    if last == "ZipFile" and [ast.unparse(argument) for argument in call.args[1:2]] != ["'w'"]:
        return f"{name} to read"
    if last == "from_string" and "env" in name.lower():
        return f"{name}: a template that is no file of ours"
    if name == "np.load" and _argument(call, "allow_pickle") != "False":
        return f"{name} without allow_pickle=False"
    if name in ("yaml.load", "yaml.load_all") and _argument(call, "Loader") not in ("_Strict", "_Loader"):
        return f"{name} with another loader than ours"
    if name in ("yaml.unsafe_load", "yaml.full_load", "yaml.dump"):
        return name
    if _argument(call, "shell") not in ("", "False"):
        return f"{name} with a shell"
    if name == "Environment" and _argument(call, "autoescape") != "True":
        return f"{name} without autoescape"
    if last in ("RDBStorage", "JournalStorage", "CmaEsSampler"):
        return f"{name}: keeps pickles in a store"
    if last == "import_module" and not (call.args and isinstance(call.args[0], ast.Constant)):
        return f"{name} of a name from elsewhere"
    return ""


def findings(root: Path) -> list[str]:
    """Every line of the packages below `root` that breaks a rule."""
    found = []
    for path in modules(root):
        file = path.relative_to(root).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for module in imported(path):
            top = module.split(".")[0]
            if file not in ALLOWED.get(top, () if top in EXECUTING else (file,)):
                found.append(f"{file} imports {module}")
        for name, call in _calls(tree):
            if file not in ALLOWED.get(name, {file}):
                found.append(f"{file}:{call.lineno} calls {name}")
            elif (wrong := _unsafe_call(name, call)) and file not in ALLOWED.get(wrong, ()):
                found.append(f"{file}:{call.lineno} {wrong}")
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and "yaml." in " ".join(map(ast.unparse, node.bases)):
                bases = {ast.unparse(base) for base in node.bases}
                if not bases <= {"yaml.SafeLoader", "yaml.SafeDumper"}:
                    found.append(f"{file}:{node.lineno} {node.name} is not safe")
    templates = sorted((root / "reports" / "templates").glob("*.html")) if (root / "reports").is_dir() else []
    for page in templates:
        text = page.read_text(encoding="utf-8")
        unwanted = ("| safe", "|safe", "<script", "http://", "autoescape")
        found += [f"{page.name} holds {word}" for word in unwanted if word in text]
        if "<head>" in text and "default-src 'none'" not in text:
            found.append(f"{page.name} has no content security policy")
    return found


def has_doors_for_code(folder: Path) -> str:
    assert findings(ROOT) == []
    count = len(modules(ROOT))
    planted = {
        "studies/a.py": "import pickle",
        "studies/b.py": "eval('1')",
        "studies/c.py": "import tarfile",
        "studies/d.py": "run('ls', shell=True)",
        "studies/e.py": "exec('x')",
        "studies/f.py": "import yaml\nclass L(yaml.Loader): pass",
        "studies/g.py": "import_module(name)",
        "studies/h.py": "import subprocess",
        "studies/i.py": "os.system('x')",
        "trainers/j.py": "torch.load('x')",
        "trainers/k.py": "np.load(f, allow_pickle=True)",
        "trainers/tasks/bundled_tables.py": "zipfile.ZipFile(name)",
        "reports/l.py": "import yaml\nyaml.load(x, Loader=yaml.Loader)",
        "reports/m.py": "Environment(autoescape=False)",
        "studies/n.py": "os.execv('x', [])",
    }
    for file, text in planted.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text, encoding="utf-8")
    caught = {line.split()[0].split(":")[0] for line in findings(folder)}
    assert caught == set(planted), set(planted) - caught
    return (
        f"none in {count} files: no unpickling, no archives, no shell, no eval; exec only of --tasks-from, "
        "execv only of the program's own command line"
    )


ATTACKS = (
    Attack(
        name="a door that makes code of data (pickle, eval, archives, shells)",
        points=(2, 7, 8, 9),
        try_it=has_doors_for_code,
    ),
)
