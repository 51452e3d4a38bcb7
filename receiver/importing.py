"""Turn a handler SPEC into routers: find the module, import it, and say plainly why that fails."""

from __future__ import annotations

import importlib
import importlib.util
import keyword
import pkgutil
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from receiver.errors import HandlerError
from receiver.mistakes import did_you_mean, file_label
from receiver.router import Router
from receiver.user_code import run_user_code

GROUP = "receiver.handlers"
"""The entry-point group of handlers that are known by a short name."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a SPEC names."""

    module: ModuleType
    routers: tuple[Router, ...]
    is_new: bool
    """Whether the module was imported for this."""

    @property
    def label(self) -> str:
        """The module's file, named as its author would."""
        return module_label(self.module)

    def forget(self) -> None:
        """Undo the import, so that a mended file is read afresh."""
        if self.is_new:
            sys.modules.pop(self.module.__name__, None)


def find(spec: str, *, base: Path) -> Found:
    """Import what `spec` names and collect its routers.

    `spec` is a path that ends with .py (relative to `base`), else the name of an entry point, else a
    module; `:name` picks one router. Raise HandlerError; the module is then not left imported.
    """
    target, _, attribute = spec.strip().partition(":")
    known = set(sys.modules)
    if target.endswith(".py") or "/" in target:
        module = _import_file(base / target)
    else:
        if not attribute and "." not in target:
            target, _, attribute = _referred(target).partition(":")
        module = _import_module(target, base)
    found = Found(module, (), is_new=module.__name__ not in known)
    try:
        return replace(found, routers=(_named(module, attribute),) if attribute else _all(module))
    except HandlerError:
        found.forget()
        raise


def module_label(module: ModuleType) -> str:
    """Name a module's file as its author would."""
    return file_label(module.__file__, module.__name__) if module.__file__ else module.__name__


def _referred(name: str) -> str:
    """What the entry point of this name refers to; the name itself when there is none."""
    targets = {value for known, value in _entry_points() if known == name}
    if len(targets) > 1:
        listed = " or ".join(sorted(targets))
        raise HandlerError(f"{name}: several installed packages offer handlers of this name; write {listed}")
    return targets.pop() if targets else name


def _entry_points() -> list[tuple[str, str]]:
    from importlib.metadata import entry_points  # slow to import, and only needed for short names

    return [(point.name, point.value) for point in entry_points(group=GROUP)]


def _import_file(path: Path) -> ModuleType:
    path = path.resolve()
    if path.suffix != ".py" or not path.is_file():
        _refuse_path(path)
    name = path.stem
    if not name.isidentifier() or keyword.iskeyword(name):
        better = re.sub(r"\W", "_", name)
        is_better = better.isidentifier() and not keyword.iskeyword(better)
        mend = f"rename it, for example {better if is_better else 'my_handlers'}.py"
        if keyword.iskeyword(name):
            raise HandlerError(
                f"{path.name}: {name} is a word of Python's own, no module can have it; {mend}"
            )
        raise HandlerError(f"{path.name}: a module's name has only letters, digits and underscores; {mend}")
    known = sys.modules.get(name)
    if known is not None and _same_file(known.__file__, path):
        return known
    _refuse_shadow(name, path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise HandlerError(f"{path.name}: Python has no loader for it; give it the suffix .py")
    loader, module = spec.loader, importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        run_user_code(lambda: loader.exec_module(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _refuse_path(path: Path) -> NoReturn:
    folder = path.parent
    if not folder.is_dir():
        raise HandlerError(f"{path}: there is no such folder; correct the path")
    if path.with_name(path.name + ".py").is_file():
        raise HandlerError(f"{path}: the suffix is missing; write {path.name}.py")
    files = sorted(file.name for file in folder.glob("*.py"))
    near = did_you_mean(path.name, files, otherwise=f"{folder} holds no .py file")
    problem = "there is no such file" if not path.exists() else "it is not a .py file"
    raise HandlerError(f"{path}: {problem}; {near}")


def _refuse_shadow(name: str, path: Path) -> None:
    known = sys.modules.get(name)
    found = known.__spec__ if known is not None else importlib.util.find_spec(name)
    if known is None and (found is None or found.origin is None or _same_file(found.origin, path)):
        return
    what = "Python's own" if name in sys.stdlib_module_names else "another"
    mend = f"rename it, for example to {name}_handlers.py"
    raise HandlerError(f"{path.name}: there is {what} module {name}, and one would hide the other; {mend}")


def _same_file(known: str | None, path: Path) -> bool:
    return known is not None and Path(known).resolve() == path


def _import_module(name: str, base: Path) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        mend = "write a file (my_handlers.py), a module (my_package.hooks), or the name of a shipped handler"
        raise HandlerError(f'"{name}" names no handlers; {mend}')
    importlib.invalidate_caches()  # the file may be younger than the last look into its folder
    try:
        return run_user_code(lambda: importlib.import_module(name), subject=name)
    except ModuleNotFoundError as error:
        raise HandlerError(_missing(name, str(error.name), base)) from error


def _missing(name: str, missing: str, base: Path) -> str:
    parent, _, last = missing.rpartition(".")
    package = sys.modules.get(parent)
    if package is not None and not hasattr(package, "__path__"):
        return f"{name}: {parent} is a module, not a package; did you mean {parent}:{last}?"
    if package is not None:
        top = missing.partition(".")[0]
        if (base / top / "/".join(missing.split(".")[1:])).with_suffix(".py").is_file():
            return f"{name}: the folder {top} is hidden by the installed package {top}; rename the folder"
        modules = [module.name for module in pkgutil.iter_modules(package.__path__)]
        return f"{name}: the package {parent} has no module {last}; {did_you_mean(last, modules)}"
    if (base / f"{missing}.py").is_file():
        return f"{name}: there is no such module; write {missing}.py, with the suffix, to mean the file"
    known = [known for known, _ in _entry_points()] + sorted(file.name for file in base.glob("*.py"))
    mend = did_you_mean(missing, known, otherwise="write a file, for example my_handlers.py")
    return f"{name}: there is no module and no shipped handler of this name; {mend}"


def _named(module: ModuleType, attribute: str) -> Router:
    label = module_label(module)
    value = getattr(module, attribute, None)
    if isinstance(value, Router):
        return value
    if value is not None:
        mend = f"write {attribute} = Router()" if value is Router else _ADD
        raise HandlerError(f"{label}: {attribute} is not a Router but {_shown(value)}; {mend}")
    names = [name for name, value in vars(module).items() if isinstance(value, Router)]
    raise HandlerError(f"{label}: it has no {attribute}; {did_you_mean(attribute, names, otherwise=_ADD)}")


_ADD = 'add router = Router() and put @router.on("video.completed") above a function'


def _all(module: ModuleType) -> tuple[Router, ...]:
    values = vars(module)
    found = tuple(value for value in values.values() if isinstance(value, Router))
    if found:
        return found
    classes = [name for name, value in values.items() if value is Router and name != "Router"]
    mend = f"{classes[0]} is the class itself, write {classes[0]} = Router()" if classes else _ADD
    raise HandlerError(f"{module_label(module)}: there is no router in it; {mend}")


def _shown(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
