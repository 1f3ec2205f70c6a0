"""Whether a file of `torch.export` is a graph of tensors and operators alone.

`torch.export.load` is no safe reader: it unpickles what the archive says is pickled, evaluates sizes and guards as
Python, and resolves an operator's name through any attribute below `torch`, so that a graph can call `torch.os.system`
(https://docs.pytorch.org/docs/stable/export.html: never load data from an untrusted source). So an archive counts as
safe only when all that it holds is known, by allow-list; what is not, needs trust.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from typing import TYPE_CHECKING, Any, Final

from prefect_ml.models.pickle_scan import Import, scan_pickle

if TYPE_CHECKING:
    from pathlib import Path

_MAX_JSON: Final = 256 << 20
_RECORDS: Final = re.compile(
    r"archive_format|archive_version|version|byteorder|\.data/(version|serialization_id)|\.format_version"
    r"|\.storage_alignment|models/model\.json|data/sample_inputs/model\.pt"
    r"|data/(weights|constants)/(model_(weights|constants)_config\.json|(weight|tensor)_\d{1,9})"
)
_GRAPH: Final = "models/model.json"
_CONFIGS: Final = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_SAMPLES: Final = "data/sample_inputs/model.pt"
_TENSORS: Final = re.compile(
    r"data\.pkl|data/\d{1,9}|version|byteorder|\.data/(version|serialization_id)|\.format_version|\.storage_alignment"
)
# What a pickle of tensors imports; each makes a value of values.
_OF_TENSORS: Final = frozenset(
    {
        Import("collections", "OrderedDict"),
        Import("torch._utils", "_rebuild_tensor_v2"),
        Import("torch._utils", "_rebuild_parameter"),
        *(
            Import("torch", f"{kind}Storage")
            for kind in ("BFloat16", "Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short")
        ),
    }
)

# No bracket, quote, `=`, blank or line break: such a text is a name, wherever it may be put into code.
_NAME = re.compile(r"[\w.+\-]*", re.ASCII)
# Arguments of operators, as einsum's "bij,jk->bik"; they are values and never code.
_ARGUMENT = re.compile(r"[\w.+\-:,> ]{0,200}", re.ASCII)
_ARGUMENTS = frozenset({"as_string", "as_strings"})
_SPECS = frozenset({"in_spec", "out_spec"})
_CONTAINERS = frozenset({"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"})
# What a node tells of its origin: kept as text.
_ABOUT = frozenset({"custom", "from_node", "nn_module_stack", "source_fn_stack", "stack_trace", "torch_fn"})
# `aten` has a few operators that open files or print.
_TARGETS = re.compile(
    r"torch\.ops\.(?!aten\.(from_file|save|load|_print|warn)\b)(aten|prims)\.\w+\.\w+"
    r"|torch\.ops\.higher_order\.(cond|while_loop|scan|map_impl|wrap_with_set_grad_enabled|wrap_with_autocast)"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)"
    r"|math\.(ceil|floor|trunc|sqrt)|torch\.sym_(int|float|ite|max|min|not|sqrt|sum)",
    re.ASCII,
)
_FUNCTIONS = frozenset(
    re.findall(
        r"\w+",
        """
        Symbol Integer Float Rational Add Mul Pow Max Min Abs Mod Eq Ne Lt Le Gt Ge And Or Not
        FloorDiv ModularIndexing Where PythonMod CleanDiv CeilToInt FloorToInt CeilDiv LShift RShift PowByNatural
        FloatPow FloatTrueDiv IntTrueDiv IsNonOverlappingAndDenseIndicator TruncToFloat TruncToInt RoundToInt
        RoundDecimal ToFloat Identity size stride storage_offset int float abs max min
        """,
    )
)
_SYMBOL = re.compile(r"[a-z]{1,4}\d{1,9}|L|oo|int_oo|true|false", re.ASCII)
_ALLOWED_SYNTAX = (
    ast.Expression, ast.Constant, ast.Name, ast.Load, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call,
    ast.keyword, ast.Attribute, ast.Subscript, ast.Tuple,
    ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip


class _UnknownError(Exception):
    """Something in the archive is not on the list."""


def unsafe_part(path: Path) -> str | None:
    """The first thing in the archive that is not known to be harmless, in words; None when there is none.

    The archive is read as torch's loader reads it, and every record of it is looked at.
    """
    import torch  # noqa: PLC0415 - only for models of PyTorch

    try:
        reader = torch._C.PyTorchFileReader(str(path))  # noqa: SLF001 - the loader's own reader, so that both see the same
        names = _names(reader, path)
        for name in names:
            if not _RECORDS.fullmatch(name):
                return f"the record {name!r}"
        _graph(_json(reader, _GRAPH))
        for config in _CONFIGS:
            _payloads(_json(reader, config))
        _samples(reader.get_record(_SAMPLES))
    except _UnknownError as error:
        return str(error)
    except (RuntimeError, ValueError, RecursionError, KeyError, zipfile.BadZipFile, OSError) as error:
        return f"an archive that cannot be looked through ({type(error).__name__})"
    return None


def _names(reader: Any, path: Path) -> set[str]:
    """The records; another reader, which torch falls back to, must see the same, each once."""
    names = set(reader.get_all_records())
    with zipfile.ZipFile(path) as archive:
        listed = [name.partition("/")[2] for name in archive.namelist()]
    if len(listed) != len(set(listed)) or set(listed) != names:
        raise _UnknownError("an archive that is not the same to every reader")
    return names


def _json(reader: Any, name: str) -> Any:
    data = reader.get_record(name)
    if len(data) > _MAX_JSON:
        raise _UnknownError(f"the record {name!r} of {len(data)} bytes")
    return json.loads(data)


def _payloads(config: Any) -> None:
    """Weights are numbers, unless their entry says that they are pickled."""
    if not isinstance(config, dict) or set(config) != {"config"} or not isinstance(config["config"], dict):
        raise _UnknownError("a list of weights of another form")
    for name, entry in config["config"].items():
        if not isinstance(entry, dict) or entry.get("use_pickle") is not False:
            raise _UnknownError(f"the weight {name[:80]!r}, which is pickled")
        if not re.fullmatch(r"(weight|tensor)_\d{1,9}", str(entry.get("path_name"))):
            raise _UnknownError(f"the weight {name[:80]!r}, which is no tensor")
    _walk(config, "config")


def _samples(data: bytes) -> None:
    """The inputs that the graph was made with: tensors alone. Torch would unpickle anything else."""
    import torch  # noqa: PLC0415 - only for models of PyTorch

    if not data:
        return
    if not data.startswith(b"PK\x03\x04"):
        raise _UnknownError("sample inputs of another form")
    reader = torch._C.PyTorchFileReader(io.BytesIO(data))  # noqa: SLF001 - the loader's own reader
    for name in reader.get_all_records():
        if not _TENSORS.fullmatch(name):
            raise _UnknownError(f"the record {name!r} of the sample inputs")
    pickled = reader.get_record("data.pkl")
    found = scan_pickle(io.BytesIO(pickled), len(pickled))
    unknown = [what for what in found.imports if what not in _OF_TENSORS]
    if unknown or found.problem:
        raise _UnknownError("sample inputs that are more than tensors")


def _graph(program: Any) -> None:
    guards = program.pop("guards_code", []) if isinstance(program, dict) else []
    if not isinstance(guards, list):
        raise _UnknownError("guards of another form")
    for guard in guards:
        _expression(guard)
    _walk(program, "")


def _walk(value: Any, key: str) -> None:  # noqa: C901 - one case for each kind of value
    match value:
        case dict():
            if key == "metadata" and set(value) <= _ABOUT and all(isinstance(text, str) for text in value.values()):
                return
            for name, each in value.items():
                _plain(name, _NAME)
                _walk(each, name)
        case list():
            for each in value:
                _walk(each, key)
        case str() if key == "expr_str":
            _expression(value)
        case str() if key == "target":
            # The name of a weight is a target, too: it has no module of Python before it.
            if not _TARGETS.fullmatch(value) and (value.split(".")[0] in ("torch", "math") or value[:1] in "_#"):
                raise _UnknownError(f"the operator {value[:80]!r}")
            _plain(value, _NAME)
        case str() if key in _SPECS:
            _containers(json.loads(value))
        case str():
            _plain(value, _ARGUMENT if key in _ARGUMENTS else _NAME)


def _plain(text: str, allowed: re.Pattern[str]) -> None:
    if not allowed.fullmatch(text):
        raise _UnknownError(f"the text {text[:80]!r}")


def _containers(spec: Any) -> None:
    """How arguments are packed: `[protocol, {"type", "context", "children_spec"}]`."""
    if not isinstance(spec, list) or len(spec) != 2 or spec[0] != 1:  # noqa: PLR2004 - the protocol and the tree
        raise _UnknownError("arguments packed in an unknown way")
    waiting = [spec[1]]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, dict) or set(node) != {"type", "context", "children_spec"}:
            raise _UnknownError("arguments packed in an unknown way")
        if node["type"] is not None and node["type"] not in _CONTAINERS:
            raise _UnknownError(f"arguments packed in a {str(node['type'])[:80]!r}")
        _walk(json.loads(node["context"]) if isinstance(node["context"], str) else node["context"], "context")
        waiting.extend(node["children_spec"])


def _expression(text: Any) -> None:
    """A size or a guard: arithmetic on symbols; torch evaluates it as Python."""
    shown = f"the expression {str(text)[:80]!r}"
    if not isinstance(text, str) or not text.isprintable() or len(text) > 10_000:  # noqa: PLR2004 - sizes are short
        raise _UnknownError(shown)
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise _UnknownError(shown) from error
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED_SYNTAX) or not _harmless(node):
            raise _UnknownError(shown)


def _harmless(node: ast.AST) -> bool:
    match node:
        case ast.Name(id=name):
            harmless = name in _FUNCTIONS or bool(_SYMBOL.fullmatch(name))
        case ast.Attribute(attr=name):
            harmless = name in ("size", "stride", "storage_offset")
        case ast.Call(func=function):
            harmless = isinstance(function, (ast.Name, ast.Attribute))  # whose names are looked at, too
        case ast.keyword(arg=name):
            harmless = name in ("positive", "integer", "nonnegative", "evaluate", "real")
        case ast.Constant(value=str() as text):
            harmless = bool(_NAME.fullmatch(text))
        case ast.Constant(value=value):
            harmless = value is None or isinstance(value, (int, float))
        case _:
            harmless = True
    return harmless
