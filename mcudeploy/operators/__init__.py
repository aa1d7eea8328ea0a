# SPDX-License-Identifier: Apache-2.0
"""The operators: one file per family, and all that is true of it.

Importing this package registers every family; a new one is a new file here.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__, f"{__name__}."):
    if not _module.ispkg:
        import_module(_module.name)
