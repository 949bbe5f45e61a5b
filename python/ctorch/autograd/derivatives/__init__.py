"""The derivative formulas, by family of operations. Importing this package registers them."""

import importlib
import os

# (pkgutil would list the modules too, but imports inspect, which takes longer than all formulas.)
for _file in sorted(os.listdir(__path__[0])):
    if _file.endswith(".py") and _file != "__init__.py":
        importlib.import_module(f"{__name__}.{_file.removesuffix('.py')}")
