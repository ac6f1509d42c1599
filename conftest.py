"""Leave out modules and pages whose examples need optional packages that are not installed."""

import re
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parent
NEEDS = {
    "skdgm/onnx.py": "onnx onnxscript skl2onnx onnxruntime",
    "skdgm/dask.py": "dask pandas pyarrow",
    # a page names what it needs in a comment
    **{
        page.relative_to(ROOT).as_posix(): found.group(1)
        for page in (ROOT / "doc" / "user_guide").glob("*.rst")
        if (found := re.search(r"^\.\. needs: (.+)$", page.read_text("utf8"), re.MULTILINE))
    },
}
collect_ignore = [file for file, packages in NEEDS.items() if not all(map(find_spec, packages.split()))]
