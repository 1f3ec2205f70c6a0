"""The gate that reads what pickles in a model folder would import."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from prefect_ml.models.pickle_files import Found, scan_folder
from prefect_ml.models.pickle_scan import WRAPPER, Import
from prefect_ml.registry.gate import Candidate, GateBase, GateName, Verdict

_BUILTINS = ("bytearray", "bytes", "complex", "frozenset", "list", "range", "set", "slice", "tuple")
_STORAGES = ("BFloat16", "Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short")
# Each makes a value out of values and calls nothing that the pickle does not name besides.
SAFE = frozenset({
    *(Import(module, name) for module in ("builtins", "__builtin__") for name in _BUILTINS),
    Import("_codecs", "encode"),
    Import("collections", "OrderedDict"),
    Import("copyreg", "_reconstructor"),
    Import("copy_reg", "_reconstructor"),
    Import("numpy", "dtype"),
    Import("numpy", "ndarray"),
    *(Import(f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *(Import(f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    WRAPPER,
    Import("torch._utils", "_rebuild_tensor_v2"),
    Import("torch._utils", "_rebuild_parameter"),
    *(Import("torch", f"{name}Storage") for name in _STORAGES),
})  # fmt: skip
_SHOWN = 50
_Allowed = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?$", max_length=250)]


class PickleScan(GateBase):
    """No pickle in the folder imports more than what makes plain values and arrays, and what `allow` names.

    An entry of `allow` is a module, with all below it (`sklearn.linear_model`), or one name of a module
    (`sklearn.linear_model._ridge:Ridge`). A module lends all that it has imported itself, so name narrow ones. Nothing
    is unpickled; a pickle that cannot be read to its end fails the gate.
    """

    apart: ClassVar[bool] = True

    type: Literal["pickle_scan"] = "pickle_scan"
    name: GateName = "pickle_scan"
    allow: Annotated[tuple[_Allowed, ...], Field(strict=False)] = ()

    def judge(self, candidate: Candidate) -> Verdict:
        found = scan_folder(candidate.subject.folder)
        dangerous = [each for each in found.imports if not self._allows(each.what)]
        evidence: dict[str, Any] = {
            "files": found.files,
            "pickles": found.pickles[:_SHOWN],
            "imports": len(found.imports),
            "dangerous": [_shown(each) for each in dangerous[:_SHOWN]],
            "dangerous_count": len(dangerous),
            "unread": dict(list(found.unread.items())[:_SHOWN]),
            "allow": list(self.allow),
        }
        if dangerous:
            more = f", and {len(dangerous) - 1} more" if len(dangerous) > 1 else ""
            return Verdict(False, f"a pickle imports what is not allowed: {_shown(dangerous[0])}{more}", evidence)
        if found.unread:
            name, reason = next(iter(found.unread.items()))
            return Verdict(False, f"{name} cannot be looked through: {reason}", evidence)
        if not found.pickles:
            return Verdict(True, f"none of the {found.files} files is or holds a pickle", evidence)
        return Verdict(True, f"{len(found.pickles)} pickles import only what is allowed", evidence)

    def _allows(self, what: Import) -> bool:
        if what in SAFE:
            return True
        # A dotted name goes through attributes to anywhere, and no entry can mean that.
        return "." not in what.name and any(_covers(entry, what) for entry in self.allow)


def _covers(entry: str, what: Import) -> bool:
    module, _, name = entry.partition(":")
    if name:
        return what == Import(module, name)
    return what.module == module or what.module.startswith(f"{module}.")


def _shown(found: Found) -> str:
    return f"{found.what.module}.{found.what.name} in {found.file}"
